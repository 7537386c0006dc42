"""CSV and TRC, read back with plain parsers."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from mmpose_lift.io.exporters import write_csv, write_trc
from tests.video_poses_example import example_poses


def test_csv_has_a_row_per_frame_and_person(tmp_path):
    poses = example_poses(times=np.arange(15) * 0.05)
    poses.tracks[1].root_position = np.ones((12, 3), np.float32)
    path, note = write_csv(poses, tmp_path / 'a.csv')
    rows = list(csv.DictReader(path.open()))
    assert [(int(row['frame']), int(row['track_id'])) for row in rows] == sorted(
        [(i, 1) for i in range(12)] + [(i, 7) for i in range(3, 15)])
    for row in rows:
        track = poses.tracks[int(row['track_id']) == 7]
        at = int(row['frame']) - track.first_frame
        for j, name in enumerate(poses.joint_names):
            found = [float(row[f'{name}_{axis}']) for axis in 'xyz']
            np.testing.assert_allclose(found, track.keypoints_3d[at, j], atol=1e-6)
        assert float(row['time']) == pytest.approx(0.05 * int(row['frame']))
        assert row['detected'] == str(int(track.detected[at]))
        assert row['root_position_x'] == ('1.000000' if track.track_id == 7 else '')
    description = json.loads(note.read_text())
    assert description['units'] == 'metre' and description['frame'] == poses.frame


def test_csv_of_a_person_who_was_not_lifted_is_empty(tmp_path):
    poses = example_poses()
    poses.tracks[0] = replace(poses.tracks[0], keypoints_2d=None, keypoints_3d=None)
    rows = list(csv.reader(write_csv(poses, tmp_path / 'a.csv')[0].open()))
    assert {len(row) for row in rows} == {4 + 51}
    assert rows[1] == ['0', '0.000000', '1', '0'] + [''] * 51
    poses.tracks = poses.tracks[:1]
    with pytest.raises(ValueError, match='no person of clip.mp4 has 3D'):
        write_csv(poses, tmp_path / 'b.csv')


def test_trc_is_what_opensim_reads(tmp_path):
    poses = example_poses()
    track = replace(poses.tracks[1], root_position=np.tile([0.5, 0.2, 4.0], (12, 1)))
    poses.tracks[1] = track
    path, note = write_trc(poses, tmp_path / 'walk.trc', track)
    lines = path.read_text().split('\n')
    assert lines[0] == 'PathFileType\t4\t(X/Y/Z)\twalk.trc'
    header = dict(zip(lines[1].split('\t'), lines[2].split('\t')))
    assert header == dict(DataRate='25', CameraRate='25', NumFrames='12', NumMarkers='17',
                          Units='mm', OrigDataRate='25', OrigDataStartFrame='1',
                          OrigNumFrames='12')
    markers, axes = lines[3].split('\t'), lines[4].split('\t')
    assert markers[:2] == ['Frame#', 'Time'] and markers[2::3] == list(poses.joint_names)
    assert axes[:2] == ['', ''] and axes[2:5] == ['X1', 'Y1', 'Z1'] and axes[-1] == 'Z17'
    assert len(markers) == len(axes) == 2 + 51 and lines[5] == ''
    values = np.array([line.split('\t') for line in lines[6:-1]], float)
    np.testing.assert_array_equal(values[:, 0], np.arange(1, 13))
    np.testing.assert_allclose(values[:, 1], np.arange(3, 15) / 25)
    expected = (track.keypoints_3d + track.root_position[:, None]) * [1000, -1000, -1000]
    np.testing.assert_allclose(values[:, 2:].reshape(12, 17, 3), expected, atol=1e-3)
    description = json.loads(note.read_text())
    assert description['units'] == 'millimetre' and description['first_frame'] == 3


def test_trc_stands_on_the_floor(tmp_path):
    poses = example_poses()
    path, _ = write_trc(poses, tmp_path / 'a.trc', poses.tracks[0])
    values = np.loadtxt(path, skiprows=6, delimiter='\t')[:, 2:].reshape(12, 17, 3)
    np.testing.assert_allclose(values[..., 1].min(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(values[:, 0, [0, 2]], 0, atol=1e-3)
    assert (values[:, 10, 1] > 1300).all()  # the head is up
