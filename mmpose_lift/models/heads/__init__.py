"""Heads."""

from .hybrik_head import HybrIKHead
from .hybrik_transformer_head import HybrIKTransformerHead
from .lifting_head import BaseLiftingHead, LiftingHead, mirror_poses
from .mesh_head import BaseMeshHead
from .rootnet_head import RootNetHead
from .uplift_upsample_head import UpliftUpsampleHead

__all__ = ['BaseLiftingHead', 'BaseMeshHead', 'HybrIKHead', 'HybrIKTransformerHead', 'LiftingHead',
           'RootNetHead', 'UpliftUpsampleHead', 'mirror_poses']
