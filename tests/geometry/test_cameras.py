"""Camera maths by hand, by round trips and against MMPose's Human3.6M files."""

import re

import numpy as np
import pytest
import torch

from mmpose_lift.geometry.cameras import (
    Camera,
    camera_to_world,
    denormalize_screen,
    h36m_camera,
    h36m_cameras,
    normalize_screen,
    project_points,
    world_to_camera,
)
from mmpose_lift.io.restricted_pickle import restricted_load


@pytest.fixture
def mmpose_cameras(shared_dir):
    return restricted_load(shared_dir / 'mmpose_fixtures/h36m/cameras.pkl')


def test_table_has_28_cameras():
    cameras = h36m_cameras()
    assert len({c.name for c in cameras}) == 28
    assert [c.name for c in h36m_cameras(['S9'])] == [
        'S9.54138969', 'S9.55011271', 'S9.58860488', 'S9.60457274']
    for camera in cameras:
        np.testing.assert_allclose(camera.rotation @ camera.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(camera.rotation) > 0.999
        # All stand around the capture volume at head height and look roughly at its middle.
        assert 1.4 < camera.position[2] < 1.7
        pixel = camera.project(camera.world_to_camera(np.array([[0., 0., 1.]])))[0]
        assert np.abs(pixel - camera.center).max() < 250


def test_table_against_mmpose(mmpose_cameras):
    checked = 0
    for (subject, camera_id), theirs in mmpose_cameras.items():
        if subject in ('S2', 'S3', 'S4', 'S10'):  # no 3D poses
            continue
        ours = h36m_camera(subject, camera_id)
        # MMPose stores the camera-to-world matrix.
        np.testing.assert_allclose(ours.rotation.T, theirs['R'], atol=2e-6)
        np.testing.assert_allclose(ours.position, np.ravel(theirs['T']), atol=1e-5)
        np.testing.assert_allclose(ours.focal, np.ravel(theirs['f']), rtol=1e-6)
        np.testing.assert_allclose(ours.center, np.ravel(theirs['c']), rtol=1e-6)
        np.testing.assert_allclose(ours.radial, np.ravel(theirs['k']), rtol=1e-5)
        # MMPose stores OpenCV's p1, p2, the other way round than VideoPose3D's tables.
        np.testing.assert_allclose(ours.tangential, np.ravel(theirs['p'])[::-1], rtol=1e-5)
        assert (ours.width, ours.height) == (theirs['w'], theirs['h'])
        checked += 1
    assert checked == 28


def test_projection_against_mmpose_annotation(shared_dir):
    data = np.load(shared_dir / 'mmpose_fixtures/h36m/test_h36m_body3d.npz')
    for name, points, pixels in zip(data['imgname'], data['S'], data['part']):
        subject, camera_id = re.match(r'(S\d+)/.*?\.(\d+)/', name).groups()
        out = h36m_camera(subject, camera_id).project(points[:, :3].astype(np.float64))
        np.testing.assert_allclose(out, pixels[:, :2], atol=0.02)


def test_projection_by_hand():
    points = np.array([[0.2, -0.4, 2.0], [4.0, 0.0, 1.0]])
    out = project_points(points, [1000., 1100.], [500., 480.], [.1, .02, .003], [.01, -.02])
    x, y = 0.1, -0.2
    r2 = x * x + y * y
    factor = 1 + .1 * r2 + .02 * r2**2 + .003 * r2**3 + .01 * x - .02 * y
    np.testing.assert_allclose(out[0], [1000 * (x * factor + .01 * r2) + 500,
                                        1100 * (y * factor - .02 * r2) + 480])
    # x / z = 4 is clipped to 1.
    factor = 1 + .1 + .02 + .003 + .01
    np.testing.assert_allclose(out[1], [1000 * (factor + .01) + 500, 1100 * (0 - .02) + 480])


def test_world_round_trip_and_dtypes(rng):
    camera = h36m_camera('S1', '58860488')
    points = rng.normal(size=(5, 17, 3))
    there = camera.world_to_camera(points)
    np.testing.assert_allclose(camera.camera_to_world(there), points, atol=1e-12)
    np.testing.assert_allclose(
        there[2, 3], camera.rotation @ (points[2, 3] - camera.position), atol=1e-12)
    for cast in (lambda x: x.astype(np.float32), lambda x: torch.from_numpy(x).float()):
        out = camera.project(camera.world_to_camera(cast(points)))
        assert out.dtype in (np.float32, torch.float32)
        np.testing.assert_allclose(np.asarray(out), camera.project(there), rtol=1e-4)


def test_parameters_broadcast_over_leading_dims(rng):
    cameras = h36m_cameras(['S1'])[:3]
    points = rng.normal(size=(3, 7, 17, 3))  # 3 clips of 7 frames, one camera each

    def stack(key):
        return np.stack([getattr(c, key) for c in cameras])[:, None]  # (3, 1, ...)

    cam = world_to_camera(points, stack('rotation'), stack('position'))
    px = project_points(cam, *(stack(k) for k in ('focal', 'center', 'radial', 'tangential')))
    back = camera_to_world(cam, stack('rotation'), stack('position'))
    for i, camera in enumerate(cameras):
        np.testing.assert_allclose(cam[i], camera.world_to_camera(points[i]), atol=1e-12)
        np.testing.assert_allclose(px[i], camera.project(cam[i]), atol=1e-9)
    np.testing.assert_allclose(back, points, atol=1e-12)


def test_flipped_camera_sees_the_mirror_image(rng):
    camera = h36m_camera('S9', '55011271')
    flipped = camera.flipped()
    world = rng.normal(size=(17, 3)) * 0.5
    cam = camera.world_to_camera(world)
    mirrored = flipped.world_to_camera(world * [-1, 1, 1])
    np.testing.assert_allclose(mirrored, cam * [-1, 1, 1], atol=1e-12)
    px, mirrored_px = camera.project(cam), flipped.project(mirrored)
    np.testing.assert_allclose(mirrored_px[:, 0], camera.width - px[:, 0], atol=1e-9)
    np.testing.assert_allclose(mirrored_px[:, 1], px[:, 1], atol=1e-9)
    twice = flipped.flipped()
    for key in ('center', 'tangential', 'rotation', 'position'):
        np.testing.assert_allclose(getattr(twice, key), getattr(camera, key), atol=1e-12)


def test_normalize_screen(rng):
    xy = np.array([[0., 0.], [1000., 1002.], [500., 501.]])
    np.testing.assert_allclose(normalize_screen(xy, 1000, 1002),
                               [[-1, -1.002], [1, 1.002], [0, 0]], atol=1e-12)
    batch = (rng.random((2, 5, 17, 2)) * 1000).astype(np.float32)
    w, h = np.array([[1000.], [1920.]]), np.array([[1002.], [1080.]])
    out = normalize_screen(batch, w, h)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[1], normalize_screen(batch[1], 1920, 1080))
    np.testing.assert_allclose(denormalize_screen(out, w, h), batch, atol=1e-3)
    tensor = normalize_screen(torch.from_numpy(batch), torch.from_numpy(w), torch.from_numpy(h))
    np.testing.assert_allclose(tensor.numpy(), out, atol=1e-6)


