"""Windows, stitching, frame rates and key-frames of whole clips, with networks that are known."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis import (
    AdaptiveInputStride,
    KeyFrameLifter,
    MissingWeightsError,
    lift_adaptively,
)
from mmpose_lift.apis.clip_lifter import ClipLifter, stitch_windows
from mmpose_lift.datasets.windows import cross_fade_windows, evaluation_windows, window_frames

from .test_resampling import motion, uneven

SIZE, T = (1000, 1000), 27
LENGTHS = (1, 2, 13, 26, 27, 28, 40, 41, 54, 61, 200)


def small(**dataset):
    codec = dict(type='PoseSequenceLabel', num_keypoints=17, root_index=0)
    return Config(dict(
        model=dict(type='SequencePoseLifter',
                   backbone=dict(type='MixSTE', num_frames=T, embed_dims=16, num_heads=2, depth=1),
                   head=dict(type='LiftingHead', in_channels=16, num_keypoints=17, decoder=codec),
                   test_cfg=dict(flip_test=True)),
        test_dataloader=dict(dataset=dict(seq_len=T, **dataset))))


def build(config=None, **options):
    torch.manual_seed(0)
    return ClipLifter(config or small(), device='cpu', allow_random_weights=True, **options)


def identity(inputs):
    """A network that gives x and y back, as normalised, and 0 for z."""
    return np.concatenate([inputs, np.zeros_like(inputs[..., :1])], axis=-1)


def stub(forward=identity, **options):
    lifter = build(**options)
    lifter.forward = forward
    return lifter


def clip(frames, seed=0):
    return np.random.default_rng(seed).uniform(100, 900, (frames, 17, 2)).astype(np.float32)


def normalised(keypoints):
    flat = keypoints / np.float32(500) - 1
    return np.concatenate([flat, np.zeros_like(flat[..., :1])], axis=-1)


@pytest.mark.parametrize('overlap', [0, 0.1, 0.5, 0.75, 0.99])
@pytest.mark.parametrize('length', [1, 2, 9, T])
@pytest.mark.parametrize('frames', LENGTHS)
def test_weights_of_windows_sum_to_one(frames, length, overlap):
    starts, weights = cross_fade_windows(frames, length, overlap)
    assert weights.shape == (len(starts), length) and weights.dtype == np.float32
    assert starts[0] == 0 and starts[-1] == max(frames - length, 0)
    inside = window_frames(starts, length, frames)
    np.testing.assert_allclose(
        np.bincount(inside.ravel(), weights.ravel(), frames), 1, atol=1e-6)
    assert not weights[:, frames:].any() and (weights >= 0).all()
    if frames > length:
        common = starts[:-1] + length - starts[1:]
        assert (common >= min(length * overlap - 1, length - 1)).all()
        if overlap and length > 2:  # every window fades at its inner ends
            assert (weights[1:, 0] < 0.51).all() and (weights[:-1, -1] < 0.51).all()
            if overlap <= 0.75:  # more than that, and single windows hardly count
                assert np.abs(np.diff(weights, axis=1)).max() <= 2 / (common.min() + 1)


def test_without_overlap_windows_are_those_of_the_evaluation():
    for frames in LENGTHS:
        starts, weights = cross_fade_windows(frames, T, 0)
        expected, counted = evaluation_windows(frames, T, 'unique')
        np.testing.assert_array_equal(starts, expected)
        for row, (a, b) in zip(weights, counted):
            assert (np.flatnonzero(row) == np.arange(a, b)).all() and set(row) <= {0, 1}


def test_the_number_of_windows_is_the_price():
    assert len(cross_fade_windows(2000, 243, 0)[0]) == 9  # 2000 / 9 > 200
    assert len(cross_fade_windows(2000, 243, 0.5)[0]) == 16  # 2000 / 16 > 120


@pytest.mark.parametrize('overlap', [0, 0.5, 0.8])
@pytest.mark.parametrize('frames', LENGTHS)
def test_every_frame_comes_back_at_its_place(frames, overlap):
    keypoints = clip(frames)
    lifted = stub(overlap=overlap).lift(keypoints, SIZE)
    assert lifted.shape == (frames, 17, 3) and lifted.dtype == np.float32
    np.testing.assert_allclose(lifted, normalised(keypoints), atol=1e-6)


def test_overlap_removes_the_jumps_between_windows():
    def by_place(inputs):  # 0 in the first frame of a window to 1 in its last
        return np.broadcast_to(np.linspace(0, 1, T)[:, None, None], (len(inputs), T, 17, 3))
    jumps = [np.abs(np.diff(stub(by_place, overlap=overlap).lift(clip(200), SIZE), axis=0)).max()
             for overlap in (0, 0.25, 0.5)]
    assert jumps[0] > 0.9 and jumps[1] < 0.15 and jumps[2] < 0.09


@pytest.mark.parametrize('frames', [1, T - 1, T])
def test_a_clip_of_one_window_is_what_the_network_says(frames):
    lifter, keypoints = build(), clip(frames)
    padded = np.pad(keypoints, ((0, T - frames), (0, 0), (0, 0)), mode='edge')
    expected = lifter.forward(torch.from_numpy(padded / np.float32(500) - 1)[None])[0, :frames]
    np.testing.assert_allclose(lifter.lift(keypoints, SIZE), expected, atol=1e-6)


def test_people_together_are_people_alone():
    lifter = build(batch_size=4)
    people = [clip(frames, seed) for seed, frames in enumerate((1, 60, 27, 200))]
    forward, sizes = lifter.forward, []
    lifter.forward = lambda inputs: sizes.append(len(inputs)) or forward(inputs)
    together = lifter.lift_people(people, SIZE)
    assert set(sizes[:-1]) == {4}  # full batches
    for keypoints, poses in zip(people, together):
        np.testing.assert_allclose(lifter.lift(keypoints, SIZE), poses, atol=1e-6)
    at = lifter.lift_people_at(people, SIZE, fps=30)
    for keypoints, poses in zip(people, at):
        np.testing.assert_allclose(lifter.lift_at(keypoints, SIZE, fps=30), poses, atol=1e-6)
    assert lifter.lift_people([], SIZE) == lifter.lift_people_at([], SIZE, fps=30) == []


def test_stitching_is_fast():
    """Python's share in a clip of 2,000 frames: far below 0.2 ms per frame."""
    from timeit import repeat
    starts, weights = cross_fade_windows(2000, 243, 0.5)
    poses = np.zeros((len(starts), 243, 17, 3), np.float32)
    seconds = min(repeat(lambda: stitch_windows(poses, starts, weights, 2000), number=1, repeat=3))
    assert seconds < 0.2


