"""Rerun recordings, read back with rerun's own reader."""

import sys
from types import ModuleType

import cv2
import numpy as np
import pytest

from mmpose_lift.io.exporters import write_rerun, write_video_poses
from mmpose_lift.io.exporters.export import check_formats
from mmpose_lift.io.frames import open_frames
from tests.video_poses_example import example_poses


def pictures(count=15, size=(640, 480)):
    return [np.full((size[1], size[0], 3), 10 * i, np.uint8) for i in range(count)]


@pytest.fixture
def rerun():
    return pytest.importorskip('rerun', reason='the package rerun-sdk is not installed',
                               exc_type=ImportError)


def table(rerun, path, contents, index='frame'):
    recording = rerun.dataframe.load_recording(path)
    return recording.view(index=index, contents=contents).select().read_all()


def test_poses_on_both_time_lines(tmp_path, rerun):
    poses = example_poses()
    path = write_rerun(poses, tmp_path / 'a.rrd', enumerate(pictures()))
    assert list(tmp_path.iterdir()) == [path]
    rows = table(rerun, path, '/world/**')
    found = rows.column('/world/people/person_7:Position3D').to_pylist()
    frames = rows.column('frame').to_pylist()
    for row, frame in enumerate(frames):
        if frame >= 3:
            np.testing.assert_array_equal(found[row], poses.tracks[1].keypoints_3d[frame - 3])
    # person 1 is gone after frame 11
    gone = rows.column('/world/people/person_1:Position3D').to_pylist()
    assert len(gone[frames.index(11)]) == 17 and not gone[frames.index(12)]
    assert 'time' in rows.schema.names
    flat = table(rerun, path, '/picture/**')
    points = flat.column('/picture/person_1:Position2D').to_pylist()
    np.testing.assert_array_equal(points[0], poses.tracks[0].keypoints_2d[0, :, :2])
    encoded = flat.column('/picture/image:Blob').to_pylist()
    assert len([blob for blob in encoded if blob]) == 15
    image = cv2.imdecode(np.array(encoded[5][0], np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (480, 640, 3) and abs(int(image[0, 0, 0]) - 50) < 3


def test_joints_and_bones_have_names(tmp_path, rerun):
    path = write_rerun(example_poses(), tmp_path / 'a.rrd')
    rows = table(rerun, path, '/world/**')
    [context] = rows.column('/world/people/person_1:AnnotationContext').to_pylist()[0]
    [entry] = context if isinstance(context, list) else [context]
    described = entry['class_description']
    assert [joint['label'] for joint in described['keypoint_annotations']][9:11] == ['neck_base',
                                                                                   'head']
    assert len(described['keypoint_connections']) == 16
    assert described['info']['label'] == 'person 1'
    recording = rerun.dataframe.load_recording(path)
    texts = recording.view(index='frame', contents='/description').select_static().read_all()
    text = texts.column('/description:Text').to_pylist()[0][0]
    assert '"units": "metre"' in text and '"model": "mixste_h36m"' in text


def blobs(rerun, path):
    """Number of each frame with a picture, or with none behind one, to whether it has one."""
    rows = table(rerun, path, '/picture/image')
    return dict(zip(rows.column('frame').to_pylist(),
                    map(bool, rows.column('/picture/image:Blob').to_pylist())))


def test_pictures_of_a_video(tmp_path, rerun):
    writer = cv2.VideoWriter(str(tmp_path / 'v.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 25,
                             (640, 480))
    for image in pictures(20):
        writer.write(image)
    writer.release()
    with open_frames(tmp_path / 'v.avi') as frames:
        [path] = write_video_poses(example_poses(), tmp_path / 'out', 'clip', ['rerun'], frames)
        assert blobs(rerun, path) == dict.fromkeys(range(15), True)  # no more than the poses have
        path = write_rerun(example_poses(), tmp_path / 'some.rrd',
                           frames.select([2, 3, 9].__contains__))
    # a picture stays until it is cleared, so the frames in between need no rows
    assert blobs(rerun, path) == {2: True, 3: True, 4: False, 9: True, 10: False}
    text = rerun.dataframe.load_recording(path).view(
        index='frame', contents='/description').select_static().read_all()
    assert '"pictures": 3' in text.column('/description:Text').to_pylist()[0][0]


def test_wrong_pictures(tmp_path, rerun):
    poses = example_poses()
    with pytest.raises(ValueError, match=r'frame 0: .*\(640, 480\), found uint8 of shape \(4, 6'):
        write_rerun(poses, tmp_path / 'a.rrd', enumerate(pictures(2, (6, 4))))
    with pytest.raises(ValueError, match='frames: expected frame 14 of 15, found no more'):
        write_rerun(poses, tmp_path / 'a.rrd', enumerate(pictures(14)))
    with pytest.raises(ValueError, match='frames: expected frame 0 of 15, found number 1'):
        write_rerun(poses, tmp_path / 'a.rrd', enumerate(pictures(), 1))
    with pytest.raises(ValueError, match='frames: expected pairs .*found an array'):
        write_rerun(poses, tmp_path / 'a.rrd', pictures())
    assert not list(tmp_path.iterdir())


def test_a_version_that_needs_numpy_2(tmp_path, rerun, monkeypatch):
    monkeypatch.setattr(rerun, '__version__', '0.23.1')
    with pytest.raises(ImportError, match='rerun-sdk 0.22: .*found 0.23.1'):
        write_rerun(example_poses(), tmp_path / 'a.rrd')
    with pytest.raises(ImportError, match='found 0.23.1'):
        check_formats(['json', 'rerun'])
    assert check_formats('json') == ['json']


def test_another_package_of_that_name(monkeypatch):
    monkeypatch.setitem(sys.modules, 'rerun', ModuleType('rerun'))
    with pytest.raises(ImportError, match='rerun-sdk 0.22: .*another package'):
        check_formats('rerun')


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rerun', None)
    with pytest.raises(ImportError, match='pip install "rerun-sdk'):
        write_rerun(example_poses(), tmp_path / 'a.rrd')
    with pytest.raises(ImportError, match='pip install "rerun-sdk'):
        write_video_poses(example_poses(), tmp_path / 'out', 'clip', ['json', 'rerun'])
    assert not list(tmp_path.iterdir())
