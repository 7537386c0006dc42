"""Post-processing of lifted videos: numbers, frames and notes, order, wrong order, wrong input."""

from dataclasses import replace

import numpy as np
import pytest

from mmpose_lift.apis.post_processing import (
    add_trajectory,
    make_absolute,
    set_scale,
    smooth,
    to_ground,
)
from mmpose_lift.geometry import get_skeleton, h36m_cameras
from mmpose_lift.geometry.body_scale import mean_bone_lengths, standing_height
from mmpose_lift.geometry.smoothing import one_euro, savitzky_golay
from mmpose_lift.io.video_poses import (
    ABSOLUTE_CAMERA_FRAME,
    CAMERA_FRAME,
    GROUND_FRAME,
    PersonTrack,
    VideoPoses,
)

CAMERA = h36m_cameras(['S1'])[0]
HEIGHTS = dict(root=0.93, right_hip=0.93, left_hip=0.93, right_knee=0.49, left_knee=0.49,
               right_foot=0.07, left_foot=0.07, spine=1.17, thorax=1.43, neck_base=1.52, head=1.64,
               left_shoulder=1.41, left_elbow=1.17, left_wrist=0.97, right_shoulder=1.41,
               right_elbow=1.17, right_wrist=0.97)


def person(track_id, first_frame, frames, x, scale=1.0):
    """A person who slides along y on the floor, and their absolute camera-space poses."""
    rng = np.random.default_rng(track_id)
    world = np.zeros((frames, 17, 3))
    for joint, name in enumerate(get_skeleton('h36m').joint_names):
        world[:, joint] = [0.15 * (name[:4] == 'left') - 0.15 * (name[:5] == 'right'), 0,
                           HEIGHTS[name]]
    world += 0.005 * rng.normal(size=world.shape)
    world[..., 1] += np.linspace(-1, 1, frames)[:, None]
    world[..., 0] += x
    seen = CAMERA.world_to_camera(world * scale)
    pixels = seen[..., :2] / seen[..., 2:] * CAMERA.focal + CAMERA.center
    keypoints = np.concatenate([pixels, np.ones((frames, 17, 1))], -1).astype(np.float32)
    return PersonTrack(
        track_id, first_frame, np.zeros((frames, 4)), np.ones(frames), keypoints,
        np.ones(frames, bool), keypoints_2d=keypoints,
        keypoints_3d=(seen - seen[:, :1]).astype(np.float32)), seen


@pytest.fixture(scope='module')
def video():
    """Two people, the second one comes first; absolute poses by track_id."""
    (one, first), (two, second) = person(3, 20, 80, 0.6), person(7, 5, 60, -0.5, 1.1)
    return VideoPoses('clip.mp4', 50.0, (1000, 1002), 120, 'h36m', 'h36m', [one, two]), {
        3: first, 7: second}


@pytest.fixture(scope='module')
def placed(video):
    return add_trajectory(video[0], CAMERA.focal, CAMERA.center)


def test_the_argument_stays_as_it_is(video, placed):
    poses, _ = video
    before = [t.keypoints_3d.copy() for t in poses.tracks]
    for result in (smooth(poses), set_scale(poses, 1.8), to_ground(placed), make_absolute(placed)):
        assert result is not poses and len(result.tracks) == 2
    for track, array in zip(poses.tracks, before):
        np.testing.assert_array_equal(track.keypoints_3d, array)
    assert poses.notes == {} and poses.frame == CAMERA_FRAME and poses.up is None
    assert poses.tracks[0].root_position is None


