"""Heads."""

from .higher_hrnet_head import HigherHRNetHead
from .hybrik_head import HybrIKHead
from .hybrik_transformer_head import HybrIKTransformerHead
from .lifting_head import BaseLiftingHead, LiftingHead, mirror_poses
from .mesh_head import BaseMeshHead
from .mpt_head import MPTHead
from .rootnet_head import RootNetHead
from .uplift_upsample_head import UpliftUpsampleHead

__all__ = ['BaseLiftingHead', 'BaseMeshHead', 'HigherHRNetHead', 'HybrIKHead',
           'HybrIKTransformerHead', 'LiftingHead', 'MPTHead', 'RootNetHead', 'UpliftUpsampleHead',
           'mirror_poses']
