"""BVH: read back, its joints are the poses with constant bones; rotations mean what they should."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from mmpose_lift.geometry import axis_angle_to_matrix, get_skeleton
from mmpose_lift.io.exporters import write_bvh
from mmpose_lift.io.exporters.bvh import rest_direction
from mmpose_lift.io.readers.bvh import parse_bvh
from mmpose_lift.io.video_poses import ABSOLUTE_CAMERA_FRAME, GROUND_FRAME
from tests.video_poses_example import example_poses, example_track

H36M = get_skeleton('h36m')


def written(tmp_path, track=None, **changes):
    """The file's motion, its joints in metres, and its description."""
    track = track or example_track(1, 0, 30)
    poses = example_poses(tracks=[track], num_frames=len(track) + track.first_frame, **changes)
    path, note = write_bvh(poses, tmp_path / 'a.bvh', track)
    motion = parse_bvh(path)
    joints = motion.points()[:, [motion.names.index(name) for name in poses.joint_names]] / 100
    return motion, joints, json.loads(note.read_text())


def constant_bones(points, skeleton=H36M):
    """The same directions with the mean length of each bone."""
    result = points.astype(np.float64)
    for joint in sorted(range(skeleton.num_joints), key=lambda j: skeleton.hops[j]):
        parent = skeleton.parents[joint]
        if parent >= 0:
            bone = points[:, joint].astype(np.float64) - points[:, parent]
            length = np.linalg.norm(bone, axis=-1, keepdims=True)
            result[:, joint] = result[:, parent] + bone / length * length.mean()
    return result


def rest_pose(lengths=0.3):
    points = np.zeros((17, 3))
    for parent, child in H36M.bones:
        points[child] = points[parent] + lengths * rest_direction(H36M.common_names[child])
    return points


@pytest.mark.parametrize('noise', [0, 0.02])
def test_joints_are_those_of_the_poses(tmp_path, noise):
    track = example_track(1, 0, 60, noise)
    motion, joints, note = written(tmp_path, track=track)
    upright = track.keypoints_3d * [1, -1, -1]
    expected = constant_bones(upright)
    difference = joints - joints[:, :1] - expected
    assert np.abs(difference).max() < 1e-5  # 0.01 mm
    # the lowest joint of the raw pose stands on the floor
    np.testing.assert_allclose(joints[:, 0, 1], -upright[..., 1].min(axis=1), atol=1e-5)
    moved = np.linalg.norm(expected - upright, axis=-1).mean() * 1000
    assert note['constant_bone_lengths_moved_joints_mm']['mean'] == pytest.approx(moved, abs=0.01)
    assert motion.fps == 25 and note['units'] == 'centimetre' and note['fps'] == 25
    assert note['filled_frames'][0] == [0, 0] and note['joint_names'][10] == 'head'


@pytest.mark.parametrize('name', ['h36m', 'h36m_16', 'h36m_l_first', 'uplift_upsample',
                                  'mpi_inf_3dhp', 'humaneva', 'smpl', 'mpi_inf_3dhp_28'])
def test_any_pose_of_any_skeleton(tmp_path, name, rng):
    skeleton = get_skeleton(name)
    points = rng.normal(0, 0.3, (40, skeleton.num_joints, 3)).astype(np.float32)
    keypoints = np.zeros((40, skeleton.num_joints, 3), np.float32)
    track = replace(example_track(1, 0, 40), keypoints_2d=keypoints, keypoints_3d=points)
    _, joints, _ = written(tmp_path, track=track, skeleton=name, frame=GROUND_FRAME)
    expected = constant_bones(points[..., [0, 2, 1]] * [1, 1, -1], skeleton)
    np.testing.assert_allclose(joints, expected, atol=2e-5)


