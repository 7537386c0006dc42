"""Rotations as torch tensors over any leading axes (right-handed, v' = R v; see ``rotations`` for
numpy). Gradients are finite everywhere, and right at angle 0 and at half turns."""

from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ['align_vectors', 'axis_angle_to_matrix', 'compose_matrix', 'half_turn',
           'matrix_to_axis_angle', 'matrix_to_quaternion', 'matrix_to_quaternion_cases',
           'matrix_to_rotation_6d', 'perpendicular', 'quaternion_parts', 'quaternion_to_matrix',
           'rotation_6d_to_matrix', 'rotation_about', 'rotation_parts', 'shortest_rotation',
           'swing_twist']

# [np] Two unit vectors whose sum is shorter than this count as opposed: rounding would turn the
# axis of the half turn by more, a fixed axis misses the target by less.
_OPPOSED = 3e-4


def compose_matrix(scale: Tensor, vector: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Matrices scale * 1 + [vector] + left right^T, [v] x being the cross product with v.

    Components come first: arithmetic on last axes of size 3 would be slow. ``rotation_parts`` and
    ``quaternion_parts`` give the arguments; several sets of them can be joined (last axis) and
    composed together.

    Args:
        scale: (...).
        vector, left, right: (3, ...).

    Returns:
        (..., 3, 3), contiguous.
    """
    x, y, z = vector
    plain = torch.stack([scale, -z, y, z, scale, -x, -y, x, scale])
    plain = plain + (left[:, None] * right).flatten(0, 1)
    return plain.movedim(0, -1).unflatten(-1, (3, 3)).contiguous()


def rotation_parts(axis: Tensor, cos: Tensor, sin: Tensor) -> Tuple[Tensor, ...]:
    """What :func:`compose_matrix` needs for turns about (3, ...) unit vectors."""
    return cos, sin * axis, (1 - cos) * axis, axis


def quaternion_parts(quaternion: Tensor) -> Tuple[Tensor, ...]:
    """What :func:`compose_matrix` needs for (4, ...) quaternions w, x, y, z of any length."""
    q = F.normalize(quaternion, dim=0)
    w, xyz = q[0], q[1:]
    twice = 2 * xyz
    return 1 - (twice * xyz).sum(0), w * twice, twice, xyz


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """(..., 3) vectors, axis times angle in radians, to (..., 3, 3) matrices (Rodrigues).

    Raises:
        ValueError: wrong shape.
    """
    _check_last(axis_angle, 'axis-angle vector', 3)
    # sinc has the derivative 0 at 0, and the norm is given it: gradients are right at angle 0
    vector = axis_angle.movedim(-1, 0).contiguous()
    turns = torch.linalg.vector_norm(axis_angle, dim=-1) / torch.pi
    return compose_matrix(torch.cos(torch.pi * turns), torch.sinc(turns) * vector,
                          torch.sinc(turns / 2)**2 / 2 * vector, vector)


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """(..., 3, 3) rotation matrices to (..., 3) axis times angle, radians in [0, pi].

    At exactly half a turn the sign is that of :func:`matrix_to_quaternion`.

    Raises:
        ValueError: wrong shape.
    """
    q = matrix_to_quaternion(matrix)
    w, xyz = q[..., :1], q[..., 1:]
    sine = torch.linalg.vector_norm(xyz, dim=-1, keepdim=True)
    # angle / sine is 2 where the sine vanishes; the inner where keeps 0 / 0 out of the gradient
    turned = sine > 0
    safe = torch.where(turned, sine, torch.ones_like(sine))
    return xyz * torch.where(turned, 2 * torch.atan2(safe, w) / safe, 2 * torch.ones_like(sine))


def quaternion_to_matrix(quaternion: Tensor) -> Tensor:
    """(..., 4) quaternions w, x, y, z, normalised here, to (..., 3, 3) matrices.

    A quaternion of length zero gives the identity.

    Raises:
        ValueError: wrong shape.
    """
    _check_last(quaternion, 'quaternion (w, x, y, z)', 4)
    return compose_matrix(*quaternion_parts(quaternion.movedim(-1, 0).contiguous()))


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """(..., 3, 3) rotation matrices to (..., 4) unit quaternions w, x, y, z with w >= 0.

    The largest of the four components is found first and the others are divided by it.

    Raises:
        ValueError: wrong shape.
    """
    outer = _quaternion_products(matrix)
    largest = torch.diagonal(outer, dim1=-2, dim2=-1).argmax(-1)
    index = largest[..., None, None].expand(*largest.shape, 1, 4)
    q = F.normalize(outer.gather(-2, index)[..., 0, :], dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def matrix_to_quaternion_cases(matrix: Tensor) -> Tensor:
    """(..., 3, 3) matrices to (..., 4) quaternions w, x, y, z the way SMPL's public code does.

    Four cases chosen by comparisons of diagonal entries, no change of sign: q and -q both occur.
    Pose labels and predictions of HybrIK share it, so that they share its branches. The length is 1
    for rotations only; for matrices that are none (inverse kinematics with a twist of length zero)
    all components are those of the public code, as long as its square root exists.

    Raises:
        ValueError: wrong shape.
    """
    outer = _quaternion_products(matrix)
    xx, yy, zz = torch.diagonal(matrix, dim1=-2, dim2=-1).unbind(-1)
    upper = torch.where(xx < -yy, 3, 0)
    lower = torch.where(xx > yy, 1, 2)
    case = torch.where(zz < 1e-6, lower, upper)
    index = case[..., None, None].expand(*case.shape, 1, 4)
    row = outer.gather(-2, index)[..., 0, :]
    return row / (2 * row.gather(-1, case[..., None]).sqrt())


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """(..., 6) first two columns of a matrix, one after the other, to (..., 3, 3) rotations.

    Zhou et al., "On the Continuity of Rotation Representations in Neural Networks", CVPR 2019. The
    columns need be neither perpendicular nor of length 1 (Gram-Schmidt); parallel columns, which
    no rotation has, give a finite matrix that is none.

    Raises:
        ValueError: wrong shape.
    """
    _check_last(rotation_6d, '6D rotation', 6)
    x = F.normalize(rotation_6d[..., :3], dim=-1)
    second = rotation_6d[..., 3:]
    y = F.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.linalg.cross(x, y)], -1)


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """(..., 3, 3) rotation matrices to (..., 6): first column, then second column.

    Raises:
        ValueError: wrong shape.
    """
    _check_last(matrix, 'rotation matrix', 3, 3)
    return torch.cat([matrix[..., 0], matrix[..., 1]], -1)


def rotation_about(axis: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(..., 3, 3) turns about unit vectors.

    Args:
        axis: (..., 3) of length 1.
        cos, sin: (...) of the angles; used as they are, so a pair of length other than 1 does not
            give a rotation.
    """
    return compose_matrix(*rotation_parts(axis.movedim(-1, 0).contiguous(), cos, sin))


def half_turn(axis: Tensor) -> Tensor:
    """(..., 3, 3) half turns about (..., 3) unit vectors."""
    return torch.addcmul(-_eye(axis), 2 * axis[..., :, None], axis[..., None, :])


@torch.no_grad()
def perpendicular(vector: Tensor) -> Tensor:
    """(..., 3) unit vectors at right angles to (..., 3) unit vectors, without gradient.

    They are at right angles to the z axis too; which of them is taken has no meaning.
    """
    x, y, _ = vector.unbind(-1)
    # the tiny amount decides for vectors along z; the rest is exact however close to z they are
    side = torch.stack([y + 1e-9, -x, torch.zeros_like(x)], -1)
    return side / torch.linalg.vector_norm(side, dim=-1, keepdim=True)


def shortest_rotation(start: Tensor, end: Tensor) -> Tensor:
    """(..., 3, 3) rotations by the smallest angle that turn ``start`` into the direction ``end``.

    Between opposed vectors the axis of the half turn depends on ``start`` only; where a vector has
    length zero the result is the identity.

    Args:
        start, end: (..., 3) of any length.

    Raises:
        ValueError: wrong shape.
    """
    _check_last(start, 'start', 3)
    _check_last(end, 'end', 3)
    start, end = F.normalize(start, dim=-1), F.normalize(end, dim=-1)
    # Two reflections, first along start, then along the sum of both: neither angle nor axis needed,
    # and a rotation whatever rounding does to the sum of nearly opposed vectors.
    middle = start + end
    length = torch.linalg.vector_norm(middle, dim=-1, keepdim=True)
    middle = torch.where(length < _OPPOSED, perpendicular(start),
                         middle / length.clamp(min=_OPPOSED))
    first = 4 * (middle * start).sum(-1, keepdim=True) * middle - 2 * start
    rotation = (_eye(start) + first[..., :, None] * start[..., None, :]
                - (2 * middle)[..., :, None] * middle[..., None, :])
    defined = ((start != 0).any(-1) & (end != 0).any(-1))[..., None, None]
    return torch.where(defined, rotation, _eye(start))


def swing_twist(rotmats: Tensor, axis: Tensor) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
    """Split rotations into a twist about an axis, first, and the shortest turn of the axis, second.

    Args:
        rotmats: (..., 3, 3) rotations R.
        axis: (..., 3), not zero.

    Returns:
        (..., 3, 3) swings and ((...), (...)) cosines and sines of the twists; with ``a`` of length
        1, R = swing @ rotation_about(a, cos, sin).

    Raises:
        ValueError: wrong shape.
    """
    _check_last(rotmats, 'rotation matrix', 3, 3)
    _check_last(axis, 'axis', 3)
    axis = F.normalize(axis, dim=-1)
    swing = shortest_rotation(axis, (rotmats @ axis[..., None])[..., 0])
    side = perpendicular(axis)
    turned = (swing.transpose(-1, -2) @ (rotmats @ side[..., None]))[..., 0]
    cos = (turned * side).sum(-1)
    sin = (turned * torch.linalg.cross(axis, side)).sum(-1)
    length = torch.hypot(cos, sin)
    return swing, (cos / length, sin / length)


def align_vectors(start: Tensor, end: Tensor) -> Tensor:
    """Rotations that take one set of vectors to another with the least squared error (Kabsch).

    Args:
        start, end: (..., K, 3) finite vectors from a common origin.

    Returns:
        (..., 3, 3) proper rotations, without gradient; the identity where the entries of the
        correlation matrix add up to 0 (the rule of HybrIK's code for missing skeletons).
    """
    correlation = start.detach().transpose(-1, -2) @ end.detach()
    u, _, vh = torch.linalg.svd(correlation)
    rotation = (u @ vh).transpose(-1, -2)
    x, y, z = rotation.unbind(-1)
    mirrored = (torch.linalg.cross(x, y) * z).sum(-1)[..., None, None] < 0
    last = vh[..., 2, :, None] * u[..., None, :, 2]
    rotation = torch.where(mirrored, rotation - 2 * last, rotation)
    empty = (correlation.sum((-1, -2)) == 0)[..., None, None]
    return torch.where(empty, _eye(rotation), rotation)


def _check_last(tensor: Tensor, what: str, *shape: int) -> None:
    if tuple(tensor.shape[-len(shape):]) != shape:
        raise ValueError(f'{what}: expected shape (..., {", ".join(map(str, shape))}), '
                         f'found {tuple(tensor.shape)}')


def _eye(like: Tensor) -> Tensor:
    return torch.eye(3, dtype=like.dtype, device=like.device)


def _quaternion_products(matrix: Tensor) -> Tensor:
    """(..., 4, 4): row i is the quaternion w, x, y, z times 4 times its component i."""
    _check_last(matrix, 'rotation matrix', 3, 3)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in matrix.unbind(-2))
    wx, wy, wz = zy - yz, xz - zx, yx - xy
    entries = [1 + xx + yy + zz, wx, wy, wz,
               wx, 1 + xx - yy - zz, xy + yx, xz + zx,
               wy, xy + yx, 1 - xx + yy - zz, yz + zy,
               wz, xz + zx, yz + zy, 1 - xx - yy + zz]
    return torch.stack(entries, -1).unflatten(-1, (4, 4))
