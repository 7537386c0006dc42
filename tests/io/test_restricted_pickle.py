"""Files load without being run: what belongs there arrives equal, anything else is refused."""

import collections
import io
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from mmpose_lift.io.restricted_pickle import (
    Shell,
    UnsafePickleError,
    load_npy,
    load_npz,
    load_torch,
    restricted_load,
)

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class _Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


@pytest.fixture
def marker(tmp_path):
    """A file that exists only if malicious content ran."""
    path = tmp_path / 'ran'
    yield path
    assert not path.exists(), 'the content of the file was run'


def _attacks(marker):
    command = f'touch {marker}'
    return {
        'system': _Calls(os.system, command),
        'eval': _Calls(eval, f'__import__("os").system({command!r})'),
        'exec': _Calls(exec, f'__import__("os").system({command!r})'),
        'getattr': _Calls(getattr, str, 'join'),
        'import': _Calls(__import__, 'this'),
        'open': _Calls(open, str(marker), 'w'),
        'numpy_file': _Calls(np.fromfile, str(marker)),
    }


ATTACKS = sorted(_attacks(''))


# what must load

@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('array', [
    np.arange(6, dtype='>i4').reshape(2, 3),
    np.asfortranarray(np.arange(6.).reshape(2, 3)),
    np.zeros((0, 3), np.float32),
    np.array(2.5),
    np.array([True, False]),
    np.array(['Walking', 'Sitting 1']),
    np.array([b'ab', b'']),
    np.array([1 + 2j]),
    np.zeros(2, [('xy', '<f4', (2,)), ('id', '<i8')]),
], ids=lambda array: f'{array.dtype}')
def test_array(array, protocol):
    loaded = restricted_load(io.BytesIO(pickle.dumps(array, protocol)))
    assert type(loaded) is np.ndarray and loaded.dtype == array.dtype
    np.testing.assert_array_equal(loaded, array)
    assert loaded.flags.f_contiguous == array.flags.f_contiguous and loaded.flags.writeable


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_containers(protocol):
    value = {
        'list': [1, 2.5, 'é', None, True, 10**30, b'\x00\xff', bytearray(b'x'), 1j],
        ('S1', '54138969'): (np.float32(1.5), np.bool_(True), np.int64(-3), np.str_('a')),
        'sets': ({1, 2}, frozenset([3])), 'dtype': np.dtype('<f4'),
        'ordered': collections.OrderedDict(a=np.ones(2)),
        'default': collections.defaultdict(list, {'k': [1]}),
    }
    loaded = restricted_load(io.BytesIO(pickle.dumps(value, protocol)))
    assert str(loaded) == str(value)
    assert loaded['default']['new'] == []
    assert [type(item) for item in loaded[('S1', '54138969')]] == [
        type(item) for item in value[('S1', '54138969')]]
    assert isinstance(loaded['dtype'], np.dtype)


def test_object_arrays_share_and_cycle():
    shared = np.arange(3.)
    array = np.empty((2, 2), object, order='F')
    array[0, 0], array[0, 1], array[1, 0], array[1, 1] = shared, shared, {'pose': shared}, array
    loaded = restricted_load(io.BytesIO(pickle.dumps(array)))
    assert loaded.shape == (2, 2)
    assert loaded[0, 0] is loaded[0, 1] is loaded[1, 0]['pose'] and loaded[1, 1] is loaded
    np.testing.assert_array_equal(loaded[0, 0], shared)


@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('kind', ['MT19937', 'PCG64', 'PCG64DXSM', 'Philox', 'SFC64'])
def test_random_states(kind, protocol):
    generator = np.random.Generator(getattr(np.random, kind)(3))
    state = np.random.RandomState(4)
    generator.random(5), state.randn(3)  # an odd number: a cached second Gaussian
    loaded = restricted_load(io.BytesIO(pickle.dumps([generator, state], protocol)))
    np.testing.assert_array_equal(loaded[0].random(700), generator.random(700))
    np.testing.assert_array_equal(loaded[1].randn(700), state.randn(700))


