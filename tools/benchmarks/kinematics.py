"""Inverse kinematics, skinning and regressed joints beside the plain ways to compute them.

Every comparison runs on one thread; rounds alternate, the median CPU time of each variant counts.
"""

import statistics
import time
from typing import Callable, Dict

import torch
import torch.nn.functional as F
from smplx.lbs import lbs
from torch import Tensor

from mmpose_lift.geometry.torch_rotations import axis_angle_to_matrix, quaternion_to_matrix
from mmpose_lift.models.body import BodyModel, FoldedJoints, stand_in_arrays
from mmpose_lift.models.body.inverse_kinematics import DRIVING_CHILDREN, inverse_kinematics

_CALLS = 5  # of one variant in a row: as in use, and longer than the clock's error


def compare_inverse_kinematics(batch: int = 64, rounds: int = 30,
                               compiled: bool = False) -> Dict[str, float]:
    """A loop over joints against levels of the tree, in mode 'eval'.

    Args:
        batch: number of people.
        rounds: how often each variant runs.
        compiled: add ``torch.compile`` (needs a C++ compiler).

    Returns:
        CPU seconds of the variants, their ratios, and the largest difference of an entry of the
        rotations.
    """
    body = BodyModel.stand_in()
    betas, rotmats = _bodies(batch)
    generator = torch.Generator().manual_seed(1)
    joints = body(betas, rotmats)[1] + 0.01 * torch.randn(batch, 24, 3, generator=generator)
    twists = torch.randn(batch, 23, 2, generator=generator)
    leaf_quats = torch.randn(batch, 5, 4, generator=generator)
    inputs = body, joints, betas, twists, leaf_quats
    runs = {'loop over joints': lambda: loop_over_joints(*inputs),
            'levels': lambda: inverse_kinematics(*inputs)}
    if compiled:
        fast = torch.compile(inverse_kinematics)
        runs['levels, compiled'] = lambda: fast(*inputs)
    return _compare(runs, rounds)


def compare_skinning(batch: int = 64, rounds: int = 30) -> Dict[str, float]:
    """``smplx.lbs.lbs`` against ``BodyModel``; returns as above, of the vertices (metres)."""
    body, (betas, rotmats) = BodyModel.stand_in(), _bodies(batch)
    data = _smplx_arrays()
    return _compare({'smplx': lambda: lbs(betas, rotmats, pose2rot=False, **data)[0],
                     'BodyModel': lambda: body(betas, rotmats)[0]}, rounds)


def compare_joints_only(batch: int = 64, rounds: int = 30) -> Dict[str, float]:
    """A regressor on the vertices of ``smplx`` against ``FoldedJoints``; returns as above."""
    body, (betas, rotmats) = BodyModel.stand_in(), _bodies(batch)
    data, folded = _smplx_arrays(), FoldedJoints(body)

    def regress():
        return body.h36m_joints(lbs(betas, rotmats, pose2rot=False, **data)[0])

    return _compare({'smplx and regressor': regress,
                     'FoldedJoints': lambda: folded(betas, rotmats)}, rounds)


def loop_over_joints(body: BodyModel, joints: Tensor, betas: Tensor, twists: Tensor,
                     leaf_quats: Tensor) -> Tensor:
    """Inverse kinematics joint by joint as in the public code, mode 'eval', five leaves.

    Arguments and result are those of ``inverse_kinematics``.
    """
    rest = body.rest_joints(betas)
    seen = joints - joints[:, :1] + rest[:, :1]
    root = _align([rest[:, c] - rest[:, 0] for c in (3, 1, 2)],
                  [seen[:, c] - seen[:, 0] for c in (3, 1, 2)])
    twists = twists / (twists.norm(dim=-1, keepdim=True) + 1e-8)
    leaves = iter(leaf_quats.unbind(1))
    local, rotations, positions = [root], [root], [rest[:, 0]]
    for joint, parent in enumerate(body.parents[1:], start=1):
        turned = rotations[parent]
        position = positions[parent] + _times(turned, rest[:, joint] - rest[:, parent])
        if joint in DRIVING_CHILDREN:
            child = DRIVING_CHILDREN[joint]
            bone, aim = rest[:, child] - rest[:, joint], seen[:, child] - position
            naive = seen[:, child] - seen[:, joint]
            naive = naive * bone.norm(dim=-1, keepdim=True) / naive.norm(dim=-1, keepdim=True)
            beside = (aim - naive).norm(dim=-1, keepdim=True)
            aim = _times(turned.transpose(1, 2), torch.where(beside > 0.015, naive, aim))
            normal = torch.linalg.cross(bone, aim)
            area = normal.norm(dim=-1)
            size = bone.norm(dim=-1) * aim.norm(dim=-1) + 1e-8
            swing = _rodrigues(normal / (area[:, None] + 1e-8), (bone * aim).sum(-1) / size,
                               area / size)
            cos, sin = twists[:, joint - 1].unbind(-1)
            local.append(swing @ _rodrigues(F.normalize(bone, dim=-1), cos, sin))
        else:
            local.append(quaternion_to_matrix(next(leaves)))
        positions.append(position)
        rotations.append(turned @ local[-1])
    return torch.stack(local, 1)


def _align(start: list, end: list) -> Tensor:
    u, _, vh = torch.linalg.svd(torch.stack(start, -1) @ torch.stack(end, 1))
    v = vh.transpose(1, 2)
    scale = torch.ones_like(v[:, 0])
    scale[:, 2] = torch.linalg.det(v @ u.transpose(1, 2))
    return v @ torch.diag_embed(scale) @ u.transpose(1, 2)


def _rodrigues(axis: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(-1, 3, 3)
    return (torch.eye(3) + sin[:, None, None] * skew
            + (1 - cos)[:, None, None] * torch.bmm(skew, skew))


def _times(rotations: Tensor, vectors: Tensor) -> Tensor:
    return torch.matmul(rotations, vectors[..., None])[..., 0]


def _bodies(batch: int):
    generator = torch.Generator().manual_seed(0)
    vectors = 0.4 * torch.randn(batch, 24, 3, generator=generator)
    return torch.randn(batch, 10, generator=generator), axis_angle_to_matrix(vectors)


def _smplx_arrays() -> Dict[str, Tensor]:
    arrays = stand_in_arrays()
    posedirs = arrays['posedirs'].reshape(-1, arrays['posedirs'].shape[-1]).T
    return {name: torch.as_tensor(array.copy()).float() if array.dtype.kind == 'f'
            else torch.as_tensor(array.copy()) for name, array in dict(
                v_template=arrays['v_template'], shapedirs=arrays['shapedirs'], posedirs=posedirs,
                J_regressor=arrays['J_regressor'], parents=arrays['parents'],
                lbs_weights=arrays['lbs_weights']).items()}


def _compare(runs: Dict[str, Callable], rounds: int) -> Dict[str, float]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            results = {name: call() for name, call in runs.items()}
            times = {name: [] for name in runs}
            for _ in range(rounds):
                for name, call in runs.items():
                    start = time.process_time()
                    for _ in range(_CALLS):
                        call()
                    times[name].append((time.process_time() - start) / _CALLS)
    finally:
        torch.set_num_threads(threads)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    first, *others = runs
    found = {f'{name}, CPU s': value for name, value in seconds.items()}
    for name in others:
        found[f'ratio to {name}'] = seconds[first] / seconds[name]
        found[f'difference of {name}'] = float((results[first] - results[name]).abs().max())
    return found