@pytest.mark.parametrize('fps', [24, 25, 29.97, 30, 60, 120, 'uneven'])
def test_any_frame_rate(fps):
    times = uneven(3, 30) if fps == 'uneven' else np.arange(90) / fps
    keypoints = motion(times).astype(np.float32)
    rate = dict(times=times + 100) if fps == 'uneven' else dict(fps=fps)
    lifted = stub().lift_at(keypoints, SIZE, **rate)
    assert lifted.shape == (len(times), 17, 3) and lifted.dtype == np.float32
    apart = max(np.diff(times).max(), 1 / 50)
    bound = 2 * 0.2 * (2 * np.pi * 1.5 * apart) ** 2 / 8
    assert np.abs(lifted - normalised(keypoints)).max() < bound
    np.testing.assert_allclose(lifted[[0, -1]], normalised(keypoints)[[0, -1]], atol=1e-5)


def test_the_network_sees_its_own_frame_rate():
    seen = []

    def speed(inputs):
        seen.append(np.diff(np.asarray(inputs), axis=1)[0, 1:5, 0, 0])
        return identity(inputs)
    lifter = stub(speed)
    for fps in (25, 50, 100):
        walk = np.arange(100)[:, None, None] / fps * np.full((17, 2), 50) + 300
        lifter.lift_at(walk.astype(np.float32), SIZE, fps=fps)
        np.testing.assert_allclose(seen[-1], 50 / 500 / 50, rtol=1e-3)


