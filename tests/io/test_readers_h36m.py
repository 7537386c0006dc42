"""Readers of Human3.6M: VideoPose3D's and MMPose's files, written here in their layouts."""

import pickle

import numpy as np
import pytest

from mmpose_lift.geometry import h36m_camera, h36m_cameras, joint_map
from mmpose_lift.io import UnsafePickleError
from mmpose_lift.io.readers import read_mmpose_h36m, read_videopose3d_h36m

SYMMETRY = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
COCO_SYMMETRY = [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]]


def person(rng, frames, joints=32):
    """World-space poses within the capture volume."""
    return (rng.normal(scale=0.4, size=(frames, joints, 3)) + (0, 0, 1)).astype(np.float32)


def save_2d(path, poses, symmetry=SYMMETRY, **changes):
    metadata = dict(layout_name='h36m', num_joints=17, keypoints_symmetry=symmetry)
    np.savez(
        path,
        **{
            'positions_2d': np.array(poses, dtype=object),
            'metadata': np.array(metadata, dtype=object),
            **changes,
        },
    )
    return path


@pytest.fixture
def world(rng):
    return {
        'S1': {'Directions 1': person(rng, 6), 'Walking': person(rng, 4)},
        'S9': {'Photo': person(rng, 5)},
    }


@pytest.fixture
def file_3d(tmp_path, world):
    np.savez(tmp_path / 'data_3d_h36m.npz', positions_3d=np.array(world, dtype=object))
    return tmp_path / 'data_3d_h36m.npz'


def detections(rng, world, channels=2, extra=0, joints=17):
    return {
        subject: {
            action: [rng.uniform(0, 1000, (len(poses) + extra, joints, channels)) for _ in range(4)]
            for action, poses in actions.items()
        }
        for subject, actions in world.items()
    }


def test_videopose3d(tmp_path, rng, world, file_3d):
    """All 2D layouts at once: longer than 3D, with score, with subjects that have no 3D."""
    cpn, hr = detections(rng, world, extra=2), detections(rng, world, channels=3)
    cpn['S2'] = {'Walking': [np.zeros((3, 17, 2))] * 4}
    recording = read_videopose3d_h36m(
        file_3d,
        [
            save_2d(tmp_path / 'data_2d_h36m_cpn_ft_h36m_dbb.npz', cpn),
            save_2d(tmp_path / 'data_2d_h36m_hr.npz', hr),
        ],
    )
    store = recording.write(tmp_path / 'store')
    assert recording.total == len(store.sequences) == 12
    assert store.sources_2d == ['cpn_ft_h36m_dbb', 'gt', 'hr'] and store.num_frames == 4 * 15
    keep = joint_map('h36m_32', 'h36m')
    for i, sequence in enumerate(store.sequences):
        rows = slice(sequence.first, sequence.last)
        camera = h36m_camera(*sequence.camera.split('.'))
        poses = world[sequence.subject][sequence.subaction][:, keep]
        number = i % 4
        assert camera == h36m_cameras([sequence.subject])[number] == store.cameras[camera.name]
        assert sequence.action == sequence.subaction.split(' ')[0] and sequence.fps == 50
        assert (sequence.width, sequence.height) == (camera.width, camera.height)
        np.testing.assert_allclose(
            camera.camera_to_world(store.keypoints_3d[rows]), poses, atol=1e-5
        )
        np.testing.assert_allclose(
            store.keypoints_2d('gt')[rows, :, :2],
            camera.project(store.keypoints_3d[rows]),
            atol=2e-3,
        )
        ours = store.keypoints_2d('cpn_ft_h36m_dbb')[rows]
        theirs = cpn[sequence.subject][sequence.subaction][number]
        np.testing.assert_allclose(ours[..., :2], theirs[: len(poses)], atol=1e-4)
        assert (ours[..., 2] == 1).all()
        np.testing.assert_allclose(
            store.keypoints_2d('hr')[rows],
            hr[sequence.subject][sequence.subaction][number],
            atol=1e-4,
        )


