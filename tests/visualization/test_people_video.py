"""People of a video: who is drawn where, in which colour, at which scale, in which frames."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.io.video_poses import (
    ABSOLUTE_CAMERA_FRAME,
    CAMERA_FRAME,
    GROUND_FRAME,
    PersonTrack,
    VideoPoses,
)
from mmpose_lift.visualization import PeopleScene, draw_people_picture, write_people_video
from mmpose_lift.visualization.people_video import person_colours
from mmpose_lift.visualization.skeleton_drawing import PAPER

CAMERA = h36m_cameras()[0]
SIZE = (480, 270)
pytestmark = pytest.mark.filterwarnings('ignore:videos are written as MPEG-4')


def track_of(number, first, frames, place=0.0, action='waving'):
    """A person ``place`` metres to the right of the middle of the image."""
    world = generate_motion(action, frames, number).astype(np.float64)
    world[..., :2] -= world[:1, :1, :2]
    points = CAMERA.world_to_camera(world)
    points[..., 0] += place
    keypoints = np.concatenate([CAMERA.project(points), np.ones((frames, 17, 1))], axis=-1)
    xy = keypoints[..., :2]
    return PersonTrack(number, first, np.concatenate([xy.min(1) - 20, xy.max(1) + 20], -1),
                       np.ones(frames), keypoints, np.ones(frames, bool), keypoints,
                       (points - points[:, :1]).astype(np.float32), points[:, 0])


def video(*tracks, num_frames=40, known=False, **kwargs):
    tracks = [t if known else replace(t, root_position=None) for t in tracks]
    return VideoPoses('clip.mp4', 25, (CAMERA.width, CAMERA.height), num_frames, 'h36m', 'h36m',
                      tracks, **kwargs)


def coloured(image, colours):
    """Pixels (x, y) of a person's three colours."""
    masks = [(image == np.array(colour, dtype=np.uint8)).all(-1) for colour in colours]
    return np.argwhere(np.any(masks, axis=0))[:, ::-1]


def solid(scene, frame):
    return scene.draw(frame)[:, scene.split:].copy()


@pytest.fixture(scope='module')
def tracks():
    return track_of(1, 0, 40, -0.8), track_of(2, 15, 20, 0.8)


def test_only_who_is_in_the_frame_is_drawn_and_nothing_moves_for_that(tracks):
    poses = video(*tracks)
    scene = PeopleScene(poses, SIZE)
    first, second = person_colours(poses.tracks)
    drawn = [[len(coloured(scene.draw(frame), c.paper)) > 60 for c in (first, second)]
             for frame in (0, 14, 15, 34, 35, 39)]
    assert drawn == [[True, False], [True, False], [True, True], [True, True], [True, False],
                     [True, False]]
    # floor and scale are those of the whole video
    edge = (slice(-40, -1), slice(100, -110))
    np.testing.assert_array_equal(solid(scene, 0)[edge], solid(scene, 20)[edge])


def test_people_stand_in_the_order_of_the_image(tracks):
    for poses in (video(*tracks), video(*tracks[::-1])):
        scene = PeopleScene(poses, SIZE)
        image = scene.draw(20)
        x = [coloured(image[:, scene.split:], c.paper)[:, 0].mean()
             for c in person_colours(poses.tracks)]
        numbers = [track.track_id for track in poses.tracks]
        assert x[numbers.index(1)] + 30 < x[numbers.index(2)]


def test_who_comes_later_takes_a_free_place():
    one, two = track_of(1, 0, 15), track_of(2, 15, 25)
    scene = PeopleScene(video(one, two), SIZE)
    x = [coloured(solid(scene, frame), c.paper)[:, 0].mean()
         for frame, c in zip((10, 20), person_colours([one, two]))]
    assert abs(x[0] - x[1]) < 12


def test_colours_follow_the_number_and_differ_among_those_present():
    def people(*numbers):
        return [PersonTrack(n, 0, *[np.zeros((5, 4))] * 3, np.ones(5, bool)) for n in numbers]

    assert person_colours(people(3))[0] == person_colours(people(1, 3))[1]
    clash = person_colours(people(1, 7, 13, 2))
    assert len(set(clash)) == 4
    later = people(1, 7)
    later[1].first_frame = 5
    assert len(set(person_colours(later))) == 1
    assert len(person_colours(people(*range(20)))) == 20  # more than there are colours


def test_left_is_lighter_than_right_everywhere(tracks):
    [colours] = person_colours(tracks[:1])
    for left, right, _ in colours:
        assert sum(left) > sum(right) + 100