@pytest.mark.parametrize('rate', [
    dict(fps=50), dict(fps=49.96), dict(times=np.arange(70) * .02 + 3)])
def test_the_models_rate_is_left_alone(rate):
    lifter, keypoints = build(), clip(70)
    np.testing.assert_array_equal(lifter.lift_at(keypoints, SIZE, **rate),
                                  lifter.lift(keypoints, SIZE))


def test_rates_come_from_the_config():
    assert build().fps == 50 and build(small(fps=30)).fps == 30
    assert build(small(fps=50, seq_step=2)).fps == 25
    assert ClipLifter('ampose_h36m', device='cpu').fps is None
    config = small()
    config.test_dataloader.dataset.seq_len = 1
    config.model.backbone.num_frames = 1
    single, keypoints = build(config), clip(9)
    np.testing.assert_array_equal(single.lift_at(keypoints, SIZE, fps=7),
                                  single.lift(keypoints, SIZE))


def test_frames_that_are_not_known_are_interpolated():
    known = np.ones(60, bool)
    known[[0, 7, 8, 30]] = False
    keypoints = motion(np.arange(60) / 50).astype(np.float32)
    broken = np.where(known[:, None, None], keypoints, np.nan)
    lifted = stub().lift_at(broken, SIZE, fps=50, known=known)
    assert np.abs(lifted - normalised(keypoints))[1:].max() < 0.02
    np.testing.assert_allclose(lifted[0], lifted[1])


# Models that see key-frames only

@pytest.fixture(scope='module')
def sparse(root_dir):
    return build(Config.fromfile(root_dir / 'configs/demo_uplift_upsample.py'))


@pytest.fixture(scope='module')
def strided(root_dir):
    return build(Config.fromfile(root_dir / 'configs/demo_uplift_upsample.py'), input_stride=20)


def test_key_frames_of_a_video(sparse, strided):
    assert (sparse.fps, sparse.input_stride, sparse.output_stride, sparse.slow_stride) == (
        50, 5, 5, 20)
    assert sparse.key_frame_numbers(31).tolist() == [0, 5, 10, 15, 20, 25, 30]
    assert sparse.key_frame_numbers(31, 100).tolist() == [0, 10, 20, 30]
    assert sparse.key_frame_numbers(14, 25).tolist() == [0, 3, 5, 8, 10, 13]
    assert strided.key_frame_numbers(31, 24).tolist() == [0, 10, 19, 29]
    assert sparse.key_frame_numbers(31, 30, 20).tolist() == [0, 12, 24]
    assert build().key_frame_numbers(4, 30).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match='multiple of the output stride'):
        sparse.key_frame_numbers(31, 30, 7)


@pytest.mark.parametrize('fps', [24, 25, 30, 50, 100])
def test_only_key_frames_are_read(strided, fps):
    keypoints = motion(np.arange(99) / fps).astype(np.float32)
    known = np.zeros(99, bool)
    known[strided.key_frame_numbers(99, fps)] = True
    broken = np.where(known[:, None, None], keypoints, np.nan)
    lifted = strided.lift_at(broken, SIZE, fps=fps, known=known)
    assert lifted.shape == (99, 17, 3) and np.isfinite(lifted).all()
    np.testing.assert_array_equal(strided.lift_at(keypoints, SIZE, fps=fps), lifted)
    times = np.arange(99) / fps + 5
    np.testing.assert_allclose(strided.lift_at(keypoints, SIZE, times=times), lifted, atol=1e-5)
    if fps in (25, 50, 100):  # 20 frames are whole frames at all three: the same tokens are seen
        exact = strided.lift(motion(np.arange(int(99 / fps * 50)) / 50).astype(np.float32), SIZE)
        at = (np.arange(90) * 50 / fps)
        whole = at == at.round()
        found = lifted[:90][whole & (at % 5 == 0)]
        np.testing.assert_allclose(found[:5], exact[at[whole & (at % 5 == 0)].astype(int)][:5],
                                   atol=5e-3)


