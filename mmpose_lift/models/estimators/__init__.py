"""Estimators that these models need on top of MMPose's own."""

from .refined_pose_lifter import RefinedPoseLifter
from .sequence_pose_lifter import SequencePoseLifter

__all__ = ['RefinedPoseLifter', 'SequencePoseLifter']
