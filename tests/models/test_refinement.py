"""Refinement: the refiner's maths, and the estimator around it."""

import copy

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, MODELS
from mmpose.structures import PoseDataSample

from mmpose_lift.geometry import get_skeleton, normalize_intrinsics, normalize_screen
from mmpose_lift.models import mirror_poses
from mmpose_lift.models.heads.lifting_head import stack_labels
from mmpose_lift.models.layers import PoseRefiner
from mmpose_lift.models.losses.sequence_loss import symmetry_penalty

FLIP = list(get_skeleton('h36m').flip_indices)
WIDTH, HEIGHT = 1000.0, 1002.0
FOCAL, CENTER = np.array([1145.0, 1143.8]), np.array([512.5, 515.4])


def scene(count: int = 6, dtype: torch.dtype = torch.float64):
    """Poses (N, 17, 3) and roots (N, 3) in metres, and their exact image without distortion.

    The image is uv (N, 17, 2) with focal and center (N, 2), normalised as the refiner reads them.
    """
    rng = np.random.default_rng(0)
    poses = rng.normal(scale=0.4, size=(count, 17, 3))
    poses[:, 0] = 0
    roots = rng.normal(size=(count, 3)) * [0.5, 0.3, 0.6] + [0, 0, 5]
    points = poses + roots[:, None]
    uv = normalize_screen(points[..., :2] / points[..., 2:] * FOCAL + CENTER, WIDTH, HEIGHT)
    focal, center = normalize_intrinsics(FOCAL, CENTER, WIDTH, HEIGHT)
    arrays = (poses, roots, uv, np.tile(focal, (count, 1)), np.tile(center, (count, 1)))
    return tuple(torch.from_numpy(a).to(dtype) for a in arrays)


def constant_scores(refiner: PoseRefiner, logit: float) -> None:
    torch.nn.init.zeros_(refiner.fc2.weight)
    torch.nn.init.constant_(refiner.fc2.bias, logit)


# ---------------------------------------------------------------- refiner


def test_exact_inputs_give_the_same_pose_back():
    poses, roots, uv, focal, center = scene()
    refiner = PoseRefiner().double()
    torch.testing.assert_close(refiner.back_projected(poses, uv, roots[:, 2], focal, center), poses)
    torch.testing.assert_close(refiner(poses, uv, roots[:, 2], focal, center), poses)


@pytest.mark.parametrize('logit', [50.0, -50.0, 0.4])
def test_scores_blend_prediction_and_back_projection(logit):
    _, roots, uv, focal, center = scene()
    pred = torch.randn(6, 17, 3, dtype=torch.double)
    pred[:, 0] = 0
    refiner = PoseRefiner().double().eval()
    constant_scores(refiner, logit)
    refined = refiner(pred, uv, roots[:, 2], focal, center)
    # written out joint by joint
    z = pred[..., 2] + roots[:, 2:]
    q = torch.stack([(uv[..., i] - center[:, i, None]) * z / focal[:, i, None] for i in (0, 1)], -1)
    q = q - q[:, :1]
    s = 1 / (1 + np.exp(-logit))
    torch.testing.assert_close(refined[..., :2], s * pred[..., :2] + (1 - s) * q)
    assert torch.equal(refined[..., 2], pred[..., 2])
    assert (refined[:, 0] == 0).all()


def test_refiner_size_dropout_and_gradients():
    inputs = scene(dtype=torch.float32)
    poses, roots, uv, focal, center = inputs
    refiner = PoseRefiner()
    assert sum(p.numel() for p in refiner.parameters()) == 103 * 1024 + 1025 * 34
    pred = (poses + 0.1 * torch.randn_like(poses)).requires_grad_()
    first, second = (refiner(pred, uv, roots[:, 2], focal, center) for _ in range(2))
    assert not torch.equal(first, second)  # dropout
    first.square().sum().backward()
    assert pred.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.any() for p in refiner.parameters())
    refiner.eval()
    assert torch.equal(*(refiner(pred, uv, roots[:, 2], focal, center) for _ in range(2)))


@pytest.mark.parametrize('depth', [0.0, -0.3, 1e-6])
def test_joints_at_or_behind_the_camera_stay_finite(depth):
    poses, _, uv, focal, center = scene(dtype=torch.float32)
    poses.requires_grad_()
    refined = PoseRefiner()(poses, uv, torch.full((6, ), depth), focal, center)
    refined.sum().backward()
    assert refined.isfinite().all() and poses.grad.isfinite().all()


