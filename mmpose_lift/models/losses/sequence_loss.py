"""Losses on predicted pose sequences (MixSTE: Zhang et al., CVPR 2022, section 3.3)."""

from typing import Dict, Optional, Sequence, Union

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...geometry.skeletons import get_skeleton

# Weight of a joint by the last word of its common name; 1 for trunk and hips. The public code does
# not follow the groups of the paper's text (middle limb 2.5, terminal limb 4.0) literally.
_PART_WEIGHTS = {'knee': 2.5, 'ankle': 2.5, 'shoulder': 1.5, 'elbow': 4.0, 'wrist': 4.0, 'top': 1.5}

# Found in the public code for HumanEva; the values follow a Human3.6M-like order, not HumanEva's.
_HUMANEVA_COMPAT = (1., 1., 2.5, 2.5, 1., 2.5, 2.5, 1., 1.5, 1.5, 4., 4., 1.5, 4., 4.)

_NAMED_WEIGHTS = {'h36m': 'h36m', 'h36m_16': 'h36m_16', 'humaneva_semantic': 'humaneva'}


def named_joint_weights(name: str) -> tuple:
    """Joint weights of MixSTE by name.

    Args:
        name: ``'h36m'`` (17 joints), ``'h36m_16'``, ``'humaneva_semantic'`` (15 joints, weights by
            what each joint is) or ``'humaneva_compat'`` (the public code's vector as it stands: its
            order does not match HumanEva's joints).

    Returns:
        One weight per joint, in the order of the skeleton.

    Raises:
        ValueError: unknown name.
    """
    if name == 'humaneva_compat':
        return _HUMANEVA_COMPAT
    if name not in _NAMED_WEIGHTS:
        raise ValueError(f'unknown joint weights {name!r}: choose one of '
                         f'{sorted([*_NAMED_WEIGHTS, "humaneva_compat"])} or give a list')
    names = get_skeleton(_NAMED_WEIGHTS[name]).common_names
    return tuple(_PART_WEIGHTS.get(joint.split('_')[-1], 1.0) for joint in names)


def _masked_mean(values: Tensor, mask: Optional[Tensor]) -> Tensor:
    """Mean of (B, T, K) values, over the entries where the mask is not 0 weighted by it.

    Zero, with zero gradient, where there is nothing to average (windows of one frame).
    """
    if mask is None:
        return values.sum() / max(values.numel(), 1)
    return (values * mask).sum() / mask.sum().clamp(min=torch.finfo(values.dtype).tiny)


def _steps(sequence: Tensor) -> Tensor:
    """Frame-to-frame differences along axis 1."""
    return sequence[:, 1:] - sequence[:, :-1]


def weighted_position_error(pred: Tensor, target: Tensor, weights: Tensor,
                            mask: Optional[Tensor] = None, squared: bool = False) -> Tensor:
    """Mean over windows, frames and joints of w_j * distance (or squared distance).

    Args:
        pred: (B, T, K, 3) metres.
        target: (B, T, K, 3) metres.
        weights: (K,) joint weights.
        mask: (B, T, K) 0 where the target is unknown.
        squared: The paper's formula squares the distance, the public code does not.
    """
    difference = pred - target
    error = difference.square().sum(-1) if squared else torch.linalg.vector_norm(
        difference, dim=-1)
    return _masked_mean(weights * error, mask)


def temporal_consistency(pred: Tensor, weights: Optional[Tensor] = None) -> Tensor:
    """Size of the predicted frame-to-frame displacement ("TCLoss"), m^2.

    Args:
        pred: (B, T, K, 3) metres.
        weights: (K,): the public code's form, mean over windows, the T - 1 steps, joints and the
            three coordinates of w_j * displacement^2. None: the paper's form, sum of the squared
            norms over K * T, mean over windows.
    """
    square = _steps(pred).square()
    if weights is not None:
        return _masked_mean(square * weights[:, None], None)
    return square.sum() / pred[..., 0].numel()


def velocity_error(pred: Tensor, target: Tensor, mask: Optional[Tensor] = None) -> Tensor:
    """Mean distance between predicted and true frame-to-frame displacements (MPJVE), m.

    Args:
        pred: (B, T, K, 3) metres.
        target: (B, T, K, 3) metres.
        mask: (B, T, K); a step counts where both its frames do.
    """
    error = torch.linalg.vector_norm(_steps(pred) - _steps(target), dim=-1)
    return _masked_mean(error, None if mask is None else mask[:, 1:] * mask[:, :-1])


def bone_lengths(poses: Tensor, bones: Sequence) -> Tensor:
    """Lengths (..., number of bones) of poses (..., K, 3), bones as (parent, child) indices."""
    parents, children = zip(*bones)
    return torch.linalg.vector_norm(poses[..., list(children), :] - poses[..., list(parents), :],
                                    dim=-1)


def symmetry_penalty(pred: Tensor, skeleton: str = 'h36m') -> Tensor:
    """Sum over left/right bone pairs of the mean absolute difference of their lengths, m.

    Args:
        pred: (B, T, K, 3) metres.
        skeleton: Name of the joint order.
    """
    left, right = zip(*get_skeleton(skeleton).symmetric_bones)
    difference = (bone_lengths(pred, left) - bone_lengths(pred, right)).abs()
    return difference.flatten(0, -2).mean(0).sum()


