"""Linear blend skinning of a body with shape and pose blend shapes (the SMPL family).

Loper et al., "SMPL: A Skinned Multi-Person Linear Model", SIGGRAPH Asia 2015. Axes, joint tree and
numbers come with the arrays; nothing here needs a file.
"""

from functools import wraps
from pathlib import Path
from typing import Callable, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from ...geometry.skeletons import get_skeleton, joint_map

__all__ = ['BodyModel']

_CHUNK = 40000  # [np] vertices (of all bodies) skinned at once: what they need stays in the cache


def full_precision(method: Callable) -> Callable:
    """Run a method of tensors without autocast: in half precision a body is off by millimetres."""
    @wraps(method)
    def wrapper(self, *args, **kwargs):
        args = [_single(arg) for arg in args]
        kwargs = {name: _single(arg) for name, arg in kwargs.items()}
        with torch.autocast(self.template.device.type, enabled=False):
            return method(self, *args, **kwargs)
    return wrapper


class BodyModel(nn.Module):
    """A posed surface and its joints from shape coefficients and joint rotations.

    Body data are buffers that are not saved with the module. Use ``from_file``, ``from_arrays`` or
    ``stand_in``.

    Attributes:
        faces: (F, 3) int64 triangles, None where the arrays had none.
        parents: (J,) tuple, -1 for the root.
        h36m_regressor: (17, V) joints of the 'h36m' skeleton from the surface, or None.
        source: The file it was read from, or None.
    """

    source: Optional[Path] = None

    def __init__(self, v_template, shapedirs, posedirs, J_regressor, lbs_weights, parents,
                 faces=None, J_regressor_h36m=None, regressor_skeleton='h36m_l_first'):
        super().__init__()
        arrays = dict(v_template=v_template, shapedirs=shapedirs, posedirs=posedirs,
                      J_regressor=J_regressor, lbs_weights=lbs_weights)
        arrays = {name: _numpy(array) for name, array in arrays.items()}
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
            joint_shapedirs=np.tensordot(regressor, arrays['shapedirs'], axes=1)
            .reshape(3 * joints, shapes).T)  # [S, 3 J]
        for name, array in data.items():
            tensor = torch.from_numpy(np.array(array, dtype=np.float32, order='C'))
            self.register_buffer(name, tensor, persistent=False)
        faces = None if faces is None else torch.from_numpy(_numpy(faces).astype(np.int64))
        self.register_buffer('faces', faces, persistent=False)
        if J_regressor_h36m is not None:
            J_regressor_h36m = _ordered_regressor(J_regressor_h36m, regressor_skeleton, vertices)
        self.register_buffer('h36m_regressor', J_regressor_h36m, persistent=False)
        seen = None if J_regressor_h36m is None else J_regressor_h36m.any(0).nonzero()[:, 0]
        self.register_buffer('_h36m_vertices', seen, persistent=False)
        self.num_vertices, self.num_joints, self.num_shapes = vertices, joints, shapes
        self._index_tree()

    def _index_tree(self) -> None:
        """Sort the joints by level, so that a level of the tree is one operation."""
        level, is_ancestor = [0], np.eye(self.num_joints)  # or the joint itself
        for joint, parent in enumerate(self.parents[1:], start=1):
            level.append(level[parent] + 1)
            is_ancestor[joint] += is_ancestor[parent]
        sizes = np.bincount(level)
        by_level = np.argsort(level, kind='stable')
        place = np.argsort(by_level)
        parents = np.array(self.parents, dtype=np.int64)
        first = (np.cumsum(sizes) - sizes)[level]  # of the level of each joint
        below = by_level[1:]
        data = dict(
            _is_ancestor=is_ancestor.astype(np.float32), _parent=parents[1:], _level_joints=below,
            _level_parents=(place - first)[parents[below]], _level_place=place)
        for name, array in data.items():
            self.register_buffer(name, torch.from_numpy(array), persistent=False)
        self._level_sizes = sizes[1:].tolist()

    @classmethod
    def from_arrays(cls, v_template, shapedirs, posedirs, J_regressor, lbs_weights, parents,
                    faces=None, J_regressor_h36m=None,
                    regressor_skeleton='h36m_l_first') -> 'BodyModel':
        """Make a model of any number of vertices V, joints J and shape directions S.

        Tensors are taken too, as constants: no gradient reaches them.

        Args:
            v_template: (V, 3) surface at rest, metres.
            shapedirs: (V, 3, S) metres per unit.
            posedirs: (V, 3, 9 (J - 1)) metres per entry, row by row, of the rotations minus 1.
            J_regressor: (J, V) joints at rest from the surface.
            lbs_weights: (V, J) skinning weights.
            parents: (J,) parent joints, before their children; that of the root, joint 0, is -1.
            faces: (F, 3) triangles, optional.
            J_regressor_h36m: (17, V) the joints of Human3.6M from the surface, optional.
            regressor_skeleton: joint order of that regressor, 'h36m_l_first' (the public files of
                SPIN and HybrIK) or 'h36m'.

        Raises:
            ValueError: the arrays do not fit together.
        """
        return cls(v_template, shapedirs, posedirs, J_regressor, lbs_weights, parents, faces,
                   J_regressor_h36m, regressor_skeleton)

    @classmethod
    def from_file(cls, path: Union[str, Path], gender: Optional[str] = None,
                  h36m_regressor: Optional[Union[str, Path]] = None,
                  regressor_skeleton: str = 'h36m_l_first', num_betas: int = 10) -> 'BodyModel':
        """Read an SMPL body, see ``io.body_model_file.read_body_model`` for layouts and errors.

        Args:
            path: .npz, or an official .pkl (read without running it).
            gender: 'neutral', 'female' or 'male' where the body must be that one.
            h36m_regressor: .npy or .npz (17, V); default: the one in ``path``, where it has one.
            regressor_skeleton: joint order of the regressor.
            num_betas: shape directions to use.
        """
        from ...io.body_model_file import read_body_model
        arrays, _ = read_body_model(path, gender, h36m_regressor, regressor_skeleton, num_betas)
        body = cls.from_arrays(**arrays)
        body.source = Path(path)
        return body

    @classmethod
    def stand_in(cls, seed: int = 0) -> 'BodyModel':
        """The procedural stand-in body (not SMPL), see ``stand_in_body.stand_in_arrays``."""
        from .stand_in_body import stand_in_arrays, stand_in_h36m_regressor
        return cls.from_arrays(**stand_in_arrays(seed), J_regressor_h36m=stand_in_h36m_regressor(),
                               regressor_skeleton='h36m')

    @property
    def has_h36m_regressor(self) -> bool:
        return self.h36m_regressor is not None

    @full_precision
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
        features, rotations, offsets, joints = self.bone_transforms(betas, rotmats)
        transforms = torch.cat([rotations, offsets[..., None]], -1)  # [B, J, 3, 4]
        return self._skin(features, transforms), joints

    @full_precision
    def rest_joints(self, betas: Tensor) -> Tensor:
        """Joints (B, J, 3) of the shaped body at rest, metres, for shapes (B, S)."""
        if betas.dim() != 2 or betas.shape[1] != self.num_shapes:
            raise ValueError(f'betas: expected shape (B, {self.num_shapes}), found '
                             f'{tuple(betas.shape)}')
        return self.joint_template + (betas @ self.joint_shapedirs).unflatten(1, (-1, 3))

    @full_precision
    def bone_transforms(self, betas: Tensor,
                        rotmats: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """What skinning needs: a point x at rest moves with joint j to ``R_j x + o_j``.

        Args and errors are those of ``forward``.

        Returns:
            (B, S + 9 (J - 1)) factors of the blend shapes; global rotations R (B, J, 3, 3) and
            offsets o (B, J, 3) of the joints; joints (B, J, 3), metres.
        """
        batch = len(rotmats)
        for name, tensor, shape in (('betas', betas, (batch, self.num_shapes)),
                                    ('rotmats', rotmats, (batch, self.num_joints, 3, 3))):
            if tuple(tensor.shape) != shape:
                raise ValueError(f'{name}: expected shape {shape}, found {tuple(tensor.shape)}')
        rest = self.rest_joints(betas)
        rotations, joints = self.chain(rotmats, rest)
        pose = rotmats[:, 1:] - torch.eye(3, dtype=rotmats.dtype, device=rotmats.device)
        features = torch.cat([betas, pose.flatten(1)], 1)
        return features, rotations, joints - (rotations @ rest[..., None])[..., 0], joints

    @full_precision
    def chain(self, rotmats: Tensor, rest: Tensor) -> Tuple[Tensor, Tensor]:
        """Global rotations (B, J, 3, 3) and positions (B, J, 3) of the joints.

        Args:
            rotmats: (B, J, 3, 3) relative to the parents.
            rest: (B, J, 3) joints at rest, metres.
        """
        rotation = rotmats[:, :1]
        rotations = [rotation]
        for joints, parents in zip(self._level_joints.split(self._level_sizes),
                                   self._level_parents.split(self._level_sizes)):
            rotation = rotation[:, parents] @ rotmats[:, joints]
            rotations.append(rotation)
        rotations = torch.cat(rotations, 1)[:, self._level_place]  # [B, J, 3, 3]
        bones = rest[:, 1:] - rest[:, self._parent]
        steps = (rotations[:, self._parent] @ bones[..., None])[..., 0]
        return rotations, self._is_ancestor @ torch.cat([rest[:, :1], steps], 1)

    @full_precision
    def h36m_joints(self, vertices: Tensor) -> Tensor:
        """The 17 joints (..., 17, 3) of Human3.6M, in 'h36m' order, of vertices (..., V, 3).

        Raises:
            ValueError: the body has no regressor for them, or ``vertices`` is not its surface.
        """
        if vertices.shape[-2:] != (self.num_vertices, 3):
            raise ValueError(f'vertices: expected shape (..., {self.num_vertices}, 3), found '
                             f'{tuple(vertices.shape)}')
        regressor = self.require_h36m_regressor()
        return regressor[:, self._h36m_vertices] @ vertices[..., self._h36m_vertices, :]

    def require_h36m_regressor(self) -> Tensor:
        """(17, V) in 'h36m' order; ValueError that says how to get one where there is none."""
        if self.h36m_regressor is None:
            raise ValueError(
                f'{self.source or "a body model made of arrays"}: no regressor for the 17 joints '
                'of Human3.6M. Give one, a (17, V) .npy file such as J_regressor_h36m.npy of SPIN: '
                'as h36m_regressor= beside path=, as --h36m-regressor of tools/infer.py, or once '
                'for all in the file of the body by tools/convert_body_model.py SRC DST '
                '--h36m-regressor FILE; for arrays, as J_regressor_h36m=')
        return self.h36m_regressor

    def _skin(self, features: Tensor, transforms: Tensor) -> Tensor:
        """Blend shapes and skinning, chunk by chunk of vertices.

        Args:
            features: (B, S + 9 (J - 1)) factors of the blend shapes.
            transforms: (B, J, 3, 4) from the rest pose.
        """
        batch, joints = transforms.shape[:2]
        columns = transforms.permute(3, 2, 0, 1).reshape(4, 3 * batch, joints)
        # on a GPU more kernels cost more than the cache saves
        step = self.num_vertices
        if transforms.device.type == 'cpu':
            step = max(1, _CHUNK // max(1, batch))
        parts = []
        for first in range(0, self.num_vertices, step):
            part = slice(first, first + step)
            weights = self.weights[:, part]
            posed = (columns[3] @ weights).unflatten(0, (3, batch))
            for axis in range(3):
                shaped = torch.addmm(self.template[axis, part], features,
                                     self.blend_shapes[axis, :, part])  # [B, v]
                turned = (columns[axis] @ weights).unflatten(0, (3, batch))
                posed = torch.addcmul(posed, turned, shaped)
            parts.append(posed)
        return torch.cat(parts, -1).permute(1, 2, 0).contiguous()  # [3, B, V] -> [B, V, 3]


def _numpy(array) -> np.ndarray:
    return array.detach().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _checked_parents(parents) -> Tuple[int, ...]:
    parents = tuple(int(p) for p in parents)
    if not parents or parents[0] != -1 or any(
            not 0 <= p < joint for joint, p in enumerate(parents) if joint):
        raise ValueError('parents: expected -1 for joint 0 and, for every other joint, a joint '
                         f'before it; found {parents}')
    return parents


def _ordered_regressor(regressor, skeleton: str, vertices: int) -> Tensor:
    """(17, V) float32 tensor in 'h36m' order."""
    regressor = _numpy(regressor)
    expected = (get_skeleton('h36m').num_joints, vertices)
    if regressor.shape != expected:
        raise ValueError(f'J_regressor_h36m: expected shape {expected} for {vertices} vertices, '
                         f'found {regressor.shape}; is it made for this body model?')
    ordered = regressor[list(joint_map(skeleton, 'h36m'))]
    return torch.from_numpy(np.array(ordered, dtype=np.float32, order='C'))
