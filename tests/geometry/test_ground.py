"""Ground axes: known cameras and bodies, robustness, conventions, wrong input."""

import numpy as np
import pytest

from mmpose_lift.geometry import get_skeleton, h36m_cameras, joint_map
from mmpose_lift.geometry.body_scale import sole_offset
from mmpose_lift.geometry.ground import (
    align_to_ground,
    estimate_up,
    find_ground,
    ground_rotation,
    stand_on_floor,
)

FPS = 50
Z = dict(root=0.86, right_hip=0.86, left_hip=0.86, right_knee=0.42, left_knee=0.42, right_foot=0,
         left_foot=0, spine=1.1, thorax=1.36, neck_base=1.45, head=1.57, left_shoulder=1.34,
         left_elbow=1.1, left_wrist=0.9, right_shoulder=1.34, right_elbow=1.1, right_wrist=0.9)
SOLE = 0.0794 * 0.86


def walker(frames=300, radius=2.0, bent=0, scale=1.0, seed=0):
    """(T, 17, 3) world metres, z up: walking along an ellipse, feet lifted in turn, floor at 0.

    Every joint shakes by 1 cm. In the first ``bent`` frames the trunk is bent forward by 70
    degrees.
    """
    skeleton = get_skeleton('h36m')
    rng = np.random.default_rng(seed)
    t = np.arange(frames) / FPS
    poses = np.zeros((frames, 17, 3))
    for name, height in Z.items():
        joint = skeleton.index(name)
        poses[:, joint, 2] = height + SOLE
        poses[:, joint, 0] = 0.15 * (name[:4] == 'left') - 0.15 * (name[:5] == 'right')
    for side, phase in (('left', 0), ('right', np.pi)):
        lift = 0.12 * np.sin(2 * np.pi * t + phase).clip(0)
        poses[:, skeleton.index(f'{side}_ankle'), 2] += lift
        poses[:, skeleton.index(f'{side}_ankle'), 1] += 0.3 * np.cos(2 * np.pi * t + phase)
    upper = [i for i, name in enumerate(skeleton.joint_names) if Z[name] > 0.86]
    angle = np.radians(70)
    height = poses[:bent, upper, 2] - 0.86 - SOLE
    poses[:bent, upper, 1] += np.sin(angle) * height
    poses[:bent, upper, 2] = 0.86 + SOLE + np.cos(angle) * height
    poses += rng.normal(scale=0.01, size=poses.shape)
    poses[:, :, 0] += radius * np.cos(0.5 * t)[:, None]
    poses[:, :, 1] += radius / 2 * np.sin(0.5 * t)[:, None]
    return scale * poses


def degrees(a, b):
    return np.degrees(np.arccos(np.clip(np.dot(a, b), -1, 1)))


@pytest.mark.parametrize('camera', h36m_cameras(['S1']), ids=lambda c: c.name)
def test_walking_person_in_a_known_camera(camera):
    world = walker()
    seen = camera.world_to_camera(world)
    ground = find_ground([seen], 'h36m')
    assert degrees(ground.up, camera.rotation[:, 2]) < 1
    aligned = align_to_ground(seen, 'h36m', FPS, absolute=True)
    np.testing.assert_allclose(aligned[0, 0, :2], 0, atol=1e-12)
    assert np.abs(aligned[..., 2] - world[..., 2]).max() < 0.06
    # the same motion in the plane, turned about the vertical
    paths = [x[:, 0, :2] - x[0, 0, :2] for x in (aligned, world)]
    np.testing.assert_allclose(np.linalg.norm(paths[0], axis=1), np.linalg.norm(paths[1], axis=1),
                               atol=0.02)
    given = find_ground([seen], 'h36m', camera.rotation[:, 2])
    np.testing.assert_allclose(given.up, camera.rotation[:, 2], atol=1e-9)
    height = given.apply(seen)[..., 2] - world[..., 2]
    assert np.ptp(height) < 1e-9 and abs(height[0, 0]) < 0.02


def test_feet_correct_people_who_lean():
    """Everyone leans 6 degrees to the same side: trunks are wrong, feet are right."""
    camera = h36m_cameras(['S1'])[0]
    world = walker(radius=3)
    world[..., 0] += np.tan(np.radians(6)) * (world[..., 2] - SOLE).clip(0)
    seen = camera.world_to_camera(world)
    assert degrees(estimate_up(seen, 'h36m'), camera.rotation[:, 2]) > 5
    assert degrees(find_ground([seen], 'h36m').up, camera.rotation[:, 2]) < 1


