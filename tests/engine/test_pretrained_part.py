"""One checkpoint of a 2D network for the backbone and for the head inside the neck."""

import pytest
import torch
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

import mmpose_lift  # noqa: F401  (registration)

HEADS = {'head': dict(type='HeatmapHead', in_channels=64, out_channels=17,
                      deconv_out_channels=(4, ), deconv_kernel_sizes=(4, )),
         'keypoint_head': dict(type='HigherHRNetHead', in_channels=64, num_blocks=1)}


def model(prefix, path, head=None, depth=18):
    register_all_modules()

    def init(name):
        return dict(type='PretrainedPart', checkpoint=str(path), prefix=name)
    return MODELS.build(dict(
        type='TopdownPoseEstimator',
        backbone=dict(type='ResNet', depth=depth, base_channels=8, stem_channels=8,
                      init_cfg=init('backbone')),
        neck=dict(type='PoseMapNeck', size=8, head=dict(head or HEADS[prefix],
                                                        init_cfg=init(prefix))),
        head=dict(type='HeatmapHead', in_channels=17, out_channels=3, deconv_out_channels=None)))


@pytest.fixture(params=list(HEADS))
def checkpoint(request, tmp_path):
    """(prefix, path) of a made-up checkpoint, of MMPose 1.x and 0.x."""
    source = model(request.param, '')
    state = {key: torch.randn_like(value) if value.is_floating_point() else value
             for key, value in source.state_dict().items()}
    state = {key.replace('neck.head.', f'{request.param}.'): value for key, value in state.items()
             if not key.startswith('head.')}
    torch.save(dict(state_dict=state, meta={}), tmp_path / 'coco.pth')
    return request.param, tmp_path / 'coco.pth', state


def test_both_parts_are_loaded(checkpoint):
    prefix, path, state = checkpoint
    network = model(prefix, path)
    network.init_weights()
    found = network.state_dict()
    assert any(key.startswith(prefix) for key in state)
    for key, value in state.items():
        torch.testing.assert_close(found[key.replace(f'{prefix}.', 'neck.head.', 1)], value)


def test_weights_of_another_network_are_refused(checkpoint):
    prefix, path, _ = checkpoint
    with pytest.raises(ValueError, match=r'coco.pth, backbone\.\*: does not fit ResNet; missing: '
                                         r'.*layer'):
        model(prefix, path, depth=34).init_weights()
    with pytest.raises(ValueError, match=r'does not fit \w+Head.*wrong shape: .*final_layer'):
        number = {'head': 'out_channels', 'keypoint_head': 'num_keypoints'}[prefix]
        model(prefix, path, dict(HEADS[prefix], **{number: 16})).init_weights()
    other = {'head': 'keypoint_head', 'keypoint_head': 'head'}[prefix]
    with pytest.raises(ValueError, match=rf'{other}\.\*: no parameter of that name; the checkpoint '
                                         rf'has backbone, {prefix}'):
        model(other, path).init_weights()
    with pytest.raises(FileNotFoundError):
        model(prefix, 'none.pth').init_weights()


def test_an_address_that_cannot_be_reached_is_named():
    """Port 9 of this machine answers nobody."""
    with pytest.raises(ConnectionError, match=r'http://127.0.0.1:9/coco.pth cannot be fetched'):
        model('head', 'http://127.0.0.1:9/coco.pth').init_weights()
