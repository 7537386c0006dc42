"""Crop coordinates with depth, and depths of the root."""

import numpy as np
import pytest
import torch

from mmpose_lift.geometry import get_skeleton
from mmpose_lift.geometry.uvd import (
    crop_to_image,
    depth_from_bones,
    depth_from_box,
    uvd_to_xyz,
    xyz_to_uvd,
)

PARENTS = get_skeleton('smpl').parents


@pytest.fixture
def scene(rng):
    """Five skeletons in front of cameras, seen through turned crops."""
    joints = np.zeros((5, 24, 3))
    joints[:, 0] = rng.uniform([-1, -1, 3], [1, 1, 8], (5, 3))
    for joint, parent in enumerate(PARENTS[1:], start=1):
        joints[:, joint] = joints[:, parent] + rng.normal(size=(5, 3)) * 0.15
    K = np.tile(np.eye(3), (5, 1, 1))
    K[:, 0, 0], K[:, 1, 1] = 1100, 1150
    K[:, :2, 2] = 512, 500
    angle, scale = rng.uniform(-1, 1, 5), rng.uniform(0.4, 0.8, 5)
    linear = scale[:, None, None] * np.stack(
        [np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)],
                                                                 -1)], -2)
    pixel = joints[:, 0] @ K[0].T
    center = (pixel / pixel[:, 2:])[:, :2]
    shift = 128 - (linear @ center[..., None])[..., 0]
    trans = np.concatenate([linear, shift[..., None]], -1)
    trans_inv = np.linalg.inv(np.concatenate([trans, np.tile([[[0, 0, 1.]]], (5, 1, 1))], 1))
    return dict(joints=joints, K=K, trans=trans, trans_inv=trans_inv[:, :2],
                intrinsic_inv=np.linalg.inv(K))


def to_uvd(scene, factor=2.0):
    return xyz_to_uvd(scene['joints'], scene['trans'], scene['K'], scene['joints'][:, 0, 2],
                      factor)


def bone_lengths(joints):
    lengths = np.linalg.norm(joints[:, 1:] - joints[:, list(PARENTS[1:])], axis=-1)
    return torch.from_numpy(np.pad(lengths, [(0, 0), (1, 0)]))


def test_there_and_back(scene):
    factor = np.full((5, 1), 2.2)
    uvd = to_uvd(scene, 2.2)
    np.testing.assert_allclose(uvd[:, 0], [[0, 0, 0]] * 5, atol=1e-12)  # the crop is on joint 0
    args = uvd, scene['trans_inv'], scene['intrinsic_inv'], scene['joints'][:, 0], factor
    xyz = uvd_to_xyz(*args)
    expected = scene['joints'] - scene['joints'][:, :1]
    np.testing.assert_allclose(xyz * 2.2, expected, atol=1e-10)
    tensors = uvd_to_xyz(*[torch.from_numpy(x) for x in args])
    np.testing.assert_allclose(tensors, xyz, atol=1e-12)


def test_units_do_not_matter(scene):
    uvd = to_uvd(scene)
    root, factor = scene['joints'][:, 0], np.full((5, 1), 2.0)
    metres = uvd_to_xyz(uvd, scene['trans_inv'], scene['intrinsic_inv'], root, factor)
    mm = uvd_to_xyz(uvd, scene['trans_inv'], scene['intrinsic_inv'], 1000 * root, 1000 * factor)
    np.testing.assert_allclose(metres, mm, atol=1e-12)


def test_crop_to_image_by_hand():
    trans_inv = np.array([[2., 0, 10], [0, 2, 20]])
    uv = np.array([[0., 0], [-0.5, -0.5], [0.5, 0]])
    np.testing.assert_allclose(crop_to_image(uv, trans_inv, (192, 256)),
                               [[202, 276], [10, 20], [394, 276]])


def test_depth_from_box_by_hand():
    assert depth_from_box(400.0, 1000.0) == 5.0  # 2 m are 400 pixels at 5 m
    assert depth_from_box(400.0, 1000.0, real_size=1.0) == 2.5


def test_depth_from_bones_finds_the_depth(scene):
    uvd = torch.from_numpy(to_uvd(scene))
    args = [torch.from_numpy(scene[k]) for k in ('trans_inv', 'intrinsic_inv')]
    depth = depth_from_bones(uvd, *args, bone_lengths(scene['joints']), PARENTS,
                             torch.full((5, 1), 2.0))
    np.testing.assert_allclose(depth, scene['joints'][:, 0, 2], rtol=1e-6)


def test_depth_from_bones_under_noise(scene, rng):
    uvd = to_uvd(scene)
    uvd[..., :2] += rng.normal(size=(5, 24, 2)) * 1 / 256  # a pixel of the crop
    uvd[..., 2] += rng.normal(size=(5, 24)) * 0.01  # 2 cm
    depth = depth_from_bones(
        torch.from_numpy(uvd), torch.from_numpy(scene['trans_inv']),
        torch.from_numpy(scene['intrinsic_inv']), bone_lengths(scene['joints']), PARENTS,
        torch.full((5, 1), 2.0))
    np.testing.assert_allclose(depth, scene['joints'][:, 0, 2], rtol=0.08)


@pytest.mark.parametrize('uvd', [torch.zeros(2, 24, 3), torch.full((2, 24, 3), 0.3),
                                 torch.randn(2, 24, 3) * 5])
def test_depth_from_bones_is_finite_for_nonsense(uvd):
    depth = depth_from_bones(uvd, torch.tensor([[[2., 0, 0], [0, 2, 0]]]).expand(2, -1, -1),
                             torch.tensor([[[1e-3, 0, -0.5], [0, 1e-3, -0.5], [0, 0, 1]]]).expand(
                                 2, -1, -1), torch.full((2, 24), 0.2), PARENTS, torch.full((2, 1),
                                                                                           2.0))
    assert ((depth >= 0.2) & (depth <= 100)).all()
