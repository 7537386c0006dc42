"""Place motion recorded anywhere on the floor into a capture volume and before its cameras."""

from typing import List, Tuple

import numpy as np

Piece = Tuple[int, int, np.ndarray]


def _centre(points: np.ndarray) -> np.ndarray:
    return (points.min(axis=0) + points.max(axis=0)) / 2


def _fits(points: np.ndarray, max_radius: float) -> bool:
    return bool(np.linalg.norm(points - _centre(points), axis=1).max() <= max_radius)


def _longest_fit(points: np.ndarray, max_radius: float) -> int:
    """Number of leading frames that fit: doubled until one does not fit, then bisected."""
    good, bad = 1, len(points) + 1
    step = 2
    while step < bad:
        if not _fits(points[:step], max_radius):
            bad = step
            break
        good, step = step, min(2 * step, len(points)) if step < len(points) else bad
    while bad - good > 1:
        middle = (good + bad) // 2
        if _fits(points[:middle], max_radius):
            good = middle
        else:
            bad = middle
    return good


def place_clip(root_xy: np.ndarray, max_radius: float = 2.5) -> List[Piece]:
    """Cut a clip into pieces that stay near one spot, and centre each of them.

    A piece fits when no frame is farther than ``max_radius`` from the centre of the piece's
    horizontal bounding box; a clip that fits is one piece. A longer path is cut greedily from its
    start, so every frame is in exactly one piece, in order. The radius is [np]: with 2.5 m all
    Human3.6M cameras (4 to 5.5 m from the centre) keep the person in front of them.

    Args:
        root_xy: (F, 2) horizontal world position of the root, metres.
        max_radius: Metres.

    Returns:
        List of (first, last, offset): frames [first, last) and the (2,) float64 centre of the
        piece's bounding box, to be subtracted from the horizontal coordinates of these frames.

    Raises:
        ValueError: wrong shape, no frame, a value that is not finite, or a radius that is not
            positive.
    """
    root_xy = np.asarray(root_xy, dtype=np.float64)
    if root_xy.ndim != 2 or root_xy.shape[1] != 2 or len(root_xy) == 0:
        raise ValueError(f'root_xy: expected (F, 2) with at least one frame, found {root_xy.shape}')
    if not np.isfinite(root_xy).all():
        raise ValueError(
            f'root_xy: frame {np.argwhere(~np.isfinite(root_xy))[0, 0]} is not finite; '
            'remove broken frames first'
        )
    if not max_radius > 0:
        raise ValueError(f'max_radius: expected a positive number of metres, found {max_radius}')
    pieces, first = [], 0
    while first < len(root_xy):
        last = first + _longest_fit(root_xy[first:], max_radius)
        pieces.append((first, last, _centre(root_xy[first:last])))
        first = last
    return pieces


def draw_cameras(num_cameras: int, per_clip: int, seed) -> np.ndarray:
    """Draw the cameras that see one clip, without repetition.

    Args:
        num_cameras: Cameras to choose from.
        per_clip: How many.
        seed: Seed of NumPy's generator, for example (seed of the run, number of the clip).

    Returns:
        (per_clip,) int64 camera numbers.
    """
    return np.random.default_rng(seed).permutation(num_cameras)[:per_clip]
