"""Which frames a window of a clip covers, for training and for evaluation (pure index arithmetic).

Starts may be negative and windows may run past the end of the clip: positions outside are filled by
repeating the first or the last frame (:func:`window_frames`).
"""

from typing import Tuple

import numpy as np

EVALUATION_MODES = ('paper', 'unique')


def _check(num_frames: int, length: int) -> None:
    if num_frames < 1:
        raise ValueError(f'num_frames: a clip needs at least 1 frame, found {num_frames}')
    if length < 1:
        raise ValueError(f'length: a window needs at least 1 frame, found {length}')


def training_windows(num_frames: int, length: int, interval: int = None) -> np.ndarray:
    """First frames of the training windows of one clip, centred over it.

    With ``interval == length`` these are the chunks of MixSTE's public code: n = ceil(F / T) chunks
    with floor((n T - F) / 2) padded frames on the left. For a smaller interval the rule is [np];
    here as few windows as cover the clip, centred in the same way.

    Args:
        num_frames: F, frames of the clip.
        length: T, frames of a window.
        interval: Frames between the starts of two windows, 1 to T. Defaults to T.

    Returns:
        (n,) int64, ascending.

    Raises:
        ValueError: An interval above T, which would leave frames uncovered, or below 1.
    """
    _check(num_frames, length)
    interval = length if interval is None else interval
    if not 1 <= interval <= length:
        raise ValueError(f'interval: expected 1 to the window length {length} (frames between two '
                         f'windows would be lost otherwise), found {interval}')
    count = -(-max(num_frames - length, 0) // interval) + 1
    offset = ((count - 1) * interval + length - num_frames) // 2
    return np.arange(count, dtype=np.int64) * interval - offset


def evaluation_windows(num_frames: int, length: int,
                       mode: str = 'paper') -> Tuple[np.ndarray, np.ndarray]:
    """Windows of one clip for evaluation, and which of their frames count.

    All but the last window start at multiples of T; the last one holds the last T frames of the
    clip, so that it overlaps the one before it when F is not a multiple of T. A clip shorter than T
    is padded on the right with its last frame.

    * ``paper``: every frame of every window counts, so overlapped frames count twice and padded
      frames count (what MixSTE's public evaluation does).
    * ``unique``: every frame of the clip counts once, in the window where it has more context: the
      overlap is cut in the middle, the earlier window keeps its first half.

    Args:
        num_frames: F, frames of the clip.
        length: T, frames of a window.
        mode: 'paper' or 'unique'.

    Returns:
        starts (n,) int64, and counted (n, 2) int64: frames [a, b) of each window that count.
    """
    _check(num_frames, length)
    if mode not in EVALUATION_MODES:
        raise ValueError(f'mode: expected one of {EVALUATION_MODES}, found {mode!r}')
    count = -(-num_frames // length)
    starts = np.arange(count, dtype=np.int64) * length
    starts[-1] = max(num_frames - length, 0)
    counted = np.tile(np.array([0, length], dtype=np.int64), (count, 1))
    if mode == 'unique':
        if count == 1:
            counted[0, 1] = num_frames
        else:
            overlap = starts[-2] + length - starts[-1]
            counted[-1, 0] = overlap - overlap // 2
            counted[-2, 1] = length - overlap // 2
    return starts, counted


def cross_fade_windows(num_frames: int, length: int,
                       overlap: float = 0.5) -> Tuple[np.ndarray, np.ndarray]:
    """Windows that cover a clip evenly, and the weights that join what a model says about them.

    The first window starts with the clip and the last one ends with it. The weight of a window
    falls linearly to zero just outside each of its ends that lies inside the clip; at every frame
    the weights of all windows sum to 1. Without overlap these are the windows of
    :func:`evaluation_windows` in mode 'unique', whose weights are 0 and 1. A clip shorter than T
    has one window, padded on the right.

    Args:
        num_frames: F, frames of the clip.
        length: T, frames of a window.
        overlap: Smallest share of T that two neighbouring windows have in common, up to rounding;
            0 or more and below 1.

    Returns:
        starts (n,) int64, ascending, and weights (n, T) float32, 0 for padded frames.

    Raises:
        ValueError: An overlap outside these bounds, or a size below 1.
    """
    _check(num_frames, length)
    check_overlap(overlap)
    position = np.arange(length)
    if overlap == 0 or num_frames <= length:
        starts, counted = evaluation_windows(num_frames, length, 'unique')
        kept = (position >= counted[:, :1]) & (position < counted[:, 1:])
        return starts, kept.astype(np.float32)
    step = max(1, round(length * (1 - overlap)))
    count = -(-(num_frames - length) // step) + 1
    starts = np.linspace(0, num_frames - length, count).round().astype(np.int64)
    common = (starts[:-1] + length - starts[1:])[:, None]  # frames of neighbouring windows
    weights = np.ones((count, length))
    weights[1:] = np.minimum(weights[1:], (position + 1) / (common + 1))
    weights[:-1] = np.minimum(weights[:-1], (length - position) / (common + 1))
    frames = window_frames(starts, length, num_frames)
    total = np.bincount(frames.ravel(), weights.ravel(), num_frames)
    return starts, (weights / total[frames]).astype(np.float32)


def check_overlap(overlap: float) -> None:
    """Raise ValueError unless windows can overlap by this share of their length."""
    if not 0 <= overlap < 1:
        raise ValueError('overlap: expected the share of a window that its neighbour shows too, 0 '
                         f'or more and below 1, found {overlap!r}')


def frame_windows(num_frames: int, length: int, causal: bool = False) -> np.ndarray:
    """First frames of one window per frame of the clip: the frame in its middle, or at its end.

    Args:
        num_frames: F, frames of the clip.
        length: T, frames of a window.
        causal: The target is the last frame of its window instead of frame T // 2.

    Returns:
        (F,) int64.
    """
    _check(num_frames, length)
    return np.arange(num_frames, dtype=np.int64) - target_frame(length, causal)


def target_frame(length: int, causal: bool = False) -> int:
    """Position of the target in a window of ``length`` frames that has one target."""
    return length - 1 if causal else length // 2


def window_frames(starts: np.ndarray, length: int, num_frames: np.ndarray) -> np.ndarray:
    """Frame numbers of windows, with positions outside the clip set to its first or last frame.

    Args:
        starts: (...) first frames, may be negative.
        length: T.
        num_frames: (...) or scalar, frames of each window's clip.

    Returns:
        (..., T) int64 in [0, num_frames).
    """
    frames = np.asarray(starts)[..., None] + np.arange(length)
    return np.clip(frames, 0, np.asarray(num_frames)[..., None] - 1)
