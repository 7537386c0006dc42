"""Checkpoints of METRO's public code, made up under their original names."""

import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.models.backbones import HRNet, ResNet
from mmpose.registry import MODELS

from mmpose_lift.io import convert_checkpoint
from mmpose_lift.io.metro_checkpoint import convert_metro, hrnet_extra
from mmpose_lift.models import HRNetMergeNeck, MPTHead
from tools.convert_checkpoint import main

_BACK = (
    (r'^head\.transformer\.blocks\.(\d+)\.in_proj', r'trans_encoder.\1.bert.img_embedding'),
    (r'^head\.transformer\.blocks\.(\d+)\.pos_embed',
     r'trans_encoder.\1.bert.position_embeddings.weight'),
    (r'^head\.transformer\.blocks\.(\d+)\.layers\.(\d+)\.',
     r'trans_encoder.\1.bert.encoder.layer.\2.'),
    (r'^head\.transformer\.blocks\.(\d+)\.out_proj', r'trans_encoder.\1.cls_head'),
    (r'^head\.transformer\.blocks\.(\d+)\.residual_proj', r'trans_encoder.\1.residual'),
    (r'^head\.upsample\.0', 'upsampling'), (r'^head\.upsample\.1', 'upsampling2'),
    (r'^head\.cam_fc1', 'cam_param_fc'), (r'^head\.cam_fc([23])', r'cam_param_fc\1'),
    (r'^head\.image_tokens', 'conv_learn_tokens'),
    (r'^neck\.final_feat_layer', 'backbone.final_layer'), (r'^neck\.', 'backbone.'),
)
_LAYER = ((r'attn\.proj', 'attention.output.dense'), (r'norm1', 'attention.output.LayerNorm'),
          (r'mlp\.fc1', 'intermediate.dense'), (r'mlp\.fc2', 'output.dense'),
          (r'norm2', 'output.LayerNorm'))
_CHILDREN = dict(conv1=0, bn1=1, layer1=4, layer2=5, layer3=6, layer4=7)


def small_model(backbone=None, neck=None) -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.Module()
    if backbone is not None:
        model.backbone = backbone
    if neck is not None:
        model.neck = neck
    model.head = MPTHead(
        in_channels=8, tokens='metro', stem=None, grid_size=(3, 2), sizes=(9, 7, 5), cam_dims=4,
        transformer=dict(type='MeshTransformer', input_dims=(11, 8), hidden_dims=(12, 8),
                         output_dims=(8, 3), intermediate_dims=(10, 6), num_layers=2,
                         max_tokens=20))
    return model


def original(model) -> dict:
    """Its weights as the public code would save them, with what that never uses."""
    state = {}
    for i, block in enumerate(model.head.transformer.blocks):
        width = block.in_proj.out_features
        prefix = f'trans_encoder.{i}.bert'
        state[f'{prefix}.embeddings.position_embeddings.weight'] = torch.ones(9, width)
        state[f'{prefix}.pooler.dense.bias'] = torch.ones(width)
    for key, value in model.state_dict().items():
        for pattern, name in _BACK:
            key, count = re.subn(pattern, name, key)
            if count:
                break
        if '.encoder.layer.' in key:
            for pattern, name in _LAYER:
                key = re.sub(rf'(?<=\d\.){pattern}(?=\.\w+$)', name, key)
        if 'attn.qkv' in key:
            for part, rows in zip(('query', 'key', 'value'), value.chunk(3)):
                state[key.replace('attn.qkv', f'attention.self.{part}')] = rows.clone()
        else:
            state[key] = value.clone()
    return state


def check(converted, model):
    expected = model.state_dict()
    assert converted.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(converted[key], value), key
    model.load_state_dict(converted, strict=True)


