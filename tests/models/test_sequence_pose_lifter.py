"""The estimator and its head: batch forms, flip test, target frames, MMPose's conventions."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.geometry import get_skeleton
from mmpose_lift.io import convert_checkpoint
from mmpose_lift.models import LiftingHead, SequencePoseLifter, mirror_poses

FLIP = list(get_skeleton('h36m').flip_indices)


def build(frames=9, dims=16, depth=2, heads=2, head=None, **kwargs) -> SequencePoseLifter:
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='SequencePoseLifter',
        backbone=dict(type='MixSTE', num_frames=frames, embed_dims=dims, depth=depth,
                      num_heads=heads, drop_path_rate=0.0),
        head=dict(type='LiftingHead', in_channels=dims, num_keypoints=17, **(head or {})),
        **kwargs))
    return model


def sample(target: torch.Tensor, weight=None, **metainfo) -> PoseDataSample:
    data_sample = PoseDataSample(metainfo=dict(flip_indices=FLIP, **metainfo))
    labels = InstanceData(lifting_target_label=target)
    if weight is not None:
        labels.lifting_target_weight = weight
    data_sample.gt_instance_labels = labels
    return data_sample


def both_forms(target, weight=None):
    """A batch as a list of samples, and as one sample that holds all."""
    weights = [None] * len(target) if weight is None else weight
    return [sample(t, w) for t, w in zip(target, weights)], [sample(target, weight)]


def test_flip_average_equals_published_code(shared_dir):
    folder = shared_dir / 'reference' / 'mixste'
    model = build(27, 64, 4, 8, test_cfg=dict(flip_test=True)).eval()
    model.load_state_dict(convert_checkpoint('mixste', folder / 'model.npz'), strict=True)
    with np.load(folder / 'eval_pipeline.npz') as archive:
        for case in ('T20', 'T54', 'T61'):
            inputs = torch.from_numpy(archive[f'{case}/chunks_2d'])
            target = torch.from_numpy(archive[f'{case}/chunks_3d_root_zeroed'])
            with torch.no_grad():
                plain = model(inputs, None, mode='tensor')
                lists, single = both_forms(target)
                listed = model(inputs, lists, mode='predict')
                batched, = model(inputs, single, mode='predict')
                anonymous = model(inputs, None, mode='predict')
            np.testing.assert_allclose(plain, archive[f'{case}/pred'], atol=1e-5)
            expected = archive[f'{case}/pred_flip_averaged']
            for found in ([s.pred_instances.keypoints for s in listed],
                          batched.pred_instances.keypoints,
                          [s.pred_instances.keypoints for s in anonymous]):
                np.testing.assert_allclose(found, expected, atol=1e-5)
            error = np.linalg.norm(batched.pred_instances.keypoints - target.numpy(), axis=-1)
            np.testing.assert_allclose(error.mean(), archive[f'{case}/mpjpe'], rtol=1e-5)


@pytest.mark.parametrize('mask', [False, True])
def test_batch_forms_give_equal_losses(mask):
    model = build().train()
    inputs, target = torch.randn(3, 9, 17, 2), torch.randn(3, 9, 17, 3)
    weight = (torch.rand(3, 9, 17) > 0.2).float() if mask else None
    listed, single = (model(inputs, form, mode='loss') for form in both_forms(target, weight))
    assert listed.keys() == single.keys() >= {'loss_pose3d', 'mpjpe'}
    for key in listed:
        torch.testing.assert_close(listed[key], single[key])


def test_train_step_gives_every_parameter_a_gradient():
    model = build().train()
    inputs, target = torch.randn(2, 9, 17, 2), torch.randn(2, 9, 17, 3)
    total, log = model.parse_losses(model(inputs, [sample(target)], mode='loss'))
    total.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    torch.testing.assert_close(total, log['loss_pose3d'])


@pytest.mark.parametrize('causal, index', [(False, 4), (True, 8)])
def test_one_target_frame(causal, index):
    model = build().eval()
    model.head.causal = causal
    inputs = torch.randn(2, 9, 17, 2)
    full = model(inputs, None, mode='tensor')
    lists, single = both_forms(torch.zeros(2, 1, 17, 3))
    for found in (torch.stack([torch.from_numpy(s.pred_instances.keypoints)
                               for s in model(inputs, lists, mode='predict')]),
                  torch.from_numpy(model(inputs, single, mode='predict')[0]
                                   .pred_instances.keypoints)):
        assert found.shape == (2, 1, 17, 3)
        torch.testing.assert_close(found, full[:, index:index + 1])
    assert model(inputs, lists, mode='loss')['loss_pose3d'].isfinite()
    with pytest.raises(ValueError, match='5 frames'):
        model(inputs, [sample(torch.zeros(2, 5, 17, 3))], mode='predict')


def test_stock_test_step():
    """As MMPose's inferencer calls it: float64 windows in a list, numpy arrays come back."""
    model = build(test_cfg=dict(flip_test=True)).eval()
    batch = dict(inputs=[torch.randn(9, 17, 2, dtype=torch.double) for _ in range(2)],
                 data_samples=[sample(torch.zeros(1, 17, 3)) for _ in range(2)])
    with torch.no_grad():
        results = model.test_step(batch)
    for result in results:
        assert isinstance(result.pred_instances.keypoints, np.ndarray)
        assert result.pred_instances.keypoints.shape == (1, 17, 3)
        assert result.pred_instances.keypoint_scores.shape == (1, 17)


