import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmpose_lift.datasets import PoseSequenceDataset
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.io.pose_store import PoseStoreWriter, Sequence

SKELETON = get_skeleton('h36m')
PIPELINE = [
    dict(type='mmpose.GenerateTarget', encoder=dict(type='PoseSequenceLabel')),
    dict(type='mmpose.PackPoseInputs',
         meta_keys=('sequence', 'start', 'counted', 'action', 'subject', 'flip_indices')),
]


@pytest.fixture(autouse=True)
def _scope():
    from mmengine.registry import init_default_scope
    init_default_scope('mmpose')


def make_store(path, clips, frame='camera', width=1000, height=1002):
    """clips: list of (subject, action, keypoints_3d, keypoints_2d or None)."""
    with PoseStoreWriter(path, source='test', frame=frame, skeleton='h36m') as writer:
        row = 0
        for i, (subject, action, points, pixels) in enumerate(clips):
            world = frame == 'world'
            info = Sequence(subject=subject, action=action, subaction=f'{action} {i}',
                            camera='' if world else 'cam', fps=50, width=0 if world else width,
                            height=0 if world else height, first=row, last=row + len(points))
            row += len(points)
            writer.add_sequence(info, points, {} if world else {'gt': pixels})
    return str(path)


def random_clip(rng, frames, subject='S1', action='Walking'):
    points = rng.standard_normal((frames, 17, 3)).astype(np.float32) + np.float32([0, 0, 5])
    pixels = rng.random((frames, 17, 3)).astype(np.float32) * np.float32([1000, 1000, 1])
    return subject, action, points, pixels


def test_public_training_chunks_are_reproduced(tmp_path, shared_dir):
    data = np.load(shared_dir / 'reference/mixste/eval_pipeline.npz')
    for case in ('T20', 'T54', 'T61'):
        flat, points = data[f'{case}/seq_2d'], data[f'{case}/seq_3d']
        # with an image 2 pixels wide and high, normalisation is a shift by one
        pixels = np.concatenate([flat + 1, np.ones_like(flat[..., :1])], -1)
        store = make_store(tmp_path / case, [('S1', 'A', points, pixels)], width=2, height=2)
        dataset = PoseSequenceDataset(store, seq_len=27, flip='copies')
        # the target there is already relative; read() gives what the store holds
        item = dataset.read(np.arange(len(dataset)))
        order = [dataset_index(dataset, first, flip)
                 for _, first, _, flip in data[f'{case}/train_pairs']]
        assert sorted(order) == list(range(len(dataset)))
        np.testing.assert_allclose(item['keypoints'][order] - 1, data[f'{case}/train_chunks_2d'],
                                   atol=1e-6)
        np.testing.assert_allclose(item['lifting_target'][order],
                                   data[f'{case}/train_chunks_3d'], atol=1e-7)


def dataset_index(dataset, start, flip):
    item = dataset.read(np.arange(len(dataset)))
    found = np.flatnonzero((item['start'] == start) & (item['flip'] == bool(flip)))
    assert len(found) == 1
    return int(found[0])


