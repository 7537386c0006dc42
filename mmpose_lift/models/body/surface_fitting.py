"""Shape and pose parameters of a body from its surface, as mesh networks predict it.

Networks such as METRO and MPT give vertices only; files and other programs want parameters.
"""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor

from ...geometry.torch_rotations import (
    axis_angle_to_matrix,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
)
from .body_model import BodyModel

__all__ = ['SurfaceFit', 'fit_surface']

_BATCH = 16  # [np] bodies at once on a CPU: what they need stays in the cache
_VERTICES = 1200  # [np] about so many, evenly spread over the list of vertices, are fitted to
# [np] How strongly shapes keep to the mean, m^2: one unit of a coefficient is worth a tenth of a
# millimetre of every vertex.
_RIDGE = 1e-8
_DAMPING = 1e-4  # [np] of the steps, relative to the diagonal of the normal equations
_STILL = 1e-8  # [np] m^2 per rad^2: turns that move no vertex by more than 0.1 mm per rad are none
_TO_PARENT = 1e-3  # [np] m^2: parts too small to show a turn start with that of their parent


class SurfaceFit(NamedTuple):
    """Parameters that give a surface.

    Attributes:
        betas: (B, S) shape coefficients.
        rotmats: (B, J, 3, 3) rotations relative to the parents, the first into the axes of the
            vertices.
        transl: (B, 3) metres, added to what the body gives for them.
        error: (B,) mean distance of all vertices from the given ones, metres.
    """

    betas: Tensor
    rotmats: Tensor
    transl: Tensor
    error: Tensor


@torch.no_grad()
def fit_surface(body: BodyModel, vertices: Tensor, iterations: int = 4) -> SurfaceFit:
    """Fit a body to surfaces of its own topology, every surface for itself, without gradient.

    Every part is turned to its vertices by least squares (Procrustes); from there Gauss-Newton
    steps over all rotations, the shape and the place together, by the analytic derivative of
    skinning without that of the pose's corrective shapes, which the residuals contain.

    Args:
        body: Body, on the device of ``vertices``.
        vertices: (B, V, 3) metres, any place, in any right-handed axes.
        iterations: Gauss-Newton steps; the best result of each body is kept.

    Raises:
        ValueError: not vertices of this body, or values that are not finite.
    """
    if vertices.dim() != 3 or vertices.shape[1:] != (body.num_vertices, 3):
        raise ValueError(f'vertices: expected shape (B, {body.num_vertices}, 3) for this body '
                         f'model, found {tuple(vertices.shape)} (mismatched mesh sizes)')
    if not vertices.isfinite().all():
        raise ValueError('vertices: found values that are not finite; leave such bodies out')
    with torch.autocast(vertices.device.type, enabled=False):
        fitter = _Fitter(body)
        batch = _BATCH if vertices.device.type == 'cpu' else 8 * _BATCH
        parts = [fitter(part, iterations) for part in vertices.float().split(batch)]
        return SurfaceFit(*map(torch.cat, zip(*parts)))


