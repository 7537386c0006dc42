"""Body model files in the public layouts, and what is refused."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csc_matrix

from mmpose_lift.geometry.skeletons import joint_map
from mmpose_lift.io.body_model_file import read_body_model, write_body_model
from mmpose_lift.io.restricted_pickle import UnsafePickleError
from mmpose_lift.models.body import BodyModel
from tests.smpl_files import VERTICES, fake, fake_class, make_regressor, make_smpl, save_official


def expected_arrays(official: dict, betas: int = 10) -> dict:
    parents = official['kintree_table'][0].astype(np.int64)
    parents[0] = -1
    return dict(v_template=official['v_template'], shapedirs=official['shapedirs'][..., :betas],
                posedirs=official['posedirs'], J_regressor=official['J_regressor'],
                lbs_weights=official['weights'], parents=parents, faces=official['f'])


def assert_same(found: dict, expected: dict) -> None:
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def save(path, *missing, **changes) -> None:
    arrays = {**make_smpl(), **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if name not in missing})


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize('protocol', [0, 1, 2])
def test_official_pickle(tmp_path, monkeypatch, protocol):
    path = tmp_path / 'basicModel_f_lbs_10_207_0_v1.0.0.pkl'
    save_official(path, make_smpl(), monkeypatch, protocol)
    arrays, gender = read_body_model(path)
    assert gender == 'female' and 'J_regressor_h36m' not in arrays
    assert_same(arrays, expected_arrays(make_smpl()))


def test_pickle_with_a_matrix_of_todays_scipy_and_nothing_of_chumpy(tmp_path):
    arrays = make_smpl()
    path = tmp_path / 'SMPL_NEUTRAL.pkl'
    path.write_bytes(pickle.dumps(dict(arrays, J_regressor=csc_matrix(arrays['J_regressor']))))
    found, gender = read_body_model(path)
    assert gender == 'neutral'
    assert_same(found, expected_arrays(arrays))


def test_npz_of_the_official_keys(tmp_path):
    (tmp_path / 'male').mkdir()
    save(tmp_path / 'male/model.npz')
    arrays, gender = read_body_model(tmp_path / 'male/model.npz', 'male', num_betas=None)
    assert gender == 'male'
    assert_same(arrays, expected_arrays(make_smpl(), 12))


def test_reference_file(shared_dir):
    path = shared_dir / 'reference/hybrik_transformer/body_model.npz'
    arrays, gender = read_body_model(path, 'neutral')
    assert gender == 'neutral'  # the file does not say: the one that was asked for
    assert_same(arrays, dict(np.load(path)))
    assert BodyModel.from_file(path).has_h36m_regressor


@pytest.mark.parametrize('skeleton', ['h36m_l_first', 'h36m'])
@pytest.mark.parametrize('suffix', ['.npy', '.npz'])
def test_regressor_file(tmp_path, skeleton, suffix):
    save(tmp_path / 'body.npz')
    regressor = make_regressor(skeleton)
    path = tmp_path / f'J_regressor_h36m{suffix}'
    (np.save if suffix == '.npy' else np.savez)(path, regressor)
    body = BodyModel.from_file(tmp_path / 'body.npz', h36m_regressor=path,
                               regressor_skeleton=skeleton)
    expected = regressor[list(joint_map(skeleton, 'h36m'))] @ make_smpl()['v_template']
    rest = body.template.T
    np.testing.assert_allclose(body.h36m_joints(rest), expected, atol=1e-6)
    other = 'h36m' if skeleton == 'h36m_l_first' else 'h36m_l_first'
    with pytest.raises(ValueError, match='left_hip.* would be on the right of the body'):
        read_body_model(tmp_path / 'body.npz', h36m_regressor=path, regressor_skeleton=other)


@pytest.mark.parametrize('skeleton', ['h36m_l_first', 'h36m'])
def test_what_is_written_is_read(tmp_path, skeleton):
    regressor = make_regressor(skeleton)
    np.save(tmp_path / 'r.npy', regressor)
    save(tmp_path / 'body.npz')
    arrays, _ = read_body_model(tmp_path / 'body.npz', None, tmp_path / 'r.npy', skeleton)
    write_body_model(tmp_path / 'new/clean.npz', dict(arrays, gender='female'))
    with np.load(tmp_path / 'new/clean.npz') as file:  # plain arrays only
        assert file['shapedirs'].dtype == np.float32
        order = list(joint_map(skeleton, 'h36m_l_first'))
        np.testing.assert_allclose(file['J_regressor_h36m'], regressor[order], atol=1e-7)
    again, gender = read_body_model(tmp_path / 'new/clean.npz')
    assert gender == 'female'
    for name, array in expected_arrays(make_smpl()).items():
        np.testing.assert_allclose(again[name], array, atol=1e-7)
    with pytest.raises(ValueError, match='body.pkl: a body model is written as .npz'):
        write_body_model(tmp_path / 'body.pkl', arrays)


@pytest.mark.parametrize(('name', 'gender'), [
    ('basicModel_f_lbs_10_207_0_v1.0.0', 'female'), ('basicmodel_m_lbs_10_207_0_v1.1.0', 'male'),
    ('basicModel_neutral_lbs_10_207_0_v1.0.0', 'neutral'), ('SMPL_FEMALE', 'female'),
    ('body', None)])
def test_gender_by_name(tmp_path, name, gender):
    save(tmp_path / f'{name}.npz')
    assert read_body_model(tmp_path / f'{name}.npz')[1] == gender


# ---------------------------------------------------------------- what is refused


def test_a_pickle_that_asks_for_anything_else_is_not_run(tmp_path, monkeypatch):
    import os

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'done'),)

    for number, protocol in enumerate((0, 2)):
        path = tmp_path / f'{number}.pkl'
        save_official(path, make_smpl(), monkeypatch, protocol, extra=Evil())
        with pytest.raises(UnsafePickleError, match=rf'{number}.pkl: refused.*(posix|nt).mkdir'):
            read_body_model(path)
    assert not (tmp_path / 'done').exists()
    with monkeypatch.context() as patch:
        other = fake(fake_class('chumpy.ch_ops.add', patch), a=1)
        path.write_bytes(pickle.dumps(dict(make_smpl(), v_template=other), 2))
    with pytest.raises(UnsafePickleError, match='asks for chumpy.ch_ops.add'):
        read_body_model(path)
    with pytest.raises(UnsafePickleError, match='with base'):  # protocol 0's maker of objects
        path.write_bytes(b'ccopy_reg\n_reconstructor\n(cchumpy.ch\nCh\nc__builtin__\ndict\n(dtR.')
        read_body_model(path)


def test_damaged_objects_of_a_pickle(tmp_path, monkeypatch):
    matrix = csc_matrix(make_smpl()['J_regressor'])
    matrix.indices[0] = 10**6  # scipy would write there
    path = tmp_path / 'body.pkl'
    path.write_bytes(pickle.dumps(dict(make_smpl(), J_regressor=matrix), 2))
    with pytest.raises(ValueError, match='body.pkl: not a readable pickle.*out of bounds'):
        read_body_model(path)
    with monkeypatch.context() as patch:
        empty = fake(fake_class('chumpy.ch.Ch', patch), y=1)
        path.write_bytes(pickle.dumps(dict(v_template=empty), 2))
    with pytest.raises(ValueError, match="body.pkl: not a readable pickle.*KeyError: 'x'"):
        read_body_model(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match='body.pkl: expected a dict of arrays, found a list'):
        read_body_model(path)


@pytest.mark.parametrize(('changes', 'message'), [
    (dict(kintree_table=np.zeros((2, 16))), r'a body with 16 joints \(MANO\), expected the 24'),
    (dict(kintree_table=np.zeros((2, 52))), r'52 joints \(SMPL\+H\)'),
    (dict(kintree_table=np.zeros((2, 55))), r'55 joints \(SMPL-X\)'),
    (dict(kintree_table=np.zeros((2, 24))), "the joint tree is not SMPL's: expected parents"),
    (dict(shapedirs=np.zeros((VERTICES, 3, 8))), r'shapedirs has shape \(60, 3, 8\), expected '
     r'\(60, 3, at least 10\)'),
    (dict(posedirs=np.zeros((VERTICES, 3, 135))), r'posedirs has shape .* expected \(60, 3, 207\)'),
    (dict(weights=np.zeros((50, 24))), r'lbs_weights has shape \(50, 24\)'),
    (dict(J_regressor=np.full((24, VERTICES), np.nan)), 'J_regressor .*finite numbers'),
    (dict(J_regressor_h36m=np.zeros((14, VERTICES))), r'J_regressor_h36m has .*\(17, 60\)'),
    (dict(f=np.full((5, 3), VERTICES)), r'faces: expected \(F, 3\) integers from 0 to 59')])
def test_wrong_arrays_are_named(tmp_path, changes, message):
    save(tmp_path / 'body.npz', **changes)
    with pytest.raises(ValueError, match='body.npz: .*' + message):
        read_body_model(tmp_path / 'body.npz')


def test_missing_arrays_files_and_other_genders(tmp_path):
    path = tmp_path / 'body.npz'
    save(path, 'weights')
    with pytest.raises(ValueError, match="body.npz: no array 'lbs_weights' or 'weights'.*found"):
        read_body_model(path)
    save(path, gender=np.bytes_('female'))
    with pytest.raises(ValueError, match='body.npz: a female body, expected a neutral one'):
        read_body_model(path, 'neutral')
    with pytest.raises(ValueError, match="gender: expected one of .*, found 'man'"):
        read_body_model(path, 'man')
    with pytest.raises(FileNotFoundError, match='gone.pkl: no such file.*smpl.is.tue.mpg.de'):
        read_body_model(tmp_path / 'gone.pkl')
    with pytest.raises(FileNotFoundError, match='gone.npy: no such file .joint regressor'):
        read_body_model(path, h36m_regressor=tmp_path / 'gone.npy')
    np.save(tmp_path / 'r.npy', np.zeros((17, 6890)))
    with pytest.raises(ValueError, match=r'r.npy: .*\(17, 6890\), expected \(17, 60\).*body.npz'):
        read_body_model(path, h36m_regressor=tmp_path / 'r.npy')
