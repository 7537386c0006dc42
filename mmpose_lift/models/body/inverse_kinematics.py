"""Joint rotations of an SMPL body from joint positions and twist angles, in closed form.

Li et al., "HybrIK: A Hybrid Analytical-Neural Inverse Kinematics Solution for 3D Human Pose and
Shape Estimation", CVPR 2021, with the choices of its code: the *swing* of a joint turns the bone to
its driving child towards that child, the *twist* about the bone is given. Joints of one level of
the tree are solved together.
"""

import math
from functools import cache
from typing import NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...geometry.skeletons import get_skeleton
from ...geometry.torch_rotations import (
    align_vectors,
    compose_matrix,
    half_turn,
    matrix_to_quaternion,
    perpendicular,
    quaternion_parts,
    rotation_parts,
    swing_twist,
)
from .body_model import BodyModel

__all__ = ['DRIVING_CHILDREN', 'LEAF_JOINTS', 'inverse_kinematics', 'leaf_quats_from_rotmats',
           'twists_from_rotmats']

_SMPL = get_skeleton('smpl')
_HIPS = [_SMPL.index('left_hip'), _SMPL.index('right_hip')]
_SPINE, _CHEST, _NECK = (_SMPL.index(name) for name in ('spine1', 'spine3', 'neck'))
# children follow each other
_ROOT_CHILDREN, _CHEST_CHILDREN = (
    slice(_SMPL.parents.index(joint), _SMPL.parents.index(joint) + _SMPL.parents.count(joint))
    for joint in (0, _CHEST))
# The child whose position turns a joint: the first one, but the spine for the pelvis and the neck
# for the chest.
DRIVING_CHILDREN = {**{parent: child for parent, child in reversed(_SMPL.bones)},
                    0: _SPINE, _CHEST: _NECK}
# Joints without a child, in the order in which leaf rotations are given.
LEAF_JOINTS = tuple(j for j in range(_SMPL.num_joints) if j not in DRIVING_CHILDREN)
_DRIVEN = {joint: child for joint, child in DRIVING_CHILDREN.items() if joint}

_BESIDE = 0.015  # metres between the two targets of a bone beyond which the seen one counts
_PAD = 1e-8  # the code's, against division by zero
_OPPOSED = 3e-4  # [np] radians left to a half turn below which rounding would choose the axis


def inverse_kinematics(body_model: BodyModel, joints: Tensor, betas: Tensor, twists: Tensor,
                       leaf_quats: Optional[Tensor], mode: str = 'eval',
                       compat_joint23: bool = False, three_child_svd: bool = False) -> Tensor:
    """Rotations that pose the body so that its joints are where they are seen.

    Gradients reach joints, shape, twists and leaf rotations, but not through the rotation of the
    root. Degenerate input has finite results and gradients: a joint seen at the place of its
    driving child does not swing; a leaf quaternion of length zero does not turn; and, as in the
    code of the paper, neither a twist of length zero (the projection onto the bone) nor the swing
    of a limb folded to less than some 1e-5 radians gives a rotation.

    Args:
        body_model: Body with the joints of the skeleton ``smpl``.
        joints: (B, 24, 3) metres; joint 0 is moved to where the shaped rest pose has it.
        betas: (B, S) shape coefficients.
        twists: (B, 23, 2) cosine and sine, of any length, of the turns of joints 1 to 23 about
            their bones; those of joints without a child are not used.
        leaf_quats: (B, 5, 4) rotations w, x, y, z, of any length, of ``LEAF_JOINTS``; None: these
            joints do not turn.
        mode: ``'train'``: the root from spine and hips; a bone aims from where its joint has been
            put. ``'eval'``: the root by least squares over spine and hips; a bone whose aim is more
            than 15 mm beside the seen bone takes the direction of that one.
        compat_joint23: Treat the right hand as the published 24-joint code does, whose child table
            makes the pelvis its child; for the published weights. The hand then has a twist and
            the last leaf rotation is not used.
        three_child_svd: Turn the chest by least squares over neck and both collars, without
            gradient, instead of by neck and twist.

    Returns:
        (B, 24, 3, 3) rotations relative to the parents, in the floating-point type of the body.

    Raises:
        ValueError: wrong shapes, unknown mode, a body with other joints, or joints that are not
            finite. Mode ``'train'`` does not look at the values, which would stop a GPU: a sample
            that is not finite gives rotations that are not finite, and its neighbours do not mind.
    """
    _check(body_model, joints, betas, twists, leaf_quats, mode)
    dtype = body_model.joint_template.dtype
    with torch.autocast(joints.device.type, enabled=False):
        if leaf_quats is not None:
            leaf_quats = leaf_quats.to(dtype)
        return _solve(body_model, joints.to(dtype), betas.to(dtype), twists.to(dtype), leaf_quats,
                      mode == 'train', _plan(compat_joint23), three_child_svd)


