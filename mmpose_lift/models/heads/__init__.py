"""Heads."""

from .lifting_head import BaseLiftingHead, LiftingHead, mirror_poses
from .uplift_upsample_head import UpliftUpsampleHead

__all__ = ['BaseLiftingHead', 'LiftingHead', 'UpliftUpsampleHead', 'mirror_poses']
