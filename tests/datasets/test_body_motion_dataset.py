"""From motion files to frames and cameras: which frames, which cameras, what is refused."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS
from torch.utils.data import DataLoader

from mmpose_lift.geometry.camera_ring import virtual_cameras
from mmpose_lift.geometry.cameras import Camera
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.io.body_motion import BodyMotion, write_body_motion
from mmpose_lift.models.body import BodyModel
from tests.amass_files import save_motion

KINDS = ('rotation', 'position', 'focal', 'center', 'radial', 'tangential')


def make(**options):
    init_default_scope('mmpose')
    return DATASETS.build(dict(type='BodyMotionDataset', **options))


def write(path, frames, fps, marker=0., betas=10):
    """A motion whose trans says which file (x) and which frame (z) it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    poses = np.random.default_rng(frames).normal(size=(frames, 72))
    trans = np.stack([np.full(frames, marker), np.zeros(frames), np.arange(frames)], 1)
    write_body_motion(path, BodyMotion(poses, np.full(betas, marker), trans, fps, gender='female'))


@pytest.fixture
def folder(tmp_path):
    """10 frames at 10 Hz (1 s), 40 at 20 Hz (2 s), 300 at 100 Hz (3 s)."""
    files = [('01/a', 10, 10), ('01/b', 40, 20), ('02/c', 300, 100)]
    for i, (name, frames, fps) in enumerate(files):
        write(tmp_path / f'{name}_poses.npz', frames, fps, i + 1)
    return tmp_path


def taken(dataset):
    """(N, 2): file and frame, as the samples tell."""
    trans = np.stack([dataset[i]['inputs']['trans'] for i in range(len(dataset))])
    return trans[:, [0, 2]].astype(int)


def test_a_sample_is_what_the_file_has(folder):
    dataset = make(ann_file='.', data_root=str(folder), views=2, test_mode=True)
    assert len(dataset) == 350
    motion = np.load(folder / '01' / 'b_poses.npz')
    sample = dataset[10 + 7]
    inputs, info = sample['inputs'], sample['data_samples'].metainfo
    np.testing.assert_array_equal(inputs['poses'].reshape(72), motion['poses'][7])
    np.testing.assert_array_equal(inputs['betas'], motion['betas'])
    np.testing.assert_array_equal(inputs['trans'], motion['trans'][7])
    assert all(array.dtype == np.float32 for array in inputs.values())
    assert info['img_path'] == f'{folder / "01" / "b_poses.npz"}#7'
    assert (info['id'], info['subject'], info['action'], info['gender'], info['dataset_name']) == (
        17, '01', '', 'female', 'body_motion')
    # the camera's arrays and name are of one camera, and make one
    camera = next(c for c in virtual_cameras(2) if c.name == info['camera'])
    made = Camera('made', camera.width, camera.height, **{kind: inputs[kind] for kind in KINDS})
    points = np.array([[[0.2, 0.1, 1.]]])
    np.testing.assert_allclose(made.project(made.world_to_camera(points)),
                               camera.project(camera.world_to_camera(points)), atol=1e-2)


def test_frames_are_taken_evenly_in_time(folder):
    everything = taken(make(ann_file=str(folder)))
    np.testing.assert_array_equal(np.bincount(everything[:, 0]), [0, 10, 40, 300])
    twelve = taken(make(ann_file=str(folder), num_samples=12))  # 6 s: one each half second
    np.testing.assert_array_equal(twelve, [(1, 2), (1, 7), (2, 5), (2, 15), (2, 25), (2, 35),
                                           *((3, f) for f in range(25, 300, 50))])
    half = taken(make(ann_file=str(folder), interval=0.5))
    np.testing.assert_array_equal(half, [(1, 0), (1, 5), (2, 0), (2, 10), (2, 20), (2, 30),
                                         *((3, f) for f in range(0, 300, 50))])
    # an interval that is no whole number of frames does not drift
    third = taken(make(ann_file=str(folder / '02'), interval=1 / 3))
    np.testing.assert_array_equal(third[:, 1], np.floor(np.arange(9) * 100 / 3 + 1e-6))
    # as many as there are at one rate: each once
    np.testing.assert_array_equal(
        taken(make(ann_file=str(folder / '02'), num_samples=300))[:, 1], np.arange(300))