def twists_from_rotmats(body_model: BodyModel, betas: Tensor, rotmats: Tensor) -> Tensor:
    """Twists with which :func:`inverse_kinematics` gives rotations back.

    Args:
        body_model: Body with the joints of the skeleton ``smpl``.
        betas: (B, S) shape coefficients.
        rotmats: (B, 24, 3, 3) rotations relative to the parents.

    Returns:
        (B, 23, 2) cosine and sine for joints 1 to 23; (1, 0) for joints without a child.

    Raises:
        ValueError: wrong shapes or a body with other joints.
    """
    _check_shape('rotmats', rotmats, (len(betas), _SMPL.num_joints, 3, 3))
    _check_tree(body_model)
    driven, children = (list(joints) for joints in zip(*_DRIVEN.items()))
    rest = body_model.rest_joints(betas)
    _, pair = swing_twist(rotmats[:, driven], rest[:, children] - rest[:, driven])
    twists = rotmats.new_tensor([1., 0.]).repeat(len(betas), _SMPL.num_joints, 1)
    twists[:, driven] = torch.stack(pair, -1)
    return twists[:, 1:]


def leaf_quats_from_rotmats(rotmats: Tensor, compat_joint23: bool = False) -> Tensor:
    """Leaf rotations with which :func:`inverse_kinematics` gives rotations back.

    Args:
        rotmats: (B, 24, 3, 3) rotations relative to the parents.
        compat_joint23: The last row, not used there, is the identity.

    Returns:
        (B, 5, 4) unit quaternions w, x, y, z of ``LEAF_JOINTS``.

    Raises:
        ValueError: wrong shape.
    """
    _check_shape('rotmats', rotmats, (len(rotmats), _SMPL.num_joints, 3, 3))
    quats = matrix_to_quaternion(rotmats[:, list(LEAF_JOINTS)])
    if compat_joint23:
        quats = torch.cat([quats[:, :-1], quats.new_tensor([1., 0, 0, 0]).expand(len(quats), 1, 4)],
                          1)
    return quats


class _Level(NamedTuple):
    """Joints with a driving child at one distance from the root; rows count in one level."""
    first: int  # joint
    number: int  # of joints, which follow each other
    parent: int  # row of the first joint's parent in the level before
    one_parent: bool  # for all; otherwise the parents follow each other as the joints do
    chest: Optional[int]  # row of the joint that is the chest


class _Plan(NamedTuple):
    """Who is solved when; joints by level and then by index, as runs (first, last + 1)."""
    driven: tuple
    children: tuple
    twists: tuple  # rows of the twists
    parents: tuple  # of all joints but the root
    leaves: tuple
    levels: Tuple[_Level, ...]


@cache
def _plan(compat_joint23: bool) -> _Plan:
    children = dict(_DRIVEN)
    if compat_joint23:
        children[LEAF_JOINTS[-1]] = 0
    hops = _SMPL.hops
    driven = sorted(children, key=lambda j: (hops[j], j))
    leaves = [j for j in LEAF_JOINTS if j not in children]
    before, levels = [0], []
    for hop in range(1, hops[driven[-1]] + 1):
        level = [j for j in driven if hops[j] == hop]
        parents = [before.index(_SMPL.parents[j]) for j in level]
        levels.append(_Level(level[0], len(level), parents[0], len(level) > len(set(parents)),
                             level.index(_CHEST) if _CHEST in level else None))
        before = level
    lists = driven, [children[j] for j in driven], [j - 1 for j in driven], _SMPL.parents[1:]
    return _Plan(*(_runs(indices) for indices in lists), tuple(leaves), tuple(levels))


def _runs(indices) -> tuple:
    """(first, last + 1) of the runs of following numbers."""
    starts = [i for i, index in enumerate(indices) if not i or index != indices[i - 1] + 1]
    ends = [*starts[1:], len(indices)]
    return tuple((indices[start], indices[end - 1] + 1) for start, end in zip(starts, ends))


def _take(tensor: Tensor, runs: tuple) -> Tensor:
    """Rows of a tensor; as fast as an index tensor, and nothing that has to be on a device."""
    return torch.cat([tensor[first:last] for first, last in runs])


