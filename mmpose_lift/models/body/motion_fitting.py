"""Fit shape, pose and place of a body model to recorded motion of 17 joints.

In the spirit of MoSh (Loper et al., SIGGRAPH Asia 2014), from joints instead of markers: gradient
descent on the distances between the recorded joints and those that a regressor takes from the
body's surface, all frames of a clip at once. Weights and steps are chosen [np].
"""

from typing import NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from ...geometry.skeletons import get_skeleton
from ...geometry.torch_rotations import axis_angle_to_matrix
from .body_model import BodyModel
from .folded_joints import FoldedJoints
from .pose_fitting import fit_pose

__all__ = ['FittedMotion', 'FittedShape', 'MotionFitter']

# All terms are per frame and in square metres.
_OUTLIER = 0.03  # [np] metres, the distance from which a joint counts linearly
_SHAPE_PRIOR = 1e-4  # [np] of a squared shape coefficient
# [np] Of a squared turn, radians, away from the first guess: little for bones that the joints show,
# much where they show next to nothing.
_TURN_PRIOR = 3e-4
_HELD = dict(knee=3, elbow=3, collar=3, ankle=30, foot=30, wrist=30, hand=30)
_OVERSTRETCH = 0.05  # [np] of the squared sine by which a knee or elbow bends the wrong way
_SMOOTH = 2e-7  # [np] of squared accelerations, 1/s^2 of the rotation matrices, m/s^2 of the place
_STEPS, _SHAPE_STEPS = 120, 200  # [np] of Adam
_TURN_RATE, _SHAPE_RATE, _REACH_RATE = 0.03, 0.1, 0.02  # [np] learning rates
_SHAPE_FRAMES = 200  # [np] of a person, enough to see the length of every bone
_STRETCHED = ('thorax', 'head')
_REACH = (0.75, 0.6)  # [np] where the search for them starts


class FittedShape(NamedTuple):
    """What stays the same in all motion of a person.

    Attributes:
        betas: (S,) float32 shape coefficients.
        reach: (2,) float32. Recordings differ most in where they have the base of the neck and the
            end of the head. Both are fitted by direction only: the recorded point lies at this part
            of the way from the body's spine to its thorax, and from its neck_base to its head.
    """

    betas: np.ndarray
    reach: np.ndarray


class FittedMotion(NamedTuple):
    """Pose and place of a body in T frames.

    Attributes:
        rotmats: (T, 24, 3, 3) float32 rotations relative to the parents.
        translation: (T, 3) float32 metres, to be added to the body's vertices.
        errors: (T, 17) float32 metres from the recorded to the regressed joints.
        fitted_errors: the same with thorax and head where ``FittedShape.reach`` puts them.
    """

    rotmats: np.ndarray
    translation: np.ndarray
    errors: np.ndarray
    fitted_errors: np.ndarray


