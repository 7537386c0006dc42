"""Readers of MPI-INF-3DHP: P-STMO's, MMPose's and SPIN's files, written here in their layouts."""

import importlib.util
import pickle

import numpy as np
import pytest

from mmpose_lift.geometry import joint_map
from mmpose_lift.io import PoseStore, UnsafePickleError
from mmpose_lift.io.readers import read_mmpose_3dhp, read_pstmo_3dhp, read_spin_3dhp
from mmpose_lift.io.readers.mpi_inf_3dhp import VALID_FRAMES

ROOT, CENTRE = 14, np.array([100.0, 50.0, 3500.0])  # mm
# published: position in SPIN's order of the joints of Human3.6M without the neck base
SPIN_TO_H36M_16 = [14, 2, 1, 0, 3, 4, 5, 16, 12, 18, 9, 10, 11, 8, 7, 6]


def person(rng, frames, joints=17, unit=1.0):
    """Camera-space poses around CENTRE, in mm times unit, and pixels."""
    points = rng.normal(scale=200, size=(frames, joints, 3)) + CENTRE
    return points * unit, rng.uniform(200, 1000, (frames, joints, 2))


def pstmo_view(rng, frames, **more):
    points, pixels = person(rng, frames)
    return dict(data_2d=pixels, data_3d=points, **more)


@pytest.fixture
def train(rng):
    return {
        'S1 Seq1': [{'0': pstmo_view(rng, 4), '5': pstmo_view(rng, 4)}, 25],
        'S3 Seq2': [{'8': pstmo_view(rng, 6)}, 50],
    }


@pytest.fixture
def test_set(rng):
    data = {
        'TS1': pstmo_view(rng, 5, valid=np.array([1, 0, 1, 1, 0])),
        'TS6': pstmo_view(rng, 3, valid=np.array([0.0, 1.0, 1.0])),
    }
    data['TS1']['data_3d'][4] = np.nan  # not valid, so not read by the protocol
    return data


def save(path, data):
    np.savez(path, data=np.array(data, dtype=object))
    return path


# ---------------------------------------------------------------- P-STMO


def test_pstmo(tmp_path, train, test_set):
    """Order, unit, rates, sizes and validity, training and test files in one store."""
    recording = read_pstmo_3dhp(
        [save(tmp_path / 'train.npz', train), save(tmp_path / 'test.npz', test_set)]
    )
    store = recording.write(tmp_path / 'store')
    assert (store.frame, store.skeleton, store.sources_2d) == ('camera', 'h36m', ['gt'])
    assert 'universal annotation' in store.source and recording.total == 5
    assert [(s.name, s.fps, s.width, s.height, s.num_frames) for s in store.sequences] == [
        ('S1/Seq1/S1_Seq1_Cam0', 25, 2048, 2048, 4),
        ('S1/Seq1/S1_Seq1_Cam5', 25, 2048, 2048, 4),
        ('S3/Seq2/S3_Seq2_Cam8', 50, 2048, 2048, 6),
        ('TS1/TS1/TS1', 25, 2048, 2048, 5),
        ('TS6/TS6/TS6', 25, 1920, 1080, 3),
    ]
    assert {s.action for s in store.sequences} == {''}
    assert store.valid.tolist() == [True] * 14 + [True, False, True, True, False, False, True, True]
    # published map of 3DHP's 17 joints to Human3.6M's
    order = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
    views = [*train['S1 Seq1'][0].values(), *train['S3 Seq2'][0].values(), *test_set.values()]
    for sequence, view in zip(store.sequences, views):
        rows = np.arange(sequence.first, sequence.last)
        rows, used = rows[store.valid[rows]], store.valid[rows]
        np.testing.assert_allclose(
            store.keypoints_3d[rows] * 1000, view['data_3d'][used][:, order], atol=1e-3
        )
        np.testing.assert_allclose(
            store.keypoints_2d('gt')[rows, :, :2], view['data_2d'][used][:, order], atol=1e-3
        )
    # absolute positions: the root is where it was, 3.5 m away, not at the origin
    assert abs(np.median(store.keypoints_3d[:, 0, 2]) - 3.5) < 0.3
    assert np.isfinite(store.keypoints_3d).all()


