"""What training needs and MMEngine does not have."""

from .bfloat16 import BFloat16Hook
from .checked_load import CheckedLoadHook
from .warmup_ema import WarmupEMA

__all__ = ['BFloat16Hook', 'CheckedLoadHook', 'WarmupEMA']
