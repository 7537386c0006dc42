"""The pose store: round trips, what opening and verifying find, atomic writing, and its cost."""

import json
import multiprocessing
import pickle
import resource
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from mmpose_lift.geometry import h36m_camera
from mmpose_lift.io import PoseStore, PoseStoreWriter, Sequence, write_store


def clip(name='Walking 1', camera='S1.54138969', **changes):
    return replace(Sequence('S1', 'Walking', name, camera, 50.0, 1000, 1002), **changes)


def arrays(rng, frames=7):
    return (
        rng.normal(size=(frames, 17, 3)).astype(np.float32),
        rng.uniform(0, 1000, size=(frames, 17, 3)).astype(np.float32),
    )


@pytest.fixture
def store_path(tmp_path, rng):
    path = tmp_path / 'store'
    camera = h36m_camera('S1', '54138969')
    with PoseStoreWriter(path, source='test', frame='camera', cameras={camera.name: camera}) as w:
        for i, frames in enumerate((7, 4)):
            points, pixels = arrays(rng, frames)
            w.add_sequence(
                clip(f'Walking {i}', file=f'clip{i}.mp4'),
                points,
                {'gt': pixels[..., :2], 'cpn': pixels},
                np.arange(frames) > 0,
            )
    return path


def test_round_trip(store_path):
    rng = np.random.default_rng(0)
    store = PoseStore.open(store_path)
    assert (store.frame, store.skeleton, store.source) == ('camera', 'h36m', 'test')
    assert store.num_frames == 11 and store.sources_2d == ['cpn', 'gt'] and store.subjects == ['S1']
    assert [(s.first, s.last, s.num_frames) for s in store.sequences] == [(0, 7, 7), (7, 11, 4)]
    assert store.sequences[1] == clip('Walking 1', file='clip1.mp4', first=7, last=11)
    assert store.sequences[1].name == 'S1/Walking 1/S1.54138969'
    points, pixels = arrays(rng, 7)
    np.testing.assert_array_equal(store.keypoints_3d[:7], points)
    np.testing.assert_array_equal(store.keypoints_2d('cpn')[:7], pixels)
    np.testing.assert_array_equal(store.keypoints_2d('gt')[:7, :, :2], pixels[..., :2])
    assert (store.keypoints_2d('gt')[..., 2] == 1).all()
    assert store.valid.tolist() == [False] + 6 * [True] + [False] + 3 * [True]
    assert store.cameras == {'S1.54138969': h36m_camera('S1', '54138969')}
    assert isinstance(store.keypoints_3d, np.memmap) and not store.keypoints_3d.flags.writeable
    store.verify()


def test_write_store_is_the_same_as_streaming(store_path, tmp_path):
    a = PoseStore.open(store_path)
    write_store(
        tmp_path / 'b',
        source=a.source,
        frame=a.frame,
        skeleton=a.skeleton,
        sequences=a.sequences,
        keypoints_3d=a.keypoints_3d,
        valid=a.valid,
        keypoints_2d={name: a.keypoints_2d(name) for name in a.sources_2d},
        cameras=a.cameras,
    )
    for file in store_path.iterdir():
        assert file.read_bytes() == (tmp_path / 'b' / file.name).read_bytes()


def test_plain_npy_files(store_path):
    assert np.load(store_path / 'keypoints_3d.npy').shape == (11, 17, 3)


def test_2d_only_and_world(tmp_path, rng):
    points, pixels = arrays(rng)
    with PoseStoreWriter(tmp_path / 'a', source='', frame='camera') as w:
        w.add_sequence(clip(camera='phone'), None, {'hrnet': pixels})
    assert PoseStore.open(tmp_path / 'a').keypoints_3d is None
    with PoseStoreWriter(tmp_path / 'b', source='', frame='world') as w:
        w.add_sequence(clip(camera='', width=0, height=0), points)
    store = PoseStore.open(tmp_path / 'b')
    assert store.frame == 'world' and store.sources_2d == [] and store.valid.all()
    with pytest.raises(ValueError, match='in world space'):
        with PoseStoreWriter(tmp_path / 'c', source='', frame='world') as w:
            w.add_sequence(clip(), points)


