import numpy as np
import pytest
import torch

from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.models.body import BodyModel, MotionFitter, fit_pose, stand_in_arrays

H36M, SMPL = get_skeleton('h36m'), get_skeleton('smpl')
BETAS = np.array([1, -0.5, 0.8, -0.7, 0.5, 0.4, 0, 0, -0.6, 0], dtype=np.float32)


@pytest.fixture(scope='module')
def fitter():
    torch.set_num_threads(1)
    return MotionFitter(BodyModel.stand_in())


def joints_of(fitter, rotmats, place, betas=BETAS):
    with torch.no_grad():
        betas = torch.tensor(betas).expand(len(rotmats), -1)
        return (fitter.joints(betas, torch.tensor(rotmats)) + torch.tensor(place)[:, None]).numpy()


@pytest.fixture(scope='module')
def recorded(fitter):
    """Walking of a body of another shape: its joints, 25 Hz, and its rotations."""
    rotmats, place = fit_pose(fitter.body, generate_motion('walking', 60, 3)[::2], BETAS)
    return joints_of(fitter, rotmats, place), rotmats


@pytest.fixture(scope='module')
def fitted(fitter, recorded):
    shape = fitter.fit_shape(recorded[0])
    return shape, fitter.fit(recorded[0], 25, shape)


def bends(rotmats):
    """(4, T) sines of knees and elbows, positive where they bend as on people."""
    knees = [rotmats[:, SMPL.index(f'{side}_knee'), 2, 1] for side in ('left', 'right')]
    elbows = [sign * rotmats[:, SMPL.index(f'{side}_elbow'), 2, 0]
              for side, sign in (('left', 1), ('right', -1))]
    return np.stack(knees + elbows)


def test_shape_and_pose_are_found_again(fitter, recorded, fitted):
    joints, rotmats = recorded
    shape, motion = fitted
    assert motion.rotmats.shape == (30, 24, 3, 3) and motion.translation.shape == (30, 3)
    for array in (shape.betas, *motion):
        assert array.dtype == np.float32 and np.isfinite(array).all()
    np.testing.assert_allclose(motion.rotmats @ motion.rotmats.swapaxes(-1, -2),
                               np.broadcast_to(np.eye(3), motion.rotmats.shape), atol=1e-5)
    assert motion.fitted_errors.mean() < 0.005
    # what the errors say is what the body does
    found = joints_of(fitter, motion.rotmats, motion.translation, shape.betas)
    np.testing.assert_allclose(np.linalg.norm(found - joints, axis=-1), motion.errors, atol=1e-6)
    limbs = [i for i, name in enumerate(H36M.joint_names) if name.split('_')[-1] in
             ('knee', 'foot', 'elbow', 'wrist')]
    parents = [H36M.parents[i] for i in limbs]
    lengths = [np.linalg.norm(j[:, limbs] - j[:, parents], axis=-1).mean(0)
               for j in (found, joints)]
    np.testing.assert_allclose(*lengths, atol=0.012)
    start = joints_of(fitter, *fit_pose(fitter.body, joints), np.zeros_like(BETAS))
    assert np.linalg.norm(start - joints, axis=-1).mean() > 0.015  # it was not there to begin with


def test_what_joints_do_not_show_stays_at_rest(fitted):
    _, motion = fitted
    still = [i for i, name in enumerate(SMPL.joint_names)
             if name.split('_')[-1] in ('hand', 'foot', 'wrist', 'ankle')]
    trace = np.trace(motion.rotmats[:, still], axis1=-2, axis2=-1)
    assert np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))).max() < 3


def test_thorax_and_head_of_another_definition_do_not_bend_the_body(fitter, recorded, fitted):
    joints = recorded[0].copy()
    for end, start, part in (('thorax', 'spine', 0.7), ('head', 'neck_base', 0.55)):
        a, b = recorded[0][:, H36M.index(start)], recorded[0][:, H36M.index(end)]
        joints[:, H36M.index(end)] = a + part * (b - a)
    shape = fitter.fit_shape(joints)
    np.testing.assert_allclose(shape.reach / fitted[0].reach, [0.7, 0.55], rtol=0.05)
    motion = fitter.fit(joints, 25, shape)
    np.testing.assert_allclose(motion.fitted_errors.mean(), fitted[1].fitted_errors.mean(),
                               atol=2e-3)
    head = motion.errors[:, H36M.index('head')].mean()
    assert head > 5 * motion.fitted_errors[:, H36M.index('head')].mean()


def test_turned_and_moved_recording_gives_the_same_pose(fitter, recorded, fitted):
    turn = axis_angle_to_matrix(np.array([0, 0, 2.0])) @ axis_angle_to_matrix(np.array([0.3, 0, 0]))
    shape, motion = fitted
    joints = recorded[0] @ turn.T.astype(np.float32) + np.float32([1, -2, 0.5])
    turned = fitter.fit(joints, 25, shape)
    np.testing.assert_allclose(turned.rotmats[:, 1:], motion.rotmats[:, 1:], atol=0.08)
    np.testing.assert_allclose(turned.rotmats[:, 0], turn @ motion.rotmats[:, 0], atol=0.03)


def test_noise_does_not_bend_straight_limbs_backwards_and_is_smoothed(fitter, fitted):
    arms_down = np.zeros((20, 24, 3))
    for side, sign in (('left', -1), ('right', 1)):  # legs straight, elbows almost
        arms_down[:, SMPL.index(f'{side}_shoulder'), 2] = sign * 1.2
        arms_down[:, SMPL.index(f'{side}_elbow'), 1] = sign * 0.15
    rotmats = axis_angle_to_matrix(arms_down).astype(np.float32)
    joints = joints_of(fitter, rotmats, np.zeros((20, 3), np.float32), fitted[0].betas)
    noisy = joints + np.random.default_rng(0).normal(0, 0.01, joints.shape).astype(np.float32)
    motion = fitter.fit(noisy, 25, fitted[0])
    assert bends(motion.rotmats).min() > -0.12
    found = joints_of(fitter, motion.rotmats, motion.translation, fitted[0].betas)

    def shaking(points):
        return np.linalg.norm(np.diff(points, n=2, axis=0), axis=-1).mean()

    assert shaking(found) < 0.6 * shaking(noisy)
    # an ankle that was recorded 8 cm beyond the knee's stop
    pushed = joints.copy()
    pushed[:, H36M.index('left_foot'), 2] += 0.08
    assert bends(fitter.fit(pushed, 25, fitted[0]).rotmats)[0].min() > -0.15


def test_one_frame_is_a_clip_too(fitter, recorded, fitted):
    motion = fitter.fit(recorded[0][:1], 25, fitted[0])
    assert motion.rotmats.shape == (1, 24, 3, 3) and motion.fitted_errors.mean() < 0.006


def test_wrong_input(fitter, recorded, fitted):
    with pytest.raises(ValueError, match=r'joints: .*\(T, 17, 3\)'):
        fitter.fit(recorded[0][:, :16], 25, fitted[0])
    with pytest.raises(ValueError, match='no frame'):
        fitter.fit_shape(recorded[0][:0])
    arrays = stand_in_arrays()
    with pytest.raises(ValueError, match='regressor'):
        MotionFitter(BodyModel.from_arrays(**arrays))
