"""Projection, colours and checks of the drawing panels."""

import numpy as np
import pytest

from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.visualization import skeleton_drawing as drawing
from mmpose_lift.visualization.skeleton_drawing import (
    Panel2D,
    Panel3D,
    Person2D,
    Person3D,
    camera_to_upright,
    check_keypoints,
)

H36M = get_skeleton('h36m')


def standing(frames=3):
    """(frames, 17, 3) a person who faces the camera, camera axes, root-relative."""
    pose = np.zeros((17, 3))
    places = dict(hip=(0.13, 0), knee=(0.13, 0.45), foot=(0.13, 0.9), shoulder=(0.16, -0.45),
                  elbow=(0.3, -0.2), wrist=(0.4, 0))
    for name, (x, y) in places.items():
        pose[H36M.index(f'left_{name}')] = x, y, 0  # left of the person is right in the image
        pose[H36M.index(f'right_{name}')] = -x, y, 0
    for name, y in dict(spine=-0.25, thorax=-0.5, neck_base=-0.6, head=-0.72).items():
        pose[H36M.index(name)] = 0, y, 0
    return np.repeat(pose[None], frames, axis=0)


def where(image, colour):
    """Pixels (x, y) of a colour, anti-aliased ones left out."""
    return np.argwhere((image == np.array(colour, dtype=np.uint8)).all(-1))[:, ::-1]


def canvas(size):
    return np.zeros((size[1], size[0], 3), dtype=np.uint8)


def test_camera_to_upright_level():
    right, down, forward = np.eye(3)
    np.testing.assert_allclose(camera_to_upright(np.stack([right, down, forward])),
                               [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12)


def test_camera_to_upright_is_a_rotation_that_raises_the_vertical(rng):
    for _ in range(5):
        up = np.array([0, -1, 0]) + rng.normal(0, 0.3, 3)
        matrix = camera_to_upright(np.eye(3), up)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) > 0.99
        np.testing.assert_allclose(camera_to_upright(up[None], up)[0],
                                   [0, 0, np.linalg.norm(up)], atol=1e-12)
        # what is straight ahead stays ahead, not to the side
        assert abs(camera_to_upright(np.array([0, 0, 1.0]), up)[0]) < 1e-12
    with pytest.raises(ValueError, match='up'):
        camera_to_upright(np.eye(3), (0, 0, 1))


@pytest.mark.parametrize('azimuth, sign', [(0, 1), (180, -1)])
def test_left_is_where_the_viewer_sees_it(azimuth, sign):
    size = (300, 320)
    image = canvas(size)
    Panel3D([Person3D(camera_to_upright(standing()))], size, azimuth=azimuth).draw(image, 1)
    left, right = where(image, drawing.LEFT), where(image, drawing.RIGHT)
    assert len(left) > 100 and len(right) > 100
    assert sign * (left[:, 0].mean() - right[:, 0].mean()) > 20
    # upright: the middle bones (head, spine) are above the feet
    assert where(image, drawing.MIDDLE)[:, 1].mean() < left[:, 1].mean()


def test_nearer_bones_cover_farther_ones():
    size = (300, 320)
    near, far = standing(), standing()
    flip = list(H36M.flip_indices)
    far = far[:, flip]  # colours swapped, same place in the image
    for offset, expected in ((3.0, True), (-3.0, False)):
        people = [Person3D(camera_to_upright(p)) for p in (near, far + [0, 0, offset])]
        panel = Panel3D(people, size, azimuth=0, elevation=0)
        image = canvas(size)
        panel.draw(image, 0)
        left = where(image, drawing.LEFT)[:, 0].mean() > where(image, drawing.RIGHT)[:, 0].mean()
        assert left == expected


def test_everything_fits_and_frames_are_independent(rng):
    size = (400, 300)
    points = camera_to_upright(standing(6) + rng.normal(0, 0.8, (6, 1, 3)))
    for azimuth in (25, np.linspace(0, 300, 6)):
        panel = Panel3D([Person3D(points)], size, azimuth=azimuth)
        images = []
        for frame in (0, 5, 0):
            image = canvas(size)
            panel.draw(image, frame)
            images.append(image)
            coloured = np.concatenate([where(image, c) for c in (drawing.LEFT, drawing.RIGHT)])
            assert coloured.min() > 2 and (coloured.max(axis=0) < np.array(size) - 3).all()
        np.testing.assert_array_equal(images[0], images[2])
        assert (images[0] != images[1]).any()


def test_2d_panel_follows_the_image_scale():
    xy = standing(2)[..., :2] * 100 + [320, 180]
    image = np.full((360, 640, 3), 90, dtype=np.uint8)
    panel = Panel2D([Person2D(xy)], (320, 300), (640, 360))
    picture = canvas((320, 300))
    panel.draw(picture, 0, image)
    left = where(picture, drawing.ON_PHOTO[0])
    # half the image's size, centred: the left wrist is at x = 360 / 2
    assert abs(left[:, 0].max() - 180) <= 3
    assert (picture[5, 5] == drawing.DARK).all() and (picture[100, 5] == 90).all()
    with pytest.raises(ValueError, match='frame 1.*shape'):
        panel.draw(picture, 1, image[:, :100])


