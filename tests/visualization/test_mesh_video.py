"""Bodies over pictures: they land where they are, nearer ones in front; nothing else changes."""

from dataclasses import replace

import numpy as np
import pytest

from mmpose_lift.io.body_surface import BodySurface
from mmpose_lift.io.video_poses import GROUND_FRAME
from mmpose_lift.models.body import BodyModel
from mmpose_lift.rendering.scene import Mesh, render
from mmpose_lift.visualization import (
    MeshScene,
    draw_people_picture,
    overlay_meshes,
    write_people_video,
)
from mmpose_lift.visualization.mesh_video import _view_rotation
from tests.body_poses_example import FOCAL, SIZE, body_poses
from tests.video_poses_example import example_poses


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def poses(body):
    return body_poses(body, 4)


@pytest.fixture(scope='module')
def meshes(poses, body):
    surface = BodySurface(poses, body)
    grey = np.full((body.num_vertices, 3), 0.7)
    return [Mesh(surface.frame(track, track.row(3)), surface.faces, grey)
            for track in poses.tracks]


def test_overlay_covers_exactly_what_is_rendered(meshes):
    image = np.full((SIZE[1], SIZE[0], 3), 60, np.uint8)
    before = image.copy()
    center = np.divide(SIZE, 2)
    covered = overlay_meshes(image, meshes, FOCAL, center)
    expected = render(meshes, FOCAL, center, SIZE).segmentation >= 0
    np.testing.assert_array_equal(covered, expected)
    assert covered.sum() > 3000
    np.testing.assert_array_equal(image[~covered], before[~covered])
    assert np.abs(image[covered].astype(int) - 60).mean() > 10


def test_opacity_and_order(meshes):
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    center = np.divide(SIZE, 2)
    near, far = (Mesh(meshes[0].vertices + [0, 0, z], meshes[0].faces,
                      np.tile(colour, (len(meshes[0].vertices), 1)))
                 for z, colour in ((0, (0.9, 0, 0)), (0.4, (0, 0, 0.9))))
    opaque = image.copy()
    covered = overlay_meshes(opaque, [far, near], FOCAL, center, 1)
    assert opaque[covered, 0].mean() > 4 * opaque[covered, 2].mean()
    half = image.copy()
    overlay_meshes(half, [far, near], FOCAL, center, 0.5)
    np.testing.assert_allclose(half, opaque / 2, atol=1)


def test_outside_and_behind(meshes):
    image = np.full((SIZE[1], SIZE[0], 3), 60, np.uint8)
    center = np.divide(SIZE, 2)
    for shift in ([20, 0, 0], [0, 0, -20]):
        moved = Mesh(meshes[0].vertices + shift, meshes[0].faces, meshes[0].colours)
        assert not overlay_meshes(image, [moved], FOCAL, center).any()
    assert not overlay_meshes(image, [], FOCAL, center).any()
    assert (image == 60).all()
    reaching = Mesh(meshes[0].vertices - [0, 0, 4.1], meshes[0].faces, meshes[0].colours)
    overlay_meshes(image, [reaching], FOCAL, center)  # through the camera's plane


def test_a_scene_shows_the_bodies_where_they_are(poses, body, meshes):
    photo = np.full((SIZE[1], SIZE[0], 3), (40, 200, 40), np.uint8)
    scene = MeshScene(poses, (960, 540), draw_id=False, opacity=1, body_model=body)
    drawn = scene.draw(3, photo)[:, :scene.split]
    scale = scene.split / SIZE[0]
    height = round(SIZE[1] * scale)
    shown = drawn[(540 - height) // 2:][:height]
    changed = np.abs(shown.astype(int) - (40, 200, 40)).sum(axis=2) > 12
    expected = render(meshes, FOCAL * scale, np.divide(SIZE, 2) * scale,
                      (scene.split, height)).segmentation >= 0
    changed[:30] = expected[:30] = False  # text
    assert (changed & expected).sum() / (changed | expected).sum() > 0.97
    side = scene.draw(3, photo)[30:510, scene.split:]
    assert (side.std(axis=2) > 20).mean() > 0.03  # colours on grey paper


def test_the_side_view_looks_from_the_right():
    view = _view_rotation(np.array([0, -1.0, 0]), 90, 0)
    np.testing.assert_allclose(view @ view.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(view @ [1, 0, 0], [0, 0, -1], atol=1e-12)  # right comes nearer
    np.testing.assert_allclose(view @ [0, 1, 0], [0, 1, 0], atol=1e-12)
    down = _view_rotation(np.array([0, -1.0, 0]), 0, 30) @ [0, 0, 1]
    assert down[1] < 0 and down[2] > 0  # what is farther away is higher in the picture


def test_who_was_not_detected_is_paler(poses, body):
    seen = draw_people_picture(poses, 1, scene_type=MeshScene, body_model=body)
    track = replace(poses.tracks[0], detected=np.zeros(4, bool))
    lost = draw_people_picture(replace(poses, tracks=[track]), 1, scene_type=MeshScene,
                               body_model=body, black_background=True)
    assert seen.shape == lost.shape == (540, 960, 3) and not np.array_equal(seen, lost)
    middle = lost[:, :500]
    colours = middle[middle.std(axis=2) > 8]
    assert len(colours) and colours.mean() > 90


def test_video_of_bodies(poses, body, tmp_path):
    frames = [(number, np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)) for number in range(6)]
    path = write_people_video(poses, tmp_path / 'a.avi', frames, (320, 180), scene_type=MeshScene,
                              body_model=body)
    assert path.stat().st_size > 5000


def test_what_cannot_be_drawn(poses):
    with pytest.raises(ValueError, match='track 1 has no body'):
        MeshScene(example_poses(focal=500.))
    with pytest.raises(ValueError, match='drawn in camera axes'):
        MeshScene(replace(poses, frame=GROUND_FRAME))
    with pytest.raises(ValueError, match='opacity'):
        MeshScene(poses, opacity=0)
    broken = replace(poses.tracks[0].body, transl=np.full((4, 3), np.nan))
    with pytest.raises(ValueError, match='not finite'):
        MeshScene(replace(poses, tracks=[replace(poses.tracks[0], body=broken)]))
    with pytest.raises(FileNotFoundError, match='smpl.is.tue.mpg.de'):
        MeshScene(replace(poses, body_model='nowhere.npz')).draw(0)
