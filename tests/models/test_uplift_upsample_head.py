"""Head and loss of Uplift and Upsample, alone and in the estimator."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.geometry import get_skeleton
from mmpose_lift.models import UpliftUpsampleHead, UpliftUpsampleLoss, mirror_poses

FLIP = list(get_skeleton('h36m').flip_indices)


def build(head=None, temporal_depth=2, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='SequencePoseLifter',
        backbone=dict(type='UpliftUpsampleTransformer', num_tokens=9, spatial_dims=16,
                      temporal_dims=32, spatial_depth=1, temporal_depth=temporal_depth,
                      strides=(3, 3), paddings=None, num_heads=4, drop_path_rate=0.0),
        head=dict(type='UpliftUpsampleHead', in_channels=32, num_keypoints=17, **(head or {})),
        **kwargs))


def windows(batch=3) -> torch.Tensor:
    x = torch.randn(batch, 9, 17, 3)
    x[..., 2] = (torch.arange(9) % 2 == 0).float()[:, None]
    return x


def sample(target: torch.Tensor, weight=None) -> PoseDataSample:
    data_sample = PoseDataSample(metainfo=dict(flip_indices=FLIP))
    labels = InstanceData(lifting_target_label=target)
    if weight is not None:
        labels.lifting_target_weight = weight
    data_sample.gt_instance_labels = labels
    return data_sample


def both_forms(target, weight=None):
    """A batch as a list of samples, and as one sample that holds all."""
    weights = [None] * len(target) if weight is None else weight
    return [sample(t, w) for t, w in zip(target, weights)], [sample(target, weight)]


@pytest.fixture
def reference(shared_dir):
    """The published numbers; the target is moved to its root, as the data set does here."""
    with np.load(shared_dir / 'reference' / 'uplift_upsample' / 'losses.npz') as archive:
        arrays = {key: torch.from_numpy(archive[key]) for key in archive}
    target = arrays['gt_keypoints3d']
    root = int(arrays['root_index'])
    return arrays, target - target[:, :, root:root + 1]


def test_loss_equals_published_code(reference):
    arrays, target = reference
    losses = UpliftUpsampleLoss(float(arrays['loss_weight_center']),
                                float(arrays['loss_weight_sequence']))(
        arrays['pred_full'], arrays['pred_central'], target)
    torch.testing.assert_close(losses['loss_center'] + losses['loss_sequence'],
                               arrays['train_loss'], rtol=1e-6, atol=0)
    torch.testing.assert_close(losses['mpjpe'], arrays['central_loss'], rtol=1e-6, atol=0)
    plain = UpliftUpsampleLoss(1.0, 1.0)(arrays['pred_full'], arrays['pred_central'], target)
    for ours, theirs in [('loss_center', 'central_loss'), ('loss_sequence', 'sequence_loss')]:
        torch.testing.assert_close(plain[ours], arrays[theirs], rtol=1e-6, atol=0)
    torch.testing.assert_close(plain['loss_center'] + plain['loss_sequence'], arrays['val_loss'],
                               rtol=1e-6, atol=0)


def test_default_factors_are_the_published_ones(reference):
    arrays, _ = reference
    loss = UpliftUpsampleLoss()
    assert loss.center_weight == arrays['loss_weight_center']
    assert loss.sequence_weight == arrays['loss_weight_sequence']


def test_loss_by_loops_and_mask():
    sequence, target = torch.randn(2, 5, 17, 3), torch.randn(2, 5, 17, 3)
    center, mask = torch.randn(2, 17, 3), (torch.rand(2, 5, 17) > 0.3).float()
    losses = UpliftUpsampleLoss(0.3, 0.7)(sequence, center, target, mask)
    total = middle = 0.0
    for b in range(2):
        for j in range(17):
            middle += mask[b, 2, j] * (center[b, j] - target[b, 2, j]).norm()
            for t in range(5):
                total += mask[b, t, j] * (sequence[b, t, j] - target[b, t, j]).norm()
    torch.testing.assert_close(losses['loss_center'], 0.3 * middle / mask[:, 2].sum())
    torch.testing.assert_close(losses['loss_sequence'], 0.7 * total / mask.sum())
    torch.testing.assert_close(losses['mpjpe'], middle / mask[:, 2].sum())
    ones = torch.ones(2, 5, 17)
    loss = UpliftUpsampleLoss()
    for key, value in loss(sequence, center, target, ones).items():
        torch.testing.assert_close(value, loss(sequence, center, target)[key])
    assert not any(loss(sequence, center, target, 0 * ones).values())


def test_loss_of_the_centre_alone():
    center, target = torch.randn(2, 17, 3), torch.randn(2, 5, 17, 3)
    whole, one = (UpliftUpsampleLoss()(None, center, t) for t in (target, target[:, 2:3]))
    assert whole.keys() == one.keys() == {'loss_center', 'mpjpe'}
    assert whole == one


def test_loss_gradient():
    target = torch.randn(2, 3, 4, 3, dtype=torch.double)
    loss = UpliftUpsampleLoss(0.3, 0.7)

    def total(sequence, center):
        losses = loss(sequence, center, target)
        return losses['loss_center'] + losses['loss_sequence']

    inputs = [torch.randn(*shape, dtype=torch.double, requires_grad=True)
              for shape in ((2, 3, 4, 3), (2, 4, 3))]
    assert torch.autograd.gradcheck(total, inputs)
    perfect = target.clone().requires_grad_()
    total(perfect, perfect[:, 1]).backward()
    assert perfect.grad.isfinite().all()


def test_loss_errors_name_shapes():
    loss, center, target = UpliftUpsampleLoss(), torch.zeros(2, 17, 3), torch.zeros(2, 5, 17, 3)
    with pytest.raises(ValueError, match=r'centre prediction \(2, 17, 3\), found \(2, 5, 16, 3\)'):
        loss(None, center, target[:, :, 1:])
    with pytest.raises(ValueError, match=r'\(2, 4, 17, 3\) and target \(2, 5, 17, 3\) differ'):
        loss(target[:, 1:], center, target)
    with pytest.raises(ValueError, match=r'mask \(2, 5, 17\), found \(2, 17\)'):
        loss(target, center, target, target[:, 0, :, 0])


def test_head_is_two_linear_layers():
    head = UpliftUpsampleHead(32, 17)
    assert {n: tuple(p.shape) for n, p in head.named_parameters()} == {
        'center_head.weight': (51, 32), 'center_head.bias': (51, ),
        'sequence_head.weight': (51, 32), 'sequence_head.bias': (51, )}
    tokens, center = torch.randn(2, 9, 32), torch.randn(2, 32)
    sequence, pose = head((tokens, center))
    expected = tokens[1, 4] @ head.sequence_head.weight.T
    torch.testing.assert_close(sequence[1, 4, 2], expected[6:9])  # joint-major, bias 0
    torch.testing.assert_close(pose[1, 2], (center[1] @ head.center_head.weight.T)[6:9])
    bound = (6 / (32 + 51)) ** 0.5
    assert 0.95 * bound < head.center_head.weight.abs().max() <= bound


def test_batch_norm_averages_over_windows_and_frames():
    head = UpliftUpsampleHead(32, 17, batch_norm=True).train()
    tokens, center = 3 + 2 * torch.randn(4, 9, 32), 5 + torch.randn(4, 32)
    sequence, pose = head((tokens, center))
    for x, layer, out in ((tokens, head.sequence_head, sequence), (center, head.center_head, pose)):
        flat = x.flatten(0, -2)
        normed = (x - flat.mean(0)) / (flat.var(0, unbiased=False) + 1e-3).sqrt()
        torch.testing.assert_close(out.flatten(-2), layer(normed), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head.sequence_norm.running_mean, 0.01 * tokens.mean((0, 1)))
    before = head.center_norm.running_mean.clone()
    head.eval()((tokens, center))
    assert torch.equal(before, head.center_norm.running_mean)


@pytest.mark.parametrize('head', [dict(), dict(batch_norm=True), dict(with_sequence=False)])
def test_train_step_gives_every_parameter_a_gradient(head):
    model = build(head).train()
    assert all(name.startswith(('backbone.', 'head.')) for name in model.state_dict())
    total, log = model.parse_losses(
        model(windows(), [sample(torch.randn(3, 9, 17, 3))], mode='loss'))
    total.backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    terms = [log[k] for k in ('loss_center', 'loss_sequence') if k in log]
    assert len(terms) == 1 + head.get('with_sequence', True)
    torch.testing.assert_close(total.detach(), sum(terms).detach())
    torch.testing.assert_close(log['mpjpe'], log['loss_center'].detach() / 0.5)


def test_without_temporal_part_only_the_centre_is_trained():
    model = build(dict(with_sequence=False), temporal_depth=0).train()
    sequence, center = model(windows(), None, mode='tensor')
    assert sequence is None and center.shape == (3, 17, 3)
    losses = model(windows(), [sample(torch.randn(3, 9, 17, 3))], mode='loss')
    assert losses.keys() == {'loss_center', 'mpjpe'}
    with pytest.raises(ValueError, match='temporal_depth=0.*with_sequence=False'):
        build(temporal_depth=0)(windows(), None, mode='tensor')


@pytest.mark.parametrize('mask', [False, True])
def test_batch_forms_give_equal_losses(mask):
    model = build().train()
    inputs, target = windows(), torch.randn(3, 9, 17, 3)
    weight = (torch.rand(3, 9, 17) > 0.2).float() if mask else None
    listed, single = (model(inputs, form, mode='loss') for form in both_forms(target, weight))
    assert listed.keys() == single.keys() == {'loss_center', 'loss_sequence', 'mpjpe'}
    for key in listed:
        torch.testing.assert_close(listed[key], single[key])
    sequence, center = model(inputs, None, mode='tensor')
    for key, value in UpliftUpsampleLoss()(sequence, center, target, weight).items():
        torch.testing.assert_close(single[key], value)


def test_results_are_the_centre_whatever_the_target():
    """Test targets hold the frames up to the next evaluated one, also as many as the window has."""
    model, inputs = build().eval(), windows()
    sequence, center = model(inputs, None, mode='tensor')
    assert sequence.shape == (3, 9, 17, 3) and center.shape == (3, 17, 3)
    expected = center[:, None].detach().numpy()
    for frames in (1, 5, 9):
        listed, single = both_forms(torch.zeros(3, frames, 17, 3))
        for found in ([s.pred_instances.keypoints for s in model(inputs, listed, mode='predict')],
                      model(inputs, single, mode='predict')[0].pred_instances.keypoints,
                      [s.pred_instances.keypoints for s in model(inputs, None, mode='predict')]):
            np.testing.assert_array_equal(found, expected)
    result, = model(inputs, single, mode='predict')
    assert result.pred_instances.keypoint_scores.shape == (3, 1, 17)


def test_flip_test_averages_the_centre():
    model, inputs = build(test_cfg=dict(flip_test=True)).eval(), windows()
    mirrored = mirror_poses(inputs, FLIP)
    assert torch.equal(mirrored[..., 2], inputs[..., 2])
    with torch.no_grad():
        plain, other = (model(x, None, mode='tensor')[1] for x in (inputs, mirrored))
        results = model(inputs, None, mode='predict')
        again = model(mirrored, None, mode='predict')
    found = np.concatenate([r.pred_instances.keypoints for r in results])
    expected = (plain + mirror_poses(other, FLIP)) / 2
    np.testing.assert_allclose(found, expected, atol=1e-6)
    back = np.concatenate([r.pred_instances.keypoints for r in again])
    np.testing.assert_allclose(mirror_poses(torch.from_numpy(back), FLIP), found, atol=1e-5)


def test_frames_that_belong_to_the_reported_pose():
    head, inputs = build().head, windows()
    inputs[1, 4, :, 2] = 0
    keypoints, seen = head.reported_keypoints(inputs, 5)
    assert torch.equal(keypoints, inputs[:, 4:5, :, :2])
    assert seen.tolist() == [[True], [False], [True]]
    labels = torch.randn(3, 9, 17, 3)
    assert torch.equal(head.reported_targets(labels, training=True), labels[:, 4:5])
    assert torch.equal(head.reported_targets(labels, training=False), labels[:, :1])


def test_decoder_and_output_indices():
    decoder = dict(type='PoseSequenceLabel', num_keypoints=17)
    model = build(dict(decoder=decoder), test_cfg=dict(output_keypoint_indices=[0, 16])).eval()
    inputs = windows()
    expected = model(inputs, None, mode='tensor')[1].detach().numpy()[:, None, [0, 16]]
    for form in both_forms(torch.zeros(3, 5, 17, 3)):
        found = model(inputs, form, mode='predict')
        found = np.concatenate([s.pred_instances.keypoints.reshape(-1, 1, 2, 3) for s in found])
        np.testing.assert_array_equal(found, expected)


def test_autocast_loss_is_float32():
    model = build().train()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(windows(), [sample(torch.randn(3, 9, 17, 3))], mode='loss')
    assert {value.dtype for value in losses.values()} == {torch.float32}


def test_save_and_load(tmp_path):
    model, inputs = build().eval(), windows()
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    other = build().eval()
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True))
    for a, b in zip(model(inputs, None, mode='tensor'), other(inputs, None, mode='tensor')):
        assert torch.equal(a, b)


def test_errors():
    model = build()
    with pytest.raises(ValueError, match='no gt_instance_labels.lifting_target_label'):
        model(windows(1), [PoseDataSample()], mode='loss')
    with pytest.raises(ValueError, match=r'\(1, 9, 17, 3\) and target \(1, 5, 17, 3\) differ'):
        model(windows(1), [sample(torch.zeros(1, 5, 17, 3))], mode='loss')
    with pytest.raises(ValueError, match=r'\(B, D\) with D=8, found \(1, 32\)'):
        UpliftUpsampleHead(8, 17)((torch.zeros(1, 9, 32), torch.zeros(1, 32)))
    with pytest.raises(ValueError, match=r'\(B, L, D\) with D=32, found \(1, 32\)'):
        UpliftUpsampleHead(32, 17)((torch.zeros(1, 32), torch.zeros(1, 32)))