def test_low_scores_are_faint():
    flat = np.concatenate([standing(1)[..., :2] * 100, np.ones((1, 17, 1))], axis=-1)
    left = []
    for score in (1, 0.1):
        flat[0, H36M.index('left_wrist'), 2] = score
        image = canvas((200, 200))
        Panel2D([Person2D(flat)], (200, 200)).draw(image, 0)
        left.append(len(where(image, drawing.LEFT)))
    assert 0 < left[1] < left[0] - 20


@pytest.mark.parametrize('keypoints, message', [
    (np.zeros((3, 16, 3)), r'17.*\(3, 16, 3\)'), (np.zeros((3, 17, 2)), r'\(3, 17, 2\)'),
    (np.zeros((0, 17, 3)), 'no people or no frames'), (np.zeros((17, 3)), r'\(17, 3\)')])
def test_wrong_shapes(keypoints, message):
    with pytest.raises(ValueError, match='keypoints_3d.*' + message):
        check_keypoints(keypoints, H36M, (3, ), 'keypoints_3d')


def test_not_finite():
    pose = standing(4)
    pose[2, 3, 1] = np.nan
    with pytest.raises(ValueError, match='1 frame.*first 2'):
        check_keypoints(pose, H36M, (3, ), 'keypoints_3d')


def test_wild_values_do_not_crash_or_make_the_rest_small():
    pose = camera_to_upright(standing(200))
    tame, wild = canvas((200, 200)), canvas((200, 200))
    Panel3D([Person3D(pose)], (200, 200)).draw(tame, 0)
    pose[7] *= 1e5
    panel = Panel3D([Person3D(pose)], (200, 200))
    panel.draw(wild, 7)
    panel.draw(wild, 0)
    np.testing.assert_array_equal(tame, wild)


def test_people_come_and_go_across_blocks(rng):
    frames = drawing.BLOCK + 40
    pose = camera_to_upright(standing(frames)) + rng.normal(0, 0.02, (frames, 1, 3))
    late = drawing.BLOCK - 5
    people = [Person3D(pose), Person3D(pose[:20], late, offset=np.array([1.5, 0, 0]))]
    alone, both = (Panel3D(p, (200, 200), floor=-1.1, room=((-1, -1, -1.1), (3, 1, 2)))
                   for p in (people[:1], people))
    same = []
    for frame in (0, late - 1, late, late + 19, late + 20, frames - 1):
        images = canvas((200, 200)), canvas((200, 200))
        alone.draw(images[0], frame)
        both.draw(images[1], frame)
        same.append((images[0] == images[1]).all())
    assert same == [True, True, False, False, True, True]
    # the second person's frame within a block is that of the person, not of the video
    direct, shifted = canvas((200, 200)), canvas((200, 200))
    Panel3D(people[:1], (200, 200)).draw(direct, 12)
    Panel3D([people[0]._replace(first_frame=late)], (200, 200)).draw(shifted, late + 12)
    np.testing.assert_array_equal(direct, shifted)


def test_rotation_and_offset_are_those_of_the_points(rng):
    pose = standing(4) + rng.normal(0, 0.1, (4, 1, 3))
    offset = rng.normal(0, 0.2, (4, 3))
    person = Person3D(pose, rotation=drawing.upright_rotation((0.1, -1, 0.2)), offset=offset)
    expected = camera_to_upright(pose, (0.1, -1, 0.2)) + offset[:, None]
    np.testing.assert_allclose(person.upright(slice(1, 3)), expected[1:3], atol=1e-6)


def test_side_by_side_puts_feet_on_the_floor(rng):
    pose = standing(50) + rng.normal(0, 0.3, (50, 1, 3))
    pose[:, :, 1] += np.linspace(0, 1, 50)[:, None] - pose[:, :, 1].max(axis=1, keepdims=True)
    rotation = drawing.upright_rotation()
    [offset] = drawing.side_by_side([pose], np.array([[3, -2]]), 25, rotation)
    placed = Person3D(pose, rotation=rotation, offset=offset).upright(slice(None))
    np.testing.assert_allclose(placed[5:-5, :, 2].min(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(offset[:, :2], np.tile([3, -2], (50, 1)))


@pytest.mark.parametrize('size', [(640, 360), (1280, 720), (1281, 723), (300, 200)])
def test_images_keep_their_place_when_shrunk(size):
    width, height = size
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[height // 4:height // 2, width // 2:3 * width // 4] = 255
    target = np.zeros((120, 200, 3), dtype=np.uint8)[10:110, 20:180]
    drawing.shrink_into(target, image)
    rows, columns = (np.flatnonzero(target[..., 0].max(axis=axis) > 127) for axis in (1, 0))
    np.testing.assert_allclose([rows[0], rows[-1] + 1], [25, 50], atol=1)
    np.testing.assert_allclose([columns[0], columns[-1] + 1], [80, 120], atol=1)


def test_nobody_needs_a_room():
    with pytest.raises(ValueError, match='nobody.*room'):
        Panel3D([], (100, 100))
    with pytest.raises(ValueError, match='nobody.*size of the image'):
        Panel2D([], (100, 100))