def test_videopose3d_gt_file_subjects_and_coco_order(tmp_path, rng, world, file_3d):
    gt, coco = detections(rng, world), detections(rng, world)
    recording = read_videopose3d_h36m(
        file_3d,
        {
            'gt': save_2d(tmp_path / 'a.npz', gt),
            'coco': save_2d(tmp_path / 'b.npz', coco, COCO_SYMMETRY),
        },
        subjects=['S9'],
    )
    store = recording.write(tmp_path / 'store')
    assert store.subjects == ['S9'] and len(store.cameras) == 4
    np.testing.assert_allclose(store.keypoints_2d('gt')[:5, :, :2], gt['S9']['Photo'][0], atol=1e-4)
    hips = coco['S9']['Photo'][0][:, [11, 12]].mean(axis=1)
    np.testing.assert_allclose(store.keypoints_2d('coco')[:5, 0, :2], hips, atol=1e-3)


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda p: p['S1'].update(Walking=p['S1']['Walking'][:, :17]), r'\(frames, 32, 3\)'),
        (lambda p: p['S1'].update(Walking=p['S1']['Walking'][:0]), 'is empty'),
        (lambda p: p['S1'].update(Walking=p['S1']['Walking'] * np.nan), 'not finite'),
        (lambda p: p.update(S20=p['S1']), 'no Human3.6M camera S20'),
    ],
)
def test_bad_3d_leaves_no_store(tmp_path, world, change, message):
    change(world)
    file = tmp_path / 'data_3d_h36m.npz'
    np.savez(file, positions_3d=np.array(world, dtype=object))
    with pytest.raises(ValueError, match=message):
        read_videopose3d_h36m(file).write(tmp_path / 'store')
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda p: p['S1'].update(Walking=[v[:3] for v in p['S1']['Walking']]),
            'camera 0: 3 frames of 2D, the 3D has 4',
        ),
        (lambda p: p['S1'].update(Walking=p['S1']['Walking'][:3]), '3 cameras, expected 4'),
        (lambda p: p['S1'].pop('Walking'), "S1 'Walking' is missing"),
        (lambda p: p['S1'].update(Walking=[v[:, :16] for v in p['S1']['Walking']]), 'joint count'),
    ],
)
def test_bad_2d(tmp_path, rng, world, file_3d, change, message):
    poses = detections(rng, world)
    change(poses)
    file = save_2d(tmp_path / 'data_2d_h36m_cpn.npz', poses)
    with pytest.raises(ValueError, match=f'data_2d_h36m_cpn.npz.*{message}'):
        read_videopose3d_h36m(file_3d, [file]).write(tmp_path / 'store')
    assert not (tmp_path / 'store').exists()


def test_wrong_files(tmp_path, rng, world, file_3d):
    with pytest.raises(FileNotFoundError, match='no such file'):
        read_videopose3d_h36m(tmp_path / 'nothing.npz')
    with pytest.raises(ValueError, match='lacks positions_3d'):
        read_videopose3d_h36m(save_2d(tmp_path / 'x.npz', detections(rng, world)))
    with pytest.raises(ValueError, match='no subject S11; it has S1, S9'):
        read_videopose3d_h36m(file_3d, subjects=['S11'])
    with pytest.raises(ValueError, match='NAME=FILE'):
        read_videopose3d_h36m(file_3d, [tmp_path / 'x.npz'])
    with pytest.raises(ValueError, match='joint order is unknown'):
        read_videopose3d_h36m(file_3d, {'x': save_2d(tmp_path / 'y.npz', {}, [[0], [1]])})
    file_3d.write_bytes(file_3d.read_bytes()[:500])
    with pytest.raises(ValueError, match='data_3d_h36m.npz'):
        read_videopose3d_h36m(file_3d)


class Malicious:
    def __reduce__(self):
        return eval, ('open(__import__("os").environ["MARKER"], "w")',)


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.setenv('MARKER', str(tmp_path / 'marker'))
    np.savez(
        tmp_path / 'data_3d_h36m.npz', positions_3d=np.array({'S1': Malicious()}, dtype=object)
    )
    with pytest.raises(UnsafePickleError):
        read_videopose3d_h36m(tmp_path / 'data_3d_h36m.npz')
    (tmp_path / 'cameras.pkl').write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(UnsafePickleError):
        read_mmpose_h36m([tmp_path / 'data_3d_h36m.npz'], tmp_path / 'cameras.pkl')
    assert not (tmp_path / 'marker').exists()


# ---------------------------------------------------------------- MMPose


def test_mmpose_real_files(shared_dir, tmp_path):
    """MMPose's own test files: its cameras are ours, and its 2D is the projection of its 3D."""
    folder = shared_dir / 'mmpose_fixtures' / 'h36m'
    store = read_mmpose_h36m(
        [folder / 'test_h36m_body3d.npz'],
        folder / 'cameras.pkl',
        {'det': [folder / 'test_h36m_2d_detection.npy']},
    ).write(tmp_path / 'store')
    assert [s.name for s in store.sequences] == [
        'S1/Directions 1/S1.54138969',
        'S5/SittingDown/S5.54138969',
        'S7/Greeting/S7.55011271',
        'S8/WalkDog 1/S8.55011271',
    ]
    assert store.sequences[0].file == 'S1/S1_Directions_1.54138969'
    assert store.sequences[3].action == 'WalkDog' and store.sequences[3].fps == 50
    for i, sequence in enumerate(store.sequences):
        camera, ours = store.cameras[sequence.camera], h36m_camera(*sequence.camera.split('.'))
        for name in ('focal', 'center', 'radial', 'tangential', 'rotation', 'position'):
            np.testing.assert_allclose(
                getattr(camera, name), getattr(ours, name), rtol=1e-6, atol=1e-7
            )
        assert (
            np.abs(camera.project(store.keypoints_3d[i]) - store.keypoints_2d('gt')[i, :, :2]).max()
            < 0.01
        )
    np.testing.assert_array_equal(
        store.keypoints_2d('det'), np.load(folder / 'test_h36m_2d_detection.npy').astype(np.float32)
    )


