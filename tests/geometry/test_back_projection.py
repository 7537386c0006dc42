"""Back-projection and root position: round trips, a general solver, invariances, extremes."""

import numpy as np
import pytest
import torch

from mmpose_lift.geometry import (
    back_project,
    estimate_root_position,
    get_skeleton,
    normalize_intrinsics,
    normalize_screen,
)

WIDTH, HEIGHT = 1000.0, 1002.0
FOCAL, CENTER = np.array([1145.0, 1143.8]), np.array([512.5, 515.4])


def scene(count: int = 6):
    """Root-relative poses (N, 17, 3), roots (N, 3), pixels (N, 17, 2); float64, no distortion."""
    rng = np.random.default_rng(0)
    poses = rng.normal(scale=0.4, size=(count, 17, 3))
    poses[:, 0] = 0
    roots = rng.normal(size=(count, 3)) * [0.5, 0.3, 0.6] + [0, 0, 5]
    points = poses + roots[:, None]
    return poses, roots, points[..., :2] / points[..., 2:] * FOCAL + CENTER


def normalized_scene(count: int = 6, dtype=torch.float64):
    """The scene as tensors: poses, roots, uv, focal and center in screen space."""
    poses, roots, pixels = scene(count)
    arrays = (poses, roots, normalize_screen(pixels, WIDTH, HEIGHT),
              *normalize_intrinsics(FOCAL, CENTER, WIDTH, HEIGHT))
    return tuple(torch.from_numpy(a).to(dtype) for a in arrays)


def test_intrinsics_follow_the_screen():
    focal, center = normalize_intrinsics(FOCAL, CENTER, WIDTH, HEIGHT)
    np.testing.assert_allclose(focal, FOCAL * 2 / WIDTH)
    np.testing.assert_allclose(center, CENTER * 2 / WIDTH - [1, HEIGHT / WIDTH])
    each = normalize_intrinsics(*(torch.tensor(x).expand(3, 2) for x in (FOCAL, CENTER)),
                                torch.full((3, ), WIDTH), torch.full((3, ), HEIGHT))
    np.testing.assert_allclose(each[0][2], focal)
    np.testing.assert_allclose(each[1][2], center)
    with pytest.raises(ValueError, match='focal: expected positive pixels, found 0'):
        normalize_intrinsics(FOCAL * 0, CENTER, WIDTH, HEIGHT)


def test_back_projection_undoes_the_projection():
    poses, roots, pixels = scene()
    points = poses + roots[:, None]
    np.testing.assert_allclose(back_project(pixels, points[..., 2], FOCAL, CENTER), points,
                               atol=1e-12)
    _, _, uv, focal, center = normalized_scene()
    found = back_project(uv, torch.from_numpy(points[..., 2]), focal, center)
    np.testing.assert_allclose(found, points, atol=1e-12)


def test_root_position_is_exact_for_exact_inputs():
    poses, roots, pixels = scene()
    np.testing.assert_allclose(estimate_root_position(poses, pixels, FOCAL, CENTER), roots,
                               atol=1e-9)
    poses, roots, uv, focal, center = normalized_scene(dtype=torch.float32)
    torch.testing.assert_close(estimate_root_position(poses, uv, focal, center), roots,
                               atol=1e-4, rtol=0)


def test_root_position_is_the_least_squares_solution():
    """Against a general solver, with noise on both inputs."""
    rng = np.random.default_rng(1)
    poses, _, pixels = scene(4)
    poses += rng.normal(scale=0.03, size=poses.shape)
    pixels += rng.normal(scale=5, size=pixels.shape)
    ray = (pixels - CENTER) / FOCAL
    roots = estimate_root_position(poses, pixels, FOCAL, CENTER)
    for pose, slopes, found in zip(poses, ray, roots):
        matrix = np.concatenate([np.column_stack([np.tile(np.eye(2)[i], (17, 1)), -slopes[:, i]])
                                 for i in (0, 1)])
        right = np.concatenate([slopes[:, i] * pose[:, 2] - pose[:, i] for i in (0, 1)])
        np.testing.assert_allclose(found, np.linalg.lstsq(matrix, right, rcond=None)[0], atol=1e-9)


def test_root_stays_in_front_of_the_camera():
    poses, _, pixels = scene()
    turned = estimate_root_position(-poses, pixels, FOCAL, CENTER, min_depth=0.3)
    np.testing.assert_array_equal(turned[:, 2], 0.3)  # best below zero: the image is upside down
    poses, _, uv, focal, center = normalized_scene(dtype=torch.float32)
    uv = torch.zeros_like(uv).requires_grad_()
    poses.requires_grad_()
    found = estimate_root_position(poses, uv, focal, center)
    torch.testing.assert_close(found[:, 2], torch.full((6, ), 0.1))
    found.sum().backward()
    assert uv.grad.isfinite().all() and poses.grad.isfinite().all()


def test_root_position_gradient():
    poses, _, uv, focal, center = normalized_scene(2)
    assert torch.autograd.gradcheck(
        lambda p, x: estimate_root_position(p, x, focal, center),
        (poses.requires_grad_(), uv.requires_grad_()))


def test_mirrored_scene_has_the_mirrored_root():
    poses, _, pixels = scene()
    pixels += np.random.default_rng(1).normal(scale=5, size=pixels.shape)
    root = estimate_root_position(poses, pixels, FOCAL, CENTER)
    flip, sign = list(get_skeleton('h36m').flip_indices), np.array([-1, 1, 1])
    pixels[..., 0] = WIDTH - pixels[..., 0]
    mirrored = estimate_root_position(poses[:, flip] * sign, pixels[:, flip], FOCAL,
                                      [WIDTH - CENTER[0], CENTER[1]])
    np.testing.assert_allclose(mirrored, root * sign)
