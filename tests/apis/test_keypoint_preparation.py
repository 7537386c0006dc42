"""Filling 2D joints that a detector missed."""

import numpy as np
import pytest

from mmpose_lift.apis.keypoint_preparation import prepare_keypoints
from mmpose_lift.datasets.detector_noise import add_detector_noise


@pytest.fixture
def clip():
    """(40, 17, 3) every joint on a straight line of its own, score 0.9."""
    time = np.arange(40, dtype=np.float32)[:, None, None]
    start = np.arange(34, dtype=np.float32).reshape(17, 2)
    return np.concatenate([start + time * (1, -2), np.full((40, 17, 1), 0.9)], -1)


def test_nothing_to_do(clip):
    prepared = prepare_keypoints(clip, 'h36m', 'h36m')
    np.testing.assert_array_equal(prepared.keypoints, clip.astype(np.float32))
    assert prepared.trusted.all()
    one = prepare_keypoints(clip[:1], 'h36m', 'h36m')
    np.testing.assert_array_equal(one.keypoints, clip[:1].astype(np.float32))
    assert one.trusted.all()


def test_missed_joints_are_interpolated(clip):
    noisy = clip.copy()
    noisy[10:20, 3] = (500, 500, 0.1)
    noisy[15, 5] = np.nan
    noisy[20:23] = np.nan  # no detection
    prepared = prepare_keypoints(noisy, 'h36m', 'h36m')
    np.testing.assert_allclose(prepared.keypoints[..., :2], clip[..., :2], atol=1e-4)
    assert not prepared.trusted[10:20, 3].any() and not prepared.trusted[15, 5]
    assert (~prepared.trusted).sum() == 10 + 1 + 3 * 17
    # Scores stay as detected.
    np.testing.assert_array_equal(prepared.keypoints[10:20, 3, 2], np.float32(0.1))
    np.testing.assert_array_equal(prepared.keypoints[20:23, :, 2], 0)


def test_ends_are_held(clip):
    clip[:4, 2, 2] = clip[36:, 2, 2] = 0
    keypoints = prepare_keypoints(clip, 'h36m', 'h36m').keypoints
    np.testing.assert_array_equal(keypoints[:4, 2, :2], np.tile(clip[4, 2, :2], (4, 1)))
    np.testing.assert_array_equal(keypoints[36:, 2, :2], np.tile(clip[35, 2, :2], (4, 1)))


def test_long_gaps_and_joints_never_trusted_keep_the_guess(clip):
    clip[5:35, 1, :2] += 3
    clip[5:35, 1, 2] = 0.1
    clip[20, 1] = np.nan  # has to be filled all the same, from the guesses around it
    clip[:, 4, 2] = 0.1
    prepared = prepare_keypoints(clip, 'h36m', 'h36m', max_gap=29)
    expected = np.array(clip)
    expected[20] = (clip[19] + clip[21]) / 2
    np.testing.assert_allclose(prepared.keypoints[:, [1, 4], :2], expected[:, [1, 4], :2],
                               atol=1e-4)
    assert not prepared.trusted[5:35, 1].any() and not prepared.trusted[:, 4].any()
    filled = prepare_keypoints(clip, 'h36m', 'h36m', max_gap=30).keypoints
    expected[5:35, 1, :2] -= 3
    np.testing.assert_allclose(filled[:, 1, :2], expected[:, 1, :2], atol=1e-4)


def test_flickers_are_not_trusted(clip):
    clip[10:20, 6] += 50
    clip[10:20, 6, 2] = 0.1
    clip[14, 6, 2] = 0.9
    assert not prepare_keypoints(clip, 'h36m', 'h36m').trusted[10:20, 6].any()
    prepared = prepare_keypoints(clip, 'h36m', 'h36m', min_run=1)
    assert prepared.trusted[14, 6] and prepared.keypoints[14, 6, 0] > 55
    # A joint that has nothing else keeps it, and so does the end of a clip.
    clip[:, 7, 2] = 0
    clip[[8, 20], 7, 2] = 1
    clip[1:9, 8, 2] = 0
    trusted = prepare_keypoints(clip, 'h36m', 'h36m').trusted
    assert trusted[:, 7].sum() == 2 and trusted[0, 8]


def test_keep_marks_only(clip):
    clip[3:6, 9] = (500, 500, 0.1)
    clip[20, 2] = np.nan
    prepared = prepare_keypoints(clip, 'h36m', 'h36m', low_scores='keep')
    np.testing.assert_array_equal(prepared.keypoints[3:6, 9], np.float32([(500, 500, 0.1)] * 3))
    assert not prepared.trusted[3:6, 9].any()
    assert np.isfinite(prepared.keypoints).all()


def test_scores_of_parts_reach_the_combined_joint(rng):
    coco = np.concatenate([rng.random((12, 17, 2)), np.full((12, 17, 1), 0.9)], -1)
    coco[5, 11, 2] = 0.1  # left hip
    trusted = prepare_keypoints(coco, 'coco', 'h36m').trusted
    assert not trusted[5, [0, 4, 7]].any()  # root, left hip, spine
    assert trusted[5, [1, 8, 11]].all() and trusted[[4, 6]].all()


def test_the_error_of_noisy_detections_drops():
    """People's joints move smoothly; a share of the detections is elsewhere with a low score."""
    rng = np.random.default_rng(3)
    frames = np.arange(600)[:, None, None]
    phase, speed = rng.uniform(0, 6, (2, 1, 17, 2))
    true = 500 + 40 * np.sin(0.02 * (1 + speed / 3) * frames + phase)
    noisy, score = add_detector_noise(true, None, 'h36m', rng, missing_rate=0.02,
                                      missing_frames=6, missing_offset=40)
    detected = np.concatenate([noisy, score[..., None]], -1)
    prepared = prepare_keypoints(detected, 'h36m', 'h36m')

    def error(xy, where=...):
        return np.linalg.norm(xy[..., :2] - true, axis=-1)[where].mean()

    missed = ~prepared.trusted
    assert 0.05 < missed.mean() < 0.2
    assert error(prepared.keypoints, missed) < error(detected, missed) / 4
    assert error(prepared.keypoints) < 0.7 * error(detected)
    np.testing.assert_array_equal(prepared.keypoints[~missed], np.float32(detected[~missed]))


def test_errors(clip):
    with pytest.raises(ValueError, match=r'expected \(T, K, 3\).*found \(40, 17, 2\)'):
        prepare_keypoints(clip[..., :2], 'h36m', 'h36m')
    with pytest.raises(ValueError, match='at least one frame'):
        prepare_keypoints(clip[:0], 'h36m', 'h36m')
    with pytest.raises(ValueError, match="low_scores: expected .*'keep'.*found 'drop'"):
        prepare_keypoints(clip, 'h36m', 'h36m', low_scores='drop')
    with pytest.raises(ValueError, match='max_gap must be at least 0'):
        prepare_keypoints(clip, 'h36m', 'h36m', max_gap=-1)
    with pytest.raises(ValueError, match="'aic' is not mapped"):
        prepare_keypoints(clip, 'aic', 'h36m')
    clip[:, 3] = np.nan
    with pytest.raises(ValueError, match='no finite position of right_foot .* in any of 40 frames'):
        prepare_keypoints(clip, 'h36m', 'h36m')
