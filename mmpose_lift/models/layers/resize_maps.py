"""Heatmaps of another size that show every keypoint at the same place of the crop."""

import torch
from torch import Tensor


def resize_maps(maps: Tensor, height: int, width: int) -> Tensor:
    """Bilinear interpolation with pixel 0 of both maps at the same place.

    A keypoint at pixel x of a crop of side W is drawn at x * w / W in a map of side w (MMPose's
    ``MSRAHeatmap``), so pixel j of the new map is read at j * w / width. Both settings of
    ``align_corners`` in PyTorch's ``interpolate`` move keypoints instead, by half a pixel of the
    new map where the size doubles. Behind its last pixel a map goes on as it ends.

    Args:
        maps: (B, K, h, w).
        height, width: Size of the new maps.

    Returns:
        (B, K, height, width).
    """
    if maps.shape[-2:] == (height, width):
        return maps
    rows, columns = (_weights(source, size, maps)
                     for source, size in zip(maps.shape[-2:], (height, width)))
    return rows @ maps @ columns.mT


def _weights(source: int, size: int, like: Tensor) -> Tensor:
    """(size, source) how much of each old row goes into each new one."""
    places = (torch.arange(size, device=like.device) * (source / size)).clamp(max=source - 1)
    distance = (places[:, None] - torch.arange(source, device=like.device)).abs()
    return (1 - distance).clamp(min=0).to(like.dtype)
