import numpy as np
import pytest
import torch

from mmpose_lift.geometry.rotations import axis_angle_to_matrix, quaternion_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton, joint_map
from mmpose_lift.models.body import (
    BodyModel,
    body_model,
    stand_in_arrays,
    stand_in_h36m_regressor,
)
from tests.smpl_files import make_smpl


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


@pytest.mark.parametrize('case', ['rest', 'shape_only', 'random', 'large'])
def test_reference_numbers(shared_dir, case):
    folder = shared_dir / 'reference/hybrik_transformer'
    body = BodyModel.from_arrays(**np.load(folder / 'body_model.npz'))
    reference = np.load(folder / 'lbs.npz')
    betas, rotmats, vertices, joints, regressed, quaternions, turned = (
        torch.from_numpy(reference[f'{case}/{name}']) for name in (
            'betas', 'rot_mats', 'vertices', 'joints', 'joints_h36m17', 'pose_quaternion_wxyz',
            'vertices_from_quaternion'))
    found = body(betas, rotmats)
    torch.testing.assert_close(found[0], vertices, atol=3e-6, rtol=0)
    torch.testing.assert_close(found[1], joints, atol=3e-6, rtol=0)
    expected = regressed[:, list(joint_map('h36m_l_first', 'h36m'))]
    torch.testing.assert_close(body.h36m_joints(found[0]), expected, atol=3e-6, rtol=0)
    rotmats = quaternion_to_matrix(quaternions.view(3, 24, 4).double().numpy())
    found, _ = body(betas, torch.tensor(rotmats, dtype=torch.float32))
    torch.testing.assert_close(found, turned, atol=3e-6, rtol=0)


def test_chunks_do_not_matter(arrays, monkeypatch):
    body = BodyModel.from_arrays(**arrays)
    inputs = random_input(4, 5, 3)
    whole, _ = body(*inputs)
    monkeypatch.setattr(body_model, '_CHUNK', 4 * 7)  # 7 vertices: 50 is no multiple
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


@pytest.mark.parametrize('parents', [
    [-1], [-1, 0, 1, 2], [-1, 0, 0, 0], [-1, 0, 0, 1, 3, 2, 0], get_skeleton('smpl').parents])
def test_chain_by_levels_is_the_chain_by_joints(parents):
    count = len(parents)
    rng = np.random.default_rng(count)
    body = BodyModel.from_arrays(rng.normal(size=(3, 3)), np.zeros((3, 3, 1)),
                                 np.zeros((3, 3, 9 * (count - 1))), np.zeros((count, 3)),
                                 np.zeros((3, count)), parents)
    _, rotmats = random_input(2, count, 1)
    rest = torch.tensor(rng.normal(size=(2, count, 3)), dtype=torch.float32)
    rotations, positions = body.chain(rotmats, rest)
    for joint, parent in enumerate(parents):
        turn, place = rotmats[:, joint], rest[:, joint]
        if parent >= 0:
            turn = rotations[:, parent] @ turn
            place = (rotations[:, parent] @ (place - rest[:, parent])[..., None])[..., 0]
            place = place + positions[:, parent]
        torch.testing.assert_close(rotations[:, joint], turn)
        torch.testing.assert_close(positions[:, joint], place, atol=1e-6, rtol=0)


def test_rest_joints(arrays):
    body = BodyModel.from_arrays(**arrays)
    betas, _ = random_input(2, 5, 3)
    surface = arrays['v_template'] + np.einsum('vcs,bs->bvc', arrays['shapedirs'], betas.numpy())
    np.testing.assert_allclose(body.rest_joints(betas), arrays['J_regressor'] @ surface, atol=1e-5)
    with pytest.raises(ValueError, match=r'betas: expected shape \(B, 3\), found \(2, 2\)'):
        body.rest_joints(betas[:, :2])


def test_joints_of_human36m(arrays):
    stand_in = BodyModel.stand_in()
    expected = stand_in_h36m_regressor() @ stand_in_arrays()['v_template']
    rest = stand_in.template.T
    np.testing.assert_allclose(stand_in.h36m_joints(rest), expected, atol=1e-6)
    assert stand_in.has_h36m_regressor and stand_in.h36m_joints(rest.expand(2, 5, -1, 3)).dim() == 4
    with pytest.raises(ValueError, match=r'vertices: expected shape \(..., 6890, 3\), found'):
        stand_in.h36m_joints(rest[:100])
    with pytest.raises(ValueError, match='no regressor for the 17 joints.*h36m_regressor'):
        BodyModel.from_arrays(**arrays).h36m_joints(torch.zeros(50, 3))
    with pytest.raises(ValueError, match='a body model made of arrays: .* J_regressor_h36m='):
        BodyModel.from_arrays(**arrays).require_h36m_regressor()
    with pytest.raises(ValueError, match=r'J_regressor_h36m: expected shape \(17, 50\)'):
        BodyModel.from_arrays(**arrays, J_regressor_h36m=np.zeros((17, 60)))


def test_a_file_without_regressor_is_named_with_every_remedy(tmp_path):
    path = tmp_path / 'body.npz'
    np.savez(path, **make_smpl())
    with pytest.raises(ValueError, match='body.npz: no regressor for the 17 joints') as error:
        BodyModel.from_file(path).require_h36m_regressor()
    for remedy in ('h36m_regressor= beside path=', '--h36m-regressor of tools/infer.py',
                   'tools/convert_body_model.py SRC DST --h36m-regressor FILE'):
        assert remedy in str(error.value)


def test_tensors_are_constants(arrays):
    tensors = {name: torch.tensor(array, requires_grad=name != 'parents')
               for name, array in arrays.items()}
    faces, regressor = torch.tensor([[0, 1, 2]]), torch.full((17, 50), 0.02, requires_grad=True)
    body = BodyModel.from_arrays(**tensors, faces=faces, J_regressor_h36m=regressor)
    inputs = random_input(2, 5, 3)
    vertices, _ = body(*inputs)
    assert not vertices.requires_grad and not body.h36m_regressor.requires_grad
    torch.testing.assert_close(vertices, BodyModel.from_arrays(**arrays)(*inputs)[0])
    faces += 1
    assert body.faces.tolist() == [[0, 1, 2]]


def test_autocast_does_not_touch_the_body(arrays):
    body = BodyModel.from_arrays(**arrays, J_regressor_h36m=np.full((17, 50), 0.02))
    inputs = random_input(2, 5, 3)
    vertices, joints = body(*inputs)
    with torch.autocast('cpu', torch.bfloat16):
        found = body(betas=inputs[0], rotmats=inputs[1])
        regressed = body.h36m_joints(vertices)
    torch.testing.assert_close(found, (vertices, joints), rtol=0, atol=0)
    torch.testing.assert_close(regressed, body.h36m_joints(vertices), rtol=0, atol=0)
    half = body(inputs[0].bfloat16(), inputs[1].bfloat16())[0]  # as a head under autocast gives
    assert half.dtype == torch.float32
