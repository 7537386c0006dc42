"""Body models: pure tensor maths, without registry and without files."""

from .body_model import BodyModel
from .coco_keypoints import COCO_FACE_VERTICES, CocoKeypoints
from .folded_joints import FoldedJoints
from .inverse_kinematics import (
    inverse_kinematics,
    leaf_quats_from_rotmats,
    twists_from_rotmats,
)
from .lazy_body_model import LazyBodyModel
from .mesh_sampling import LazyMeshSampling, MeshSampling
from .motion_fitting import FittedMotion, FittedShape, MotionFitter
from .pose_fitting import fit_pose
from .regressed_joints import RegressedJoints
from .stand_in_body import body_parts, stand_in_arrays, stand_in_h36m_regressor
from .surface_fitting import SurfaceFit, fit_surface

__all__ = ['BodyModel', 'COCO_FACE_VERTICES', 'CocoKeypoints', 'FittedMotion', 'FittedShape',
           'FoldedJoints', 'LazyBodyModel', 'LazyMeshSampling', 'MeshSampling', 'MotionFitter',
           'RegressedJoints', 'SurfaceFit', 'body_parts', 'fit_pose', 'fit_surface',
           'inverse_kinematics', 'leaf_quats_from_rotmats', 'stand_in_arrays',
           'stand_in_h36m_regressor', 'twists_from_rotmats']
