from pathlib import Path

import mmpose
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from torch import nn
from torch.nn import functional as F

import mmpose_lift  # noqa: F401  (registers the models)

SMALL = dict(type='HRNetMergeNeck', in_channels=(4, 8, 16, 32), widths=(2, 4, 8, 16),
             out_channels=24)


def branches(batch=2, size=16, channels=(4, 8, 16, 32)):
    return [torch.randn(batch, c, size >> i, size >> i) for i, c in enumerate(channels)]


@pytest.fixture
def neck():
    torch.manual_seed(0)
    neck = MODELS.build(dict(SMALL))
    for module in neck.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return neck.eval()


def plain(state, feats):
    """The merging head, step by step, from its weights by name."""
    def norm(name, x):
        return F.batch_norm(x, *(state[f'{name}.{part}'] for part in (
            'running_mean', 'running_var', 'weight', 'bias')))

    def bottleneck(name, x):
        y = F.relu(norm(f'{name}.bn1', F.conv2d(x, state[f'{name}.conv1.weight'])))
        y = F.relu(norm(f'{name}.bn2', F.conv2d(y, state[f'{name}.conv2.weight'], padding=1)))
        y = norm(f'{name}.bn3', F.conv2d(y, state[f'{name}.conv3.weight']))
        shortcut = F.conv2d(x, state[f'{name}.downsample.0.weight'])
        return F.relu(y + norm(f'{name}.downsample.1', shortcut))

    def conv(name, x, **kwargs):
        x = F.conv2d(x, state[f'{name}.0.weight'], state[f'{name}.0.bias'], **kwargs)
        return F.relu(norm(f'{name}.1', x))

    y = bottleneck('incre_modules.0.0', feats[0])
    for i in range(3):
        y = bottleneck(f'incre_modules.{i + 1}.0', feats[i + 1]) + conv(
            f'downsamp_modules.{i}', y, stride=2, padding=1)
    return conv('final_feat_layer', y)


def test_it_is_the_merging_head(neck):
    feats = branches()
    found, = neck(feats)
    assert found.shape == (2, 24, 2, 2)
    torch.testing.assert_close(found, plain(neck.state_dict(), feats))


def test_size_and_gradients():
    neck = MODELS.build(dict(type='HRNetMergeNeck'))
    shapes = {name: tuple(p.shape) for name, p in neck.named_parameters()}
    assert shapes['incre_modules.3.0.conv3.weight'] == (1024, 256, 1, 1)
    assert shapes['downsamp_modules.2.0.weight'] == (1024, 512, 3, 3)
    assert shapes['downsamp_modules.2.0.bias'] == (1024, )
    assert shapes['final_feat_layer.0.weight'] == (2048, 1024, 1, 1)

    def conv(a, b, size=1, bias=False):
        return a * b * size**2 + 2 * b + b * bias
    widths, channels = (32, 64, 128, 256), (48, 96, 192, 384)
    count = sum(conv(c, w) + conv(w, w, 3) + conv(w, 4 * w) + conv(c, 4 * w)
                for c, w in zip(channels, widths))
    count += sum(conv(4 * a, 4 * b, 3, True) for a, b in zip(widths, widths[1:]))
    assert sum(p.numel() for p in neck.parameters()) == count + conv(1024, 2048, bias=True)
    neck.init_weights()
    feats = [x.requires_grad_() for x in branches(channels=(48, 96, 192, 384), size=16)]
    neck.train()(feats)[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())
    assert all(x.grad.abs().sum() > 0 for x in feats)


def test_hrnet_w48_of_mmpose():
    path = Path(mmpose.__file__).parent / '.mim/configs/body_2d_keypoint/topdown_heatmap/coco'
    config = Config.fromfile(path / 'td-hm_hrnet-w48_8xb32-210e_coco-256x192.py')
    backbone = config.model.backbone
    backbone.init_cfg = None
    neck = MODELS.build(dict(type='HRNetMergeNeck')).eval()

    def features():
        net = MODELS.build(backbone)
        net.eval()  # MMPose's own gives None back
        return net(torch.randn(1, 3, 64, 64))

    with torch.no_grad():
        with pytest.raises(ValueError, match='multiscale_output'):
            neck(features())
        backbone.extra.stage4.multiscale_output = True
        found, = neck(features())
    assert found.shape == (1, 2048, 2, 2) and found.isfinite().all()


def test_wrong_input_is_named(neck):
    with pytest.raises(ValueError, match=r'expected branches of \(4, 8, 16, 32\).*\(4, 8\)'):
        neck(branches()[:2])
    with pytest.raises(ValueError, match='one width per branch'):
        MODELS.build({**SMALL, 'widths': (2, 4)})
