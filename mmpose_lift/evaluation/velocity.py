"""How fast a body moves, and how the error depends on it (Uplift and Upsample, figure 3)."""

from typing import NamedTuple

import numpy as np

__all__ = ['VelocityBins', 'root_relative_velocity', 'velocity_bins']


def root_relative_velocity(poses: np.ndarray, fps: float, root_index: int = 0) -> np.ndarray:
    """Mean speed of the joints relative to the root [P].

    Args:
        poses: (F, K, 3) poses of consecutive frames, metres; absolute or root-relative.
        fps: Frames per second.
        root_index: Root joint. It counts in the mean over the K joints, with speed 0.

    Returns:
        (F,) float64 metres per second. Frame t is compared with frame t - 1; frame 0 has no
        velocity and is NaN.

    Raises:
        ValueError: not a clip, no such joint, or a frame rate that is not positive.
    """
    poses = np.asarray(poses, dtype=np.float64)
    if poses.ndim != 3 or poses.shape[-1] != 3 or len(poses) == 0:
        raise ValueError(f'poses: expected a clip (F, K, 3) of at least 1 frame, found '
                         f'{poses.shape}')
    if not -poses.shape[1] <= root_index < poses.shape[1]:
        raise ValueError(f'root_index {root_index} is not among the {poses.shape[1]} joints')
    if not 0 < fps < np.inf:
        raise ValueError(f'fps: expected a positive number of frames per second, found {fps!r}')
    relative = poses - poses[:, root_index, None]
    speed = np.linalg.norm(np.diff(relative, axis=0), axis=-1).mean(-1) * fps
    return np.concatenate([[np.nan], speed])


class VelocityBins(NamedTuple):
    """Errors by velocity; bin i holds velocities in [edges[i], edges[i + 1])."""
    edges: np.ndarray  # (B + 1,) m/s
    error: np.ndarray  # (B,) mean error in the unit given, NaN where the bin is empty
    count: np.ndarray  # (B,) int64 frames
    cdf: np.ndarray  # (B,) share of all frames slower than the bin's upper edge


def velocity_bins(velocity: np.ndarray, errors: np.ndarray, width: float = 0.1) -> VelocityBins:
    """Mean error per bin of equal width over the observed range of velocities.

    The edges are multiples of the width [np], so that curves of different runs can be compared.

    Args:
        velocity: (N,) m/s per frame. Frames without one (NaN) are left out.
        errors: (N,) error per frame. Frames without one (NaN, no valid joint) are left out.
        width: Width of a bin in m/s; not published, 0.1 [np].

    Raises:
        ValueError: shapes differ, a width that is not positive, or no frame with both numbers.
    """
    velocity, errors = (np.asarray(x, dtype=np.float64) for x in (velocity, errors))
    if velocity.ndim != 1 or velocity.shape != errors.shape:
        raise ValueError('velocity and errors: expected two arrays (N,), found '
                         f'{velocity.shape} and {errors.shape}')
    if not 0 < width < np.inf:
        raise ValueError(f'width: expected a positive number of m/s, found {width!r}')
    known = np.isfinite(velocity) & np.isfinite(errors)
    if not known.any():
        raise ValueError(f'none of the {len(velocity)} frames has both a velocity and an error')
    velocity, errors = velocity[known], errors[known]
    # one bin more on both sides, then those outside the range are cut; rounded, because 3 * 0.1
    # is not 0.3 and would put the velocity 0.3 into the bin below
    first, last = np.floor(velocity.min() / width) - 1, np.floor(velocity.max() / width) + 2
    edges = np.round(np.arange(first, last + 1) * width, 12)
    bins = np.searchsorted(edges, velocity, side='right') - 1
    used = slice(bins.min(), bins.max() + 1)
    count = np.bincount(bins, minlength=len(edges))[used]
    total = np.bincount(bins, weights=errors, minlength=len(edges))[used]
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return VelocityBins(edges[used.start:used.stop + 1], mean, count,
                        np.cumsum(count) / count.sum())