def test_where_they_stand_is_one_scene_for_all_three_frames(tracks):
    """Root-relative with positions, absolute, and ground axes give (nearly) the same picture."""
    relative = video(*tracks, known=True, frame=CAMERA_FRAME)
    absolute = replace(relative, frame=ABSOLUTE_CAMERA_FRAME, tracks=[
        replace(t, keypoints_3d=t.keypoints_3d + t.root_position[:, None]) for t in tracks])
    np.testing.assert_array_equal(PeopleScene(relative, SIZE).draw(20),
                                  PeopleScene(absolute, SIZE).draw(20))
    ground = replace(relative, frame=GROUND_FRAME, tracks=[
        replace(t, keypoints_3d=CAMERA.camera_to_world(
            t.keypoints_3d + t.root_position[:, None])) for t in tracks])
    scene = PeopleScene(ground, SIZE)
    points = scene.solid._people[0].upright(slice(None))
    assert -0.1 < points[..., 2].min() < 0.15
    scene = PeopleScene(relative, SIZE)
    feet = [person.upright(slice(None))[..., 2].min(axis=1) for person in scene.solid._people]
    assert np.abs(np.concatenate(feet)).max() < 0.12, 'feet on the floor of a tilted camera'
    apart = (scene.solid._people[1].upright(slice(0, 1))[0, 0]
             - scene.solid._people[0].upright(slice(15, 16))[0, 0])
    world = CAMERA.rotation.T @ (tracks[1].root_position[0] - tracks[0].root_position[15])
    np.testing.assert_allclose(np.linalg.norm(apart), np.linalg.norm(world), rtol=1e-4)


def test_up_turns_people_upright(tracks):
    def lean(**kwargs):
        scene = PeopleScene(video(*tracks, **kwargs), SIZE)
        trunk = np.diff(scene.solid._people[0].upright(slice(None))[:, [0, 8]], axis=1).mean((0, 1))
        return np.degrees(np.arccos(trunk[2] / np.linalg.norm(trunk)))

    true = CAMERA.rotation[:, 2]
    assert lean() < 4 and lean(up=tuple(true)) < 8 < lean(up=(0, -1, 0))


def test_faint_where_scores_are_low_or_nobody_was_found(tracks):
    colours = person_colours(tracks[:1])[0]
    counts = []
    for change in ('', 'score', 'lost', 'key-frames'):
        track = replace(tracks[0], keypoints_2d=tracks[0].keypoints_2d.copy(),
                        detected=tracks[0].detected.copy())
        if change == 'score':
            track.keypoints_2d[:, 13, 2] = 0.1
        elif change == 'lost':
            track.detected[10:20] = False
        elif change == 'key-frames':
            track.detected[:] = np.arange(40) % 5 == 0
        scene = PeopleScene(video(track), SIZE)
        image = scene.draw(12)
        counts.append([len(coloured(part, colours.paper)) for part in
                       (image[:, :scene.split], image[:, scene.split:])])
    full, score, lost, key = counts
    assert score[0] < full[0] - 10 and score[1] == full[1]
    assert lost == [0, 0] or (lost[0] < 0.2 * full[0] and lost[1] < 0.2 * full[1])
    assert key == full, 'regular key-frames are no reason to fade'


@pytest.mark.parametrize('size', [(1000, 1000), (1280, 720), (405, 720), (64, 64)])
def test_pictures_of_any_shape_are_fitted_and_the_skeleton_with_them(tracks, size):
    factor = size[1] / CAMERA.height
    track = replace(tracks[0], keypoints_2d=tracks[0].keypoints_2d * [factor, factor, 1])
    poses = replace(video(track), image_size=size)
    image = np.full((size[1], size[0], 3), 90, dtype=np.uint8)
    scene = PeopleScene(poses, (960, 540))
    drawn = scene.draw(5, image)[:, :scene.split]
    scale = min(scene.split / size[0], 540 / size[1])
    assert (drawn == 90).all(-1).sum() == pytest.approx(scale ** 2 * size[0] * size[1],
                                                        rel=0.15)
    x = coloured(drawn, person_colours([track])[0].photo)[:, 0]
    expected = track.keypoints_2d[5, :, 0] * scale + (scene.split - scale * size[0]) / 2
    assert abs(x.min() - expected.min()) < 8 and abs(x.max() - expected.max()) < 8
    black = PeopleScene(poses, (960, 540), black_background=True).draw(5, image)[:, :scene.split]
    assert not (black == 90).all(-1).any() and (black == 0).all(-1).sum() > 100
    with pytest.raises(ValueError, match='frame 6.*shape'):
        scene.draw(6, image[1:])


def test_boxes_and_numbers(tracks):
    poses = video(*tracks)
    plain, boxes, numbers = (PeopleScene(poses, SIZE, draw_id=ids, draw_bbox=box).draw(20)
                             for ids, box in ((False, False), (False, True), (True, False)))
    split = PeopleScene(poses, SIZE).split
    changed = (plain != boxes).any(-1)
    assert changed[:, :split].sum() > 100 and not changed[:, split:].any()
    changed = (plain != numbers).any(-1)
    assert changed[:, :split].any() and changed[:, split:].any()


