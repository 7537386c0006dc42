"""Conversion of the authors' checkpoints: every source form, sizes, and what is refused."""

import importlib.util
from collections import OrderedDict

import numpy as np
import pytest
import torch

from mmpose_lift.io import convert_checkpoint
from mmpose_lift.io.checkpoint import save_checkpoint
from mmpose_lift.models import LiftingHead, MixSTE

ORIGINAL = {  # our names -> the published code's
    'backbone.joint_embed': 'Spatial_patch_to_embedding',
    'backbone.spatial_pos_embed': 'Spatial_pos_embed',
    'backbone.temporal_pos_embed': 'Temporal_pos_embed',
    'backbone.spatial_blocks': 'STEblocks', 'backbone.temporal_blocks': 'TTEblocks',
    'backbone.spatial_norm': 'Spatial_norm', 'backbone.temporal_norm': 'Temporal_norm',
    'head.norm': 'head.0', 'head.fc': 'head.1'}


def build(**kwargs) -> torch.nn.ModuleDict:
    options = dict(num_frames=5, embed_dims=16, depth=2, num_heads=2)
    options.update(kwargs)
    return torch.nn.ModuleDict(dict(backbone=MixSTE(**options), head=LiftingHead(16, 17)))


def original_state(model: torch.nn.Module) -> OrderedDict:
    state = OrderedDict()
    for key, value in model.state_dict().items():
        ours, = [name for name in ORIGINAL if key == name or key.startswith(name + '.')]
        state[ORIGINAL[ours] + key[len(ours):]] = value
    return state


@pytest.fixture
def model():
    torch.manual_seed(0)
    return build()


def check(converted, model):
    expected = model.state_dict()
    assert converted.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(converted[key], expected[key], rtol=0, atol=0)
    build_like = build()
    build_like.load_state_dict(converted, strict=True)


@pytest.mark.parametrize('prefix, suffix', [('', ''), ('module.', ''), ('sd/', ''), ('', ':0'),
                                            ('sd/module.', ':0')])
def test_dict_with_prefixes(model, prefix, suffix):
    state = {prefix + key + suffix: value.numpy() for key, value in original_state(model).items()}
    check(convert_checkpoint('mixste', state), model)


@pytest.mark.parametrize('old_format', [False, True])
def test_checkpoint_of_the_public_script(model, tmp_path, old_format):
    optimizer = torch.optim.AdamW(model.parameters())
    model['head'](torch.randn(1, 5, 17, 16)).sum().backward()
    optimizer.step()
    path = tmp_path / 'best_epoch.bin'
    torch.save(dict(
        epoch=3, lr=4e-5, random_state=np.random.RandomState(1234),
        optimizer=optimizer.state_dict(),
        model_pos={'module.' + key: value for key, value in original_state(model).items()}), path,
        _use_new_zipfile_serialization=not old_format)
    check(convert_checkpoint('mixste', path), model)


def test_npz_and_safetensors(model, tmp_path):
    from safetensors.torch import save_file
    state = original_state(model)
    np.savez(tmp_path / 'a.npz', config='{}', input=np.zeros(3),
             **{f'sd/{key}': value.numpy() for key, value in state.items()})
    save_file(dict(state), tmp_path / 'a.safetensors')
    check(convert_checkpoint('mixste', tmp_path / 'a.npz'), model)
    check(convert_checkpoint('mixste', str(tmp_path / 'a.safetensors')), model)


def test_reference_weights_load_strictly(shared_dir):
    state = convert_checkpoint('mixste', shared_dir / 'reference' / 'mixste' / 'model.npz')
    assert len(state) == 2 + 2 + 4 * 2 * 12 + 4 + 4


def test_head_alone(model):
    state = {key: value for key, value in original_state(model).items() if key.startswith('head')}
    converted = convert_checkpoint('mixste', state)
    assert list(converted) == ['head.norm.weight', 'head.norm.bias', 'head.fc.weight',
                               'head.fc.bias']
    model['head'].load_state_dict({key[5:]: value for key, value in converted.items()})


def test_no_qkv_bias():
    model = build(qkv_bias=False)
    converted = convert_checkpoint('mixste', original_state(model))
    build(qkv_bias=False).load_state_dict(converted, strict=True)


def test_half_precision_becomes_float32(model):
    state = {key: value.half() for key, value in original_state(model).items()}
    assert {v.dtype for v in convert_checkpoint('mixste', state).values()} == {torch.float32}


def test_problems_are_named_together(model):
    state = original_state(model)
    del state['STEblocks.1.mlp.fc2.bias']
    state['TTEblocks.0.norm1.weight'] = torch.zeros(7)
    state['extra.weight'] = torch.zeros(1)
    with pytest.raises(ValueError) as error:
        convert_checkpoint('mixste', state)
    for part in ('missing: backbone.spatial_blocks.1.mlp.fc2.bias', 'unexpected: extra.weight',
                 'backbone.temporal_blocks.0.norm1.weight (7,) instead of (16,)'):
        assert part in str(error.value)