class MotionFitter:
    """Fit a body to recorded joints.

    It starts from ``fit_pose``, whose bend planes give knees and elbows their direction. Turns
    that 17 joints do not show (of hands, feet, and of limbs and head about themselves) stay there.

    Args:
        body: Body with SMPL's 24 joints and axes, and a regressor for the 17 joints.

    Raises:
        ValueError: the body has no such regressor.
    """

    def __init__(self, body: BodyModel):
        self.body, self.joints = body, FoldedJoints(body)
        smpl, h36m = get_skeleton('smpl'), get_skeleton('h36m')
        held = [_HELD.get(name.split('_')[-1], 1) for name in smpl.joint_names]
        self._turn_prior = _TURN_PRIOR * torch.tensor(held, dtype=torch.float32)
        self._knees, (self._left_elbow, self._right_elbow) = (
            [smpl.index(f'{side}_{name}') for side in ('left', 'right')]
            for name in ('knee', 'elbow'))
        ends = [h36m.index(name) for name in _STRETCHED]
        self._ends, self._starts = ends, [h36m.parents[end] for end in ends]

    def fit_shape(self, joints) -> FittedShape:
        """Find the shape of a person.

        Args:
            joints: (T, 17, 3) metres, ``h36m`` skeleton, of any clips of that person; at most 200
                frames of them, evenly spread, are used.
        """
        joints = np.asarray(joints, dtype=np.float32)
        if not len(joints):
            raise ValueError('joints: no frame to find a shape from')
        count = min(len(joints), _SHAPE_FRAMES)
        joints = joints[np.linspace(0, len(joints) - 1, count).round().astype(int)]
        betas = torch.zeros(self.body.num_shapes, requires_grad=True)
        reach = torch.tensor(_REACH, requires_grad=True)
        self._optimise(joints, betas, reach, None, _SHAPE_STEPS)
        return FittedShape(betas.detach().numpy(), reach.detach().numpy())

    def fit(self, joints, fps: float, shape: Optional[FittedShape] = None) -> FittedMotion:
        """Fit pose and place in every frame of one clip.

        Args:
            joints: (T, 17, 3) metres, ``h36m`` skeleton, in any right-handed frame.
            fps: Frames per second, for the smoothness.
            shape: Of the person; by default found from this clip.

        Raises:
            ValueError: wrong shapes, values that are not finite, or bones of no length.
        """
        joints = np.array(joints, dtype=np.float32)
        shape = shape or self.fit_shape(joints)
        betas, reach = (torch.as_tensor(np.array(array, np.float32)) for array in shape)
        rotmats, place, found = self._optimise(joints, betas, reach, fps, _STEPS)
        errors = [(points - torch.from_numpy(joints)).norm(dim=-1)
                  for points in (found, self._recorded_points(found, reach))]
        return FittedMotion(*(tensor.numpy() for tensor in (rotmats, place, *errors)))

    def _optimise(self, joints: np.ndarray, betas: Tensor, reach: Tensor, fps: Optional[float],
                  steps: int) -> Tuple[Tensor, Tensor, Tensor]:
        """Minimise over pose and place, and over shape and reach where they require gradients.

        Returns:
            (T, 24, 3, 3) rotations, (T, 3) translation, (T, 17, 3) regressed joints.
        """
        first_rotmats, first_place = map(
            torch.from_numpy, fit_pose(self.body, joints, betas.detach().numpy()))
        recorded = torch.from_numpy(joints)
        turns = torch.zeros(len(joints), self.body.num_joints, 3, requires_grad=True)
        place = first_place.clone().requires_grad_()
        groups = [dict(params=[turns, place], lr=_TURN_RATE)]
        groups += [dict(params=[tensor], lr=rate) for tensor, rate in
                   ((betas, _SHAPE_RATE), (reach, _REACH_RATE)) if tensor.requires_grad]
        adam = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)

        def posed():
            rotmats = first_rotmats @ axis_angle_to_matrix(turns)
            found = self.joints(betas.expand(len(joints), -1), rotmats) + place[:, None]
            return rotmats, found

        for _ in range(steps):
            rotmats, found = posed()
            loss = self._distances(self._recorded_points(found, reach), recorded)
            loss = loss + self._prior(turns, rotmats)
            loss = loss + _SHAPE_PRIOR * len(joints) * betas.square().sum()
            if fps is not None:
                loss = loss + _SMOOTH * fps**4 * sum(
                    torch.diff(tensor, n=2, dim=0).square().sum() for tensor in (rotmats, place))
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
        with torch.no_grad():
            rotmats, found = posed()
        return rotmats, place.detach(), found

    def _recorded_points(self, found: Tensor, reach: Tensor) -> Tensor:
        """(T, 17, 3) regressed joints with thorax and head where the recording has them."""
        start = found[:, self._starts]
        moved = found.clone()
        moved[:, self._ends] = start + reach[:, None] * (found[:, self._ends] - start)
        return moved

    @staticmethod
    def _distances(found: Tensor, recorded: Tensor) -> Tensor:
        square = (found - recorded).square().sum(-1)
        return (2 * _OUTLIER**2 * ((1 + square / _OUTLIER**2).sqrt() - 1)).sum()

    def _prior(self, turns: Tensor, rotmats: Tensor) -> Tensor:
        """Closeness to the first guess, and knees and elbows that bend as they do."""
        # Sines of the bends: where the bone's end at rest, down or to the side, goes front or back.
        bends = torch.stack([*rotmats[:, self._knees, 2, 1].unbind(1),
                             rotmats[:, self._left_elbow, 2, 0],
                             -rotmats[:, self._right_elbow, 2, 0]])
        return ((turns.square().sum(-1) * self._turn_prior).sum()
                + _OVERSTRETCH * torch.relu(-bends).square().sum())
