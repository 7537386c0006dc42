from collections import Counter

import numpy as np
import pytest
import torch

from mmpose_lift.codecs import KeyFrameSequenceLabel
from mmpose_lift.datasets import KeyFrameSequenceDataset
from mmpose_lift.datasets.key_frames import (
    check_strides,
    grid_window,
    key_frame_mask,
    random_shifts,
    token_offsets,
)
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.geometry.skeletons import convert_keypoints, get_skeleton
from mmpose_lift.io.pose_store import PoseStoreWriter, Sequence
from tests.datasets.test_pose_sequence_dataset import make_store, random_clip

FLIP = list(get_skeleton('h36m').flip_indices)
PIPELINE = [
    dict(type='mmpose.GenerateTarget', encoder=dict(type='KeyFrameSequenceLabel')),
    dict(type='mmpose.PackPoseInputs',
         meta_keys=('sequence', 'start', 'counted', 'action', 'subject', 'flip_indices', 's_in')),
]


@pytest.fixture(autouse=True)
def _scope():
    from mmengine.registry import init_default_scope
    init_default_scope('mmpose')


@pytest.fixture
def store(tmp_path, rng):
    return make_store(tmp_path / 'store', [random_clip(rng, 43), random_clip(rng, 12, 'S5', 'Sit')])


# ------------------------------------------------------------ public windows


@pytest.fixture
def public(tmp_path, shared_dir):
    """The authors' windows, in our joint order, and a store that holds their video."""
    with np.load(shared_dir / 'reference/uplift_upsample/sequences.npz') as data:
        data = dict(data)
    assert list(get_skeleton('uplift_upsample').flip_indices) == data['flip_order'].tolist()
    for name in data:
        if name.endswith(('_2d', '_3d')):
            data[name] = convert_keypoints(data[name], 'uplift_upsample', 'h36m', has_score=False)
    flat = data['video_2d']
    # with an image 2 pixels wide and high, normalisation is a shift by one
    pixels = np.concatenate([flat + 1, np.ones_like(flat[..., :1])], -1)
    data['store'] = make_store(tmp_path / 'store', [('S1', 'A', data['video_3d'], pixels)],
                               width=2, height=2)
    return data


def public_dataset(data, **options):
    return KeyFrameSequenceDataset(
        data['store'], int(data['mask_stride'][0]), seq_len=int(data['seq_len']),
        seq_step=int(data['stride']), **options)


def check_windows(item, rows, data, case):
    """Windows of ``read`` against rows of the authors' arrays."""
    np.testing.assert_array_equal(item['start'], data[f'{case}/frame_index'][rows])
    np.testing.assert_array_equal(item['key_frames'], data[f'{case}/stride_mask'][rows])
    np.testing.assert_allclose(item['keypoints'] - 1, data[f'{case}/sequence_2d'][rows], atol=1e-6)
    target = data['video_3d'][item['frame_index']]
    mirrored = target[:, :, FLIP] * np.float32([-1, 1, 1])
    target = np.where(item['flip'][:, None, None, None], mirrored, target)
    np.testing.assert_allclose(target, data[f'{case}/sequence_3d'][rows], atol=1e-7)


def test_public_training_windows_are_reproduced(public):
    dataset = public_dataset(public, masks='centre', center_step=int(public['subsample']),
                             flip='copies')
    item = dataset.read(np.arange(len(dataset)))
    check_windows(item, slice(None), public, 'train_centred')
    _, inside = grid_window(item['start'], 9, 2, len(public['video_2d']))
    np.testing.assert_array_equal(inside, public['train_centred/valid_mask'])


