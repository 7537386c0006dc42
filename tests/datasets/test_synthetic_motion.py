"""Procedural motion: a body of fixed size that moves like a person and stays on the floor."""

import time

import numpy as np
import pytest

from mmpose_lift.datasets.synthetic_motion import (
    ACTIONS,
    SyntheticSubject,
    generate_motion,
    synthetic_clips,
    synthetic_store,
    write_synthetic_store,
)
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.io.pose_store import PoseStore

H36M = get_skeleton('h36m')
FEET = [H36M.index('left_foot'), H36M.index('right_foot')]
FPS = 50


def bone_lengths(joints):
    parents, children = np.array(H36M.bones).T
    return np.linalg.norm(joints[:, children] - joints[:, parents], axis=-1)


@pytest.fixture(scope='module')
def clips():
    """{action: 12 clips of 300 frames}."""
    return {action: [generate_motion(action, 300, seed).astype(np.float64) for seed in range(12)]
            for action in ACTIONS}


def test_named_actions_exist():
    assert {'walking', 'turning', 'reaching', 'sitting'} <= set(ACTIONS)


@pytest.mark.parametrize('action', ACTIONS)
def test_bones_are_rigid_and_symmetric(clips, action):
    for joints in clips[action]:
        lengths = bone_lengths(joints)
        np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=3e-6)
        order = {bone: i for i, bone in enumerate(H36M.bones)}
        for left, right in H36M.symmetric_bones:
            assert abs(lengths[0, order[left]] - lengths[0, order[right]]) < 3e-6


@pytest.mark.parametrize('action', ACTIONS)
def test_speed_and_acceleration_are_human(clips, action):
    # CMU walks of the same rate: ankles up to 4 m/s and 55 m/s^2
    for joints in clips[action]:
        speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * FPS
        acceleration = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1) * FPS**2
        assert speed.max() < 6.5
        assert acceleration.max() < 110
        assert speed.max() > 0.05  # nobody is frozen
    root_speed = np.linalg.norm(np.diff(clips[action][0][:, H36M.root_index], axis=0), axis=-1)
    assert root_speed.max() * FPS < 2.5


@pytest.mark.parametrize('action', ACTIONS)
def test_stands_on_the_floor(clips, action):
    for joints in clips[action]:
        assert joints[..., 2].min() > 0.03  # an ankle is 7 to 9 cm above the sole
        lower_foot = joints[:, FEET, 2].min(axis=1)
        assert lower_foot.max() < 0.16  # one foot is near the floor all the time
        head = joints[:, H36M.index('head')]
        assert (head[:, 2] > joints[:, FEET, 2].max(axis=1)).all()


@pytest.mark.parametrize('action', ['walking', 'turning'])
def test_feet_do_not_slide(clips, action):
    slides = []
    for joints in clips[action]:
        feet = joints[:, FEET]
        speed = np.linalg.norm(np.diff(feet[..., :2], axis=0), axis=-1) * FPS
        flat = feet[1:, :, 2] < feet[..., 2].min() + 0.006
        assert flat.mean() > 0.2
        slides.append(speed[flat].mean())
    assert np.mean(slides) < 0.03


def test_walking_walks_and_sitting_sits(clips):
    for joints in clips['walking']:
        root = joints[:, H36M.root_index]
        travelled = np.linalg.norm(np.diff(root[:, :2], axis=0), axis=-1).sum()
        assert 0.5 < travelled / (len(root) / FPS) < 2.0
        # people look where they go: right hip to left hip, turned right, is the way forward
        across = joints[:, H36M.index('left_hip')] - joints[:, H36M.index('right_hip')]
        forward = np.stack([across[:, 1], -across[:, 0]], -1)[:-1]
        assert ((forward * np.diff(root[:, :2], axis=0)).sum(-1) > 0).mean() > 0.98
    heights = np.array([[c[:, H36M.root_index, 2].min(), c[:, H36M.root_index, 2].max()]
                        for c in clips['sitting']])
    assert (heights[:, 0] < 0.65).sum() >= 8 and (heights[:, 1] > 0.75).sum() >= 6


def test_knees_and_elbows_bend_the_right_way(clips):
    for action in ACTIONS:
        for joints in clips[action]:
            across = joints[:, H36M.index('left_hip')] - joints[:, H36M.index('right_hip')]
            forward = np.cross(across, [0, 0, 1.0])
            for side in ('left', 'right'):
                hip, knee, foot = (joints[:, H36M.index(f'{side}_{n}')]
                                   for n in ('hip', 'knee', 'foot'))
                share = ((knee - hip) * (foot - hip)).sum(-1) / ((foot - hip)**2).sum(-1)
                bulge = knee - hip - share[:, None] * (foot - hip)
                assert ((bulge * forward).sum(-1) > 0).mean() > 0.97, action


