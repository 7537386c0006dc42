"""Conversion of Keras checkpoints: layouts, order, joint order, parity, and what is refused."""

import importlib.util
import json
import re

import h5py
import numpy as np
import pytest
import torch

from mmpose_lift.geometry.skeletons import get_skeleton, joint_map
from mmpose_lift.io import convert_checkpoint
from mmpose_lift.models import SequencePoseLifter, UpliftUpsampleHead, UpliftUpsampleTransformer  # noqa: F401

SYSTEM = 'uplift_upsample'
MODULES = {'joint_embed': 'keypoint_embedding', 'spatial_norm': 'spatial_norm',
           'pose_embed': 'spatial_to_temporal_fc', 'sequence_head': 'temporal_fc',
           'center_head': 'strided_temporal_fc'}
TABLES = {'spatial_pe': 'spatial_pe/positional_encoding_weights',
          'temporal_pe': 'temporal_pe/positional_encoding_weights',
          'upsample_token': 'strided_input_token_layer/learnable_masked_token'}
REFERENCES = ('model', 'model_ln_eps')
CASES = ('ratio1', 'ratio2', 'ratio4', 'ratio4_shift1', 'ratio2_shift1', 'all_masked', 'mixed')


def build(**changes) -> SequencePoseLifter:
    options = dict(num_tokens=9, num_keypoints=17, spatial_dims=8, temporal_dims=16,
                   spatial_depth=2, temporal_depth=3, strides=(3, 3), paddings=None, num_heads=2)
    options.update(changes)
    joints = options['num_keypoints']
    torch.manual_seed(0)
    model = SequencePoseLifter(
        backbone=dict(type='UpliftUpsampleTransformer', **options),
        head=dict(type='UpliftUpsampleHead', in_channels=options['temporal_dims'],
                  num_keypoints=joints))
    for parameter in model.parameters():  # biases and norms too: equal values would hide swaps
        torch.nn.init.normal_(parameter)
    return model.eval()


def keras_state(model: torch.nn.Module, first_number: int = 7) -> dict:
    """The model's weights as the public code would hold them, in creation order."""
    ours = {re.sub(r'^(backbone|head)\.', '', k): v for k, v in model.state_dict().items()}
    joints = model.backbone.num_keypoints
    order = list(joint_map('h36m', 'uplift_upsample')) if joints == 17 else list(range(joints))
    ours['spatial_pe'] = ours['spatial_pe'][order]
    weight = ours['pose_embed.weight'].unflatten(1, (joints, -1))
    ours['pose_embed.weight'] = weight[:, order].flatten(1)
    for key in [key for key in ours if '_head.' in key]:
        ours[key] = ours[key].unflatten(0, (joints, 3))[order].flatten(0, 1)

    state, numbers = {}, {}

    def add(path, key, norm=False, parts=slice(None), conv=False):
        weight = ours[f'{key}.weight'][parts]
        if conv and weight.ndim == 2:
            weight = weight[..., None]
        weight = weight if norm else weight.permute(*range(weight.ndim)[::-1])
        state[f'{path}/{"gamma" if norm else "kernel"}:0'] = weight.numpy()
        if f'{key}.bias' in ours:
            state[f'{path}/{"beta" if norm else "bias"}:0'] = ours[f'{key}.bias'][parts].numpy()

    def number(kind):
        numbers[kind] = numbers.get(kind, first_number - 1) + 1
        return f'{kind}_{numbers[kind]}' if numbers[kind] else kind

    for key, path in TABLES.items():
        state[path + ':0'] = ours[key].numpy()
    for key, path in MODULES.items():
        add(path, key, norm='norm' in key)
    for kind in ('spatial', 'temporal', 'strided'):
        depth = len(getattr(model.backbone, f'{kind}_blocks'))
        for i in range(depth):
            path = f'{kind.replace("strided", "strided_temporal")}_block_{i + 1}'
            key = f'{kind}_blocks.{i}'
            width = len(ours[f'{key}.norm1.weight'])
            add(f'{path}/{number("layer_normalization")}', f'{key}.norm1', norm=True)
            attention = number('mha')
            for j in range(3):
                add(f'{path}/{attention}/{number("dense")}', f'{key}.attn.qkv',
                    parts=slice(j * width, (j + 1) * width))
            add(f'{path}/{attention}/{number("dense")}', f'{key}.attn.proj')
            add(f'{path}/{number("layer_normalization")}', f'{key}.norm2', norm=True)
            if kind == 'strided':
                mlp = number('strided_mlp')
                add(f'{path}/{mlp}/{number("conv1d")}', f'{key}.fc1', conv=True)
                add(f'{path}/{mlp}/{number("conv1d")}', f'{key}.conv', conv=True)
                state[f'strided_temporal_pe_{i + 1}/positional_encoding_weights:0'] = ours[
                    f'strided_pe.{i}'].numpy()
            else:
                mlp = number('mlp')
                add(f'{path}/{mlp}/{number("dense")}', f'{key}.mlp.fc1')
                add(f'{path}/{mlp}/{number("dense")}', f'{key}.mlp.fc2')
    return state