def test_refiner_errors():
    poses, roots, uv, focal, center = scene(dtype=torch.float32)
    with pytest.raises(ValueError, match=r'expected root_depth \(6,\), found \(6, 1\)'):
        PoseRefiner()(poses, uv, roots[:, 2:], focal, center)
    with pytest.raises(ValueError, match=r'expected pred \(6, 16, 3\), found \(6, 17, 3\)'):
        PoseRefiner(16)(poses, uv, roots[:, 2], focal, center)
    with pytest.raises(ValueError, match='root_index of 0 to 16, found 17'):
        PoseRefiner(root_index=17)


# ---------------------------------------------------------------- estimator


def build(kind: str = 'mixste', estimator: str = 'RefinedPoseLifter', **kwargs):
    torch.manual_seed(0)
    if kind == 'mixste':
        backbone = dict(type='MixSTE', num_frames=5, embed_dims=16, depth=1, num_heads=2,
                        drop_path_rate=0.0)
        head = dict(type='LiftingHead', in_channels=16, num_keypoints=17)
    else:
        backbone = dict(type='UpliftUpsampleTransformer', num_tokens=9, spatial_dims=8,
                        temporal_dims=16, spatial_depth=1, temporal_depth=2, strides=(3, 3),
                        paddings=((1, 1), (0, 0)), num_heads=2, drop_path_rate=0.0)
        head = dict(type='UpliftUpsampleHead', in_channels=16, num_keypoints=17)
    if estimator == 'RefinedPoseLifter':
        kwargs.setdefault('refiner', dict(hidden_dims=32))
    return MODELS.build(dict(type=estimator, backbone=backbone, head=head, **kwargs))


def camera(count=None, keys='whfc') -> dict:
    values = dict(w=np.float32(WIDTH), h=np.float32(HEIGHT), f=FOCAL, c=CENTER)
    return {key: value if count is None else np.stack([value] * count)
            for key, value in values.items() if key in keys}


def sample(target, roots=None, weight=None, count=None, **metainfo) -> PoseDataSample:
    found = PoseDataSample(metainfo=dict(
        dict(flip_indices=FLIP, camera_param=camera(count)), **metainfo))
    found.gt_instance_labels = InstanceData(lifting_target_label=target)
    if weight is not None:
        found.gt_instance_labels.lifting_target_weight = weight
    found.gt_instances = InstanceData()
    if roots is not None:
        found.gt_instances.target_root = roots.numpy()
    return found


def batch(kind: str, training: bool, windows: int = 3, targets=None):
    """Inputs, and the data samples as a list and as one sample of the batch.

    The frames of each window are poses of one scene. For the Uplift model all but one window have a
    key-frame in the centre, and the test labels start at the centre.
    """
    frames = 5 if kind == 'mixste' else 9
    poses, roots, uv, *_ = scene(windows * frames, dtype=torch.float32)
    poses, roots, uv = (x.unflatten(0, (windows, frames)) for x in (poses, roots, uv))
    if kind == 'mixste':
        inputs, keep = uv, slice(None) if targets is None else slice(2, 3)
    else:
        flag = torch.zeros(windows, frames, 17, 1)
        flag[:, ::2] = 1
        flag[-1] = 1 - flag[-1]
        inputs, keep = torch.cat([uv * flag, flag], -1), slice(None) if training else slice(4, 7)
    poses, roots = poses[:, keep].clone(), roots[:, keep].clone()
    listed = [sample(p, r) for p, r in zip(poses, roots)]
    return inputs, listed, [sample(poses, roots, count=windows)]


KINDS = pytest.mark.parametrize('kind', ['mixste', 'uplift'])
DEPTHS = pytest.mark.parametrize('root_depth', ['estimated', 'ground_truth'])


def keypoints(samples) -> np.ndarray:
    found = [s.pred_instances.keypoints for s in samples]
    return found[0] if len(samples) == 1 else np.stack(found)


@KINDS
@DEPTHS
def test_both_batch_forms_agree(kind, root_depth):
    model = build(kind, root_depth=root_depth, test_cfg=dict(flip_test=True)).eval()
    inputs, listed, single = batch(kind, training=True)
    losses, other = (model(inputs, form, mode='loss') for form in (listed, single))
    assert losses.keys() == other.keys() >= {'loss_refined', 'loss_symmetry', 'mpjpe'}
    for key in losses:
        torch.testing.assert_close(losses[key], other[key])
    inputs, listed, single = batch(kind, training=False)
    first, second = (keypoints(model(inputs, form, mode='predict')) for form in (listed, single))
    assert first.shape == (3, 5 if kind == 'mixste' else 1, 17, 3)
    np.testing.assert_array_equal(first, second)


