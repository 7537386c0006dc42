"""Losses, one file per family."""

from .sequence_loss import MixSTELoss
from .uplift_upsample_loss import UpliftUpsampleLoss

__all__ = ['MixSTELoss', 'UpliftUpsampleLoss']