def test_smooth_runs_the_filters(video):
    poses, _ = video
    euro = 'One-Euro, min_cutoff 1, beta 4, d_cutoff 1'
    for result, expected, note in [
            (smooth(poses), lambda x: one_euro(x, 50), euro),
            (smooth(poses, 'savgol', seconds=0.2), lambda x: savitzky_golay(x, 50, 0.2),
             'Savitzky-Golay, seconds 0.2, order 2')]:
        for old, new in zip(poses.tracks, result.tracks):
            np.testing.assert_array_equal(new.keypoints_3d, expected(old.keypoints_3d))
        assert result.notes == {'smoothing': note}
    again = smooth(smooth(poses), 'savgol')
    assert again.notes['smoothing'].startswith('One-Euro') and 'Golay' in again.notes['smoothing']


def test_smooth_uses_uneven_times(video):
    poses, _ = video
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.05, 120))
    track = poses.tracks[0]
    found = smooth(replace(poses, times=times)).tracks[0].keypoints_3d
    np.testing.assert_array_equal(found, one_euro(track.keypoints_3d, times=times[20:100]))


def test_trajectory_finds_the_place(video, placed):
    _, absolute = video
    assert placed.frame == CAMERA_FRAME and 'px given' in placed.notes['trajectory']
    for track in placed.tracks:
        error = np.abs(track.root_position - absolute[track.track_id][:, 0])
        assert error.max() < 0.02
        assert (track.keypoints_3d[:, 0] == 0).all()
    moved = make_absolute(placed)
    assert moved.frame == ABSOLUTE_CAMERA_FRAME
    for track in moved.tracks:
        assert np.abs(track.keypoints_3d - absolute[track.track_id]).max() < 0.02
        assert track.keypoints_3d.dtype == np.float32
    assert make_absolute(moved).tracks == moved.tracks


def test_trajectory_without_intrinsics_says_so(video):
    poses, absolute = video
    found = add_trajectory(poses)
    assert 'assumed field of view of 55 degrees' in found.notes['trajectory']
    depth = found.tracks[0].root_position[:, 2] / absolute[3][:, 0, 2]
    np.testing.assert_allclose(depth, 1002 / 2 / np.tan(np.radians(27.5)) / CAMERA.focal.mean(),
                               rtol=0.02)


def test_scale_by_height_and_in_any_order(video, placed):
    poses, _ = video
    scaled = set_scale(poses, {3: 1.9})
    assert standing_height(scaled.tracks[0].keypoints_3d, 'h36m') == pytest.approx(1.9, 1e-5)
    assert scaled.tracks[1] is poses.tracks[1] and 'track 3 to 1.9 m' in scaled.notes['scale']
    first = make_absolute(add_trajectory(set_scale(poses, 1.9), CAMERA.focal, CAMERA.center))
    last = set_scale(make_absolute(placed), 1.9)
    for a, b in zip(first.tracks, last.tracks):
        np.testing.assert_allclose(a.keypoints_3d, b.keypoints_3d, atol=5e-3)
        np.testing.assert_allclose(b.keypoints_3d[:, 0], b.root_position, atol=1e-5)
    on_floor = set_scale(to_ground(poses), 1.9), to_ground(set_scale(poses, 1.9))
    for a, b in zip(*(x.tracks for x in on_floor)):
        np.testing.assert_allclose(a.keypoints_3d, b.keypoints_3d, atol=1e-5)


def test_scale_by_bone_lengths(video):
    poses, _ = video
    lengths = mean_bone_lengths(poses.tracks[1].keypoints_3d, 'h36m')
    scaled = set_scale(poses, bone_lengths={3: lengths})
    np.testing.assert_allclose(mean_bone_lengths(scaled.tracks[0].keypoints_3d, 'h36m'), lengths,
                               rtol=1e-5)


def test_smoothing_and_placing_commute(placed):
    a = make_absolute(smooth(placed, 'savgol'))
    b = smooth(make_absolute(placed), 'savgol')
    for one, two in zip(a.tracks, b.tracks):
        np.testing.assert_allclose(one.keypoints_3d, two.keypoints_3d, atol=1e-5)
        np.testing.assert_array_equal(one.root_position, two.root_position)


