"""An exact z-buffer for triangles in numpy: no display, graphics driver or system package needed.

The triangles are cut into the pixel rows they cross (scan conversion). The end of a row is computed
from the edge alone, its vertices ordered by height, so that two triangles that share an edge share
its end exactly: no pixel is missed or drawn twice. With spans closed on the left and open on the
right, and rows closed at the top, this is the usual top-left rule.
"""

from dataclasses import dataclass
from typing import Tuple

import numpy as np

__all__ = ['Raster', 'rasterize']


@dataclass
class Raster:
    """What each pixel of a (height, width) = (H, W) picture shows.

    Attributes:
        face: (H, W) int32 index of the nearest face, -1 where there is none.
        depth: (H, W) float32 depth at the pixel's centre, infinite where there is no face.
        barycentric: (H, W, 3) float32 perspective-correct weights of the face's three vertices,
            0 where there is no face.
    """
    face: np.ndarray
    depth: np.ndarray
    barycentric: np.ndarray

    @property
    def covered(self) -> np.ndarray:
        """(N,) flat indices of the pixels with a face, row by row."""
        return np.flatnonzero(self.face >= 0)

    def interpolate(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """(N, C) values of the ``covered`` pixels from those of the vertices, (V, C)."""
        pixels = self.covered
        corners = faces[self.face.ravel()[pixels]]
        weights = self.barycentric.reshape(-1, 3)[pixels]
        result = weights[:, :1] * values[corners[:, 0]]
        for i in (1, 2):
            result += weights[:, i:i + 1] * values[corners[:, i]]
        return result


def _check(xy, depth, faces, size):
    xy, depth = np.asarray(xy, dtype=np.float64), np.asarray(depth, dtype=np.float64)
    faces = np.asarray(faces)
    if xy.ndim != 2 or xy.shape[1] != 2 or depth.shape != xy.shape[:1]:
        raise ValueError(f'xy, depth: expected shapes (V, 2) and (V,), found {xy.shape} and '
                         f'{depth.shape}')
    if faces.ndim != 2 or faces.shape[1] != 3 or not np.issubdtype(faces.dtype, np.integer):
        raise ValueError(f'faces: expected integers of shape (F, 3), found {faces.dtype} '
                         f'{faces.shape}')
    if faces.size and not 0 <= faces.min() <= faces.max() < len(xy):
        raise ValueError(f'faces: expected vertex numbers 0 to {len(xy) - 1}, found '
                         f'{faces.min()} to {faces.max()}')
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f'size: expected (width, height) of at least one pixel, found {size}')
    return xy, depth, faces


