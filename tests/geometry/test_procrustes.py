"""The closed-form alignment against a plain SVD, its invariances and its degenerate cases."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmpose_lift.geometry.procrustes import aligned_distances, similarity_align


def align_one(pred, gt):
    """One pose, textbook form."""
    p, g = pred - pred.mean(0), gt - gt.mean(0)
    u, s, vt = np.linalg.svd(g.T @ p)
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, 2] *= sign
    s[2] *= sign
    return s.sum() / (p * p).sum() * p @ (u @ vt).T + gt.mean(0)


def poses(rng, n, noise):
    gt = rng.normal(size=(n, 17, 3)) * [0.2, 0.5, 0.1] + [0, 0, 4]
    return gt * 1.2 + rng.normal(size=gt.shape) * noise - 1, gt


@pytest.mark.parametrize('noise', [1e-6, 0.05, 1.0])
def test_against_svd(rng, noise):
    pred, gt = poses(rng, 300, noise)
    pred[::3, :, 0] *= -1  # mirrored predictions
    expected = np.stack([align_one(p, g) for p, g in zip(pred, gt)])
    np.testing.assert_allclose(similarity_align(pred, gt), expected, atol=1e-10)  # 1e-7 mm
    np.testing.assert_allclose(aligned_distances(pred, gt),
                               np.linalg.norm(expected - gt, axis=-1), atol=1e-10)


def test_planar_poses(rng):
    """Rank 2 leaves one rotation; the third singular value is zero."""
    pred, gt = poses(rng, 50, 0.05)
    pred[..., 2] = gt[..., 2] = 0
    expected = np.stack([align_one(p, g) for p, g in zip(pred, gt)])
    np.testing.assert_allclose(similarity_align(pred, gt), expected, atol=1e-10)


def test_recovers_any_similarity_transform(rng):
    gt = poses(rng, 40, 0)[1]
    rotation = Rotation.random(40, random_state=0).as_matrix()
    pred = 0.3 * gt @ rotation + rng.normal(size=(40, 1, 3))
    np.testing.assert_allclose(similarity_align(pred, gt), gt, atol=1e-11)


def test_reflection_is_refused(rng):
    gt = poses(rng, 20, 0)[1]
    mirrored = gt * [-1, 1, 1]
    assert (aligned_distances(mirrored, gt).mean(-1) > 0.01).all()


def test_degenerate_poses_stay_finite(rng):
    gt = poses(rng, 6, 0)[1]
    pred = gt + rng.normal(size=gt.shape) * 0.01
    line = np.linspace(0, 1, 17)[:, None] * [1., 2., 3.]
    pred[0] = 0.7  # all joints equal
    gt[1] = 0.3
    pred[2] = line
    gt[3] = line[:, ::-1]
    pred[4] = gt[4] = line
    out = similarity_align(pred, gt)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[0], np.tile(gt[0].mean(0), (17, 1)), atol=1e-12)
    np.testing.assert_allclose(out[1], gt[1], atol=1e-12)
    np.testing.assert_allclose(out[4], gt[4], atol=1e-10)
    expected = np.linalg.norm(align_one(pred[2], gt[2]) - gt[2], axis=-1)
    # The rotation about the line is free, but the least squares value is not.
    np.testing.assert_allclose((aligned_distances(pred[2:3], gt[2:3]) ** 2).sum(),
                               (expected ** 2).sum(), rtol=1e-9)


def test_mask_takes_part_only_where_set(rng):
    pred, gt = poses(rng, 30, 0.05)
    mask = np.ones((30, 17), bool)
    mask[:, 12:] = False
    pred[:, 12:] += 5
    out = similarity_align(pred, gt, mask)
    expected = similarity_align(pred[:, :12], gt[:, :12])
    np.testing.assert_allclose(out[:, :12], expected, atol=1e-11)
    mask[0] = False
    np.testing.assert_array_equal(similarity_align(pred, gt, mask)[0], pred[0])


def test_shapes_types_and_more_poses_than_a_chunk(rng):
    pred, gt = poses(rng, 10000, 0.05)
    out = similarity_align(pred.reshape(100, 100, 17, 3), gt.reshape(100, 100, 17, 3))
    np.testing.assert_allclose(out.reshape(-1, 17, 3)[8190:8200],
                               similarity_align(pred[8190:8200], gt[8190:8200]), atol=1e-12)
    single = similarity_align(pred[0].astype(np.float32), gt[0].astype(np.float32))
    assert single.dtype == np.float32 and single.shape == (17, 3)
    tensor = similarity_align(torch.from_numpy(pred[:4]), torch.from_numpy(gt[:4]))
    assert isinstance(tensor, torch.Tensor)
    np.testing.assert_allclose(tensor.numpy(), out.reshape(-1, 17, 3)[:4], atol=1e-12)
    gt.flags.writeable = False  # as a memory-mapped file
    similarity_align(pred[::-1], gt)
    assert similarity_align(pred[:0], gt[:0]).shape == (0, 17, 3)


def test_rows_that_are_not_finite_do_not_spread(rng):
    pred, gt = poses(rng, 5, 0.05)
    pred[2, 3, 1] = np.nan
    out = similarity_align(pred, gt)
    assert np.isnan(out[2]).any() and np.isfinite(np.delete(out, 2, 0)).all()


def test_errors(rng):
    with pytest.raises(ValueError, match='same shape'):
        similarity_align(np.zeros((4, 17, 3)), np.zeros((4, 16, 3)))
    with pytest.raises(ValueError, match='mask must have shape'):
        similarity_align(np.zeros((4, 17, 3)), np.zeros((4, 17, 3)), np.ones(17))
