"""Surface of the stand-in body (not SMPL): an implicit function of a person, and its mesh.

Tubes with elliptical sections and ellipsoids are blended into one function that is negative inside;
surface nets (Gibson, MERL TR-99-24) on a grid that is finer at face and hands mesh it; vertices are
evened out on the surface; the longest edges are split in mirror pairs until the count is SMPL's.
Sizes of the person are [np], near the averages of anthropometry tables. Metres; x to the left, y up
from the floor, z to the front.
"""

from functools import cache
from typing import Dict, Tuple

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.sparse import coo_matrix

__all__ = ['CROWN', 'LANDMARKS', 'adjacency', 'part_distances', 'template']

NUM_VERTICES = 6890

# Vertex numbers of SMPL's template that other software relies on.
LANDMARKS = dict(nose=332, right_eye=6260, left_eye=2800, right_ear=4071, left_ear=583,
                 head_top=411, left_middle_finger=2445, right_middle_finger=5905,
                 left_big_toe=3216, right_big_toe=6617)

CROWN = (0, 1.715, -0.005)  # [np]

# [np] Tubes: the axis along which stations are given, then one row per station: coordinate on that
# axis, centre and half width for the two other axes in the order x, y, z; last the lengths of the
# rounded ends.
_TUBES = {
    'trunk': ('y', [
        (0.87, 0, -0.005, 0.130, 0.090), (0.92, 0, -0.005, 0.158, 0.108),
        (0.98, 0, -0.002, 0.158, 0.110), (1.06, 0, 0.004, 0.142, 0.101),
        (1.12, 0, 0.007, 0.134, 0.099), (1.20, 0, 0.006, 0.144, 0.106),
        (1.28, 0, 0.002, 0.157, 0.113), (1.35, 0, -0.006, 0.156, 0.105),
        (1.40, 0, -0.014, 0.140, 0.086), (1.435, 0, -0.020, 0.108, 0.066),
        (1.465, 0, -0.020, 0.070, 0.056)], (0.03, 0.03)),
    'neck': ('y', [
        (1.42, 0, -0.020, 0.058, 0.057), (1.48, 0, -0.010, 0.051, 0.054),
        (1.55, 0, -0.002, 0.049, 0.055)], (0.02, 0.02)),
    'jaw': ('y', [
        (1.512, 0, 0.056, 0.032, 0.034), (1.53, 0, 0.036, 0.049, 0.056),
        (1.56, 0, 0.020, 0.061, 0.073), (1.60, 0, 0.008, 0.068, 0.084),
        (1.63, 0, 0.000, 0.071, 0.090), (1.66, 0, -0.002, 0.072, 0.092)], (0.02, 0.02)),
    'arm': ('x', [
        (0.13, 1.395, -0.018, 0.052, 0.052), (0.19, 1.402, -0.018, 0.056, 0.058),
        (0.25, 1.403, -0.018, 0.049, 0.050), (0.35, 1.403, -0.020, 0.044, 0.045),
        (0.43, 1.405, -0.022, 0.038, 0.039), (0.46, 1.405, -0.022, 0.038, 0.039),
        (0.52, 1.405, -0.020, 0.039, 0.041), (0.60, 1.405, -0.018, 0.032, 0.036),
        (0.68, 1.405, -0.018, 0.023, 0.030), (0.72, 1.405, -0.016, 0.020, 0.028)], (0.03, 0.03)),
    'hand': ('x', [
        (0.70, 1.404, -0.016, 0.019, 0.028), (0.735, 1.403, -0.014, 0.017, 0.036),
        (0.79, 1.401, -0.012, 0.017, 0.041), (0.83, 1.399, -0.012, 0.016, 0.038),
        (0.857, 1.397, -0.012, 0.015, 0.031)], (0.024, 0.024)),
    'leg': ('y', [
        (0.07, 0.108, -0.026, 0.032, 0.040), (0.12, 0.108, -0.026, 0.032, 0.038),
        (0.19, 0.109, -0.022, 0.037, 0.041), (0.28, 0.109, -0.018, 0.047, 0.052),
        (0.35, 0.108, -0.016, 0.052, 0.058), (0.43, 0.107, -0.006, 0.048, 0.054),
        (0.49, 0.106, 0.002, 0.051, 0.058), (0.55, 0.105, 0.002, 0.056, 0.062),
        (0.66, 0.102, 0.004, 0.067, 0.075), (0.78, 0.099, 0.002, 0.078, 0.089),
        (0.86, 0.096, 0.000, 0.082, 0.095), (0.91, 0.088, -0.002, 0.078, 0.096)], (0.03, 0.11)),
    'foot': ('z', [
        (-0.065, 0.108, 0.044, 0.028, 0.040), (0.00, 0.110, 0.046, 0.033, 0.044),
        (0.05, 0.114, 0.036, 0.039, 0.034), (0.10, 0.118, 0.025, 0.043, 0.024),
        (0.14, 0.120, 0.019, 0.039, 0.018)], (0.024, 0.024)),
}
# [np] Ellipsoids: centre and half axes, metres. One on the left stands for both sides.
_ELLIPSOIDS = {
    'cranium': ((0, 1.630, -0.006), (0.076, 0.092, 0.098)),
    'nose_ridge': ((0, 1.598, 0.096), (0.010, 0.026, 0.013)),
    'nose': ((0, 1.580, 0.107), (0.017, 0.013, 0.018)),
    'chin': ((0, 1.520, 0.086), (0.022, 0.014, 0.014)),
    'lips': ((0, 1.548, 0.094), (0.025, 0.010, 0.009)),
    'ear': ((0.080, 1.600, -0.012), (0.014, 0.030, 0.017)),
    'buttock': ((0.072, 0.915, -0.062), (0.082, 0.085, 0.072)),
    'chest': ((0.072, 1.30, 0.056), (0.076, 0.070, 0.054)),
    'shoulder_blade': ((0.085, 1.34, -0.072), (0.075, 0.08, 0.045)),
    'trapezius': ((0.075, 1.425, -0.025), (0.09, 0.034, 0.045)),
    'thumb_base': ((0.735, 1.398, 0.012), (0.038, 0.015, 0.020)),
    'thumb': ((0.775, 1.395, 0.036), (0.036, 0.0125, 0.0165)),
}
_EYE, _EYE_DEPTH, _EYE_SIZE = (0.032, 1.605, 0.094), 0.007, 0.012  # [np] hollow, metres
_BLEND = 0.009  # [np] metres over which parts flow into each other
_GRID_SCALE = 1.09  # [np] of the grid's steps: gives a little fewer vertices than wanted


