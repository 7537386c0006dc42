"""Inverse kinematics: reference numbers, round trips, gradients, degenerate and wrong input."""

import numpy as np
import pytest
import torch

from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.geometry.torch_rotations import (
    axis_angle_to_matrix,
    matrix_to_quaternion_cases,
    rotation_about,
)
from mmpose_lift.models.body import BodyModel
from mmpose_lift.models.body.inverse_kinematics import (
    DRIVING_CHILDREN,
    LEAF_JOINTS,
    inverse_kinematics,
    leaf_quats_from_rotmats,
    twists_from_rotmats,
)

CASES = ('rest', 'rest_shaped', 'consistent_moderate', 'consistent_large', 'noisy_small',
         'noisy_large', 'not_root_centred', 'scaled_up', 'tiny_phi', 'twist_pi', 'mirrored',
         'fold_179deg', 'long_forearm')
FOLDED = 'illconditioned_fold_180deg'
SMPL = get_skeleton('smpl')


@pytest.fixture(scope='module')
def reference(shared_dir):
    folder = shared_dir / 'reference' / 'hybrik_transformer'
    with np.load(folder / 'body_model.npz') as arrays:
        body = BodyModel.from_arrays(**{name: arrays[name] for name in arrays
                                        if name != 'J_regressor_h36m'})
    with np.load(folder / 'inverse_kinematics.npz') as arrays:
        return body, {name: arrays[name] for name in arrays}


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def people(body):
    """Four consistent people: betas, rotations, joints, twists, leaf rotations."""
    generator = torch.Generator().manual_seed(0)
    betas = torch.randn(4, 10, generator=generator)
    rotmats = axis_angle_to_matrix(0.5 * torch.randn(4, 24, 3, generator=generator))
    joints = body.chain(rotmats, body.rest_joints(betas))[1]
    return (betas, rotmats, joints, twists_from_rotmats(body, betas, rotmats),
            leaf_quats_from_rotmats(rotmats))


def inputs(arrays, case):
    return [torch.from_numpy(arrays[f'{case}/{name}'])
            for name in ('pose_skeleton', 'betas', 'phis', 'leaf_quat_wxyz')]


@pytest.mark.parametrize('prefix, options', [
    ('', dict(compat_joint23=True)), ('train_', dict(compat_joint23=True, mode='train')),
    ('leaf23_', dict(compat_joint23=False))], ids=['eval', 'train', 'leaf23'])
@pytest.mark.parametrize('case', CASES)
def test_reference(reference, case, prefix, options):
    body, arrays = reference
    pose, betas, twists, leaf_quats = inputs(arrays, case)
    rotmats = inverse_kinematics(body, pose, betas, twists, leaf_quats, **options)
    vertices, joints = body(betas, rotmats)
    for name, found in (('rot_mats', rotmats), ('vertices', vertices), ('joints', joints)):
        expected = torch.from_numpy(arrays[f'{case}/{prefix}{name}'])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    if not prefix:
        expected = torch.from_numpy(arrays[f'{case}/layer_rot_quat_wxyz'])
        torch.testing.assert_close(matrix_to_quaternion_cases(rotmats).flatten(1), expected,
                                   atol=1e-4, rtol=0)


@pytest.mark.parametrize('mode', ['eval', 'train'])
def test_exactly_folded_is_finite(reference, mode):
    body, arrays = reference
    given = [tensor.requires_grad_() for tensor in inputs(arrays, FOLDED)]
    rotmats = inverse_kinematics(body, *given, mode=mode)
    assert torch.isfinite(rotmats).all()
    rotmats.square().sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in given)


def test_driving_children_and_leaves(reference):
    _, arrays = reference
    children = arrays['children'].copy()
    children[23] = -1  # the bug that compat_joint23 repeats
    assert [DRIVING_CHILDREN.get(joint, -1) for joint in range(24)] == children.tolist()
    assert list(LEAF_JOINTS) == arrays['leaf_joint_order'].tolist()


