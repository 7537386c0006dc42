"""Backbones, one paper per file."""

from .mixste import MixSTE
from .uplift_upsample import UpliftUpsampleTransformer

__all__ = ['MixSTE', 'UpliftUpsampleTransformer']
