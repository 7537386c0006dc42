"""Losses of MPT: mesh, joints in space, joints in the crop (terms and weights of METRO)."""

from typing import Dict, Sequence

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...geometry.skeletons import get_skeleton

_HIPS = [get_skeleton('lsp_14').joint_names.index(name) for name in ('r_hip', 'l_hip')]


@MODELS.register_module()
class MPTLoss(nn.Module):
    """L1 of the meshes, squared errors of the 14 joints in space and in the crop.

    Lin et al., "End-to-End Human Pose and Mesh Reconstruction with Transformers", CVPR 2021 (METRO,
    and its public code); MPT (arXiv 2211.13357) publishes no weights. Both kinds of joints count,
    those of the joint tokens and those regressed from the full mesh, and their errors are added.

    Vertices and joints in space are means over the samples that have the label, as in the public
    code; those in the crop over all samples. Where a batch has no such label at all the term is 0,
    with gradients of 0; what is in a label of weight 0 does not matter.

    Args:
        vertex_weight: Factor of the sum over the mesh levels.
        level_weights: Factor of each level, the coarse mesh first, up to the full one.
        joint_weight: Factor of the joints in space.
        keypoint_weight: Factor of the joints in the crop.
    """

    def __init__(self, vertex_weight: float = 100.,
                 level_weights: Sequence[float] = (0.33, 0.33, 0.33),
                 joint_weight: float = 1000., keypoint_weight: float = 100.) -> None:
        super().__init__()
        self.vertex_weight, self.level_weights = vertex_weight, tuple(level_weights)
        self.joint_weight, self.keypoint_weight = joint_weight, keypoint_weight

    def forward(self, outputs: Dict[str, Tensor], labels: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Weighted terms, float32.

        Args:
            outputs: ``levels``: meshes (B, V, 3), the coarse one first; ``pred_3d_joints`` and
                ``mesh_joints`` (B, 14, 3), joints of the tokens and of the full mesh, 'lsp_14';
                ``cam_param`` (B, 3). Metres, camera axes.
            labels: ``target_levels`` as ``levels``, relative to the pelvis, with
                ``target_body_weight`` (B, 1); ``target_joints`` (B, 14, 3), metres, with
                ``target_joints_weight`` (B, 14); ``target_keypoints`` (B, 14, 2) in [-1, 1] of the
                crop, with ``target_keypoints_weight`` (B, 14).

        Returns:
            ``loss_vertices``, ``loss_joints`` and ``loss_keypoints``.

        Raises:
            ValueError: another number of levels than there are weights.
        """
        levels, targets = outputs['levels'], labels['target_levels']
        if len(levels) != len(self.level_weights):
            raise ValueError(f'MPTLoss: expected one of level_weights for each of the '
                             f'{len(levels)} mesh levels, found {len(self.level_weights)}')
        weight = labels['target_body_weight'][..., None]  # [B, 1, 1]
        vertices = sum(factor * _mean(_difference(level, target, weight).abs(), weight)
                       for factor, level, target in zip(self.level_weights, levels, targets))
        weight = _with_hips(labels['target_joints_weight'])
        known = (weight > 0).any(1, keepdim=True)  # [B, 1, 1]
        target = hip_centred(labels['target_joints'])
        joints = sum(_mean(weight * _difference(hip_centred(outputs[name]), target, weight)
                           .square(), known) for name in ('pred_3d_joints', 'mesh_joints'))
        weight, target = labels['target_keypoints_weight'][..., None], labels['target_keypoints']
        keypoints = sum(
            (weight * _difference(weak_perspective(outputs[name], outputs['cam_param']), target,
                                  weight).square()).mean()
            for name in ('pred_3d_joints', 'mesh_joints'))
        return dict(loss_vertices=self.vertex_weight * vertices,
                    loss_joints=self.joint_weight * joints,
                    loss_keypoints=self.keypoint_weight * keypoints)


def weak_perspective(points: Tensor, camera: Tensor) -> Tensor:
    """Project points: s (x + tx, y + ty).

    Args:
        points: (B, K, 3) metres, camera axes, relative to the pelvis.
        camera: (B, 3) s in half crops per metre, tx and ty in metres.

    Returns:
        (B, K, 2) in the crop, [-1, 1] from edge to edge.
    """
    return camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])


def hip_centred(joints: Tensor) -> Tensor:
    """Joints (..., 14, 3) of 'lsp_14' minus the middle of the hips."""
    return joints - joints[..., _HIPS, :].mean(-2, keepdim=True)


def joint_error(joints: Tensor, labels: Dict[str, Tensor]) -> Tensor:
    """Mean distance in metres of known joints, both sides centred on the hips, for the log.

    Args:
        joints: (B, 14, 3).
        labels: With ``target_joints`` and ``target_joints_weight``, as of :class:`MPTLoss`.
    """
    known = _with_hips(labels['target_joints_weight']) > 0
    difference = _difference(hip_centred(joints), hip_centred(labels['target_joints']), known)
    return difference.norm(dim=-1).sum() / known.sum().clamp(min=1)


def _with_hips(weight: Tensor) -> Tensor:
    """Weights (B, 14, 1): 0 in samples without both hips, whose joints are relative to nothing."""
    return (weight * (weight[:, _HIPS] > 0).all(1, keepdim=True))[..., None]


def _difference(pred: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """pred - target where there is a weight, else 0, whatever the target is."""
    return torch.where(weight > 0, pred - target, 0)


def _mean(errors: Tensor, weight: Tensor) -> Tensor:
    """Mean of errors (B, N, C) over the samples with a weight (B, 1, 1); 0 where there is none."""
    count = (weight > 0).sum().clamp(min=1) * errors[0].numel()
    return errors.sum() / count
