"""Temporal smoothing of trajectories: the One-Euro filter (causal) and Savitzky-Golay (zero phase).

The One-Euro filter (Casiez, Roussel, Vogel, CHI 2012, doi 10.1145/2207676.2208639) is a first-order
low-pass whose cut-off grows with the speed: little jitter at rest, little lag in fast motion. It
needs no future frame. A Savitzky-Golay filter (Analytical Chemistry 1964) fits a polynomial to the
frames around each frame: no lag, but it looks half a window ahead.
"""

from typing import Optional

import numpy as np

__all__ = ['OneEuroFilter', 'one_euro', 'savitzky_golay']


class OneEuroFilter:
    """One-Euro filter for points that arrive one frame after the other.

    The cut-off is ``min_cutoff + beta * speed``. The paper filters scalars; here all coordinates of
    a point share the cut-off of its speed, so that the result does not depend on the axes [np].
    As in the paper's algorithm the speed is measured from the last filtered point.

    Args:
        min_cutoff: Hz, at rest. 1 is [np]: chosen, with ``beta``, on lifted CMU motion.
        beta: Hz per unit of speed; for points in metres Hz / (m/s), 4 [np]. Points in pixels need a
            value smaller by the pixels per metre.
        d_cutoff: Hz of the low-pass on the speed; 1, as in the paper.

    Raises:
        ValueError: A cut-off that is not positive or a negative ``beta``.
    """

    def __init__(self, min_cutoff: float = 1.0, beta: float = 4.0, d_cutoff: float = 1.0) -> None:
        for name, value in (('min_cutoff', min_cutoff), ('d_cutoff', d_cutoff)):
            if not 0 < value < np.inf:
                raise ValueError(f'{name}: expected a positive number of Hz, found {value!r}')
        if not 0 <= beta < np.inf:
            raise ValueError(f'beta: expected a number of at least 0, found {beta!r}')
        self.min_cutoff, self.beta, self.d_cutoff = min_cutoff, beta, d_cutoff
        self.reset()

    def reset(self) -> None:
        """Forget all frames; the next one starts a new sequence."""
        self._time: Optional[float] = None
        self._points = self._velocity = None

    def __call__(self, points: np.ndarray, time: float) -> np.ndarray:
        """Filter one frame.

        Args:
            points: (..., D) coordinates, the same shape in every frame.
            time: Seconds, larger than that of the frame before.

        Returns:
            (..., D) filtered points, float64; the first frame as it is.

        Raises:
            ValueError: Another shape, values that are not finite, or a time that does not increase.
        """
        points = np.array(points, dtype=np.float64)
        if points.ndim < 1 or not np.isfinite(points).all():
            raise ValueError(f'points: expected finite coordinates (..., D), found {points.shape} '
                             f'with {(~np.isfinite(points)).sum()} values that are not finite; '
                             'leave such frames out')
        if self._time is None:
            self._time, self._points = float(time), points
            self._velocity = np.zeros_like(points)
            return points.copy()
        if points.shape != self._points.shape:
            raise ValueError(f'points: expected the shape of the frames before, '
                             f'{self._points.shape}, found {points.shape}; call reset() between '
                             'sequences')
        if not self._time < time < np.inf:
            raise ValueError(f'time: expected more than {self._time} s, the time of the frame '
                             f'before, found {time!r}; call reset() between sequences')
        step = time - self._time
        velocity = (points - self._points) / step
        self._velocity += _gain(self.d_cutoff, step) * (velocity - self._velocity)
        speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True)
        self._points = self._points + (_gain(self.min_cutoff + self.beta * speed, step)
                                       * (points - self._points))
        self._time = float(time)
        return self._points.copy()


