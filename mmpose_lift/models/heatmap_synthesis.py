"""Heatmaps of keypoints and silhouettes of meshes, drawn in batches on the device of their points.

Map coordinates are those of MMPose's MSRA heatmaps: a map of S pixels spans a crop of the picture
from 0 to S, and pixel i shows what is *at* coordinate i (not at i + 0.5). A keypoint at p pixels of
a crop of C pixels is so at p S / C of the map.

Resizing a network's map of n pixels to S by ``F.interpolate(..., align_corners=False)`` puts its
peaks (S / n - 1) / 2 pixels too far to the right and down in this sense (from 56 to 112: 0.5).
"""

from typing import Optional, Union

import torch
from torch import Tensor

__all__ = ['draw_heatmaps', 'silhouettes']


def draw_heatmaps(points: Tensor, size: int, sigma: Union[float, Tensor],
                  visible: Optional[Tensor] = None) -> Tensor:
    """Gaussians with peak 1 around keypoints: exp(-d^2 / (2 sigma^2)), not cut off.

    The peak is reached where the keypoint lies on a pixel. Of a keypoint outside the map, the part
    of its Gaussian that is inside is drawn.

    Args:
        points: (B, K, 2) x, y in map pixels. A keypoint with NaN has an empty map.
        size: Side S of the maps in pixels.
        sigma: Standard deviation in map pixels, above 0: a number, or (B,).
        visible: (B, K), 0 or False for an empty map.

    Returns:
        (B, K, S, S) maps, rows down, of the type of ``points``.

    Raises:
        ValueError: wrong shape, or a ``sigma`` (a number) that is not above 0.
    """
    if points.dim() != 3 or points.shape[2] != 2:
        raise ValueError(f'points: expected shape (B, K, 2), found {tuple(points.shape)}')
    if not isinstance(sigma, Tensor) and not sigma > 0:
        raise ValueError(f'sigma: expected map pixels above 0, found {sigma}')
    grid = torch.arange(size, dtype=points.dtype, device=points.device)
    sigma = sigma.reshape(-1, 1, 1, 1) if isinstance(sigma, Tensor) else sigma
    profiles = torch.exp(-((grid - points[..., None]) / sigma).square() / 2)  # [B, K, 2, S]
    drawn = ~points.isnan().any(-1)
    if visible is not None:
        drawn = drawn & (visible > 0)
    x, y = profiles.where(drawn[..., None, None], profiles.new_zeros(())).unbind(2)
    return y[..., :, None] * x[..., None, :]


def silhouettes(points: Tensor, faces: Tensor, size: int) -> Tensor:
    """Masks of projected meshes, exact: 1 where a face covers the coordinate of a pixel.

    Each face is cut into the rows it crosses; the two ends of a row are marked in an array of
    differences, and summing up along the rows counts the faces over each pixel.

    Args:
        points: (B, V, 2) x, y in map pixels, finite; all vertices in front of the camera.
        faces: (F, 3) integer vertex numbers.
        size: Side S of the masks in pixels.

    Returns:
        (B, 1, S, S) masks of 0 and 1, of the type of ``points``.

    Raises:
        ValueError: wrong shape.
    """
    if points.dim() != 3 or points.shape[2] != 2 or faces.dim() != 2 or faces.shape[1] != 3:
        raise ValueError('points, faces: expected shapes (B, V, 2) and (F, 3), found '
                         f'{tuple(points.shape)} and {tuple(faces.shape)}')
    batch = len(points)
    corners = points[:, faces].flatten(0, 1)  # [B F, 3, 2]
    y = corners[..., 1]
    first, last = (edge.ceil().clamp(0, size).long() for edge in (y.amin(1), y.amax(1)))
    rows = last - first
    # one entry for each face and row, rows y with lowest <= y < highest
    owner = torch.repeat_interleave(rows)
    start = rows.cumsum(0) - rows
    row = torch.arange(len(owner), device=points.device) - (start - first)[owner]
    # [E, 3, 2]: of each edge the upper end and the lower one, so that faces that share an edge
    # compute the same crossing
    corners = corners[owner]
    following = corners.roll(-1, 1)
    swap = corners[..., 1:] > following[..., 1:]
    upper, lower = corners.where(~swap, following), following.where(~swap, corners)
    height = row[:, None].to(points.dtype)
    crossed = (upper[..., 1] <= height) & (height < lower[..., 1])
    along = (height - upper[..., 1]) / (lower[..., 1] - upper[..., 1])
    x = upper[..., 0] + along * (lower[..., 0] - upper[..., 0])
    left = x.where(crossed, x.new_tensor(torch.inf)).amin(1)
    right = x.where(crossed, x.new_tensor(-torch.inf)).amax(1)
    line = (owner // len(faces) * size + row) * (size + 1)
    ends = torch.cat([line + edge.ceil().clamp(0, size).long() for edge in (left, right)])
    marks = torch.ones_like(ends, dtype=torch.int32)
    marks[len(line):] = -1
    steps = marks.new_zeros(batch * size * (size + 1)).index_add_(0, ends, marks)
    count = steps.view(batch, 1, size, size + 1).cumsum(-1)[..., :size]
    return (count > 0).to(points.dtype)