@cache
def _profiles() -> dict:
    """Axis, smooth section along it, first and last station, rounded ends of every tube."""
    result = {}
    for name, (axis, rows, ends) in _TUBES.items():
        rows = np.array(rows)
        profile = PchipInterpolator(rows[:, 0], rows[:, 1:])
        result[name] = 'xyz'.index(axis), profile, rows[0, 0], rows[-1, 0], ends
    return result


def part_distances(points: np.ndarray) -> Dict[str, np.ndarray]:
    """Approximate signed distance, metres, of (N, 3) points (y from the floor) to every part."""
    folded = points.copy()
    folded[:, 0] = np.sqrt(points[:, 0]**2 + 0.006**2)  # both sides at once, without a crease
    result = {}
    for name, (axis, profile, first, last, ends) in _profiles().items():
        station = folded[:, axis]
        inside = np.clip(station, first, last)
        c1, c2, r1, r2 = profile(inside).T
        central = name in ('trunk', 'neck', 'jaw')
        a, b = ((points if central else folded)[:, i] for i in range(3) if i != axis)
        beyond = (station - inside) / np.where(station < first, *ends)
        rho = np.sqrt(((a - c1) / r1)**2 + ((b - c2) / r2)**2 + beyond**2)
        result[name] = (rho - 1) * np.minimum(r1, r2)
    for name, (centre, half) in _ELLIPSOIDS.items():
        p = points if centre[0] == 0 else folded
        rho = np.linalg.norm((p - centre) / half, axis=-1)
        result[name] = (rho - 1) * min(half)
    return result


def _field(points: np.ndarray) -> np.ndarray:
    """Implicit function of the body, about metres, negative inside; points (N, 3)."""
    distances = np.stack(list(part_distances(points).values()))
    nearest = distances.min(0)
    blended = nearest - _BLEND * np.log(np.exp((nearest - distances) / _BLEND).sum(0))
    folded = np.abs(points[:, 0]), points[:, 1], points[:, 2]
    eye = sum((a - b)**2 for a, b in zip(folded, _EYE))
    return blended + _EYE_DEPTH * np.exp(-eye / (2 * _EYE_SIZE**2))


