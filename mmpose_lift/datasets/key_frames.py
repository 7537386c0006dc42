"""Windows on a frame grid, and which of their tokens carry a 2D pose.

Einfalt, Ludwig, Lienhart: Uplift and Upsample, WACV 2023. A window has L tokens, ``output_stride``
(s_out) frames apart, around a centre frame. Only every ``input_stride``-th (s_in) frame of a clip
is a key-frame, one whose 2D pose is known. All functions are index arithmetic on integer arrays.
"""

from typing import Tuple

import numpy as np


def check_strides(input_stride: int, output_stride: int) -> None:
    """Raise ValueError unless s_in is a positive multiple of s_out."""
    if output_stride < 1:
        raise ValueError(f'output stride: expected at least 1 frame, found {output_stride}')
    if input_stride < output_stride or input_stride % output_stride:
        raise ValueError(f'input stride: expected a multiple of the output stride {output_stride}, '
                         f'found {input_stride}; key-frames would fall between the tokens')


def token_offsets(num_tokens: int, output_stride: int) -> np.ndarray:
    """(L,) frame of each token relative to the centre, token L // 2."""
    return (np.arange(num_tokens) - num_tokens // 2) * output_stride


def grid_window(centers: np.ndarray, num_tokens: int, output_stride: np.ndarray,
                num_frames: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Frames of windows; tokens outside the clip repeat its first or last frame on their grid.

    Args:
        centers: (...) centre frames, inside their clips.
        num_tokens: L.
        output_stride: (...) or scalar, frames between tokens.
        num_frames: (...) or scalar, frames of each window's clip.

    Returns:
        frames (..., L) int64 in [0, num_frames), and inside (..., L) bool.
    """
    centers, step = np.asarray(centers, np.int64), np.asarray(output_stride, np.int64)
    before = (centers // step)[..., None]  # tokens between the centre and the start of the clip
    after = ((np.asarray(num_frames) - 1 - centers) // step)[..., None]
    token = np.arange(num_tokens) - num_tokens // 2
    inside = (token >= -before) & (token <= after)
    return centers[..., None] + np.clip(token, -before, after) * step[..., None], inside


def key_frame_mask(positions: np.ndarray, input_stride: np.ndarray) -> np.ndarray:
    """Where frame numbers fall on the key-frame grid; negative ones continue it to the left.

    Args:
        positions: (..., L) frame numbers relative to a key-frame.
        input_stride: (...) or scalar.

    Returns:
        (..., L) bool.
    """
    return np.asarray(positions) % np.asarray(input_stride)[..., None] == 0


def random_shifts(ratio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Random shift of the key-frame grid in tokens, so that the centre need not be a key-frame.

    Uniform over [-M, M] for odd m = s_in / s_out and [-M, M - 1] for even m, M = ceil((m - 1) / 2):
    each of the m alignments is equally likely.

    Args:
        ratio: (...) m.
        generator: Source of the numbers.

    Returns:
        (...) int64.
    """
    ratio = np.asarray(ratio, np.int64)
    half = -(-(ratio - 1) // 2)
    return generator.integers(-half, ratio - half)
