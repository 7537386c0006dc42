"""Targets of a body mesh network: image-space joints, rotations, twists and shape."""

from typing import Optional, Tuple

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS

from ..geometry import torch_rotations
from ..geometry.rotations import axis_angle_to_matrix
from ..geometry.skeletons import joint_map

_LABELS = ('uvd', 'uvd_weight', 'beta', 'smpl_weight', 'theta', 'theta_weight', 'twist',
           'twist_weight', 'xyz_24', 'xyz_24_weight', 'xyz_17', 'xyz_17_weight')
_TRUTH = ('gt_joints', 'gt_joints_valid', 'gt_h36m_joints', 'gt_h36m_valid', 'gt_betas',
          'gt_rotmats', 'gt_body_valid')
# The 17 joints of the network are those of the public annotations: left leg first.
_TO_FILE_ORDER = list(joint_map('h36m', 'h36m_l_first'))


@KEYPOINT_CODECS.register_module()
class BodyMeshLabel(BaseKeypointCodec):
    """What HybrIK-Transformer learns of a person, and the ground truth its metrics need.

    Oreshkin, arXiv 2302.04774, and Li et al., "HybrIK", CVPR 2021. Samples that lack some labels
    get zeros with weight 0; without any label, as at inference, nothing is encoded.

    Args:
        input_size: Side of the crop in pixels, or (width, height).
    """

    auxiliary_encode_keys = {'joints', 'joints_valid', 'h36m_joints', 'h36m_valid', 'betas',
                             'poses', 'body_valid', 'twists', 'twists_valid', 'root_valid',
                             'depth_factor'}
    instance_mapping_table = dict(bbox='bboxes', bbox_score='bbox_scores',
                                  **{key: key for key in _TRUTH})
    label_mapping_table = dict(root_valid='root_valid',
                               **{f'target_{key}': f'target_{key}' for key in _LABELS})

    def __init__(self, input_size=256):
        super().__init__()
        size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        self.input_size = np.array(size, np.float32)

    def encode(self, keypoints: np.ndarray, keypoints_visible: np.ndarray,
               joints: Optional[np.ndarray] = None, joints_valid: Optional[np.ndarray] = None,
               h36m_joints: Optional[np.ndarray] = None, h36m_valid: Optional[np.ndarray] = None,
               betas: Optional[np.ndarray] = None, poses: Optional[np.ndarray] = None,
               body_valid: float = 0., twists: Optional[np.ndarray] = None,
               twists_valid: Optional[np.ndarray] = None, root_valid: float = 0.,
               depth_factor: float = 2.0) -> dict:
        """Targets and weights of one person, all with a leading axis of 1.

        Args:
            keypoints: (1, 24, 2) crop pixels, joints of 'smpl'.
            keypoints_visible: (1, 24) 0 where unknown.
            joints, h36m_joints: (24, 3) and (17, 3) camera axes, metres; with ``*_valid``.
            betas, poses: (10,) and (24, 3) axis-angle; with ``body_valid``.
            twists: (23, 2) cos, sin of joints 1 to 23; with ``twists_valid`` (23,).
            depth_factor: Metres of one unit of the targets.

        Returns:
            ``target_uvd`` (1, 24, 3): crop pixels / size - 0.5 and depth behind joint 0 in units of
            ``depth_factor``; a joint of which any of the three is outside +-0.5 has weight 0, and d
            has weight 0 where the depth is not known. ``target_xyz_24`` and ``target_xyz_17`` (the
            latter left leg first) relative to joint 0 in units of ``depth_factor``;
            ``target_theta`` (1, 96) quaternions w, x, y, z; ``target_beta`` (1, 10);
            ``target_twist`` (1, 23, 2); and their weights. ``gt_*`` as in the metrics: metres,
            joints of 'h36m', matrices. Empty where ``joints`` is None.

        Raises:
            ValueError: ``joints`` without the other labels.
        """
        if joints is None:
            return {}
        needed = dict(joints_valid=joints_valid, h36m_joints=h36m_joints, h36m_valid=h36m_valid,
                      betas=betas, poses=poses, twists=twists, twists_valid=twists_valid)
        missing = [name for name, label in needed.items() if label is None]
        if missing:
            raise ValueError(f'{type(self).__name__}: the sample has joints but no '
                             f'{", ".join(missing)}; give zeros with a validity of 0 for what is '
                             'not known, as BodyMeshDataset does')
        relative, valid = _relative(joints, joints_valid)
        relative_17, valid_17 = _relative(h36m_joints, h36m_valid)
        rotmats = axis_angle_to_matrix(poses).astype(np.float32)
        quaternions = torch_rotations.matrix_to_quaternion_cases(torch.from_numpy(rotmats)).numpy()
        uvd, uvd_weight = self._uvd(keypoints[0], keypoints_visible[0], relative, valid,
                                    depth_factor)
        body = np.float32(body_valid)
        encoded = dict(
            target_uvd=uvd, target_uvd_weight=uvd_weight,
            target_beta=betas * body, target_smpl_weight=body[None],
            target_theta=quaternions.reshape(-1) * body, target_theta_weight=np.full(96, body),
            target_twist=twists, target_twist_weight=_per_axis(twists_valid, 2),
            target_xyz_24=relative / depth_factor, target_xyz_24_weight=_per_axis(valid, 3),
            target_xyz_17=relative_17[_TO_FILE_ORDER] / depth_factor,
            target_xyz_17_weight=_per_axis(valid_17[_TO_FILE_ORDER], 3),
            root_valid=np.float32([root_valid]),
            gt_joints=relative, gt_joints_valid=valid, gt_h36m_joints=relative_17,
            gt_h36m_valid=valid_17, gt_betas=betas, gt_rotmats=rotmats, gt_body_valid=body)
        return {key: np.asarray(value, np.float32)[None] for key, value in encoded.items()}

    def _uvd(self, pixels, visible, relative, valid, depth_factor) -> Tuple[np.ndarray, np.ndarray]:
        uvd = np.concatenate([pixels / self.input_size - 0.5, relative[:, 2:] / depth_factor], 1)
        known = np.stack([visible, visible, valid * visible], 1) > 0
        inside = (np.abs(np.where(known, uvd, 0)) <= 0.5).all(1, keepdims=True)
        weight = (known & inside).astype(np.float32)
        return np.where(known, uvd, 0), weight

    def decode(self, encoded: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """(..., 24, 3) uvd to (..., 24, 2) crop pixels and scores of ones (..., 24)."""
        pixels = (np.asarray(encoded)[..., :2] + 0.5) * self.input_size
        return pixels, np.ones(pixels.shape[:-1], np.float32)


def _relative(joints: np.ndarray, valid: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Joints minus the first one, and which are known: none where the first one is not."""
    valid = valid * valid[0]
    return (joints - joints[0]) * valid[:, None], valid.astype(np.float32)


def _per_axis(valid: np.ndarray, size: int) -> np.ndarray:
    return np.repeat(valid[:, None], size, 1)