def test_public_evaluation_chunks_are_reproduced(tmp_path, shared_dir):
    data = np.load(shared_dir / 'reference/mixste/eval_pipeline.npz')
    for case in ('T20', 'T54', 'T61'):
        flat, points = data[f'{case}/seq_2d'], data[f'{case}/seq_3d']
        pixels = np.concatenate([flat + 1, np.ones_like(flat[..., :1])], -1)
        store = make_store(tmp_path / case, [('S1', 'A', points, pixels)], width=2, height=2)
        item = PoseSequenceDataset(store, seq_len=27, windows='paper').read(
            np.arange(-(-len(flat) // 27)))
        np.testing.assert_allclose(item['keypoints'] - 1, data[f'{case}/chunks_2d'], atol=1e-6)
        target = item['lifting_target'].copy()
        target[:, :, 0] = 0
        np.testing.assert_allclose(target, data[f'{case}/chunks_3d_root_zeroed'], atol=1e-7)


@pytest.mark.parametrize('windows', ['train', 'paper', 'unique', 'frames'])
@pytest.mark.parametrize('world', [False, True])
def test_a_batch_read_equals_its_windows_read_one_by_one(tmp_path, rng, windows, world):
    clips = [random_clip(rng, n, s, a) for n, s, a in [(40, 'S1', 'Walking'), (9, 'S5', 'Eating')]]
    if world:
        clips = [(s, a, p * np.float32(0.3), None) for s, a, p, _ in clips]
    store = make_store(tmp_path / 'store', clips, frame='world' if world else 'camera')
    dataset = PoseSequenceDataset(store, seq_len=16, seq_step=2, windows=windows, flip='copies',
                                  pipeline=PIPELINE)
    indices = [0, len(dataset) - 1, 3]
    batch = dataset.__getitems__(indices)[0]
    label = batch['data_samples'].gt_instance_labels.lifting_target_label
    for row, index in enumerate(indices):
        one = dataset[index]
        assert torch.equal(batch['inputs'][row], one['inputs'])
        assert torch.equal(label[row], one['data_samples'].gt_instance_labels.lifting_target_label)
        for key in ('sequence', 'start', 'action', 'subject'):
            assert batch['data_samples'].metainfo[key][row] == one['data_samples'].metainfo[key]
    assert (label[:, :, 0] == 0).all()


def test_seq_step_covers_every_frame(tmp_path, rng):
    store = make_store(tmp_path / 'store', [random_clip(rng, 50)])
    dataset = PoseSequenceDataset(store, seq_len=9, seq_step=3, windows='unique')
    item = dataset.read(np.arange(len(dataset)))
    seen = [f for frames, (a, b) in zip(item['frame_index'], item['counted'])
            for f in frames[a:b]]
    assert sorted(seen) == list(range(50))
    assert set(np.diff(item['frame_index'], axis=1).ravel()) <= {0, 3}


def test_flip_is_its_own_inverse_and_keeps_the_geometry(tmp_path, rng):
    store = make_store(tmp_path / 'store', [random_clip(rng, 27)])
    dataset = PoseSequenceDataset(store, seq_len=27, flip='copies')
    plain, mirrored = dataset.read(np.array(0)), dataset.read(np.array(1))
    flip = list(SKELETON.flip_indices)
    np.testing.assert_allclose(1000 - mirrored['keypoints'][:, flip, 0],
                               plain['keypoints'][..., 0],
                               atol=1e-3)
    np.testing.assert_array_equal(mirrored['keypoints'][:, flip, 1], plain['keypoints'][..., 1])
    np.testing.assert_array_equal(mirrored['lifting_target'][:, flip] * np.float32([-1, 1, 1]),
                                  plain['lifting_target'])


def test_world_clips_are_seen_as_single_cameras_see_them(tmp_path, rng):
    points = (rng.standard_normal((30, 17, 3)) * 0.4 + [7, -3, 1]).astype(np.float32)
    store = make_store(tmp_path / 'store', [('1', '', points, None)], frame='world')
    dataset = PoseSequenceDataset(store, seq_len=30, cameras_per_clip=5, camera_seed=3)
    assert len(dataset.clips) == 5 and len({c.camera for c in dataset.clips}) == 5
    item = dataset.read(np.arange(5))
    for row, clip in enumerate(dataset.clips):
        camera = h36m_cameras()[clip.camera]
        centred = points - np.float32([*clip.offset, 0])
        seen = camera.world_to_camera(centred)
        np.testing.assert_allclose(item['lifting_target'][row], seen, atol=2e-5)
        np.testing.assert_allclose(item['keypoints'][row], camera.project(seen), atol=2e-2)
        assert item['camera_param']['w'][row] == camera.width
    centre = points[:, 0, :2].min(0) / 2 + points[:, 0, :2].max(0) / 2
    np.testing.assert_allclose(dataset.clips[0].offset, centre, atol=1e-5)


def test_workers_deliver_whole_batches(tmp_path, rng):
    store = make_store(tmp_path / 'store', [random_clip(rng, 200)])
    dataset = PoseSequenceDataset(store, seq_len=10, pipeline=PIPELINE)
    loader = DataLoader(dataset, batch_size=8, num_workers=1, collate_fn=pseudo_collate)
    batches = list(loader)
    assert [tuple(b['inputs'][0].shape) for b in batches] == [(8, 10, 17, 2)] * 2 + [(4, 10, 17, 2)]
    alone = PoseSequenceDataset(store, seq_len=10, pipeline=PIPELINE, batched=False)
    batch = next(iter(DataLoader(alone, batch_size=8, collate_fn=pseudo_collate)))
    assert torch.equal(torch.stack(batch['inputs']), batches[0]['inputs'][0])


def test_filters_and_several_stores(tmp_path, rng):
    clips = [random_clip(rng, 30, 'S1', 'Walking'), random_clip(rng, 30, 'S9', 'Eating')]
    a, b = make_store(tmp_path / 'a', clips), make_store(tmp_path / 'b', clips[:1])
    assert {c.subject for c in PoseSequenceDataset(a, seq_len=5, subjects=['S9']).clips} == {'S9'}
    both = PoseSequenceDataset([a, b], seq_len=30, actions=['Walking'])
    item = both.read(np.arange(2))
    np.testing.assert_array_equal(item['keypoints'][0], item['keypoints'][1])
    assert {c.subject for c in PoseSequenceDataset(a, seq_len=5, subjects='S9').clips} == {'S9'}
    with pytest.raises(ValueError, match="S7.*S1.*S9"):
        PoseSequenceDataset(a, subjects=['S1', 'S7'])
    with pytest.raises(ValueError, match='both'):
        PoseSequenceDataset(a, subjects=['S1'], actions=['Eating'])


@pytest.mark.parametrize('kwargs, message', [
    (dict(windows='all'), 'windows'),
    (dict(flip='always'), 'flip'),
    (dict(seq_step=0), 'seq_step'),
    (dict(seq_len=5, interval=6), 'interval'),
    (dict(keypoints_2d='cpn'), "'cpn'"),
])
def test_wrong_options_are_named(tmp_path, rng, kwargs, message):
    store = make_store(tmp_path / 'store', [random_clip(rng, 30)])
    with pytest.raises(ValueError, match=message):
        PoseSequenceDataset(store, **kwargs)


def test_an_absent_store_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        PoseSequenceDataset('nowhere', data_root=str(tmp_path))


def test_unknown_joints_reach_the_loss_as_weights(tmp_path, rng):
    subject, action, points, pixels = random_clip(rng, 10)
    with PoseStoreWriter(tmp_path / 'store', source='test', frame='camera',
                         skeleton='h36m') as writer:
        writer.add_sequence(
            Sequence(subject=subject, action=action, subaction='a', camera='cam', fps=50,
                     width=1000, height=1000, first=0, last=10), points, {'gt': pixels},
            valid=np.arange(10) != 4)
    sample = PoseSequenceDataset(str(tmp_path / 'store'), seq_len=10, pipeline=PIPELINE)[0]
    weight = sample['data_samples'].gt_instance_labels.lifting_target_weight
    assert weight.shape == (10, 17) and weight[4].sum() == 0 and weight.sum() == 9 * 17
