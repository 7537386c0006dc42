"""Targets of METRO and MPT for people in pictures: body, joints and keypoints of the crop."""

from typing import Optional, Tuple

import numpy as np
from mmpose.registry import KEYPOINT_CODECS

from ..geometry.skeletons import get_skeleton, joint_map, partial_joint_map
from .body_mesh_label import BodyMeshLabel

_LABELS = ('betas', 'rotmats', 'body_weight', 'joints', 'joints_weight', 'keypoints',
           'keypoints_weight')
_EVALUATED = get_skeleton('lsp_14')
_FROM_H36M = list(joint_map('h36m', _EVALUATED.name))
# Hips and head of SMPL lie elsewhere.
_FROM_SMPL, _IN_EVALUATED = (list(column) for column in
                             zip(*partial_joint_map('smpl', _EVALUATED.name)))


@KEYPOINT_CODECS.register_module()
class MPTMeshLabel(BodyMeshLabel):
    """What MPT learns of a person in a picture, and the ground truth its metrics need.

    The network knows the crop only: targets in 3D are turned with it about the optical axis, as
    METRO does (Lin et al., CVPR 2021), and keypoints are normalised by it. It comes after
    ``MeshAffine``, which turns and cuts the crop, and after a flip. Samples that lack some labels
    get weight 0; without any label, as at inference, nothing is encoded.

    The 14 joints ('lsp_14') are those of Human3.6M in 3D and, projected, in 2D; where they are not
    known, keypoints are those of SMPL's that mean the same (all but hips and head top; of COCO
    knees, ankles, shoulders, elbows and wrists). Keypoints outside the crop have weight 0.

    Args:
        input_size: Side of the crop in pixels, or (width, height).
    """

    auxiliary_encode_keys = BodyMeshLabel.auxiliary_encode_keys | {'camera_matrix', 'trans_inv'}
    label_mapping_table = {f'target_{key}': f'target_{key}' for key in _LABELS}

    def __init__(self, input_size=224):
        super().__init__(input_size)

    def encode(self, keypoints: np.ndarray, keypoints_visible: np.ndarray,
               joints: Optional[np.ndarray] = None, h36m_joints: Optional[np.ndarray] = None,
               h36m_valid: Optional[np.ndarray] = None,
               camera_matrix: Optional[np.ndarray] = None, trans_inv: Optional[np.ndarray] = None,
               **labels) -> dict:
        """Targets and weights of one person, float32, all with a leading axis of 1.

        Args:
            keypoints: (1, 24, 2) crop pixels, joints of 'smpl'.
            keypoints_visible: (1, 24) 0 where unknown.
            joints: (24, 3) camera axes, metres.
            h36m_joints: (17, 3) camera axes, metres; with ``h36m_valid`` (17,).
            camera_matrix: (3, 3) of the picture.
            trans_inv: (2, 3) crop to image pixels.
            **labels: As for :class:`BodyMeshLabel`.

        Returns:
            ``target_betas`` (1, 10), ``target_rotmats`` (1, 24, 3, 3), the first turned with the
            crop, and ``target_body_weight`` (1, 1): the head poses the body itself;
            ``target_joints`` (1, 14, 3) relative to the pelvis, metres, turned likewise;
            ``target_keypoints`` (1, 14, 2), -1 to 1 from edge to edge of the crop (pixel x of a
            crop of side W is 2 x / W - 1); ``*_weight`` (1, 14). ``gt_*`` as of
            :class:`BodyMeshLabel`, in the axes of the camera, not turned. Empty where ``joints``
            is None.

        Raises:
            ValueError: Labels without ``trans_inv``, or only a part of them.
        """
        truth = super().encode(keypoints, keypoints_visible, joints=joints,
                               h36m_joints=h36m_joints, h36m_valid=h36m_valid, **labels)
        if not truth:
            return {}
        if trans_inv is None or camera_matrix is None:
            name = ('camera_matrix' if camera_matrix is None else
                    'trans_inv (crop to image pixels)')
            raise ValueError(f'MPTMeshLabel: the sample has no {name}; put MeshAffine before '
                             'GenerateTarget, and give it the camera_matrix')
        turn = _crop_rotation(trans_inv)
        rotmats = truth['gt_rotmats'].copy()
        rotmats[:, 0] = turn @ rotmats[:, 0]
        points, weight = self._keypoints(keypoints[0], keypoints_visible[0], h36m_joints,
                                         h36m_valid, camera_matrix, trans_inv)
        encoded = dict(
            target_betas=truth['gt_betas'], target_rotmats=rotmats,
            target_body_weight=truth['gt_body_valid'][:, None],
            target_joints=truth['gt_h36m_joints'][:, _FROM_H36M] @ turn.T,
            target_joints_weight=truth['gt_h36m_valid'][:, _FROM_H36M],
            target_keypoints=points[None], target_keypoints_weight=weight[None],
            **{key: value for key, value in truth.items() if key.startswith('gt_')})
        return {key: np.asarray(value, np.float32) for key, value in encoded.items()}

    def _keypoints(self, pixels, visible, joints, valid, camera, trans_inv):
        """(14, 2) normalised keypoints and (14,) weights."""
        points = np.zeros((_EVALUATED.num_joints, 2))
        known = np.zeros(_EVALUATED.num_joints, bool)
        points[_IN_EVALUATED] = pixels[_FROM_SMPL]
        known[_IN_EVALUATED] = visible[_FROM_SMPL] > 0
        in_front = (valid * joints[:, 2] > 0)[_FROM_H36M]
        projected = (joints[_FROM_H36M] @ np.asarray(camera).T)[in_front]
        image = projected[:, :2] / projected[:, 2:]
        points[in_front] = np.linalg.solve(trans_inv[:, :2], (image - trans_inv[:, 2]).T).T
        known |= in_front
        points = np.where(known[:, None], 2 * points / self.input_size - 1, 0)
        return points, known & (np.abs(points) <= 1).all(1)

    def decode(self, encoded: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """(..., K, 2) normalised keypoints to crop pixels and scores of ones (..., K)."""
        pixels = (np.asarray(encoded)[..., :2] + 1) / 2 * self.input_size
        return pixels, np.ones(pixels.shape[:-1], np.float32)


def _crop_rotation(trans_inv: np.ndarray) -> np.ndarray:
    """(3, 3) rotation from the axes of the camera to those of the crop."""
    linear = np.asarray(trans_inv, np.float64)[:, :2]
    turn = np.eye(3)
    turn[:2, :2] = linear.T / np.sqrt(np.linalg.det(linear))  # the inverse, without its scale
    return turn