@pytest.mark.parametrize('mode', ['eval', 'train'])
def test_round_trip(body, people, mode):
    betas, rotmats, joints, twists, leaf_quats = people
    moved = joints + torch.tensor([1., -2, 3])
    found = inverse_kinematics(body, moved, betas, twists, leaf_quats, mode=mode)
    again = body.chain(found, body.rest_joints(betas))[1]
    # training takes the root from a short vector: the mean of the hips beside the spine
    factor = 10 if mode == 'train' else 1
    torch.testing.assert_close(again, joints, atol=1e-5 * factor, rtol=0)
    torch.testing.assert_close(found, rotmats, atol=1e-4 * factor, rtol=0)


def test_round_trip_of_large_rotations(body):
    generator = torch.Generator().manual_seed(1)
    betas = torch.randn(64, 10, generator=generator)
    rotmats = axis_angle_to_matrix(2 * torch.randn(64, 24, 3, generator=generator))
    joints = body.chain(rotmats, body.rest_joints(betas))[1]
    found = inverse_kinematics(body, joints, betas, twists_from_rotmats(body, betas, rotmats),
                               leaf_quats_from_rotmats(rotmats))
    again = body.chain(found, body.rest_joints(betas))[1]
    torch.testing.assert_close(again, joints, atol=1e-3, rtol=0)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).expand_as(found), atol=1e-3, rtol=0)


def test_upright_in_camera_axes(body):
    """The spine is exactly opposed to that of the rest pose: the root still turns half around."""
    betas = torch.zeros(1, 10)
    rotmats = torch.eye(3).repeat(1, 24, 1, 1)
    rotmats[:, 0] = torch.diag(torch.tensor([1., -1, -1]))
    joints = body.chain(rotmats, body.rest_joints(betas))[1]
    twists = twists_from_rotmats(body, betas, rotmats)
    for mode in ('eval', 'train'):
        found = inverse_kinematics(body, joints, betas, twists, None, mode=mode)
        again = body.chain(found, body.rest_joints(betas))[1]
        torch.testing.assert_close(again, joints, atol=1e-3, rtol=0)
        torch.testing.assert_close(torch.linalg.det(found), torch.ones(1, 24), atol=1e-4, rtol=0)