def test_pstmo_test_rate_and_tuple_entries(tmp_path, train, test_set):
    train['S1 Seq1'] = np.array([train['S1 Seq1'][0], np.int64(25)], dtype=object)
    files = save(tmp_path / 'a.npz', train), save(tmp_path / 'b.npz', test_set)
    store = read_pstmo_3dhp(files, test_fps=50).write(tmp_path / 'store')
    assert [s.fps for s in store.sequences] == [25, 25, 50, 50, 50]
    assert store.subjects == ['S1', 'S3', 'TS1', 'TS6']


def scaled(view, key, factor, rows=slice(None)):
    view[key] = view[key] * 1.0
    view[key][:, rows] *= factor


def prepared(view):
    """What P-STMO's loader makes of a clip: row 14 stays absolute."""
    relative = view['data_3d'] - view['data_3d'][:, ROOT, None]
    relative[:, ROOT] = view['data_3d'][:, ROOT]
    view['data_3d'] = relative


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda t: t.pop('valid'), "'TS1': lacks valid .*valid frames only"),
        (lambda t: t.pop('data_2d'), "'TS1': lacks data_2d"),
        (lambda t: t.update(valid=np.ones(4)), r'valid must hold 5 values.*\(4,\)'),
        (lambda t: t.update(valid=np.full(5, 2)), 'valid must hold 5 values 0 or 1'),
        (lambda t: t.update(valid=np.zeros(5)), 'no frame is valid'),
        (lambda t: t.update(valid=np.ones(5)), 'not finite .* first 4'),
        (lambda t: t.update(data_3d=t['data_3d'][:, :16]), r'expected \(frames, 17, 3\)'),
        (lambda t: t.update(data_2d=t['data_2d'][:, :16]), r'data_2d: .*\(frames, 17, 2\)'),
        (lambda t: t.update(data_2d=t['data_2d'][:3]), 'must have the same number of frames'),
        (lambda t: t.update(data_3d=7.0), 'must have the same number of frames'),
        (lambda t: scaled(t, 'data_3d', 0.001), 'median bone length .* expected millimetres'),
        (lambda t: scaled(t, 'data_2d', 0.001), 'pixels large .* normalised'),
        (prepared, "only joint 14 is absolute, as after P-STMO's preparation"),
        (
            lambda t: t.update(data_3d=t['data_3d'] - t['data_3d'][:, ROOT, None]),
            'depth of the root is 0 m, so the 3D is root-relative',
        ),
    ],
)
def test_bad_pstmo_clip(tmp_path, test_set, change, message):
    change(test_set['TS1'])
    file = save(tmp_path / 'test.npz', test_set)
    with pytest.raises(ValueError, match=message) as error:
        read_pstmo_3dhp(file).write(tmp_path / 'store')
    assert str(error.value).startswith(f"{file}: 'TS1'")
    assert not (tmp_path / 'store').exists()


