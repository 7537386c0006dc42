"""The detector-noise model: statistics, repeatability over windows, and batches."""

import numpy as np
import pytest
from mmpose.registry import TRANSFORMS

from mmpose_lift.datasets.detector_noise import (
    DetectorNoise,
    NoiseParameters,
    add_detector_noise,
    limb_pairs,
)
from mmpose_lift.geometry import get_skeleton

QUIET = dict(jitter=0.0, speed_gain=0.0, swap_rate=0.0, missing_rate=0.0, score_noise=0.0)
FRAMES = 4000


def still(frames=FRAMES, joints=17):
    return np.broadcast_to(
        np.linspace(100, 900, 2 * joints).reshape(joints, 2), (frames, joints, 2)
    ).astype(np.float32)


def noisy(rng, keypoints=None, depth=None, **params):
    keypoints = still() if keypoints is None else keypoints
    result, score = add_detector_noise(keypoints, depth, 'h36m', rng, **{**QUIET, **params})
    return result - keypoints, score


def test_nothing_switched_on_changes_nothing(rng):
    error, score = noisy(rng)
    assert (error == 0).all() and (score == 1).all()


def test_limbs_of_skeletons():
    names = get_skeleton('h36m').joint_names
    pairs = [
        [names[i] for i in left] + [names[i] for i in right] for left, right in limb_pairs('h36m')
    ]
    legs, arms = ['hip', 'knee', 'foot'], ['shoulder', 'elbow', 'wrist']
    assert sorted(pairs) == sorted(
        [side + '_' + joint for side in ('left', 'right') for joint in limb]
        for limb in (legs, arms)
    )
    for name in ('coco', 'mpi_inf_3dhp', 'humaneva'):
        left = sorted(i for pair in limb_pairs(name) for i in pair[0])
        assert left == sorted(get_skeleton(name).left_joints)
    shoulder, elbow = (
        get_skeleton('coco').index(f'left_{joint}') for joint in ('shoulder', 'elbow')
    )
    assert any(
        shoulder in left and elbow in left and len(left) == 3 for left, _ in limb_pairs('coco')
    )


def test_jitter_size_and_correlation(rng):
    error, _ = noisy(rng, jitter=3.0, limb_gain=0.0, correlation=0.8)
    assert error.std() == pytest.approx(3, rel=0.05) and abs(error.mean()) < 0.2
    first = error[:1].std()
    assert 2 < first < 4  # stationary from the first frame
    lag = (error[1:] * error[:-1]).mean() / (error**2).mean()
    assert lag == pytest.approx(0.8, abs=0.02)


def test_jitter_grows_with_speed_distance_and_along_limbs(rng):
    moving = still().copy()
    moving[:, 3, 0] += 20 * (np.arange(FRAMES) % 2)
    error, _ = noisy(rng, moving, speed_gain=0.1, limb_gain=0.0)
    assert error[:, 3].std() == pytest.approx(2, rel=0.1) and (error[:, 4] == 0).all()
    depth = np.full((FRAMES, 17), 3.0)
    depth[:, 1] = 6.0
    error, _ = noisy(rng, depth=depth, jitter=2.0, distance_gain=0.5, near=4.0, limb_gain=0.0)
    assert error[:, 0].std() == pytest.approx(2, rel=0.1)
    assert error[:, 1].std() == pytest.approx(4, rel=0.1)
    error, _ = noisy(rng, jitter=2.0, limb_gain=0.5)
    wrist, elbow = (get_skeleton('h36m').index(f'left_{name}') for name in ('wrist', 'elbow'))
    assert error[:, elbow].std() == pytest.approx(3, rel=0.1)
    assert error[:, wrist].std() == pytest.approx(4, rel=0.1)


def test_swaps_exchange_whole_limbs(rng):
    exact = still()
    flipped = exact[:, list(get_skeleton('h36m').flip_indices)]
    error, score = noisy(rng, swap_rate=0.02, swap_frames=5)
    result = exact + error
    for left, right in limb_pairs('h36m'):
        limb = np.concatenate([left, right])
        swapped = np.isclose(result[:, limb], flipped[:, limb], atol=1e-3).all(axis=(1, 2))
        same = (error[:, limb] == 0).all(axis=(1, 2))
        assert (swapped ^ same).all()
        assert 0.05 < swapped.mean() < 0.15  # 0.02 * 5, runs overlap at times
        runs = (np.diff(swapped.astype(int)) == 1).sum()
        assert 3.5 < swapped.sum() / runs < 6.5
    assert (error[:, get_skeleton('h36m').root_index] == 0).all() and (score == 1).all()


def test_missing_joints_have_low_scores_and_stay_away(rng):
    error, score = noisy(
        rng, missing_rate=0.01, missing_frames=8, missing_offset=30.0, missing_score=0.2
    )
    missing = score <= 0.2
    assert 0.04 < missing.mean() < 0.12
    assert error[missing].std() == pytest.approx(30, rel=0.1) and (error[~missing] == 0).all()
    changed = np.abs(np.diff(error, axis=0)).max(axis=-1)[missing[1:] & missing[:-1]]
    assert (changed < 1e-3).mean() > 0.8  # constant within a run


