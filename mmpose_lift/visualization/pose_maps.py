"""Heatmaps of keypoints, and the pose feature maps they become, over the picture of a person."""

from typing import Optional, Sequence

import cv2
import numpy as np

__all__ = ['colour_maps', 'draw_pose_maps', 'stack_pictures']

_TILE, _COLUMNS, _GAP, _LINE = 180, 6, 4, 18  # [np] pixels, but for the number of columns
_DIM = 0.45  # [np] how bright the picture stays below a map
_BACKGROUND, _TEXT = 255, (30, 30, 30)


def colour_maps(maps: np.ndarray, picture: Optional[np.ndarray] = None) -> np.ndarray:
    """All maps at once, each in a hue of its own.

    Args:
        maps: (K, h, w) from 0 to 1; what is outside is clipped.
        picture: (h, w, 3) uint8 BGR that shows through where no map is. Default: black.

    Returns:
        (h, w, 3) uint8 BGR.
    """
    values = np.clip(maps, 0, 1).astype(np.float32)
    hues = np.linspace(0, 180, len(values), endpoint=False)
    hsv = np.stack([hues, np.full_like(hues, 255), np.full_like(hues, 255)], -1)
    colours = cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2BGR)[0].astype(np.float32)
    total = values.sum(0)
    mixed = np.einsum('khw,kc->hwc', values, colours) / np.maximum(total, 1e-6)[..., None]
    cover = values.max(0, initial=0)[..., None]
    below = 0 if picture is None else picture
    return (below * (1 - cover) + mixed * cover).round().astype(np.uint8)


def draw_pose_maps(maps: np.ndarray, picture: Optional[np.ndarray] = None,
                   names: Optional[Sequence[str]] = None, title: str = '') -> np.ndarray:
    """One tile with all maps in colours, then one for each map over the dimmed picture.

    Brightness is common to all tiles: the largest value of all maps, at least 1, is the brightest.
    The largest value of each map is written beside its name.

    Args:
        maps: (K, h, w); negative values are shown as 0.
        picture: (H, W, 3) uint8 BGR, the crop that the maps are of. Default: black.
        names: Of the K maps. Default: their numbers.
        title: Written above the first tile.

    Returns:
        (H, W, 3) uint8 BGR, 6 tiles wide.

    Raises:
        ValueError: ``maps`` of another shape or with values that are not finite, or not as many
            names.
    """
    maps = np.asarray(maps, np.float32)
    if maps.ndim != 3 or not maps.size or not np.isfinite(maps).all():
        raise ValueError(f'maps: expected finite numbers (K, h, w), found shape {maps.shape}'
                         + (' with NaN or infinite values' if maps.ndim == 3 and maps.size else ''))
    names = [f'map {i}' for i in range(len(maps))] if names is None else list(names)
    if len(names) != len(maps):
        raise ValueError(f'names: expected {len(maps)}, one for each map, found {len(names)}')
    size = _TILE, round(_TILE * maps.shape[1] / maps.shape[2])
    peaks = maps.max((1, 2))
    maps = np.stack([_fit(m, size) for m in maps]) / max(1, peaks.max())
    picture = np.zeros((*size[::-1], 3), np.uint8) if picture is None else _fit(picture, size)
    tiles = [_tile(colour_maps(maps, picture), title)]
    dimmed = picture * _DIM
    for values, name, peak in zip(maps, names, peaks):
        share = np.clip(values, 0, 1)
        heat = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_HOT)
        shown = np.clip(dimmed * (1 - share[..., None]) + heat, 0, 255).astype(np.uint8)
        tiles.append(_tile(shown, f'{name} {peak:.2f}'))
    blank = np.full_like(tiles[0], _BACKGROUND)
    tiles += [blank] * (-len(tiles) % min(_COLUMNS, len(tiles)))
    return stack_pictures([np.concatenate(tiles[i:i + _COLUMNS], 1)
                           for i in range(0, len(tiles), _COLUMNS)])


def stack_pictures(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures (H, W, 3) one below the other, filled up with white to the widest."""
    width = max(picture.shape[1] for picture in pictures)
    return np.concatenate([
        cv2.copyMakeBorder(picture, 0, 0, 0, width - picture.shape[1], cv2.BORDER_CONSTANT,
                           value=(_BACKGROUND, ) * 3) for picture in pictures])


def _fit(image: np.ndarray, size: tuple) -> np.ndarray:
    """Resized so that pixel 0 stays pixel 0, as heatmaps and crops lie on each other."""
    height, width = image.shape[:2]
    scale = np.array([[size[0] / width, 0, 0], [0, size[1] / height, 0]])
    return cv2.warpAffine(image, scale, size, flags=cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REPLICATE)


def _tile(image: np.ndarray, text: str) -> np.ndarray:
    """With a line of text above and a gap around."""
    tile = cv2.copyMakeBorder(image, _LINE, _GAP, 0, _GAP, cv2.BORDER_CONSTANT,
                              value=(_BACKGROUND, ) * 3)
    scale = min(0.42, 0.42 * image.shape[1] / max(1, cv2.getTextSize(
        text, cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1)[0][0]))
    cv2.putText(tile, text, (1, _LINE - 5), cv2.FONT_HERSHEY_SIMPLEX, scale, _TEXT, 1, cv2.LINE_AA)
    return tile
