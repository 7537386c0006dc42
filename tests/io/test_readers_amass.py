"""The AMASS reader on stand-in bodies: numbers, layouts, resampling and what is refused."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mmpose_lift.datasets import PoseSequenceDataset
from mmpose_lift.geometry import get_skeleton, joint_map
from mmpose_lift.io import PoseStore
from mmpose_lift.io.readers import AMASS_SPLITS, read_amass
from mmpose_lift.io.readers.amass import resample
from mmpose_lift.models.body import RegressedJoints, regressed_joints
from tests.amass_files import make_body, make_motion, make_regressor, save_bodies, save_motion

# left leg first to right leg first, as the facts sheet lists it
TO_H36M = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]


@pytest.fixture(scope='module')
def bodies(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bodies')
    save_bodies(folder)
    return folder


@pytest.fixture
def read(bodies, tmp_path):
    """Read sub-datasets below the folder of the test, with DMPLs unless told otherwise."""

    def call(*subsets, soft=True, **kwargs):
        kwargs.setdefault('regressor', bodies / 'J_regressor_h36m.npy')
        kwargs.setdefault('body_dir', bodies / 'smplh')
        kwargs.setdefault('dmpl_dir', bodies / 'dmpls' if soft else None)
        subsets = None if 'split' in kwargs else subsets
        return read_amass(tmp_path, subsets=subsets, **kwargs)

    return call


def points_of(recording) -> dict:
    return {clip.sequence.name: clip.keypoints_3d for clip in recording.clips}


def slow_joints(body: dict, eigvec, motion: dict, frame: int) -> np.ndarray:
    """One frame by the definition: shape, correctives, joint tree, blending, regression."""
    surface = body['v_template'] + body['shapedirs'] @ motion['betas']
    if eigvec is not None:
        surface = surface + eigvec[..., :8] @ motion['dmpls'][frame]
    rest = body['J_regressor'] @ surface
    turns = Rotation.from_rotvec(motion['poses'][frame].reshape(52, 3)).as_matrix()
    surface = surface + body['posedirs'] @ (turns[1:] - np.eye(3)).ravel()
    turned, moved = [turns[0]], [rest[0]]
    for joint in range(1, 52):
        parent = int(body['kintree_table'][0, joint])
        moved.append(moved[parent] + turned[parent] @ (rest[joint] - rest[parent]))
        turned.append(turned[parent] @ turns[joint])
    posed = np.zeros_like(surface)
    for joint in range(52):
        part = (surface - rest[joint]) @ turned[joint].T + moved[joint]
        posed += body['weights'][:, joint, None] * part
    return make_regressor() @ (posed + motion['trans'][frame])


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize('soft', [True, False])
def test_poses_are_those_of_a_slow_implementation_by_gender(read, bodies, tmp_path, soft):
    for name, gender in (('a', 'male'), ('b', 'female'), ('c', np.bytes_('female'))):
        save_motion(tmp_path, f'CMU/01/{name}_poses', rate=50.0, gender=gender, seed=3)
    found = points_of(read('CMU', soft=soft))
    for name, gender, seed in (('a', 'male', 0), ('b', 'female', 1), ('c', 'female', 1)):
        eigvec = np.load(bodies / f'dmpls/{gender}/model.npz')['eigvec'] if soft else None
        expected = [
            slow_joints(make_body(seed), eigvec, make_motion(rate=50.0, seed=3), frame)[TO_H36M]
            for frame in (0, 13)
        ]
        np.testing.assert_allclose(found[f'CMU/01/{name}/'][[0, 13]], expected, atol=2e-6)
    assert np.abs(found['CMU/01/a/'] - found['CMU/01/b/']).max() > 0.05


def arguments_of(body: dict, regressor) -> dict:
    names = ('v_template', 'shapedirs', 'posedirs', 'J_regressor', 'weights')
    parents = body['kintree_table'][0].astype(np.int64)
    return dict({n: body[n] for n in names}, parents=parents, regressor=regressor)


def test_the_reduced_body_is_the_whole_body(monkeypatch, rng):
    from smplx.lbs import lbs

    body, regressor = make_body(0), make_regressor()
    poses, shape = rng.normal(size=(7, 156)), rng.normal(size=(7, 16))
    trans = rng.normal(size=(7, 3))
    tensors = {k: torch.tensor(v) for k, v in arguments_of(body, regressor).items()}
    vertices, _ = lbs(
        torch.tensor(shape),
        torch.tensor(poses),
        tensors['v_template'],
        tensors['shapedirs'],
        tensors['posedirs'].reshape(180, -1).T,
        tensors['J_regressor'],
        tensors['parents'],
        tensors['weights'],
    )
    expected = regressor @ (vertices.numpy() + trans[:, None])
    reduced = RegressedJoints(**arguments_of(body, regressor))
    np.testing.assert_allclose(reduced(poses, shape, trans), expected, atol=3e-6)
    monkeypatch.setattr(regressed_joints, '_FRAMES', 3)  # 3 chunks
    np.testing.assert_allclose(reduced(poses, shape, trans), expected, atol=3e-6)
    one = reduced(poses, shape[0], trans)  # one shape for all frames
    np.testing.assert_allclose(one[0], expected[0], atol=3e-6)
    with pytest.raises(ValueError, match=r'shape: expected \(7, 16\), found \(7, 10\)'):
        reduced(poses, shape[:, :10], trans)


def test_joints_move_rigidly_with_the_root(rng):
    reduced = RegressedJoints(**arguments_of(make_body(1), make_regressor()))
    poses, shape = rng.normal(size=(5, 156)), rng.normal(size=16)
    turn = Rotation.from_euler('zyx', [50, 20, -70], degrees=True)
    turned = poses.copy()
    turned[:, :3] = (turn * Rotation.from_rotvec(poses[:, :3])).as_rotvec()
    before = reduced(poses, shape, np.zeros((5, 3)))
    after = reduced(turned, shape, np.full((5, 3), 2.0))
    bones = (before - before[:, :1]) @ turn.as_matrix().T
    np.testing.assert_allclose(after - after[:, :1], bones, atol=3e-6)
    np.testing.assert_allclose(reduced(poses, shape, np.full((5, 3), 2.0)), before + 2, atol=1e-6)


def test_world_space_is_kept(read, tmp_path):
    trans = np.tile([[3.0, -40.0, 1.5]], (24, 1))
    save_motion(tmp_path, 'CMU/01/a_poses', rate=50.0, poses=np.zeros((24, 156)), trans=trans)
    save_motion(tmp_path, 'CMU/01/b_poses', rate=50.0, poses=np.zeros((24, 156)), trans=0 * trans)
    found = points_of(read('CMU'))
    np.testing.assert_allclose(found['CMU/01/a/'], found['CMU/01/b/'] + trans[0], atol=5e-6)


def test_both_orders_of_the_regressor(read, bodies, tmp_path):
    save_motion(tmp_path, 'CMU/01/a_poses')
    [usual] = points_of(read('CMU')).values()
    right_first = tmp_path / 'right_first.npz'
    np.savez(right_first, J=make_regressor()[TO_H36M])
    kwargs = dict(regressor=right_first, regressor_skeleton='h36m')
    np.testing.assert_array_equal(points_of(read('CMU', **kwargs))['CMU/01/a/'], usual)
    # the list of the facts sheet, from the regressor's order to the authors' own
    assert joint_map('h36m_l_first', 'uplift_upsample') == (
        6, 5, 4, 1, 2, 3, 0, 8, 7, 9, 10, 16, 15, 14, 11, 12, 13)  # fmt: skip
    for swapped, order in ((right_first, 'h36m_l_first'), (None, 'h36m')):
        kwargs = dict(regressor=swapped) if swapped else {}
        with pytest.raises(ValueError, match='left_hip, .*would be on the right of the body'):
            read('CMU', regressor_skeleton=order, **kwargs)


# ---------------------------------------------------------------- resampling


@pytest.mark.parametrize(
    ('frames', 'rate', 'count'),
    [(120, 120, 50), (122, 120, 50), (123, 120, 51), (100, 100, 50), (251, 250, 50), (5, 50, 5),
     (6000, 59.99999, 5000), (1200, 120.00000762939453, 500), (1, 120, 1), (30, 30, 50)],
)  # fmt: skip
def test_number_and_place_of_the_samples(frames, rate, count):
    before, after, part = resample(frames, rate, 50)
    assert len(before) == count
    times = (before + part) / rate
    exact = np.minimum(np.arange(count) / 50, (frames - 1) / rate)
    np.testing.assert_allclose(times, exact, atol=1e-9)
    assert (after - before <= 1).all() and after.max() < frames and before.min() == 0
    assert ((part >= 0) & (part < 1)).all()


def test_linear_motion_of_120_hz(read, tmp_path):
    speed = np.array([1.0, -2.0, 0.5])
    trans = np.arange(123)[:, None] / 120 * speed
    save_motion(tmp_path, 'CMU/01/a_poses', frames=123, trans=trans, poses=np.zeros((123, 156)),
                dmpls=np.zeros((123, 8)))  # fmt: skip
    [clip] = read('CMU').clips
    assert clip.sequence.fps == 50 and len(clip.keypoints_3d) == 51
    expected = clip.keypoints_3d[0] + np.arange(51)[:, None, None] / 50 * speed
    np.testing.assert_allclose(clip.keypoints_3d, expected, atol=3e-6)


@pytest.mark.parametrize(('rate', 'factor'), [(100.0, 2), (250.0, 5), (120.0, 2.4)])
def test_any_motion_is_posed_then_interpolated(read, tmp_path, rate, factor):
    arrays = make_motion(frames=61, rate=rate)
    save_motion(tmp_path, 'CMU/01/a_poses', frames=61, rate=rate)
    arrays.update(mocap_framerate=np.array(50.0))
    save_motion(tmp_path, 'CMU/01/every_poses', frames=61, **arrays)
    found = points_of(read('CMU'))
    every, samples = found['CMU/01/every/'], found['CMU/01/a/']
    assert len(samples) == int(61 / factor)
    times = np.arange(len(samples)) * factor
    expected = [np.interp(times, np.arange(61), row) for row in every.reshape(61, -1).T]
    np.testing.assert_allclose(samples.reshape(len(samples), -1).T, expected, atol=2e-6)


# ---------------------------------------------------------------- layouts


@pytest.mark.parametrize(
    ('folder', 'subset'),
    [('BioMotionLab_NTroje', 'BMLrub'), ('MPI_HDM05', 'MPIHDM05'), ('HDM05', 'MPIHDM05'),
     ('Eyes_Japan_Dataset', 'EyesJapanDataset'), ('TCD_handMocap', 'TCDhandMocap'),
     ('MPI_Limits', 'MPILimits'), ('PosePrior', 'MPILimits'), ('MPI_mosh', 'MPImosh'),
     ('Transitions_mocap', 'Transitionsmocap'), ('cmu', 'CMU'), ('BMLmovi/BMLmovi', 'BMLmovi'),
     ('BMLrub/BioMotionLab_NTroje', 'BMLrub'), ('DFaust_67', 'DFaust'), ('SSM_synced', 'SSM')],
)  # fmt: skip
def test_names_of_sub_datasets(read, tmp_path, folder, subset):
    save_motion(tmp_path, f'{folder}/s1/walk_poses')
    save_motion(tmp_path, 'Other/s1/walk_poses')
    [clip] = read(subset).clips
    assert clip.sequence.name == f'{subset}/s1/walk/'
    assert clip.sequence.subject == f'{subset}/s1' and clip.sequence.action == ''


def test_splits_are_those_of_the_authors():
    train, val = AMASS_SPLITS['train'], AMASS_SPLITS['val']
    assert len(train) == 14 and val == ('MPIHDM05', 'SFU', 'MPImosh')
    assert not set(train) & set(val)


def test_notes_say_what_is_not_there(read, tmp_path):
    save_motion(tmp_path, 'SFU/1/a_poses')
    save_motion(tmp_path, 'SFU/1/b_stageii', dmpls=None, mocap_framerate=None,
                mocap_frame_rate=np.array(60))  # fmt: skip
    save_motion(tmp_path, 'MPI_mosh/1/shape', poses=None)
    save_motion(tmp_path, 'MPI_mosh/1/calibration', poses=None)
    (tmp_path / 'SFU/1/._a_poses.npz').write_bytes(b'Mac OS X')
    recording = read(split='val')
    assert recording.total == 2 and recording.frame == 'world'
    text = '\n'.join(recording.notes)
    assert f'1 of 3 sub-datasets are not in {tmp_path}: MPIHDM05' in text
    assert '1 shape.npz file(s) without poses' in text and 'calibration.npz' in text
    assert '1 file(s) have no dmpls' in text and len(recording.notes) == 4
    assert 'SFU, MPImosh' in recording.source and 'with DMPLs' in recording.source
    found = points_of(recording)
    assert [len(found[f'SFU/1/{name}/']) for name in 'ab'] == [10, 20]  # 24 frames, 120 and 60 Hz
    recording = read('SFU', soft=False)
    assert not recording.notes and 'without DMPLs' in recording.source
    # a file of stage II is the same with and without
    rigid = points_of(recording)['SFU/1/b/']
    np.testing.assert_allclose(found['SFU/1/b/'], rigid, atol=1e-6)


def test_the_store_is_read_by_the_data_set(read, tmp_path):
    save_motion(tmp_path, 'KIT/3/walk_poses', frames=200, rate=100.0)
    save_motion(tmp_path, 'KIT/12/run_poses', frames=150, rate=100.0, gender='female', seed=1)
    clips = read('KIT')
    clips.write(tmp_path / 'store').verify()
    store = PoseStore.open(tmp_path / 'store')
    assert store.skeleton == 'h36m' and store.frame == 'world' and store.num_frames == 175
    assert store.subjects == ['KIT/12', 'KIT/3'] and 'KIT' in store.source
    dataset = PoseSequenceDataset(str(tmp_path / 'store'), seq_len=27, cameras_per_clip=1,
                                  subjects=['KIT/3'])  # fmt: skip
    item = dataset.read(np.arange(len(dataset)))
    assert item['lifting_target'].shape[1:] == (27, get_skeleton('h36m').num_joints, 3)
    assert np.isfinite(item['keypoints']).all() and set(item['subject']) == {'KIT/3'}


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ('changes', 'message'),
    [(dict(mocap_framerate=None), r'a_poses.npz: poses without frame rate \(it holds betas'),
     (dict(mocap_framerate=np.array(0.0)), 'mocap_framerate is .*expected one number above 0'),
     (dict(mocap_framerate=np.array('x')), 'mocap_framerate is .*expected one number above 0'),
     (dict(gender=np.array('unknown')), "unknown gender 'unknown', expected one of male, female"),
     (dict(gender=None), 'poses without gender'),
     (dict(poses=np.zeros((24, 165))), r'\(24, 165\) \(SMPL-X\), expected \(frames, 156\)'),
     (dict(poses=np.zeros((24, 72))), r'\(24, 72\) \(SMPL\), expected .*SMPL\+H G'),
     (dict(poses=np.zeros((0, 156))), r'empty \(0 frames\)'),
     (dict(poses=np.full((24, 156), 'x')), 'poses holds <U1 values'),
     (dict(trans=np.full((24, 3), np.nan)), r'trans is not finite .*72 value.*index \[0, 0\]'),
     (dict(trans=np.zeros((23, 3))), r'trans has shape \(23, 3\), expected \(24, 3\)'),
     (dict(trans=None), "no array 'trans'"),
     (dict(betas=np.zeros(10)), r'betas has shape \(10,\), expected \(16,\)'),
     (dict(dmpls=np.zeros((24, 7))), r'dmpls has shape'),
     (dict(gender=np.array('neutral')), "no SMPL.H body for gender 'neutral'.*SMPLH_NEUTRAL.npz"
      '.*mano.is.tue.mpg.de')],
)  # fmt: skip
def test_a_wrong_motion_is_named(read, tmp_path, changes, message):
    save_motion(tmp_path, 'CMU/01/a_poses', **changes)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read('CMU').write(tmp_path / 'store')
    assert not (tmp_path / 'store').exists()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [(dict(kintree_table=np.zeros((2, 24))), r'24 joints \(SMPL\), expected the 52 of SMPL\+H'),
     (dict(J_regressor=np.zeros((24, 60))), r'J_regressor has shape \(24, 60\), expected \(52, 60'),
     (dict(shapedirs=np.zeros((60, 3, 10))), r'expected \(60, 3, at least 16\).*Extended SMPL\+H'),
     (dict(weights=np.full((60, 52), np.nan)), 'weights .* does not hold finite numbers'),
     (dict(kintree_table=np.full((2, 52), 51)), 'does not list parents before'),
     (dict(posedirs=None), "no array 'posedirs'.*expected an SMPL.H body")],
)  # fmt: skip
def test_a_wrong_body_is_named(read, tmp_path, changes, message):
    save_motion(tmp_path, 'CMU/01/a_poses')
    arrays = {k: v for k, v in {**make_body(0), **changes}.items() if v is not None}
    np.savez(tmp_path / 'SMPLH_MALE.npz', **arrays)
    with pytest.raises(ValueError, match='SMPLH_MALE.npz: .*' + message):
        read('CMU', body_dir=tmp_path)


def test_wrong_regressors_and_dmpls_are_named(read, bodies, tmp_path):
    save_motion(tmp_path, 'CMU/01/a_poses')
    np.save(tmp_path / 'r.npy', np.zeros((17, 6890)))
    with pytest.raises(ValueError, match=r'r.npy: .* \(17, 6890\), expected \(17, 60\).*model.npz'):
        read('CMU', regressor=tmp_path / 'r.npy')
    np.savez(tmp_path / 'r.npz', a=make_regressor(), b=0)
    with pytest.raises(ValueError, match='expected one array, the regressor, found 2: a, b'):
        read('CMU', regressor=tmp_path / 'r.npz')
    with pytest.raises(FileNotFoundError, match='gone.npy: no such file'):
        read('CMU', regressor=tmp_path / 'gone.npy')
    np.savez(tmp_path / 'DMPL_MALE.npz', eigvec=np.zeros((61, 3, 8)))
    with pytest.raises(ValueError, match=r'DMPL_MALE.npz: eigvec has shape \(61, 3, 8\)'):
        read('CMU', dmpl_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match='no DMPL directions.*dmpls.tar.xz'):
        read('CMU', dmpl_dir=tmp_path / 'CMU')


def test_wrong_folders_and_arguments_are_named(read, tmp_path):
    save_motion(tmp_path, 'CMU/01/a_poses')
    with pytest.raises(FileNotFoundError, match=r'none of .* MPImosh is there \(it has: CMU\)'):
        read(split='val')
    with pytest.raises(ValueError, match="expected one of train, val, found 'test'"):
        read(split='test')
    with pytest.raises(ValueError, match='either split .* or subsets'):
        read_amass(tmp_path, tmp_path, tmp_path)
    save_motion(tmp_path, 'CMU/01/a_stageii')
    with pytest.raises(ValueError, match='a_poses.npz and .*a_stageii.npz are the same motion'):
        read('CMU')
    (tmp_path / 'CMU/01/a_stageii.npz').write_bytes(b'PK damaged')
    with pytest.raises(ValueError, match='a_stageii.npz: not a readable .npz archive'):
        read('CMU')
    (tmp_path / 'CMU/01/a_stageii.npz').unlink()
    (tmp_path / 'C_M_U').mkdir()
    with pytest.raises(ValueError, match='CMU and C_M_U|C_M_U and CMU'):
        read('CMU')
    (tmp_path / 'C_M_U').rmdir()
    (tmp_path / 'SFU').mkdir()
    with pytest.raises(FileNotFoundError, match='no .npz file with poses'):
        read('SFU')
