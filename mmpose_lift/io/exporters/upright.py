"""Poses as animation and biomechanics programs want them: y up, standing on the floor."""

import numpy as np

from ...geometry.skeletons import get_skeleton
from ..video_poses import (
    ABSOLUTE_CAMERA_FRAME,
    CAMERA_FRAME,
    GROUND_FRAME,
    PersonTrack,
    VideoPoses,
)
from .description import lifted_keypoints

LEVEL_CAMERA_UP = (0.0, -1.0, 0.0)
_KNOWN_UP = {CAMERA_FRAME: LEVEL_CAMERA_UP, ABSOLUTE_CAMERA_FRAME: LEVEL_CAMERA_UP,
             GROUND_FRAME: (0.0, 0.0, 1.0)}


def y_up_rotation(poses: VideoPoses) -> np.ndarray:
    """(3, 3) matrix that takes ``keypoints_3d`` to x right, y up, z towards the viewer.

    y is ``poses.up``, or where it is unknown the up of a level camera; x stays as far to the right
    as it can. For a camera turned by more than 45 degrees about its line of sight, the line of
    sight stays instead.

    Raises:
        ValueError: ``up`` is not a direction, or unknown in axes that are not known here.
    """
    up = _KNOWN_UP.get(poses.frame) if poses.up is None else poses.up
    if up is None:
        raise ValueError(f'up: expected the vertical (x, y, z) in {poses.frame!r}, found None; '
                         'set it')
    up = np.asarray(up, np.float64)
    length = np.linalg.norm(up)
    if up.shape != (3, ) or not 0 < length < np.inf:
        raise ValueError(f'up: expected a direction (x, y, z), found {poses.up}')
    up = up / length
    if abs(up[0]) < np.sqrt(0.5):
        x = np.array([1.0, 0, 0]) - up[0] * up
    else:
        x = np.cross(up, -np.array([0, 0, 1.0]))
    x /= np.linalg.norm(x)
    return np.stack([x, up, np.cross(x, up)])


def upright_keypoints(poses: VideoPoses, track: PersonTrack, format_name: str) -> np.ndarray:
    """(n, J, 3) metres, y up, see :func:`y_up_rotation`.

    Poses relative to the root are put at ``root_position`` where it is known. Otherwise nothing
    says where the person is: the root stays above the origin, and the lowest joint of every frame
    stands on the floor (y = 0), so that a jump is not seen.

    Raises:
        ValueError: No 3D keypoints, not finite, or units or axes that are not known here.
    """
    if poses.units != 'metre':
        raise ValueError(f'{format_name}: expected poses in metres, found {poses.units!r}')
    points = lifted_keypoints(poses, track, format_name)
    rotation = y_up_rotation(poses)
    if poses.frame != CAMERA_FRAME:
        return points @ rotation.T
    root = get_skeleton(poses.skeleton).root_index
    points = points - points[:, root:root + 1]
    if track.root_position is not None:
        return (points + track.root_position[:, None]) @ rotation.T
    points = points @ rotation.T
    points[..., 1] -= points[..., 1].min(axis=1, keepdims=True)
    return points


def upright_axes(poses: VideoPoses, track: PersonTrack) -> str:
    """Axes and origin of :func:`upright_keypoints`, in words."""
    if poses.frame == CAMERA_FRAME and track.root_position is None:
        origin = 'root above the origin, the lowest joint of each frame at y = 0'
    elif poses.frame == GROUND_FRAME:
        origin = 'floor at y = 0'
    elif poses.frame in _KNOWN_UP:
        origin = 'origin at the camera'
    else:
        origin = f'origin of {poses.frame}'
    level = ', up of a level camera' if poses.up is None and poses.frame != GROUND_FRAME else ''
    return f'x right, y up, z towards the viewer{level}; {origin}'