def test_nobody_and_one_frame(tracks):
    for frame in (CAMERA_FRAME, ABSOLUTE_CAMERA_FRAME, GROUND_FRAME):
        empty = PeopleScene(video(frame=frame), SIZE)
        images = [empty.draw(frame).copy() for frame in (0, 39)]
        assert (images[0] != PAPER).any() and (images[0][40:] == images[1][40:]).all()
    one = replace(track_of(1, 0, 1), detected=np.zeros(1, bool))
    assert PeopleScene(video(one, num_frames=1), SIZE).draw(0).shape == (270, 480, 3)


def test_a_crowd_fits():
    tracks = [track_of(i, 0, 3, 0.3 * i) for i in range(13)]
    scene = PeopleScene(video(*tracks), SIZE)
    places = np.array([person.offset[0, :2] for person in scene.solid._people])
    distances = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(13)
    assert distances.min() > 1
    image = solid(scene, 1)
    border = np.concatenate([image[:, :3].reshape(-1, 3), image[:, -3:].reshape(-1, 3)])
    for colours in person_colours(tracks):
        assert len(coloured(image, colours.paper)) > 20
        assert not len(coloured(border[None], colours.paper))


def test_times_are_written_where_they_are_known(tracks):
    even = PeopleScene(video(*tracks), SIZE).draw(20).copy()
    uneven = PeopleScene(video(*tracks, times=np.arange(40) / 25), SIZE).draw(20).copy()
    np.testing.assert_array_equal(even, uneven)
    uneven = PeopleScene(video(*tracks, times=np.arange(40) / 20), SIZE).draw(20)
    changed = np.argwhere((even != uneven).any(-1))
    assert len(changed) and changed[:, 0].max() < 30


@pytest.mark.parametrize('change, message', [
    (dict(keypoints_3d=None), 'track 1 has no keypoints_3d; lift'),
    (dict(keypoints_2d=None), 'track 1 has no keypoints_2d; lift'),
    (dict(keypoints_3d=np.zeros((40, 16, 3))), 'track 1: keypoints_3d.*17.*16'),
    (dict(keypoints_3d=np.full((40, 17, 3), np.nan)), 'track 1: keypoints_3d.*40 frame.*finite'),
])
def test_people_that_cannot_be_drawn(tracks, change, message):
    with pytest.raises(ValueError, match=message):
        PeopleScene(video(replace(tracks[0], **change)), SIZE)


def read(path):
    capture = cv2.VideoCapture(str(path))
    images = []
    while True:
        ok, image = capture.read()
        if not ok:
            return images
        images.append(image)


class Stages:
    """Stands for apis.progress.Stages."""

    def __init__(self, stop_after=None):
        self.stop_after, self.done, self.parts = stop_after, 0, set()

    @property
    def stopped(self):
        return self.stop_after is not None and self.done >= self.stop_after

    def stage(self, name, total):
        self.total = total
        return self

    def time(self, part):
        self.parts.add(part)
        return self

    def __enter__(self):
        def advance(steps):
            self.done += steps
        return advance

    def __exit__(self, *error):
        pass


def frames(count):
    for number in range(count):
        yield number, np.full((100, 100, 3), 5 * number, dtype=np.uint8)


@pytest.mark.parametrize('stop', [None, 0, 7])
def test_video_is_kept_also_when_stopped(tmp_path, tracks, stop):
    """Stopped before drawing: everything that there is gets drawn."""
    stages = Stages(stop)
    poses = replace(video(*tracks), image_size=(100, 100))
    path = write_people_video(poses, tmp_path / 'a.mp4', frames(40), SIZE, stages)
    images = read(path)
    assert len(images) == stages.done == {None: 40, 0: 40, 7: 7}[stop] and stages.total == 40
    assert stages.parts == {'decode again', 'drawing', 'encoding'}
    assert abs(int(images[-1][150, 3].mean()) - 5 * (len(images) - 1)) < 6
    assert [p.name for p in tmp_path.iterdir()] == ['a.mp4']


def test_frames_must_be_those_of_the_poses(tmp_path, tracks):
    for given, found in ((frames(10), 'frame 10 of 40, found no more'),
                         (enumerate([None] * 9, 1), 'frame 0 of 40, found number 1')):
        with pytest.raises(ValueError, match=found):
            poses = replace(video(*tracks), image_size=(100, 100))
            write_people_video(poses, tmp_path / 'a.mp4', given, SIZE, Stages())
    assert not list(tmp_path.iterdir())


def test_stills(tracks):
    poses = video(*tracks)
    picture = draw_people_picture(poses, 20, size=SIZE, draw_bbox=True)
    np.testing.assert_array_equal(picture, PeopleScene(poses, SIZE, draw_bbox=True).draw(20))
    with pytest.raises(ValueError, match='0 to 39, found 40'):
        draw_people_picture(poses, 40)