def test_one_ground_for_all(video, placed):
    up = CAMERA.rotation[:, 2]
    for poses in (placed, make_absolute(placed)):
        ground = to_ground(poses, up)
        assert ground.frame == GROUND_FRAME and ground.up == (0, 0, 1)
        assert 'given vertical, one floor' in ground.notes['ground']
        one, two = ground.tracks
        assert (one.track_id, two.track_id) == (3, 7)
        np.testing.assert_allclose(two.keypoints_3d[0, 0, :2], 0, atol=1e-6)  # comes first
        for track in ground.tracks:
            assert np.median(track.keypoints_3d[:, [3, 6], 2]) == pytest.approx(0.07, abs=0.03)
        apart = one.keypoints_3d[0, 0] - two.keypoints_3d[15, 0]  # frame 20
        true = CAMERA.camera_to_world(np.stack([video[1][3][0, 0], video[1][7][15, 0]]))
        assert np.linalg.norm(apart) == pytest.approx(np.linalg.norm(true[0] - true[1]), abs=0.03)
    estimated = to_ground(placed)
    assert 'estimated' in estimated.notes['ground']
    np.testing.assert_allclose(estimated.tracks[0].keypoints_3d, to_ground(
        replace(placed, up=tuple(up))).tracks[0].keypoints_3d, atol=0.1)


def test_ground_without_trajectories(video):
    ground = to_ground(video[0])
    assert 'floor of their own' in ground.notes['ground']
    for track in ground.tracks:
        np.testing.assert_allclose(track.keypoints_3d[:, 0, :2], 0, atol=1e-6)
        assert np.median(track.keypoints_3d[:, [3, 6], 2]) == pytest.approx(0.07, abs=0.03)
        assert track.keypoints_3d.dtype == np.float32


def test_a_video_without_people(video):
    empty = replace(video[0], tracks=[])
    assert to_ground(make_absolute(add_trajectory(smooth(empty)))).frame == GROUND_FRAME
    assert to_ground(set_scale(empty, 1.8)).tracks == []


def test_wrong_order_and_wrong_input_are_named(video, placed):
    poses, _ = video
    one, two = poses.tracks
    ground = to_ground(placed)
    mixed = replace(poses, tracks=[placed.tracks[0], two])
    unlifted = replace(poses, tracks=[one, replace(two, keypoints_3d=None)])
    for call, message in [
            (lambda: smooth(poses, 'kalman'), "method: expected one of one-euro, savgol"),
            (lambda: smooth(poses, window=3), "no option 'window'; it has min_cutoff, beta"),
            (lambda: smooth(poses, beta=-1), 'beta: expected'),
            (lambda: smooth(unlifted), 'track 7 has no 3D poses; lift'),
            (lambda: set_scale(poses), 'one of height and bone_lengths, found neither'),
            (lambda: set_scale(poses, 1.8, np.ones(16)), 'found both'),
            (lambda: set_scale(poses, {4: 1.8}), 'no person has track_id 4; the video has 3, 7'),
            (lambda: set_scale(poses, 180), 'height: expected'),
            (lambda: set_scale(ground, 1.8), 'call set_scale before to_ground'),
            (lambda: set_scale(placed, bone_lengths=np.ones(16)), 'before add_trajectory'),
            (lambda: add_trajectory(ground), 'before make_absolute and to_ground'),
            (lambda: add_trajectory(make_absolute(placed)), 'before make_absolute'),
            (lambda: add_trajectory(replace(poses, tracks=[replace(one, keypoints_2d=None)])),
             'track 3 has no 2D keypoints'),
            (lambda: make_absolute(poses), 'track 3 has no trajectory; call add_trajectory'),
            (lambda: make_absolute(ground), 'before to_ground'),
            (lambda: to_ground(ground), 'in ground axes already'),
            (lambda: to_ground(mixed), 'track 7 has no trajectory'),
            (lambda: to_ground(poses, (0, 0, 0)), 'up: expected')]:
        with pytest.raises(ValueError, match=message):
            call()
