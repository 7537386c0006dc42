"""Networks: layers, backbones, heads, losses and the estimators that hold them together."""

from . import backbones, estimators, heads, losses, necks
from .backbones import *  # noqa: F401,F403
from .data_preprocessor import LiftingDataPreprocessor
from .estimators import *  # noqa: F401,F403
from .heads import *  # noqa: F401,F403
from .losses import *  # noqa: F401,F403
from .necks import *  # noqa: F401,F403
from .virtual_views import VirtualViewPreprocessor

__all__ = ['LiftingDataPreprocessor', 'VirtualViewPreprocessor', *backbones.__all__,
           *estimators.__all__, *heads.__all__, *losses.__all__, *necks.__all__]
