"""Linear blend skinning of a body with shape and pose blend shapes (the SMPL family).

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015. Axes, joint tree and
numbers come with the arrays; nothing here needs a file.
"""

from typing import Tuple

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ['BodyModel']

_CHUNK_FLOATS = 1 << 17  # [np] of the transforms of one chunk of vertices: they stay in the cache


class BodyModel(nn.Module):
    """A posed surface and its joints from shape coefficients and joint rotations.

    Body data are buffers that are not saved with the module. Use ``from_arrays`` or ``stand_in``.

    Attributes:
        faces: (F, 3) int64 triangles, None where the arrays had none.
        parents: (J,) tuple, -1 for the root.
    """

    def __init__(self, v_template, shapedirs, posedirs, J_regressor, lbs_weights, parents,
                 faces=None):
        super().__init__()
        arrays = dict(v_template=v_template, shapedirs=shapedirs, posedirs=posedirs,
                      J_regressor=J_regressor, lbs_weights=lbs_weights)
        arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.parents = _checked_parents(parents)
        vertices, joints = len(arrays['v_template']), len(self.parents)
        shapes = arrays['shapedirs'].shape[-1] if arrays['shapedirs'].ndim else 0
        expected = dict(v_template=(vertices, 3), shapedirs=(vertices, 3, shapes),
                        posedirs=(vertices, 3, 9 * (joints - 1)), J_regressor=(joints, vertices),
                        lbs_weights=(vertices, joints))
        for name, shape in expected.items():
            if arrays[name].shape != shape:
                raise ValueError(f'{name}: expected shape {shape} for {vertices} vertices and '
                                 f'{joints} joints, found {arrays[name].shape}; are all arrays of '
                                 'one body model?')
        regressor = arrays['J_regressor'].astype(np.float64)
        blend_shapes = np.concatenate([arrays['shapedirs'], arrays['posedirs']], -1)
        # Joints are linear in the shape: no need to shape the whole surface for them. Vertices come
        # last, so that arithmetic runs over long contiguous rows.
        data = dict(
            template=arrays['v_template'].T,  # [3, V]
            blend_shapes=blend_shapes.transpose(1, 2, 0),  # [3, S + 9 (J - 1), V]
            weights=arrays['lbs_weights'].T,  # [J, V]
            joint_template=regressor @ arrays['v_template'],
            joint_shapedirs=np.tensordot(regressor, arrays['shapedirs'], axes=1))
        for name, array in data.items():
            tensor = torch.from_numpy(np.array(array, dtype=np.float32, order='C'))
            self.register_buffer(name, tensor, persistent=False)
        faces = None if faces is None else torch.from_numpy(np.array(faces, dtype=np.int64))
        self.register_buffer('faces', faces, persistent=False)
        self.num_vertices, self.num_joints, self.num_shapes = vertices, joints, shapes

    @classmethod
    def from_arrays(cls, v_template, shapedirs, posedirs, J_regressor, lbs_weights, parents,
                    faces=None) -> 'BodyModel':
        """Make a model of any number of vertices V, joints J and shape directions S.

        Args:
            v_template: (V, 3) surface at rest, metres.
            shapedirs: (V, 3, S) metres per unit.
            posedirs: (V, 3, 9 (J - 1)) metres per entry, row by row, of the rotations minus 1.
            J_regressor: (J, V) joints at rest from the surface.
            lbs_weights: (V, J) skinning weights.
            parents: (J,) parent joints, before their children; that of the root, joint 0, is -1.
            faces: (F, 3) triangles, optional.

        Raises:
            ValueError: the arrays do not fit together.
        """
        return cls(v_template, shapedirs, posedirs, J_regressor, lbs_weights, parents, faces)

    @classmethod
    def stand_in(cls, seed: int = 0) -> 'BodyModel':
        """The procedural stand-in body (not SMPL), see ``stand_in_body.stand_in_arrays``."""
        from .stand_in_body import stand_in_arrays
        return cls.from_arrays(**stand_in_arrays(seed))

    def forward(self, betas: Tensor, rotmats: Tensor) -> Tuple[Tensor, Tensor]:
        """Shape and pose the body.

        Args:
            betas: (B, S) shape coefficients.
            rotmats: (B, J, 3, 3) rotations of the joints relative to their parents; the first
                turns the whole body about the root joint.

        Returns:
            (B, V, 3) vertices and (B, J, 3) joints, metres, not re-centred: the root joint stays
            where the shaped rest pose has it.

        Raises:
            ValueError: wrong shapes.
        """
        batch = len(rotmats)
        for name, tensor, shape in (('betas', betas, (batch, self.num_shapes)),
                                    ('rotmats', rotmats, (batch, self.num_joints, 3, 3))):
            if tuple(tensor.shape) != shape:
                raise ValueError(f'{name}: expected shape {shape}, found {tuple(tensor.shape)}')
        rest = self.joint_template + torch.einsum('jcs,bs->bjc', self.joint_shapedirs, betas)
        rotations, joints = self.chain(rotmats, rest)
        pose = rotmats[:, 1:] - torch.eye(3, dtype=rotmats.dtype, device=rotmats.device)
        features = torch.cat([betas, pose.flatten(1)], 1)
        offsets = joints - (rotations @ rest[..., None])[..., 0]
        transforms = torch.cat([rotations, offsets[..., None]], -1)  # [B, J, 3, 4]
        return self._skin(features, transforms), joints

    def chain(self, rotmats: Tensor, rest: Tensor) -> Tuple[Tensor, Tensor]:
        """Global rotations (B, J, 3, 3) and positions (B, J, 3) of the joints.

        Args:
            rotmats: (B, J, 3, 3) relative to the parents.
            rest: (B, J, 3) joints at rest, metres.
        """
        rotations, positions = [rotmats[:, 0]], [rest[:, 0]]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = (rest[:, joint] - rest[:, parent])[..., None]
            positions.append(positions[parent] + (rotations[parent] @ bone)[..., 0])
            rotations.append(rotations[parent] @ rotmats[:, joint])
        return torch.stack(rotations, 1), torch.stack(positions, 1)

    def _skin(self, features: Tensor, transforms: Tensor) -> Tensor:
        """Blend shapes and skinning, chunk by chunk of vertices.

        Args:
            features: (B, S + 9 (J - 1)) factors of the blend shapes.
            transforms: (B, J, 3, 4) from the rest pose.
        """
        batch, joints = transforms.shape[:2]
        transforms = transforms.permute(2, 3, 0, 1).reshape(-1, joints)  # [3*4*B, J]
        step = max(1, _CHUNK_FLOATS // (12 * batch))
        parts = []
        for first in range(0, self.num_vertices, step):
            part = slice(first, first + step)
            blended = (transforms @ self.weights[:, part]).view(3, 4, batch, -1)
            posed = blended[:, 3]
            for axis in range(3):
                shaped = torch.addmm(self.template[axis, part], features,
                                     self.blend_shapes[axis, :, part])  # [B, v]
                posed = torch.addcmul(posed, blended[:, axis], shaped)
            parts.append(posed)
        return torch.cat(parts, -1).permute(1, 2, 0).contiguous()  # [3, B, V] -> [B, V, 3]


def _checked_parents(parents) -> Tuple[int, ...]:
    parents = tuple(int(p) for p in parents)
    if not parents or parents[0] != -1 or any(
            not 0 <= p < joint for joint, p in enumerate(parents) if joint):
        raise ValueError('parents: expected -1 for joint 0 and, for every other joint, a joint '
                         f'before it; found {parents}')
    return parents