def test_random_state_of_old_numpy():
    state = np.random.RandomState(5)
    old = (b'\x80\x02cmtrand\n__RandomState_ctor\n)R' + pickle.dumps(state.get_state(), 2)[2:-1]
           + b'b.')
    np.testing.assert_array_equal(restricted_load(io.BytesIO(old)).rand(5), state.rand(5))


def test_python_2_pickle():
    # protocol 2 as Python 2 wrote it: str keys, array bytes in a str with non-ASCII characters
    raw = np.array([-1.5, 3.0], '<f8').tobytes()
    data = (b"\x80\x02}U\x04poseq\x00cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
            b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
            b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10" + raw + b"tbs.")
    np.testing.assert_array_equal(restricted_load(io.BytesIO(data))['pose'], [-1.5, 3.0])


def test_names_of_numpy_2():
    data = pickle.dumps(np.arange(3), 2).replace(b'numpy.core', b'numpy._core')
    np.testing.assert_array_equal(restricted_load(io.BytesIO(data)), np.arange(3))


class Sparse:
    """Any type that a table entry may stand for."""

    def __init__(self, data=None):
        self.data = data


class _SparseShell(Shell):
    def __setstate__(self, state):
        self.state = state

    def resolve(self, finish):
        return Sparse(finish(self.state['data']))


def test_the_table_can_grow():
    data = pickle.dumps([Sparse(np.ones(2))])
    name = f'{Sparse.__module__}.Sparse'
    with pytest.raises(UnsafePickleError, match='Sparse'):
        restricted_load(io.BytesIO(data))
    loaded, = restricted_load(io.BytesIO(data), extra_globals={name: _SparseShell})
    assert isinstance(loaded, Sparse) and loaded.data.sum() == 2


def test_npz_and_npy(tmp_path):
    poses = {'S1': {'Walking': np.arange(6.).reshape(1, 2, 3)}}
    np.savez_compressed(tmp_path / 'a.npz', positions_3d=np.array(poses, dtype=object),
                        part=np.ones((2, 3), np.float32), names=np.array(['é', 'b']),
                        actions=np.array([None, 'x'], object))
    loaded = load_npz(tmp_path / 'a.npz')
    assert list(loaded) == ['positions_3d', 'part', 'names', 'actions']
    np.testing.assert_array_equal(loaded['positions_3d'].item()['S1']['Walking'],
                                  poses['S1']['Walking'])
    assert loaded['names'].tolist() == ['é', 'b'] and loaded['actions'].tolist() == [None, 'x']
    assert loaded['part'].dtype == np.float32
    assert list(load_npz(tmp_path / 'a.npz', keys=['part'])) == ['part']
    with pytest.raises(KeyError, match=r'a\.npz.*nothing.*positions_3d'):
        load_npz(tmp_path / 'a.npz', keys=['nothing'])
    np.save(tmp_path / 'b.npy', loaded['actions'])
    np.save(tmp_path / 'c.npy', loaded['part'].T)
    assert load_npy(tmp_path / 'b.npy').tolist() == [None, 'x']
    np.testing.assert_array_equal(load_npy(tmp_path / 'c.npy'), loaded['part'].T)


def test_files_of_mmpose(shared_dir):
    folder = shared_dir / 'mmpose_fixtures' / 'h36m'
    cameras = restricted_load(folder / 'cameras.pkl')
    assert len(cameras) == 44
    assert cameras['S1', '54138969']['R'].shape == (3, 3)
    assert cameras['S1', '54138969']['w'] == 1000
    np.testing.assert_allclose(np.linalg.det(cameras['S9', '60457274']['R']), 1, atol=1e-6)
    assert load_npz(folder / 'test_h36m_body3d.npz')['S'].shape == (4, 17, 4)
    assert load_npy(folder / 'test_h36m_2d_detection.npy').shape == (4, 17, 3)
    for name in ('cameras_train.pkl', 'cameras_test.pkl'):
        assert restricted_load(folder.parent / 'mpi_inf_3dhp' / name)


def mixste_shaped_checkpoint():
    """The structure of the authors' files: training state, random state, wrapped model."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.LayerNorm(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-5, weight_decay=0.1)
    model(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()
    return {'epoch': 3, 'lr': 4e-5, 'random_state': np.random.RandomState(1234),
            'optimizer': optimizer.state_dict(),
            'model_pos': collections.OrderedDict(
                (f'module.{key}', value) for key, value in model.state_dict().items())}


@pytest.mark.parametrize('zip_format', [True, False])
def test_torch_checkpoint(tmp_path, zip_format):
    saved = mixste_shaped_checkpoint()
    path = tmp_path / 'best_epoch.bin'
    torch.save(saved, path, _use_new_zipfile_serialization=zip_format)
    before = set(torch.serialization.get_safe_globals())
    loaded = load_torch(path)
    assert set(torch.serialization.get_safe_globals()) == before
    np.testing.assert_array_equal(loaded['random_state'].permutation(9),
                                  saved['random_state'].permutation(9))
    assert loaded['epoch'] == 3 and loaded['lr'] == 4e-5
    for key, value in saved['model_pos'].items():
        torch.testing.assert_close(loaded['model_pos'][key], value, rtol=0, atol=0)
    torch.optim.AdamW(list(saved['model_pos'].values())).load_state_dict(loaded['optimizer'])
    torch.testing.assert_close(loaded['optimizer']['state'][0]['exp_avg'],
                               saved['optimizer']['state'][0]['exp_avg'])


def test_user_allow_list_survives(tmp_path):
    torch.save({'a': np.ones(2)}, tmp_path / 'a.pth')
    with torch.serialization.safe_globals([Sparse]):
        load_torch(tmp_path / 'a.pth')
        assert Sparse in torch.serialization.get_safe_globals()


# what must be refused

@pytest.mark.parametrize('protocol', PROTOCOLS)
@pytest.mark.parametrize('attack', ATTACKS)
def test_refused_pickle(tmp_path, marker, attack, protocol):
    path = tmp_path / 'cameras.pkl'
    path.write_bytes(pickle.dumps({'R': _attacks(marker)[attack]}, protocol))
    with pytest.raises(UnsafePickleError, match='cameras.pkl.*refused') as caught:
        restricted_load(path)
    name = {'numpy_file': 'fromfile', 'import': '__import__'}.get(attack, attack)
    assert name in str(caught.value)


@pytest.mark.parametrize('attack', ATTACKS)
def test_refused_object_array(tmp_path, marker, attack):
    array = np.array([_attacks(marker)[attack]], dtype=object)
    np.savez(tmp_path / 'data.npz', fine=np.ones(2), poses=array)
    np.save(tmp_path / 'data.npy', array)
    with pytest.raises(UnsafePickleError, match=r"data\.npz\['poses'\]: refused"):
        load_npz(tmp_path / 'data.npz')
    with pytest.raises(UnsafePickleError, match=r'data\.npy: refused'):
        load_npy(tmp_path / 'data.npy')
    assert load_npz(tmp_path / 'data.npz', keys=['fine'])['fine'].sum() == 2


@pytest.mark.parametrize('zip_format', [True, False])
@pytest.mark.parametrize('attack', ATTACKS)
def test_refused_checkpoint(tmp_path, marker, attack, zip_format):
    path = tmp_path / 'model.pth'
    torch.save({'model_pos': {'w': torch.ones(2)}, 'extra': _attacks(marker)[attack]}, path,
               _use_new_zipfile_serialization=zip_format)
    with pytest.raises(UnsafePickleError, match='model.pth: refused.*MMPOSE_LIFT_UNSAFE_LOAD'):
        load_torch(path)


def test_opt_in_runs_it(tmp_path, monkeypatch):
    """The same attack does run with the opt-in, so the tests above can fail."""
    ran = tmp_path / 'ran'
    torch.save({'extra': _attacks(ran)['system']}, tmp_path / 'model.pth')
    monkeypatch.setenv('MMPOSE_LIFT_UNSAFE_LOAD', '1')
    with pytest.warns(UserWarning, match='model.pth without any protection.*your rights'):
        load_torch(tmp_path / 'model.pth')
    assert ran.exists()


def _forged_array(state, dtype_state):
    dtype = _Calls(np.dtype, 'O8', False, True, state=dtype_state)
    return _Calls(np.core.multiarray._reconstruct, np.ndarray, (0,), b'b',
                  state=(1, (1,), dtype, False, state))


@pytest.mark.parametrize('data', [
    # raw bytes as object pointers, by a dtype that denies that it holds objects
    _forged_array(b'A' * 8, (3, '|', None, None, None, -1, -1, 0)),
    _forged_array(b'A' * 8, (3, '|', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 1, 0)),
    _Calls(np.core.multiarray.scalar, np.dtype('O'), b'A' * 8),
], ids=['flags', 'field', 'scalar'])
def test_forged_object_array(tmp_path, data):
    with pytest.raises(UnsafePickleError):
        restricted_load(io.BytesIO(pickle.dumps(data, 2)))
    torch.save(data, tmp_path / 'a.pth')
    with pytest.raises(UnsafePickleError):
        load_torch(tmp_path / 'a.pth')


def test_table_cannot_be_changed_by_a_file():
    # BUILD with a slot state sets attributes of whatever lies on the stack
    data = (b'\x80\x02cnumpy.core.multiarray\n_reconstruct\nN}U\x0c__defaults__N\x85s\x86b.')
    with pytest.raises(UnsafePickleError, match='function'):
        restricted_load(io.BytesIO(data))
    with pytest.raises(UnsafePickleError, match='copyreg extension'):
        restricted_load(io.BytesIO(b'\x80\x02\x82\x01.'))


def test_damaged_random_state():
    state = np.random.RandomState(0)
    values = state.get_state(legacy=False)
    values['state']['pos'] = 10**6  # NumPy would read that far behind its array
    data = pickle.dumps(_Calls(state.__reduce__()[0], 'MT19937', state=values))
    with pytest.raises(ValueError, match='random'):
        restricted_load(io.BytesIO(data))


def test_old_and_scripted_containers(tmp_path):
    module = torch.jit.script(torch.nn.Linear(1, 1))
    torch.jit.save(module, tmp_path / 'scripted.pth')
    with tarfile.open(tmp_path / 'old.pth', 'w') as tar:
        for name in ('storages', 'tensors', 'pickle'):
            tar.addfile(tarfile.TarInfo(name))
    for name in ('scripted.pth', 'old.pth'):
        with pytest.raises(UnsafePickleError, match=name), pytest.warns() if (
                name == 'scripted.pth') else _nothing():
            load_torch(tmp_path / name)


def _nothing():
    import contextlib
    return contextlib.nullcontext()


# what is not readable

@pytest.mark.parametrize('keep', [0, 1, 3, 40, 0.5, 0.999])
def test_truncated(tmp_path, keep):
    torch.save(mixste_shaped_checkpoint(), tmp_path / 'a.pth')
    torch.save(mixste_shaped_checkpoint(), tmp_path / 'b.pth', _use_new_zipfile_serialization=False)
    np.savez(tmp_path / 'a.npz', a=np.ones(100), b=np.array([{}], object))
    np.save(tmp_path / 'a.npy', np.ones(100))
    np.save(tmp_path / 'b.npy', np.array([{'a': np.ones(100)}], object))
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps({'a': np.ones(100)}))
    for name, load in (('a.pth', load_torch), ('b.pth', load_torch), ('a.npz', load_npz),
                       ('a.npy', load_npy), ('b.npy', load_npy), ('a.pkl', restricted_load)):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[:int(len(data) * keep) if keep < 1 else keep])
        with pytest.raises(ValueError, match=rf'{name}.*(damaged|refused)'):
            load(tmp_path / name)


@pytest.mark.parametrize('load', [load_torch, load_npz, load_npy, restricted_load])
def test_foreign_or_absent(tmp_path, load):
    path = tmp_path / 'page.bin'
    path.write_text('<!DOCTYPE html><html><body>404 not found</body></html>')
    with pytest.raises(ValueError, match='page.bin: not a readable.*Get it again'):
        load(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'x')
    with pytest.raises(ValueError, match='page.bin'):
        load(path)
    with pytest.raises(FileNotFoundError, match='absent.bin'):
        load(tmp_path / 'absent.bin')