def test_conventions_of_blender(tmp_path):
    motion, _, _ = written(tmp_path)
    text = (tmp_path / 'a.bvh').read_text()
    assert len(set(motion.names)) == len(motion.names)
    assert text.startswith('HIERARCHY\nROOT root\n') and '#' not in text
    turns = 'Zrotation Xrotation Yrotation'
    assert set(re.findall('CHANNELS (.*)', text)) == {
        f'6 Xposition Yposition Zposition {turns}', f'3 {turns}'}
    zero = {name for name, offset in zip(motion.names, motion.offsets) if not offset.any()}
    assert zero == {'root', 'root_to_left_hip', 'root_to_right_hip'}
    assert not any(re.search(r'\s', name) for name in motion.names)


def test_the_rest_pose_has_no_rotation(tmp_path):
    # y up, facing z: seen by a level camera, the person faces it
    points = np.repeat(rest_pose()[None], 3, axis=0) * [1, -1, -1]
    motion, _, _ = written(tmp_path, replace(example_track(1, 0, 3),
                                             keypoints_3d=points.astype(np.float32)))
    np.testing.assert_allclose(motion.rotations, np.broadcast_to(np.eye(3), (3, 26, 3, 3)),
                               atol=1e-6)


def test_turning_the_person_turns_the_root_only(tmp_path):
    track = example_track(1, 0, 10)
    turn = axis_angle_to_matrix(np.array([0, 0.8, 0]))
    other = replace(track, keypoints_3d=(track.keypoints_3d @ turn.T).astype(np.float32))
    a, _, _ = written(tmp_path, track=track)
    b, _, _ = written(tmp_path, track=other)
    np.testing.assert_allclose(a.rotations[:, 1:], b.rotations[:, 1:], atol=2e-4)
    upright = np.diag([1.0, -1, -1])
    np.testing.assert_allclose(upright @ turn @ upright @ a.rotations[:, 0], b.rotations[:, 0],
                               atol=2e-4)


@pytest.mark.parametrize('joint, limb, axis', [
    ('left_knee', 'left_foot', (1, 0, 0)), ('right_knee', 'right_foot', (1, 0, 0)),
    ('left_elbow', 'left_wrist', (0, -1, 0)), ('right_elbow', 'right_wrist', (0, 1, 0))])
def test_elbows_and_knees_bend_about_their_hinge(tmp_path, rng, joint, limb, axis):
    points = rest_pose()
    bent, end, above = (H36M.index(joint), H36M.index(limb), H36M.parents[H36M.index(joint)])
    points[end] = points[bent] + axis_angle_to_matrix(np.array(axis) * 1.2) @ (
        points[end] - points[bent])
    # the whole limb is turned about itself: the hinge must follow
    own = points[bent] - points[above]
    for twist in (0, 0.5, -0.5):
        turned = points.copy()
        turn = axis_angle_to_matrix(own / np.linalg.norm(own) * twist)
        turned[end] = points[bent] + turn @ (points[end] - points[bent])
        track = replace(example_track(1, 0, 1),
                        keypoints_3d=(turned[None] * [1, -1, -1]).astype(np.float32))
        motion, _, _ = written(tmp_path, track=track)
        hinge = motion.rotations[0, motion.names.index(joint)]
        # a turn by nearly 1.2 about nearly that axis; the least swing counts a little as well
        np.testing.assert_allclose(hinge, axis_angle_to_matrix(np.array(axis) * 1.2), atol=0.12)


def test_angles_do_not_jump_by_a_turn(tmp_path):
    # five turns about the vertical, across the border of a chunk
    angle = np.linspace(0, 10 * np.pi, 1100)
    turn = axis_angle_to_matrix(angle[:, None] * [0.0, 1, 0])
    points = np.einsum('fij,kj->fki', turn, rest_pose())
    keypoints = np.zeros((1100, 17, 3), np.float32)
    track = replace(example_track(1, 0, 1100), keypoints=keypoints, keypoints_2d=keypoints,
                    keypoints_3d=(points * [1, -1, -1]).astype(np.float32))
    written(tmp_path, track=track)
    lines = (tmp_path / 'a.bvh').read_text().splitlines()[-1100:]
    yaw = np.array([float(line.split()[5]) for line in lines])
    np.testing.assert_allclose(yaw, np.rad2deg(angle), atol=0.01)


