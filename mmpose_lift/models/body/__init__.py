"""Body models: pure tensor maths, without registry and without files."""

from .body_model import BodyModel
from .pose_fitting import fit_pose
from .regressed_joints import RegressedJoints
from .stand_in_body import body_parts, stand_in_arrays, stand_in_h36m_regressor

__all__ = ['BodyModel', 'RegressedJoints', 'body_parts', 'fit_pose', 'stand_in_arrays',
           'stand_in_h36m_regressor']