def _solve(body_model, joints, betas, twists, leaf_quats, train, plan, three_child_svd):
    # Joints come first and share an axis with the samples from here on, so that a level is a run
    # of rows; vectors are rows: v @ R.T is R v.
    batch = len(joints)
    rest = body_model.rest_joints(betas)
    seen = joints + (rest[:, :1] - joints[:, :1])
    both = torch.stack([rest, seen]).permute(2, 0, 1, 3).contiguous()
    rest, seen = both.unbind(1)  # [24, B, 3] each
    # offsets from the parents; the root keeps its position
    bones, seen_bones = torch.cat([both[:1], both[1:] - _take(both, plan.parents)]).unbind(1)
    root = _root_rotation(bones.detach(), seen_bones.detach(), train)

    to_joint, to_child = (_take(bones, runs).view(-1, 1, 3)  # [N B, 1, 3] each
                          for runs in (plan.driven, plan.children))
    targets = _take(seen, plan.children).view(-1, 1, 3)
    lengths = torch.linalg.vector_norm(to_child, dim=-1, keepdim=True)
    turns, leaves = _given_turns((to_child / lengths.clamp(min=1e-12))[:, 0],
                                 _take(twists.transpose(0, 1), plan.twists).reshape(-1, 2),
                                 leaf_quats, batch, len(plan.leaves))
    by_joint = [to_joint, to_child, targets, lengths, turns]
    if not train:
        naive = _take(seen_bones, plan.children).view(-1, 1, 3)
        by_joint.append(naive * (lengths / torch.linalg.vector_norm(naive, dim=-1, keepdim=True)
                                 .clamp(min=1e-12)))
    sizes = [level.number * batch for level in plan.levels]
    by_level = zip(plan.levels, *(tensor.split(sizes) for tensor in by_joint))

    solved = {0: root, **dict(zip(plan.leaves, leaves))}  # by their first joint
    rotations, positions = root, rest[0][:, None]  # of the level before, in the body's frame
    for level, to_joint, to_child, targets, lengths, turns, *naive in by_level:
        parents = _rows(rotations, level, batch)
        positions = torch.baddbmm(_rows(positions, level, batch), to_joint, parents.transpose(1, 2))
        aims = targets - positions
        if not train:
            beside = torch.linalg.vector_norm(aims - naive[0], dim=-1, keepdim=True)
            aims = torch.where(beside > _BESIDE, naive[0], aims)
        local = _swing(to_child, lengths, torch.bmm(aims, parents), turns)
        if three_child_svd and level.chest is not None:
            chest = slice(level.chest * batch, (level.chest + 1) * batch)
            aims = seen_bones[_CHEST_CHILDREN].transpose(0, 1) @ parents[chest]
            # the decomposition refuses values that are not finite, of any sample
            aligned = align_vectors(bones[_CHEST_CHILDREN].transpose(0, 1),
                                    torch.nan_to_num(aims, posinf=0, neginf=0))
            local = torch.cat([local[:chest.start], aligned, local[chest.stop:]])
        solved[level.first] = local
        if level is not plan.levels[-1]:
            rotations = torch.bmm(parents, local)
    solved = torch.cat([solved[first] for first in sorted(solved)])
    return solved.view(_SMPL.num_joints, batch, 3, 3).transpose(0, 1).contiguous()


def _given_turns(directions: Tensor, pairs: Tensor, leaf_quats: Optional[Tensor], batch: int,
                 num_leaves: int):
    """(N, 3, 3) twists about (N, 3) directions and, for every leaf, (B, 3, 3) rotations.

    They are composed together, which is faster than one after the other.
    """
    pairs = pairs / (torch.linalg.vector_norm(pairs, dim=-1, keepdim=True) + _PAD)
    twists = rotation_parts(directions.t().contiguous(), *pairs.t())
    if leaf_quats is None:
        leaf_quats = pairs.new_tensor([1., 0, 0, 0]).expand(batch, num_leaves, 4)
    leaf_quats = leaf_quats[:, :num_leaves].permute(2, 1, 0).flatten(1)  # [4, leaves B]
    leaves = quaternion_parts(leaf_quats)
    matrices = compose_matrix(*(torch.cat(pair, -1) for pair in zip(twists, leaves)))
    turns, leaves = matrices.split([len(directions), num_leaves * batch])
    return turns, leaves.split(batch)


def _rows(tensor: Tensor, level: '_Level', batch: int) -> Tensor:
    """Rows of the parents of a level's joints, out of those of the level before."""
    if level.one_parent:
        return tensor[level.parent * batch:(level.parent + 1) * batch].repeat(level.number, 1, 1)
    return tensor[level.parent * batch:(level.parent + level.number) * batch]