def test_sparse_people_together_are_people_alone(sparse):
    people = [clip(frames, seed) for seed, frames in enumerate((1, 60, 8, 121))]
    for fps in (25, 50):
        for keypoints, poses in zip(people, sparse.lift_people_at(people, SIZE, fps=fps)):
            np.testing.assert_allclose(sparse.lift_at(keypoints, SIZE, fps=fps), poses, atol=1e-5)
    for keypoints, poses in zip(people, sparse.lift_people(people, SIZE)):
        np.testing.assert_allclose(sparse.lift(keypoints, SIZE), poses, atol=1e-5)
    assert sparse.lift_people_at([], SIZE, fps=25) == []


def test_key_frames_off_the_grid_take_the_nearest_token(sparse):
    keypoints, known = clip(60), np.zeros(60, bool)
    known[[0, 11, 19, 31]] = True  # a track that goes on after others were detected
    moved = keypoints[[0, 11, 19, 31]]
    on_grid, mask = np.full_like(keypoints, np.nan), np.zeros(60, bool)
    mask[[0, 10, 20, 30]] = True
    on_grid[mask] = moved
    np.testing.assert_allclose(sparse.lift_at(keypoints, SIZE, fps=50, known=known),
                               sparse.lift(on_grid, SIZE, mask), atol=1e-6)


def burst(frames, fps, start, stop):
    """(frames, 17, 3) poses at rest, except for arms that move at 2 m/s between two seconds."""
    times = np.arange(frames) / fps
    poses = np.zeros((frames, 17, 3), np.float32)
    poses[:, 8:, 0] = 4 * (np.clip(times, start, stop) - start)[:, None]
    return poses


@pytest.mark.parametrize('fps', [25, 30, 50, 100])
def test_key_frames_are_added_around_fast_motion(sparse, fps):
    frames = int(20 * fps)
    slow = sparse.key_frame_numbers(frames, fps, 20)
    fine = sparse.key_frame_numbers(frames, fps, 5)
    still = np.zeros((50, 17, 3), np.float32)
    assert sparse.adaptive_key_frames([(3, still)], frames, fps).tolist() == slow.tolist()
    assert sparse.adaptive_key_frames([], frames, fps).tolist() == slow.tolist()
    first = int(2 * fps)  # two people: one comes at 2 s and runs from 5 to 6, the other from 12 on
    people = [(first, burst(10 * fps, fps, 3, 4)), (0, burst(15 * fps, fps, 12, 13))]
    chosen = sparse.adaptive_key_frames(people, frames, fps)
    assert set(slow) <= set(chosen) <= set(fine)
    seconds = np.setdiff1d(chosen, slow) / fps
    for start, stop in ((4.6, 7.1), (11.6, 14.1)):  # one slow stride before, 50 frames after
        inside = fine[(fine / fps > start + 0.1) & (fine / fps < stop - 0.1)]
        assert set(inside) <= set(chosen)
        seconds = seconds[(seconds < start - 0.1) | (seconds > stop + 0.1)]
    assert not len(seconds)


def test_adaptive_lifting_is_that_of_the_key_frame_lifter(sparse):
    """The two passes of a video give the numbers of lift_adaptively."""
    keypoints = motion(np.arange(300) / 50).astype(np.float32)
    first = sparse.lift(keypoints, SIZE, np.arange(300) % 20 == 0)
    speed = AdaptiveInputStride().velocities(first[::5])
    policy = AdaptiveInputStride(20, 5, float(np.sort(speed)[-2]), hold=20)  # one fast moment
    lifter = KeyFrameLifter(sparse.model, 17, 5)
    expected, asked = lift_adaptively(lifter, lambda frames: keypoints[frames], 300, SIZE, policy,
                                      mode='offline')
    known = np.zeros(300, bool)
    known[sparse.adaptive_key_frames([(0, first)], 300, 50, policy)] = True
    assert known.tolist() == asked.tolist() and 15 < known.sum() < 30
    found = sparse.lift_people_at([keypoints], SIZE, fps=50, known=[known], slow_stride=20)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    mixed = sparse.lift_at(keypoints, SIZE, fps=50, known=known)
    assert np.abs(mixed - expected).max() > 1e-3


