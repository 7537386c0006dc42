"""Metrics by hand, by invariance, and against the authors' numbers."""

import numpy as np
import pytest
import torch
from mmpose.evaluation.functional import keypoint_mpjpe

from mmpose_lift.evaluation import functional as F


def pair(rng, shape=(6, 17), noise=0.1):
    gt = rng.normal(size=(*shape, 3))
    return gt + rng.normal(size=gt.shape) * noise, gt


@pytest.mark.parametrize('case', ['a', 'mirrored'])
def test_parity_with_mixste(shared_dir, case):
    data = np.load(shared_dir / 'reference/mixste/metrics.npz')
    pred, gt = data[f'{case}/pred'], data[f'{case}/gt']
    flat = [x.reshape(-1, *x.shape[-2:]) for x in (pred, gt)]
    for value, key in [(F.mpjpe(pred, gt), 'mpjpe'), (F.n_mpjpe(pred, gt), 'n_mpjpe'),
                       (F.p_mpjpe(pred, gt), 'p_mpjpe'),
                       (F.mpjve(pred, gt), 'mean_velocity_error_train'),
                       (F.mpjve(*flat), 'mean_velocity_error_flat'),
                       (F.joint_errors(*flat).mean(0) * 1000, 'joints_err_x1000')]:
        np.testing.assert_allclose(value, data[f'{case}/{key}'], rtol=1e-6, err_msg=key)


@pytest.mark.parametrize('case', ['all_valid', 'some_invalid', 'mirrored'])
@pytest.mark.parametrize('cast', [np.asarray, torch.from_numpy])
def test_parity_with_uplift_upsample(shared_dir, case, cast):
    data = np.load(shared_dir / 'reference/uplift_upsample/metrics.npz')
    pred, gt = cast(data[f'{case}/pred']), cast(data[f'{case}/gt'][..., :3])
    valid = data[f'{case}/gt'][..., 3]
    mask, root = cast(valid), int(data[f'{case}/root_index'])
    for value, per_joint, key in [
            (F.mpjpe(pred, gt, mask, root), F.joint_errors(pred, gt, mask, root), 'mpjpe'),
            (F.n_mpjpe(pred, gt, mask, root), F.n_joint_errors(pred, gt, mask, root),
             'nmpjpe_root'),
            (F.n_mpjpe(pred, gt, mask, center='mean'),
             F.n_joint_errors(pred, gt, mask, center='mean'), 'nmpjpe_mean'),
            (F.p_mpjpe(pred, gt, mask), F.p_joint_errors(pred, gt, mask), 'pmpjpe')]:
        np.testing.assert_allclose(value, data[f'{case}/{key}'], rtol=1e-6, err_msg=key)
        # Single values of the reference are float32 all the way through.
        np.testing.assert_allclose(np.where(valid > 0, per_joint, -1),
                                   data[f'{case}/{key}_per_joint'], rtol=1e-5, atol=1e-7,
                                   err_msg=key)


@pytest.mark.parametrize('name, alignment', [('mpjpe', 'none'), ('n_mpjpe', 'scale'),
                                             ('p_mpjpe', 'procrustes')])
def test_same_as_mmpose(rng, name, alignment):
    pred, gt = pair(rng, (40, 17))
    mask = rng.random((40, 17)) < 0.8
    if name == 'n_mpjpe':  # MMPose's scale ignores the mask
        mask[:] = True
    np.testing.assert_allclose(getattr(F, name)(pred, gt, mask),
                               keypoint_mpjpe(pred, gt, mask, alignment), rtol=1e-9)


def test_hand_made():
    gt = np.zeros((2, 3, 3))
    gt[:, 1, 0], gt[:, 2, 1] = 1, 2
    pred = gt.copy()
    pred[0, 1] += [3, 4, 0]  # off by 5
    pred[1] += [0, 0, 2]  # everything off by 2
    assert F.mpjpe(pred, gt) == pytest.approx((5 + 6) / 6)
    np.testing.assert_allclose(F.mpjpe(pred, gt, reduction='none'), [5 / 3, 2])
    np.testing.assert_allclose(F.mpjpe(pred, gt, root_index=0, reduction='none'), [5 / 3, 0])
    np.testing.assert_allclose(F.mpjpe(pred, gt, root_index=-3, reduction='none'), [5 / 3, 0])
    mask = np.array([[1, 0, 1], [1, 0, 0]])
    assert F.mpjpe(pred, gt, mask) == pytest.approx(2 / 3)
    np.testing.assert_allclose(F.mpjpe(pred, gt, mask, reduction='none'), [0, 2])
    np.testing.assert_allclose(F.mpjpe(pred, gt, mask * [[1], [0]], reduction='none'), [0, np.nan])
    assert F.mpvpe(pred, gt) == F.mpjpe(pred, gt)
    assert F.mpjve(pred, gt) == pytest.approx(np.linalg.norm(
        (pred[1] - pred[0]) - (gt[1] - gt[0]), axis=-1).mean())
    np.testing.assert_allclose(F.mpjve(pred, gt, mask, reduction='none'), [2.0])
    scale = (gt[0] * pred[0]).sum() / (pred[0] ** 2).sum()
    np.testing.assert_allclose(F.n_mpjpe(pred, gt, reduction='none')[0],
                               np.linalg.norm(scale * pred[0] - gt[0], axis=-1).mean())