def test_pickled_by_path(store_path, rng):
    data = pickle.dumps(PoseStore.open(store_path))
    assert len(data) < 500
    np.testing.assert_array_equal(
        pickle.loads(data).keypoints_3d, PoseStore.open(store_path).keypoints_3d
    )
    points, _ = arrays(rng)
    memory = PoseStore(
        frame='world',
        skeleton='h36m',
        keypoints_3d=points,
        sequences=[clip(camera='', width=0, height=0, last=7)],
    )
    copy = pickle.loads(pickle.dumps(memory))
    np.testing.assert_array_equal(copy.keypoints_3d, points)
    assert copy.sequences == memory.sequences
    with pytest.raises(ValueError, match='in memory'):
        memory.verify()


# ---------------------------------------------------------------- opening damaged stores


def test_not_a_store(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        PoseStore.open(tmp_path / 'nothing')
    with pytest.raises(FileNotFoundError, match='not a store'):
        PoseStore.open(tmp_path)
    (tmp_path / 'store.json').write_text('{"a": 1}')
    with pytest.raises(ValueError, match='not the description of a store'):
        PoseStore.open(tmp_path)
    (tmp_path / 'store.json').write_text('{"a": ')
    with pytest.raises(ValueError, match='not a JSON text'):
        PoseStore.open(tmp_path)


def _edit(path, old, new):
    text = (path / 'store.json').read_text()
    assert old in text
    (path / 'store.json').write_text(text.replace(old, new))


def test_other_version(store_path):
    _edit(store_path, '"version": 1', '"version": 99')
    with pytest.raises(ValueError, match='store version 99, this program reads version 1'):
        PoseStore.open(store_path)


def test_changed_json(store_path):
    _edit(store_path, '"fps": 50.0', '"fps": 25.0')
    with pytest.raises(ValueError, match='does not match its own checksum'):
        PoseStore.open(store_path)


def test_changed_cameras(store_path):
    (store_path / 'cameras.json').write_text('{}')
    with pytest.raises(ValueError, match='cameras.json.*checksum'):
        PoseStore.open(store_path)
    (store_path / 'cameras.json').unlink()
    with pytest.raises(FileNotFoundError, match='cameras.json'):
        PoseStore.open(store_path)


def test_truncated_and_missing_array(store_path):
    file = store_path / 'keypoints_2d_cpn.npy'
    data = file.read_bytes()
    file.write_bytes(data[:-4])
    with pytest.raises(ValueError, match=r'keypoints_2d_cpn.npy: \d+ bytes, expected \d+'):
        PoseStore.open(store_path)
    file.unlink()
    with pytest.raises(FileNotFoundError, match='keypoints_2d_cpn.npy'):
        PoseStore.open(store_path)


def test_wrong_dtype(store_path):
    file = store_path / 'keypoints_3d.npy'
    file.write_bytes(file.read_bytes().replace(b"'<f4'", b"'<i4'", 1))
    with pytest.raises(ValueError, match='holds int32 .* store.json says float32'):
        PoseStore.open(store_path)


def test_verify_names_the_changed_array(store_path):
    file = store_path / 'keypoints_2d_gt.npy'
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    store = PoseStore.open(store_path)
    with pytest.raises(ValueError, match="array 'keypoints_2d_gt' does not match its checksum"):
        store.verify()


def test_unknown_2d_source(store_path):
    with pytest.raises(ValueError, match=r"no 2D source 'hrnet' \(it has: cpn, gt\)"):
        PoseStore.open(store_path).keypoints_2d('hrnet')


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda a: dict(keypoints_3d=a[0][:, :16]), '17 joints of skeleton'),
        (
            lambda a: dict(keypoints_2d={'gt': a[1][:5]}),
            r"'keypoints_2d_gt' has shape \(5, 17, 3\)",
        ),
        (lambda a: dict(keypoints_3d=a[0][:0], keypoints_2d={'gt': a[1][:0]}), 'is empty'),
        (
            lambda a: dict(keypoints_3d=np.where(np.arange(7)[:, None, None] == 3, np.nan, a[0])),
            'not finite .* in 1 frame.s., first 3',
        ),
        (lambda a: dict(keypoints_2d={'../gt': a[1]}), '2D source name'),
        (lambda a: dict(keypoints_2d={}), 'a store needs the same in every clip'),
        (lambda a: dict(keypoints_3d=None, keypoints_2d=None), 'neither 3D nor 2D'),
        (lambda a: dict(sequence=clip('B', fps=0)), 'fps 0'),
        (lambda a: dict(sequence=clip('B', width=0)), 'image size 0x1002'),
        (lambda a: dict(sequence=clip('A')), 'given twice'),
        (lambda a: dict(valid=np.ones(3, bool)), "'valid' has shape"),
        (lambda a: dict(valid=['yes'] * 7), "'valid' holds values of type <U3, expected bool"),
        (
            lambda a: dict(keypoints_3d=a[0].astype(str)),
            "clip 'S1/B/.*'keypoints_3d' holds values of type <U.*, expected numbers",
        ),
        (lambda a: dict(keypoints_2d={'gt': a[1] + 1j}), "'keypoints_2d_gt' holds .*complex"),
        (lambda a: dict(keypoints_3d=a[0].astype(object)), 'type object, expected numbers'),
        (lambda a: dict(keypoints_3d=[[1], [1, 2]]), "'keypoints_3d' is no regular array"),
        (lambda a: dict(keypoints_3d=3.0), r"'keypoints_3d' has shape \(1,\)"),
        (lambda a: dict(keypoints_3d=a[0] * np.float64(1e300)), 'beyond float32. in 7 frame'),
        (lambda a: dict(keypoints_3d=a[0] * 1000), 'median bone length .*are these millimetres'),
    ],
)
def test_bad_clip_leaves_nothing(tmp_path, rng, change, message):
    good = arrays(rng)
    arguments = dict(sequence=clip('B'), keypoints_3d=good[0], keypoints_2d={'gt': good[1]})
    with pytest.raises(ValueError, match=message):
        with PoseStoreWriter(tmp_path / 'store', source='', frame='camera') as writer:
            writer.add_sequence(clip('A'), good[0], {'gt': good[1]})
            writer.add_sequence(**{**arguments, **change(good)})
    assert list(tmp_path.iterdir()) == []