@KINDS
def test_prediction_refines_the_flip_average(kind):
    """The base model's averaged pose, root at 0, with the 2D of its own frame and its own root."""
    model = build(kind, root_depth='ground_truth', test_cfg=dict(flip_test=True)).eval()
    base = build(kind, 'SequencePoseLifter', test_cfg=dict(flip_test=True)).eval()
    base.load_state_dict({k: v for k, v in model.state_dict().items() if 'refiner' not in k})
    inputs, _, single = batch(kind, training=False)
    plain = torch.from_numpy(keypoints(base(inputs, copy.deepcopy(single), mode='predict')))
    plain[..., 0, :] = 0
    _, _, _, focal, center = scene(1, dtype=torch.float32)
    roots = torch.from_numpy(single[0].gt_instances.target_root)
    frame = slice(None) if kind == 'mixste' else slice(4, 5)
    if kind == 'uplift':
        roots = roots[:, :1]
    found = torch.from_numpy(keypoints(model(inputs, single, mode='predict')))
    for b in range(3):
        expected = plain[b]
        if kind == 'mixste' or b < 2:  # the last window has no 2D keypoints in its centre
            expected = model.refiner(plain[b], inputs[b, frame, :, :2], roots[b, :, 2],
                                     focal.expand(len(plain[b]), 2),
                                     center.expand(len(plain[b]), 2))
            assert (expected - plain[b]).abs().max() > 1e-2
        torch.testing.assert_close(found[b], expected)


@KINDS
@DEPTHS
def test_every_window_has_its_own_camera(kind, root_depth):
    model = build(kind, root_depth=root_depth).eval()
    inputs, listed, single = batch(kind, training=False)
    lens = camera(3)
    lens['f'][1], lens['c'][1], lens['w'][2] = 800, 300, 1500
    single[0].set_metainfo(dict(camera_param=lens))
    for i, one in enumerate(listed):
        one.set_metainfo(dict(camera_param={key: value[i] for key, value in lens.items()}))
    alone = [keypoints(model(inputs[i:i + 1], [one], mode='predict'))
             for i, one in enumerate(listed)]
    np.testing.assert_allclose(keypoints(model(inputs, single, mode='predict')), alone, atol=1e-6)


@KINDS
def test_training_uses_the_root_of_the_reported_frame(kind):
    model = build(kind, root_depth='ground_truth').eval()
    inputs, _, single = batch(kind, training=True)
    before = model(inputs, single, mode='loss')['loss_refined']
    centre = inputs.shape[1] // 2
    for frame in range(inputs.shape[1]):
        moved = copy.deepcopy(single)
        moved[0].gt_instances.target_root[:, frame] += 1
        changed = model(inputs, moved, mode='loss')['loss_refined'] != before
        assert changed == (kind == 'mixste' or frame == centre)


@pytest.mark.parametrize('kind, mask', [('mixste', False), ('mixste', True), ('uplift', False)])
def test_losses_are_what_they_say(kind, mask):
    model, base = build(kind).eval(), build(kind, 'SequencePoseLifter').eval()
    base.load_state_dict({k: v for k, v in model.state_dict().items() if 'refiner' not in k})
    inputs, _, single = batch(kind, training=True)
    labels = single[0].gt_instance_labels
    if mask:
        labels.lifting_target_weight = (torch.rand(labels.lifting_target_label.shape[:-1]) >
                                        0.3).float()
    losses, base_losses = (m(inputs, single, mode='loss') for m in (model, base))
    for key, value in base_losses.items():
        torch.testing.assert_close(losses[key], value)
    frame = slice(None) if kind == 'mixste' else slice(4, 5)
    outputs = model(inputs, None, mode='tensor')
    poses = outputs if kind == 'mixste' else outputs[1][:, None]
    torch.testing.assert_close(losses['loss_symmetry'], 0.01 * symmetry_penalty(poses))
    refined = model.refine(poses, inputs, single, training=True)
    error = (refined - labels.lifting_target_label[:, frame]).norm(dim=-1)
    expected = error.mean() if not mask else error[labels.lifting_target_weight == 1].mean()
    torch.testing.assert_close(losses['loss_refined'], expected)


