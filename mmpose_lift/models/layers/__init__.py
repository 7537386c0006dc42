"""Building blocks that several models share; plain modules without a registry."""

from .attention import SelfAttention, attend, fused_attention_is_faster, key_mask
from .drop_path import DropPath, drop_path
from .pose_refiner import PoseRefiner
from .recompute import recompute
from .strided_transformer import StridedTransformerBlock
from .transformer import Mlp, TransformerBlock

__all__ = ['DropPath', 'Mlp', 'PoseRefiner', 'SelfAttention', 'StridedTransformerBlock',
           'TransformerBlock', 'attend', 'drop_path', 'fused_attention_is_faster', 'key_mask',
           'recompute']