def test_nan_in_frames_that_are_not_valid_is_not_stored(tmp_path, rng):
    points, pixels = arrays(rng)
    stored = points.copy(), pixels.copy()
    valid = np.array([0, 1, 0, 0, 0, 1, 0], dtype=bool)
    points[[0, 3, 4, 6], 5] = np.nan
    pixels[4, 2, 2] = np.inf
    given = points.copy(), pixels.copy()
    with PoseStoreWriter(tmp_path / 'store', source='', frame='camera') as writer:
        writer.add_sequence(clip(), points, {'gt': pixels}, valid)
    store = PoseStore.open(tmp_path / 'store')
    # frame 2 is not valid but finite: kept; 3 is as far from 1 as from 5: the earlier one
    np.testing.assert_array_equal(store.keypoints_3d, stored[0][[1, 1, 2, 1, 5, 5, 5]])
    stored[1][4] = stored[1][5]
    stored[1][4, :, 2] = 0
    np.testing.assert_array_equal(store.keypoints_2d('gt'), stored[1])
    np.testing.assert_array_equal(store.valid, valid)
    np.testing.assert_array_equal(points, given[0])
    np.testing.assert_array_equal(pixels, given[1])


def test_clip_without_any_valid_frame(tmp_path, rng):
    points, _ = arrays(rng)
    points[2] = 1e3 * points[2]
    points[4] = np.nan
    with PoseStoreWriter(tmp_path / 'store', source='', frame='camera') as writer:
        writer.add_sequence(clip(), points, valid=np.zeros(7, bool))
    store = PoseStore.open(tmp_path / 'store')
    assert (store.keypoints_3d[4] == 0).all()
    np.testing.assert_array_equal(store.keypoints_3d[:4], points[:4])


def test_no_clip_and_interruption_leave_nothing(tmp_path, rng):
    with pytest.raises(ValueError, match='no clip was added'):
        PoseStoreWriter(tmp_path / 'store', source='', frame='camera').close()
    with pytest.raises(KeyboardInterrupt):
        with PoseStoreWriter(tmp_path / 'store', source='', frame='camera') as writer:
            writer.add_sequence(clip(), arrays(rng)[0])
            raise KeyboardInterrupt
    with pytest.raises(ValueError, match='unknown'):
        PoseStoreWriter(tmp_path / 'store', source='', frame='image')
    assert list(tmp_path.iterdir()) == []


