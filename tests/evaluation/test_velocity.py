"""Root-relative velocity and errors by velocity, by hand."""

import numpy as np
import pytest

from mmpose_lift.evaluation.velocity import root_relative_velocity, velocity_bins


def test_velocity_by_hand():
    poses = np.zeros((4, 3, 3))
    poses[:, 0] = np.array([[0, 0, 5], [1, 0, 5], [1, 0, 5], [9, 9, 9]])  # moves as it likes
    poses[:, 1:] = poses[:, :1]
    poses[1:, 1] += [0.03, 0, 0]
    poses[2:, 2] += [0, 0.03, 0.04]
    np.testing.assert_allclose(root_relative_velocity(poses, fps=50),
                               [np.nan, 0.03 / 3 * 50, 0.05 / 3 * 50, 0], atol=1e-12)
    np.testing.assert_allclose(root_relative_velocity(poses, fps=25)[1], 0.25)
    # With joint 1 as root the others move against it.
    np.testing.assert_allclose(root_relative_velocity(poses, 50, root_index=1)[1], 0.02 * 50)


def test_rotation_and_translation_do_not_matter(rng):
    poses = rng.normal(size=(9, 17, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = poses @ turn + rng.normal(size=(9, 1, 3))
    np.testing.assert_allclose(root_relative_velocity(moved, 50)[1:],
                               root_relative_velocity(poses, 50)[1:])
    assert np.isnan(root_relative_velocity(poses[:1], 50)).tolist() == [True]


def test_bins_by_hand():
    velocity = np.array([0.12, 0.19, 0.2, 0.3, 0.3, 0.45, np.nan, 0.6, 0.15])
    errors = np.array([10, 20, 30, 40, 60, 70, 1e9, 90, np.nan])
    bins = velocity_bins(velocity, errors)
    np.testing.assert_array_equal(bins.edges, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    np.testing.assert_array_equal(bins.count, [2, 1, 2, 1, 0, 1])
    np.testing.assert_allclose(bins.error, [15, 30, 50, 70, np.nan, 90])
    np.testing.assert_allclose(bins.cdf, np.array([2, 3, 5, 6, 6, 7]) / 7)
    wide = velocity_bins(velocity, errors, width=1.)
    assert wide.edges.tolist() == [0, 1] and wide.error == pytest.approx([320 / 7])


def test_every_frame_is_in_one_bin(rng):
    velocity = np.concatenate([[0, 1.5], np.round(rng.gamma(2, 0.2, 500), 1)])  # many on edges
    errors = rng.random(len(velocity))
    for width in (0.1, 0.07, 0.3):
        bins = velocity_bins(velocity, errors, width)
        assert bins.count.sum() == len(velocity) and bins.cdf[-1] == 1
        assert bins.count[0] and bins.count[-1]  # the observed range, no more
        assert np.nansum(bins.error * bins.count) == pytest.approx(errors.sum())
        np.testing.assert_allclose(np.diff(bins.edges), width, rtol=1e-9)


def test_errors():
    poses = np.zeros((4, 3, 3))
    with pytest.raises(ValueError, match=r'clip \(F, K, 3\) of at least 1 frame, found \(0, 3, 3'):
        root_relative_velocity(poses[:0], 50)
    with pytest.raises(ValueError, match='root_index 3 is not among the 3 joints'):
        root_relative_velocity(poses, 50, 3)
    with pytest.raises(ValueError, match='fps: expected a positive'):
        root_relative_velocity(poses, 0)
    with pytest.raises(ValueError, match=r'found \(3,\) and \(2,\)'):
        velocity_bins(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match='width: expected a positive'):
        velocity_bins(np.ones(3), np.ones(3), 0)
    with pytest.raises(ValueError, match='none of the 2 frames has both'):
        velocity_bins(np.array([np.nan, 1]), np.array([1, np.nan]))