def write_keras(path, state, group=None, split=False, scope=''):
    """A file as Keras 2 writes it; ``split`` puts the names into numbered attributes."""
    with h5py.File(path, 'w') as file:
        root = file.create_group(group) if group else file
        layers = list(dict.fromkeys(name.split('/')[0] for name in state))
        layers.insert(1, 'token_dropout')  # a layer without weights
        names = {'layer_names': [layer.encode() for layer in layers]}
        if split:
            names = {'layer_names0': names['layer_names'][:5],
                     'layer_names1': names['layer_names'][5:]}
        for key, value in names.items():
            root.attrs[key] = value
        for layer in layers:
            own = {scope + k: v for k, v in state.items() if k.startswith(f'{layer}/')}
            root.create_group(layer).attrs['weight_names'] = [name.encode() for name in own]
            for name, value in own.items():
                root[layer].create_dataset(name, data=value)


def check(converted, model):
    expected = model.state_dict()
    assert converted.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(converted[key], expected[key], rtol=0, atol=0)
    model.load_state_dict(converted, strict=True)


@pytest.fixture(scope='module')
def model():
    return build()


@pytest.mark.parametrize('prefix, suffix', [('', ':0'), ('', ''), ('w/', ':0'), ('sd/', '')])
def test_dict_in_any_order(model, prefix, suffix):
    state = {prefix + key.removesuffix(':0') + suffix: value
             for key, value in keras_state(model).items()}
    check(convert_checkpoint(SYSTEM, state), model)
    check(convert_checkpoint(SYSTEM, dict(sorted(state.items()))), model)
    check(convert_checkpoint(SYSTEM, dict(reversed(state.items()))), model)


@pytest.mark.parametrize('first_number', [0, 1, 5, 92])
def test_automatic_numbers_start_anywhere(model, first_number, tmp_path):
    state = keras_state(model, first_number)
    check(convert_checkpoint(SYSTEM, dict(sorted(state.items()))), model)
    write_keras(tmp_path / 'a.h5', state)
    check(convert_checkpoint(SYSTEM, tmp_path / 'a.h5'), model)


@pytest.mark.parametrize('options', [
    dict(), dict(split=True), dict(group='model_weights'), dict(scope='model/')])
def test_forms_of_keras_files(model, tmp_path, options):
    write_keras(tmp_path / 'a.h5', keras_state(model), **options)
    check(convert_checkpoint(SYSTEM, str(tmp_path / 'a.h5')), model)


def test_in_a_file_the_order_counts_and_not_the_numbers(model, tmp_path):
    state = {re.sub(r'(dense|conv1d|layer_normalization)_(\d+)',
                    lambda match: f'{match[1]}_{900 - int(match[2])}', key): value
             for key, value in keras_state(model).items()}
    write_keras(tmp_path / 'a.h5', state)
    check(convert_checkpoint(SYSTEM, tmp_path / 'a.h5'), model)


@pytest.mark.parametrize('changes', [
    dict(num_keypoints=16), dict(qkv_bias=False), dict(mlp_ratio=3.0), dict(spatial_depth=1),
    dict(num_tokens=27, strides=(3, 3, 3), temporal_depth=1)])
def test_other_sizes(changes):
    model = build(**changes)
    check(convert_checkpoint(SYSTEM, keras_state(model)), model)


def test_more_than_nine_blocks():
    model = build(temporal_depth=11)
    check(convert_checkpoint(SYSTEM, dict(sorted(keras_state(model).items()))), model)


def test_heads_alone(model):
    state = {k: v for k, v in keras_state(model).items() if '/' in k and '_fc/' in k
             and not k.startswith('spatial_to')}
    converted = convert_checkpoint(SYSTEM, state)
    model.head.load_state_dict({key[5:]: value for key, value in converted.items()}, strict=True)
    expected = {f'head.{k}': v for k, v in model.head.state_dict().items()}
    assert converted.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(converted[key], value)


def test_other_precisions_become_float32(model):
    state = {key: value.astype(np.float64) for key, value in keras_state(model).items()}
    check(convert_checkpoint(SYSTEM, state), model)