@KINDS
@DEPTHS
def test_every_parameter_gets_a_gradient(kind, root_depth):
    model = build(kind, root_depth=root_depth).train()
    inputs, _, single = batch(kind, training=True)
    total, _ = model.parse_losses(model(inputs, single, mode='loss'))
    total.backward()
    names = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert names == []


def test_refined_pose_trains_the_base_network():
    model = build(root_depth='ground_truth').train()
    inputs, _, single = batch('mixste', training=True)
    model(inputs, single, mode='loss')['loss_refined'].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@KINDS
def test_training_reduces_the_loss(kind):
    model = build(kind, root_depth='estimated').train()
    inputs, _, single = batch(kind, training=True)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    refined = []
    for _ in range(60):
        losses = model(inputs, single, mode='loss')
        optimizer.zero_grad()
        model.parse_losses(losses)[0].backward()
        optimizer.step()
        refined.append(losses['loss_refined'].item())
    assert np.mean(refined[-5:]) < 0.6 * np.mean(refined[:5])


def test_no_centre_key_frame_leaves_the_base_pose():
    model = build('uplift').train()
    inputs, _, single = batch('uplift', training=True)
    inputs[:, 4] = 0
    outputs = model(inputs, None, mode='tensor')[1][:, None].clone()
    outputs[..., 0, :] = 0
    refined = model.refine(outputs, inputs, single, training=True)
    torch.testing.assert_close(refined, outputs)
    model.parse_losses(model(inputs, single, mode='loss'))[0].backward()
    # zero, but there: distributed training waits for a gradient of every parameter
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@KINDS
@DEPTHS
def test_mirrored_windows_give_mirrored_predictions(kind, root_depth):
    """With the flip test and equal scores for all joints (the scores alone know left and right)."""
    model = build(kind, root_depth=root_depth, test_cfg=dict(flip_test=True)).eval()
    constant_scores(model.refiner, 0.3)
    inputs, _, single = batch(kind, training=False)
    mirrored = copy.deepcopy(single)
    cam = mirrored[0].metainfo['camera_param']
    cam['c'] = np.stack([WIDTH - cam['c'][:, 0], cam['c'][:, 1]], -1)
    mirrored[0].set_metainfo(dict(camera_param=cam))
    first = torch.from_numpy(keypoints(model(inputs, single, mode='predict')))
    second = torch.from_numpy(keypoints(
        model(mirror_poses(inputs, FLIP), mirrored, mode='predict')))
    torch.testing.assert_close(mirror_poses(second, FLIP), first, atol=1e-5, rtol=1e-5)


def test_one_target_frame_and_output_indices():
    model = build(root_depth='ground_truth').eval()
    inputs, _, whole = batch('mixste', training=False)
    full = keypoints(model(inputs, whole, mode='predict'))
    _, listed, single = batch('mixste', training=False, targets=1)
    for form in (listed, single):
        np.testing.assert_allclose(keypoints(model(inputs, form, mode='predict')), full[:, 2:3],
                                   atol=1e-6)
    model.test_cfg['output_keypoint_indices'] = [0, 16]
    np.testing.assert_array_equal(keypoints(model(inputs, whole, mode='predict')),
                                  full[..., [0, 16], :])


def test_without_targets_only_the_camera_is_needed():
    """Inference; MMPose's camera files have columns (2, 1)."""
    model = build().eval()
    inputs, listed, _ = batch('mixste', training=False)
    expected = keypoints(model(inputs, listed, mode='predict'))
    column = {k: v[:, None] if v.shape else v for k, v in camera().items()}
    bare = [PoseDataSample(metainfo=dict(camera_param=column)) for _ in range(3)]
    np.testing.assert_array_equal(keypoints(model(inputs, bare, mode='predict')), expected)


def test_stage_two_starts_from_a_base_checkpoint(tmp_path):
    base, model = build(estimator='SequencePoseLifter'), build()
    for p in base.parameters():
        torch.nn.init.normal_(p)
    before = copy.deepcopy(model.refiner.state_dict())
    save_checkpoint(dict(state_dict=base.state_dict()), str(tmp_path / 'base.pth'))
    load_checkpoint(model, str(tmp_path / 'base.pth'), strict=False)  # what load_from does
    state = model.state_dict()
    for key, value in base.state_dict().items():
        assert torch.equal(state.pop(key), value)
    assert sorted(state) == [f'refiner.{k}' for k in sorted(before)]
    assert all(torch.equal(state[f'refiner.{k}'], v) for k, v in before.items())


