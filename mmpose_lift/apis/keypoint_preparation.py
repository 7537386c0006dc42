"""2D keypoints as detected, made ready for a lifter: its joints, without joints that were missed.

A lifter takes every joint at face value. What a 2D model places with a low score is replaced by
what the frames around it say.
"""

from typing import NamedTuple

import numpy as np

from ..geometry.joint_conventions import convention_of, to_lifter
from ..geometry.skeletons import Skeleton, get_skeleton

__all__ = ['LOW_SCORES', 'MAX_GAP', 'MIN_RUN', 'MIN_SCORE', 'Prepared', 'prepare_keypoints']

LOW_SCORES = ('interpolate', 'keep')
MIN_SCORE = 0.3  # [np], MMPose's threshold for drawing
MAX_GAP = 50  # frames [np], a second at 50 per second: measured in docs/joints.md
MIN_RUN = 2  # frames [np]


class Prepared(NamedTuple):
    """Keypoints ready for a lifter.

    Attributes:
        keypoints: (T, J, 3) x, y in pixels, all finite, and the score as detected (0 where there
            was none).
        trusted: (T, J) False where the joint was missed in that frame.
    """
    keypoints: np.ndarray
    trusted: np.ndarray


def prepare_keypoints(keypoints: np.ndarray, convention: str, skeleton: 'str | Skeleton',
                      min_score: float = MIN_SCORE, max_gap: int = MAX_GAP,
                      low_scores: str = 'interpolate', min_run: int = MIN_RUN) -> Prepared:
    """Convert one person's keypoints to the joints of a lifter and fill what was missed.

    A joint is trusted in a frame where its score is at least ``min_score`` and its position finite;
    not in a run of fewer than ``min_run`` such frames between frames where it is missed: a flicker.
    Frames where it is not trusted are interpolated linearly from the trusted ones around them, and
    before the first and after the last one the joint stays where it is. Over more than ``max_gap``
    frames the 2D model's guess is better than that and is kept; so is all of a joint that is never
    trusted. Positions that are not finite are always interpolated.

    Args:
        keypoints: (T, K, 3) x, y in pixels and score, consecutive frames of one person. Frames
            without a detection hold NaN.
        convention: Joints of ``keypoints``, see
            :func:`~mmpose_lift.geometry.joint_conventions.convention_of`.
        skeleton: Joints of the lifter.
        min_score: Score from which on a joint is trusted; 0 trusts all that are finite.
        max_gap: Frames.
        low_scores: 'interpolate', or 'keep': joints of low score keep their positions and are only
            marked in ``trusted``.
        min_run: Frames; 1 keeps flickers.

    Raises:
        ValueError: wrong shape, convention, skeleton or option, or a joint without a finite
            position in any frame.
    """
    keypoints = np.asarray(keypoints)
    if keypoints.ndim != 3 or keypoints.shape[-1] != 3 or not len(keypoints):
        raise ValueError('keypoints: expected (T, K, 3) x, y and score of at least one frame, '
                         f'found {keypoints.shape}')
    if low_scores not in LOW_SCORES:
        raise ValueError(f'low_scores: expected one of {LOW_SCORES}, found {low_scores!r}')
    if max_gap < 0 or min_run < 1:
        raise ValueError('max_gap must be at least 0 and min_run at least 1, found '
                         f'{max_gap} and {min_run}')
    skeleton = get_skeleton(skeleton)
    joints = to_lifter(keypoints.astype(np.float32, copy=False), convention_of(convention),
                       skeleton)
    xy, score = joints[..., :2], np.nan_to_num(joints[..., 2], nan=0, posinf=0, neginf=0)
    finite = np.isfinite(joints).all(-1)
    trusted = _without_flickers(finite & (score >= min_score), min_run)
    usable = np.isfinite(xy).all(-1)
    if not usable.any(0).all():
        absent = [skeleton.joint_names[j] for j in np.flatnonzero(~usable.any(0))]
        raise ValueError(f'keypoints: no finite position of {", ".join(absent)} of skeleton '
                         f'{skeleton.name!r} in any of {len(xy)} frames; leave this person out')
    if low_scores == 'interpolate':
        short = ~trusted & (_gap_length(trusted) <= max_gap) & trusted.any(0)
        xy = _fill(xy, trusted, short)
        usable |= short
    xy = _fill(xy, usable, ~usable)
    return Prepared(np.concatenate([xy, score[..., None]], -1), trusted)


def _neighbours(known: np.ndarray):
    """(T, J) the known frame before or at each frame (-1: none), and that after (T: none)."""
    frames = np.arange(len(known))[:, None]
    before = np.maximum.accumulate(np.where(known, frames, -1))
    after = np.minimum.accumulate(np.where(known, frames, len(known))[::-1])[::-1]
    return before, after


def _gap_length(known: np.ndarray) -> np.ndarray:
    """(T, J) number of unknown frames in a row around each unknown frame."""
    before, after = _neighbours(known)
    return after - before - 1


def _without_flickers(trusted: np.ndarray, min_run: int) -> np.ndarray:
    """Drop runs shorter than `min_run` inside the clip, unless nothing would be left of a joint."""
    before, after = _neighbours(~trusted)
    inside = (before >= 0) & (after < len(trusted))
    kept = trusted & ~(inside & (after - before - 1 < min_run))
    return np.where(kept.any(0), kept, trusted)


def _fill(xy: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Positions (T, J, 2) interpolated where (T, J) `wanted` from where `known`."""
    last = len(xy) - 1
    before, after = _neighbours(known)
    # Ends are held: without a known frame on one side, that of the other side stands for it.
    start = np.where(before < 0, after, before).clip(0, last)
    end = np.where(after > last, before, after).clip(0, last)
    share = (np.arange(len(xy))[:, None] - start) / np.maximum(end - start, 1)
    a, b = (np.take_along_axis(xy, i[..., None], 0) for i in (start, end))
    share = share.clip(0, 1)[..., None].astype(xy.dtype)
    return np.where(wanted[..., None], a + share * (b - a), xy)
