import numpy as np
import pytest

from mmpose_lift.io.body_motion import BodyMotion, read_body_motion, write_body_motion
from tests.amass_files import make_motion


def motion(frames=4, **changes):
    rng = np.random.default_rng(1)
    arguments = dict(poses=rng.uniform(-1, 1, (frames, 72)), betas=rng.normal(size=10),
                     trans=rng.normal(size=(frames, 3)), fps=25.0)
    return BodyMotion(**dict(arguments, **changes))


def test_written_motion_is_read_again(tmp_path):
    written = motion(gender='female', body_model='stand_in', source='a test')
    write_body_motion(tmp_path / 'a.npz', written)
    read = read_body_motion(tmp_path / 'a.npz')
    for name in ('poses', 'betas', 'trans'):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert (read.fps, read.gender, read.body_model, read.source) == (
        25, 'female', 'stand_in', 'a test')
    with np.load(tmp_path / 'a.npz') as arrays:  # what the tools of AMASS look for
        assert {'poses', 'betas', 'trans', 'mocap_framerate', 'gender'} <= set(arrays)
        assert arrays['poses'].dtype == np.float32
        assert arrays['fps'] == arrays['mocap_framerate'] == 25
    assert [path.name for path in tmp_path.iterdir()] == ['a.npz']


def test_rotations_go_both_ways():
    vectors = np.random.default_rng(0).normal(size=(200, 24, 3))
    vectors *= np.linspace(0, np.pi, 200)[:, None, None] / np.linalg.norm(
        vectors, axis=-1, keepdims=True)
    poses = vectors.reshape(200, 72)
    made = motion(200, poses=poses)
    again = BodyMotion.from_rotmats(made.rotmats, made.betas, made.trans, 25)
    np.testing.assert_allclose(again.rotmats, made.rotmats, atol=1e-6)
    np.testing.assert_allclose(again.poses[:190], poses[:190], atol=1e-5)
    np.testing.assert_array_equal(again.poses[0], 0)


@pytest.mark.parametrize('rate', ['mocap_framerate', 'mocap_frame_rate', 'fps'])
def test_amass_file_keeps_the_joints_both_bodies_have(tmp_path, rate):
    arrays = make_motion(gender=np.bytes_(b'Female'))
    arrays[rate] = arrays.pop('mocap_framerate')
    np.savez(tmp_path / 'a_poses.npz', **arrays)
    read = read_body_motion(tmp_path / 'a_poses.npz')
    assert read.poses.shape == (24, 72) and read.gender == 'female' and read.fps == 120
    np.testing.assert_allclose(read.poses[:, :66], arrays['poses'][:, :66], rtol=1e-6)
    assert not read.poses[:, 66:].any()
    assert read.betas.shape == (16,)


def test_the_rate_of_amass_counts(tmp_path):
    np.savez(tmp_path / 'a.npz', **make_motion(), fps=np.array(30.0))
    assert read_body_motion(tmp_path / 'a.npz').fps == 120


@pytest.mark.parametrize('changes, words', [
    (dict(poses=None), ['a shape without motion', 'poses']),
    (dict(poses=None, betas=None), ['no body motion']),
    (dict(mocap_framerate=None), ['poses without', 'mocap_framerate']),
    (dict(gender=None), ['poses without gender']),
    (dict(gender=np.array('unknown')), ["'unknown'", 'neutral']),
    (dict(poses=np.zeros((24, 165))), ['(24, 165)', 'SMPL-X', '72']),
    (dict(poses=np.zeros((0, 156)), trans=np.zeros((0, 3))), ['empty (0 frames)']),
    (dict(trans=np.zeros((23, 3))), ['trans', '(24, 3)', '(23, 3)']),
    (dict(trans=np.full((24, 3), np.nan)), ['trans', '72 value(s)', 'not finite']),
    (dict(mocap_framerate=np.array(0.0)), ['fps', 'above 0']),
    (dict(mocap_framerate=np.zeros(2)), ['mocap_framerate', 'one number']),
    (dict(betas=np.zeros((24, 16))), ['betas', 'one shape for all frames']),
    (dict(gender=np.array(3)), ['gender', 'one word']),
])
def test_file_that_does_not_fit_is_named(tmp_path, changes, words):
    path = tmp_path / 'a_poses.npz'
    arrays = {**make_motion(), **changes}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError) as error:
        read_body_motion(path)
    for word in [str(path), *words]:
        assert word in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.npz'):
        read_body_motion(tmp_path / 'none.npz')
    (tmp_path / 'text.npz').write_text('no archive')
    with pytest.raises(ValueError, match='text.npz'):
        read_body_motion(tmp_path / 'text.npz')
    with pytest.raises(ValueError, match=r'ends in \.npz'):
        write_body_motion(tmp_path / 'a.txt', motion())


def test_rotations_of_another_shape():
    with pytest.raises(ValueError, match=r'rotmats: .*\(2, 22, 3, 3\)'):
        BodyMotion.from_rotmats(np.tile(np.eye(3), (2, 22, 1, 1)), np.zeros(10), np.zeros((2, 3)),
                                25)