def _counted(first: np.ndarray, last: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """All integers of many ranges [first, last), and the number of the range of each."""
    count = np.maximum(last - first, 0)
    owner = np.repeat(np.arange(len(first)), count)
    shift = first - (np.cumsum(count) - count)
    return owner, np.arange(len(owner)) + shift[owner]


def _ordered(height, one, two) -> Tuple[np.ndarray, np.ndarray]:
    """Vertex numbers, swapped where the second is above the first."""
    swap = height[one] > height[two]
    return np.where(swap, two, one), np.where(swap, one, two)


def _pixel_range(low: np.ndarray, high: np.ndarray, end: int) -> Tuple[np.ndarray, np.ndarray]:
    """First and one past the last pixel whose centre is in [low, high), inside [0, end)."""
    return tuple(np.clip(np.ceil(x - 0.5), 0, end).astype(np.int64) for x in (low, high))


def rasterize(xy: np.ndarray, depth: np.ndarray, faces: np.ndarray, size: Tuple[int, int],
              cull_back: bool = False) -> Raster:
    """Find the nearest triangle at the centre of every pixel.

    Args:
        xy: (V, 2) vertices in pixels; the pixel in row 0, column 0 has its centre at (0.5, 0.5).
        depth: (V,) distance along the viewing axis, positive before the camera. A face with a
            vertex at 0 or behind is left out, not cut.
        faces: (F, 3) integer vertex numbers.
        size: (width, height).
        cull_back: Leave out faces seen from behind. The front is the side from which the vertices
            run counter-clockwise as the viewer sees them (clockwise means x right, y down turns
            from +x to +y).

    Returns:
        A ``Raster``. Where two faces have the same depth, the later one wins.

    Raises:
        ValueError: wrong shape or type, vertex number out of range, empty picture, or a vertex
            before the camera that is not finite.
    """
    xy, depth, faces = _check(xy, depth, faces, size)
    width, height = size
    before = depth > 0
    if not np.isfinite(xy[before]).all():
        raise ValueError('xy: expected finite positions of the vertices before the camera, found '
                         'NaN or infinity; check the projection')
    kept = np.flatnonzero(before[faces].all(axis=1))
    vertex_x, vertex_y = xy.T.copy()
    a, b, c = faces[kept].T
    if cull_back:
        front = ((vertex_x[b] - vertex_x[a]) * (vertex_y[c] - vertex_y[a])
                 < (vertex_y[b] - vertex_y[a]) * (vertex_x[c] - vertex_x[a]))
        kept, a, b, c = kept[front], a[front], b[front], c[front]
    for _ in range(2):  # by height: a at the top, c at the bottom
        a, b = _ordered(vertex_y, a, b)
        b, c = _ordered(vertex_y, b, c)
    first, last = _pixel_range(vertex_y[a], vertex_y[c], height)

    owner, row = _counted(first, last)  # one entry for each face and row
    centre = row + 0.5
    a, b, c = a[owner], b[owner], c[owner]
    upper = centre < vertex_y[b]
    # 1 / depth is linear in the picture, so it is carried along the edges and the rows
    nearness = np.zeros(len(depth))
    nearness[before] = 1 / depth[before]
    ends = []
    for start, end in ((np.where(upper, a, b), np.where(upper, b, c)), (a, c)):
        y = vertex_y[start]
        along = (centre - y) / (vertex_y[end] - y)
        ends.append([value[start] + along * (value[end] - value[start])
                     for value in (vertex_x, nearness)])
    (xa, na), (xb, nb) = ends
    swap = xa > xb
    left, right = np.where(swap, xb, xa), np.where(swap, xa, xb)
    left_pixel, right_pixel = _pixel_range(left, right, width)
    some = np.flatnonzero(right_pixel > left_pixel)
    swap, na, nb, left = swap[some], na[some], nb[some], left[some]
    near_left = np.where(swap, nb, na)
    near_slope = (np.where(swap, na, nb) - near_left) / (right[some] - left)

    span, column = _counted(left_pixel[some], right_pixel[some])  # one entry for each pixel
    value = near_left[span] + (column + 0.5 - left[span]) * near_slope[span]
    pixel = (row[some] * width)[span] + column
    nearest = np.zeros(width * height)
    np.maximum.at(nearest, pixel, value)
    wins = np.flatnonzero(value == nearest[pixel])
    face = np.full(width * height, -1, np.int32)
    face[pixel[wins]] = kept[owner[some[span[wins]]]]

    result = Raster(face.reshape(height, width), np.full((height, width), np.inf, np.float32),
                    np.zeros((height, width, 3), np.float32))
    shown = result.covered
    result.depth.ravel()[shown] = 1 / nearest[shown]
    result.barycentric.reshape(-1, 3)[shown] = _barycentric(xy, depth, faces[face[shown]], shown,
                                                            width)
    return result


def _barycentric(xy, depth, corners, pixels, width) -> np.ndarray:
    """(N, 3) weights in space of the vertices ``corners`` (N, 3) at the centres of ``pixels``."""
    x = xy[:, 0][corners] - (pixels % width + 0.5)[:, None]
    y = xy[:, 1][corners] - (pixels // width + 0.5)[:, None]
    after, last = [1, 2, 0], [2, 0, 1]
    area = x[:, after] * y[:, last] - x[:, last] * y[:, after]  # opposite to each vertex
    area *= np.where(area.sum(axis=1) < 0, -1, 1)[:, None]
    # A centre on an edge may lie outside by rounding; a face seen edge-on has no area at all.
    weight = (np.maximum(area, 0) + 1e-12) / depth[corners]
    return weight / weight.sum(axis=1, keepdims=True)
