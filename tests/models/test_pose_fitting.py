import numpy as np
import pytest
import torch

from mmpose_lift.datasets.synthetic_motion import ACTIONS, generate_motion
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.models.body import BodyModel, fit_pose, stand_in_h36m_regressor

H36M, SMPL = get_skeleton('h36m'), get_skeleton('smpl')
LIMBS = [i for i, name in enumerate(H36M.joint_names)
         if name.split('_')[-1] in ('knee', 'foot', 'elbow', 'wrist')]
MIRROR = np.array([-1, 1, 1])


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


def joints_of(body, rotmats, translation=(0, 0, 0), betas=None):
    """(T, 17, 3) joints taken from the posed surface."""
    betas = np.zeros(10) if betas is None else betas
    with torch.no_grad():
        vertices, _ = body(torch.tensor(np.tile(betas, (len(rotmats), 1)), dtype=torch.float32),
                           torch.as_tensor(np.asarray(rotmats), dtype=torch.float32))
    joints = stand_in_h36m_regressor() @ vertices.numpy()
    return joints + np.reshape(translation, (-1, 1, 3))


def angle(first, second):
    """(T, K) degrees between the bones that end in each joint."""
    parents = list(H36M.parents)
    a, b = first - first[:, parents], second - second[:, parents]
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


def turn(first, second):
    """Degrees between rotations."""
    trace = np.einsum('...ij,...ij', first, second)
    return np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))


def local(**turns):
    """(1, 24, 3, 3) pose from axis-angle vectors in degrees."""
    vectors = np.zeros((1, 24, 3))
    for name, vector in turns.items():
        vectors[0, SMPL.index(name)] = np.radians(vector)
    return axis_angle_to_matrix(vectors)