def test_twist_turns_only_its_joint_and_what_hangs_on_it(body, people):
    betas, rotmats, joints, twists, leaf_quats = people
    elbow = SMPL.index('left_elbow')
    changed = twists.clone()
    changed[:, elbow - 1] = torch.tensor([0., 3.])  # of any length
    found = inverse_kinematics(body, joints, betas, changed, leaf_quats)
    below = [SMPL.index(name) for name in ('left_elbow', 'left_wrist')]
    same = [j for j in range(24) if j not in below]
    torch.testing.assert_close(found[:, same], rotmats[:, same], atol=1e-4, rtol=0)
    again = body.chain(found, body.rest_joints(betas))[1]
    hand = SMPL.index('left_hand')
    torch.testing.assert_close(again[:, :hand], joints[:, :hand], atol=1e-4, rtol=0)
    rest = body.rest_joints(betas)
    bone = rest[:, SMPL.index('left_wrist')] - rest[:, elbow]
    axis = torch.nn.functional.normalize(bone, dim=-1)
    plain = changed.clone()
    plain[:, elbow - 1] = torch.tensor([1., 0])
    swing = inverse_kinematics(body, joints, betas, plain, leaf_quats)[:, elbow]
    quarter = rotation_about(axis, torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(found[:, elbow], swing @ quarter, atol=1e-4, rtol=0)


def test_leaves(body, people):
    betas, rotmats, joints, twists, leaf_quats = people
    leaves = list(LEAF_JOINTS)
    found = inverse_kinematics(body, joints, betas, twists, None)
    assert torch.equal(found[:, leaves], torch.eye(3).expand(4, 5, 3, 3))
    found = inverse_kinematics(body, joints, betas, twists, 0 * leaf_quats)
    assert torch.equal(found[:, leaves], torch.eye(3).expand(4, 5, 3, 3))
    found = inverse_kinematics(body, joints, betas, twists, 5 * leaf_quats)
    torch.testing.assert_close(found[:, leaves], rotmats[:, leaves], atol=1e-5, rtol=0)
    compat = leaf_quats_from_rotmats(rotmats, compat_joint23=True)
    assert torch.equal(compat[:, :4], leaf_quats[:, :4])
    assert compat[:, 4].tolist() == [[1, 0, 0, 0]] * 4


def test_long_bones_do_not_push_later_joints_away(body, people):
    """15 mm rule: a joint seen too far out keeps the direction of what hangs on it."""
    betas, rotmats, joints, twists, leaf_quats = people
    elbow, arm = SMPL.index('left_elbow'), [SMPL.index(f'left_{n}')
                                            for n in ('elbow', 'wrist', 'hand')]
    stretched = joints.clone()
    bone = joints[:, elbow] - joints[:, SMPL.index('left_shoulder')]
    stretched[:, arm] += 0.5 * bone[:, None]
    found = inverse_kinematics(body, stretched, betas, twists, leaf_quats)
    torch.testing.assert_close(found, rotmats, atol=1e-4, rtol=0)
    # in training the forearm aims from the elbow that was put, not from the elbow seen
    found = inverse_kinematics(body, stretched, betas, twists, leaf_quats, mode='train')
    assert (found - rotmats).abs().max() > 0.1


def test_three_child_svd(body, people):
    betas, rotmats, joints, twists, leaf_quats = people
    wrong = twists.clone()
    chest = SMPL.index('spine3')
    wrong[:, chest - 1] = torch.tensor([-1., 0.2])  # not needed then
    for mode in ('eval', 'train'):
        found = inverse_kinematics(body, joints, betas, wrong, leaf_quats, mode=mode,
                                   three_child_svd=True)
        torch.testing.assert_close(found, rotmats, atol=1e-3, rtol=0)


def test_batch_neighbours_are_independent(body, people):
    betas, rotmats, joints, twists, leaf_quats = people
    found = inverse_kinematics(body, joints, betas, twists, leaf_quats)
    one = slice(2, 3)
    alone = inverse_kinematics(body, joints[one], betas[one], twists[one], leaf_quats[one])
    torch.testing.assert_close(found[one], alone, atol=1e-6, rtol=0)
    none = inverse_kinematics(body, joints[:0], betas[:0], twists[:0], leaf_quats[:0])
    assert none.shape == (0, 24, 3, 3)


def test_gradients(people):
    body = BodyModel.stand_in().double()
    betas, _, joints, twists, leaf_quats = (tensor[:1].double() for tensor in people)
    joints = joints + 0.005 * torch.randn(joints.shape, dtype=torch.float64,
                                          generator=torch.Generator().manual_seed(0))

    def solve(limbs, twists, leaf_quats):  # the root does not depend on these joints
        seen = torch.cat([joints[:, :4], limbs], 1)
        return inverse_kinematics(body, seen, betas, twists, leaf_quats, mode='train')

    given = [tensor.clone().requires_grad_() for tensor in (joints[:, 4:], twists, leaf_quats)]
    assert torch.autograd.gradcheck(solve, given, fast_mode=True, atol=1e-4)


def test_no_gradient_through_the_root(body, people):
    betas, _, joints, twists, leaf_quats = people
    for mode in ('train', 'eval'):
        seen, shape = joints.clone().requires_grad_(), betas.clone().requires_grad_()
        rotmats = inverse_kinematics(body, seen, shape, twists, leaf_quats, mode=mode)
        assert not rotmats[:, 0].detach().requires_grad
        grads = torch.autograd.grad(rotmats[:, 0].sum(), (seen, shape), allow_unused=True)
        assert all(grad is None or not grad.any() for grad in grads)
        grads = torch.autograd.grad(
            inverse_kinematics(body, seen, shape, twists, leaf_quats, mode=mode).square()[:, 1:, 0]
            .sum(), (seen, shape))
        assert all(grad.any() for grad in grads)


@pytest.mark.parametrize('mode', ['train', 'eval'])
@pytest.mark.parametrize('case', ['rest', 'zero twists', 'zero leaves', 'collapsed', 'coincident'])
def test_degenerate_input_is_finite(body, mode, case):
    betas = torch.zeros(2, 10)
    joints = body.rest_joints(betas)
    twists, leaf_quats = torch.ones(2, 23, 2), torch.ones(2, 5, 4)
    if case == 'zero twists':
        twists = torch.zeros(2, 23, 2)
    elif case == 'zero leaves':
        leaf_quats = torch.zeros(2, 5, 4)
    elif case == 'collapsed':
        joints = torch.zeros(2, 24, 3)
    elif case == 'coincident':
        joints[:, SMPL.index('left_knee')] = joints[:, SMPL.index('left_hip')]
    given = [tensor.clone().requires_grad_() for tensor in (joints, betas, twists, leaf_quats)]
    for compat in (False, True):
        rotmats = inverse_kinematics(body, *given, mode=mode, compat_joint23=compat)
        assert torch.isfinite(rotmats).all()
        rotmats.square()[..., 0].sum().backward()
        assert all(torch.isfinite(tensor.grad).all() for tensor in given)


def test_gradient_at_rest_is_that_beside_it(body):
    """The padding of the public code would make it vanish."""
    betas, twists = torch.zeros(1, 10), torch.tensor([1., 0]).repeat(1, 23, 1)

    def gradient(shift):
        joints = body.rest_joints(betas)
        joints[:, SMPL.index('left_wrist'), 1] += shift
        joints.requires_grad_()
        rotmats = inverse_kinematics(body, joints, betas, twists, None, mode='train')
        rotmats[0, SMPL.index('left_elbow'), 1, 0].backward()
        return joints.grad[0, SMPL.index('left_wrist')]

    torch.testing.assert_close(gradient(0), gradient(1e-3), atol=0.02, rtol=0)
    assert gradient(0)[1] > 1  # one over the length of the forearm


def test_values_that_are_not_finite(body, people):
    betas, _, joints, twists, leaf_quats = people
    joints = joints.clone()
    joints[2, 5] = float('nan')
    with pytest.raises(ValueError, match=r'joints: values of sample 2 are not finite \(1 of 4'):
        inverse_kinematics(body, joints, betas, twists, leaf_quats)
    for svd in (False, True):
        found = inverse_kinematics(body, joints, betas, twists, leaf_quats, mode='train',
                                   three_child_svd=svd)
        finite = torch.isfinite(found).flatten(1).all(1)
        assert finite.tolist() == [True, True, False, True]


def test_half_precision_is_not_used_inside(body, people):
    betas, rotmats, joints, twists, leaf_quats = people
    with torch.autocast('cpu', torch.bfloat16):
        found = inverse_kinematics(body, joints, betas, twists, leaf_quats)
    torch.testing.assert_close(found, rotmats, atol=1e-4, rtol=0)
    found = inverse_kinematics(body, joints, betas, twists.bfloat16(), leaf_quats.bfloat16())
    assert found.dtype == torch.float32


@pytest.mark.parametrize('name, shape', [
    ('joints', (4, 17, 3)), ('betas', (3, 10)), ('betas', (4, 9)), ('twists', (4, 24, 2)),
    ('leaf_quats', (4, 4, 4))])
def test_wrong_shapes(body, people, name, shape):
    betas, _, joints, twists, leaf_quats = people
    given = dict(joints=joints, betas=betas, twists=twists, leaf_quats=leaf_quats)
    with pytest.raises(ValueError, match=f'{name}: expected shape .* found'):
        inverse_kinematics(body, **{**given, name: torch.zeros(shape)})


def test_wrong_mode_and_body(body, people):
    betas, rotmats, joints, twists, leaf_quats = people
    with pytest.raises(ValueError, match="mode: expected 'train' or 'eval', found 'test'"):
        inverse_kinematics(body, joints, betas, twists, leaf_quats, mode='test')
    other = BodyModel.from_arrays(np.zeros((3, 3)), np.zeros((3, 3, 10)), np.zeros((3, 3, 0)),
                                  np.ones((1, 3)) / 3, np.ones((3, 1)), [-1])
    for call in (lambda: inverse_kinematics(other, joints, betas, twists, leaf_quats),
                 lambda: twists_from_rotmats(other, betas, rotmats)):
        with pytest.raises(ValueError, match='body_model: .* needs the 24 joints of SMPL'):
            call()
    with pytest.raises(ValueError, match=r'rotmats: expected shape \(4, 24, 3, 3\), found'):
        twists_from_rotmats(body, betas, rotmats[:, :23])
    with pytest.raises(ValueError, match='rotmats: expected shape'):
        leaf_quats_from_rotmats(rotmats[0])
