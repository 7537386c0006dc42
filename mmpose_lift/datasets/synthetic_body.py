"""An articulated body for procedural motion: sizes of a made-up person and angles -> 17 joints.

Nothing here is measured from a person. Body frame: x forward, y left, z up; angles in radians.
"""

from dataclasses import dataclass, field, fields
from typing import Optional, Tuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mmpose_lift.geometry.rotations import euler_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton

SIDES = (('left', 1.0), ('right', -1.0))  # the second number is the sign of y on that side

# [np] Segment lengths as fractions of the stature, near the averages of anthropometry tables, and
# how much people differ (relative standard deviation).
_FRACTIONS = dict(
    hip_half=0.073, thigh=0.248, shank=0.250, ankle=0.045, lower_trunk=0.132, upper_trunk=0.146,
    neck=0.066, neck_forward=0.018, head=0.066, shoulder_half=0.094, shoulder_drop=0.018,
    upper_arm=0.165, forearm=0.147)
_VARIATION = 0.04


@dataclass(frozen=True)
class SyntheticSubject:
    """Body sizes of a made-up person, metres.

    ``ankle`` is the height of the ankle above the floor when the foot is flat; ``hip_half`` and
    ``shoulder_half`` are half widths; the other names are bone lengths or their components.
    """

    name: str
    height: float
    hip_half: float
    thigh: float
    shank: float
    ankle: float
    lower_trunk: float
    upper_trunk: float
    neck: float
    neck_forward: float
    head: float
    shoulder_half: float
    shoulder_drop: float
    upper_arm: float
    forearm: float

    @classmethod
    def random(cls, rng: np.random.Generator, name: str = 'synthetic') -> 'SyntheticSubject':
        """Draw a person of 1.50 to 1.95 m with individual proportions [np]."""
        height = float(rng.uniform(1.50, 1.95))
        spread = 1 + _VARIATION * np.clip(rng.standard_normal(len(_FRACTIONS)), -2, 2)
        sizes = {key: float(height * fraction * factor)
                 for (key, fraction), factor in zip(_FRACTIONS.items(), spread)}
        return cls(name=name, height=height, **sizes)

    @property
    def leg(self) -> float:
        """Hip to ankle with a straight knee."""
        return self.thigh + self.shank

    @property
    def arm(self) -> float:
        """Shoulder to wrist with a straight elbow."""
        return self.upper_arm + self.forearm

    @property
    def hip_height(self) -> float:
        """Height of the hips when standing at ease."""
        return self.ankle + 0.993 * self.leg


@dataclass
class MotionPlan:
    """What the body does, for F frames; everything that is left None is zero.

    Attributes:
        root: (F, 3) pelvis in the world, metres.
        pelvis: (F, 3) yaw, pitch (forward positive), roll (to the right positive) of the pelvis.
        ankles: (F, 2, 3) where the ankles should be, left and right.
        feet: (F, 2) yaw of the feet; the knees point there.
        lower, upper, head: (F, 3) angles of a part relative to the part below it.
        arms: (F, 2, 4) shoulder flexion, abduction, inward twist, and elbow flexion.
        hands: (F, 2, 3) world targets of the wrists.
        hold: (F, 2) how much the wrists follow ``hands``, 0 to 1.
    """

    root: np.ndarray
    pelvis: np.ndarray
    ankles: np.ndarray
    feet: np.ndarray
    lower: Optional[np.ndarray] = None
    upper: Optional[np.ndarray] = None
    head: Optional[np.ndarray] = None
    arms: Optional[np.ndarray] = None
    hands: Optional[np.ndarray] = None
    hold: Optional[np.ndarray] = None
    _shapes: dict = field(default_factory=lambda: dict(
        lower=(3,), upper=(3,), head=(3,), arms=(2, 4), hands=(2, 3), hold=(2,)), repr=False)

    def __post_init__(self):
        for item in fields(self):
            if getattr(self, item.name) is None:
                shape = (len(self.root), ) + self._shapes[item.name]
                setattr(self, item.name, np.zeros(shape))


