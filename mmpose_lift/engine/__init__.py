"""What training needs and MMEngine does not have."""

from .checked_load import CheckedLoadHook
from .warmup_ema import WarmupEMA

__all__ = ['CheckedLoadHook', 'WarmupEMA']
