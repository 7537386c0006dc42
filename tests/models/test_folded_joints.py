import numpy as np
import pytest
import torch

from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.models.body import BodyModel, FoldedJoints


def random_input(batch, joints, shapes, dtype=torch.float32):
    rng = np.random.default_rng(0)
    rotations = axis_angle_to_matrix(rng.normal(0, 0.7, (batch, joints, 3)))
    return (torch.tensor(rng.normal(size=(batch, shapes)), dtype=dtype),
            torch.tensor(rotations, dtype=dtype))


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


def small_body():
    rng = np.random.default_rng(1)
    weights = rng.random((50, 5)) * (rng.random((50, 5)) < 0.4)
    return BodyModel.from_arrays(
        rng.normal(size=(50, 3)), rng.normal(size=(50, 3, 3)), 0.1 * rng.normal(size=(50, 3, 36)),
        rng.random((5, 50)) / 25, weights, [-1, 0, 0, 1, 3])


def test_equals_the_regressor_on_the_mesh(body):
    inputs = random_input(9, 24, 10)
    vertices, _ = body(*inputs)
    joints = FoldedJoints(body)(*inputs)
    torch.testing.assert_close(joints, body.h36m_joints(vertices), atol=1e-6, rtol=0)


def test_other_regressors_and_weights_that_do_not_sum_to_one():
    body = small_body()
    inputs = random_input(4, 5, 3)
    vertices, _ = body(*inputs)
    rng = np.random.default_rng(2)
    for regressor in (rng.normal(size=(7, 50)), np.eye(50)[[3, 3, 40]], np.zeros((2, 50))):
        expected = torch.tensor(regressor, dtype=torch.float32) @ vertices
        found = FoldedJoints(body, regressor)(*inputs)
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_a_batch_of_nobody(body):
    inputs = torch.zeros(0, 10), torch.zeros(0, 24, 3, 3)
    assert FoldedJoints(body)(*inputs).shape == (0, 17, 3)
    vertices, joints = body(*inputs)
    assert vertices.shape == (0, 6890, 3) and joints.shape == (0, 24, 3)


def test_gradients():
    folded = FoldedJoints(small_body(), np.random.default_rng(0).random((3, 50))).double()
    betas, rotmats = random_input(2, 5, 3, torch.float64)
    inputs = betas.requires_grad_(), rotmats.requires_grad_()
    assert torch.autograd.gradcheck(folded, inputs, fast_mode=True)


def test_nothing_is_saved_and_errors(body):
    assert not FoldedJoints(body).state_dict()
    with pytest.raises(ValueError, match='no regressor for the 17 joints'):
        FoldedJoints(small_body())
    with pytest.raises(ValueError, match=r'regressor: expected shape \(K, 6890\), found \(17, 50'):
        FoldedJoints(body, np.zeros((17, 50)))
    with pytest.raises(ValueError, match=r'betas: expected shape \(2, 10\), found \(2, 9\)'):
        FoldedJoints(body)(torch.zeros(2, 9), torch.eye(3).expand(2, 24, 3, 3))
