"""Losses of HybrIK-Transformer (arXiv 2302.04774; terms and weights of its public code)."""

from typing import Dict

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

_SCALE = 64.0  # cells of HybrIK's heat maps per crop: the unit of its joint errors


@MODELS.register_module()
class HybrIKLoss(nn.Module):
    """Joints in the crop, shape, rotations and twists; joints in space as an option.

    Joint terms are sum(w |64 pred - 64 target|) / sum(w) over coordinates; the others mean squared
    errors in which unknown entries count as zero. The public configuration also lists weights for
    the direct joints, the lengths of twists and leaf quaternions and the vertices, which its code
    never adds to the sum. Here the first three are added where their weight is not zero (default:
    zero, as the code runs); vertices are left out.

    Args:
        uvd_weight: 24 joints (u, v, d).
        shape_weight: Shape coefficients.
        pose_weight: 24 quaternions; their signs are compared as they are.
        twist_weight: (cos, sin) of 23 twists, not normalised.
        xyz_smpl24_weight: 24 joints of the fitted body.
        xyz_smpl17_weight: 17 Human3.6M joints of the fitted body.
        xyz24_weight: 24 joints before inverse kinematics.
        twist_norm_weight: Squared difference of the twists' lengths from 1.
        leaf_norm_weight: The same of the leaf quaternions.
    """

    def __init__(self, uvd_weight: float = 1.0, shape_weight: float = 1.0,
                 pose_weight: float = 0.01, twist_weight: float = 0.01,
                 xyz_smpl24_weight: float = 0.0, xyz_smpl17_weight: float = 0.0,
                 xyz24_weight: float = 0.0, twist_norm_weight: float = 0.0,
                 leaf_norm_weight: float = 0.0) -> None:
        super().__init__()
        # name of the term: its weight, prediction, label and weights of the label
        self.joint_terms = self._used(
            uvd=(uvd_weight, 'pred_uvd_jts', 'target_uvd', 'target_uvd_weight'),
            xyz_smpl24=(xyz_smpl24_weight, 'pred_xyz_jts_24_struct', 'target_xyz_24',
                        'target_xyz_24_weight'),
            xyz_smpl17=(xyz_smpl17_weight, 'pred_xyz_jts_17', 'target_xyz_17',
                        'target_xyz_17_weight'),
            xyz24=(xyz24_weight, 'pred_xyz_jts_24', 'target_xyz_24', 'target_xyz_24_weight'))
        self.square_terms = self._used(
            shape=(shape_weight, 'pred_shape', 'target_beta', 'target_smpl_weight'),
            pose=(pose_weight, 'pred_theta_mats', 'target_theta', 'target_theta_weight',
                  'target_smpl_weight'),
            twist=(twist_weight, 'pred_phi', 'target_twist', 'target_twist_weight'))
        self.norm_terms = self._used(twist_norm=(twist_norm_weight, 'pred_phi'),
                                     leaf_norm=(leaf_norm_weight, 'pred_leaf'))

    @staticmethod
    def _used(**terms: tuple) -> Dict[str, tuple]:
        return {name: term for name, term in terms.items() if term[0]}

    @property
    def needs_h36m_joints(self) -> bool:
        """Whether the 17 regressed joints are looked at."""
        return 'xyz_smpl17' in self.joint_terms

    @property
    def label_names(self) -> tuple:
        """Labels that the terms in use need."""
        terms = [*self.joint_terms.values(), *self.square_terms.values()]
        return tuple(dict.fromkeys(name for term in terms for name in term[2:]))

    def forward(self, outputs: Dict[str, Tensor], labels: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Weighted terms.

        Args:
            outputs: As of :meth:`BaseMeshHead.forward`.
            labels: Tensors of :attr:`label_names`, batch first, of the shapes of the predictions
                in whatever form (the last axes may be flat); ``target_smpl_weight`` (B, 1).

        Returns:
            ``loss_<term>``, each times its weight, of the terms whose weight is not zero.
        """
        losses = {}
        for name, (factor, pred, target, weight) in self.joint_terms.items():
            pred, target, weight = (x.flatten(1) for x in (
                outputs[pred], labels[target], labels[weight]))
            total = weight.sum()
            # No joint with a label at all: a loss of zero that still has a gradient (of zero).
            total = torch.where(total > 0, total, torch.ones_like(total))
            error = (weight * (_SCALE * pred - _SCALE * target).abs()).sum() / total
            losses[f'loss_{name}'] = factor * error
        for name, (factor, pred, target, *weights) in self.square_terms.items():
            difference = outputs[pred].flatten(1) - labels[target].flatten(1)
            for weight in weights:
                difference = difference * labels[weight].flatten(1)
            losses[f'loss_{name}'] = factor * difference.square().mean()
        for name, (factor, pred) in self.norm_terms.items():
            length = outputs[pred].norm(dim=-1)
            losses[f'loss_{name}'] = factor * (length - 1).square().mean()
        return losses