def body_rotation(angles: np.ndarray) -> np.ndarray:
    """(..., 3) yaw, pitch, roll -> (..., 3, 3), part axes to the axes of the part below it."""
    return euler_to_matrix(angles, 'zyx')


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def _across(vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Unit vector of the part of ``vector`` that is perpendicular to the unit ``axis``."""
    return _unit(vector - (vector * axis).sum(-1, keepdims=True) * axis)


def two_bone(start: np.ndarray, target: np.ndarray, first: float, second: float,
             pole: np.ndarray, straight: Tuple[float, float] = (0.99, 0.9995)
             ) -> Tuple[np.ndarray, np.ndarray]:
    """Bend a chain of two bones so that its end is at ``target``, or near it when out of reach.

    Args:
        start: (F, 3) fixed end, metres.
        target: (F, 3) wanted position of the free end.
        first, second: bone lengths.
        pole: (F, 3) direction towards which the middle joint bends.
        straight: Shares of the full length where the reach begins to saturate, and its limit. The
            closer to 1, the faster the middle joint snaps when the chain straightens.

    Returns:
        (F, 3) middle joint and (F, 3) free end; both bones have exactly their length. The reach
        saturates smoothly, so that a target that walks out of reach causes no jump.
    """
    length = first + second
    axis = target - start
    distance = np.linalg.norm(axis, axis=-1, keepdims=True)
    axis = axis / distance
    soft, limit = straight[0] * length, straight[1] * length
    over = np.maximum(distance - soft, 0)
    reached = np.minimum(distance, soft) + (limit - soft) * -np.expm1(-over / (limit - soft))
    reached = np.maximum(reached, 1.05 * abs(first - second) + 0.1 * length)
    along = (first**2 - second**2 + reached**2) / (2 * reached)
    middle = start + along * axis + np.sqrt(first**2 - along**2) * _across(pole, axis)
    return middle, start + reached * axis


def _apply(rotation: np.ndarray, vector) -> np.ndarray:
    return rotation @ np.asarray(vector, dtype=np.float64)


def _arm(subject: SyntheticSubject, shoulder, chest, plan: MotionPlan, index: int, sign: float):
    flexion, abduction, twist, elbow = np.moveaxis(plan.arms[:, index], -1, 0)
    angles = np.stack([-flexion, sign * abduction, -sign * twist], axis=-1)
    upper = chest @ euler_to_matrix(angles, 'yxz')
    bent = upper @ euler_to_matrix(-elbow[:, None], 'y')
    down = upper[:, :, 2] * -subject.upper_arm
    wrist = shoulder + down - bent[:, :, 2] * subject.forearm
    hold = plan.hold[:, index, None]
    target = wrist + hold * (plan.hands[:, index] - wrist)
    outward = _apply(chest, (-0.35, 0.7 * sign, -0.6))
    swivel = _across(down, _unit(wrist - shoulder))  # where the elbow of the hanging arm is
    pole = (1 - hold) * swivel + hold * outward
    return two_bone(shoulder, target, subject.upper_arm, subject.forearm, pole,
                    straight=(0.93, 0.992))


def solve_joints(subject: SyntheticSubject, plan: MotionPlan) -> np.ndarray:
    """Forward kinematics of the trunk and the arms, two-bone inverse kinematics of the legs.

    Args:
        subject: Body sizes.
        plan: Motion of F frames.

    Returns:
        (F, 17, 3) float64 joints in the world, metres, z up, order of the ``h36m`` skeleton.
    """
    pelvis = body_rotation(plan.pelvis)
    lower = pelvis @ body_rotation(plan.lower)
    chest = lower @ body_rotation(plan.upper)
    head = chest @ body_rotation(plan.head)
    spine = plan.root + lower[:, :, 2] * subject.lower_trunk
    thorax = spine + chest[:, :, 2] * subject.upper_trunk
    neck = thorax + _apply((chest + head) / 2, (subject.neck_forward, 0, subject.neck))
    # the mean of two rotations shortens a vector; bones keep their length
    neck = thorax + np.hypot(subject.neck, subject.neck_forward) * _unit(neck - thorax)
    joints = {'root': plan.root, 'spine': spine, 'thorax': thorax, 'neck_base': neck,
              'head': neck + head[:, :, 2] * subject.head}
    for index, (side, sign) in enumerate(SIDES):
        hip = plan.root + pelvis[:, :, 1] * (sign * subject.hip_half)
        yaw = plan.feet[:, index] + 0.12 * sign  # knees and toes point slightly outwards
        pole = np.stack([np.cos(yaw), np.sin(yaw), np.full_like(yaw, 0.05)], axis=-1)
        knee, ankle = two_bone(hip, plan.ankles[:, index], subject.thigh, subject.shank, pole)
        shoulder = thorax + _apply(
            chest, (0, sign * subject.shoulder_half, -subject.shoulder_drop))
        elbow, wrist = _arm(subject, shoulder, chest, plan, index, sign)
        joints.update({f'{side}_hip': hip, f'{side}_knee': knee, f'{side}_foot': ankle,
                       f'{side}_shoulder': shoulder, f'{side}_elbow': elbow,
                       f'{side}_wrist': wrist})
    return np.stack([joints[name] for name in get_skeleton('h36m').joint_names], axis=1)


def min_jerk(x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at x <= 0 to 1 at x >= 1 with zero speed and acceleration at both ends."""
    x = np.clip(x, 0, 1)
    return x**3 * (10 + x * (6 * x - 15))


def track(time: np.ndarray, starts, durations, values) -> np.ndarray:
    """Hold ``values[0]``, then move to each next value in a minimum-jerk transition.

    Args:
        time: (F,) seconds.
        starts, durations: (E,) seconds.
        values: (E + 1, ...) values to hold.

    Returns:
        (F, ...) values.
    """
    values = np.asarray(values, dtype=np.float64)
    starts, durations = np.asarray(starts), np.asarray(durations)
    weights = min_jerk((time[:, None] - starts) / durations)
    return values[0] + np.tensordot(weights, np.diff(values, axis=0), axes=1)


def sway(rng: np.random.Generator, num_frames: int, fps: float, channels: Tuple[int, ...],
         seconds: float = 0.4) -> np.ndarray:
    """(num_frames, *channels) smooth noise with unit variance that changes within ``seconds``."""
    sigma = seconds * fps
    pad = int(4 * sigma) + 1
    noise = rng.standard_normal((num_frames + 2 * pad, ) + channels)
    noise = gaussian_filter1d(noise, sigma, axis=0, mode='nearest')[pad:pad + num_frames]
    return noise * np.sqrt(2 * np.sqrt(np.pi) * sigma)