def _grid_lines(rows, scale: float) -> np.ndarray:
    """Coordinates from rows (start, step from there); the last row ends the range."""
    lines = [rows[0][0]]
    starts, steps = np.array(rows).T
    while lines[-1] < starts[-1]:
        lines.append(lines[-1] + scale * steps[np.searchsorted(starts, lines[-1], 'right') - 1])
    return np.array(lines)


def _surface_nets() -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Closed surface of the field: one vertex per grid cell that it passes, the mean of the cell's
    crossing points; one quad per grid edge that it crosses.

    Returns:
        (V, 3) vertices, (Q, 4) quads counterclockwise from outside, (V,) mirrored vertex.
    """
    scale = _GRID_SCALE
    half = _grid_lines([(0.0075, 0.015), (0.095, 0.018), (0.68, 0.015), (0.91, 0.015)], scale)
    x = np.concatenate([-half[::-1], half])
    y = _grid_lines([(-0.03, 0.0145), (0.12, 0.021), (0.80, 0.017), (0.95, 0.020), (1.33, 0.014),
                     (1.47, 0.013), (1.76, 0.013)], scale)
    z = _grid_lines([(-0.16, 0.0185), (0.045, 0.0145), (0.20, 0.0145)], scale)
    shape = len(x), len(y), len(z)
    points = np.stack(np.meshgrid(half, y, z, indexing='ij'), -1).reshape(-1, 3)
    values = _field(points).reshape(len(half), *shape[1:])
    values = np.concatenate([values[::-1], values])
    grid = np.stack(np.meshgrid(x, y, z, indexing='ij'), -1)
    cells = tuple(n - 1 for n in shape)
    total, count = np.zeros(cells + (3,)), np.zeros(cells)
    around = []
    for axis in range(3):
        inside = np.moveaxis(values < 0, axis, 0)
        edge = np.argwhere(np.moveaxis(inside[:-1] != inside[1:], 0, axis))
        other = edge + np.eye(3, dtype=int)[axis]
        start, end = values[tuple(edge.T)], values[tuple(other.T)]
        weight = (start / (start - end))[:, None]
        crossing = (1 - weight) * grid[tuple(edge.T)] + weight * grid[tuple(other.T)]
        u, v = (axis + 1) % 3, (axis + 2) % 3
        corners = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):  # counterclockwise about the axis
            cell = edge.copy()
            cell[:, u] += du
            cell[:, v] += dv
            np.add.at(total, tuple(cell.T), crossing)
            np.add.at(count, tuple(cell.T), 1)
            corners.append(cell)
        quad = np.stack(corners, 1)
        around.append(np.where((start < 0)[:, None, None], quad, quad[:, ::-1]))
    used = count > 0
    number = np.full(cells, -1)
    number[used] = np.arange(used.sum())
    vertices = total[used] / count[used][:, None]
    quads = number[tuple(np.moveaxis(np.concatenate(around), -1, 0))]
    return vertices, quads, number[::-1][used]


def _value_and_gradient(points: np.ndarray, step: float = 1e-5) -> Tuple[np.ndarray, np.ndarray]:
    """(N,) field and (N, 3) forward differences of it."""
    offsets = step * np.concatenate([np.zeros((1, 3)), np.eye(3)])
    values = _field((points + offsets[:, None]).reshape(-1, 3)).reshape(4, -1)
    return values[0], (values[1:] - values[0]).T / step


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def adjacency(faces: np.ndarray, count: int):
    """(V, V) sparse matrix, 1 where two vertices share an edge."""
    pairs = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    pairs = np.unique(np.sort(pairs, 1), axis=0)
    matrix = coo_matrix((np.ones(len(pairs)), pairs.T), (count, count))
    return (matrix + matrix.T).tocsr()


def _to_surface(points: np.ndarray, steps: int = 3) -> np.ndarray:
    """Newton steps along the gradient of the field."""
    for _ in range(steps):
        value, gradient = _value_and_gradient(points)
        square = np.maximum((gradient**2).sum(1), 0.05)  # a crease must not throw a vertex away
        points = points - (np.clip(value, -0.01, 0.01) / square)[:, None] * gradient
    return points


def _even_out(vertices: np.ndarray, edges, mirror: np.ndarray, steps: int) -> np.ndarray:
    """Move vertices along the surface towards the middle of their neighbours."""
    degree = np.asarray(edges.sum(1))
    flip = np.array([-1, 1, 1])
    for _ in range(steps):
        normal = _unit(_value_and_gradient(vertices)[1])
        move = edges @ vertices / degree - vertices
        move -= (move * normal).sum(1, keepdims=True) * normal
        vertices = _to_surface(vertices + 0.5 * move, 1)
        vertices = (vertices + flip * vertices[mirror]) / 2
    return vertices


def _triangles(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Cut quads along the shorter diagonal."""
    a, b, c, d = np.moveaxis(vertices[quads], 1, 0)
    across = np.linalg.norm(a - c, axis=1) > np.linalg.norm(b - d, axis=1)
    quads = np.where(across[:, None], np.roll(quads, -1, 1), quads)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _split_to_size(vertices: np.ndarray, faces: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Split the longest edges of the left half until both halves together have the full size.

    Args:
        vertices: (H, 3) of the left half, x = 0 on the middle line.
        faces: (F, 3) of the left half.
    """
    def full_size(points):
        return 2 * len(points) - (points[:, 0] == 0).sum()

    if full_size(vertices) > NUM_VERTICES:
        raise RuntimeError(f'the grid gives {full_size(vertices)} vertices, more than '
                           f'{NUM_VERTICES}: make _GRID_SCALE larger')
    while full_size(vertices) < NUM_VERTICES:
        edges = np.stack([faces, np.roll(faces, -1, 1)], -1)  # (F, 3, 2)
        ends = vertices[edges]
        length = np.linalg.norm(ends[..., 0, :] - ends[..., 1, :], axis=-1)
        middle = (ends[..., 0] == 0).all(-1)  # splitting one of these adds a single vertex
        odd = (NUM_VERTICES - full_size(vertices)) % 2 == 1
        length[middle != odd] = 0
        pair = edges[np.unravel_index(length.argmax(), length.shape)]
        new = len(vertices)
        vertices = np.concatenate([vertices, vertices[pair].mean(0, keepdims=True)])
        touched = np.isin(faces, pair).sum(1) == 2
        old = faces[touched]
        faces = np.concatenate([faces[~touched], np.where(old == pair[0], new, old),
                                np.where(old == pair[1], new, old)])
    middle = vertices[:, 0] == 0
    vertices = _to_surface(vertices)
    vertices[middle, 0] = 0
    return vertices, faces


@cache
def template() -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Surface at rest, y from the floor: (6890, 3) vertices, (13776, 3) faces, mirrored vertex."""
    vertices, quads, mirror = _surface_nets()
    faces = _triangles(vertices, quads)
    vertices = _even_out(_to_surface(vertices), adjacency(faces, len(vertices)), mirror, 12)
    vertices[mirror == np.arange(len(mirror)), 0] = 0
    faces = _triangles(vertices, quads[vertices[quads][..., 0].sum(1) > 0])
    left = np.unique(faces)
    number = np.full(len(vertices), -1)
    number[left] = np.arange(len(left))
    vertices, faces = _split_to_size(vertices[left], number[faces])
    # the right half, mirrored; vertices of the middle line are shared
    side = np.flatnonzero(vertices[:, 0] > 0)
    mirror = np.arange(NUM_VERTICES)
    mirror[side] = len(vertices) + np.arange(len(side))
    mirror[mirror[side]] = side
    vertices = np.concatenate([vertices, vertices[side] * [-1, 1, 1]])
    faces = np.concatenate([faces, mirror[faces][:, ::-1]])
    return _renumber(vertices, faces, mirror)


def _renumber(vertices, faces, mirror):
    """Give the landmarks SMPL's vertex numbers: swap them with what is there."""
    eye, ear = np.array(_EYE), np.array([0.095, 1.60, -0.012])
    finger, toe = np.array([0.90, 1.397, -0.012]), np.array([0.12, 0.02, 0.18])
    flip = np.array([-1, 1, 1])
    targets = dict(nose=(0, 1.58, 0.13), head_top=CROWN, left_eye=eye, right_eye=eye * flip,
                   left_ear=ear, right_ear=ear * flip, left_middle_finger=finger,
                   right_middle_finger=finger * flip, left_big_toe=toe, right_big_toe=toe * flip)
    order = np.arange(NUM_VERTICES)  # order[new] = old
    for name, target in targets.items():
        old = np.linalg.norm(vertices[order] - target, axis=1).argmin()
        order[[LANDMARKS[name], old]] = order[[old, LANDMARKS[name]]]
    new = np.argsort(order)
    return vertices[order], new[faces], new[mirror[order]]
