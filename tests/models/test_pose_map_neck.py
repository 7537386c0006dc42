"""Heatmaps of a 2D network as the input of another head."""

import pytest
import torch
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules
from torch import nn

import mmpose_lift  # noqa: F401  (registers the models)
from mmpose_lift.geometry.skeletons import get_skeleton, joint_map
from mmpose_lift.models.layers.resize_maps import resize_maps

SIMPLE = dict(type='HeatmapHead', in_channels=8, out_channels=17, deconv_out_channels=(8, ),
              deconv_kernel_sizes=(4, ))
HIGHER = dict(type='HigherHRNetHead', in_channels=8)


def build(head, **kwargs):
    register_all_modules()
    torch.manual_seed(0)
    neck = MODELS.build(dict(type='PoseMapNeck', head=head, **kwargs))
    for parameter in neck.parameters():  # away from the start, where maps are nearly zero
        nn.init.normal_(parameter, std=0.1)
    return neck


@pytest.mark.parametrize('head', [SIMPLE, HIGHER], ids=['simple_baseline', 'higher_hrnet'])
def test_maps_of_any_head_in_the_size_asked_for(head):
    neck, feats = build(head, size=28), (torch.randn(2, 8, 7, 7), )
    maps = neck(feats)
    assert maps.shape == (2, 17, 28, 28)
    torch.testing.assert_close(maps, resize_maps(neck.head(feats), 28, 28))
    maps.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in neck.parameters())
    neck.eval()
    torch.testing.assert_close(neck((feats[0][1:], ))[0], neck(feats)[1])


def test_joints_of_other_skeletons_are_put_in_order():
    joints = get_skeleton('halpe_26').num_joints
    neck = build(dict(SIMPLE, out_channels=joints), skeleton='halpe_26', size=14)
    feats = (torch.randn(1, 8, 7, 7), )
    order = list(joint_map('halpe_26', 'coco'))
    torch.testing.assert_close(neck(feats), neck.head(feats)[:, order])
    with pytest.raises(ValueError, match="'h36m' has no joint for .*left_eye"):
        build(SIMPLE, skeleton='h36m')


def test_a_2d_network_with_a_neck():
    neck = build(SIMPLE, neck=dict(type='AttentionNeck', in_channels=8, feat_size=(7, 7)), size=14)
    feats = (torch.randn(1, 8, 7, 7), )
    torch.testing.assert_close(neck(feats), neck.head(neck.neck(feats)))


class Stages(nn.Module):
    """A head of several stages."""

    def forward(self, feats):
        return [feats[-1][:, :17] * stage for stage in (1, 2)]


def test_the_last_stage_counts_and_other_heads_are_refused():
    neck, feats = build(SIMPLE, size=7), (torch.randn(1, 20, 7, 7), )
    neck.head = Stages()
    torch.testing.assert_close(neck(feats), 2 * feats[0][:, :17])
    for head in (dict(SIMPLE, out_channels=16),
                 dict(type='SimCCHead', in_channels=8, out_channels=17, input_size=(56, 56),
                      in_featuremap_size=(7, 7), deconv_out_channels=None),
                 dict(type='RegressionHead', in_channels=8, num_joints=17)):
        feats = torch.randn(1, 8, 7, 7)
        feats = feats.mean((2, 3)) if head['type'] == 'RegressionHead' else feats
        with pytest.raises(ValueError, match=r'expected heatmaps \(B, 17, h, w\).*found'):
            build(head)((feats, ))
