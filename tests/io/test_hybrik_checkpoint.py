"""Checkpoints of HybrIK-Transformer's public code, made up under their original names."""

import re

import numpy as np
import pytest
import torch
from mmpose.models.backbones import HRNet, ResNet

from mmpose_lift.io import convert_checkpoint
from mmpose_lift.io.hybrik_checkpoint import HRNET_W48
from mmpose_lift.models import HRNetMergeNeck, HybrIKTransformerHead
from tools.convert_checkpoint import main

_BACK = (
    (r'^head\.(row_embed|col_embed)', r'pos_embedding.\1'),
    (r'^head\.(src|tgt)_proj', r'transformer.input_projection_\1'),
    (r'^head\.out_proj', 'transformer.output_projection'),
    (r'^head\.blocks\.(\d+)\.(src|tgt|cross)_attn\.', r'transformer.mha_\2.\1.linear_'),
    (r'^head\.blocks\.(\d+)\.(src|tgt|cross)_norm\.weight', r'transformer.layer_norm_\2.\1.a_2'),
    (r'^head\.blocks\.(\d+)\.(src|tgt|cross)_norm\.bias', r'transformer.layer_norm_\2.\1.b_2'),
    (r'^head\.blocks\.(\d+)\.(src|tgt)_ffn\.fcs', r'transformer.ffn_\2.\1.fc_layers'),
    (r'^head\.blocks\.(\d+)\.(src|tgt)_ffn\.norm\.weight', r'transformer.ffn_\2.\1.layer_norm.a_2'),
    (r'^head\.blocks\.(\d+)\.(src|tgt)_ffn\.norm\.bias', r'transformer.ffn_\2.\1.layer_norm.b_2'),
    (r'^head\.dec_twist', 'decphi'), (r'^head\.dec_', 'dec'), (r'^head\.', ''),
    (r'^(backbone|neck)\.', 'preact.'),
)


def small_model(backbone=None, neck=None, channels=8) -> torch.nn.Module:
    torch.manual_seed(0)
    model = torch.nn.Module()
    if backbone is not None:
        model.backbone = backbone
    if neck is not None:
        model.neck = neck
    model.head = HybrIKTransformerHead(channels, feat_size=(3, 2), d_model=8, layer_width=6,
                                       num_blocks=2, num_layers=2, num_heads=2)
    return model


def original(model) -> dict:
    """Its weights as the public code would save them."""
    state = {'module.smpl.v_template': torch.zeros(6890, 3), 'module.smpl.parents': torch.zeros(24)}
    for key, value in model.state_dict().items():
        for pattern, name in _BACK:
            key, count = re.subn(pattern, name, key)
            if count:
                break
        state[f'module.{key}'] = value.clone()
    return state


def test_names_are_the_published_ones():
    names = set(original(small_model()))
    assert {'module.pos_embedding.row_embed.weight', 'module.transformer.mha_cross.1.linear_q.bias',
            'module.transformer.layer_norm_src.0.a_2', 'module.decleaf.weight',
            'module.transformer.ffn_tgt.0.layer_norm.b_2', 'module.init_shape',
            'module.transformer.ffn_src.1.fc_layers.1.weight', 'module.joint_embeddings',
            'module.transformer.input_projection_tgt.weight', 'module.decphi.bias'} <= names


@pytest.mark.parametrize('depth', [18, 34, 50, 101])
def test_resnets_load_strictly(depth):
    with torch.device('meta'):  # memory only where values are looked at
        model = small_model(ResNet(depth))
    state = {key: torch.full(value.shape, float(i))
             for i, (key, value) in enumerate(original(model).items())}
    state['module.preact.fc.weight'] = torch.zeros(1000, 512)
    converted = convert_checkpoint('hybrik_transformer', state)
    for value, key in enumerate(model.state_dict(), start=2):  # after two of the body model
        assert (converted[key] == value).all(), key
    model.load_state_dict(converted, strict=True, assign=True)


def test_hrnet_loads_strictly():
    with torch.device('meta'):
        model = small_model(HRNet(HRNET_W48), HRNetMergeNeck())
    state = {key: torch.zeros(value.shape) for key, value in original(model).items()}
    for key in ('incre_modules.0.0.downsample.0.weight', 'downsamp_modules.2.0.bias',
                'final_feat_layer.0.bias', 'stage4.2.fuse_layers.3.0.2.0.weight',
                'stage4.2.fuse_layers.0.3.0.weight', 'transition3.3.0.0.weight',
                'layer1.0.conv3.weight'):
        assert f'module.preact.{key}' in state, key
    converted = convert_checkpoint('hybrik_transformer', state)
    assert set(converted) == set(model.state_dict())
    assert sum(key.startswith('neck.') for key in converted) > 50
    model.load_state_dict(converted, strict=True, assign=True)


def test_command_line(tmp_path, capsys):
    source, target = tmp_path / 'hybrik.pth', tmp_path / 'out.pth'
    torch.save(original(small_model()), source)
    assert main(['hybrik_transformer', str(source), str(target)]) == 0
    state = torch.load(target, weights_only=True)['state_dict']
    assert all(key.startswith('head.') for key in state)
    head = small_model().head
    head.load_state_dict({key.removeprefix('head.'): value for key, value in state.items()})


@pytest.mark.parametrize('change, message', [
    (lambda s: s.pop('module.decphi.bias'), r'missing: head\.dec_twist\.bias'),
    (lambda s: s.update({'module.extra.weight': torch.zeros(2)}), r'unexpected: extra\.weight'),
    (lambda s: s.update({'module.decjoint.weight': torch.zeros(4, 8)}),
     r'wrong shape: head\.dec_joint\.weight \(4, 8\) instead of \(3, 8\)'),
    (lambda s: s.update({'module.preact.layer1.0.conv1.weight': torch.zeros(64, 64, 3, 3)}),
     r'missing: backbone\.bn1'),
])
def test_what_does_not_fit_is_named(change, message):
    state = original(small_model())
    change(state)
    with pytest.raises(ValueError, match=message):
        convert_checkpoint('hybrik_transformer', state)


def test_other_models_are_recognised():
    with pytest.raises(ValueError, match='not a checkpoint of HybrIK-Transformer.*MixSTE'):
        convert_checkpoint('hybrik_transformer', {'STEblocks.0.norm1.weight': np.zeros(8)})
    with pytest.raises(ValueError, match='not a checkpoint of HybrIK-T.*those of HybrIK$'):
        convert_checkpoint('hybrik_transformer', {'deconv_layers.0.weight': np.zeros(8)})
    with pytest.raises(ValueError, match='not a checkpoint of MixSTE.*HybrIK-Transformer'):
        convert_checkpoint('mixste', original(small_model()))
