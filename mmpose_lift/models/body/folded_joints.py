"""Joints that a regressor takes from the surface of a body, without making the surface.

Linear blend skinning moves vertex v to ``sum_j w_vj (R_j x_v + o_j)`` with the shaped rest position
``x_v = T_v + B_v f``. A regressed joint is a weighted sum of vertices, so all sums over vertices
can be taken once: ``joint_k = sum_j R_j (A_kj + C_kj f) + m_kj o_j``.
"""

import numpy as np
import torch
from torch import Tensor, nn

from .body_model import BodyModel, full_precision

__all__ = ['FoldedJoints']


class FoldedJoints(nn.Module):
    """Regressed joints of a posed body; equal to the regressor on its vertices, up to rounding.

    Differentiable in shape and pose. Like those of ``BodyModel`` the buffers are not saved.

    Args:
        body: kept as a submodule.
        regressor: (K, V) joints from the surface; default: the 17 joints of Human3.6M in 'h36m'
            order.

    Raises:
        ValueError: the body has no such regressor, or the one given is made for another surface.
    """

    def __init__(self, body: BodyModel, regressor=None):
        super().__init__()
        regressor = body.require_h36m_regressor() if regressor is None else regressor
        if not isinstance(regressor, Tensor):
            regressor = torch.from_numpy(np.array(regressor))
        regressor = regressor.to(body.template)
        if regressor.dim() != 2 or regressor.shape[1] != body.num_vertices:
            raise ValueError(f'regressor: expected shape (K, {body.num_vertices}), found '
                             f'{tuple(regressor.shape)}; is it made for this body model?')
        self.body = body
        regressor, weights = regressor.double(), body.weights.double()
        used = (regressor != 0).any(0)
        regressor, weights = regressor[:, used], weights[:, used]
        mass = regressor @ weights.T  # [K, J]
        joint, bone = ((regressor != 0).double() @ (weights != 0).double().T).nonzero().T
        shares = regressor[joint] * weights[bone]  # [P, v], one row per pair of joint and bone
        template = body.template[:, used].double() @ shares.T  # [3, P]
        shapes = body.blend_shapes[..., used].double() @ shares.T  # [3, S + 9 (J - 1), P]
        data = dict(template=template.T.reshape(-1), mass=mass,
                    blend_shapes=shapes.permute(1, 2, 0).reshape(len(shapes[0]), -1),
                    sums=torch.nn.functional.one_hot(joint, len(regressor)).T)  # [K, P]
        for name, tensor in data.items():
            self.register_buffer(name, tensor.to(body.template).contiguous(), persistent=False)
        self.register_buffer('bone', bone, persistent=False)

    @full_precision
    def forward(self, betas: Tensor, rotmats: Tensor) -> Tensor:
        """Joints (B, K, 3), metres, for the arguments of ``BodyModel.forward``."""
        features, rotations, offsets, _ = self.body.bone_transforms(betas, rotmats)
        points = torch.addmm(self.template, features, self.blend_shapes)
        points = points.unflatten(1, (-1, 3, 1))  # [B, P, 3, 1]
        turned = (rotations[:, self.bone] @ points)[..., 0]
        return self.sums @ turned + self.mass @ offsets