def test_a_collapsed_frame_stays_finite(tmp_path):
    track = example_track(1, 0, 20)
    track.keypoints_3d[7] = 0
    _, joints, _ = written(tmp_path, track=track)
    assert np.isfinite(joints).all() and np.abs(joints).max() < 3


# ---------------------------------------------------------------- where the person is


def test_root_goes_where_it_is_known(tmp_path):
    track = example_track(1, 2, 10)
    path = np.linspace((0, 0, 3), (1, 0.5, 5), 10)
    _, joints, note = written(tmp_path, track=replace(track, root_position=path))
    np.testing.assert_allclose(joints[:, 0], path * [1, -1, -1], atol=1e-5)
    assert 'origin at the camera' in note['frame'] and note['first_frame'] == 2
    absolute = replace(track, keypoints_3d=(track.keypoints_3d + path[:, None]).astype(np.float32))
    _, joints, _ = written(tmp_path, track=absolute, frame=ABSOLUTE_CAMERA_FRAME)
    np.testing.assert_allclose(joints[:, 0], path * [1, -1, -1], atol=1e-5)


@pytest.mark.parametrize('tilt', [(0.3, 0, 0), (-0.5, 0, 0.4), (0, 0, np.pi / 2), (0, 0, -1.5)])
def test_tilted_camera(tmp_path, tilt):
    track = example_track(1, 0, 5)
    turn = axis_angle_to_matrix(np.array(tilt))
    tilted = replace(track, keypoints_3d=(track.keypoints_3d @ turn.T).astype(np.float32))
    _, joints, _ = written(tmp_path, track=tilted, up=tuple(turn @ [0, -1.0, 0]))
    _, level, _ = written(tmp_path, track=track)
    np.testing.assert_allclose(joints[..., 1], level[..., 1], atol=1e-4)


def test_uneven_times_are_made_even(tmp_path):
    times = np.sort(np.random.default_rng(0).uniform(0, 1, 30))
    track = example_track(1, 0, 30)
    path = np.stack([times, 0 * times, 3 + times], axis=-1)  # constant speed
    motion, joints, _ = written(tmp_path, track=replace(track, root_position=path), times=times,
                                fps=30.0)
    assert len(joints) == int((times[-1] - times[0]) * 30) + 1
    np.testing.assert_allclose(joints[:, 0, 0], times[0] + np.arange(len(joints)) / 30, atol=1e-5)


# ---------------------------------------------------------------- wrong input


@pytest.mark.parametrize('change, message', [
    (dict(keypoints_3d=None), 'has no 3D keypoints, which BVH needs'),
    (dict(keypoints_3d=np.zeros((30, 17, 3), np.float32)), 'the bone from root to right_hip'),
    (dict(keypoints_3d=np.full((30, 17, 3), np.nan)), '30 frame.* are not finite'),
])
def test_wrong_poses(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        written(tmp_path, track=replace(example_track(1, 0, 30), **change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('change, message', [
    (dict(units='millimetre'), 'expected poses in metres'),
    (dict(up=(0, 0, 0)), 'up: expected a direction'),
    (dict(frame='somewhere'), "up: expected the vertical .*'somewhere'"),
])
def test_wrong_axes(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        written(tmp_path, **change)


def test_skeleton_without_one_tree(tmp_path):
    keypoints = np.zeros((30, 14, 3), np.float32)
    track = replace(example_track(1, 0, 30), keypoints_2d=keypoints, keypoints_3d=keypoints)
    with pytest.raises(ValueError, match='BVH needs a skeleton of one tree'):
        written(tmp_path, track=track, skeleton='lsp_14')


def test_metres_or_centimetres(tmp_path):
    poses = example_poses()
    write_bvh(poses, tmp_path / 'm.bvh', poses.tracks[0], units='metre')
    write_bvh(poses, tmp_path / 'c.bvh', poses.tracks[0])
    np.testing.assert_allclose(parse_bvh(tmp_path / 'm.bvh').points() * 100,
                               parse_bvh(tmp_path / 'c.bvh').points(), atol=3e-3)
    with pytest.raises(ValueError, match="found 'inch'"):
        write_bvh(poses, tmp_path / 'c.bvh', poses.tracks[0], units='inch')