@pytest.mark.parametrize('name', ['mpjpe', 'p_mpjpe', 'n_mpjpe', 'pck', 'auc', 'mpvpe'])
def test_called_alike(rng, name):
    """(pred, gt, mask, root_index, ...) in this order, with reduction by name."""
    metric = getattr(F, name)
    pred, gt = pair(rng)
    mask = np.ones((6, 17))
    mask[2, 5:] = 0
    moved = [x - x[:, 3:4] for x in (pred, gt)]
    for reduction in ('mean', 'none'):
        found = metric(pred, gt, mask, 3, reduction=reduction)
        np.testing.assert_allclose(found, metric(*moved, mask, reduction=reduction), rtol=1e-9)
    with pytest.raises(ValueError, match='root_index 17 is not among the 17 joints'):
        metric(pred, gt, mask, 17)


@pytest.mark.parametrize('name', ['mpjpe', 'p_mpjpe', 'n_mpjpe', 'mpjve', 'pck', 'auc', 'mpvpe',
                                  'joint_errors', 'p_joint_errors', 'n_joint_errors',
                                  'velocity_errors'])
def test_plain_lists(rng, name):
    metric = getattr(F, name)
    pred, gt = pair(rng)
    mask = (rng.random((6, 17)) < 0.8).astype(int)
    found = metric(pred.tolist(), gt.tolist(), mask.tolist())
    np.testing.assert_array_equal(found, metric(pred, gt, mask))
    assert not isinstance(found, torch.Tensor)
    tensor = metric(torch.from_numpy(pred), gt.tolist(), mask.tolist())
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor, found, rtol=1e-12)
    with pytest.raises(ValueError, match='gt is no regular array'):
        metric(pred, [[[0, 0, 0]], [[0, 0, 0], [0, 0, 0]]])
    with pytest.raises(ValueError, match='pred must hold numbers, found <U1'):
        metric('x', gt)


def test_pck_and_auc_thresholds_are_strict():
    error = np.array([0.0, 0.149, 0.15, 0.2, 0.0049])
    gt = np.zeros((1, 5, 3))
    pred = gt.copy()
    pred[0, :, 2] = error
    assert F.pck(pred, gt) == pytest.approx(60)
    assert F.pck(pred, gt, threshold=0.16) == pytest.approx(80)
    steps = np.arange(31) * 0.005
    expected = np.mean([(error < t).mean() for t in steps]) * 100
    assert F.auc(pred, gt) == pytest.approx(expected)
    assert F.auc(gt, gt) == pytest.approx(100 * 30 / 31)  # nothing is below the threshold 0
    assert F.pck(pred, gt, mask=np.array([[1, 1, 0, 0, 0]])) == pytest.approx(100)


def test_invariances(rng):
    pred, gt = pair(rng)
    from scipy.spatial.transform import Rotation
    moved = pred @ Rotation.random(random_state=3).as_matrix() * 1.7 + 4
    np.testing.assert_allclose(F.p_mpjpe(moved, gt), F.p_mpjpe(pred, gt), rtol=1e-9)
    np.testing.assert_allclose(F.n_mpjpe(pred * 3, gt), F.n_mpjpe(pred, gt), rtol=1e-9)
    np.testing.assert_allclose(F.n_mpjpe(pred * 3 + 1, gt - 2, center='mean'),
                               F.n_mpjpe(pred, gt, center='mean'), rtol=1e-9)
    np.testing.assert_allclose(F.mpjpe(pred + 1, gt, root_index=0),
                               F.mpjpe(pred, gt, root_index=0), rtol=1e-9)
    np.testing.assert_allclose(F.mpjve(pred + 1, gt), F.mpjve(pred, gt), rtol=1e-9)
    # Least squares: each alignment can only help, in the sum of squares.
    square = [(e ** 2).sum() for e in (F.joint_errors(pred, gt), F.n_joint_errors(pred, gt),
                                       F.p_joint_errors(pred, gt))]
    assert square[0] >= square[1] >= square[2]


