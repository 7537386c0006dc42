"""Rotation formats against scipy and the numpy side; gradients at angle 0 and at half turns."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmpose_lift.geometry import rotations
from mmpose_lift.geometry import torch_rotations as tr


@pytest.fixture(scope='module')
def random():
    return Rotation.random(200, random_state=0)


@pytest.fixture(scope='module')
def special():
    """No turn, tiny turns, half turns about axes and diagonals, and almost half turns."""
    axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [-0.48, 0.6, 0.64]])
    angles = np.array([0, 1e-9, 1e-4, 2, np.pi - 1e-4, np.pi])
    return Rotation.from_rotvec((angles[:, None, None] * axes).reshape(-1, 3))


def matrices(*many, shape=(-1, )):
    matrix = np.concatenate([rotation.as_matrix() for rotation in many])
    return torch.from_numpy(matrix).reshape(*shape, 3, 3)


def close(actual, expected, atol=1e-12):
    torch.testing.assert_close(actual, torch.as_tensor(expected), atol=atol, rtol=0)


def test_agrees_with_numpy(random, special):
    matrix = matrices(random, special)
    vectors = torch.from_numpy(np.concatenate([random.as_rotvec(), special.as_rotvec()]))
    close(tr.axis_angle_to_matrix(vectors), rotations.axis_angle_to_matrix(vectors.numpy()))
    quats = tr.matrix_to_quaternion(matrix)
    close(quats, rotations.matrix_to_quaternion(matrix.numpy()))
    close(tr.quaternion_to_matrix(3 * quats), rotations.quaternion_to_matrix(quats.numpy()))


@pytest.mark.parametrize('to, back', [
    (tr.matrix_to_axis_angle, tr.axis_angle_to_matrix),
    (tr.matrix_to_quaternion, tr.quaternion_to_matrix),
    (tr.matrix_to_quaternion_cases, tr.quaternion_to_matrix),
    (tr.matrix_to_rotation_6d, tr.rotation_6d_to_matrix)])
def test_round_trip(to, back, random, special):
    matrix = matrices(random, special, shape=(23, 10))
    close(back(to(matrix)), matrix)
    close(back(to(matrix.float())), matrix.float(), 3e-6)


def test_axis_angle_of_matrix(random):
    close(tr.matrix_to_axis_angle(matrices(random)), random.as_rotvec())


def test_cases_are_the_quaternion_up_to_sign(random):
    matrix = matrices(random)
    cases, plain = tr.matrix_to_quaternion_cases(matrix), tr.matrix_to_quaternion(matrix)
    sign = (cases * plain).sum(-1, keepdim=True).sign()
    close(cases, plain * sign)
    assert 0 < (sign < 0).sum() < 100  # no canonical sign


def test_6d_needs_no_perpendicular_columns(random):
    matrix = matrices(random)
    x, y = matrix[..., 0], matrix[..., 1]
    close(tr.rotation_6d_to_matrix(torch.cat([2 * x, 0.5 * y - 3 * x], -1)), matrix)


def test_half_turn_and_rotation_about(random):
    axis = matrices(random)[..., 0]
    angle = torch.linspace(-3, 3, len(axis), dtype=axis.dtype)
    expected = torch.from_numpy(Rotation.from_rotvec(angle[:, None] * axis).as_matrix())
    close(tr.rotation_about(axis, angle.cos(), angle.sin()), expected)
    close(tr.half_turn(axis), tr.axis_angle_to_matrix(np.pi * axis))


def test_perpendicular():
    vectors = torch.tensor([[0, 0, 1.], [0, 0, -1], [1e-12, 0, 1], [1e-6, 3e-7, 1], [0, 1, 0],
                            [0.6, 0, 0.8], [1, 0, 0]])
    side = tr.perpendicular(vectors)
    close(side.norm(dim=-1), torch.ones(7), 1e-6)
    close((side * vectors).sum(-1), torch.zeros(7), 1e-7)


def test_shortest_rotation(rng):
    start, end = torch.from_numpy(rng.normal(size=(2, 50, 3)))
    rotation = tr.shortest_rotation(start, end)
    unit = torch.nn.functional.normalize
    close((rotation @ unit(start, dim=-1)[..., None])[..., 0], unit(end, dim=-1))
    angle = tr.matrix_to_axis_angle(rotation).norm(dim=-1)
    close(angle.cos(), (unit(start, dim=-1) * unit(end, dim=-1)).sum(-1))


@pytest.mark.parametrize('gap', [0, 1e-7, 1e-5, 1e-3, 1e-2])
def test_shortest_rotation_of_opposed_vectors(gap, rng):
    start = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(100, 3))), dim=-1)
    end = -start + gap * torch.from_numpy(rng.normal(size=(100, 3)))
    start, end = start.float(), end.float()
    rotation = tr.shortest_rotation(start, end)
    close(rotation @ rotation.mT, torch.eye(3).expand(100, 3, 3), 1e-6)
    close(torch.linalg.det(rotation), torch.ones(100), 1e-6)
    turned = (rotation @ start[..., None])[..., 0]
    close(turned, torch.nn.functional.normalize(end, dim=-1), 1e-3)


def test_shortest_rotation_of_nothing():
    zero, one = torch.zeros(3), torch.ones(3)
    for start, end in ((zero, one), (one, zero), (zero, zero)):
        close(tr.shortest_rotation(start, end), torch.eye(3))


def test_swing_twist(random, rng):
    matrix = matrices(random)
    axis = torch.from_numpy(rng.normal(size=(200, 3)))
    swing, (cos, sin) = tr.swing_twist(matrix, axis)
    unit = torch.nn.functional.normalize(axis, dim=-1)
    close(swing @ tr.rotation_about(unit, cos, sin), matrix)
    close((tr.matrix_to_axis_angle(swing) * unit).sum(-1), torch.zeros(200).double())
    # a pure twist has no swing
    twist = tr.rotation_about(unit, cos, sin)
    swing, pair = tr.swing_twist(twist, axis)
    close(swing, torch.eye(3).double().expand(200, 3, 3))
    close(torch.stack(pair), torch.stack([cos, sin]))


def test_swing_twist_where_the_axis_is_turned_over():
    axis = torch.tensor([0., 0, 2])
    matrix = torch.tensor([[0., 1, 0], [1, 0, 0], [0, 0, -1]])
    swing, (cos, sin) = tr.swing_twist(matrix, axis)
    close(swing @ tr.rotation_about(axis / 2, cos, sin), matrix, 1e-6)


def test_align_vectors(random, rng):
    start = torch.from_numpy(rng.normal(size=(200, 3, 3)))
    matrix = matrices(random)
    close(tr.align_vectors(start, start @ matrix.mT), matrix, 1e-6)
    noisy = start @ matrix.mT * torch.tensor([1., 1, -1])  # mirrored: still a proper rotation
    found = tr.align_vectors(start, noisy)
    close(torch.linalg.det(found), torch.ones(200).double(), 1e-9)
    expected, _ = Rotation.align_vectors(noisy[0].numpy(), start[0].numpy())
    close(found[0], expected.as_matrix(), 1e-6)


def test_align_vectors_without_information():
    close(tr.align_vectors(torch.ones(2, 3, 3), torch.zeros(2, 3, 3)),
          torch.eye(3).expand(2, 3, 3))


POINTS = [[0., 0, 0], [1e-9, 0, 0], [0.3, -0.5, 0.2], [np.pi, 0, 0], [0, 0.6 * np.pi, 0.8 * np.pi]]


@pytest.mark.parametrize('vector', POINTS)
def test_gradients_of_axis_angle(vector):
    vector = torch.tensor(vector, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tr.axis_angle_to_matrix, vector)

    def there_and_back(v):  # continuous at half turns, unlike the vector itself
        matrix = tr.axis_angle_to_matrix(v)
        quats = tr.matrix_to_quaternion(matrix), tr.matrix_to_quaternion_cases(matrix)
        return (tr.axis_angle_to_matrix(tr.matrix_to_axis_angle(matrix)),
                *(tr.quaternion_to_matrix(q) for q in quats))

    assert torch.autograd.gradcheck(there_and_back, vector)


@pytest.mark.parametrize('vector', POINTS[:3] + [[np.pi - 1e-3, 0, 0]])
def test_gradients_of_vectors_from_matrices(vector):
    matrix = tr.axis_angle_to_matrix(torch.tensor(vector, dtype=torch.float64)).requires_grad_()
    for function in (tr.matrix_to_quaternion, tr.matrix_to_quaternion_cases,
                     tr.matrix_to_rotation_6d):
        assert torch.autograd.gradcheck(function, matrix)
    if vector != POINTS[1]:  # tiny but not zero: finite differences are the worse ones
        assert torch.autograd.gradcheck(tr.matrix_to_axis_angle, matrix)


def test_other_gradients(rng):
    def tensor(*shape):
        return torch.from_numpy(rng.normal(size=shape)).requires_grad_()

    assert torch.autograd.gradcheck(tr.quaternion_to_matrix, tensor(3, 4))
    assert torch.autograd.gradcheck(tr.rotation_6d_to_matrix, tensor(3, 6))
    assert torch.autograd.gradcheck(tr.shortest_rotation, (tensor(3, 3), tensor(3, 3)))

    def split(vector, axis):
        swing, pair = tr.swing_twist(tr.axis_angle_to_matrix(vector), axis)
        return swing, *pair

    assert torch.autograd.gradcheck(split, (tensor(3, 3), tensor(3, 3)))
    start = tensor(3, 3)
    assert torch.autograd.gradcheck(tr.shortest_rotation, (start, 2 * start.detach()))
    zero = torch.zeros(3, 4, requires_grad=True)
    tr.quaternion_to_matrix(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_gradients_at_opposed_vectors_are_finite():
    for end in ([-1., 0, 0], [-1, 1e-5, 0], [-1, 1e-3, 0], [0., 0, 0]):
        vectors = torch.tensor([1., 0, 0], requires_grad=True), torch.tensor(end).requires_grad_()
        tr.shortest_rotation(*vectors).sum().backward()
        assert all(torch.isfinite(v.grad).all() for v in vectors)


@pytest.mark.parametrize('function, shape, message', [
    (tr.axis_angle_to_matrix, (2, 4), r'axis-angle vector: expected shape \(..., 3\), found'),
    (tr.quaternion_to_matrix, (2, 3), r'quaternion \(w, x, y, z\): expected shape \(..., 4\)'),
    (tr.matrix_to_quaternion, (3, ), r'rotation matrix: expected shape \(..., 3, 3\), found \(3,'),
    (tr.matrix_to_axis_angle, (9, ), r'rotation matrix: expected shape'),
    (tr.rotation_6d_to_matrix, (3, 2), r'6D rotation: expected shape \(..., 6\)'),
    (tr.matrix_to_rotation_6d, (2, 6), r'rotation matrix: expected shape')])
def test_wrong_shapes(function, shape, message):
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(shape))
