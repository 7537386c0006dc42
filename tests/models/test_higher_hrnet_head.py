"""HigherHRNet's head: names and sizes of the public checkpoints, values, use as a 2D model."""

from pathlib import Path

import mmpose
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from mmpose.utils import register_all_modules
from torch import nn
from torch.nn import functional as F

import mmpose_lift  # noqa: F401  (registers the models)
from mmpose_lift.models.layers.resize_maps import resize_maps

CONFIGS = Path(mmpose.__file__).parent / '.mim/configs/body_2d_keypoint/topdown_heatmap/coco'


def public_shapes(width: int, num_keypoints: int = 17) -> dict:
    """Parameters of the head in MMPose 0.x's checkpoints, without their prefix."""
    shapes = {'deconv_layers.0.0.0.weight': (width + 2 * num_keypoints, width, 4, 4)}
    norms = ['deconv_layers.0.0.1']
    for i, channels in enumerate((2 * num_keypoints, num_keypoints)):
        shapes[f'final_layers.{i}.weight'] = (channels, width, 1, 1)
        shapes[f'final_layers.{i}.bias'] = (channels, )
    for block in range(1, 5):
        for i in (1, 2):
            shapes[f'deconv_layers.0.{block}.0.conv{i}.weight'] = (width, width, 3, 3)
            norms.append(f'deconv_layers.0.{block}.0.bn{i}')
    for norm in norms:
        shapes.update({f'{norm}.{name}': (width, ) for name in (
            'weight', 'bias', 'running_mean', 'running_var')})
        shapes[f'{norm}.num_batches_tracked'] = ()
    return shapes


def make_head(width=4, **kwargs):
    register_all_modules()
    torch.manual_seed(0)
    head = MODELS.build(dict(type='HigherHRNetHead', in_channels=width, **kwargs))
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return head.eval()


@pytest.mark.parametrize('width, count', [(32, 28_645_331), (48, 63_827_139)])
def test_names_and_sizes_are_the_published_ones(width, count):
    head = make_head(width)
    shapes = {key: tuple(value.shape) for key, value in head.state_dict().items()}
    assert shapes == public_shapes(width)
    config = next(CONFIGS.glob(f'td-hm_hrnet-w{width}_8xb*-210e_coco-256x192.py'))
    with torch.device('meta'):
        backbone = MODELS.build(dict(Config.fromfile(config).model.backbone, init_cfg=None))
    assert sum(p.numel() for part in (backbone, head) for p in part.parameters()) == count


def plain(state, x):
    """The head step by step, from its weights by name."""
    def norm(name, x):
        return F.batch_norm(x, *(state[f'{name}.{part}'] for part in (
            'running_mean', 'running_var', 'weight', 'bias')))

    low = F.conv2d(x, state['final_layers.0.weight'], state['final_layers.0.bias'])
    y = F.conv_transpose2d(torch.cat([x, low], 1), state['deconv_layers.0.0.0.weight'], stride=2,
                           padding=1)
    y = F.relu(norm('deconv_layers.0.0.1', y))
    for i in range(1, 5):
        name = f'deconv_layers.0.{i}.0'
        z = F.relu(norm(f'{name}.bn1', F.conv2d(y, state[f'{name}.conv1.weight'], padding=1)))
        y = F.relu(y + norm(f'{name}.bn2', F.conv2d(z, state[f'{name}.conv2.weight'], padding=1)))
    return low, F.conv2d(y, state['final_layers.1.weight'], state['final_layers.1.bias'])


def test_it_is_the_published_head():
    head, feats = make_head(), torch.randn(2, 4, 6, 5)
    low, high = plain(head.state_dict(), feats)
    found = head.scales((feats, ))
    torch.testing.assert_close(found[0], low)
    torch.testing.assert_close(found[1], high)
    assert low.shape == (2, 34, 6, 5) and high.shape == (2, 17, 12, 10)
    aggregated = head((feats, ))
    torch.testing.assert_close(aggregated[..., ::2, ::2], (low[:, :17] + high[..., ::2, ::2]) / 2)
    # branches of a multi-scale backbone: the finest counts
    torch.testing.assert_close(head([feats, torch.zeros(2, 8, 3, 2)]), aggregated)


def test_keypoints_keep_their_place_when_maps_are_resized():
    def gaussian(place, size, sigma=2.):
        profile = torch.exp(-(torch.arange(size) - place)**2 / (2 * sigma**2))
        return (profile[:, None] * profile)[None, None]

    def centre(maps):
        weights = maps[0, 0].sum(0)
        return float((weights * torch.arange(len(weights))).sum() / weights.sum())

    maps = gaussian(20.5, 56)
    assert centre(resize_maps(maps, 112, 112)) == pytest.approx(41, abs=1e-3)
    assert centre(resize_maps(maps, 84, 84)) == pytest.approx(30.75, abs=1e-2)
    assert centre(resize_maps(maps, 28, 28)) == pytest.approx(10.25, abs=1e-2)
    assert resize_maps(maps, 56, 56) is maps
    # neither setting of interpolate does that
    for align, error in ((False, 0.5), (True, 20.5 * 111 / 55 - 41)):
        moved = F.interpolate(maps, size=112, mode='bilinear', align_corners=align)
        assert centre(moved) == pytest.approx(41 + error, abs=0.02)
    steps = torch.arange(4.).expand(1, 1, 2, 4)
    assert resize_maps(steps, 2, 8)[0, 0, 0].tolist() == [0, .5, 1, 1.5, 2, 2.5, 3, 3]


def test_as_a_2d_model_of_its_own():
    codec = dict(type='MSRAHeatmap', input_size=(64, 64), heatmap_size=(32, 32), sigma=2)
    head = make_head(decoder=codec)
    feats = (torch.randn(2, 4, 16, 16, requires_grad=True), )
    samples = []
    for _ in range(2):
        sample = PoseDataSample()
        sample.gt_fields = PixelData(heatmaps=torch.rand(17, 32, 32))
        sample.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, 17))
        samples.append(sample)
    head.train().loss(feats, samples)['loss_kpt'].backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    predicted = head.eval().predict(feats, samples)
    maps = head(feats)[0].detach().numpy()
    peak = np.unravel_index(maps[3].argmax(), maps[3].shape)[::-1]
    np.testing.assert_allclose(predicted[0].keypoints[0, 3], np.multiply(peak, 2), atol=0.6)