def test_which_key_frames_are_read(sparse):
    every = np.ones(60, bool)
    read = np.flatnonzero(sparse.usable_key_frames(every[:58], 30))
    assert read.tolist() == list(range(0, 58, 3))
    some = np.arange(60) % 10 == 0
    np.testing.assert_array_equal(sparse.usable_key_frames(some, 50), some)
    with pytest.raises(ValueError, match='frame 1 lies off the output grid.*multiples of 5'):
        sparse.usable_key_frames(every)


def test_without_weights_nothing_is_lifted():
    lifter = ClipLifter(small(), device='cpu')
    assert not lifter.runs
    for call in (lambda: lifter.lift(clip(3), SIZE), lambda: lifter.lift_at(clip(3), SIZE, fps=30),
                 lifter.check_runs):
        with pytest.raises(MissingWeightsError, match='allow_random_weights'):
            call()


def nan_at(frame):
    keypoints = clip(60)
    keypoints[frame, 3] = np.nan
    return keypoints


SMALL = build()


@pytest.mark.parametrize('call, message', [
    (lambda lifter: lifter.lift(clip(9)[:, :16], SIZE), '17 joints, found 16'),
    (lambda lifter: lifter.lift(nan_at(7), SIZE), 'first: frame 7'),
    (lambda lifter: lifter.lift_at(nan_at(7), SIZE, fps=30), 'first: frame 7'),
    (lambda lifter: lifter.lift(clip(9)[:0], SIZE), 'no frames'),
    (lambda lifter: lifter.lift(clip(9), SIZE, np.ones(9, bool)), 'key_frames: model'),
    (lambda lifter: lifter.lift_at(clip(9), SIZE), 'fps'),
    (lambda lifter: lifter.lift_at(clip(9), SIZE, fps=-1), 'fps.*-1'),
    (lambda lifter: lifter.lift_at(clip(9), SIZE, times=np.zeros(9)), 'ascending'),
    (lambda lifter: lifter.lift_at(clip(9), SIZE, fps=30, known=np.zeros(9, bool)), '0 set'),
    (lambda lifter: lifter.lift_people_at([clip(9)], SIZE, fps=30, known=[]), '1 people, found 0'),
    (lambda lifter: lifter.adaptive_key_frames([], 9, 30), 'every frame'),
    (lambda _: build(overlap=1), 'overlap.*1'),
    (lambda _: build(overlap=-0.1), 'overlap'),
    (lambda _: build(batch_size=0), 'batch_size'),
    (lambda _: build(input_stride=5), 'input_stride'),
])
def test_bad_input_gets_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call(SMALL)


def test_bad_input_of_sparse_models(sparse):
    chosen = np.arange(60) % 10 == 0
    for call, message in [
            (lambda: sparse.lift(clip(60)[:, :16], SIZE), r'\(T, 17, 2 or 3\)'),
            (lambda: sparse.lift(clip(60), SIZE, chosen[:9]), '60 flags'),
            (lambda: sparse.lift(nan_at(10), SIZE, chosen), 'key-frame 10 holds NaN'),
            (lambda: sparse.adaptive_key_frames(
                [], 60, policy=AdaptiveInputStride(20, 10, output_stride=10)), 'output stride 5')]:
        with pytest.raises(ValueError, match=message):
            call()


def test_a_network_that_diverges_is_named():
    lifter = stub(lambda inputs: identity(inputs) * np.nan)
    with pytest.raises(ValueError, match='gives NaN or infinite joints'):
        lifter.lift(clip(60), SIZE)


def test_models_that_need_a_camera_are_refused():
    with pytest.raises(ValueError, match='needs more than 2D keypoints'):
        ClipLifter('ampose_h36m_refine', device='cpu')