def test_reduced_precision():
    inputs, _, single = batch('mixste', training=True)
    with torch.autocast('cpu', torch.bfloat16):
        losses = build().train()(inputs, single, mode='loss')
    assert losses['loss_refined'].dtype == torch.float32
    model = build().eval().bfloat16()
    assert keypoints(model(inputs, single, mode='predict')).dtype == np.float32


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('batched', [True, False])
@KINDS
def test_data_sets_give_what_refinement_needs(kind, batched, training):
    """True poses on the rays of their own image: what is left is the lens, a few mm."""
    common = dict(stores=dict(num_clips=2, num_frames=30), flip='copies', batched=batched)
    codec, options = dict(type='PoseSequenceLabel'), dict(type='PoseSequenceDataset', seq_len=5)
    if kind == 'uplift':
        codec = dict(type='KeyFrameSequenceLabel')
        options = dict(type='KeyFrameSequenceDataset', seq_len=9, seq_step=2, input_strides=2,
                       masks='random' if training else 'clip')
    init_default_scope('mmpose')
    dataset = DATASETS.build(dict(**options, **common, pipeline=[
        dict(type='mmpose.GenerateTarget', encoder=codec),
        dict(type='mmpose.PackPoseInputs', meta_keys=('camera_param', 'flip_indices'))]))
    numbers = [0, 1, len(dataset) // 2, len(dataset) - 1]  # the last two are mirrored
    items = dataset.__getitems__(numbers) if batched else [dataset[i] for i in numbers]
    model = build(kind, root_depth='ground_truth').eval()
    constant_scores(model.refiner, -50.0)
    data = model.data_preprocessor(pseudo_collate(items), training)
    labels = stack_labels(data['data_samples'], 'lifting_target_label')
    target = model.head.reported_targets(labels, training)
    refined = model.refine(target, data['inputs'], data['data_samples'], training)
    assert refined.shape[:2] == (4, 5 if kind == 'mixste' else 1)
    assert 0 < (refined - target).norm(dim=-1).max() < 0.03
    model.root_depth = 'estimated'
    refined = model.refine(target, data['inputs'], data['data_samples'], training)
    assert 0 < (refined - target).norm(dim=-1).max() < 0.03


def test_errors():
    inputs, listed, single = batch('mixste', training=True)
    model = build(root_depth='ground_truth').eval()
    with pytest.raises(ValueError, match='camera_param .*has no w, h, f, c'):
        model(inputs, None, mode='predict')
    listed[1].set_metainfo(dict(camera_param=camera(keys='wh')))
    with pytest.raises(ValueError, match=r'has no f, c\. .*meta_keys'):
        model(inputs, listed, mode='loss')
    single[0].set_metainfo(dict(camera_param=camera(2)))
    with pytest.raises(ValueError, match=r'1 value\(s\) of w for each of the 3 windows'):
        model(inputs, single, mode='loss')
    without = [sample(torch.zeros(3, 5, 17, 3), count=3)]
    with pytest.raises(ValueError, match='no gt_instances.target_root'):
        model(inputs, without, mode='predict')
    short = [sample(torch.zeros(3, 5, 17, 3), torch.zeros(3, 4, 3), count=3)]
    with pytest.raises(ValueError, match=r'target_root: expected \(3, 5, 3\).*found \(3, 4, 3\)'):
        model(inputs, short, mode='predict')
    with pytest.raises(ValueError, match='no gt_instance_labels.lifting_target_label'):
        model(inputs, [PoseDataSample() for _ in range(3)], mode='loss')
    with pytest.raises(ValueError, match="root_depth: expected one of .* found 'guess'"):
        build(root_depth='guess')
    with pytest.raises(ValueError, match="head has 17 joints, skeleton 'h36m_16' 16"):
        build(skeleton='h36m_16')
    with pytest.raises(ValueError, match='head that reports poses .* found TemporalRegressionHead'):
        MODELS.build(dict(
            type='RefinedPoseLifter', backbone=dict(type='MixSTE', num_frames=5, embed_dims=16),
            head=dict(type='TemporalRegressionHead', in_channels=16, num_joints=17,
                      loss=dict(type='MSELoss'))))
