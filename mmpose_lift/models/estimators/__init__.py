"""Estimators that these models need on top of MMPose's own."""

from .body_mesh_estimator import BodyMeshEstimator
from .refined_pose_lifter import RefinedPoseLifter
from .sequence_pose_lifter import SequencePoseLifter

__all__ = ['BodyMeshEstimator', 'RefinedPoseLifter', 'SequencePoseLifter']
