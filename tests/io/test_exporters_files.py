"""JSON and npz of a video: the same poses come back, and MMPose's keys are where they were."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from mmpose_lift.io.exporters import (
    FORMATS,
    predictions_of_frame,
    read_json,
    read_npz,
    write_json,
    write_npz,
    write_video_poses,
)
from mmpose_lift.io.exporters.export import NEED_BODIES, check_formats
from mmpose_lift.io.keypoint_sequence import read_keypoint_sequence
from tests.video_poses_example import example_poses

LOST = dict(boxes=6e-4, box_scores=6e-5, keypoints=6e-4, detected=0, keypoints_2d=6e-4,
            keypoints_3d=1e-6, root_position=1e-6)


def assert_same(found, expected, lost=None):
    """Equal in everything; arrays to ``lost`` of each, exactly where it is None."""
    for name in (field.name for field in fields(expected)):
        a, b = getattr(found, name), getattr(expected, name)
        if name == 'tracks':
            assert len(a) == len(b)
            for one, other in zip(a, b):
                assert_same(one, other, lost)
        elif isinstance(b, np.ndarray):
            assert a.dtype == b.dtype and a.shape == b.shape, name
            np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=0,
                                       atol=lost.get(name, 0) if lost else 0, err_msg=name)
        else:
            assert a == b and type(a) is type(b), name


def variants():
    relative = example_poses()
    relative.tracks[0].root_position = np.linspace(0, 4, 36, dtype=np.float32).reshape(12, 3)
    uneven = example_poses(times=np.cumsum(np.linspace(0.03, 0.05, 15)), up=(0.0, -0.9, 0.1),
                           complete=False)
    flat = example_poses()
    flat.tracks = [replace(track, keypoints_2d=None, keypoints_3d=None) for track in flat.tracks]
    mixed = example_poses()
    mixed.tracks[1] = replace(mixed.tracks[1], keypoints_2d=None, keypoints_3d=None)
    converted = example_poses()
    converted.tracks = [replace(track, keypoints_3d=None) for track in converted.tracks]
    return dict(relative=relative, uneven=uneven, flat=flat, mixed=mixed, converted=converted,
                empty=example_poses(tracks=[]))


@pytest.mark.parametrize('name', variants())
def test_round_trips(tmp_path, name):
    poses = variants()[name]
    assert_same(read_npz(write_npz(poses, tmp_path / 'a.npz')), poses)
    back = read_json(write_json(poses, tmp_path / 'a.json'))
    assert_same(back, poses, LOST)
    write_json(back, tmp_path / 'b.json')  # rounding happens once
    assert (tmp_path / 'a.json').read_text() == (tmp_path / 'b.json').read_text()


def test_json_has_the_shape_of_mmpose(tmp_path):
    poses = example_poses()
    content = json.loads(write_json(poses, tmp_path / 'a.json').read_text())
    assert [frame['frame_id'] for frame in content['instance_info']] == list(range(15))
    assert [len(frame['instances']) for frame in content['instance_info']] == [1] * 3 + [2] * 9 + [
        1] * 3
    person = content['instance_info'][5]['instances'][1]
    assert person['track_id'] == 7 and person['detected'] is True
    assert content['instance_info'][3]['instances'][1]['detected'] is False
    np.testing.assert_allclose(person['keypoints'], poses.tracks[1].keypoints_3d[2], atol=1e-6)
    np.testing.assert_allclose(person['keypoint_scores'], poses.tracks[1].keypoints_2d[2, :, 2],
                               atol=1e-4)
    np.testing.assert_allclose(person['bbox'], poses.tracks[1].boxes[2:3], atol=1e-3)
    assert np.shape(person['bbox_score']) == () and np.shape(person['keypoints_2d']) == (17, 2)
    meta = content['meta_info']
    assert meta['dataset_name'] == 'h36m' and meta['keypoint_id2name']['10'] == 'head'
    for name in ('units', 'frame', 'fps', 'joint_names', 'parents', 'model', 'version', 'source',
                 'image_size', 'notes', 'complete'):
        assert name in meta
    assert predictions_of_frame(poses, 5) == content['instance_info'][5]['instances']
    assert predictions_of_frame(poses, 99) == []


def test_2d_json_can_be_lifted(tmp_path):
    poses = variants()['flat']
    poses.tracks, poses.num_frames = poses.tracks[:1], 12
    clip = read_keypoint_sequence(write_json(poses, tmp_path / 'a.json'))
    assert clip.skeleton == 'coco'
    np.testing.assert_allclose(clip.keypoints, poses.tracks[0].keypoints, atol=1e-3)


def test_values_that_are_not_finite_are_null(tmp_path):
    poses = example_poses()
    poses.tracks[0].keypoints[2, 3] = np.nan
    back = read_json(write_json(poses, tmp_path / 'a.json'))
    assert 'NaN' not in (tmp_path / 'a.json').read_text()
    assert np.isnan(back.tracks[0].keypoints[2, 3]).all()
    assert np.isnan(back.tracks[0].keypoints).sum() == 3


def test_npz_rows_of_a_person(tmp_path):
    poses = example_poses()
    with np.load(write_npz(poses, tmp_path / 'a.npz'), allow_pickle=False) as arrays:
        person = list(arrays['track_ids']).index(7)
        rows = slice(*arrays['offsets'][person:person + 2])
        np.testing.assert_array_equal(arrays['keypoints_3d'][rows], poses.tracks[1].keypoints_3d)
        np.testing.assert_array_equal(arrays['frames'][rows], np.arange(3, 15))
        assert arrays['units'].item() == 'metre' and arrays['fps'].item() == 25
        assert arrays['joint_names'][10] == 'head' and 'root_position' not in arrays


# ---------------------------------------------------------------- wrong input


def broken(poses, change):
    change(poses)
    return poses


@pytest.mark.parametrize('change, message', [
    (lambda p: setattr(p, 'fps', 0), 'fps: expected a positive'),
    (lambda p: setattr(p, 'times', np.zeros(3)), 'times: expected one time'),
    (lambda p: setattr(p.tracks[1], 'track_id', 1), 'track_id of its own'),
    (lambda p: setattr(p, 'num_frames', 14), 'track 7: frames 3 to 14'),
    (lambda p: setattr(p.tracks[1], 'boxes', np.zeros((12, 5))), 'track 7: boxes: expected shape'),
    (lambda p: setattr(p, 'skeleton', 'h36m_16'), r'keypoints_2d: expected shape \(12, 16, 3\)'),
    (lambda p: setattr(p.tracks[0], 'keypoints_2d', None), 'needs the keypoints_2d'),
])
@pytest.mark.parametrize('write', [write_json, write_npz])
def test_contradictions(tmp_path, write, change, message):
    with pytest.raises(ValueError, match=message):
        write(broken(example_poses(), change), tmp_path / 'a.npz')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('text, message', [
    ('{', 'not valid JSON'), ('[]', 'found another layout'),
    ('{"meta_info": {"fps": 25}, "instance_info": []}', 'does not say source'),
])
def test_other_json(tmp_path, text, message):
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(ValueError, match=f'a.json: .*{message}'):
        read_json(tmp_path / 'a.json')


def test_json_with_a_missing_frame(tmp_path):
    path = write_json(example_poses(), tmp_path / 'a.json')
    content = json.loads(path.read_text())
    del content['instance_info'][5]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='track 1: .* found frame 6 after 4'):
        read_json(path)


def test_other_npz(tmp_path):
    np.savez(tmp_path / 'a.npz', keypoints=np.zeros((3, 17, 2)))
    with pytest.raises(ValueError, match='lacks description'):
        read_npz(tmp_path / 'a.npz')
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / 'missing.json')


# ---------------------------------------------------------------- all at once


def test_all_formats_and_their_names(tmp_path):
    formats = [name for name in FORMATS if name not in ('rerun', *NEED_BODIES)]
    files = write_video_poses(example_poses(), tmp_path / 'new' / 'folder', 'clip', formats)
    assert sorted(files) == sorted((tmp_path / 'new' / 'folder').iterdir())
    assert {file.name for file in files if not file.name.endswith(('csv.json', 'bvh.json'))} == {
        'clip.json', 'clip.npz', 'clip.csv', 'clip_person1.bvh', 'clip_person7.bvh',
        'clip_person1.trc', 'clip_person7.trc', 'clip_person1.trc.json', 'clip_person7.trc.json'}


def test_nobody_in_the_video(tmp_path):
    files = write_video_poses(example_poses(tracks=[]), tmp_path, 'clip',
                              ['json', 'npz', 'csv', 'bvh'])
    assert [file.name for file in files] == ['clip.json', 'clip.npz', 'clip.csv', 'clip.csv.json']


@pytest.mark.parametrize('formats, message', [
    (['json', 'fbx'], "expected some of json, .*found 'fbx'"), ('mp4', "found 'mp4'")])
def test_unknown_format(tmp_path, formats, message):
    with pytest.raises(ValueError, match=message):
        write_video_poses(example_poses(), tmp_path, 'clip', formats)
    with pytest.raises(ValueError, match=message):
        check_formats(formats)
    assert not list(tmp_path.iterdir())


def test_folder_that_can_not_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='output folder .*file.*choose another'):
        write_video_poses(example_poses(), tmp_path / 'file', 'clip')


def test_3d_formats_without_3d(tmp_path):
    with pytest.raises(ValueError, match='bvh need 3D keypoints'):
        write_video_poses(variants()['flat'], tmp_path, 'clip', ['json', 'bvh'])
    assert not list(tmp_path.iterdir())


def test_a_broken_write_keeps_the_old_file(tmp_path):
    path = write_json(example_poses(), tmp_path / 'a.json')
    old = path.read_text()
    bad = example_poses(notes={'smoothing': object()})
    with pytest.raises(TypeError):
        write_json(bad, path)
    assert path.read_text() == old and list(tmp_path.iterdir()) == [path]
