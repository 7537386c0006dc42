"""What training needs and MMEngine does not have."""

from .warmup_ema import WarmupEMA

__all__ = ['WarmupEMA']
