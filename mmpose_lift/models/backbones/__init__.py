"""Backbones, one paper per file."""

from .ampose import AMPose
from .mixste import MixSTE
from .uplift_upsample import UpliftUpsampleTransformer

__all__ = ['AMPose', 'MixSTE', 'UpliftUpsampleTransformer']
