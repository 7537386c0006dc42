import numpy as np
import pytest
import torch

from mmpose_lift.apis.key_frame_lifting import KeyFrameLifter
from mmpose_lift.datasets.key_frames import grid_window, key_frame_mask, token_offsets
from mmpose_lift.geometry.cameras import normalize_screen
from mmpose_lift.geometry.skeletons import get_skeleton

from .conftest import SIZE, STEP, TOKENS, build, clip


@pytest.fixture(scope='module')
def lifter():
    return KeyFrameLifter(build(), TOKENS, STEP, batch_size=4)


def window_by_window(model, keypoints, key_frames, step, stride):
    """Poses at the grid frames from the model itself, one window after the other."""
    centres = np.arange(0, len(keypoints), step)
    frames, _ = grid_window(centres, TOKENS, step, len(keypoints))
    position = centres[:, None] + token_offsets(TOKENS, step)
    given = key_frame_mask(position, np.full(len(centres), stride)) & key_frames[frames]
    poses = []
    for rows, flags in zip(frames, given):
        flag = np.broadcast_to(flags[:, None, None], (TOKENS, 17, 1))
        xy = np.where(flag, normalize_screen(keypoints[rows], *SIZE), 0)
        window = torch.from_numpy(np.concatenate([xy, flag], -1).astype(np.float32))
        with torch.no_grad():
            sample, = model.predict(window[None], None)
        poses.append(sample.pred_instances.keypoints[0])
    return centres, np.stack(poses)


@pytest.mark.parametrize('flip_test', [True, False])
@pytest.mark.parametrize('frames, s_in, rate', [
    (1, 5, 1), (7, 20, 1), (43, 5, 1), (61, 10, 1), (100, 20, 1), (101, 20, 1), (90, 10, 2)])
def test_equals_the_model_window_by_window(flip_test, frames, s_in, rate):
    model, keypoints, step = build(flip_test), clip(frames), STEP * rate
    key_frames = np.arange(frames) % (s_in * rate) == 0
    centres, expected = window_by_window(model, keypoints, key_frames, step, s_in * rate)
    lifted = KeyFrameLifter(model, TOKENS, STEP, batch_size=3).lift(keypoints, SIZE, s_in, rate)
    assert lifted.shape == (frames, 17, 3) and lifted.dtype == np.float32
    np.testing.assert_allclose(lifted[centres], expected, atol=2e-5)
    # between the centres linear, after the last one constant
    for i, (a, b) in enumerate(zip(expected, expected[1:])):
        for k in range(1, step):
            np.testing.assert_allclose(lifted[i * step + k], a + (b - a) * k / step, atol=2e-5)
    np.testing.assert_allclose(lifted[centres[-1]:], np.broadcast_to(
        expected[-1], lifted[centres[-1]:].shape), atol=2e-5)


def test_only_key_frames_are_read(lifter):
    keypoints = clip(83)
    sparse = np.full_like(keypoints, np.nan)
    sparse[::20] = keypoints[::20]
    np.testing.assert_array_equal(lifter.lift(sparse, SIZE, 20), lifter.lift(keypoints, SIZE, 20))


def test_a_regular_mask_is_an_input_stride(lifter):
    keypoints = clip(83)
    for s_in in (5, 10, 20):
        np.testing.assert_array_equal(
            lifter.lift(keypoints, SIZE, np.arange(83) % s_in == 0),
            lifter.lift(keypoints, SIZE, s_in))


def test_every_key_frame_matters_and_batches_do_not(lifter):
    keypoints, mask = clip(83), np.zeros(83, bool)
    mask[[0, 15, 20, 40, 80]] = True
    lifted = lifter.lift(keypoints, SIZE, mask)
    other = KeyFrameLifter(lifter.model, TOKENS, STEP, batch_size=100)
    np.testing.assert_allclose(other.lift(keypoints, SIZE, mask), lifted, atol=2e-5)
    for frame in np.flatnonzero(mask):
        fewer = mask.copy()
        fewer[frame] = False
        assert np.abs(lifter.lift(keypoints, SIZE, fewer) - lifted).max() > 1e-3


def test_pose_tokens_are_computed_once_per_key_frame(lifter, monkeypatch):
    seen, pose_tokens = [], lifter.model.backbone.pose_tokens
    monkeypatch.setattr(lifter.model.backbone, 'pose_tokens',
                        lambda poses: seen.append(len(poses)) or pose_tokens(poses))
    lifter.lift(clip(201), SIZE, 10)
    assert seen == [21, 21]  # the poses and their mirror images


def test_mirrored_input_gives_the_mirrored_output(lifter):
    keypoints, flip = clip(60), list(get_skeleton('h36m').flip_indices)
    mirrored = keypoints[:, flip] * np.float32([-1, 1]) + np.float32([SIZE[0], 0])
    np.testing.assert_allclose(lifter.lift(mirrored, SIZE, 10)[:, flip] * [-1, 1, 1],
                               lifter.lift(keypoints, SIZE, 10), atol=2e-5)


