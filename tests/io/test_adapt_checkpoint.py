"""A MixSTE of 17 joints becomes one of 15 (or 16) and of shorter windows."""

import importlib.util

import pytest
import torch

from mmpose_lift.compat.checkpoint_loading import load_checkpoint_file
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.io.adapt_checkpoint import SPATIAL, TEMPORAL, adapt_mixste
from mmpose_lift.io.checkpoint import save_checkpoint
from mmpose_lift.models import LiftingHead, MixSTE

AUTHORS = {'joint_embed': 'Spatial_patch_to_embedding', 'spatial_pos_embed': 'Spatial_pos_embed',
           'temporal_pos_embed': 'Temporal_pos_embed', 'spatial_blocks': 'STEblocks',
           'temporal_blocks': 'TTEblocks', 'spatial_norm': 'Spatial_norm',
           'temporal_norm': 'Temporal_norm'}


def build(joints=17, frames=9):
    torch.manual_seed(joints)
    model = torch.nn.ModuleDict(dict(
        backbone=MixSTE(num_frames=frames, num_keypoints=joints, embed_dims=16, depth=2,
                        num_heads=2),
        head=LiftingHead(16, joints)))
    for table in (model['backbone'].spatial_pos_embed, model['backbone'].temporal_pos_embed):
        torch.nn.init.normal_(table)
    return model.eval()


def run(model, x):
    with torch.no_grad():
        return model['head'](model['backbone'](x))


@pytest.fixture
def state():
    return build().state_dict()


@pytest.mark.parametrize('target', ['humaneva', 'h36m_16', 'h36m_l_first', 'mpi_inf_3dhp'])
def test_rows_go_by_name_and_the_model_loads_strictly(state, target):
    skeleton, source = get_skeleton(target), get_skeleton('h36m')
    before = {key: value.clone() for key, value in state.items()}
    adapted = adapt_mixste(state, 'h36m', target, num_frames=5)
    build(skeleton.num_joints, 5).load_state_dict(adapted, strict=True)
    for i, name in enumerate(skeleton.common_names):
        torch.testing.assert_close(adapted[SPATIAL][0, i],
                                   before[SPATIAL][0, source.common_names.index(name)])
    torch.testing.assert_close(adapted[TEMPORAL], before[TEMPORAL][:, 2:7])
    for key in before.keys() - {SPATIAL, TEMPORAL}:
        torch.testing.assert_close(adapted[key], before[key])
    assert all((state[key] == before[key]).all() for key in before), 'the input was changed'


def test_the_same_people_give_the_same_poses(state):
    """Reordered joints are the same input for attention: the function is what was learnt."""
    adapted = build(17)
    adapted.load_state_dict(adapt_mixste(state, 'h36m', 'mpi_inf_3dhp'))
    order = [get_skeleton('h36m').common_names.index(n)
             for n in get_skeleton('mpi_inf_3dhp').common_names]
    x = torch.randn(2, 9, 17, 2)
    model = build()
    torch.testing.assert_close(run(adapted, x[:, :, order]), run(model, x)[:, :, order],
                               rtol=1e-4, atol=1e-5)
    assert not torch.allclose(run(model, x[:, :, order]), run(model, x)[:, :, order], atol=1e-2)


def test_tables_can_start_at_zero(state):
    adapted = adapt_mixste(state, 'h36m', 'humaneva', 43, reset=('joints', 'frames'))
    assert adapted[SPATIAL].shape == (1, 15, 16) and not adapted[SPATIAL].any()
    assert adapted[TEMPORAL].shape == (1, 43, 16) and not adapted[TEMPORAL].any()
    build(15, 43).load_state_dict(adapted, strict=True)
    assert adapt_mixste(state, 'h36m', 'coco', reset='joints')[SPATIAL].shape[1] == 17


def test_what_does_not_fit_is_named(state):
    with pytest.raises(ValueError, match="'humaneva' has no joint for spine.*'h36m'"):
        adapt_mixste(adapt_mixste(state, 'h36m', 'humaneva'), 'humaneva', 'h36m')
    with pytest.raises(ValueError, match="15 rows for skeleton 'humaneva', found 17"):
        adapt_mixste(state, 'humaneva', 'h36m')
    for frames in (0, 10):
        with pytest.raises(ValueError, match=f"1 to 9.*found {frames};"):
            adapt_mixste(state, 'h36m', 'humaneva', frames)
    with pytest.raises(ValueError, match=r"reset.*'joint'"):
        adapt_mixste(state, 'h36m', 'humaneva', reset=('joint',))
    with pytest.raises(ValueError, match="convert_checkpoint"):
        adapt_mixste({'Spatial_pos_embed': torch.zeros(1, 17, 4)}, 'h36m', 'humaneva')


@pytest.fixture(scope='module')
def tool(root_dir):
    spec = importlib.util.spec_from_file_location('convert_checkpoint',
                                                  root_dir / 'tools/convert_checkpoint.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('kind', ['own.pth', 'own.safetensors', 'authors.bin'])
def test_command_line(tool, state, tmp_path, kind):
    source, out = tmp_path / kind, tmp_path / 'out.pth'
    if kind == 'authors.bin':
        names = {'head.norm': 'head.0', 'head.fc': 'head.1',
                 **{f'backbone.{ours}': theirs for ours, theirs in AUTHORS.items()}}
        theirs = {}
        for key, value in state.items():
            ours, = [n for n in names if key == n or key.startswith(n + '.')]
            theirs['module.' + names[ours] + key[len(ours):]] = value
        torch.save(dict(epoch=1, model_pos=theirs), source)
    else:
        save_checkpoint(state, source)
    options = ['--to-skeleton', 'humaneva', '--num-frames', '5']
    assert tool.main(['mixste', str(source), str(out), *options]) == 0
    written = load_checkpoint_file(str(out))['state_dict']
    build(15, 5).load_state_dict(written, strict=True)
    expected = adapt_mixste(state, 'h36m', 'humaneva', 5)
    assert all(torch.equal(written[key], expected[key]) for key in expected)


def test_command_line_errors(tool, state, tmp_path, capsys):
    save_checkpoint(state, tmp_path / 'own.pth')
    words = [str(tmp_path / 'own.pth'), str(tmp_path / 'out.pth')]
    assert tool.main(['mixste', *words, '--num-frames', '43']) == 1
    assert "1 to 9" in capsys.readouterr().err
    assert tool.main(['mixste', *words]) == 1  # not of the authors: nothing to convert
    assert 'needs no conversion' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(['uplift_upsample', *words, '--to-skeleton', 'humaneva'])
    assert 'are for mixste' in capsys.readouterr().err
    assert not (tmp_path / 'out.pth').exists()