@pytest.mark.parametrize(
    'data, message',
    [
        ({'S1 Seq1': [{}, 25]}, 'expected {camera: arrays}'),
        ({'S1 Seq1': [{'0': {}}]}, r'expected \[{camera: arrays}, fps\]'),
        ({'S1 Seq1': [{'0': dict(data_2d=1)}, 25]}, "'S1 Seq1' camera 0: lacks data_3d"),
        ({'S1 Seq1': [{'0': dict(data_2d=1, data_3d=1)}, None]}, 'frame rate is None'),
        ({'S1 Seq1': [{'0': dict(data_2d=1, data_3d=1)}, 0]}, 'frame rate is 0'),
        ({'S9 Seq1': [{}, 25]}, "'S9 Seq1': unknown clip"),
        ({'TS7': {}}, "'TS7': unknown clip"),
        ({}, 'data must be a dict of clips'),
        ([1, 2], 'data must be a dict of clips'),
    ],
)
def test_bad_pstmo_file(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        read_pstmo_3dhp(save(tmp_path / 'a.npz', data))


class Malicious:
    def __reduce__(self):
        return eval, ('open(__import__("os").environ["MARKER"], "w")',)


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.setenv('MARKER', str(tmp_path / 'marker'))
    with pytest.raises(UnsafePickleError):
        read_pstmo_3dhp(save(tmp_path / 'a.npz', {'TS1': Malicious()}))
    (tmp_path / 'c.pkl').write_bytes(pickle.dumps({'TS1': Malicious()}))
    with pytest.raises(UnsafePickleError):
        read_mmpose_3dhp(tmp_path / 'a.npz', tmp_path / 'c.pkl')
    assert not (tmp_path / 'marker').exists()
    with pytest.raises(FileNotFoundError, match='no such file'):
        read_pstmo_3dhp(tmp_path / 'none.npz')
    np.savez(tmp_path / 'b.npz', other=np.zeros(3))
    with pytest.raises(ValueError, match='lacks data'):
        read_pstmo_3dhp(tmp_path / 'b.npz')


# ---------------------------------------------------------------- MMPose


def test_mmpose_real_files(shared_dir, tmp_path):
    """MMPose's own test files: 2D is the projection of the 3D, cameras stand at chest height."""
    folder = shared_dir / 'mmpose_fixtures' / 'mpi_inf_3dhp'
    files = [folder / f'test_3dhp_{part}.npz' for part in ('train', 'test')]
    cameras = [folder / f'cameras_{part}.pkl' for part in ('train', 'test')]
    store = read_mmpose_3dhp(files, cameras).write(tmp_path / 'store')
    assert [(s.name, s.fps, s.width, s.height) for s in store.sequences] == [
        ('S4/Seq2_001033/S4_Seq2_Cam0', 25, 2048, 2048),
        ('S8/Seq1_002165/S8_Seq1_Cam8', 25, 2048, 2048),
        ('TS1/TS1_002001/TS1', 25, 2048, 2048),
        ('TS2/TS2_001850/TS2', 25, 2048, 2048),
    ]
    assert set(store.cameras) == {'S4_Seq2_Cam0', 'S8_Seq1_Cam8', 'TS1', 'TS2'}
    arrays = [np.load(file) for file in files]
    S = np.concatenate([a['S'] for a in arrays])[:, joint_map('mpi_inf_3dhp', 'h36m'), :3]
    np.testing.assert_allclose(store.keypoints_3d, S, atol=1e-6)
    for i, sequence in enumerate(store.sequences):
        camera = store.cameras[sequence.camera]
        pixels = store.keypoints_2d('gt')[i]
        assert np.abs(camera.project(store.keypoints_3d[i]) - pixels[:, :2]).max() < 2
        if sequence.subject.startswith('S'):
            world = camera.camera_to_world(store.keypoints_3d[i].astype(np.float64))
            # z is up: the camera at chest height, the lower foot near the ground, head above hips
            assert 1 < camera.position[2] < 2 and -0.2 < world[[3, 6], 2].min() < 0.3
    assert store.keypoints_2d('gt')[3, [13, 16], 2].tolist() == [0, 0]  # wrists out of the image


def annotations(path, rng, names, **changes):
    points, pixels = person(rng, len(names), unit=0.001)
    ones = np.ones((*points.shape[:2], 1))
    arrays = dict(
        imgname=np.array(names),
        part=np.concatenate([pixels, ones], axis=-1),
        S=np.concatenate([points, ones], axis=-1),
    )
    arrays.update(changes)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def camera_file(path, names=('S1_Seq2_Cam0', 'TS5'), **changes):
    entry = dict(c=[[960], [540]], f=[[1683], [1672]], w=1, h=1, **changes)
    path.write_bytes(pickle.dumps({name: entry for name in names}))
    return path


def images(clip, frames):
    return [f'{clip}_{frame:06d}.jpg' for frame in frames]


def test_mmpose_clips_are_cut_at_gaps(tmp_path, rng):
    names = images('S1_Seq2_Cam0', [3, 1, 2]) + images('TS5', [7, 17, 8])
    file = annotations(tmp_path / 'a.npz', rng, names)
    store = read_mmpose_3dhp(file, camera_file(tmp_path / 'c.pkl'), 60).write(tmp_path / 'store')
    assert [(s.name, s.fps, s.num_frames, s.height) for s in store.sequences] == [
        ('S1/Seq2/S1_Seq2_Cam0', 50, 3, 2048),
        ('TS5/TS5_000007/TS5', 60, 2, 1080),
        ('TS5/TS5_000017/TS5', 60, 1, 1080),
    ]
    order = [1, 2, 0, 3, 5, 4]
    np.testing.assert_allclose(
        store.keypoints_3d[:, 0], np.load(file)['S'][order, ROOT, :3], atol=1e-5
    )


@pytest.mark.parametrize(
    'names, changes, message',
    [
        (images('TS5', [1, 1]), {}, 'image 1 of TS5 is in it twice'),
        (images('S1_Directions', [1]), {}, "image name 'S1_Directions_000001.jpg' in row 0"),
        (images('TS4', [1]), {}, 'camera TS4 is in none of the camera files'),
        (images('TS5', [1]), dict(S=None), 'lacks S'),
        (images('TS5', [1]), dict(S=np.zeros((1, 16, 4))), r'expected \(frames, 17, 4\)'),
        (images('TS5', [1]), dict(S=np.ones((2, 17, 4))), 'different lengths'),
        (images('TS5', [1]), dict(part=np.full((1, 17, 3), np.nan)), 'not finite'),
        (images('TS5', [1]), dict(S=np.arange(68.0).reshape(1, 17, 4) * 99), 'expected metres'),
    ],
)
def test_bad_mmpose_files(tmp_path, rng, names, changes, message):
    file = annotations(tmp_path / 'a.npz', rng, names, **changes)
    with pytest.raises(ValueError, match=f'a.npz.*{message}'):
        read_mmpose_3dhp(file, camera_file(tmp_path / 'c.pkl')).write(tmp_path / 'store')
    assert not (tmp_path / 'store').exists()


def test_bad_cameras(tmp_path, rng):
    file = annotations(tmp_path / 'a.npz', rng, images('TS5', [1]))
    for content, message in (
        ({'TS5': dict(f=[1, 1])}, 'camera TS5: lacks c'),
        ({'TS5': dict(f=[1, 1], c=[1, 1], R=np.eye(3))}, 'camera TS5: lacks T'),
        ({'TS9': dict(f=[1, 1], c=[1, 1])}, "no subject 'TS9'"),
        ({'TS5': 3}, 'camera TS5: expected a dict'),
        ([], r'expected a dict {name: camera}'),
    ):
        (tmp_path / 'c.pkl').write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=message):
            read_mmpose_3dhp(file, tmp_path / 'c.pkl')


