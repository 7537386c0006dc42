import numpy as np
import pytest
import torch

from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.models.body import BodyModel, body_model, stand_in_arrays


@pytest.fixture(scope='module')
def arrays():
    """A small random body: 50 vertices, 5 joints, 3 shape directions."""
    rng = np.random.default_rng(1)
    weights, regressor = rng.random((50, 5)), rng.random((5, 50))
    return dict(v_template=rng.normal(size=(50, 3)), shapedirs=rng.normal(size=(50, 3, 3)),
                posedirs=0.1 * rng.normal(size=(50, 3, 36)),
                J_regressor=regressor / regressor.sum(1, keepdims=True),
                lbs_weights=weights / weights.sum(1, keepdims=True), parents=[-1, 0, 0, 1, 3])


def random_input(batch, joints, shapes, seed=0):
    rng = np.random.default_rng(seed)
    rotations = axis_angle_to_matrix(rng.normal(0, 0.7, (batch, joints, 3)))
    return (torch.tensor(rng.normal(size=(batch, shapes)), dtype=torch.float32),
            torch.tensor(rotations, dtype=torch.float32))


@pytest.mark.parametrize('batch', [1, 7])
def test_equals_smplx(batch):
    lbs = pytest.importorskip('smplx.lbs', reason='smplx is not installed').lbs
    data = {name: torch.from_numpy(array.copy()) for name, array in stand_in_arrays().items()}
    betas, rotmats = random_input(batch, 24, 10)
    vertices, joints = BodyModel.stand_in()(betas, rotmats)
    expected = lbs(betas, rotmats, data['v_template'], data['shapedirs'],
                   data['posedirs'].reshape(-1, 207).T, data['J_regressor'], data['parents'],
                   data['lbs_weights'], pose2rot=False)
    assert vertices.is_contiguous()
    torch.testing.assert_close(vertices, expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(joints, expected[1], atol=1e-5, rtol=0)


def test_chunks_do_not_matter(arrays, monkeypatch):
    body = BodyModel.from_arrays(**arrays)
    inputs = random_input(4, 5, 3)
    whole, _ = body(*inputs)
    monkeypatch.setattr(body_model, '_CHUNK_FLOATS', 12 * 4 * 7)  # 7 vertices: 50 is no multiple
    torch.testing.assert_close(body(*inputs)[0], whole)


def test_rest_pose_and_rigid_turn(arrays):
    body = BodyModel.from_arrays(**arrays)
    betas, rotmats = random_input(1, 5, 3)
    rest = torch.eye(3).expand(1, 5, 3, 3)
    vertices, joints = body(betas, rest)
    shaped = arrays['v_template'] + arrays['shapedirs'] @ betas[0].numpy()
    np.testing.assert_allclose(vertices[0], shaped, atol=1e-5)
    np.testing.assert_allclose(joints[0], arrays['J_regressor'] @ shaped, atol=1e-5)
    # a turn of the root moves everything about the root joint, which stays
    turn = torch.cat([rotmats[:, :1], rest[:, 1:]], 1)
    turned, turned_joints = body(betas, turn)
    expected = (vertices - joints[:, :1]) @ rotmats[:, 0].transpose(1, 2) + joints[:, :1]
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned_joints[:, 0], joints[:, 0])


def test_gradients(arrays):
    body = BodyModel.from_arrays(**arrays).double()
    betas, rotmats = random_input(2, 5, 3)
    inputs = betas.double().requires_grad_(), rotmats.double().requires_grad_()
    assert torch.autograd.gradcheck(body, inputs, fast_mode=True)


def test_batch_neighbours_are_independent(arrays):
    body = BodyModel.from_arrays(**arrays)
    betas, rotmats = random_input(3, 5, 3)
    together, joints = body(betas, rotmats)
    alone, joint = body(betas[1:2], rotmats[1:2])
    torch.testing.assert_close(together[1:2], alone)
    torch.testing.assert_close(joints[1:2], joint)


def test_body_data_are_not_saved_but_move_with_the_module(arrays):
    body = BodyModel.from_arrays(**arrays, faces=[[0, 1, 2]])
    assert not body.state_dict() and not list(body.parameters())
    assert body.double().template.dtype == torch.float64
    assert body.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize('name, shape, message', [
    ('posedirs', (50, 3, 27), r'posedirs: expected shape \(50, 3, 36\).*found \(50, 3, 27\)'),
    ('J_regressor', (50, 5), r'J_regressor: expected shape \(5, 50\).*found \(50, 5\)'),
    ('lbs_weights', (49, 5), r'lbs_weights: expected shape \(50, 5\).*found \(49, 5\)'),
    ('v_template', (50, 2), r'v_template: expected shape \(50, 3\)'),
    ('shapedirs', (50, ), r'shapedirs: expected shape')])
def test_wrong_arrays(arrays, name, shape, message):
    with pytest.raises(ValueError, match=message):
        BodyModel.from_arrays(**{**arrays, name: np.zeros(shape)})


@pytest.mark.parametrize('parents', [[0, 0, 0, 1, 3], [-1, 2, 0, 1, 3], [-1, 0, -1, 1, 3], []])
def test_wrong_parents(arrays, parents):
    with pytest.raises(ValueError, match='parents: expected -1 for joint 0'):
        BodyModel.from_arrays(**{**arrays, 'parents': parents})


def test_wrong_input(arrays):
    body = BodyModel.from_arrays(**arrays)
    betas, rotmats = random_input(2, 5, 3)
    with pytest.raises(ValueError, match=r'betas: expected shape \(2, 3\), found \(1, 3\)'):
        body(betas[:1], rotmats)
    with pytest.raises(ValueError, match=r'rotmats: expected shape \(2, 5, 3, 3\), found'):
        body(betas, rotmats[:, :4])
