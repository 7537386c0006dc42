import copy

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import mmpose_lift  # noqa: F401  (registers the models)
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.models.body import BodyModel

BODY = BodyModel.stand_in()


def build(**options):
    torch.manual_seed(0)
    return MODELS.build(dict(type='HybrIKHead', in_channels=8, body_model=BODY, depth=8, **options))


def features(batch=2, size=1):
    torch.manual_seed(1)
    return (torch.randn(batch, 8, size, size), )


def sample(seed=0):
    rng = np.random.default_rng(seed)
    shapes = dict(target_uvd=(24, 3), target_beta=(10, ), target_theta=(96, ),
                  target_twist=(23, 2), target_xyz_24=(24, 3), target_xyz_17=(17, 3))
    labels = {key: torch.as_tensor(rng.normal(size=(1, *shape)) / 5, dtype=torch.float32)
              for key, shape in shapes.items()}
    labels |= {f'{key}_weight': torch.ones_like(label) for key, label in labels.items()}
    labels |= dict(target_smpl_weight=torch.ones(1, 1), root_valid=torch.ones(1, 1))
    data_sample = PoseDataSample(metainfo=dict(
        trans_inv=np.array([[2., 0, 300], [0, 2, 200]]), depth_factor=2.,
        intrinsic_inv=np.linalg.inv([[1100., 0, 500], [0, 1100, 500], [0, 0, 1]]),
        root=np.array([0.1, 0., 4.]), input_size=(256, 256)))
    data_sample.gt_instance_labels = InstanceData(**labels)
    return data_sample


@pytest.mark.parametrize('joints, final, total', [(24, 394_752, 6_243_404),
                                                  (29, 476_992, 6_305_144)])
def test_published_sizes(joints, final, total):
    head = MODELS.build(dict(type='HybrIKHead', body_model=BODY, num_joints=joints))

    def count(module):
        return sum(p.numel() for p in module.parameters())
    assert (count(head.deconv_layers), count(head.final_layer), count(head)) == (
        4_195_840, final, total)
    head.init_weights()
    assert head.final_layer.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert not any(key.startswith('body_model') for key in head.state_dict())


def test_joints_are_expectations():
    head, feats = build().eval(), features()
    with torch.no_grad():
        found = head.regress(feats)
        heat = head.final_layer(head.deconv_layers(feats[0]))  # [B, 24 * D, H, W]
    p = heat.view(2, 24, -1).softmax(-1).view(2, 24, 8, 8, 8)  # depth, height, width
    index = torch.arange(8.)
    for axis, sums in enumerate([(2, 3), (2, 4), (3, 4)]):
        wanted = p.sum(sums) @ index / 8 - 0.5
        torch.testing.assert_close(found['pred_uvd_jts'][..., axis], wanted)
    pooled = head.fc2(head.fc1(feats[0].mean((2, 3))))
    torch.testing.assert_close(found['pred_delta_shape'], head.dec_shape(pooled))
    torch.testing.assert_close(found['pred_phi'].flatten(1), head.dec_twist(pooled))
    torch.testing.assert_close(found['pred_leaf'].flatten(1), head.dec_leaf(pooled))


def test_both_forms_of_soft_argmax_train_alike():
    losses, grads = [], []
    for form in ('fused', 'published'):
        head = build(soft_argmax=form, drop_rate=0.).train()
        loss = head.loss(features(), [sample(0), sample(1)])
        sum(value for key, value in loss.items() if key.startswith('loss')).backward()
        losses.append({key: value.item() for key, value in loss.items()})
        grads.append([p.grad for p in head.parameters()])
        assert all(grad is not None and grad.abs().sum() > 0 for grad in grads[-1])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for a, b in zip(*grads):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.parametrize('joints', [24, 29])
def test_bodies(joints):
    head, feats, data_samples = build(num_joints=joints).eval(), features(), [sample(), sample()]
    with torch.no_grad():
        first, second = head.predict(feats, data_samples)
        again, _ = head.predict(feats, data_samples)
        alone, = head.predict((feats[0][1:], ), data_samples[1:])
        other = copy.deepcopy(head)
        for p in other.parameters():
            p.add_(1)
        other.load_state_dict(head.state_dict())
        loaded, _ = other.predict(feats, data_samples)
    for key, value in first.items():
        value, rest = np.asarray(value), [np.asarray(x.get(key)) for x in (again, loaded)]
        assert np.isfinite(value).all()
        for found in rest:
            np.testing.assert_array_equal(found, value)
        np.testing.assert_allclose(alone.get(key), second.get(key), atol=1e-4, err_msg=key)
    assert first.vertices.shape == (1, BODY.num_vertices, 3)
    if joints == 29:  # leaf joints keep their parents' rotation
        torch.testing.assert_close(first.rotmats[0, [10, 11, 15, 22, 23]],
                                   torch.eye(3).expand(5, 3, 3))


def test_flip_test_of_a_symmetric_input_is_symmetric():
    head, data_samples = build().eval(), [sample(), sample()]
    feats = features()
    with torch.no_grad():
        regressed = head.forward(feats, feats_flip=feats)
        both = head.predict([feats, feats], data_samples)
    uvd, flip = regressed['pred_uvd_jts'], list(get_skeleton('smpl').flip_indices)
    torch.testing.assert_close(uvd[:, flip] * torch.tensor([-1., 1, 1]), uvd)
    assert all(torch.isfinite(found.vertices).all() for found in both)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match='24 or 29, found 17'):
        build(num_joints=17)
    with pytest.raises(ValueError, match="soft_argmax.*found 'plain'"):
        build(soft_argmax='plain')
    with pytest.raises(ValueError, match=r'\(B, 8, H, W\), found \(1, 4, 1, 1\)'):
        build().regress((torch.zeros(1, 4, 1, 1), ))