# ---------------------------------------------------------------- SPIN


def spin_file(path, rng, frames, names=None, **changes):
    points, pixels = person(rng, frames, 24, 0.001)
    points -= points[:, ROOT, None]  # root-relative, which the file may be
    ones = np.ones((frames, 24, 1))
    arrays = dict(
        part=np.concatenate([pixels, ones], -1), S=np.concatenate([points, ones], -1), **changes
    )
    for array in (arrays['part'], arrays['S']):
        array[:, [17, 19], -1] = 0  # joints that 3DHP lacks
    if names is not None:
        arrays['imgname'] = np.array(names)
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_spin_by_image_names(tmp_path, rng):
    names = ['test/TS1/img_000009.jpg', 'TS6_000002.jpg', 'test/TS1/img_000001.jpg', 'TS3_001.jpg']
    file = spin_file(tmp_path / 'a.npz', rng, 4, names)
    store = read_spin_3dhp(file).write(tmp_path / 'store')
    assert (store.skeleton, store.num_frames, len(store.sequences)) == ('h36m_16', 4, 3)
    assert [(s.name, s.width, s.height, s.num_frames) for s in store.sequences] == [
        ('TS1/TS1/TS1', 2048, 2048, 2),
        ('TS3/TS3/TS3', 2048, 2048, 1),
        ('TS6/TS6/TS6', 1920, 1080, 1),
    ]
    rows, arrays = [0, 2, 3, 1], np.load(file)
    np.testing.assert_allclose(
        store.keypoints_3d, arrays['S'][rows][:, SPIN_TO_H36M_16, :3], atol=1e-6
    )
    np.testing.assert_allclose(
        store.keypoints_2d('gt'), arrays['part'][rows][:, SPIN_TO_H36M_16], atol=1e-3
    )


