"""Estimators that these models need on top of MMPose's own."""

from .sequence_pose_lifter import SequencePoseLifter

__all__ = ['SequencePoseLifter']