def test_several_folders_files_and_amass(folder, tmp_path):
    save_motion(tmp_path / 'amass', 'CMU/07/07_01_poses', frames=5, rate=120.)
    np.savez(tmp_path / 'amass/CMU/07/shape.npz', betas=np.zeros(16), gender='male')
    (tmp_path / 'amass/CMU/07/._07_01_poses.npz').write_bytes(b'of macOS')
    dataset = make(ann_file=['01', 'amass', '02/c_poses.npz'], data_root=str(folder),
                   num_betas=12, test_mode=True)
    assert len(dataset) == 50 + 5 + 300
    smplh = dataset[50]
    original = np.load(tmp_path / 'amass/CMU/07/07_01_poses.npz')
    np.testing.assert_allclose(smplh['inputs']['poses'].reshape(72)[:66],
                               original['poses'][0, :66], atol=1e-6)
    assert not smplh['inputs']['poses'][22:].any()  # hands of SMPL: not in the file
    np.testing.assert_allclose(smplh['inputs']['betas'], original['betas'][:12], atol=1e-6)
    assert not dataset[0]['inputs']['betas'][10:].any() and dataset[0]['inputs']['betas'][9] == 1
    assert smplh['data_samples'].metainfo['subject'] == '07'


def test_cameras_of_training_and_of_tests(folder):
    options = dict(ann_file=str(folder / '01'))
    names = [camera.name for camera in virtual_cameras(8)]
    assert len(set(names)) == 8

    def cameras(dataset):
        return [dataset[i]['data_samples'].metainfo['camera'] for i in range(len(dataset))]

    assert cameras(make(**options, views=8, test_mode=True))[:17] == [*names, *names, names[0]]
    every = make(**options, views=8, all_views=True, test_mode=True)
    assert len(every) == 8 * 50 and cameras(every) == names * 50
    np.testing.assert_array_equal(np.unique(taken(every), axis=0, return_counts=True)[1], 8)
    training = make(**options, views=8)
    np.random.seed(3)
    first = cameras(training)
    assert set(first) == set(names)
    assert cameras(training) != first
    np.random.seed(3)
    assert cameras(training) == first
    unseen = {camera.name for camera in virtual_cameras('unseen')}
    assert set(cameras(make(**options, views='unseen', test_mode=True))) == unseen
    assert len(unseen) == 8 and not unseen & set(names)


def test_random_shapes(folder):
    def betas(dataset):
        return np.stack([dataset[i]['inputs']['betas'] for i in range(len(dataset))])

    options = dict(ann_file=str(folder), betas='random', betas_std=0.5)
    drawn = betas(make(**options))
    assert len(np.unique(drawn, axis=0)) == 350
    assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 0.5) < 0.05
    assert np.abs(betas(make(**{**options, 'betas_std': 5.}))).max() == 2
    fixed = betas(make(**options, test_mode=True))
    assert len(np.unique(fixed, axis=0)) == 3 and (fixed[10:50] == fixed[10]).all()
    np.testing.assert_array_equal(fixed, betas(make(**options, test_mode=True)))
    assert (fixed != betas(make(**options, test_mode=True, seed=1))).all()


def test_samples_are_the_callers_own(folder):
    dataset = make(ann_file=str(folder), test_mode=True)
    before = {name: array.copy() for name, array in dataset[3]['inputs'].items()}
    for array in dataset[3]['inputs'].values():
        array += 1
    for name, array in dataset[3]['inputs'].items():
        np.testing.assert_array_equal(array, before[name])


