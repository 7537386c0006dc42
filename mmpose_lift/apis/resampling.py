"""Between the times of a video's frames and the frame rate that a model was trained at.

Keypoints are interpolated linearly: on the CMU val motion, every second frame of 50 per second
taken out, that misses the 2D joints by 0.24 px and a cubic by 0.19, but with 3 px of detector noise
by 2.7 px and the cubic by 3.0. Lifted poses have little noise and are interpolated by a cubic: 1.1
instead of 1.3 mm.
"""

from typing import Optional, Tuple

import numpy as np
from scipy.interpolate import CubicHermiteSpline

SAME_RATE = 1e-3  # rates that differ by less count as equal [np]
MAX_UPSAMPLING = 100  # frames of the model per frame of the video [np]
SHORT_STEP = 0.25  # of the grid; a shorter last interval loses a knot, see from_model_grid [np]
_ROUNDING = 1e-6  # of a frame, so that rounding errors of times decide nothing


def check_fps(fps: float) -> float:
    """The frame rate, where it is a positive number.

    Raises:
        ValueError: It is not.
    """
    if isinstance(fps, bool) or not isinstance(fps, (int, float, np.number)) or not (
            0 < fps < np.inf):
        raise ValueError(f'fps: expected a positive number of frames per second, found {fps!r}')
    return float(fps)


def frame_times(num_frames: int, fps: Optional[float] = None,
                times: Optional[np.ndarray] = None) -> np.ndarray:
    """Seconds of a clip's frames, the first one at 0.

    Args:
        num_frames: T.
        fps: Frames per second of evenly spaced frames.
        times: (T,) seconds of unevenly spaced ones, in ascending order; goes before ``fps``.

    Returns:
        (T,) float64.

    Raises:
        ValueError: Neither is given, a rate that is not positive, or times that are not T finite
            ascending numbers.
    """
    if times is None:
        if fps is None:
            raise ValueError('fps: the frame rate of the clip is needed, or times of its frames')
        return np.arange(num_frames) / check_fps(fps)
    times = np.asarray(times, np.float64)
    if times.shape != (num_frames, ) or not np.isfinite(times).all():
        raise ValueError(f'times: expected {num_frames} finite numbers (seconds), one per frame, '
                         f'found {times.shape}')
    back = np.flatnonzero(np.diff(times) <= 0)
    if len(back):
        raise ValueError(f'times: expected ascending seconds, found {times[back[0]]:g} s and then '
                         f'{times[back[0] + 1]:g} s at frames {back[0]} and {back[0] + 1}')
    return times - times[:1]


def rate_factor(fps: float, rate: float) -> Optional[int]:
    """``fps / rate`` where that is a whole number within 0.1 %, else None."""
    factor = round(fps / rate)
    near = factor >= 1 and abs(fps / (factor * rate) - 1) <= SAME_RATE
    return factor if near else None


def even_rate(times: np.ndarray) -> Optional[float]:
    """Frame rate of (T,) seconds, or None where they are uneven; a single frame has none either."""
    if len(times) < 2:
        return None
    fps = (len(times) - 1) / (times[-1] - times[0])
    even = (np.abs(np.diff(times) * fps - 1) <= SAME_RATE).all()
    return float(fps) if even else None


def model_grid(times: np.ndarray, rate: float) -> np.ndarray:
    """Seconds k / rate, k = 0, 1, ..., up to the first one at or behind the last frame.

    Args:
        times: (T,) from :func:`frame_times`.
        rate: Frames per second of the grid.

    Raises:
        ValueError: The grid has more than 100 points for each frame of the clip.
    """
    count = int(np.ceil(times[-1] * rate - _ROUNDING)) + 1
    if count > MAX_UPSAMPLING * len(times):
        raise ValueError(f'fps: {len(times)} frames over {times[-1]:g} s are too few for a model '
                         f'of {rate:g} frames per second; take a model of single frames')
    return np.arange(count) / rate


def from_model_grid(poses: np.ndarray, grid: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Poses on a grid at the times of the frames, by a cubic.

    The last point of the grid was lifted from the last frame, so that is its time. It may be just
    behind the point before: the slope there, of two poses that differ by noise over next to no
    time, would throw the frames before it off by any amount. Below a quarter of the grid's interval
    [np] the point before is left out. An error of the poses then grows by 2.1 times at most (2.6
    with three points), as against 1.25 times further inside.

    Args:
        poses: (m, ...) on the grid.
        grid: (m,) from :func:`model_grid` for these times.
        times: (T,) from :func:`frame_times`.

    Returns:
        (T, ...) in the dtype of ``poses``.
    """
    knots = np.minimum(grid, times[-1])
    if len(knots) > 2 and knots[-1] - knots[-2] < SHORT_STEP * (knots[1] - knots[0]):
        poses, knots = (np.delete(values, -2, axis=0) for values in (poses, knots))
    return interpolate(poses, knots, times, cubic=True)


def nearest_frames(positions: np.ndarray, num_frames: int) -> np.ndarray:
    """(m,) numbers of the frames nearest to (n,) ascending positions in frames, each one once.

    Positions whose nearest frame is behind the last are left out, so that a longer clip has the
    same frames and more.
    """
    frames = np.unique(np.floor(positions + (0.5 + _ROUNDING)).astype(np.int64))
    return frames[frames < num_frames]


def nearest_tokens(times: np.ndarray, known: np.ndarray,
                   interval: float) -> Tuple[np.ndarray, np.ndarray]:
    """Put frames on a coarse grid of tokens: each on the nearest one, of several the closest.

    Args:
        times: (T,) from :func:`frame_times`.
        known: (T,) bool, the frames to place.
        interval: Seconds between two tokens; token 0 is at the first frame.

    Returns:
        (m,) frames and (m,) their tokens, both ascending.
    """
    frames = np.flatnonzero(known)
    at = times[frames] / interval
    tokens = np.floor(at + 0.5).astype(np.int64)
    order = np.lexsort((np.abs(at - tokens), tokens))
    tokens, first = np.unique(tokens[order], return_index=True)
    return frames[order][first], tokens


def interpolate(values: np.ndarray, times: np.ndarray, wanted: np.ndarray,
                cubic: bool = False) -> np.ndarray:
    """Values at other times; before the first and after the last time these are copied.

    Args:
        values: (T, ...).
        times: (T,) ascending seconds.
        wanted: (n,) seconds.
        cubic: Cubic between two times, with the slopes of parabolas through three, instead of
            linear.

    Returns:
        (n, ...) in the dtype of ``values``.
    """
    wanted = np.clip(wanted, times[0], times[-1])
    if cubic and len(times) > 2:
        values64 = values.astype(np.float64)
        slopes = np.gradient(values64, times, axis=0, edge_order=2)
        return CubicHermiteSpline(times, values64, slopes)(wanted).astype(values.dtype)
    after = np.searchsorted(times, wanted).clip(min=min(1, len(times) - 1))
    before = np.maximum(after - 1, 0)
    distance = np.where(after > before, times[after] - times[before], 1)
    weight = ((wanted - times[before]) / distance).astype(values.dtype)
    weight = weight.reshape((-1, ) + (1, ) * (values.ndim - 1))
    return values[before] * (1 - weight) + values[after] * weight