@pytest.mark.parametrize('name', ['mpjpe', 'p_mpjpe', 'n_mpjpe', 'mpjve', 'pck', 'auc', 'mpvpe'])
def test_types_and_leading_dims(rng, name):
    metric = getattr(F, name)
    pred, gt = (x.astype(np.float32) for x in pair(rng, (2, 3, 5, 17)))
    value = metric(pred, gt)
    assert isinstance(value, np.float32) and np.isfinite(value)
    per_pose = metric(pred, gt, reduction='none')
    assert per_pose.shape == ((2, 3, 4) if name == 'mpjve' else (2, 3, 5))
    assert per_pose.dtype == np.float32
    np.testing.assert_allclose(per_pose.mean(), value, rtol=1e-6)
    tensor = metric(torch.from_numpy(pred), torch.from_numpy(gt))
    assert tensor.shape == () and tensor.dtype == torch.float32
    np.testing.assert_allclose(tensor, value, rtol=1e-6)
    ones = np.ones(pred.shape[:-1])
    np.testing.assert_allclose(metric(pred, gt, mask=ones), value, rtol=1e-6)
    np.testing.assert_allclose(metric(pred, gt, mask=ones, reduction='none'), per_pose, rtol=1e-6)


def test_align_valid_only(rng):
    pred, gt = pair(rng)
    mask = np.ones((6, 17))
    mask[:, 10:] = 0
    pred[:, 10:] = np.nan  # unknown joints need no value then
    np.testing.assert_allclose(F.p_mpjpe(pred, gt, mask, align_valid_only=True),
                               F.p_mpjpe(pred[:, :10], gt[:, :10]), rtol=1e-9)
    with pytest.raises(ValueError, match='pred has 126 values that are not finite'):
        F.p_mpjpe(pred, gt, mask)


def test_masked_values_do_not_matter_but_the_root_does(rng):
    pred, gt = pair(rng)
    mask = np.ones((6, 17))
    mask[0, 0] = mask[1, 5] = 0
    before = [F.mpjpe(pred, gt, mask, 0), F.n_mpjpe(pred, gt, mask, 0), F.pck(pred, gt, mask, 0)]
    gt[1, 5] = np.nan
    after = [F.mpjpe(pred, gt, mask, 0), F.n_mpjpe(pred, gt, mask, 0), F.pck(pred, gt, mask, 0)]
    np.testing.assert_array_equal(before, after)
    gt[0, 0] = np.nan  # masked, but everything is measured from it
    with pytest.raises(ValueError, match=r'gt has 3 values .* index \(0, 0, 0\)'):
        F.mpjpe(pred, gt, mask, 0)


@pytest.mark.parametrize('name', ['p_mpjpe', 'n_mpjpe'])
def test_degenerate_poses_are_finite(rng, name):
    metric = getattr(F, name)
    pose = rng.normal(size=(1, 17, 3))
    line = np.linspace(0, 1, 17)[None, :, None] * np.ones(3)
    for degenerate in (np.zeros_like(pose), np.ones_like(pose), line):
        for pred, gt in [(degenerate, pose), (pose, degenerate), (degenerate, degenerate)]:
            assert np.isfinite(metric(pred, gt))
    assert metric(line, line) == pytest.approx(0, abs=1e-9)


def test_mpjpe_has_a_gradient(rng):
    pred, gt = (torch.from_numpy(x) for x in pair(rng, (2, 4)))
    pred.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: F.mpjpe(x, gt, root_index=0), pred)


def test_errors():
    zeros = np.zeros((2, 17, 3))
    with pytest.raises(ValueError, match=r'\(2, 17, 3\) and \(2, 16, 3\)'):
        F.mpjpe(zeros, zeros[:, :16])
    with pytest.raises(ValueError, match=r'\(\.\.\., K, 3\)'):
        F.p_mpjpe(zeros[..., :2], zeros[..., :2])
    with pytest.raises(ValueError, match=r'mask must have shape \(2, 17\)'):
        F.mpjpe(zeros, zeros, np.ones(17))
    with pytest.raises(ValueError, match='no valid joint'):
        F.mpjpe(zeros, zeros, np.zeros((2, 17)))
    with pytest.raises(ValueError, match="reduction must be 'mean' or 'none', found 'sum'"):
        F.mpjpe(zeros, zeros, reduction='sum')
    with pytest.raises(ValueError, match='root_index 17'):
        F.mpjpe(zeros, zeros, root_index=17)
    with pytest.raises(ValueError, match='at least two frames'):
        F.mpjve(zeros[:1], zeros[:1])
    with pytest.raises(ValueError, match='center must be'):
        F.n_mpjpe(zeros, zeros, root_index=0, center='mean')
    bad = zeros.copy()
    bad[1, 4, 2] = np.inf
    with pytest.raises(ValueError, match=r'pred has 1 values .* \(1, 4, 2\)'):
        F.mpjpe(bad, zeros)
