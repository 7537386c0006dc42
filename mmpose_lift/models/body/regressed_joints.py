"""Joints that a regressor takes from the surface of a skinned body, without the whole surface."""

import numpy as np
import torch

_SKINNED_AT_ONCE = 1 << 17  # vertices times frames: bounds memory, and fits the caches


class RegressedJoints:
    """Skin only what a joint regressor looks at (linear blend skinning of the SMPL family).

    ``smplx.lbs.lbs`` does the skinning, with shape directions and, where wanted, DMPL directions
    side by side, as the public tools of AMASS do. It gets those vertices only that have a weight in
    ``regressor``. The rest positions of the body's own joints depend on other vertices too; as they
    are linear in the shape, they go along as further vertices with shape directions of their own.
    The result is that of the whole body, up to rounding.

    Args:
        v_template: (V, 3) surface at rest, metres.
        shapedirs: (V, 3, S) shape directions, metres per unit.
        posedirs: (V, 3, 9 (J - 1)) corrective directions of the pose.
        J_regressor: (J, V) the body's own joints.
        weights: (V, J) skinning weights.
        parents: (J,) parent joints; parents come before children, the first is the root.
        regressor: (K, V) the joints wanted.

    Raises:
        ImportError: ``smplx`` is not installed.
    """

    def __init__(self, v_template, shapedirs, posedirs, J_regressor, weights, parents, regressor):
        try:
            from smplx.lbs import lbs
        except ImportError as error:
            raise ImportError(
                'skinning a body needs the package smplx (non-commercial licence): '
                'pip install smplx'
            ) from error
        self._lbs = lbs
        used = np.flatnonzero(np.any(regressor != 0, axis=0))
        joints, width = len(J_regressor), shapedirs.shape[-1]
        posedirs = posedirs[used].reshape(len(used) * 3, -1).T
        regressed_shape = np.tensordot(J_regressor, shapedirs, axes=1)  # [J, V] [V, 3, S]
        self._num_vertices = len(used)
        self._parts = dict(
            v_template=_tensor(np.concatenate([v_template[used], J_regressor @ v_template])),
            shapedirs=_tensor(np.concatenate([shapedirs[used], regressed_shape])),
            posedirs=_tensor(np.pad(posedirs, [(0, 0), (0, 3 * joints)])),
            J_regressor=_tensor(np.eye(joints, len(used) + joints, len(used))),
            lbs_weights=_tensor(np.pad(weights[used], [(0, joints), (0, 0)])),
            parents=torch.as_tensor(np.array(parents, dtype=np.int64)),
        )
        self._regressor = _tensor(regressor[:, used])
        self.num_joints, self.num_shape = joints, width

    @torch.inference_mode()
    def __call__(self, poses, shape, trans) -> np.ndarray:
        """Pose the body and regress its joints.

        Args:
            poses: (F, J, 3) or (F, 3 J) axis-angle vectors, radians; the first turns the body
                about its own root joint.
            shape: (F, S) or (S,) shape (and DMPL) coefficients.
            trans: (F, 3) metres, added to every vertex.

        Returns:
            (F, K, 3) float32 metres, in the frame of ``trans``.

        Raises:
            ValueError: the arguments do not fit the body.
        """
        frames = len(trans)
        poses = _tensor(np.reshape(poses, (len(poses), -1)))
        shape, trans = _tensor(np.atleast_2d(shape)), _tensor(trans)
        for name, array, width in (
            ('poses', poses, 3 * self.num_joints),
            ('shape', shape, self.num_shape),
            ('trans', trans, 3),
        ):
            lengths = (1, frames) if name == 'shape' else (frames,)
            if array.shape[1:] != (width,) or array.shape[0] not in lengths:
                raise ValueError(
                    f'{name}: expected ({frames}, {width}), found {tuple(array.shape)}; '
                    'is this the motion of another body model?'
                )
        shape = shape.expand(frames, -1)
        step = max(1, _SKINNED_AT_ONCE // (self._num_vertices + self.num_joints))
        out = torch.empty(frames, len(self._regressor), 3)
        for first in range(0, frames, step):
            rows = slice(first, first + step)
            vertices, _ = self._lbs(shape[rows], poses[rows], **self._parts)
            vertices = vertices[:, : self._num_vertices] + trans[rows, None]
            out[rows] = self._regressor @ vertices
        return out.numpy()


def _tensor(array) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(array, dtype=np.float32))