def test_spin_by_counts(tmp_path, rng):
    file = spin_file(tmp_path / 'a.npz', rng, 2929)
    store = read_spin_3dhp(file).write(tmp_path / 'store')
    assert {s.subject: s.num_frames for s in store.sequences} == VALID_FRAMES
    np.testing.assert_allclose(store.keypoints_3d[-1, 3], np.load(file)['S'][-1, 0, :3], atol=1e-6)


def test_bad_spin_files(tmp_path, rng):
    def read(frames=2, names=('TS1_1.jpg', 'TS1_2.jpg'), **changes):
        return read_spin_3dhp(spin_file(tmp_path / 'a.npz', rng, frames, names, **changes))

    with pytest.raises(ValueError, match='2 frames without imgname.* the 2929 valid frames'):
        read(names=None)
    with pytest.raises(ValueError, match="'x.jpg' in row 1 says no sequence"):
        read(names=['TS1_1.jpg', 'x.jpg'])
    with pytest.raises(ValueError, match="different lengths: .*'imgname': 1"):
        read(names=['TS1_1.jpg'])

    def saved(**arrays):
        arrays = {**np.load(spin_file(tmp_path / 'a.npz', rng, 1, ['TS1_1.jpg'])), **arrays}
        np.savez(tmp_path / 'b.npz', **{k: v for k, v in arrays.items() if v is not None})
        return tmp_path / 'b.npz'

    good = dict(np.load(saved()))
    absent = good['S'].copy()
    absent[:, 18, 3] = 0
    for changes, message in (
        (dict(S=None), 'lacks S'),
        (dict(S=good['S'][:, :17]), r'expected \(frames, 24, 3 or 4\)'),
        (dict(part=good['part'] * np.nan), 'array part: 1 frame.* not finite'),
        (dict(S=good['S'] * 1000), 'TS1: the median bone length is .* expected metres'),
        (dict(S=absent), 'array S has confidence 0 in every frame for head_top'),
    ):
        with pytest.raises(ValueError, match=f'b.npz.*{message}'):
            read_spin_3dhp(saved(**changes)).write(tmp_path / 'store')
        assert not (tmp_path / 'store').exists()


# ---------------------------------------------------------------- command line


def test_command_line(tmp_path, root_dir, rng, train, test_set, capsys):
    spec = importlib.util.spec_from_file_location(
        'prepare_data', root_dir / 'tools/prepare_data.py'
    )
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(*words):
        return tool.main([str(word) for word in words])

    pstmo = save(tmp_path / 'train.npz', train), save(tmp_path / 'test.npz', test_set)
    assert run('pstmo-3dhp', *pstmo, '--test-fps', 50, '--out', tmp_path / 'pstmo') == 0
    store = PoseStore.open(tmp_path / 'pstmo')
    assert (len(store.sequences), store.sequences[-1].fps) == (5, 50)
    file, cameras = tmp_path / 'mm.npz', camera_file(tmp_path / 'c.pkl')
    annotations(file, rng, images('TS5', [1, 2]))
    assert run('mmpose-3dhp', file, '--cameras', cameras, '--out', tmp_path / 'mm') == 0
    spin = spin_file(tmp_path / 'spin.npz', rng, 1, ['TS5_1.jpg'])
    assert run('spin-3dhp', spin, '--out', tmp_path / 'spin') == 0
    assert run('info', tmp_path / 'spin') == 0
    assert 'skeleton h36m_16' in capsys.readouterr().out
    test_set['TS1'].pop('valid')
    assert run('pstmo-3dhp', save(pstmo[1], test_set), '--out', tmp_path / 'x') == 1
    assert 'lacks valid' in capsys.readouterr().err and not (tmp_path / 'x').exists()