def save_cameras(path):
    table = {}
    for camera in h36m_cameras(['S1']):
        table['S1', camera.name.split('.')[1]] = dict(
            R=camera.rotation.T,
            T=camera.position[:, None],
            c=camera.center[:, None],
            f=camera.focal[:, None],
            k=camera.radial[:, None],
            p=camera.tangential[::-1, None],
            w=camera.width,
            h=camera.height,
            name=camera.name,
            id=camera.name.split('.')[1],
        )
    path.write_bytes(pickle.dumps(table))
    return path


def save_annotations(path, rng, names, **changes):
    count = len(names)
    arrays = dict(
        imgname=np.array(names),
        center=np.zeros((count, 2)),
        scale=np.ones(count),
        part=rng.uniform(0, 1000, (count, 17, 3)),
        S=rng.normal(size=(count, 17, 4)),
    )
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def images(frames, action='TakingPhoto', camera='54138969', subject='S1'):
    folder = f'{subject}_{action}.{camera}'
    return [f'{subject}/{folder}/{folder}_{frame:06d}.jpg' for frame in frames]


def test_mmpose_clips_rates_and_order(tmp_path, rng):
    cameras = save_cameras(tmp_path / 'cameras.pkl')
    names = images([6, 1, 11]) + images([1, 2], 'Walking_1', '60457274')
    train = save_annotations(tmp_path / 'a.npz', rng, names)
    test = save_annotations(tmp_path / 'b.npz', rng, images([1], 'Eating'))
    files = [tmp_path / 'a.npy', tmp_path / 'b.npy']
    np.save(files[0], rng.normal(size=(5, 17, 3)))
    np.save(files[1], rng.normal(size=(1, 17, 3)))
    store = read_mmpose_h36m([train, test], cameras, {'det': files}).write(tmp_path / 'store')
    assert [(s.action, s.subaction, s.fps, s.num_frames) for s in store.sequences] == [
        ('Photo', 'Photo', 10, 3),
        ('Walking', 'Walking 1', 50, 2),
        ('Eating', 'Eating', 50, 1),
    ]
    order = [1, 0, 2, 3, 4]
    np.testing.assert_allclose(store.keypoints_3d[:5], np.load(train)['S'][order, :, :3], atol=1e-6)
    np.testing.assert_allclose(store.keypoints_2d('det')[:5], np.load(files[0])[order], atol=1e-6)
    assert set(store.cameras) == {'S1.54138969', 'S1.60457274'}


@pytest.mark.parametrize(
    'names, changes, message',
    [
        (images([1, 2, 4]), {}, 'not evenly spaced after 2'),
        (images([1, 1]), {}, 'not evenly spaced'),
        (['picture.jpg'], {}, "image name 'picture.jpg' in row 0"),
        (images([1], camera='11111111'), {}, 'camera 11111111 of S1 .* not in the camera file'),
        (images([1]), dict(S=None), 'lacks S'),
        (images([1]), dict(S=np.zeros((1, 16, 4))), 'expected .frames, 17, 4'),
        (images([1]), dict(S=np.zeros((2, 17, 4))), 'different lengths'),
        (images([1]), dict(part=np.full((1, 17, 3), np.nan)), 'not finite'),
    ],
)
def test_bad_mmpose_files(tmp_path, rng, names, changes, message):
    file = save_annotations(tmp_path / 'a.npz', rng, names, **changes)
    with pytest.raises(ValueError, match=f'a.npz.*{message}'):
        read_mmpose_h36m([file], save_cameras(tmp_path / 'c.pkl')).write(tmp_path / 'store')
    assert not (tmp_path / 'store').exists()


def test_bad_detections_and_cameras(tmp_path, rng):
    file, cameras = save_annotations(tmp_path / 'a.npz', rng, images([1])), tmp_path / 'c.pkl'
    save_cameras(cameras)
    np.save(tmp_path / 'd.npy', np.zeros((2, 17, 3)))
    with pytest.raises(ValueError, match='d.npy: 2 rows, .*a.npz has 1'):
        read_mmpose_h36m([file], cameras, {'det': [tmp_path / 'd.npy']})
    with pytest.raises(ValueError, match='one for each'):
        read_mmpose_h36m([file], cameras, {'det': []})
    cameras.write_bytes(pickle.dumps({('S1', '54138969'): {'R': 1}}))
    with pytest.raises(ValueError, match='c.pkl: camera .* lacks T, c'):
        read_mmpose_h36m([file], cameras)
    cameras.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match='c.pkl: expected a dict'):
        read_mmpose_h36m([file], cameras)