def test_key_frames_may_come_one_after_the_other(lifter):
    keypoints, known = clip(83), lifter.start(SIZE)
    for frame in range(0, 83, 10):
        known.add([frame], keypoints[frame:frame + 1])
        if frame == 40:  # later key-frames are not seen by a clip that ends here
            early = known.poses([0, 25, 40], 41)
    np.testing.assert_allclose(known.lift(83), lifter.lift(keypoints, SIZE, 10), atol=2e-5)
    np.testing.assert_allclose(known.poses([0, 25, 40], 41), early, atol=2e-5)
    np.testing.assert_allclose(lifter.lift(keypoints[:41], SIZE, 10)[[0, 25, 40]], early,
                               atol=2e-5)


def test_an_edge_frame_is_repeated_only_if_it_is_a_key_frame(lifter):
    """Window of 9 tokens, 5 frames apart, over 16 frames: grid 0, 5, 10, 15."""
    seen = []
    known = lifter.start(SIZE)
    known.add([0, 10], clip(2))
    predict = lifter.predict_centres
    lifter.predict_centres = lambda table, rows: seen.append(rows) or predict(table, rows)
    try:
        known.poses([10], 16)
        known.poses([10], 11)
    finally:
        del lifter.predict_centres
    assert seen[0].tolist() == [[0, -1, 0, -1, 1, -1, -1, -1, -1]]
    assert seen[1].tolist() == [[0, -1, 0, -1, 1, -1, 1, -1, 1]]


def test_without_an_upsampling_token_every_frame_of_the_grid_is_needed():
    lifter = KeyFrameLifter(build(upsample_token=False), TOKENS, STEP)
    assert np.isfinite(lifter.lift(clip(60), SIZE, 5)).all()
    with pytest.raises(ValueError, match='upsample_token'):
        lifter.lift(clip(60), SIZE, 10)


def nan_at(frame):
    keypoints = clip(60)
    keypoints[frame, 3, 1] = np.nan
    return keypoints


@pytest.mark.parametrize('keypoints, size, keys, rate, message', [
    (clip(60), SIZE, 12, 1, 'multiple of the output stride 5'),
    (clip(60), SIZE, np.arange(60) == 12, 1, 'frame 12 lies off the output grid'),
    (clip(60), SIZE, np.arange(60) == 5, 2, 'frame 5 lies off.*multiples of 10'),
    (clip(60), SIZE, np.zeros(60, bool), 1, 'no key-frame'),
    (clip(60), SIZE, np.zeros(59, bool), 1, '60 frames'),
    (clip(60), SIZE, np.arange(60), 1, 'one bool'),
    (clip(60), SIZE, 10, 0, 'rate'),
    (clip(60), SIZE, 10, 1.2, 'rate'),
    (clip(60), (0, 10), 10, 1, 'image_size'),
    (nan_at(20), SIZE, 20, 1, 'key-frame 20 holds NaN'),
    (clip(60)[:, :16], SIZE, 20, 1, r'\(F, 17, 2\)'),
    (clip(60)[:0], SIZE, 20, 1, 'at least one frame'),
])
def test_bad_input_gets_one_clear_error(lifter, keypoints, size, keys, rate, message):
    with pytest.raises(ValueError, match=message):
        lifter.lift(keypoints, size, keys, rate)


def test_unfit_models_are_refused(lifter):
    with pytest.raises(ValueError, match='9 tokens, found 71'):
        KeyFrameLifter(lifter.model, 71, STEP)
    with pytest.raises(ValueError, match='found NoneType'):
        KeyFrameLifter(torch.nn.Linear(2, 3), 71, STEP)
    with pytest.raises(ValueError, match='batch_size'):
        KeyFrameLifter(lifter.model, TOKENS, STEP, batch_size=0)


def test_key_frames_must_ascend(lifter):
    known = lifter.start(SIZE)
    known.add([10], clip(1))
    with pytest.raises(ValueError, match='ascending'):
        known.add([10], clip(1))
    with pytest.raises(ValueError, match='2 key-frames'):
        known.add([15, 20], clip(1))
    with pytest.raises(ValueError, match='frame 30: expected a multiple of 5 .* to 29'):
        known.poses([30], 30)


def test_a_broken_model_is_named():
    model = build()
    with torch.no_grad():
        model.head.center_head.bias.fill_(np.nan)
    with pytest.raises(ValueError, match='gives NaN'):
        KeyFrameLifter(model, TOKENS, STEP).lift(clip(30), SIZE, 10)


def test_frames_far_from_every_key_frame_are_interpolated():
    """Nothing of them is seen: the model's answer would be noise."""
    lifter = KeyFrameLifter(build(), TOKENS, STEP)  # a window reaches 20 frames to each side
    keypoints, key_frames = clip(200), np.zeros(200, bool)
    key_frames[[0, 5, 150]] = True
    poses = lifter.lift(keypoints, SIZE, key_frames)
    for frame in (30, 80, 120):  # seen: up to 25 and from 130 on
        part = (frame - 25) / (130 - 25)
        np.testing.assert_allclose(poses[frame], (1 - part) * poses[25] + part * poses[130],
                                   atol=1e-5)
    np.testing.assert_array_equal(poses[171:], np.repeat(poses[170:171], 29, axis=0))
    with pytest.raises(ValueError, match='frame 12: expected a multiple of 5'):
        one = lifter.start(SIZE)
        one.add([0], keypoints[:1])
        one.poses([10, 12], 200)
