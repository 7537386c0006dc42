"""Building blocks that several models share; of them configs name only HeatmapMasking."""

from .attention import SelfAttention, attend, fused_attention_is_faster, key_mask
from .cpu_dropout import Dropout, dropout
from .drop_path import DropPath, drop_path
from .graph_convolution import GraphConvolution, aggregation_matrix
from .heatmap_masking import HeatmapMasking
from .heatmap_stem import HeatmapStem
from .pose_refiner import PoseRefiner
from .recompute import recompute
from .strided_transformer import StridedTransformerBlock
from .transformer import Mlp, TransformerBlock
from .unbiased_layer_norm import UnbiasedLayerNorm

__all__ = ['DropPath', 'Dropout', 'GraphConvolution', 'HeatmapMasking', 'HeatmapStem', 'Mlp',
           'PoseRefiner', 'SelfAttention', 'StridedTransformerBlock', 'TransformerBlock',
           'UnbiasedLayerNorm', 'aggregation_matrix', 'attend', 'drop_path', 'dropout',
           'fused_attention_is_faster', 'key_mask', 'recompute']