def test_left_and_right_are_alike():
    """Over many clips, mirrored joints have the same distance to the root, height and speed."""
    flip = list(H36M.flip_indices)
    joints = np.stack([generate_motion(action, 100, seed) for seed in range(30)
                       for action in ACTIONS]).astype(np.float64)
    speed = np.linalg.norm(np.diff(joints, axis=1), axis=-1).mean(axis=(0, 1)) * FPS
    np.testing.assert_allclose(speed, speed[flip], rtol=0.2, atol=0.03)
    height = joints[..., 2].mean(axis=(0, 1))
    np.testing.assert_allclose(height, height[flip], atol=0.03)
    reach = np.linalg.norm(joints - joints[:, :, :1], axis=-1).mean(axis=(0, 1))
    np.testing.assert_allclose(reach, reach[flip], atol=0.03)


def test_headings_cover_the_circle():
    joints = np.stack([generate_motion('idling', 2, seed) for seed in range(60)])[:, 0]
    across = joints[:, H36M.index('left_hip')] - joints[:, H36M.index('right_hip')]
    angle = np.arctan2(across[:, 1], across[:, 0])
    assert (np.histogram(angle, 4, (-np.pi, np.pi))[0] >= 5).all()


@pytest.mark.parametrize('action', ACTIONS)
def test_seeds(action):
    first = generate_motion(action, 60, 3)
    assert first.shape == (60, 17, 3) and first.dtype == np.float32 and np.isfinite(first).all()
    np.testing.assert_array_equal(first, generate_motion(action, 60, 3))
    assert np.abs(first - generate_motion(action, 60, 4)).max() > 0.05


@pytest.mark.parametrize('num_frames, fps', [(1, 50), (2, 50), (5, 25), (3000, 50), (200, 120)])
def test_lengths_and_rates(num_frames, fps):
    for action in ACTIONS:
        joints = generate_motion(action, num_frames, 0, fps=fps).astype(np.float64)
        assert joints.shape == (num_frames, 17, 3) and np.isfinite(joints).all()
        if num_frames > 1:
            assert np.linalg.norm(np.diff(joints, axis=0), axis=-1).max() * fps < 6.5


def test_subject_sets_the_size():
    rng = np.random.default_rng(0)
    subjects = [SyntheticSubject.random(rng) for _ in range(50)]
    assert min(s.height for s in subjects) < 1.6 and max(s.height for s in subjects) > 1.85
    for subject in subjects[:5]:
        joints = generate_motion('idling', 20, 0, subject)
        head = joints[:, H36M.index('head'), 2].mean()
        assert 0.88 * subject.height < head < 1.03 * subject.height
        thigh = np.linalg.norm(joints[0, H36M.index('left_knee')]
                               - joints[0, H36M.index('left_hip')])
        assert abs(thigh - subject.thigh) < 1e-5


@pytest.mark.parametrize('arguments, message', [
    (('flying', 10, 0), "action.*'flying'"), (('walking', 0, 0), 'num_frames.*0'),
    (('walking', 10, 0, None, 1), 'fps.*1')])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_motion(*arguments)
    with pytest.raises(ValueError, match='num_clips'):
        next(synthetic_clips(0, 10))


def test_clips_do_not_depend_on_their_number():
    few, many = list(synthetic_clips(3, 20, seed=5)), list(synthetic_clips(9, 20, seed=5))
    for (_, a), (_, b) in zip(few, many):
        np.testing.assert_array_equal(a, b)
    assert [info.action for info, _ in many[:7]] == list(ACTIONS)
    # the second round of actions has another body
    assert many[0][0].subject != many[7][0].subject
    assert np.abs(bone_lengths(many[0][1])[0] - bone_lengths(many[7][1])[0]).max() > 0.003


def test_stores_in_memory_and_on_disk_agree(tmp_path):
    memory = synthetic_store(4, 30, seed=1, actions=('walking', 'sitting'), num_subjects=2)
    write_synthetic_store(tmp_path / 'store', 4, 30, seed=1, actions=('walking', 'sitting'),
                          num_subjects=2)
    disk = PoseStore.open(tmp_path / 'store')
    disk.verify()
    for store in (memory, disk):
        assert store.frame == 'world' and store.skeleton == 'h36m'
        assert store.num_frames == 120 and store.sources_2d == []
        assert 'synthetic' in store.source
        assert [s.action for s in store.sequences] == ['walking', 'sitting'] * 2
        assert len({s.subject for s in store.sequences}) == 2
    np.testing.assert_array_equal(memory.keypoints_3d, disk.keypoints_3d)
    with pytest.raises(FileExistsError):
        write_synthetic_store(tmp_path / 'store', 4, 30)


def test_generation_is_fast():
    start = time.process_time()
    synthetic_store(60, 500)
    assert time.process_time() - start < 4  # about 0.6 s on one idle core
