"""PoseSequenceDataset on joint orders other than H36M-17, stored or converted when read."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope

from mmpose_lift.datasets import KeyFrameSequenceDataset, PoseSequenceDataset
from mmpose_lift.datasets.store_skeletons import skeleton_metainfo
from mmpose_lift.geometry.skeletons import get_skeleton, skeleton_names
from mmpose_lift.io.pose_store import PoseStoreWriter, Sequence

WIDTH = 640


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpose')


def make_store(path, rng, skeleton='humaneva', frames=30, frame='camera'):
    joints, world = get_skeleton(skeleton).num_joints, frame == 'world'
    spread, place = (0.3, (0, 0, 1)) if world else (1, (0, 0, 5))
    points = (rng.standard_normal((frames, joints, 3)) * spread + place).astype(np.float32)
    pixels = rng.uniform(0, 480, (frames, joints, 3)).astype(np.float32)
    with PoseStoreWriter(path, source='test', frame=frame, skeleton=skeleton) as writer:
        size = (0, 0) if world else (WIDTH, 480)
        writer.add_sequence(
            Sequence('Train/S1', 'Walking', 'Walking 1 chunk0', '' if world else 'C1', 60, *size),
            points, {} if world else {'gt': pixels})
    return str(path), points, pixels


def test_humaneva_is_read_as_it_is_stored(tmp_path, rng):
    store, points, pixels = make_store(tmp_path / 'store', rng)
    pipeline = [
        dict(type='GenerateTarget',
             encoder=dict(type='PoseSequenceLabel', num_keypoints=15, root_index=0)),
        dict(type='PackPoseInputs', meta_keys=('subject', 'flip_indices')),
    ]
    dataset = PoseSequenceDataset(store, seq_len=10, subjects=['Train/S1'], pipeline=pipeline)
    item = dataset.read(np.arange(3))
    np.testing.assert_array_equal(item['keypoints'].reshape(30, 15, 2), pixels[..., :2])
    np.testing.assert_array_equal(item['lifting_target'].reshape(30, 15, 3), points)
    assert item['lifting_target_visible'].shape == (3, 10, 15)
    assert 'f' not in item['camera_param']  # intrinsics are not known
    sample = dataset[0]
    label = sample['data_samples'].gt_instance_labels.lifting_target_label
    assert sample['inputs'].shape == (10, 15, 2)
    np.testing.assert_allclose(label, points[:10] - points[:10, :1], atol=1e-6)


@pytest.mark.parametrize('skeleton', ['humaneva', 'h36m_16', 'mpi_inf_3dhp'])
def test_mirrored_windows_swap_left_and_right_by_name(tmp_path, rng, skeleton):
    store, points, pixels = make_store(tmp_path / 'store', rng, skeleton)
    dataset = PoseSequenceDataset(store, seq_len=30, flip='copies')
    mirrored = dataset.read(np.array(1))
    names = get_skeleton(skeleton).common_names
    for i, name in enumerate(names):
        other = name.replace('left_', 'right_') if 'left_' in name else (
            name.replace('right_', 'left_'))
        j = names.index(other)
        assert mirrored['flip_indices'][i] == j
        np.testing.assert_array_equal(mirrored['lifting_target'][:, i],
                                      points[:, j] * np.float32([-1, 1, 1]))
        np.testing.assert_allclose(mirrored['keypoints'][:, i],
                                   np.stack([WIDTH - pixels[:, j, 0], pixels[:, j, 1]], -1))
        np.testing.assert_array_equal(mirrored['keypoints_visible'][:, i], pixels[:, j, 2])


@pytest.mark.parametrize('world', [False, True])
def test_sixteen_joints_are_read_from_seventeen(tmp_path, rng, world):
    """Neck base (9) dropped, the order kept, in mirrored windows and in those of cameras too."""
    store, *_ = make_store(tmp_path / 'store', rng, 'h36m', frame='world' if world else 'camera')
    kept = [i for i in range(17) if i != 9]
    options = dict(seq_len=10, flip='copies', cameras_per_clip=2)
    whole = PoseSequenceDataset(store, **options)
    fewer = PoseSequenceDataset(store, skeleton='h36m_16', **options)
    numbers = np.arange(len(whole))
    assert len(fewer) == len(whole) == (12 if world else 6)
    expected, found = whole.read(numbers), fewer.read(numbers)
    for key in ('keypoints', 'keypoints_visible', 'lifting_target', 'lifting_target_visible'):
        axis = 2
        np.testing.assert_array_equal(found[key], np.take(expected[key], kept, axis=axis))
    assert found['flip_indices'] == [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 13, 14, 15, 10, 11, 12]
    assert found['dataset_name'] == 'h36m_16' and fewer.metainfo['num_keypoints'] == 16


def test_world_windows_mirrored_before_a_drawn_camera(tmp_path, rng):
    """cameras_per_clip='random': mirrored in the world, by the flip of the joints that are read."""
    store, points, _ = make_store(tmp_path / 'store', rng, 'h36m', frame='world')
    dataset = PoseSequenceDataset(store, seq_len=30, skeleton='humaneva', flip='copies',
                                  cameras_per_clip='random')
    np.random.seed(0)
    target = dataset.read(np.array(1))['lifting_target'].astype(np.float64)
    source, skeleton = get_skeleton('h36m'), get_skeleton('humaneva')
    read = points[:, [source.common_names.index(n) for n in skeleton.common_names]]
    mirrored = read[:, list(skeleton.flip_indices)] * [-1, 1, 1]

    def distances(poses):  # whatever the camera is, it is a rigid motion
        return np.linalg.norm(poses[:, :, None] - poses[:, None], axis=-1)

    np.testing.assert_allclose(distances(target), distances(mirrored), atol=1e-4)
    # and a mirroring: relative to a triangle of joints, the fourth lies on the other side
    volume = [np.linalg.det(p[:, 1:4] - p[:, :1]) for p in (target, mirrored)]
    np.testing.assert_allclose(volume[0], volume[1], atol=1e-4)


def test_key_frame_windows_take_the_option_too(tmp_path, rng):
    store, points, _ = make_store(tmp_path / 'store', rng, 'h36m')
    dataset = KeyFrameSequenceDataset(store, input_strides=4, seq_len=5, seq_step=2, fps=60,
                                      skeleton='h36m_16', masks='centre')
    item = dataset.read(np.arange(3))
    assert item['keypoints'].shape == (3, 5, 16, 2)
    np.testing.assert_array_equal(item['lifting_target'][:, 0, 9], points[:3, 10])


def test_stores_of_two_skeletons_need_a_choice(tmp_path, rng):
    a, b = (make_store(tmp_path / s, rng, s)[0] for s in ('h36m', 'h36m_16'))
    with pytest.raises(ValueError, match="h36m has skeleton 'h36m'.*'h36m_16'.*skeleton="):
        PoseSequenceDataset([a, b], seq_len=5)
    item = PoseSequenceDataset([a, b], seq_len=30, skeleton='h36m_16').read(np.arange(2))
    assert item['keypoints'].shape == (2, 30, 16, 2)


def test_skeletons_that_do_not_fit_are_both_named(tmp_path, rng):
    humaneva = make_store(tmp_path / 'humaneva', rng)[0]
    with pytest.raises(ValueError, match="expected skeleton 'h36m'.*found 'humaneva'.*spine"):
        PoseSequenceDataset(humaneva, skeleton='h36m')
    with pytest.raises(ValueError, match="unknown skeleton 'h37m'"):
        PoseSequenceDataset(humaneva, skeleton='h37m')
    coco = make_store(tmp_path / 'coco', rng, 'coco')[0]
    with pytest.raises(ValueError, match="'coco' has no root"):
        PoseSequenceDataset(coco)
    with pytest.raises(ValueError, match="17 joints.*'humaneva' has 15"):
        PoseSequenceDataset(humaneva, metainfo=PoseSequenceDataset.METAINFO)


@pytest.mark.parametrize('name', [n for n in skeleton_names() if get_skeleton(n).has_root])
def test_meta_information_follows_the_skeleton(tmp_path, rng, name):
    store, *_ = make_store(tmp_path / 'store', rng, name)
    skeleton = get_skeleton(name)
    lazy = PoseSequenceDataset(store, seq_len=5, lazy_init=True)
    known = PoseSequenceDataset(store, seq_len=5, lazy_init=True, skeleton=name)
    for metainfo in (lazy.metainfo, known.metainfo):
        assert metainfo['num_keypoints'] == skeleton.num_joints
        assert metainfo['flip_indices'] == list(skeleton.flip_indices)
        assert len(metainfo['skeleton_links']) == len(skeleton.bones)
        assert metainfo['dataset_name'] == name
    assert not known._ready
    if 'from_file' not in skeleton_metainfo(skeleton):
        links = {tuple(link) for link in known.metainfo['skeleton_links']}
        assert links == set(skeleton.bones)
        lower = {skeleton.joint_names[i] for i in known.metainfo['lower_body_ids']}
        assert 'left_knee' in lower or 'l_knee' in lower
        assert not lower & {'head', 'thorax', 'left_wrist', 'l_wrist'}
