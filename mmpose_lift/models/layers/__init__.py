"""Building blocks that several models share; plain modules without a registry."""

from .attention import SelfAttention, attend, fused_attention_is_faster
from .drop_path import DropPath, drop_path
from .recompute import recompute
from .transformer import Mlp, TransformerBlock

__all__ = ['DropPath', 'Mlp', 'SelfAttention', 'TransformerBlock', 'attend', 'drop_path',
           'fused_attention_is_faster', 'recompute']