def test_scores_follow_the_error(rng):
    error, score = noisy(rng, jitter=8.0, score_noise=0.03)
    distance = np.linalg.norm(error, axis=-1)
    assert np.corrcoef(distance.ravel(), score.ravel())[0, 1] < -0.9
    assert score.min() >= 0 and score.max() <= 1


def test_defaults_are_those_of_a_good_detector(rng):
    keypoints = still()
    result, score = add_detector_noise(keypoints, np.full((FRAMES, 17), 5.0), 'h36m', rng)
    distance = np.linalg.norm(result - keypoints, axis=-1)
    assert 3 < np.median(distance) < 7 and result.dtype == score.dtype == np.float32
    assert 0.8 < score.mean() < 0.95 and (score < 0.3).mean() < 0.03


def test_leading_dimensions_and_errors(rng):
    result, score = add_detector_noise(np.zeros((2, 3, 5, 17, 2)), None, 'h36m', rng)
    assert result.shape == (2, 3, 5, 17, 2) and score.shape == (2, 3, 5, 17)
    assert len(np.unique(result[:, :, 0, 0, 0])) == 6
    with pytest.raises(ValueError, match=r'\(5, 16, 2\), expected \(..., frames, 17, 2\)'):
        add_detector_noise(np.zeros((5, 16, 2)), None, 'h36m', rng)
    with pytest.raises(TypeError, match='jiter'):
        NoiseParameters(jiter=3)
    for wrong in (
        dict(jitter=-1),
        dict(correlation=1.0),
        dict(swap_rate=2.0),
        dict(missing_frames=0.5),
        dict(jitter=np.nan),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            NoiseParameters(**wrong)


# ---------------------------------------------------------------- the transform


@pytest.fixture
def motion(rng):
    """A clip of 1,200 frames: pixels and camera-space metres."""
    steps = rng.normal(size=(1200, 17, 2))
    pixels = (500 + np.cumsum(steps, axis=0)).astype(np.float32)
    target = np.concatenate([pixels / 1000, 3 + pixels[..., :1] / 500], axis=-1)
    return pixels, target


def window(motion, frames, sequence=0):
    pixels, target = motion
    frames = np.clip(np.asarray(frames), 0, len(pixels) - 1)
    return dict(
        keypoints=pixels[frames],
        keypoints_visible=np.ones(frames.shape + (17,), np.float32),
        lifting_target=target[frames],
        sequence=sequence,
        frame_index=frames,
    )


def test_registered_and_seeded_windows_agree(motion):
    transform = TRANSFORMS.build(dict(type='DetectorNoise', seed=3))
    a = transform(window(motion, np.arange(400, 643)))
    b = DetectorNoise(seed=3)(window(motion, np.arange(481, 724)))  # across a block border
    both = slice(1, -1)  # the speed at a window's ends is known from one side only
    np.testing.assert_allclose(a['keypoints'][81:][both], b['keypoints'][:162][both], atol=1e-3)
    np.testing.assert_allclose(
        a['keypoints_visible'][81:][both], b['keypoints_visible'][:162][both], atol=1e-4
    )
    again = transform(window(motion, np.arange(400, 643)))
    np.testing.assert_array_equal(a['keypoints'], again['keypoints'])
    for other in (
        DetectorNoise(seed=4)(window(motion, np.arange(400, 643))),
        transform(window(motion, np.arange(400, 643), sequence=1)),
    ):
        assert np.abs(a['keypoints'] - other['keypoints']).mean() > 1
    assert 0.7 < a['keypoints_visible'].mean() < 0.95


@pytest.mark.parametrize('seed', [None, 5])
def test_batch_and_padding(motion, seed):
    np.random.seed(0)
    frames = np.stack([np.arange(-20, 61), np.arange(1150, 1231), np.arange(0, 162, 2)])
    batch = DetectorNoise(seed=seed)(window(motion, frames, sequence=np.array([0, 0, 2])))
    assert batch['keypoints'].shape == (3, 81, 17, 2) and batch['keypoints'].dtype == np.float32
    assert batch['keypoints_visible'].shape == (3, 81, 17)
    for name in ('keypoints', 'keypoints_visible'):  # repeated frames are equal
        assert (batch[name][0, :21] == batch[name][0, 20]).all()
        assert (batch[name][1, 49:] == batch[name][1, 49]).all()
        assert (batch[name][0, 21] != batch[name][0, 20]).any()
    if seed is not None:
        single = DetectorNoise(seed=seed)(window(motion, frames[1]))
        np.testing.assert_array_equal(single['keypoints'], batch['keypoints'][1])


def test_unseeded_draws_from_numpy(motion):
    transform, results = DetectorNoise(), []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        results.append(transform(window(motion, np.arange(81)))['keypoints'])
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    one = window(motion, np.arange(81))
    del one['sequence'], one['frame_index'], one['lifting_target']
    assert transform(one)['keypoints'].shape == (81, 17, 2)


def test_seed_needs_to_know_the_frame(motion):
    one = window(motion, np.arange(81))
    del one['frame_index']
    with pytest.raises(ValueError, match='"sequence" and "frame_index"'):
        DetectorNoise(seed=0)(one)
