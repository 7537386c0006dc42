import copy

import numpy as np
import pytest
import torch
from torch import nn

from mmpose_lift.io.body_model_file import read_body_model, write_body_model
from mmpose_lift.models.body import BodyModel, LazyBodyModel, stand_in_arrays
from tests.smpl_files import VERTICES, make_regressor, make_smpl


def test_every_source(tmp_path):
    np.savez(tmp_path / 'neutral.npz', **make_smpl())
    np.save(tmp_path / 'r.npy', make_regressor())
    given = BodyModel.stand_in()
    assert LazyBodyModel(given).body is given
    for source in ('stand_in', stand_in_arrays()):
        assert LazyBodyModel(source).body.num_vertices == 6890
    path = tmp_path / 'neutral.npz'
    for source in (path, str(path), dict(path=path, gender='neutral')):
        body = LazyBodyModel(source).body
        assert body.num_vertices == VERTICES and not body.has_h36m_regressor
    lazy = LazyBodyModel(dict(path=path, h36m_regressor=tmp_path / 'r.npy', num_betas=5))
    assert lazy.body.has_h36m_regressor and lazy.body.num_shapes == 5
    assert lazy.body is lazy.body is lazy.on(torch.zeros(1))


def test_arrays_of_an_open_file(tmp_path):
    arrays, gender = read_body_model(write_smpl(tmp_path / 'm.npz'), gender='male')
    write_body_model(tmp_path / 'clean.npz', dict(arrays, gender=gender))
    with np.load(tmp_path / 'clean.npz') as content:  # a Mapping, no dict
        lazy = LazyBodyModel(content)
    assert copy.deepcopy(lazy).body.num_vertices == lazy.body.num_vertices == VERTICES
    with pytest.raises(ValueError, match='expected the arrays .*lbs_weights.* found .*kintree'):
        LazyBodyModel(np.load(tmp_path / 'm.npz'))


def write_smpl(path):
    np.savez(path, **make_smpl())
    return path


def test_a_missing_file_shows_when_the_body_is_needed(tmp_path):
    lazy = LazyBodyModel(tmp_path / 'SMPL_NEUTRAL.pkl')
    assert not lazy.state_dict()
    with pytest.raises(FileNotFoundError,
                       match='SMPL_NEUTRAL.pkl: no such file.*https://smpl.is.tue.mpg.de.*there'):
        _ = lazy.body
    np.savez(tmp_path / 'body.npz', gender='female', **make_smpl())
    with pytest.raises(ValueError, match='body.npz: a female body, expected a neutral one'):
        _ = LazyBodyModel(dict(path=tmp_path / 'body.npz', gender='neutral')).body


def test_it_leaves_no_trace_in_the_module_that_holds_it():
    model = nn.ModuleDict(dict(lazy=LazyBodyModel('stand_in'), layer=nn.Linear(2, 2)))
    average = copy.deepcopy(model)
    before = [buffer.shape for buffer in model.buffers()]
    with torch.inference_mode():
        _ = model['lazy'].body
    assert [buffer.shape for buffer in model.buffers()] == before
    assert set(model.state_dict()) == set(average.state_dict()) == {'layer.weight', 'layer.bias'}
    # loaded in inference, used in training
    betas = torch.zeros(1, 10, requires_grad=True)
    vertices, _ = model['lazy'].body(betas, torch.eye(3).expand(1, 24, 3, 3))
    vertices.square().sum().backward()
    assert betas.grad.abs().min() > 0


def test_it_follows_the_module_to_another_device():
    lazy = LazyBodyModel('stand_in')
    _ = lazy.body
    assert lazy.to('meta').body.template.device.type == 'meta'


@pytest.mark.parametrize('source', [dict(gender='neutral'), dict(path='x', sex='f')])
def test_wrong_dict(source):
    with pytest.raises(ValueError, match=r'body model: expected a dict with .*path is needed'):
        LazyBodyModel(source)


def test_wrong_type():
    with pytest.raises(ValueError, match="expected a BodyModel, a path, 'stand_in' .* found int"):
        LazyBodyModel(3)