def test_two_people_share_one_floor():
    camera = h36m_cameras(['S1'])[1]
    people = [camera.world_to_camera(x) for x in (walker(100, 0.1), walker(200, 1.5, scale=1.2,
                                                                           seed=1))]
    ground = find_ground(people, 'h36m')
    for person in people:
        ankles = ground.apply(person)[:, [3, 6], 2].min(1)
        assert np.median(ankles) == pytest.approx(sole_offset(person, 'h36m'), abs=0.03)
    np.testing.assert_allclose(ground.apply(people[0])[0, 0, :2], 0, atol=1e-12)
    assert ground.apply(ground.origin) == pytest.approx([0, 0, 0])


def test_bending_does_not_tilt_the_vertical():
    upright, bent = walker(radius=0), walker(radius=0, bent=100)
    assert degrees(estimate_up(upright, 'h36m'), [0, 0, 1]) < 0.5
    assert degrees(estimate_up(bent, 'h36m'), [0, 0, 1]) < 8  # the mean is off by 24 degrees
    order = list(joint_map('h36m', 'mpi_inf_3dhp'))
    np.testing.assert_allclose(estimate_up(bent[:, order], 'mpi_inf_3dhp'),
                               estimate_up(bent, 'h36m'))


def test_rotation_conventions():
    level = ground_rotation([0, -2, 0])
    np.testing.assert_allclose(level, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)
    for up in ([0, -1, 0], [0.1, -0.8, -0.4], [0, 0, -1], [0, 0, 1]):
        rotation = ground_rotation(up)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        np.testing.assert_allclose(rotation @ up, [0, 0, np.linalg.norm(up)], atol=1e-12)
    # a camera looking straight down: the image's upward direction is y
    np.testing.assert_allclose(ground_rotation([0, 0, -1]) @ [0, -1, 0], [0, 1, 0], atol=1e-12)


def test_root_relative_poses_stand_above_the_origin():
    world = walker(radius=1)
    camera = h36m_cameras(['S1'])[2]
    seen = camera.world_to_camera(world)
    relative = (seen - seen[:, :1]).astype(np.float32)
    aligned = align_to_ground(relative, 'h36m', FPS, absolute=False)
    assert aligned.dtype == np.float32
    np.testing.assert_allclose(aligned[:, 0, :2], 0, atol=1e-6)
    np.testing.assert_allclose(aligned[:, 0, 2], world[:, 0, 2], atol=0.07)
    soles = aligned[:, [3, 6], 2].min(1) - sole_offset(relative, 'h36m')
    assert soles.min() > -1e-5 and np.median(soles) < 0.03


def test_a_short_jump_leaves_the_floor():
    world = walker(radius=0)
    t = np.arange(300)
    jump = 0.3 * np.sin(np.pi * (t - 150) / 15).clip(0) * ((t >= 150) & (t < 165))
    # in the air the legs hang: relative to the root the feet do not move, so bend the knees
    relative = world - world[:, :1]
    relative[:, [2, 3, 5, 6], 2] += jump[:, None]
    standing = stand_on_floor(relative, 'h36m', FPS)
    feet = standing[150:165, [3, 6], 2].min(1)
    assert feet.max() - SOLE > 0.2


def test_wrong_input_is_named():
    poses = walker(5)
    upside_down = np.concatenate([poses, -poses])
    for call, message in [
            (lambda: find_ground([], 'h36m'), 'people: expected'),
            (lambda: find_ground([poses[:, :3]], 'h36m'), r'expected .* \(T, 17, 3\)'),
            (lambda: find_ground([poses], 'h36m', up=(0, 0, 0)), 'up: expected the vertical'),
            (lambda: estimate_up(poses * 0, 'h36m'), 'no common direction'),
            (lambda: estimate_up(upside_down, 'h36m'), 'no common direction'),
            (lambda: estimate_up(np.ones((2, 14, 3)), 'lsp_14'), 'no root'),
            (lambda: stand_on_floor(poses, 'h36m', 0), 'fps: expected'),
            (lambda: stand_on_floor(poses, 'h36m', 50, -1), 'seconds: expected')]:
        with pytest.raises(ValueError, match=message):
            call()
