"""HumanEva in VideoPose3D's files, written here in their layout."""

import numpy as np
import pytest

from mmpose_lift.geometry.joint_conventions import to_lifter
from mmpose_lift.geometry.rotations import quaternion_to_matrix
from mmpose_lift.io import UnsafePickleError
from mmpose_lift.io.readers import humaneva, read_humaneva
from tests.humaneva_files import COCO_SYMMETRY, SKELETON, people, pixels, save_2d, save_3d


@pytest.fixture
def poses(rng):
    return people(rng, frames=6)


@pytest.fixture
def file_3d(tmp_path, poses):
    return save_3d(tmp_path, poses)


def test_positions_names_and_pixels(tmp_path, rng, poses, file_3d):
    gt, hr = pixels(rng, poses, extra=2), pixels(rng, poses, channels=3)
    gt['Unlabeled/Validate/S4'] = {'Walking 1 chunk0': [np.zeros((3, 15, 2))] * 3}  # no 3D
    files = [save_2d(tmp_path, 'gt', gt), save_2d(tmp_path, 'hr', hr)]
    recording = read_humaneva(file_3d, files)
    store = recording.write(tmp_path / 'store')
    assert recording.total == len(store.sequences) == 2 * 2 * 3
    assert store.skeleton == 'humaneva' and store.frame == 'camera' and not store.cameras
    assert store.sources_2d == ['gt', 'hr'] and store.subjects == ['Train/S1', 'Validate/S2']
    assert store.sequences[1].name == 'Train/S1/Walking 1 chunk0/C2'
    for i, sequence in enumerate(store.sequences):
        assert sequence.action in ('Walking', 'Jog') and sequence.fps == 60
        assert (sequence.width, sequence.height) == (640, 480)
        rows, camera = slice(sequence.first, sequence.last), i % 3
        person = sequence.subject.split('/')[1]
        q, t = humaneva._EXTRINSICS[person][camera]
        world = poses[sequence.subject][sequence.subaction]
        back = store.keypoints_3d[rows] @ quaternion_to_matrix(q).T + np.array(t) / 1000
        np.testing.assert_allclose(back, world, atol=1e-5)
        ours = store.keypoints_2d('gt')[rows]
        np.testing.assert_array_equal(
            ours[..., :2], gt[sequence.subject][sequence.subaction][camera][:6])
        assert (ours[..., 2] == 1).all()
        np.testing.assert_array_equal(store.keypoints_2d('hr')[rows],
                                      hr[sequence.subject][sequence.subaction][camera])


def test_every_camera_sees_the_middle_of_the_room_upright():
    """A quaternion or position copied wrongly would look elsewhere."""
    for cameras in humaneva._EXTRINSICS.values():
        for q, t in cameras:
            rotation = quaternion_to_matrix(q).T  # world to camera
            np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
            x, y, z = rotation @ (np.array([0, 0, 1]) - np.divide(t, 1000))
            assert 3 < z < 6 and abs(x) < 0.25 * z and abs(y) < 0.25 * z
            assert (rotation @ [0, 0, 1])[1] < -0.9  # up in the world is up in the image
    assert humaneva._EXTRINSICS['S3'] == humaneva._EXTRINSICS['S1']


def test_detections_in_coco_order_are_converted(tmp_path, rng, poses, file_3d):
    coco = pixels(rng, poses, joints=17)
    file = save_2d(tmp_path, 'detectron_pt_coco', coco, COCO_SYMMETRY)
    store = read_humaneva(file_3d, [file], ['Validate/S2']).write(tmp_path / 'store')
    assert store.subjects == ['Validate/S2'] and store.sources_2d == ['detectron_pt_coco']
    theirs = coco['Validate/S2']['Walking 1 chunk0'][0]
    ours = dict(zip(SKELETON.joint_names,
                    store.keypoints_2d('detectron_pt_coco')[:6, :, :2].swapaxes(0, 1)))
    expected = to_lifter(theirs, 'coco', 'humaneva')
    for i, name in enumerate(SKELETON.joint_names):
        np.testing.assert_allclose(ours[name], expected[:, i], rtol=1e-5)
    np.testing.assert_array_equal(ours['left_wrist'], theirs[:, 9].astype(np.float32))