def test_batched_test_step():
    model = build().eval()
    batch = dict(inputs=[torch.randn(5, 9, 17, 2)],
                 data_samples=[sample(torch.zeros(5, 9, 17, 3))])
    with torch.no_grad():
        result, = model.test_step(batch)
    assert result.pred_instances.keypoints.shape == (5, 9, 17, 3)
    assert (result.pred_instances.keypoint_scores == np.ones((5, 9, 17))).all()


def test_decoder_and_output_indices():
    decoder = dict(type='PoseSequenceLabel', num_keypoints=17)
    model = build(head=dict(decoder=decoder), test_cfg=dict(output_keypoint_indices=[0, 16])).eval()
    inputs = torch.randn(2, 9, 17, 2)
    expected = model(inputs, None, mode='tensor').detach().numpy()[..., [0, 16], :]
    for form in both_forms(torch.zeros(2, 9, 17, 3)):
        found = model(inputs, form, mode='predict')
        found = np.concatenate([s.pred_instances.keypoints.reshape(-1, 9, 2, 3) for s in found])
        np.testing.assert_array_equal(found, expected)


def test_bfloat16_weights_predict():
    model = build(test_cfg=dict(flip_test=True)).eval().bfloat16()
    result = model(torch.randn(1, 9, 17, 2), None, mode='predict')[0]
    assert result.pred_instances.keypoints.dtype == np.float32


def test_autocast_loss_is_float32():
    model = build().train()
    inputs, target = torch.randn(2, 9, 17, 2), torch.randn(2, 9, 17, 3)
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(inputs, [sample(target)], mode='loss')
    assert losses['loss_pose3d'].dtype == torch.float32


def test_mirror_poses():
    pose = torch.randn(2, 9, 17, 3)
    mirrored = mirror_poses(pose, FLIP)
    torch.testing.assert_close(mirror_poses(mirrored, FLIP), pose)
    left, right = (get_skeleton('h36m').index(f'{side}_wrist') for side in ('left', 'right'))
    torch.testing.assert_close(mirrored[..., left, :],
                               pose[..., right, :] * torch.tensor([-1.0, 1, 1]))
    with pytest.raises(ValueError, match='each of the 16 joints, found 17'):
        mirror_poses(pose[..., :16, :], FLIP)


def test_scope_is_not_needed_and_types_are_registered():
    assert MODELS.get('LiftingHead') is LiftingHead
    assert type(build().data_preprocessor).__name__ == 'LiftingDataPreprocessor'


def test_errors():
    model = build()
    with pytest.raises(ValueError, match=r'expected inputs \(B, T, K, C\), found \(9, 17, 2\)'):
        model(torch.zeros(9, 17, 2), None, mode='tensor')
    with pytest.raises(ValueError, match='T=9 frames'):
        model(torch.zeros(1, 8, 17, 2), None, mode='tensor')
    with pytest.raises(ValueError, match='no gt_instance_labels.lifting_target_label'):
        model(torch.zeros(1, 9, 17, 2), [PoseDataSample()], mode='loss')
    with pytest.raises(ValueError, match='3 data samples for a batch of 2 windows'):
        model(torch.zeros(2, 9, 17, 2), [PoseDataSample() for _ in range(3)], mode='predict')
    with pytest.raises(ValueError, match=r'features \(B, T, 17, 8\), found \(1, 9, 17, 16\)'):
        LiftingHead(8, 17)(torch.zeros(1, 9, 17, 16))
    with pytest.raises(ValueError, match='unknown skeleton'):
        build(skeleton='h36n')


def test_a_misspelt_test_option_is_named():
    with pytest.raises(ValueError, match='fliptest.*flip_test'):
        build(test_cfg=dict(fliptest=True))


def test_zero_root_moves_the_root_only():
    inputs = torch.rand(2, 9, 17, 2)
    plain, zeroed = (build(test_cfg=options).eval()(inputs, None, mode='predict')
                     for options in ({}, dict(zero_root=True)))
    for a, b in zip(plain, zeroed):
        a, b = a.pred_instances.keypoints, b.pred_instances.keypoints
        assert (a[:, 0] != 0).any() and (b[:, 0] == 0).all()
        np.testing.assert_array_equal(a[:, 1:], b[:, 1:])
    kept = build(test_cfg=dict(zero_root=True, output_keypoint_indices=[3, 0])).eval()
    found = kept(inputs, None, mode='predict')[0].pred_instances.keypoints
    assert (found[:, 1] == 0).all() and (found[:, 0] != 0).any()
