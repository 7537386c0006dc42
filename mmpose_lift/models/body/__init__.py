"""Body models: pure tensor maths, without registry and without files."""

from .body_model import BodyModel
from .folded_joints import FoldedJoints
from .inverse_kinematics import (
    inverse_kinematics,
    leaf_quats_from_rotmats,
    twists_from_rotmats,
)
from .lazy_body_model import LazyBodyModel
from .motion_fitting import FittedMotion, FittedShape, MotionFitter
from .pose_fitting import fit_pose
from .regressed_joints import RegressedJoints
from .stand_in_body import body_parts, stand_in_arrays, stand_in_h36m_regressor

__all__ = ['BodyModel', 'FittedMotion', 'FittedShape', 'FoldedJoints', 'LazyBodyModel',
           'MotionFitter', 'RegressedJoints', 'body_parts', 'fit_pose', 'inverse_kinematics',
           'leaf_quats_from_rotmats', 'stand_in_arrays', 'stand_in_h36m_regressor',
           'twists_from_rotmats']
