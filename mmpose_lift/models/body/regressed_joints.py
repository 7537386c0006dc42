"""Joints that a regressor takes from the surface of a skinned body, for motion in numpy arrays."""

import numpy as np
import torch

from ...geometry.rotations import axis_angle_to_matrix
from .body_model import BodyModel
from .folded_joints import FoldedJoints

_FRAMES = 1 << 12  # [np] at once: bounds memory


class RegressedJoints:
    """Regressed joints of a body of the SMPL family that moves; the surface is never made.

    Args:
        v_template: (V, 3) surface at rest, metres.
        shapedirs: (V, 3, S) shape directions, metres per unit; DMPL directions can follow them, as
            in the public tools of AMASS.
        posedirs: (V, 3, 9 (J - 1)) corrective directions of the pose.
        J_regressor: (J, V) the body's own joints.
        weights: (V, J) skinning weights.
        parents: (J,) parent joints; parents come before children, the first is the root.
        regressor: (K, V) the joints wanted.

    Raises:
        ValueError: the arrays do not fit together.
    """

    def __init__(self, v_template, shapedirs, posedirs, J_regressor, weights, parents, regressor):
        body = BodyModel.from_arrays(v_template, shapedirs, posedirs, J_regressor, weights,
                                     [-1, *parents[1:]])
        self._joints = FoldedJoints(body, regressor)
        self._mass = np.asarray(regressor).sum(1)  # how much of a shift of the body a joint takes
        self.num_joints, self.num_shape = body.num_joints, body.num_shapes

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
        poses = np.reshape(poses, (len(poses), -1))
        shape, trans = np.atleast_2d(shape), np.asarray(trans)
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
        shape = np.broadcast_to(shape, (frames, self.num_shape))
        out = np.empty((frames, len(self._mass), 3), dtype=np.float32)
        for first in range(0, frames, _FRAMES):
            rows = slice(first, first + _FRAMES)
            rotmats = axis_angle_to_matrix(poses[rows].reshape(-1, self.num_joints, 3))
            joints = self._joints(_tensor(shape[rows]), _tensor(rotmats)).numpy()
            out[rows] = joints + self._mass[:, None] * trans[rows, None]
        return out


def _tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32, order='C'))
