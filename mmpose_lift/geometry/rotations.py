"""Rotations as matrices, quaternions, Euler angles and axis-angle vectors (right-handed)."""

import numpy as np

__all__ = ['axis_angle_to_matrix', 'euler_to_matrix', 'matrix_to_quaternion',
           'quaternion_to_matrix', 'slerp']


def _check_last(array, size: int, what: str) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind != 'f':
        array = array.astype(np.float64)
    if array.ndim < 1 or array.shape[-1] != size:
        raise ValueError(f'{what} must have shape (..., {size}), found {array.shape}')
    return array


def quaternion_to_matrix(quaternion) -> np.ndarray:
    """(..., 4) quaternions w, x, y, z, normalised here, to (..., 3, 3) matrices: v' = R v.

    Raises:
        ValueError: wrong shape or a quaternion of length zero.
    """
    q = _check_last(quaternion, 4, 'quaternion (w, x, y, z)')
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if not (norm > 0).all():
        raise ValueError('quaternion (w, x, y, z) has length zero or is not a number')
    w, x, y, z = np.moveaxis(q / norm, -1, 0)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return np.stack(rows, -1).reshape(q.shape[:-1] + (3, 3))


def matrix_to_quaternion(matrix) -> np.ndarray:
    """(..., 3, 3) rotation matrices to (..., 4) unit quaternions w, x, y, z with w >= 0.

    Works at every angle: the largest of the four components is found first and the others are
    divided by it.
    """
    m = _check_last(matrix, 3, 'rotation matrix')
    if m.ndim < 2 or m.shape[-2] != 3:
        raise ValueError(f'rotation matrix must have shape (..., 3, 3), found {m.shape}')
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = (m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0],
                  m[..., 1, 0] - m[..., 0, 1])
    xy, xz, yz = (m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0],
                  m[..., 1, 2] + m[..., 2, 1])
    # Row i of the outer product 4 q q^T: q itself times 4 q_i.
    outer = np.stack([1 + xx + yy + zz, wx, wy, wz,
                      wx, 1 + xx - yy - zz, xy, xz,
                      wy, xy, 1 - xx + yy - zz, yz,
                      wz, xz, yz, 1 - xx - yy + zz], -1).reshape(m.shape[:-2] + (4, 4))
    largest = np.diagonal(outer, axis1=-2, axis2=-1).argmax(-1)
    q = np.take_along_axis(outer, largest[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., :1] < 0, -q, q)


def euler_to_matrix(angles, order: str, degrees: bool = False) -> np.ndarray:
    """Euler angles to matrices, rotating about the moving axes in the order given.

    `order='zyx'` with angles (a, b, c) is Rz(a) Ry(b) Rx(c), the way a BVH file with channels
    "Zrotation Yrotation Xrotation" is read. Capital letters mean the same.

    Args:
        angles: (..., n) radians, one per letter of `order`.
        order: 1 to 3 letters of x, y, z.
        degrees: angles are in degrees.

    Returns:
        (..., 3, 3) matrices.
    """
    axes = order.lower()
    if not 1 <= len(axes) <= 3 or any(a not in 'xyz' for a in axes):
        raise ValueError(f"order must be 1 to 3 letters of 'xyz', found {order!r}")
    angles = _check_last(angles, len(axes), f'Euler angles of order {order!r}')
    if degrees:
        angles = np.deg2rad(angles)
    result = None
    for i, axis in enumerate(axes):
        a = 'xyz'.index(axis)
        b, c = (a + 1) % 3, (a + 2) % 3
        cos, sin = np.cos(angles[..., i]), np.sin(angles[..., i])
        matrix = np.zeros(angles.shape[:-1] + (3, 3), angles.dtype)
        matrix[..., a, a] = 1
        matrix[..., b, b] = matrix[..., c, c] = cos
        matrix[..., b, c], matrix[..., c, b] = -sin, sin
        result = matrix if result is None else result @ matrix
    return result


def axis_angle_to_matrix(axis_angle) -> np.ndarray:
    """(..., 3) vectors, axis times angle in radians, to (..., 3, 3) matrices (Rodrigues)."""
    v = _check_last(axis_angle, 3, 'axis-angle vector')
    angle = np.linalg.norm(v, axis=-1, keepdims=True)
    # sin(a/2)/a without a division by zero; np.sinc(x) is sin(pi x)/(pi x).
    xyz = v * 0.5 * np.sinc(angle / (2 * np.pi))
    return quaternion_to_matrix(np.concatenate([np.cos(angle / 2), xyz], -1))


def slerp(start, end, fraction) -> np.ndarray:
    """Spherical interpolation between unit quaternions on the shorter arc.

    Args:
        start, end: (..., 4) quaternions w, x, y, z.
        fraction: scalar or (...,), 0 gives `start` and 1 gives `end` (up to sign).

    Returns:
        (..., 4) unit quaternions.
    """
    a, b = _check_last(start, 4, 'start'), _check_last(end, 4, 'end')
    a = a / np.linalg.norm(a, axis=-1, keepdims=True)
    b = b / np.linalg.norm(b, axis=-1, keepdims=True)
    dot = (a * b).sum(-1, keepdims=True)
    b = np.where(dot < 0, -b, b)
    # The half-chord form keeps its accuracy for nearly equal quaternions, unlike arccos.
    angle = 2 * np.arctan2(np.linalg.norm(a - b, axis=-1, keepdims=True),
                           np.linalg.norm(a + b, axis=-1, keepdims=True))
    t = np.asarray(fraction, dtype=a.dtype)[..., None]
    scale = np.sinc(angle / np.pi)
    mixed = ((1 - t) * np.sinc((1 - t) * angle / np.pi) * a
             + t * np.sinc(t * angle / np.pi) * b) / scale
    return mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
