"""Necks."""

from .attention_neck import AttentionNeck
from .hrnet_merge_neck import HRNetMergeNeck
from .pose_map_neck import PoseMapNeck

__all__ = ['AttentionNeck', 'HRNetMergeNeck', 'PoseMapNeck']
