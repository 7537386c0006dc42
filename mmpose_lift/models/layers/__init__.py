"""Building blocks that several models share; plain modules without a registry."""

from .attention import SelfAttention, attend, fused_attention_is_faster, key_mask
from .drop_path import DropPath, drop_path
from .graph_convolution import GraphConvolution, aggregation_matrix
from .pose_refiner import PoseRefiner
from .recompute import recompute
from .strided_transformer import StridedTransformerBlock
from .transformer import Mlp, TransformerBlock
from .unbiased_layer_norm import UnbiasedLayerNorm

__all__ = ['DropPath', 'GraphConvolution', 'Mlp', 'PoseRefiner', 'SelfAttention',
           'StridedTransformerBlock', 'TransformerBlock', 'UnbiasedLayerNorm', 'aggregation_matrix',
           'attend', 'drop_path', 'fused_attention_is_faster', 'key_mask', 'recompute']