def test_public_test_windows_are_reproduced(public):
    """Windows around frames of the token grid; others have no key-frame and are not read."""
    centers = public['test/frame_index']
    shared = np.flatnonzero(centers % 2 == 0)
    item = public_dataset(public, masks='clip').read(centers[shared] // 2)
    check_windows(item, shared, public, 'test')
    frames, inside = grid_window(centers, 9, 2, len(public['video_2d']))
    np.testing.assert_array_equal(inside, public['test/valid_mask'])
    np.testing.assert_array_equal(public['video_3d'][frames], public['test/sequence_3d'])
    masks = key_frame_mask(centers[:, None] + token_offsets(9, 2), 4)
    np.testing.assert_array_equal(masks, public['test/stride_mask'])
    assert not masks[centers % 2 == 1].any()


# ------------------------------------------------------------ masks


def test_random_shifts_reach_every_alignment_equally():
    for ratio, expected in [(1, {0}), (2, {-1, 0}), (4, {-2, -1, 0, 1}), (5, {-2, -1, 0, 1, 2}),
                            (10, set(range(-5, 5)))]:
        shifts = random_shifts(np.full(4000, ratio), np.random.default_rng(0))
        counts = Counter(shifts.tolist())
        assert set(counts) == expected
        assert max(counts.values()) < 1.5 * min(counts.values())
        assert {s % ratio for s in counts} == set(range(ratio))


def test_copies_of_edge_frames_lie_on_the_grid_of_their_window():
    frames, inside = grid_window(np.array([7, 41]), 9, 5, 43)
    assert frames[0].tolist() == [2, 2, 2, 2, 7, 12, 17, 22, 27]
    assert frames[1].tolist() == [21, 26, 31, 36, 41, 41, 41, 41, 41]
    assert inside[0].tolist() == [False] * 3 + [True] * 6


def test_key_frames_of_a_test_are_those_of_the_clip(store):
    dataset = KeyFrameSequenceDataset(store, [4, 8], seq_len=9, seq_step=2, masks='clip')
    item = dataset.read(np.arange(len(dataset)))
    assert set(item['start'] % 2) == {0} and item['s_in'].tolist() == sorted(item['s_in'])
    position = item['start'][:, None] + token_offsets(9, 2)
    inside = (position >= 0) & (position < dataset._clip_frames[item['sequence']][:, None])
    np.testing.assert_array_equal(item['key_frames'][inside],
                                  (item['frame_index'] % item['s_in'][:, None] == 0)[inside])
    assert item['key_frames'].any(axis=1).all()


def test_strict_hides_edge_copies_that_are_no_key_frames(store):
    options = dict(input_strides=4, seq_len=9, seq_step=2, masks='clip')
    loose = KeyFrameSequenceDataset(store, **options)
    strict = KeyFrameSequenceDataset(store, strict=True, **options)
    numbers = np.arange(len(loose))
    loose, strict = loose.read(numbers), strict.read(numbers)
    shown = loose['frame_index'] % 4 == 0
    assert (loose['key_frames'] & ~shown).any()
    np.testing.assert_array_equal(strict['key_frames'], loose['key_frames'] & shown)


def test_training_masks_are_periodic_and_drawn_per_window(store):
    dataset = KeyFrameSequenceDataset(store, [2, 4, 10], seq_len=21, seq_step=2)
    np.random.seed(0)
    item = dataset.read(np.tile(np.arange(len(dataset)), 40))
    for mask, s_in in zip(item['key_frames'], item['s_in']):
        on = np.flatnonzero(mask)
        assert set(np.diff(on)) <= {s_in // 2} and on[0] < s_in // 2
    counts = Counter(item['s_in'].tolist())
    assert set(counts) == {2, 4, 10} and max(counts.values()) < 1.2 * min(counts.values())
    centre = item['key_frames'][:, 10]
    assert abs(centre[item['s_in'] == 10].mean() - 0.2) < 0.05
    assert len(dataset) == 43 + 12  # every frame is a centre
    np.testing.assert_array_equal(dataset.read(np.arange(55))['start'],
                                  np.concatenate([np.arange(43), np.arange(12)]))


# ------------------------------------------------------------ targets


def test_targets_of_a_test_cover_every_frame_once(store, rng):
    for options, gap in [(dict(), 2), (dict(learned_upsampling=False), 4)]:
        dataset = KeyFrameSequenceDataset(store, 4, seq_len=5, seq_step=2, masks='clip',
                                          pipeline=PIPELINE, **options)
        item = dataset.read(np.arange(len(dataset)))
        assert set(item['start'] % gap) == {0} and item['lifting_target'].shape[1] == gap
        seen = Counter((c, s + f) for c, s, (a, b) in zip(
            item['sequence'], item['start'], item['counted']) for f in range(a, b))
        assert seen == Counter({(0, f): 1 for f in range(43)} | {(1, f): 1 for f in range(12)})
        points = np.asarray(dataset.stores[0].keypoints_3d)
        for row in range(len(dataset)):
            first = dataset.clips[item['sequence'][row]].first + item['start'][row]
            n = item['counted'][row, 1]
            np.testing.assert_array_equal(item['lifting_target'][row, :n], points[first:first + n])
            assert (item['lifting_target_visible'][row, n:] == 0).all()
        label = dataset._get_batch(range(len(dataset)))[0]['data_samples'].gt_instance_labels
        assert label.lifting_target_weight.sum() == 55 * 17


def test_inputs_are_zero_between_key_frames(store):
    dataset = KeyFrameSequenceDataset(store, [4, 8], seq_len=9, seq_step=2, pipeline=PIPELINE)
    batch = dataset._get_batch(range(20))[0]
    inputs, label = batch['inputs'], batch['data_samples'].gt_instance_labels.lifting_target_label
    assert inputs.shape == (20, 9, 17, 3) and label.shape == (20, 9, 17, 3)
    flag = inputs[..., 2]
    assert set(flag.unique().tolist()) == {0., 1.} and (flag == flag[..., :1]).all()
    assert (inputs[flag == 0][:, :2] == 0).all() and (inputs[flag == 1][:, :2] != 0).any()
    assert (label[:, :, 0] == 0).all()


# ------------------------------------------------------------ mirrored pairs


def test_pairs_share_key_frames_and_are_mirror_images(store):
    dataset = KeyFrameSequenceDataset(store, [2, 4], seq_len=9, seq_step=2, pairs=True)
    item = dataset.read(np.arange(30))
    assert len(item['start']) == 60 and item['flip'].tolist() == [False, True] * 30
    plain, mirrored = ({k: v[i::2] for k, v in item.items() if isinstance(v, np.ndarray)}
                       for i in (0, 1))
    for key in ('key_frames', 's_in', 'start', 'frame_index'):
        np.testing.assert_array_equal(plain[key], mirrored[key])
    np.testing.assert_array_equal(plain['lifting_target'][:, :, FLIP] * np.float32([-1, 1, 1]),
                                  mirrored['lifting_target'])
    with pytest.raises(ValueError, match='pairs'):
        dataset.read(np.array(0))


def test_drawn_cameras_see_unmoved_clips_and_pairs_share_them(tmp_path, rng):
    points = (rng.standard_normal((60, 17, 3)) * 0.4 + [0.5, -0.3, 1]).astype(np.float32)
    path = make_store(tmp_path / 'store', [('1', '', points, None)], frame='world')
    dataset = KeyFrameSequenceDataset(path, 2, seq_len=5, seq_step=1, pairs=True,
                                      cameras_per_clip='random')
    np.random.seed(0)
    item = dataset.read(np.arange(60))
    used = []
    for row in range(120):
        world = points[item['frame_index'][row]]
        if row % 2:  # mirrored in the world, before the camera
            world = world[:, FLIP] * np.float32([-1, 1, 1])
        fits = [i for i, c in enumerate(h36m_cameras()) if np.abs(
            c.world_to_camera(world) - item['lifting_target'][row]).max() < 1e-3]
        assert len(fits) == 1
        camera = h36m_cameras()[fits[0]]
        np.testing.assert_allclose(camera.project(camera.world_to_camera(world)),
                                   item['keypoints'][row], atol=0.05)
        np.testing.assert_allclose(item['camera_param']['c'][row], camera.center, rtol=1e-6)
        assert item['camera_param']['h'][row] == camera.height
        used.append(fits[0])
    assert used[::2] == used[1::2] and len(set(used)) > 15


def test_mirrored_windows_have_the_camera_that_would_have_seen_them(tmp_path, rng):
    points = (rng.standard_normal((8, 17, 3)) * 0.3 + [0, 0, 1]).astype(np.float32)
    path = make_store(tmp_path / 'store', [('1', '', points, None)], frame='world')
    dataset = KeyFrameSequenceDataset(path, 1, seq_len=3, seq_step=1, pairs=True,
                                      cameras_per_clip=1)
    item = dataset.read(np.arange(8))
    camera = h36m_cameras()[dataset.clips[0].camera].flipped()
    np.testing.assert_allclose(item['camera_param']['c'][1], camera.center, rtol=1e-6)
    np.testing.assert_allclose(camera.project(item['lifting_target'][1].astype(float)),
                               item['keypoints'][1], atol=0.05)


# ------------------------------------------------------------ frame rates


def test_strides_are_seconds_at_a_multiple_of_the_frame_rate(tmp_path, rng):
    subject, action, points, pixels = random_clip(rng, 100)
    paths = []
    for name, rate in [('slow', 1), ('fast', 2)]:
        with PoseStoreWriter(tmp_path / name, source='test', frame='camera',
                             skeleton='h36m') as writer:
            writer.add_sequence(
                Sequence(subject=subject, action=action, subaction='a', camera='cam',
                         fps=50 * rate, width=1000, height=1000),
                points[::2 // rate], {'gt': pixels[::2 // rate]})
        paths.append(str(tmp_path / name))
    slow, fast = (KeyFrameSequenceDataset(p, [4, 8], seq_len=7, seq_step=2, masks='clip')
                  for p in paths)
    numbers = np.arange(len(slow))
    assert len(slow) == len(fast)
    a, b = slow.read(numbers), fast.read(numbers)
    for key in ('keypoints', 'key_frames', 's_in'):
        np.testing.assert_array_equal(a[key], b[key])
    np.testing.assert_array_equal(b['s_in_frames'], 2 * a['s_in'])
    assert set(a['fps']) == {50.} and set(b['fps']) == {100.}
    np.testing.assert_array_equal(b['start'], 2 * a['start'])
    assert b['lifting_target'].shape[1] == 4
    with pytest.raises(ValueError, match='frame rate 50 is no multiple of 30'):
        KeyFrameSequenceDataset(paths[0], 4, seq_step=2, fps=30)


# ------------------------------------------------------------ bad input


@pytest.mark.parametrize('options, message', [
    (dict(input_strides=7), 'multiple of the output stride 2, found 7'),
    (dict(input_strides=[]), 'whole number'),
    (dict(input_strides=10.9), 'whole number.*10.9'),
    (dict(input_strides=(4, 4)), 'different ones'),
    (dict(input_strides=((4, 8), (4, 8))), 'whole number'),
    (dict(masks='clip', center_step=3), 'center_step.*multiple of 2.*found 3'),
    (dict(windows='train'), 'windows'),
    (dict(interval=3), 'interval'),
    (dict(masks='center'), "masks.*'center'"),
    (dict(causal=True), 'causal'),
    (dict(pairs=True, flip='copies'), 'pairs'),
    (dict(pairs=True, batched=False), 'pairs'),
    (dict(learned_upsampling=False), 'learned_upsampling'),
    (dict(center_step=0), 'center_step'),
])
def test_wrong_options_are_named(store, options, message):
    with pytest.raises(ValueError, match=message):
        KeyFrameSequenceDataset(store, **{**dict(input_strides=4, seq_step=2), **options})


def test_strides_and_masks_are_checked_or_follow_modulo_rules():
    with pytest.raises(ValueError, match='output stride'):
        check_strides(5, 0)
    assert key_frame_mask(np.array([-8, -4, -3, 0, 4]), 4).tolist() == [True, True, False, True,
                                                                         True]


def test_the_codec_refuses_flags_of_another_shape_and_takes_all_frames_without(rng):
    codec = KeyFrameSequenceLabel()
    pixels, size = rng.random((2, 9, 17, 2)), dict(w=np.float32([1000, 1000]),
                                                   h=np.float32([1000, 1000]))
    with pytest.raises(ValueError, match='key_frames.*one flag per frame'):
        codec.encode(pixels, camera_param=size, key_frames=np.ones((2, 8), bool))
    labels = codec.encode(pixels, camera_param=size)['keypoint_labels']
    assert (labels[..., 2] == 1).all() and torch.from_numpy(labels).isfinite().all()
