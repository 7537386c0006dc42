"""Pose metrics: pure functions and the registered metric around them."""

from .lifting_metric import LiftingMetric

__all__ = ['LiftingMetric']