@pytest.mark.parametrize('lost', ['head.', 'Spatial_patch_to_embedding.'])
def test_missing_keys_are_not_reported_as_wrong_shapes(model, lost):
    names = dict(zip(ORIGINAL.values(), ORIGINAL))
    state = original_state(model)
    gone = [key for key in state if key.startswith(lost)]
    for key in gone:
        del state[key]
    with pytest.raises(ValueError, match='missing: ') as error:
        convert_checkpoint('mixste', state)
    for key in gone:
        name, _, last = key.rpartition('.')
        assert f'{names[name]}.{last}' in str(error.value)
    assert 'wrong shape' not in str(error.value)


def test_missing_last_block_of_one_kind(model):
    state = {k: v for k, v in original_state(model).items() if not k.startswith('TTEblocks.1.')}
    with pytest.raises(ValueError, match='missing: backbone.temporal_blocks.1.attn.proj.bias'):
        convert_checkpoint('mixste', state)


@pytest.mark.parametrize('key, owner', [
    ('expand_conv.weight', 'VideoPose3D'), ('weighted_mean.weight', 'PoseFormer'),
    ('blocks_st.0.norm1_s.weight', 'MotionBERT'), ('backbone.joint_embed.weight', 'needs no'),
    ('conv1.weight', 'its keys are .*conv1.weight')])
def test_other_models_are_recognised(key, owner):
    state = {key: torch.zeros(2), 'Spatial_pos_embed': torch.zeros(1, 17, 32)}
    with pytest.raises(ValueError, match=f'not a checkpoint of MixSTE.*{owner}'):
        convert_checkpoint('mixste', state)


def test_bad_sources(tmp_path):
    with pytest.raises(ValueError, match="unknown system 'mixest': choose one of .*mixste"):
        convert_checkpoint('mixest', {})
    with pytest.raises(FileNotFoundError, match='nothing.bin: no such checkpoint file'):
        convert_checkpoint('mixste', tmp_path / 'nothing.bin')
    with pytest.raises(ValueError, match='holds no arrays'):
        convert_checkpoint('mixste', {})
    with pytest.raises(ValueError, match="found int under 'epoch'"):
        convert_checkpoint('mixste', {'epoch': 3})
    for name, values in [('text', np.array('text')), ('names', np.array([None]))]:
        with pytest.raises(ValueError, match=f"expected arrays of numbers, found .* '{name}'"):
            convert_checkpoint('mixste', {name: values})
    for source in (None, 3, ['a.bin'], b'a.bin'):
        with pytest.raises(TypeError, match='source must be the path .* or a dict of arrays, '
                                            f'found {type(source).__name__}'):
            convert_checkpoint('mixste', source)
    for name in ('broken.bin', 'broken.npz', 'broken.safetensors'):
        (tmp_path / name).write_bytes(b'not a checkpoint at all')
        with pytest.raises(ValueError, match=name):
            convert_checkpoint('mixste', tmp_path / name)
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='expected a dict of arrays, found list'):
        convert_checkpoint('mixste', tmp_path / 'list.pth')


@pytest.mark.parametrize('name', ['out.pth', 'out.safetensors'])
def test_saved_weights_load_in_mmengine(model, tmp_path, name):
    from mmengine.runner import load_checkpoint
    save_checkpoint(convert_checkpoint('mixste', original_state(model)), tmp_path / name,
                    system='mixste')
    other = build()
    load_checkpoint(other, str(tmp_path / name), strict=True)
    check(other.state_dict(), model)
    assert [p.name for p in tmp_path.iterdir()] == [name], 'no temporary file is left'


def test_saving_to_an_unknown_suffix(model, tmp_path):
    with pytest.raises(ValueError, match='.pth or .safetensors'):
        save_checkpoint(model.state_dict(), tmp_path / 'out.bin')
    assert not list(tmp_path.iterdir())


def test_command_line(model, tmp_path, root_dir, capsys):
    source, target = tmp_path / 'in.bin', tmp_path / 'new' / 'out.pth'
    torch.save(dict(model_pos=original_state(model)), source)
    spec = importlib.util.spec_from_file_location(
        'convert_checkpoint_tool', root_dir / 'tools' / 'convert_checkpoint.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main(['mixste', str(source), str(target)]) == 0
    assert f'out.pth: {len(model.state_dict())} tensors' in capsys.readouterr().out
    check(torch.load(target, weights_only=True)['state_dict'], model)

    source.write_bytes(source.read_bytes()[:200])
    target.unlink()
    assert tool.main(['mixste', str(source), str(target)]) == 1
    message = capsys.readouterr().err
    assert message.startswith('error: ') and 'in.bin' in message
    assert not list(target.parent.iterdir())