class _Fitter:
    """A body at some of its vertices; coordinates come before vertices, as in ``BodyModel``."""

    def __init__(self, body: BodyModel):
        self.body, joints = body, body.num_joints
        self.picked = slice(None, None, max(1, round(body.num_vertices / _VERTICES)))
        self.template = body.template[:, self.picked]  # [3, n]
        self.directions = body.blend_shapes[..., self.picked]  # [3, S + 9 (J - 1), n]
        self.weights = body.weights[:, self.picked]  # [J, n]
        self.parents = list(body.parents[1:])
        is_ancestor = torch.eye(joints)  # or the joint itself
        for joint, parent in enumerate(self.parents, start=1):
            is_ancestor[joint] += is_ancestor[parent]
        self.is_ancestor = is_ancestor.to(body.template)
        directions = body.joint_shapedirs.t().unflatten(0, (joints, 3))  # [J, 3, S]
        bones = directions.clone()
        bones[1:] -= directions[self.parents]
        self.joint_directions, self.bone_directions = directions, bones

    def __call__(self, vertices: Tensor, iterations: int) -> Tuple[Tensor, ...]:
        target = vertices[:, self.picked].transpose(1, 2)  # [B, 3, n]
        betas = vertices.new_zeros(len(vertices), self.body.num_shapes)
        rotmats = self.turned_parts(vertices)
        transl = vertices.new_zeros(len(vertices), 3)
        transl = (target - self.posed(betas, rotmats, transl)[0]).mean(-1)
        best = (betas, rotmats, transl)
        lowest = vertices.new_full((len(vertices), ), torch.inf)
        for step in range(iterations + 1):
            points, skinned, rotations, joints = self.posed(betas, rotmats, transl)
            residual = target - points
            cost = residual.square().sum((1, 2)) / residual.shape[-1]
            cost = cost + _RIDGE * betas.square().sum(-1)
            better = cost < lowest
            lowest = torch.where(better, cost, lowest)
            best = tuple(torch.where(better.view(-1, *[1] * (new.dim() - 1)), new, old)
                         for new, old in zip((betas, rotmats, transl), best))
            if step == iterations:
                break
            derivative = self.derivative(skinned, rotations, joints)
            turns, shape, shift = self.solve(derivative, residual, betas)
            # Turns are in the axes of the surface; the rotation of the parent takes them to its
            # own. Rounding, which would grow along the chain from step to step, is taken out.
            parent = torch.cat([torch.eye(3).to(rotations).expand_as(rotations[:, :1]),
                                rotations[:, self.parents]], 1)
            rotmats = parent.transpose(-1, -2) @ axis_angle_to_matrix(turns) @ parent @ rotmats
            rotmats = rotation_6d_to_matrix(matrix_to_rotation_6d(rotmats))
            betas, transl = betas + shape, transl + shift
        betas, rotmats, transl = best
        fitted = self.body(betas, rotmats)[0] + transl[:, None]
        return (*best, (fitted - vertices).norm(dim=-1).mean(-1))

    def turned_parts(self, vertices: Tensor) -> Tensor:
        """(B, J, 3, 3) rotations, relative to the parents, of the parts from the rest pose."""
        weights, rest = self.body.weights, self.body.template  # [J, V], [3, V]
        centre = weights @ rest.t() / weights.sum(1, keepdim=True).clamp(min=1e-6)  # [J, 3]
        arms = weights[:, None] * (rest - centre[..., None])  # [J, 3, V]
        moments = torch.einsum('bvx,jyv->bjxy', vertices, arms)
        rotations = []
        for joint, parent in enumerate(self.body.parents):
            moment = moments[:, joint]
            moment = moment + _TO_PARENT * (rotations[parent] if joint else torch.eye(3).to(moment))
            u, _, vh = torch.linalg.svd(moment)
            sign = torch.ones_like(u[:, 0])
            sign[:, 2] = torch.linalg.det(u @ vh)
            rotations.append((u * sign[:, None]) @ vh)
        rotations = torch.stack(rotations, 1)
        relative = rotations.clone()
        relative[:, 1:] = rotations[:, self.parents].transpose(-1, -2) @ rotations[:, 1:]
        return relative

    def posed(self, betas: Tensor, rotmats: Tensor, transl: Tensor) -> Tuple[Tensor, ...]:
        """Picked vertices (B, 3, n), their weighted parts (B, J, 3, n) before translation, global
        rotations (B, J, 3, 3) and joints (B, J, 3)."""
        features, rotations, offsets, joints = self.body.bone_transforms(betas, rotmats)
        shaped = self.template + torch.einsum('bd,xdn->bxn', features, self.directions)
        skinned = rotations @ shaped[:, None] + offsets[..., None]
        skinned = skinned * self.weights[:, None]
        return skinned.sum(1) + transl[..., None], skinned, rotations, joints

    def derivative(self, skinned: Tensor, rotations: Tensor, joints: Tensor) -> Tensor:
        """(B, 3 J + S + 3, 3 n) of the vertices by global turns of the subtrees, shape, place."""
        below = torch.einsum('jk,bjxn->xbkn', self.is_ancestor, skinned)
        mass = self.is_ancestor.t() @ self.weights
        x, y, z = below - joints.permute(2, 0, 1)[..., None] * mass  # from the joint, [B, J, n]
        zero = torch.zeros_like(x)
        turns = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 2)  # unit axes x (x, y, z)
        turns = turns.unflatten(2, (3, 3)).flatten(1, 2)  # [B, 3 J, 3, n]
        bones = self.bone_directions.expand(len(rotations), -1, -1, -1)
        bones = torch.cat([bones[:, :1], rotations[:, self.parents] @ bones[:, 1:]], 1)
        moved = torch.einsum('kj,bjxs->bkxs', self.is_ancestor, bones)
        offsets = moved - rotations @ self.joint_directions
        blended = torch.einsum('jn,bjxy->bxyn', self.weights, rotations)
        num_shapes = bones.shape[-1]
        shape = (torch.einsum('bxyn,ysn->bsxn', blended, self.directions[:, :num_shapes])
                 + torch.einsum('jn,bjxs->bsxn', self.weights, offsets))
        place = torch.eye(3).to(shape)[..., None].expand(len(shape), 3, 3, shape.shape[-1])
        return torch.cat([turns, shape, place], 1).flatten(2)

    def solve(self, derivative: Tensor, residual: Tensor,
              betas: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Changes of turns (B, J, 3), shape (B, S) and place (B, 3)."""
        count = residual.shape[-1]
        normal = (derivative @ derivative.transpose(1, 2)).double() / count
        right = (derivative @ residual.flatten(1)[..., None]).double() / count
        sizes = (3 * self.body.num_joints, betas.shape[1], 3)
        floor = torch.cat([normal.new_full((size, ), value)
                           for size, value in zip(sizes, (_STILL, _RIDGE, 0))])
        right[:, sizes[0]:-3, 0] -= _RIDGE * betas
        diagonal = torch.diagonal(normal, dim1=1, dim2=2)
        diagonal += floor + _DAMPING * diagonal
        change = torch.linalg.solve(normal, right)[..., 0].float()
        turns, shape, shift = change.split(sizes, 1)
        return turns.unflatten(1, (-1, 3)), shape, shift