@pytest.mark.parametrize('action', ACTIONS)
def test_bones_point_along_recorded_ones(body, action):
    motion = generate_motion(action, 80, 5)[::2]
    rotmats, translation = fit_pose(body, motion)
    assert rotmats.shape == (40, 24, 3, 3) and translation.shape == (40, 3)
    assert rotmats.dtype == translation.dtype == np.float32
    np.testing.assert_allclose(rotmats @ rotmats.swapaxes(-1, -2),
                               np.broadcast_to(np.eye(3), rotmats.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(rotmats), 1, atol=1e-5)
    joints = joints_of(body, rotmats, translation)
    error = angle(joints, motion)
    assert error[:, LIMBS].max() < 1
    assert error[:, 1:].max() < 4  # hips and shoulders are shared between both sides
    assert error[:, [H36M.index(n) for n in ('spine', 'thorax', 'neck_base', 'head')]].max() < 1
    np.testing.assert_allclose(joints[:, 0], motion[:, 0], atol=2e-3)


def test_shape_is_taken_into_account(body):
    motion = generate_motion('walking', 20, 6)
    betas = np.linspace(-2, 2, 10)
    rotmats, translation = fit_pose(body, motion, betas)
    joints = joints_of(body, rotmats, translation, betas)
    np.testing.assert_allclose(joints[:, 0], motion[:, 0], atol=2e-3)
    assert angle(joints, motion)[:, LIMBS].max() < 1


def test_elbows_and_knees_bend_as_they_do_on_people(body):
    wanted = local(left_elbow=(0, -80, 0), right_elbow=(0, 80, 0), left_knee=(70, 0, 0),
                   right_hip=(-60, 0, 0), right_knee=(90, 0, 0), pelvis=(0, 50, 0))
    rotmats, translation = fit_pose(body, joints_of(body, wanted))
    joints = ['pelvis', 'left_elbow', 'right_elbow', 'left_knee', 'right_knee', 'left_shoulder',
              'right_shoulder', 'left_hip', 'right_hip', 'spine3', 'neck']
    difference = turn(rotmats, wanted)[0]
    assert {n: difference[SMPL.index(n)] for n in joints if difference[SMPL.index(n)] > 8} == {}
    assert np.abs(translation).max() < 0.01


def test_hanging_arms_keep_palms_to_the_body(body):
    down = local(left_shoulder=(0, 0, -80), right_shoulder=(0, 0, 80))
    rotmats, _ = fit_pose(body, joints_of(body, down))
    for name in ('left_shoulder', 'right_shoulder'):
        assert turn(rotmats, down)[0, SMPL.index(name)] < 35


def test_follows_the_frame_of_the_joints(body, rng):
    motion = generate_motion('reaching', 10, 7)
    rotation = axis_angle_to_matrix(rng.normal(size=3))
    first, _ = fit_pose(body, motion)
    second, translation = fit_pose(body, motion @ rotation.T + [3, -2, 5])
    np.testing.assert_allclose(second[:, 0], rotation @ first[:, 0], atol=1e-4)
    np.testing.assert_allclose(second[:, 1:], first[:, 1:], atol=1e-3)
    joints = joints_of(body, second, translation)
    np.testing.assert_allclose(joints[:, 0], motion[:, 0] @ rotation.T + [3, -2, 5], atol=2e-3)


def test_mirrored_motion_gives_mirrored_rotations(body):
    motion = generate_motion('waving', 12, 8)
    rotmats, _ = fit_pose(body, motion)
    mirrored, _ = fit_pose(body, (motion * MIRROR)[:, list(H36M.flip_indices)])
    expected = rotmats[:, list(SMPL.flip_indices)] * np.outer(MIRROR, MIRROR)
    # the body is mirrored in its own axes, the motion in the world's: both negate x
    np.testing.assert_allclose(mirrored, expected, atol=2e-3)


@pytest.mark.parametrize('action', ['walking', 'sitting', 'waving'])
def test_no_jumps(body, action, rng):
    motion = generate_motion(action, 200, 9)
    rotmats, _ = fit_pose(body, motion)
    assert turn(rotmats[1:], rotmats[:-1]).max() < 12  # degrees in 20 ms
    shaken, _ = fit_pose(body, motion + rng.uniform(-1e-3, 1e-3, motion.shape))
    assert turn(shaken, rotmats).max() < 6


def test_frames_do_not_depend_on_each_other(body):
    motion = generate_motion('turning', 30, 10)
    rotmats, translation = fit_pose(body, motion)
    alone, moved = fit_pose(body, motion[17:18])
    np.testing.assert_allclose(alone[0], rotmats[17], atol=1e-6)
    np.testing.assert_allclose(moved[0], translation[17], atol=1e-6)


def test_opposite_direction_is_no_problem(body):
    motion = generate_motion('idling', 2, 11)
    head, neck = H36M.index('head'), H36M.index('neck_base')
    motion[:, head] = 2 * motion[:, neck] - motion[:, head]  # the head straight down
    assert np.isfinite(fit_pose(body, motion)[0]).all()


def test_wrong_input(body):
    motion = generate_motion('idling', 3, 0)
    with pytest.raises(ValueError, match=r"joints: expected shape \(T, 17, 3\).*'h36m'.*\(3, 16"):
        fit_pose(body, motion[:, 1:])
    broken = motion.copy()
    broken[1, 4] = np.nan
    with pytest.raises(ValueError, match='frame 1 has values that are not finite'):
        fit_pose(body, broken)
    broken = motion.copy()
    broken[2, H36M.index('left_knee')] = broken[2, H36M.index('left_hip')]
    with pytest.raises(ValueError, match='left_hip and left_knee coincide in frame 2'):
        fit_pose(body, broken)
    small = BodyModel.from_arrays(np.zeros((3, 3)), np.zeros((3, 3, 1)), np.zeros((3, 3, 0)),
                                  np.ones((1, 3)) / 3, np.ones((3, 1)), [-1])
    with pytest.raises(ValueError, match='body: expected the 24 joints'):
        fit_pose(small, motion)
