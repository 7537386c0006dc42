"""What training needs and MMEngine does not have."""

from .bfloat16 import BFloat16Hook
from .checked_load import CheckedLoadHook
from .checkpoint_averaging import AverageCheckpointsHook, average_checkpoints
from .deepspeed_strategy import OptionalDeepSpeed
from .inverse_sqrt_lr import InverseSqrtLR
from .pretrained_part import PretrainedPart
from .warmup_ema import WarmupEMA

__all__ = ['AverageCheckpointsHook', 'BFloat16Hook', 'CheckedLoadHook', 'InverseSqrtLR',
           'OptionalDeepSpeed', 'PretrainedPart', 'WarmupEMA', 'average_checkpoints']
