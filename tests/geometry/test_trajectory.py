"""Root positions from reprojection: exact, noisy, outliers, gaps, ambiguities, length."""

import time

import numpy as np
import pytest

from mmpose_lift.geometry import h36m_cameras
from mmpose_lift.geometry.trajectory import fit_trajectory, focal_from_fov

FPS = 50


def scene(frames=150, camera=0):
    """A swinging body walking a circle before a Human3.6M camera.

    Returns poses (T, 17, 3) relative to the root, roots (T, 3), pixels (T, 17, 2) and the camera,
    without lens distortion.
    """
    rng = np.random.default_rng(1)
    camera = h36m_cameras(['S1', 'S9'])[camera]
    t = np.arange(frames)[:, None, None] / FPS
    poses = rng.normal(scale=[0.25, 0.25, 0.45], size=(17, 3)) + 0.1 * np.sin(
        2 * np.pi * t + rng.uniform(0, 6, (17, 3)))
    poses[:, 0] = 0
    turn = 0.8 * t[:, 0, 0]
    roots = np.stack([1.2 * np.cos(turn), 1.2 * np.sin(turn), np.full(frames, 0.95)], 1)
    points = camera.world_to_camera(roots[:, None] + poses)
    pixels = points[..., :2] / points[..., 2:] * camera.focal + camera.center
    return points - points[:, :1], points[:, 0], pixels, camera


def fit(poses, pixels, camera, scores=None, **options):
    scores = np.ones(pixels.shape[:2]) if scores is None else scores
    return fit_trajectory(poses, pixels, scores, camera.focal, camera.center, FPS, **options)


@pytest.mark.parametrize('camera', range(8))
def test_exact_input(camera):
    poses, roots, pixels, camera = scene(camera=camera)
    alone = fit(poses, pixels, camera, smoothness=0)
    np.testing.assert_allclose(alone, roots, atol=1e-4)
    error = np.linalg.norm(fit(poses, pixels, camera) - roots, axis=1)
    assert (error < 0.01 * roots[:, 2]).all()


def test_noise_of_three_pixels(rng):
    poses, roots, pixels, camera = scene()
    pixels = pixels + rng.normal(scale=3, size=pixels.shape)
    found = fit(poses, pixels, camera)
    error = np.linalg.norm(found - roots, axis=1)
    assert error.mean() < 0.005 * roots[:, 2].mean() and error.max() < 0.02 * roots[:, 2].mean()
    alone = fit(poses, pixels, camera, smoothness=0)
    assert error.mean() < 0.5 * np.linalg.norm(alone - roots, axis=1).mean()
    shake = [np.abs(np.diff(x, 2, axis=0)).mean() * FPS ** 2 for x in (found, alone)]
    assert shake[0] < 0.1 * shake[1]


def test_outliers_and_low_scores(rng):
    poses, roots, pixels, camera = scene()
    scores = np.ones(pixels.shape[:2])
    wrong = pixels.copy()
    joints = rng.integers(0, 17, len(wrong))
    wrong[np.arange(len(wrong)), joints] += 150 * rng.normal(size=(len(wrong), 2))
    assert np.abs(fit(poses, wrong, camera) - roots).max() < 0.03
    scores[np.arange(len(wrong)), joints] = 0
    np.testing.assert_allclose(fit(poses, wrong, camera, scores, smoothness=0), roots, atol=1e-4)


def test_frames_without_keypoints_are_bridged():
    poses, roots, pixels, camera = scene()
    scores = np.ones(pixels.shape[:2])
    for gap in (slice(40, 60), slice(0, 5), slice(145, 150)):
        scores[gap] = 0
    pixels[scores == 0] = -1e4
    assert np.abs(fit(poses, pixels, camera, scores) - roots).max() < 0.1
    straight = fit(poses, pixels, camera, scores, smoothness=0)
    np.testing.assert_allclose(straight[40:60], np.linspace(straight[39], straight[60], 22)[1:-1],
                               atol=1e-4)


def test_scale_can_not_be_seen():
    poses, roots, pixels, camera = scene(60)
    np.testing.assert_allclose(fit(1.1 * poses, pixels, camera, smoothness=0), 1.1 * roots,
                               atol=1e-3)


def test_short_clips_and_points_behind_the_camera(rng):
    poses, roots, pixels, camera = scene(3)
    for frames in (1, 2, 3):
        np.testing.assert_allclose(fit(poses[:frames], pixels[:frames], camera), roots[:frames],
                                   atol=2e-2)
    nonsense = fit(poses * 10, rng.uniform(0, 1000, pixels.shape), camera)
    assert np.isfinite(nonsense).all() and (nonsense[:, 2] >= 0.1).all()
    same = fit(poses, np.full(pixels.shape, 500.0), camera)
    assert np.isfinite(same).all()


def test_long_video_takes_seconds():
    poses, roots, pixels, camera = scene(20_000)
    start = time.perf_counter()
    found = fit(poses, pixels, camera)
    assert time.perf_counter() - start < 10  # about 1 s
    assert np.abs(found - roots).max() < 0.05


def test_focal_from_field_of_view():
    assert focal_from_fov((1000, 600), 90) == pytest.approx(500)
    assert focal_from_fov((600, 1000)) == focal_from_fov((1000, 600)) == pytest.approx(960.5, 1e-4)
    with pytest.raises(ValueError, match='fov_degrees: expected an angle'):
        focal_from_fov((1000, 600), 180)
    with pytest.raises(ValueError, match='image_size'):
        focal_from_fov((0, 600))


def test_wrong_input_is_named():
    poses, _, pixels, camera = scene(4)
    scores = np.ones((4, 17))
    broken = pixels.copy()
    broken[2, 3] = np.nan
    good = dict(poses=poses, keypoints=pixels, scores=scores, focal=1000, center=(500, 500), fps=50)
    for change, message in [
            (dict(poses=poses[..., :2]), r'poses: expected .* \(T, J, 3\)'),
            (dict(keypoints=pixels[:3]), r'keypoints: expected \(4, 17, 2\)'),
            (dict(scores=scores[:, :2]), r'scores: expected \(4, 17\)'),
            (dict(keypoints=broken), 'keypoints: frame 2 holds NaN'),
            (dict(scores=0 * scores), 'scores: no frame has two joints'),
            (dict(focal=-1), 'focal: expected positive'),
            (dict(focal=(1, 2, 3)), 'focal: expected positive pixels, one or two'),
            (dict(center=3), 'center: expected x and y'),
            (dict(fps=0), 'fps: expected'), (dict(smoothness=-1), 'smoothness: expected')]:
        with pytest.raises(ValueError, match=message):
            fit_trajectory(**{**good, **change})
