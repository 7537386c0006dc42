"""Losses, one file per family."""

from .ampose_loss import AMPoseLoss
from .sequence_loss import MixSTELoss
from .uplift_upsample_loss import UpliftUpsampleLoss

__all__ = ['AMPoseLoss', 'MixSTELoss', 'UpliftUpsampleLoss']