def test_problems_are_named_together(model):
    state = keras_state(model, first_number=0)
    del state['temporal_block_2/layer_normalization_6/beta:0']
    del state['spatial_norm/gamma:0']
    state['temporal_fc/bias:0'] = np.zeros(48, np.float32)
    state['batch_normalization/gamma:0'] = np.zeros(16, np.float32)
    for variable in ('kernel', 'bias'):
        del state[f'spatial_block_2/mha_1/dense_7/{variable}:0']
    with pytest.raises(ValueError) as error:
        convert_checkpoint(SYSTEM, state)
    for part in ("spatial_block_2: expected 6 sub-layers 'dense', found mha_1/dense_6, "
                 'mha_1/dense_8, mha_1/dense_9, mlp_1/dense_10, mlp_1/dense_11',
                 'missing: spatial_norm/gamma, temporal_block_2/layer_normalization_6/beta',
                 'unexpected: batch_normalization/gamma',
                 'wrong shape: temporal_fc/bias (48,) instead of (51,)'):
        assert part in str(error.value)


@pytest.mark.parametrize('lost', [
    'keypoint_embedding/', 'spatial_pe/', 'spatial_norm/beta', 'spatial_to_temporal_fc/',
    'strided_input_token_layer/', 'temporal_pe/', 'temporal_fc/', 'strided_temporal_pe_1/',
    'strided_temporal_fc/kernel', 'spatial_block_1/', 'temporal_block_2/', 'temporal_block',
    'strided_temporal_block_2/strided_mlp', 'spatial_block_2/mha_8/dense_14/bias'])
def test_whatever_is_lost_is_reported_and_nothing_else(model, lost):
    state = {k: v for k, v in keras_state(model).items() if not k.startswith(lost)}
    gone = [k.removesuffix(':0') for k in keras_state(model) if k.startswith(lost)]
    assert gone
    with pytest.raises(ValueError, match='does not fit Uplift and Upsample') as error:
        convert_checkpoint(SYSTEM, state)
    named = gone[0] if gone[0] in str(error.value) else f'{gone[0].split("/")[0]}: expected'
    assert named in str(error.value)
    assert 'wrong shape' not in str(error.value) and 'unexpected' not in str(error.value)


def test_unequal_qkv_biases_are_missing(model):
    state = keras_state(model)
    block = [key for key in state if re.match(r'temporal_block_1/mha.*bias', key)][:3]
    for key in block:
        del state[key]
    with pytest.raises(ValueError, match='missing: .*temporal_block_1/mha_9/dense_19/bias'):
        convert_checkpoint(SYSTEM, state)


def test_checkpoints_of_other_models():
    for system, key, owner in [(SYSTEM, 'STEblocks.0.norm1.weight', 'MixSTE'),
                               (SYSTEM, 'backbone.joint_embed.weight', 'needs no conversion'),
                               (SYSTEM, 'conv/kernel:0', 'its keys are conv/kernel'),
                               ('mixste', 'keypoint_embedding/kernel:0', 'Uplift and Upsample')]:
        with pytest.raises(ValueError, match=f'not a checkpoint of .*{owner}'):
            convert_checkpoint(system, {key: np.zeros(2)})


