"""Losses, one file per family."""

from .ampose_loss import AMPoseLoss
from .hybrik_loss import HybrIKLoss
from .mpt_loss import MPTLoss
from .rootnet_loss import RootNetLoss
from .sequence_loss import MixSTELoss
from .uplift_upsample_loss import UpliftUpsampleLoss

__all__ = ['AMPoseLoss', 'HybrIKLoss', 'MPTLoss', 'MixSTELoss', 'RootNetLoss',
           'UpliftUpsampleLoss']