@pytest.mark.parametrize('change, message', [
    (lambda p: p['Train/S1'].update({'Jog 1 chunk2': np.zeros((6, 17, 3))}), r'\(frames, 15, 3\)'),
    (lambda p: p['Train/S1'].update({'Jog 1 chunk2': np.zeros((0, 15, 3))}), 'is empty'),
    (lambda p: p['Train/S1'].update({'Jog 1 chunk2': np.full((6, 15, 3), np.nan)}), 'not finite'),
    (lambda p: p.update({'Train/S4': p['Train/S1']}), "'Train/S4'.*S1, S2, S3"),
    (lambda p: p['Train/S1'].update({'Box 1 chunk0': p['Train/S1']['Jog 1 chunk2']}),
     "'Box 1 chunk0' is missing"),
    (lambda p: p['Train/S1'].update({'Jog 1 chunk2': p['Train/S1']['Jog 1 chunk2'] * 1000}),
     'millimetres'),
])
def test_bad_3d_leaves_no_store(tmp_path, rng, poses, change, message):
    file_2d = save_2d(tmp_path, 'gt', pixels(rng, poses))
    change(poses)
    file_3d = save_3d(tmp_path, poses)
    with pytest.raises(ValueError, match=message):
        read_humaneva(file_3d, [file_2d]).write(tmp_path / 'store')
    assert sorted(p.name for p in tmp_path.iterdir()) == [file_2d.name, file_3d.name]


@pytest.mark.parametrize('change, message', [
    (lambda v: v['Train/S1'].update({'Jog 1 chunk2': [x[:3] for x in v['Train/S1'][
        'Jog 1 chunk2']]}), 'camera 0: 3 frames of 2D, the 3D has 6'),
    (lambda v: v['Train/S1'].update({'Jog 1 chunk2': v['Train/S1']['Jog 1 chunk2'][:2]}),
     '2 cameras, expected 3'),
    (lambda v: v['Train/S1'].update({'Jog 1 chunk2': [np.zeros((6, 17, 2))] * 3}),
     r'\(frames, 15, 2 or 3\)'),
    (lambda v: v.pop('Validate/S2'), 'do not belong together'),
])
def test_bad_2d_is_named(tmp_path, rng, poses, file_3d, change, message):
    views = pixels(rng, poses)
    change(views)
    with pytest.raises(ValueError, match=message):
        read_humaneva(file_3d, [save_2d(tmp_path, 'gt', views)]).write(tmp_path / 'store')


def test_other_files_are_refused(tmp_path, rng, poses, file_3d):
    file_2d = save_2d(tmp_path, 'gt', pixels(rng, poses))
    with pytest.raises(ValueError, match='data_2d_humaneva15_gt.npz as well'):
        read_humaneva(file_3d, [])
    with pytest.raises(ValueError, match='positions_3d.*positions_2d'):
        read_humaneva(file_2d, [file_2d])
    with pytest.raises(ValueError, match='positions_2d.*positions_3d'):
        read_humaneva(file_3d, {'gt': file_3d})
    with pytest.raises(ValueError, match='NAME=FILE'):
        read_humaneva(file_3d, [file_3d])
    with pytest.raises(ValueError, match="'gt'"):
        read_humaneva(file_3d, [file_2d, tmp_path / 'other' / file_2d.name])
    with pytest.raises(ValueError, match='Train/S3.*Train/S1'):
        read_humaneva(file_3d, [file_2d], ['Train/S3'])
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_humaneva('nowhere.npz', [file_2d])
    h36m = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
    with pytest.raises(ValueError, match='humaneva.*coco.*joint order is unknown'):
        read_humaneva(file_3d, [save_2d(tmp_path, 'h36m', {}, h36m)])


class _Code:
    def __reduce__(self):
        return print, ('run',)


def test_code_in_a_file_is_not_run(tmp_path, poses, capsys):
    poses['Train/S1']['Box'] = _Code()
    file = save_3d(tmp_path, poses)
    with pytest.raises(UnsafePickleError, match='print'):
        read_humaneva(file, {'gt': file})
    assert capsys.readouterr().out == ''