def bone_constancy_penalty(pred: Tensor, skeleton: str = 'h36m') -> Tensor:
    """Sum over bones of the mean absolute change of their length from frame to frame, m.

    Args:
        pred: (B, T, K, 3) metres; 0 for one frame.
        skeleton: Name of the joint order.
    """
    change = _steps(bone_lengths(pred, get_skeleton(skeleton).bones)).abs()
    return change.sum() / max(change[..., 0].numel(), 1)


class _GradientTimesValue(torch.autograd.Function):
    """The value L with the gradient L * dL, which the public code sends back."""

    @staticmethod
    def forward(ctx, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        value, = ctx.saved_tensors
        return gradient * value


@MODELS.register_module()
class MixSTELoss(nn.Module):
    """Weighted position error + lambda_t * temporal consistency + lambda_m * velocity error.

    ``form='code'`` is what the published script runs: plain distances, consistency weighted by
    joint and averaged over coordinates and T - 1 steps. ``form='paper'`` is what the paper writes:
    squared distances, consistency unweighted and over K * T. The paper gives no factors; those of
    the code are the defaults of both forms [np].

    Args:
        joint_weights: Name for :func:`named_joint_weights`, or one number per joint.
        form: ``'code'`` or ``'paper'``.
        lambda_t: Factor of the temporal consistency.
        lambda_m: Factor of the velocity error.
        lambda_symmetry: Factor of :func:`symmetry_penalty`. The public code has 0.01 but leaves the
            term out of its total; off by default.
        lambda_constancy: Factor of :func:`bone_constancy_penalty`; as above.
        skeleton: Joint order for those two penalties.
        scale_grad_by_loss: Back-propagate L * dL as the published script does (the value stays L).
        loss_weight: Factor on the total.

    Raises:
        ValueError: unknown form or joint weights.
    """

    def __init__(self, joint_weights: Union[str, Sequence[float]] = 'h36m', form: str = 'code',
                 lambda_t: float = 0.5, lambda_m: float = 2.0, lambda_symmetry: float = 0.0,
                 lambda_constancy: float = 0.0, skeleton: str = 'h36m',
                 scale_grad_by_loss: bool = False, loss_weight: float = 1.0) -> None:
        super().__init__()
        if form not in ('code', 'paper'):
            raise ValueError(f"MixSTELoss: form must be 'code' or 'paper', got {form!r}")
        if isinstance(joint_weights, str):
            joint_weights = named_joint_weights(joint_weights)
        # Not a part of a checkpoint: the authors' ones have no such key.
        self.register_buffer('joint_weights', torch.tensor(list(joint_weights), dtype=torch.float),
                             persistent=False)
        self.form = form
        self.lambda_t = lambda_t
        self.lambda_m = lambda_m
        self.lambda_symmetry = lambda_symmetry
        self.lambda_constancy = lambda_constancy
        self.skeleton = skeleton
        self.scale_grad_by_loss = scale_grad_by_loss
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor,
                mask: Optional[Tensor] = None) -> Dict[str, Tensor]:
        """Total and terms.

        Args:
            pred: (B, T, K, 3) root-relative camera-frame metres.
            target: (B, T, K, 3) like ``pred``.
            mask: (B, T, K) 0 where the target is unknown, or None.

        Returns:
            dict of scalars: ``loss_pose3d`` is the total to minimise; the other keys are the terms
            before their factors, detached, for the log.

        Raises:
            ValueError: shapes differ, or do not fit the joint weights.
        """
        self._check(pred, target, mask)
        paper, weights = self.form == 'paper', self.joint_weights.to(pred.dtype)
        terms = {
            'wmpjpe': weighted_position_error(pred, target, weights, mask, squared=paper),
            'temporal_consistency': temporal_consistency(pred, None if paper else weights),
            'mpjve': velocity_error(pred, target, mask)}
        total = (terms['wmpjpe'] + self.lambda_t * terms['temporal_consistency'] +
                 self.lambda_m * terms['mpjve'])
        if self.lambda_symmetry:
            terms['symmetry'] = symmetry_penalty(pred, self.skeleton)
            total = total + self.lambda_symmetry * terms['symmetry']
        if self.lambda_constancy:
            terms['bone_constancy'] = bone_constancy_penalty(pred, self.skeleton)
            total = total + self.lambda_constancy * terms['bone_constancy']
        if self.scale_grad_by_loss:
            total = _GradientTimesValue.apply(total)
        return dict(loss_pose3d=self.loss_weight * total,
                    **{name: term.detach() for name, term in terms.items()})

    def _check(self, pred: Tensor, target: Tensor, mask: Optional[Tensor]) -> None:
        joints = len(self.joint_weights)
        if pred.ndim != 4 or pred.shape[2] != joints or pred.shape[3] != 3:
            raise ValueError(f'MixSTELoss: expected a prediction (B, T, {joints}, 3) for the '
                             f'{joints} joint weights, found {tuple(pred.shape)}. Choose the joint '
                             'weights that belong to the skeleton of the data')
        if target.shape != pred.shape:
            raise ValueError(f'MixSTELoss: prediction {tuple(pred.shape)} and target '
                             f'{tuple(target.shape)} differ in shape')
        if mask is not None and mask.shape != pred.shape[:-1]:
            raise ValueError(f'MixSTELoss: expected a mask {tuple(pred.shape[:-1])}, found '
                             f'{tuple(mask.shape)}')