def test_procedural_motion_stands_on_the_floor_and_is_the_same_by_seed(folder):
    dataset = make(procedural=70, seed=5, test_mode=True)
    assert len(dataset) == 70
    samples = [dataset[i]['inputs'] for i in range(70)]
    again = make(procedural=70, seed=5, test_mode=True)[69]['inputs']
    np.testing.assert_array_equal(samples[69]['poses'], again['poses'])
    assert (make(procedural=70, seed=6)[69]['inputs']['poses'] != again['poses']).any()
    body = BodyModel.stand_in()
    vertices, joints = body(*(torch.from_numpy(np.stack(x).astype(np.float32)) for x in (
        [s['betas'] for s in samples],
        [axis_angle_to_matrix(s['poses'].astype(np.float64)) for s in samples])))
    trans = torch.from_numpy(np.stack([s['trans'] for s in samples]))[:, None]
    lowest = (vertices + trans)[..., 2].amin(1)
    assert lowest.abs().max() < 0.25
    assert ((joints[:, 15] - joints[:, 0])[:, 2] > 0.2).all()  # the head is above the pelvis
    both = make(ann_file=str(folder / '01'), procedural=70, num_samples=20, test_mode=True)
    assert len(both) == 90
    info = both[89]['data_samples'].metainfo
    assert info['subject'].startswith('synthetic') and info['img_path'].startswith('procedural/')
    assert both[19]['inputs']['betas'][0] == 2


def test_batches_of_a_loader(folder):
    dataset = make(ann_file=str(folder), views=4)
    loader = DataLoader(dataset, 8, collate_fn=pseudo_collate)
    batch = next(iter(loader))
    assert {name: np.stack(arrays).shape for name, arrays in batch['inputs'].items()} == dict(
        poses=(8, 24, 3), betas=(8, 10), trans=(8, 3), rotation=(8, 3, 3), position=(8, 3),
        focal=(8, 2), center=(8, 2), radial=(8, 3), tangential=(8, 2))
    assert [sample.metainfo['id'] for sample in batch['data_samples']] == list(range(8))
    lazy = make(ann_file='nowhere', lazy_init=True)
    assert lazy.metainfo['num_keypoints'] == 24 and lazy.metainfo['dataset_name'] == 'body_motion'
    with pytest.raises(IndexError, match='350'):
        dataset.get_data_info(350)


def test_refuses_files(folder):
    def refuses(error, match, **options):
        with pytest.raises(error, match=match):
            make(**options)

    (folder / 'empty').mkdir()
    refuses(FileNotFoundError, 'empty: expected a folder with body motion.*found none',
            ann_file='empty', data_root=str(folder))
    refuses(FileNotFoundError, 'nowhere: .*no such folder', ann_file=str(folder / 'nowhere'))
    np.savez(folder / 'empty' / 'shape.npz', betas=np.zeros(10))
    refuses(FileNotFoundError, 'none of 1 .npz files has poses', ann_file=str(folder / 'empty'))
    bad = folder / 'bad'
    for changes, match in [
            (dict(frames=0), r'x_poses.npz: .*0 frames'),
            (dict(poses=np.full((24, 156), np.nan)), r'x_poses.npz: poses: .*not finite'),
            (dict(poses=np.zeros((24, 165))), r'x_poses.npz: .*SMPL-X'),
            (dict(poses=np.zeros(24)), r'x_poses.npz: poses have shape \(24,\)'),
            (dict(mocap_framerate=None), r'x_poses.npz: poses without .*mocap_framerate'),
            (dict(mocap_framerate=np.array(0.)), r'x_poses.npz: fps: .*above 0'),
            (dict(trans=np.zeros((3, 3))), r'x_poses.npz: trans: expected shape')]:
        save_motion(bad, 'x_poses', **changes)
        refuses(ValueError, match, ann_file=str(bad), num_samples=1)
    (bad / 'x_poses.npz').write_bytes(b'no archive')
    refuses(ValueError, 'x_poses.npz: not a readable .npz archive', ann_file=str(bad))


def test_refuses_options(folder):
    options = dict(ann_file=str(folder))
    for changes, match in [
            (dict(num_samples=351), 'at most the 350 frames of 3 files.*found 351'),
            (dict(num_samples=5, interval=1.), 'num_samples or interval'),
            (dict(interval=0), 'interval: expected a number above 0'),
            (dict(num_samples=-1), 'num_samples: expected a number above 0'),
            (dict(ann_file=None), 'found no ann_file and procedural=0'),
            (dict(ann_file=None, procedural=5, interval=1.), 'without ann_file'),
            (dict(procedural=-1), 'procedural=-1'),
            (dict(betas='mean'), "'file' or 'random', found 'mean'"),
            (dict(betas_std=0), 'betas_std and num_betas'),
            (dict(views=9), 'views: .*found 9')]:
        with pytest.raises(ValueError, match=match):
            make(**{**options, **changes})
