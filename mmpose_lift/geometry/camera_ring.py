"""Virtual cameras on a ring: those of Human3.6M's S1 and cameras halfway between them.

MPT (Lin et al., WACV 2024) pre-trains with the four cameras of S1, and with eight of which four are
interpolated; the paper gives no formula, so the construction is this project's [np].
"""

from typing import List, Sequence, Tuple, Union

import numpy as np

from .cameras import Camera, h36m_cameras

__all__ = ['interpolate_ring', 'ring_azimuths', 'ring_target', 'virtual_cameras']

_MAX_VIEWS = 8


def ring_azimuths(cameras: Sequence[Camera]) -> np.ndarray:
    """(N,) azimuths of the camera centres about the vertical (world z), radians in (-pi, pi]."""
    return np.array([np.arctan2(camera.position[1], camera.position[0]) for camera in cameras])


def ring_target(cameras: Sequence[Camera]) -> np.ndarray:
    """(3,) the point that is nearest to all optical axes (least squares), world metres.

    Raises:
        ValueError: the axes are parallel.
    """
    forward = np.stack([camera.rotation[2] for camera in cameras])  # [N, 3]
    across = np.eye(3) - forward[:, :, None] * forward[:, None]  # removes what is along the axis
    total = across.sum(0)
    if np.linalg.cond(total) > 1e8:
        raise ValueError('cameras: expected optical axes in different directions, found parallel '
                         f'ones ({", ".join(camera.name for camera in cameras)})')
    positions = np.stack([camera.position for camera in cameras])
    return np.linalg.solve(total, (across @ positions[..., None]).sum(0))[:, 0]


def interpolate_ring(cameras: Sequence[Camera]) -> List[Camera]:
    """Cameras halfway between neighbours of a ring about the world's vertical axis.

    Neighbours follow each other in azimuth, the last and the first too. The camera between two
    has the azimuth in the middle of their gap and the means of their distances from the axis and of
    their heights; it looks at the ``ring_target`` of all given cameras, world z up in the picture.
    Image size, focal lengths, principal point and lens distortion are the means of the pair.

    Args:
        cameras: Two or more, in any order, at different azimuths.

    Returns:
        As many cameras as were given, by azimuth of the first of the two neighbours.

    Raises:
        ValueError: fewer than two cameras, two at one azimuth, or one above the origin.
    """
    if len(cameras) < 2:
        raise ValueError(f'cameras: expected at least two for a ring, found {len(cameras)}')
    azimuths = ring_azimuths(cameras)
    order = np.argsort(azimuths)
    gaps = np.diff(azimuths[order], append=azimuths[order[0]] + 2 * np.pi)
    radii = np.array([np.hypot(*camera.position[:2]) for camera in cameras])
    if gaps.min() < 1e-6 or radii.min() < 1e-6:
        raise ValueError('cameras: expected different azimuths about the world\'s origin, found '
                         f'{np.degrees(azimuths).round(3).tolist()} degrees at '
                         f'{radii.round(3).tolist()} m from the axis')
    target = ring_target(cameras)
    between = []
    for first, second, gap in zip(order, np.roll(order, -1), gaps):
        pair = cameras[first], cameras[second]
        azimuth = azimuths[first] + gap / 2
        radius = (radii[first] + radii[second]) / 2
        height = (pair[0].position[2] + pair[1].position[2]) / 2
        position = np.array([radius * np.cos(azimuth), radius * np.sin(azimuth), height])
        mean = {key: np.mean([getattr(camera, key) for camera in pair], axis=0)
                for key in ('width', 'height', 'focal', 'center', 'radial', 'tangential')}
        mean.update({key: round(float(mean[key])) for key in ('width', 'height')})
        degrees = (np.degrees(azimuth) + 180) % 360 - 180
        between.append(Camera(f'azimuth_{degrees:.1f}', rotation=_look_at(position, target),
                              position=position, **mean))
    return between


def _look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) world to camera; world z points up in the picture."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


def _rings() -> Tuple[List[Camera], List[Camera]]:
    """The eight cameras of training, and the eight halfway between them."""
    real = h36m_cameras(['S1'])
    eight = real + interpolate_ring(real)
    return eight, interpolate_ring(eight)


def virtual_cameras(views: Union[int, str] = 4) -> List[Camera]:
    """Cameras that pre-training sees its meshes through.

    Args:
        views: 1 to 8: so many of the four cameras of S1, in the order of the table, and then of
            those halfway between neighbours (by azimuth). 'unseen': eight, halfway between
            neighbours of the eight; no other choice of ``views`` has one of them, so they can
            evaluate all.

    Raises:
        ValueError: another value.
    """
    eight, unseen = _rings()
    if views == 'unseen':
        return unseen
    if not isinstance(views, (int, np.integer)) or not 1 <= views <= _MAX_VIEWS:
        raise ValueError(f"views: expected 1 to {_MAX_VIEWS} or 'unseen', found {views!r}")
    return eight[:views]