def test_bad_files(model, tmp_path):
    state = keras_state(model)
    good = tmp_path / 'good.h5'
    write_keras(good, state)
    content = good.read_bytes()
    for name, data in [('empty', b''), ('text', b'not HDF5 at all'),
                       ('cut', content[:len(content) // 2])]:
        (tmp_path / f'{name}.h5').write_bytes(data)
        with pytest.raises(ValueError, match=f'{name}.h5: not a readable HDF5 file .*again'):
            convert_checkpoint(SYSTEM, tmp_path / f'{name}.h5')
    with h5py.File(tmp_path / 'keras3.h5', 'w') as file:
        file.create_group('layers')
    with pytest.raises(ValueError, match="keras3.h5: an HDF5 file without .*'layer_names'.*layers"):
        convert_checkpoint(SYSTEM, tmp_path / 'keras3.h5')
    with h5py.File(good, 'a') as file:
        del file['temporal_fc/temporal_fc/bias:0']
    with pytest.raises(ValueError, match="good.h5: weight 'temporal_fc/bias:0' is listed but not"):
        convert_checkpoint(SYSTEM, good)
    with h5py.File(good, 'a') as file:
        del file['spatial_pe']
    with pytest.raises(ValueError, match="good.h5: layer 'spatial_pe' is listed but not in"):
        convert_checkpoint(SYSTEM, good)
    with pytest.raises(FileNotFoundError, match='none.h5'):
        convert_checkpoint(SYSTEM, tmp_path / 'none.h5')


def test_command_line(model, tmp_path, root_dir, capsys):
    source, target = tmp_path / 'in.h5', tmp_path / 'new' / 'out.safetensors'
    write_keras(source, keras_state(model))
    spec = importlib.util.spec_from_file_location(
        'convert_tool', root_dir / 'tools' / 'convert_checkpoint.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main([SYSTEM, str(source), str(target)]) == 0
    assert f'{len(model.state_dict())} tensors' in capsys.readouterr().out
    from safetensors.torch import load_file
    check(load_file(target), model)
    source.write_bytes(source.read_bytes()[:300])
    assert tool.main([SYSTEM, str(source), str(target)]) == 1
    assert 'in.h5: not a readable HDF5 file' in capsys.readouterr().err


# Parity with the public code, whose joint order the references have.


@pytest.fixture(scope='module', params=REFERENCES)
def reference(request, shared_dir):
    path = shared_dir / 'reference' / SYSTEM / f'{request.param}.npz'
    arrays = dict(np.load(path))
    config = json.loads(str(arrays['config']))
    model = build(
        num_tokens=config['SEQUENCE_LENGTH'], spatial_dims=config['SPATIAL_EMBED_DIM'],
        temporal_dims=config['TEMPORAL_EMBED_DIM'], mlp_ratio=config['MLP_RATIO'],
        spatial_depth=config['SPATIAL_TRANSFORMER_BLOCKS'], strides=config['STRIDES'],
        temporal_depth=config['TEMPORAL_TRANSFORMER_BLOCKS'], num_heads=config['NUM_HEADS'],
        paddings=config['PADDINGS'], qkv_bias=config['QKV_BIAS'],
        first_upsample_attention_block=config['FIRST_STRIDED_TOKEN_ATTENTION_LAYER'])
    model.load_state_dict(convert_checkpoint(SYSTEM, path), strict=True)
    return model, arrays


def window_of(arrays, case):
    """Input in our joint order with the key-frame flag; (B, L, 17, 3)."""
    poses = torch.from_numpy(arrays['input'])[:, :, list(joint_map(SYSTEM, 'h36m'))]
    flags = torch.from_numpy(arrays[f'{case}/stride_mask'])[..., None, None]
    return torch.cat([poses * flags, flags.expand(*poses.shape[:3], 1).float()], dim=-1)


def assert_parity(found, expected):
    found = found.detach().reshape(expected.shape)
    order = list(joint_map(SYSTEM, 'h36m'))
    np.testing.assert_allclose(found.numpy(), expected[..., order, :], rtol=0, atol=2e-5)


@pytest.mark.parametrize('case', CASES)
def test_outputs_of_the_public_code(reference, case):
    model, arrays = reference
    with torch.no_grad():
        sequence, centre = model(window_of(arrays, case), None, mode='tensor')
    assert_parity(sequence, arrays[f'{case}/full_output'])
    assert_parity(centre, arrays[f'{case}/central_output'])


def test_flip_average_of_the_public_code(reference):
    model, arrays = reference
    cases = [case for case in CASES if f'{case}/central_output_flip_averaged' in arrays]
    if not cases:
        pytest.skip('this reference has no flip average')
    order = list(get_skeleton('h36m').flip_indices)
    for case in cases:
        inputs = window_of(arrays, case)
        model.test_cfg['flip_test'] = True
        try:
            with torch.no_grad():
                samples = model(inputs, None, mode='predict')
                mirrored = inputs[:, :, order] * inputs.new_tensor([-1.0, 1.0, 1.0])
                outputs = model(inputs, None, mode='tensor')
                flipped = model(mirrored, None, mode='tensor')
        finally:
            del model.test_cfg['flip_test']
        predicted = np.stack([s.pred_instances.keypoints for s in samples])
        assert_parity(torch.from_numpy(predicted), arrays[f'{case}/central_output_flip_averaged'])
        back = flipped[0][:, :, order] * outputs[0].new_tensor([-1.0, 1.0, 1.0])
        assert_parity((outputs[0] + back) / 2, arrays[f'{case}/full_output_flip_averaged'])


def test_the_file_holds_the_same_weights(shared_dir):
    folder = shared_dir / 'reference' / SYSTEM
    state = convert_checkpoint(SYSTEM, folder / 'model.npz')
    from_file = convert_checkpoint(SYSTEM, folder / 'model.weights.h5')
    assert state.keys() == from_file.keys()
    assert all(torch.equal(state[key], from_file[key]) for key in state)


def test_a_checkpoint_of_a_training_is_told_that_it_needs_no_conversion(tmp_path):
    """It holds MMEngine's own classes beside the weights, which the loader knows."""
    from mmengine.logging import HistoryBuffer
    path = tmp_path / 'iter_8.pth'
    torch.save(dict(state_dict={'backbone.joint_embed.weight': torch.zeros(2)},
                    message_hub=dict(log_scalars=dict(loss=HistoryBuffer([1.], [1])))), path)
    with pytest.raises(ValueError, match='needs no conversion'):
        convert_checkpoint(SYSTEM, path)