def test_names_are_the_published_ones():
    assert {'trans_encoder.0.bert.img_embedding.weight',
            'trans_encoder.1.bert.position_embeddings.weight',
            'trans_encoder.1.bert.encoder.layer.1.attention.self.query.bias',
            'trans_encoder.0.bert.encoder.layer.0.attention.output.LayerNorm.weight',
            'trans_encoder.0.bert.encoder.layer.0.intermediate.dense.weight',
            'trans_encoder.0.bert.encoder.layer.1.output.dense.weight',
            'trans_encoder.1.cls_head.bias', 'trans_encoder.0.residual.weight', 'upsampling.weight',
            'upsampling2.bias', 'conv_learn_tokens.weight', 'cam_param_fc.weight',
            'cam_param_fc2.weight', 'cam_param_fc3.bias'} <= set(original(small_model()))


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_head(prefix):
    model = small_model()
    state = {prefix + key: value.numpy() for key, value in original(model).items()}
    check(convert_checkpoint('metro', state), model)


def test_transformer_alone():
    model = small_model()
    blocks = 'head.transformer.'
    for cut in ('', 'trans_encoder.'):
        state = {key[len(cut):]: value for key, value in original(model).items()
                 if key.startswith('trans_encoder.')}
        converted = convert_checkpoint('metro', state)
        assert all(key.startswith(blocks) for key in converted)
        model.head.transformer.load_state_dict(
            {key[len(blocks):]: value for key, value in converted.items()}, strict=True)


@pytest.mark.parametrize('numbered', [True, False])
def test_resnet_under_both_kinds_of_names(numbered):
    with torch.device('meta'):
        backbone = ResNet(50)
    model = small_model(backbone)
    state = {key: torch.full(value.shape, float(i)) if value.is_meta else value
             for i, (key, value) in enumerate(original(model).items())}
    named = dict(state)
    if numbered:  # the public code wraps the children in a Sequential
        state = {re.sub(r'^backbone\.(\w+)', lambda m: f'backbone.{_CHILDREN[m[1]]}', key): value
                 for key, value in state.items()}
        assert 'backbone.7.2.conv3.weight' in state
    converted = convert_checkpoint('metro', state)
    assert converted.keys() == model.state_dict().keys()
    for key, value in converted.items():
        assert not key.startswith('backbone.') or torch.equal(value, named[key]), key
    model.load_state_dict(converted, strict=True, assign=True)


def test_hrnet_of_another_width():
    extra = hrnet_extra(40)
    with torch.device('meta'):
        backbone, neck = HRNet(extra), HRNetMergeNeck(extra['stage4']['num_channels'])
    model = small_model(backbone, neck)
    state = {key: torch.empty(value.shape) if value.is_meta else value
             for key, value in original(model).items()}
    state['backbone.classifier.weight'] = torch.zeros(1000, 2048)
    for key in ('incre_modules.3.0.conv3.weight', 'downsamp_modules.0.0.bias',
                'final_layer.1.running_var', 'stage4.2.fuse_layers.0.3.0.weight'):
        assert f'backbone.{key}' in state, key
    converted = convert_checkpoint('metro', state)
    assert converted.keys() == model.state_dict().keys()
    model.load_state_dict(converted, strict=True, assign=True)


def test_reference_network_loads_strictly(shared_dir):
    file = shared_dir / 'reference' / 'metro_mpt' / 'body_network.npz'
    if not file.is_file():
        pytest.skip('no reference/metro_mpt/body_network.npz in the shared folder')
    head = MPTHead(
        in_channels=2048, tokens='metro', stem=None, grid_size=(4, 3), sizes=(124, 62, 31),
        cam_dims=20, transformer=dict(
            type='MeshTransformer', input_dims=(2051, 32, 16), hidden_dims=(48, 32, 16),
            output_dims=(32, 16, 3), intermediate_dims=(192, 128, 64), num_layers=1,
            max_tokens=64))
    state = convert_checkpoint('metro', file)
    head.load_state_dict({key.removeprefix('head.'): value for key, value in state.items()},
                         strict=True)
    with np.load(file) as archive:
        for part, rows in zip(('query', 'key', 'value'),
                              head.transformer.blocks[1].layers[0].attn.qkv.weight.chunk(3)):
            key = f'sd/trans_encoder.1.bert.encoder.layer.0.attention.self.{part}.weight'
            assert np.array_equal(rows.detach().numpy(), archive[key])