def _gain(cutoff, step: float):
    """Weight of the new sample in a first-order low-pass: 1 / (1 + tau / step)."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * step))


def one_euro(points: np.ndarray, fps: Optional[float] = None, times: Optional[np.ndarray] = None,
             **options) -> np.ndarray:
    """Filter a whole sequence with :class:`OneEuroFilter`; the numbers are the same.

    Args:
        points: (T, ..., D) coordinates, for example (T, J, 3) metres.
        fps: Frames per second, or
        times: (T,) increasing seconds.
        options: ``min_cutoff``, ``beta`` and ``d_cutoff`` of :class:`OneEuroFilter`.

    Returns:
        (T, ..., D) of the dtype of ``points``.

    Raises:
        ValueError: Wrong shape, values that are not finite, not exactly one of ``fps`` and
            ``times``, times that do not increase, or an option out of range.
    """
    points, times = _sequence(points, fps, times)
    smoother = OneEuroFilter(**options)
    return np.stack([smoother(*frame) for frame in zip(points, times)]).astype(points.dtype)


def savitzky_golay(points: np.ndarray, fps: Optional[float] = None, seconds: float = 0.3,
                   order: int = 2, times: Optional[np.ndarray] = None) -> np.ndarray:
    """Replace every frame by the value of a polynomial fitted to the frames around it.

    The window is the odd number of frames nearest to ``seconds`` and at least ``order + 2``, below
    which a polynomial would pass through all of them. The first and the last half window are taken
    from the polynomial of the first and the last whole window. A clip shorter than the window is
    one window; a clip of ``order + 1`` frames or fewer comes back unchanged.

    Args:
        points: (T, ...) values.
        fps: Frames per second, or ``times``.
        seconds: Length of the window; 0.3 s is [np].
        order: Degree of the polynomial; 2 [np]. In the middle of evenly spaced frames an odd degree
            gives the numbers of the even one below.
        times: (T,) increasing seconds, for frames that are not evenly spaced. The window then has
            as many frames as the median spacing asks for.

    Returns:
        (T, ...) of the dtype of ``points``.

    Raises:
        ValueError: Wrong shape, values that are not finite, not exactly one of ``fps`` and
            ``times``, times that do not increase, or a window or an order out of range.
    """
    points, times = _sequence(points, fps, times)
    if not 0 < seconds < np.inf:
        raise ValueError(f'seconds: expected a positive length of the window, found {seconds!r}')
    if order != int(order) or order < 0:
        raise ValueError(f'order: expected a whole number of at least 0, found {order!r}')
    count = len(points)
    if count <= order + 1:
        return points.copy()
    half = round((seconds / np.median(np.diff(times)) - 1) / 2)
    half = max(half, (order + 2) // 2)
    window = min(2 * half + 1, count)
    starts = np.clip(np.arange(count) - half, 0, count - window)
    seen = times[starts[:, None] + np.arange(window)]  # (T, window)
    # Times in units of the window around the frame: only the constant term is its value.
    scaled = (seen - times[:, None]) / (seen[:, -1:] - seen[:, :1])
    weights = np.linalg.pinv(scaled[..., None] ** np.arange(order + 1))[:, 0]  # (T, window)
    flat = points.reshape(count, -1)
    result = np.zeros(flat.shape)
    for offset in range(window):
        result += weights[:, offset, None] * flat[starts + offset]
    return result.reshape(points.shape).astype(points.dtype)


def _sequence(points, fps, times):
    """Points as a floating-point array (T, ...), and T times in seconds."""
    points = np.asarray(points)
    if points.dtype.kind != 'f':
        points = points.astype(np.float64)
    if points.ndim < 2 or not len(points):
        raise ValueError(f'points: expected at least one frame (T, ..., D), found {points.shape}')
    bad = ~np.isfinite(points).reshape(len(points), -1).all(axis=1)
    if bad.any():
        raise ValueError(f'points: frame {int(bad.argmax())} holds NaN or infinite values; fill '
                         'the gaps before smoothing')
    if (fps is None) == (times is None):
        raise ValueError(f'expected one of fps and times, found fps={fps!r} and times '
                         f'{"missing" if times is None else "given"}')
    if times is None:
        if not 0 < fps < np.inf:
            raise ValueError(f'fps: expected a positive number of frames per second, found {fps!r}')
        return points, np.arange(len(points)) / fps
    times = np.asarray(times, dtype=np.float64)
    if times.shape != points.shape[:1] or not np.isfinite(times).all() \
            or not (np.diff(times) > 0).all():
        raise ValueError(f'times: expected {len(points)} increasing seconds, one per frame, found '
                         f'shape {times.shape}' + ('' if times.shape != points.shape[:1] else
                                                   ' with steps that are not positive'))
    return points, times