def test_dict_round_trip_through_json():
    import json
    camera = h36m_camera('S11', '60457274')
    again = Camera.from_dict(json.loads(json.dumps(camera.to_dict())))
    assert again == camera and hash(again) == hash(camera)
    assert camera != camera.flipped()
    with pytest.raises(ValueError):
        camera.focal[0] = 1  # read-only


def test_errors():
    with pytest.raises(ValueError, match=r'S2\.54138969; subjects: S1, S5'):
        h36m_camera('S2', '54138969')
    with pytest.raises(ValueError, match='cameras: 54138969'):
        h36m_camera('S1', '1')
    good = h36m_camera('S1', '54138969').to_dict()
    with pytest.raises(ValueError, match="radial must be"):
        Camera.from_dict({**good, 'radial': [0.1, 0.2]})
    with pytest.raises(ValueError, match="not a rotation matrix"):
        Camera.from_dict({**good, 'rotation': np.eye(3) * 2})
    with pytest.raises(ValueError, match="position must be"):
        Camera.from_dict({**good, 'position': [0, 0, float('nan')]})
    with pytest.raises(ValueError, match="missing keys \\['focal'\\]"):
        Camera.from_dict({k: v for k, v in good.items() if k != 'focal'})
    with pytest.raises(ValueError, match=r'found \(17, 2\)'):
        world_to_camera(np.zeros((17, 2)), np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match='positive'):
        normalize_screen(np.zeros((17, 2)), 0, 100)
