"""Interpolation between predicted frames, by hand and against the authors' numbers."""

import numpy as np
import pytest

from mmpose_lift.evaluation.key_frames import fill_between, interpolate_key_frames


def by_hand(poses, frames, stride):
    """One clip, one coordinate at a time."""
    kept = frames % stride == 0
    flat = poses.reshape(len(poses), -1)
    out = np.stack([np.interp(frames, frames[kept], flat[kept, i])
                    for i in range(flat.shape[1])], axis=1)
    return out.reshape(poses.shape)


def test_parity_with_the_published_code(shared_dir):
    data = np.load(shared_dir / 'reference/uplift_upsample/keyframe_interpolation.npz')
    stride = int(data['keyframe_stride'])
    found, kept = interpolate_key_frames(data['pred3d'], data['frame_indices'], stride)
    np.testing.assert_array_equal(kept, data['is_keyframe'])
    np.testing.assert_allclose(found, data['interpolated'], atol=1e-6)
    np.testing.assert_array_equal(found[kept], data['pred3d'][kept])
    assert found.dtype == data['pred3d'].dtype
    # The same clip by clip, which is what the metric and the inferencer do.
    starts = [*np.flatnonzero(data['frame_indices'] == 0), len(kept)]
    for clip in (slice(a, b) for a, b in zip(starts, starts[1:])):
        frames, key = data['frame_indices'][clip], kept[clip]
        np.testing.assert_array_equal(
            fill_between(data['pred3d'][clip][key], frames[key], len(frames)), found[clip])


def test_clips_do_not_mix(rng):
    lengths, stride = (1, 7, 13, 4, 5, 1, 1), 4
    clips = [(rng.normal(size=(n, 3, 3)), np.arange(n)) for n in lengths]
    found, kept = interpolate_key_frames(*map(np.concatenate, zip(*clips)), stride)
    expected = np.concatenate([by_hand(p, f, stride) for p, f in clips])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert kept.sum() == sum(-(-n // stride) for n in lengths)


def test_missing_frames_and_late_starts(rng):
    """Time, not rows, is interpolated; frames before the first kept one copy it."""
    frames = np.array([3, 4, 5, 8, 9, 10, 1, 4])
    poses = rng.normal(size=(8, 2, 3))
    found, kept = interpolate_key_frames(poses, frames, 4)
    np.testing.assert_array_equal(np.flatnonzero(kept), [1, 3, 7])
    np.testing.assert_allclose(found[2], poses[1] * 0.75 + poses[3] * 0.25)
    for row, source in ((0, 1), (1, 1), (3, 3), (4, 3), (5, 3), (6, 7), (7, 7)):
        np.testing.assert_array_equal(found[row], poses[source])


def test_stride_one_and_nothing_change_nothing(rng):
    poses = rng.normal(size=(6, 2, 3)).astype(np.float32)
    found, kept = interpolate_key_frames(poses, np.array([0, 1, 2, 0, 1, 2]), 1)
    np.testing.assert_array_equal(found, poses)
    assert kept.all()
    assert len(interpolate_key_frames(poses[:0], np.arange(0), 5)[0]) == 0


def test_fill_between(rng):
    poses, kept = rng.normal(size=(3, 2, 3)), np.array([2, 4, 9])
    found = fill_between(poses, kept, 12)
    flat = [np.interp(np.arange(12), kept, c) for c in poses.reshape(3, -1).T]
    np.testing.assert_allclose(found.reshape(12, -1).T, flat)
    wanted = np.array([9, 3, 0, 30])
    np.testing.assert_array_equal(fill_between(poses, kept, wanted)[:3], found[wanted[:3]])
    np.testing.assert_array_equal(fill_between(poses, kept, wanted)[3], poses[2])
    np.testing.assert_array_equal(fill_between(poses[:1], [7], 3), np.repeat(poses[:1], 3, 0))
    assert fill_between(poses.astype(np.float32), kept, 12).dtype == np.float32


def test_unused_predictions_do_not_matter(rng):
    """A position that is overwritten may hold anything, also NaN (centres without key-frame)."""
    poses = rng.normal(size=(11, 2, 3))
    expected, kept = interpolate_key_frames(poses, np.arange(11), 5)
    poses[~kept] = np.nan
    np.testing.assert_array_equal(interpolate_key_frames(poses, np.arange(11), 5)[0], expected)


def test_errors():
    poses = np.zeros((4, 2, 3))
    with pytest.raises(ValueError, match='row 2 with frame 1 has no frame whose number is a mult'):
        interpolate_key_frames(poses, [0, 5, 1, 2], 5)
    with pytest.raises(ValueError, match='each of the 4 poses, found 3'):
        interpolate_key_frames(poses, [0, 1, 2], 5)
    with pytest.raises(ValueError, match='stride: expected at least 1 frame, found 0'):
        interpolate_key_frames(poses, [0, 1, 2, 3], 0)
    with pytest.raises(ValueError, match=r'expected whole numbers \(N,\), found float64'):
        interpolate_key_frames(poses, [0., 1, 2, 3], 5)
    with pytest.raises(ValueError, match=r'poses: expected \(N, K, 3\), found \(4, 2\)'):
        interpolate_key_frames(poses[..., 0], [0, 1, 2, 3], 5)
    with pytest.raises(ValueError, match='increase strictly, found 3, 3 at position 1'):
        fill_between(poses[:3], [0, 3, 3], 9)
    with pytest.raises(ValueError, match='each of the 4 poses and at least one pose, found 2'):
        fill_between(poses, [0, 3], 9)
    with pytest.raises(ValueError, match='at least one pose'):
        fill_between(poses[:0], [], 9)