def test_command_line(tmp_path):
    source, target = tmp_path / 'state_dict.bin', tmp_path / 'out.pth'
    model = small_model()
    torch.save(original(model), source)
    assert main(['metro', str(source), str(target)]) == 0
    check(torch.load(target, weights_only=True)['state_dict'], model)


_LAYER_0 = 'trans_encoder.1.bert.encoder.layer.0'


@pytest.mark.parametrize('change, message', [
    (lambda s: s.pop(f'{_LAYER_0}.attention.self.key.bias'),
     r'missing: head\.transformer\.blocks\.1\.layers\.0\.attn\.key\.bias'),
    (lambda s: s.pop('trans_encoder.1.bert.img_embedding.weight'), r'blocks\.1\.in_proj\.weight'),
    (lambda s: s.pop('cam_param_fc2.weight'), r'missing: head\.cam_fc2\.weight'),
    (lambda s: s.update({'extra.weight': torch.zeros(2)}), r'unexpected: extra\.weight'),
    (lambda s: s.update({f'{_LAYER_0}.attention.self.value.weight': torch.zeros(4, 8)}),
     r'layers\.0\.attn\.value\.weight \(4, 8\) instead of \(8, 8\)'),
    (lambda s: s.update({'backbone.layer1.0.conv1.weight': torch.zeros(64, 64, 1, 1)}),
     r'missing: backbone\.bn1'),
])
def test_what_does_not_fit_is_named(change, message):
    state = original(small_model())
    change(state)
    with pytest.raises(ValueError, match=message):
        convert_checkpoint('metro', state)


def test_other_models_are_recognised():
    metro = original(small_model())
    with pytest.raises(ValueError, match='not a checkpoint of METRO.*MixSTE'):
        convert_checkpoint('metro', {'STEblocks.0.norm1.weight': np.zeros(8)})
    for key in ('grid_feat_dim.weight', f'{_LAYER_0}.graph_conv.weight'):
        with pytest.raises(ValueError, match='not a checkpoint of METRO.*Graphormer, whose graph'):
            convert_checkpoint('metro', dict(metro, **{key: np.zeros(8)}))
    metro['backbone.conv1.weight'] = np.zeros(8)
    with pytest.raises(ValueError, match='not a checkpoint of HybrIK-Transformer.* METRO$'):
        convert_checkpoint('hybrik_transformer', metro)


@pytest.mark.parametrize('name', ['hrnet-w64', 'res50'])
def test_configs_fit_published_checkpoints(root_dir, name):
    init_default_scope('mmpose')
    config = Config.fromfile(root_dir / 'configs/body_3d_mesh/mpt'
                             f'/metro_{name}_8xb30-200e_mix.py')
    # the schedule of the public code
    assert dict(config.optim_wrapper.optimizer) == dict(type='Adam', lr=1e-4)
    assert list(config.param_scheduler) == [
        dict(type='MultiStepLR', milestones=[100], gamma=0.1, by_epoch=True)]
    assert config.train_cfg.max_epochs == 200 and config.train_dataloader.batch_size == 30
    with torch.device('meta'):
        model = MODELS.build(config.model)
    converted = convert_metro(original(model), 'meta')
    expected = model.state_dict()
    assert {key: value.shape for key, value in converted.items()} == {
        key: value.shape for key, value in expected.items()}
    assert len(converted) == len(expected) and converted[
        'head.image_tokens.weight'].shape == (445, 49, 1)
    model.eval()
    with torch.no_grad():
        feats = model.extract_feat(torch.empty(1, 3, 224, 224, device='meta'))
    assert feats[-1].shape == (1, 2048, 7, 7)
