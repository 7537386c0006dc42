"""Bone lengths and heights of hand-made bodies; scaling keeps what it must."""

import numpy as np
import pytest

from mmpose_lift.geometry import get_skeleton, joint_map
from mmpose_lift.geometry.body_scale import (
    SOLE_OVER_LEG,
    leg_length,
    mean_bone_lengths,
    scale_to_bone_lengths,
    scale_to_height,
    sole_offset,
    standing_height,
)

LENGTHS = dict(hip=0.13, knee=0.44, ankle=0.42, spine=0.23, neck=0.26, head=0.1, head_top=0.12,
               shoulder=0.15, elbow=0.28, wrist=0.25)


def moving_body(rng, frames=12):
    """(T, 17, 3) H36M poses with the lengths above and random directions of every bone."""
    skeleton = get_skeleton('h36m')
    poses = np.zeros((frames, 17, 3))
    for parent, child in skeleton.bones:
        direction = rng.normal(size=(frames, 3))
        if skeleton.common_names[child] == 'left_hip':  # mid-hip stays the root
            direction = poses[:, skeleton.index('right_hip')] * -1
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        kind = skeleton.common_names[child].replace('left_', '').replace('right_', '')
        poses[:, child] = poses[:, parent] + LENGTHS[kind] * direction
    return poses


def straight_body():
    """One frame, standing, z up, ankles at z = 0."""
    skeleton = get_skeleton('h36m')
    z = dict(root=0.86, right_hip=0.86, left_hip=0.86, right_knee=0.42, left_knee=0.42,
             right_foot=0, left_foot=0, spine=1.09, thorax=1.35, neck_base=1.45, head=1.57)
    pose = np.zeros((1, 17, 3))
    for name, height in z.items():
        pose[0, skeleton.index(name), 2] = height
        pose[0, skeleton.index(name), 0] = 0.13 * (name[:5] == 'left_') - 0.13 * (name[0:6]
                                                                                  == 'right_')
    return pose


def test_lengths_of_a_known_body(rng):
    poses = moving_body(rng)
    skeleton = get_skeleton('h36m')
    for (_, child), length in zip(skeleton.bones, mean_bone_lengths(poses, 'h36m')):
        kind = skeleton.common_names[child].replace('left_', '').replace('right_', '')
        assert length == pytest.approx(LENGTHS[kind])
    assert leg_length(poses, 'h36m') == pytest.approx(0.86)
    assert sole_offset(poses, 'h36m') == pytest.approx(0.86 * 0.0794, rel=1e-3)


def test_height_of_a_standing_body_is_its_height():
    pose = straight_body()
    assert standing_height(pose, 'h36m') == pytest.approx(1.57 + SOLE_OVER_LEG * 0.86)


@pytest.mark.parametrize('name', ['h36m_16', 'h36m_l_first', 'mpi_inf_3dhp', 'uplift_upsample',
                                  'lsp_14'])
def test_height_does_not_depend_on_order_axes_or_place(rng, name):
    pose = straight_body()
    body = (pose[:, list(joint_map('h36m', name))] @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
            + [1, 2, 3])
    assert standing_height(body, name) == pytest.approx(standing_height(pose, 'h36m'))


def test_scale_to_height(rng):
    poses = moving_body(rng)
    scaled = scale_to_height(poses, 1.9, 'h36m')
    assert standing_height(scaled, 'h36m') == pytest.approx(1.9)
    factor = 1.9 / standing_height(poses, 'h36m')
    np.testing.assert_allclose(scaled, poses * factor)
    away = scale_to_height(poses + [0.3, 0.1, 4], 1.9, 'h36m')  # seen at the same place
    np.testing.assert_allclose(away[..., :2] / away[..., 2:],
                               (poses + [0.3, 0.1, 4])[..., :2] / (poses + 4)[..., 2:])
    assert scale_to_height(poses.astype(np.float32), 1.9, 'h36m').dtype == np.float32


def test_scale_to_bone_lengths_keeps_directions_and_root(rng):
    poses = moving_body(rng) + rng.normal(size=(12, 1, 3))
    lengths = rng.uniform(0.1, 0.5, 16)
    scaled = scale_to_bone_lengths(poses, lengths, 'h36m')
    np.testing.assert_allclose(scaled[:, 0], poses[:, 0])
    for (parent, child), length in zip(get_skeleton('h36m').bones, lengths):
        old, new = poses[:, child] - poses[:, parent], scaled[:, child] - scaled[:, parent]
        np.testing.assert_allclose(
            new, length * old / np.linalg.norm(old, axis=1, keepdims=True), atol=1e-12)
    own = scale_to_bone_lengths(poses, mean_bone_lengths(poses, 'h36m'), 'h36m')
    np.testing.assert_allclose(own, poses, atol=1e-12)


def test_scale_to_bone_lengths_where_children_come_before_parents(rng):
    order = list(joint_map('h36m', 'uplift_upsample'))
    poses = moving_body(rng)[:, order]
    lengths = rng.uniform(0.1, 0.5, 16)
    scaled = scale_to_bone_lengths(poses, lengths, 'uplift_upsample')
    np.testing.assert_allclose(mean_bone_lengths(scaled, 'uplift_upsample'), lengths)


def test_wrong_input_is_named(rng):
    poses = moving_body(rng)
    flat = poses.copy()
    flat[3, 2] = flat[3, 1]
    broken = poses.copy()
    broken[5] = np.inf
    for call, message in [
            (lambda: standing_height(poses[:, :16], 'h36m'), r'expected .* \(T, 17, 3\)'),
            (lambda: standing_height(broken, 'h36m'), 'frame 5 holds NaN'),
            (lambda: standing_height(np.ones((1, 24, 3)), 'smpl'), "no joint 'head_top'"),
            (lambda: scale_to_height(poses, 180, 'h36m'), 'height: expected .* metres'),
            (lambda: scale_to_height(poses * 0, 1.8, 'h36m'), 'all joints coincide'),
            (lambda: scale_to_bone_lengths(poses, np.ones(17), 'h36m'), 'has 16 bones'),
            (lambda: scale_to_bone_lengths(poses, -np.ones(16), 'h36m'), 'found -1'),
            (lambda: scale_to_bone_lengths(flat, np.ones(16), 'h36m'),
             'right_hip-right_knee has length zero in frame 3')]:
        with pytest.raises(ValueError, match=message):
            call()


def test_smpl_has_legs():
    skeleton = get_skeleton('smpl')
    pose = np.zeros((1, 24, 3))
    for side in ('left', 'right'):
        pose[0, skeleton.index(f'{side}_knee'), 2] = -0.4
        pose[0, skeleton.index(f'{side}_ankle'), 2] = -0.81
    assert leg_length(pose, 'smpl') == pytest.approx(0.81)
