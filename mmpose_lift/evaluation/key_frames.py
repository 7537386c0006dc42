"""Linear interpolation of poses between the frames that were predicted (Uplift and Upsample)."""

from typing import Tuple, Union

import numpy as np

__all__ = ['fill_between', 'interpolate_key_frames']


def interpolate_key_frames(poses: np.ndarray, frame_indices: np.ndarray,
                           stride: int) -> Tuple[np.ndarray, np.ndarray]:
    """Keep every ``stride``-th frame of one or several clips and interpolate the others.

    Frames between two kept ones are linear in time, per joint coordinate; frames after the last
    kept frame of a clip copy it (public code). Frames before the first kept one copy that one
    [np]: the public code is only used on clips that begin with frame 0.

    Args:
        poses: (N, K, 3) one pose per frame, clip after clip.
        frame_indices: (N,) frame numbers inside their clips. A new clip starts where the number
            does not increase.
        stride: Frames whose number is a multiple of it are kept.

    Returns:
        The poses (N, K, 3), kept ones unchanged, and (N,) bool, True for the kept frames.

    Raises:
        ValueError: shapes do not fit, a stride below 1, or a clip without a kept frame.
    """
    poses, frames = _poses(poses), _frame_numbers(frame_indices, 'frame_indices')
    if len(poses) != len(frames):
        raise ValueError(f'frame_indices: expected one number for each of the {len(poses)} poses, '
                         f'found {len(frames)}')
    if stride < 1:
        raise ValueError(f'stride: expected at least 1 frame, found {stride}')
    is_key_frame = frames % stride == 0
    if len(frames) == 0:
        return poses.copy(), is_key_frame
    clip = np.concatenate([[0], np.cumsum(np.diff(frames) <= 0)])
    kept = np.flatnonzero(is_key_frame)
    per_clip = np.bincount(clip[kept], minlength=clip[-1] + 1)
    if not per_clip.all():
        first = int(np.flatnonzero(clip == np.flatnonzero(per_clip == 0)[0])[0])
        raise ValueError(f'the clip that starts at row {first} with frame {frames[first]} has no '
                         f'frame whose number is a multiple of {stride}; nothing to interpolate')
    last = np.cumsum(per_clip) - 1  # of each clip, as position in `kept`
    after = np.searchsorted(kept, np.arange(len(frames)))  # first kept row at or after each row
    before = after - (kept[np.minimum(after, len(kept) - 1)] != np.arange(len(frames)))
    before, after = (np.clip(x, (last - per_clip + 1)[clip], last[clip]) for x in (before, after))
    return _blend(poses, kept[before], kept[after], frames, frames), is_key_frame


def fill_between(poses: np.ndarray, kept: np.ndarray,
                 frames: Union[int, np.ndarray]) -> np.ndarray:
    """Poses of other frames of one clip, linear in time between the given ones.

    Frames before the first and after the last given one copy it.

    Args:
        poses: (M, K, 3) poses of the frames ``kept``.
        kept: (M,) their frame numbers, strictly increasing.
        frames: (N,) wanted frame numbers in any order, or their count: frames 0 to N - 1.

    Returns:
        (N, K, 3) poses in the dtype of ``poses``; those of kept frames are unchanged.

    Raises:
        ValueError: shapes do not fit, no pose, or numbers that do not increase.
    """
    poses, kept = _poses(poses), _frame_numbers(kept, 'kept')
    frames = np.arange(frames) if np.ndim(frames) == 0 else _frame_numbers(frames, 'frames')
    if len(poses) != len(kept) or len(kept) == 0:
        raise ValueError(f'kept: expected one frame number for each of the {len(poses)} poses and '
                         f'at least one pose, found {len(kept)} numbers')
    if (np.diff(kept) <= 0).any():
        at = int(np.flatnonzero(np.diff(kept) <= 0)[0])
        raise ValueError('kept: the frame numbers must increase strictly, found '
                         f'{kept[at]}, {kept[at + 1]} at position {at}')
    after = np.searchsorted(kept, frames).clip(max=len(kept) - 1)
    before = (after - (kept[after] > frames)).clip(min=0)
    return _blend(poses, before, after, kept, frames)


def _blend(poses, before, after, times, wanted) -> np.ndarray:
    """Rows ``before`` and ``after`` of poses at ``times``, mixed by where ``wanted`` lies."""
    distance = times[after] - times[before]
    weight = (wanted - times[before]) / np.maximum(distance, 1)
    weight = np.where(distance > 0, weight, 0.0).astype(poses.dtype)[:, None, None]
    start = poses[before]
    return start + (poses[after] - start) * weight


def _poses(poses) -> np.ndarray:
    poses = np.asarray(poses)
    if poses.ndim != 3:
        raise ValueError(f'poses: expected (N, K, 3), found {poses.shape}')
    return poses if poses.dtype.kind == 'f' else poses.astype(np.float64)


def _frame_numbers(frames, name: str) -> np.ndarray:
    frames = np.asarray(frames)
    if frames.ndim != 1 or (frames.size and frames.dtype.kind not in 'iu'):
        raise ValueError(f'{name}: expected whole numbers (N,), found {frames.dtype} '
                         f'{frames.shape}')
    return frames.astype(np.int64)
