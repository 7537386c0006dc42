"""Necks."""

from .attention_neck import AttentionNeck
from .hrnet_merge_neck import HRNetMergeNeck

__all__ = ['AttentionNeck', 'HRNetMergeNeck']
