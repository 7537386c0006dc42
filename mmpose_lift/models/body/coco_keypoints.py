"""The 17 keypoints of COCO on a body of the SMPL family."""

import torch
from torch import Tensor

from ...geometry.skeletons import get_skeleton
from .body_model import BodyModel
from .stand_in_surface import LANDMARKS

__all__ = ['COCO_FACE_VERTICES', 'CocoKeypoints']

_COCO = get_skeleton('coco')
# Vertex numbers of nose, eyes and ears (usual choice for SMPL, which has no joints there), in the
# order of COCO.
COCO_FACE_VERTICES = {name: LANDMARKS[name] for name in _COCO.joint_names if name in LANDMARKS}


class CocoKeypoints:
    """Keypoints of COCO from vertices and joints: joints of the limbs, vertices of the face.

    Args:
        body: The body whose surface it is; its vertices have SMPL's numbers.

    Raises:
        ValueError: the body is not of SMPL's numbering.
    """

    def __init__(self, body: BodyModel) -> None:
        needed = max(COCO_FACE_VERTICES.values()) + 1
        smpl = get_skeleton('smpl')
        if body.num_vertices < needed or body.num_joints != smpl.num_joints:
            raise ValueError(f"{body.source or 'a body model made of arrays'}: keypoints of COCO "
                             f"need SMPL's vertex numbers (at least {needed} vertices) and "
                             f'{smpl.num_joints} joints, found {body.num_vertices} and '
                             f'{body.num_joints}')
        self._vertices = list(COCO_FACE_VERTICES.values())
        # by SMPL's own names: its hips are not where COCO's annotators put them, but near
        limbs = [name for name in _COCO.joint_names if name not in COCO_FACE_VERTICES]
        self._joints = [smpl.index(name) for name in limbs]
        taken = [*COCO_FACE_VERTICES, *limbs]
        self._order = [taken.index(name) for name in _COCO.joint_names]

    def __call__(self, vertices: Tensor, joints: Tensor) -> Tensor:
        """(B, 17, 3) in the order of 'coco' from (B, V, 3) vertices and (B, 24, 3) joints.

        Unit and axes are those of the arguments.
        """
        points = torch.cat([vertices[:, self._vertices], joints[:, self._joints]], 1)
        return points[:, self._order]