def test_existing_destination(store_path, tmp_path, rng):
    before = {file.name: file.read_bytes() for file in store_path.iterdir()}
    with pytest.raises(FileExistsError, match='exists already'):
        PoseStoreWriter(store_path, source='', frame='camera')
    with pytest.raises(ValueError):
        with PoseStoreWriter(store_path, source='', frame='camera', overwrite=True) as writer:
            writer.add_sequence(clip(), arrays(rng)[0][:, :5])
    assert {file.name: file.read_bytes() for file in store_path.iterdir()} == before
    with PoseStoreWriter(store_path, source='new', frame='camera', overwrite=True) as writer:
        writer.add_sequence(clip(), arrays(rng)[0])
    assert PoseStore.open(store_path).source == 'new'
    (tmp_path / 'photos').mkdir()
    with pytest.raises(FileExistsError, match='is not a store'):
        PoseStoreWriter(tmp_path / 'photos', source='', frame='camera', overwrite=True)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(sequences=[]), 'no sequence'),
        (dict(sequences=[clip(first=1, last=7)]), 'starting at 0'),
        (dict(sequences=[clip(last=8)]), 'expected float32'),
        (dict(keypoints_3d=np.zeros((7, 17, 3))), 'float64'),
        (dict(skeleton='h36n'), 'h36n'),
    ],
)
def test_in_memory_checks(rng, change, message):
    points, pixels = arrays(rng)
    good = dict(
        frame='camera',
        skeleton='h36m',
        sequences=[clip(last=7)],
        keypoints_3d=points,
        keypoints_2d={'gt': pixels},
    )
    PoseStore(**good)
    with pytest.raises(ValueError, match=message):
        PoseStore(**{**good, **change})


# ---------------------------------------------------------------- cost


def _cost_of_opening(path):
    """Frames, sequences, seconds to open, and growth of this process in MB after some reading."""

    def megabytes():
        return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() / 1e6

    before, start = megabytes(), time.perf_counter()
    store = PoseStore.open(path)
    seconds = time.perf_counter() - start
    for row in range(0, store.num_frames, 100_000):
        assert store.keypoints_2d('cpn')[row : row + 243].shape == (243, 17, 3)
        assert np.isfinite(store.keypoints_3d[row : row + 243].sum())
    return store.num_frames, len(store.sequences), seconds, megabytes() - before


def test_opening_a_store_of_the_size_of_human36m(tmp_path, rng):
    """1.56 million frames: under 1 s and under 100 MB. The arrays are sparse files."""
    path, frames, clips = tmp_path / 'big', 1_560_000, 600
    points, pixels = arrays(rng, 2)
    with PoseStoreWriter(path, source='', frame='camera') as writer:
        writer.add_sequence(clip(), points, {'gt': pixels, 'cpn': pixels})
    info = json.loads((path / 'store.json').read_text())
    length = frames // clips
    info['sequences'] = [
        dict(info['sequences'][0], first=i * length, last=(i + 1) * length) for i in range(clips)
    ]
    info['num_frames'] = frames
    for entry in info['arrays'].values():
        file = path / entry['file']
        header = file.read_bytes()[:128]
        entry['shape'][0] = frames
        text = header[10:].decode().replace('(2,', f'({frames},')
        size = 128 + int(np.prod(entry['shape'])) * np.dtype(entry['dtype']).itemsize
        with open(file, 'wb') as handle:
            handle.write(header[:10] + text.strip().ljust(117).encode() + b'\n')
            handle.truncate(size)
    from mmpose_lift.io.store_files import info_checksum

    info['checksum'] = info_checksum(info)
    (path / 'store.json').write_text(json.dumps(info))
    if not sys.platform.startswith('linux'):
        pytest.skip('reads the memory of a forked process from /proc')
    with multiprocessing.get_context('fork').Pool(1) as pool:
        count, sequences, seconds, megabytes = pool.apply(_cost_of_opening, (path,))
    assert (count, sequences) == (frames, clips)
    assert seconds < 1 and megabytes < 100
