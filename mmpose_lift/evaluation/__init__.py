"""Pose metrics: pure functions and the registered metrics around them."""

from .key_frame_metric import KeyFrameLiftingMetric
from .lifting_metric import LiftingMetric

__all__ = ['KeyFrameLiftingMetric', 'LiftingMetric']
