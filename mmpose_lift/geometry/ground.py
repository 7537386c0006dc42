"""From camera axes to the floor that people stand on: z up, floor at z = 0.

Without calibration the vertical is taken from the people: over a clip, trunks are upright more
often than not. Where people move about in camera space, their feet then correct it.
"""

from typing import NamedTuple, Optional, Sequence

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from .body_scale import SkeletonLike, check_poses, sole_offset
from .skeletons import get_skeleton

__all__ = ['Ground', 'align_to_ground', 'estimate_up', 'find_ground', 'ground_rotation',
           'stand_on_floor']

_QUANTILE = 0.2  # of the frames have their lower sole below the floor that is fitted [np]
_TILT, _ANKLE = np.radians(5), 0.03  # expected errors of the trunks' vertical and of ankles [np]


class Ground(NamedTuple):
    """Axes of the floor in camera space.

    Attributes:
        rotation: (3, 3) camera axes to ground axes.
        origin: (3,) point on the floor that becomes the origin, camera space, metres.
    """
    rotation: np.ndarray
    origin: np.ndarray

    @property
    def up(self) -> np.ndarray:
        """(3,) the vertical in camera axes."""
        return self.rotation[2]

    def apply(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) camera space to (..., 3) ground axes, metres."""
        return (points - self.origin) @ self.rotation.T


def estimate_up(poses: np.ndarray, skeleton: SkeletonLike) -> np.ndarray:
    """The vertical as the geometric median of the directions from pelvis to neck.

    Assumes that the trunk is upright in most frames; fewer than half of them with people who bend
    or lie do not change it much. A person who leans all the time, as on a bicycle, tilts it.

    Args:
        poses: (T, J, 3), all people of one camera that does not turn; absolute or root-relative.
        skeleton: Order of the joints; needs pelvis and neck.

    Returns:
        (3,) unit vector in the axes of the poses.

    Raises:
        ValueError: Wrong poses, a missing joint, or trunks without length.
    """
    poses, skeleton = check_poses(poses, skeleton), get_skeleton(skeleton)
    trunk = (poses[:, skeleton.index('neck')] - poses[:, skeleton.root_index]).astype(np.float64)
    length = np.linalg.norm(trunk, axis=1, keepdims=True)
    trunk = trunk[length[:, 0] > 0] / length[length[:, 0] > 0]
    up = trunk.mean(axis=0) if len(trunk) else np.zeros(3)
    if not np.linalg.norm(up) > 1e-3:
        raise ValueError('poses: the trunks have no common direction to take the vertical from; '
                         'pass up')
    for _ in range(50):  # Weiszfeld's algorithm on the sphere
        up = up / np.linalg.norm(up)
        apart = np.linalg.norm(trunk - up, axis=1, keepdims=True)
        up = (trunk / np.maximum(apart, 1e-3)).sum(axis=0)
    return up / np.linalg.norm(up)


def ground_rotation(up: Sequence[float]) -> np.ndarray:
    """Rotation from camera axes to ground axes with a given vertical.

    Ground y is the camera's viewing direction along the floor, so that x stays to the right as in
    the image. For a camera that looks straight down or up (within 1 degree) y is the image's upward
    direction.

    Args:
        up: (3,) the vertical in camera axes, any length; (0, -1, 0) for a level camera.

    Returns:
        (3, 3) with ``ground = rotation @ camera``.

    Raises:
        ValueError: No direction.
    """
    up = np.asarray(up, dtype=np.float64)
    if up.shape != (3, ) or not np.isfinite(up).all() or not np.linalg.norm(up) > 0:
        raise ValueError(f'up: expected the vertical in camera axes (x right, y down, z forward) '
                         f'as three numbers, found {up.tolist()}')
    up = up / np.linalg.norm(up)
    forward = np.array([0.0, 0.0, 1.0])
    if abs(forward @ up) > np.cos(np.radians(1)):
        forward = np.array([0.0, -1.0, 0.0])
    forward = forward - (forward @ up) * up
    forward /= np.linalg.norm(forward)
    return np.stack([np.cross(forward, up), forward, up])


def find_ground(people: Sequence[np.ndarray], skeleton: SkeletonLike,
                up: Optional[Sequence[float]] = None) -> Ground:
    """The one floor under all people of a camera that does not move.

    The floor is the plane below which 20 % [np] of the frames have their lower sole. Without
    ``up`` its tilt is fitted, too, with a prior: the vertical of :func:`estimate_up`, 5 degrees of
    tilt weighing as much as 3 cm at an ankle [np]. So people who walk several metres set the
    vertical by their feet, and those who stay in one place by their trunks. Assumes that a foot is
    on one level floor in most frames: stairs, chairs and long jumps break that.

    Args:
        people: (T_i, J, 3) absolute camera-space poses, metres, each array one person.
        skeleton: Order of the joints; needs pelvis, neck, hips, knees and ankles.
        up: (3,) the vertical in camera axes, if it is known; then only the height is fitted.

    Returns:
        The ground, its origin on the floor below the first root joint of the first person.

    Raises:
        ValueError: No person, wrong poses, a missing joint, or no vertical.
    """
    if not len(people):
        raise ValueError('people: expected the poses of at least one person, found none')
    skeleton = get_skeleton(skeleton)
    people = [check_poses(poses, skeleton).astype(np.float64) for poses in people]
    given = up is not None
    rotation = ground_rotation(up if given else estimate_up(np.concatenate(people), skeleton))
    soles = np.concatenate([_lower_sole(poses, rotation, skeleton) for poses in people])
    a, b, height = _floor_plane(soles, tilt=0 if given else _TILT)
    if not given:
        # z = a x + b y + height has the normal (-a, -b, 1)
        normal = np.array([-a, -b, 1]) @ rotation
        at = np.array([0, 0, height]) @ rotation  # a point of the plane, camera space
        rotation = ground_rotation(normal)
        height = rotation[2] @ at
    root = people[0][0, skeleton.root_index]
    return Ground(rotation, root - (rotation[2] @ root - height) * rotation[2])


def _lower_sole(poses, rotation, skeleton):
    """(T, 3) the lower of the two soles of each frame, ground axes."""
    ankles = poses[:, [skeleton.index('left_ankle'), skeleton.index('right_ankle')]] @ rotation.T
    lower = ankles[np.arange(len(ankles)), ankles[..., 2].argmin(1)]
    return lower - [0, 0, sole_offset(poses, skeleton)]


def _floor_plane(points: np.ndarray, tilt: float):
    """Quantile regression of z on x and y with a Gaussian prior on the slopes.

    Reweighted least squares. The mean over the frames counts as one observation, because the errors
    of ankles in one clip have much in common.

    Returns:
        Slopes a and b and height of z = a x + b y + height.
    """
    center = points[:, :2].mean(axis=0)
    design = np.concatenate([points[:, :2] - center, np.ones((len(points), 1))], axis=1)
    z = points[:, 2]
    plane = np.array([0, 0, np.quantile(z, _QUANTILE)])
    if tilt == 0:
        return plane
    prior = np.diag([1 / tilt ** 2, 1 / tilt ** 2, 0])
    for _ in range(50):
        above = z - design @ plane
        weight = np.where(above > 0, _QUANTILE, 1 - _QUANTILE) / np.maximum(np.abs(above), 1e-3)
        weight /= _ANKLE * len(z)
        plane = np.linalg.solve((design * weight[:, None]).T @ design + prior,
                                (design * weight[:, None]).T @ z)
    return np.array([plane[0], plane[1], plane[2] - plane[:2] @ center])


def stand_on_floor(poses: np.ndarray, skeleton: SkeletonLike, fps: float,
                   seconds: float = 0.5) -> np.ndarray:
    """Root-relative poses in ground axes onto the floor, the root above the origin.

    Without a trajectory nothing tells a jump from a crouch. The floor is put under the lowest sole
    within ``seconds`` around each frame and averaged over as long, so no sole is below it: a jump
    that is shorter keeps most of its height, and a fast crouch floats for a moment.

    Args:
        poses: (T, J, 3) metres, z up, relative to the root.
        skeleton: Order of the joints.
        fps: Frames per second.
        seconds: 0.5 s is [np].

    Returns:
        (T, J, 3) of the dtype of ``poses``, the root at x = y = 0.

    Raises:
        ValueError: Wrong poses, a missing joint, or a frame rate or window that is not positive.
    """
    poses, skeleton = check_poses(poses, skeleton), get_skeleton(skeleton)
    for name, value in (('fps', fps), ('seconds', seconds)):
        if not 0 < value < np.inf:
            raise ValueError(f'{name}: expected a positive number, found {value!r}')
    window = 2 * round(seconds * fps / 2) + 1
    sole = _lower_sole(poses.astype(np.float64), np.eye(3), skeleton)[:, 2]
    floor = uniform_filter1d(minimum_filter1d(sole, window, mode='nearest'), window, mode='nearest')
    result = poses - poses[:, skeleton.root_index, None]
    result[..., 2] -= (floor - poses[:, skeleton.root_index, 2])[:, None]
    return result.astype(poses.dtype)


def align_to_ground(poses: np.ndarray, skeleton: SkeletonLike, fps: float, absolute: bool,
                    up: Optional[Sequence[float]] = None) -> np.ndarray:
    """Poses of one person from camera axes to ground axes: z up, floor at z = 0.

    Args:
        poses: (T, J, 3) metres, camera axes (x right, y down, z forward).
        skeleton: Order of the joints.
        fps: Frames per second.
        absolute: True for poses in camera space, which walk over the floor of :func:`find_ground`;
            False for root-relative ones, which stay above the origin (:func:`stand_on_floor`).
        up: (3,) the vertical in camera axes, if it is known.

    Returns:
        (T, J, 3) of the dtype of ``poses``. y is the camera's viewing direction along the floor.

    Raises:
        ValueError: See :func:`find_ground` and :func:`stand_on_floor`.
    """
    poses = check_poses(poses, skeleton)
    if absolute:
        return find_ground([poses], skeleton, up).apply(poses).astype(poses.dtype)
    rotation = ground_rotation(estimate_up(poses, skeleton) if up is None else up)
    return stand_on_floor((poses @ rotation.T).astype(poses.dtype), skeleton, fps)
