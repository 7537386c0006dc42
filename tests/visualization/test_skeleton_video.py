"""Videos and pictures: complete files, right content, one clear error for what cannot be drawn."""

import time

import cv2
import numpy as np
import pytest

from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.visualization import (
    SkeletonScene,
    write_skeleton_picture,
    write_skeleton_video,
)


@pytest.fixture(scope='module')
def clip():
    """(2, 12, 17, 3) root-relative camera space, (2, 12, 17, 2) pixels, image size."""
    camera = h36m_cameras()[0]
    points = np.stack([generate_motion(a, 12, 0) for a in ('sitting', 'waving')])
    points = camera.world_to_camera(points)
    return points - points[:, :, :1], camera.project(points), (camera.width, camera.height)


def read(path):
    capture = cv2.VideoCapture(str(path))
    images = []
    while True:
        ok, image = capture.read()
        if not ok:
            return images, capture.get(cv2.CAP_PROP_FPS)
        images.append(image)


@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
def test_video_has_all_frames(tmp_path, clip, suffix):
    pose, flat, image_size = clip
    done = []
    path = write_skeleton_video(tmp_path / f'clip{suffix}', pose, flat, image_size=image_size,
                                fps=25, size=(480, 270), progress=done.append)
    images, fps = read(path)
    assert len(images) == 12 and images[0].shape == (270, 480, 3) and fps == 25
    assert done == list(range(1, 13))
    scene = SkeletonScene(pose, flat, image_size=image_size, fps=25, size=(480, 270))
    assert np.abs(images[7].astype(int) - scene.draw(7)).mean() < 4  # lossy, but this picture
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_video_over_frames(tmp_path, clip):
    pose, flat, (width, height) = clip
    frames = (np.full((height, width, 3), 20 * i, dtype=np.uint8) for i in range(12))
    path = write_skeleton_video(tmp_path / 'a.mp4', pose, flat, frames, size=(480, 270))
    images, _ = read(path)
    assert abs(int(images[10][130, 3].mean()) - 200) < 12  # the left edge of image 10


def test_one_person_turntable_and_offsets(tmp_path, clip):
    pose = clip[0]
    path = write_skeleton_video(tmp_path / 'a.mp4', pose[0], size=(320, 240), turntable=90)
    assert len(read(path)[0]) == 12
    offsets = np.array([[0, 0, 4], [1.5, 0, 5]])
    scenes = [SkeletonScene(pose, size=(320, 240), root_offsets=o)
              for o in (None, offsets, np.repeat(offsets[:, None], 12, axis=1))]
    images = [scene.draw(3) for scene in scenes]
    np.testing.assert_array_equal(images[1], images[2])
    assert (images[0] != images[1]).any()
    with pytest.raises(ValueError, match='root_offsets.*(2, 3)'):
        SkeletonScene(pose, root_offsets=np.zeros((3, 3)))


def test_labels_and_fewer_2d_people(tmp_path, clip):
    pose, flat, image_size = clip
    images = []
    for labels in (None, ['lifted', 'ground truth']):
        scene = SkeletonScene(pose, flat[0], image_size=image_size, labels=labels)
        images.append(scene.draw(3))
    # labels change what is right of the 2D panel only
    different = np.argwhere((images[0] != images[1]).any(-1))
    assert len(different) > 50 and different[:, 1].min() >= scene.split


@pytest.mark.parametrize('columns', [1, 5, 50])
def test_picture(tmp_path, clip, columns):
    pose, flat, _ = clip
    path = write_skeleton_picture(tmp_path / 'new' / 'strip.png', pose[0], flat[0], columns,
                                  cell=(100, 120), caption='synthetic motion')
    image = cv2.imread(str(path))
    assert image.shape[1] == 100 * min(columns, 12)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 20
    with pytest.raises(ValueError, match='one person, found 2'):
        write_skeleton_picture(path, pose)


def nan(pose):
    pose = pose.copy()
    pose[0, 4] = np.nan
    return pose


@pytest.mark.parametrize('change, message', [
    (dict(keypoints_3d=lambda p: p[:, :0]), 'no people or no frames'),
    (dict(keypoints_3d=nan), 'not finite.*first 4'),
    (dict(keypoints_3d=lambda p: p[:, :, :16]), '17.*16'),
    (dict(keypoints_2d=lambda p: p[:, :11]), 'keypoints_2d: 11 frames.*12'),
    (dict(labels=lambda _: ['one']), 'labels: expected 2.*found 1'),
    (dict(skeleton=lambda _: 'nobody'), 'nobody'),
    (dict(size=lambda _: (481, 270)), 'size'),
    (dict(fps=lambda _: 0), 'fps'),
    (dict(frames=lambda _: []), 'frames: empty'),
    (dict(frames=lambda _: np.zeros((3, 20, 20, 3), np.uint8)), 'only 3 images for 12'),
    (dict(frames=lambda _: np.zeros((13, 20, 20, 3), np.uint8)), 'more images than the 12'),
    (dict(frames=lambda _: np.zeros((12, 20, 20, 3), np.uint8), image_size=lambda _: (10, 20)),
     '20x20.*10x20'),
    (dict(frames=lambda _: np.zeros((12, 20, 20, 3), np.uint8), keypoints_2d=lambda _: None),
     'without keypoints_2d'),
])
def test_bad_input_leaves_the_old_file(tmp_path, clip, change, message):
    arguments = dict(keypoints_3d=clip[0], keypoints_2d=clip[1], size=(480, 270))
    arguments.update({key: make(arguments.get(key)) for key, make in change.items()})
    (tmp_path / 'a.mp4').write_bytes(b'old')
    with pytest.raises(ValueError, match=message):
        write_skeleton_video(tmp_path / 'a.mp4', **arguments)
    assert [p.name for p in tmp_path.iterdir()] == ['a.mp4']
    assert (tmp_path / 'a.mp4').read_bytes() == b'old'


def test_bad_targets(tmp_path, clip):
    pose = clip[0]
    for write, name in ((write_skeleton_video, 'a.gif'), (write_skeleton_video, 'a'),
                        (write_skeleton_picture, 'a.mp4')):
        with pytest.raises(ValueError, match='unsupported suffix.*use one of'):
            write(tmp_path / name, pose[0])
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='cannot write into the folder'):
        write_skeleton_video(tmp_path / 'file' / 'a.mp4', pose)
    (tmp_path / 'b.mp4').mkdir()
    with pytest.raises(IsADirectoryError, match='b.mp4'):
        write_skeleton_video(tmp_path / 'b.mp4', pose)


def test_drawing_is_fast(clip):
    """At least 300 frames/s of two people at 960x540; CPU time, as machines are shared."""
    pose, flat, image_size = clip
    scene = SkeletonScene(pose, flat, image_size=image_size)
    rates = []
    for _ in range(5):
        start = time.process_time()
        for frame in range(120):
            scene.draw(frame % 12)
        rates.append(120 / (time.process_time() - start))
    assert max(rates) > 300