def _root_rotation(bones: Tensor, seen: Tensor, train: bool) -> Tensor:
    """(B, 3, 3) global rotation of the body from its (24, B, 3) rest and seen bones."""
    if not train:
        return align_vectors(bones[_ROOT_CHILDREN].transpose(0, 1),
                             seen[_ROOT_CHILDREN].transpose(0, 1))
    # Upright people seen by a camera have the spine opposed to that of the rest pose, whose y axis
    # points up: the exact half turn, where a shortest turn is not unique, does occur here.
    bone, spine = bones[_SPINE], F.normalize(seen[_SPINE], dim=-1)
    eye = torch.eye(3, dtype=bones.dtype, device=bones.device).expand(len(spine), 3, 3)
    by_spine = _swing_unless_opposed(bone, seen[_SPINE], eye,
                                     half_turn(perpendicular(F.normalize(bone, dim=-1))))

    def across(vector):
        return vector - (vector * spine).sum(-1, keepdim=True) * spine

    rest_hips = (by_spine @ bones[_HIPS].mean(0)[..., None])[..., 0]
    return _swing_unless_opposed(across(rest_hips), across(seen[_HIPS].mean(0)), by_spine,
                                 half_turn(spine) @ by_spine)


def _swing_unless_opposed(bones, targets, first, opposed):
    """``_swing`` of (N, 3) vectors, but ``opposed`` where bone and target are opposed."""
    lengths = torch.linalg.vector_norm(bones, dim=-1)
    turned = _swing(bones[:, None], lengths[:, None, None], targets[:, None], first)
    area = torch.linalg.vector_norm(torch.linalg.cross(bones, targets), dim=-1)
    is_opposed = area < -_OPPOSED * (bones * targets).sum(-1)
    return torch.where(is_opposed[:, None, None], opposed, turned)


def _swing(bones: Tensor, lengths: Tensor, targets: Tensor, first: Tensor) -> Tensor:
    """(N, 3, 3) rotations ``first``, then shortest turns of bones to targets.

    The turns are 1 + sin [a] + (1 - cos) [a]^2, padded as in the public code: a is the cross
    product t x v divided by |t x v| + 1e-8, sine and cosine are divided by |t| |v| + 1e-8. For
    short or nearly folded bones that changes results by some 1e-4, and published weights were
    trained with it. The gradient is that with |t x v| not padded, which would make it vanish at
    rest.

    Args:
        bones, targets: (N, 1, 3) metres, t and v; no turn where one is zero.
        lengths: (N, 1, 1) of the bones.
        first: (N, 3, 3).
    """
    outer = targets.transpose(1, 2) * bones
    cross = outer - outer.transpose(1, 2)  # of the vector t x v
    once = torch.bmm(cross, first)
    twice = torch.bmm(cross, once)
    area = torch.linalg.vector_norm(cross, dim=(1, 2), keepdim=True)  # |t x v|, times sqrt(2)
    dot = torch.bmm(targets, bones.transpose(1, 2))
    pad = torch.full((), _PAD, dtype=bones.dtype, device=bones.device)
    size = torch.addcmul(pad, torch.linalg.vector_norm(targets, dim=-1, keepdim=True), lengths)
    padded = torch.add(pad, area, alpha=0.5**0.5)
    divisor = padded * size
    # divided twice: the gradient divides by the square of each divisor, which must not be 0
    sine, square = area / divisor, (size - dot) / padded / divisor
    turned = torch.addcmul(torch.addcmul(first, sine, once, value=0.5**0.5), square, twice)
    if not turned.requires_grad:
        return turned
    smooth = torch.where(dot > 0, 1 / (size + dot.abs()) / size, square)
    smooth = torch.addcmul(torch.addcmul(first, 1 / size, once), smooth, twice)
    return smooth + (turned - smooth).detach()


def _check_shape(name: str, tensor: Tensor, shape: tuple) -> None:
    if tuple(tensor.shape) != shape:
        raise ValueError(f'{name}: expected shape {shape}, found {tuple(tensor.shape)}')


def _check_tree(body_model: BodyModel) -> None:
    if tuple(body_model.parents) != _SMPL.parents:
        raise ValueError(f'body_model: inverse kinematics needs the {_SMPL.num_joints} joints of '
                         f'SMPL with parents {_SMPL.parents}, found {tuple(body_model.parents)}')


def _check(body_model, joints, betas, twists, leaf_quats, mode) -> None:
    if mode not in ('train', 'eval'):
        raise ValueError(f"mode: expected 'train' or 'eval', found {mode!r}")
    _check_tree(body_model)
    batch = len(joints)
    _check_shape('joints', joints, (batch, _SMPL.num_joints, 3))
    _check_shape('betas', betas, (batch, body_model.num_shapes))
    _check_shape('twists', twists, (batch, _SMPL.num_joints - 1, 2))
    if leaf_quats is not None:
        _check_shape('leaf_quats', leaf_quats, (batch, len(LEAF_JOINTS), 4))
    if (mode == 'eval' and not torch.compiler.is_compiling()
            and not math.isfinite(joints.detach().sum(dtype=torch.float64))):
        bad = torch.nonzero(~torch.isfinite(joints).flatten(1).all(1))[:, 0].tolist()
        raise ValueError(f'joints: values of sample {bad[0]} are not finite ({len(bad)} of {batch} '
                         'samples); leave such people out, or look at what predicted them')
