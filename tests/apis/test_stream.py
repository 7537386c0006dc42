"""Live lifting: what comes out when, from which window, and that nothing grows."""

import tracemalloc

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis.adaptive_stride import AdaptiveInputStride, lift_adaptively
from mmpose_lift.apis.clip_lifter import ClipLifter, MissingWeightsError
from mmpose_lift.apis.keypoint_preparation import prepare_keypoints
from mmpose_lift.apis.people_2d import People
from mmpose_lift.apis.stream import LiftStream, PeopleStream
from mmpose_lift.geometry.joint_conventions import to_lifter
from mmpose_lift.geometry.smoothing import one_euro

from .test_clip_lifter import SIZE, T, build, clip, normalised, small, stub
from .test_resampling import motion

TOKENS, STEP = 9, 5


def sparse(**options):
    config = Config(dict(
        model=dict(type='SequencePoseLifter',
                   backbone=dict(type='UpliftUpsampleTransformer', num_tokens=TOKENS,
                                 spatial_dims=8, temporal_dims=16, spatial_depth=1,
                                 temporal_depth=2, strides=(3, 3), paddings=None, num_heads=2),
                   head=dict(type='UpliftUpsampleHead', in_channels=16, num_keypoints=17),
                   test_cfg=dict(flip_test=True)),
        test_dataloader=dict(dataset=dict(seq_len=TOKENS, seq_step=STEP,
                                          input_strides=[5, 10, 20]))))
    lifter = build(config, **options)
    with torch.no_grad():  # large enough that every token shows in the output
        for parameter in lifter.model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return lifter


def single():
    codec = dict(type='PoseSequenceLabel', num_keypoints=17, root_index=0)
    return build(Config(dict(
        model=dict(type='SequencePoseLifter',
                   backbone=dict(type='MixSTE', num_frames=1, embed_dims=16, num_heads=2, depth=1),
                   head=dict(type='LiftingHead', in_channels=16, num_keypoints=17, decoder=codec)),
        test_dataloader=dict(dataset=dict(seq_len=1)))))


def feed(stream, keypoints, times=None):
    """What comes out: frame -> pose, and frame -> the frame that brought it."""
    poses, came = {}, {}
    for frame, given in enumerate(keypoints):
        time = None if times is None else times[frame]
        for number, pose in stream.add(given, time):
            assert number not in poses and list(poses) == sorted(poses)
            poses[number], came[number] = pose, frame
    for number, pose in stream.finish():
        assert number not in poses
        poses[number] = pose
    return poses, came


def needed(stream, keypoints):
    """:func:`feed` with the keypoints that a model of key-frames asks for."""
    poses, came, asked = {}, {}, []
    for frame, given in enumerate(keypoints):
        if stream.needs_keypoints():
            asked.append(frame)
        for number, pose in stream.add(given if asked[-1:] == [frame] else None):
            poses[number], came[number] = pose, frame
    poses.update(stream.finish())
    return poses, came, asked


# ---------------------------------------------------------------- models of windows


@pytest.mark.parametrize('look_ahead', [0, 5, T // 2, T - 1])
def test_poses_are_those_of_the_window_that_ends_with_the_newest_frame(look_ahead):
    lifter, keypoints = build(), clip(60)
    stream = LiftStream(lifter, SIZE, 50, look_ahead)
    poses, came = feed(stream, keypoints)
    assert stream.look_ahead == stream.delay == look_ahead and list(poses) == list(range(60))
    for frame in (0, 3, 30, 59):
        newest = came.get(frame, 59)  # the last ones come with the end
        assert newest == min(frame + look_ahead, 59)
        window = keypoints[np.arange(newest - T + 1, newest + 1).clip(min=0)]  # start repeated
        expected = lifter.forward(torch.from_numpy(window / np.float32(500) - 1)[None])[0]
        np.testing.assert_allclose(poses[frame], expected[frame - newest + T - 1], atol=1e-6)


def test_a_hop_runs_the_network_once_for_several_frames():
    lifter, keypoints = build(), clip(60)
    forward, calls = lifter.forward, []
    lifter.forward = lambda inputs: (calls.append(len(inputs)), forward(inputs))[1]
    stream = LiftStream(lifter, SIZE, 50, look_ahead=9, hop=9)
    poses, came = feed(stream, keypoints)
    assert list(poses) == list(range(60)) and stream.delay == 17
    delays = {came[frame] - frame for frame in came}
    assert delays == set(range(9, 18)) and calls == [1] * 6
    newest = came[30]
    window = keypoints[newest - T + 1:newest + 1]
    expected = forward(torch.from_numpy(window / np.float32(500) - 1)[None])[0]
    np.testing.assert_allclose(poses[30], expected[30 - newest + T - 1], atol=1e-6)


@pytest.mark.parametrize('fps', [20, 25, 30, 49.99, 60, 100, 240])
@pytest.mark.parametrize('look_ahead', [0, 4])
def test_other_frame_rates_are_resampled_and_mapped_back(fps, look_ahead):
    keypoints = motion(np.arange(90) / fps)
    poses, _ = feed(LiftStream(stub(), SIZE, fps, look_ahead), keypoints)
    found = np.stack([poses[frame] for frame in range(90)])
    assert np.abs(found - normalised(keypoints)).max() < 0.01


def test_dropped_frames_and_uneven_times(rng):
    times = 100 + np.cumsum(rng.uniform(0.01, 0.03, 200))
    times[120:] += 0.3  # 15 frames lost
    keypoints = motion(times - 100)
    poses, came = feed(LiftStream(stub(), SIZE, 50, 6), keypoints, times)
    found = np.stack([poses[frame] for frame in range(200)])
    assert np.abs(found - normalised(keypoints)).max() < 0.01
    assert all(came[frame] == frame + 6 for frame in range(194))
    # what is lost is interpolated, not shifted: the window of frame 125 holds straight lines
    windows = []
    lifter = stub(lambda inputs: (windows.append(inputs[0]), np.zeros((1, T, 17, 3)))[1])
    feed(LiftStream(lifter, SIZE, 50), keypoints[:126], times[:126])
    at = times[125] - np.arange(T - 1, -1, -1) / 50
    expected = np.stack([[np.interp(at, times, joint) for joint in axis] for axis in
                         keypoints.transpose(2, 1, 0).astype(float)]).T
    np.testing.assert_allclose(windows[-1], normalised(expected)[..., :2], atol=1e-4)


def test_with_more_frames_lost_than_a_window_has_every_frame_still_has_its_place():
    times = np.append(np.arange(30) / 50, 0.58 + 0.9 + np.arange(30) / 50)
    keypoints = motion(times)
    poses, _ = feed(LiftStream(stub(), SIZE, 50, T - 1, max_gap=1), keypoints, times)
    found = np.stack([poses[frame] for frame in range(60)])
    np.testing.assert_allclose(found, normalised(keypoints), atol=1e-4)


def test_a_long_gap_starts_anew_and_has_no_poses():
    lifter, first, second = build(), clip(30), clip(30, seed=1)
    given = [*first, *[None] * 60, *second]
    poses, _ = feed(LiftStream(lifter, SIZE, 50, 4, max_gap=0.5), given)
    assert sorted(poses) == [*range(55), *range(90, 120)]  # 25 frames are bridged
    anew, _ = feed(LiftStream(lifter, SIZE, 50, 4, max_gap=0.5), second)
    for frame in range(30):
        np.testing.assert_allclose(poses[90 + frame], anew[frame], atol=1e-6)
    assert feed(LiftStream(lifter, SIZE, 50), [None] * 5)[0] == {}


def test_short_gaps_are_interpolated_where_the_look_ahead_sees_behind_them():
    keypoints = motion(np.arange(60) / 50)
    given = [None if 30 <= frame < 35 else k for frame, k in enumerate(keypoints)]
    behind, _ = feed(LiftStream(stub(), SIZE, 50, 6), given)
    ahead, _ = feed(LiftStream(stub(), SIZE, 50), given)
    line = keypoints[29] + (keypoints[35] - keypoints[29]) * np.float32(0.5)
    np.testing.assert_allclose(behind[32], normalised(line), atol=1e-5)
    np.testing.assert_allclose(ahead[32], normalised(keypoints[29]), atol=1e-6)  # held


def test_single_frames_come_at_once():
    lifter, keypoints = single(), clip(5)
    poses, came = feed(LiftStream(lifter, SIZE, 30), keypoints)
    assert came == {frame: frame for frame in range(5)}
    expected = lifter.lift(keypoints, SIZE)
    np.testing.assert_allclose(np.stack(list(poses.values())), expected, atol=1e-6)
    with pytest.raises(ValueError, match='spans 1 frames.*at most 0, found 1'):
        LiftStream(lifter, SIZE, 30, look_ahead=1)


def test_joints_of_low_score_are_filled():
    keypoints = np.concatenate([motion(np.arange(40) / 50), np.ones((40, 17, 1))], axis=-1)
    keypoints[20:23, 4] = 5, 5, 0.1  # missed, and placed elsewhere
    filled = prepare_keypoints(keypoints, 'h36m', 'h36m').keypoints
    poses, _ = feed(LiftStream(stub(lambda x: np.pad(x[..., :2], [(0, 0)] * 3 + [(0, 1)])), SIZE,
                               50, 10), keypoints)
    np.testing.assert_allclose(poses[21], normalised(filled[21, :, :2]), atol=1e-5)
    raw, _ = feed(LiftStream(stub(), SIZE, 50, 10, min_score=0), keypoints)
    np.testing.assert_allclose(raw[21][4, :2], 5 / 500 - 1, atol=1e-5)


# ---------------------------------------------------------------- models of key-frames


@pytest.mark.parametrize('s_in', [5, 20])
@pytest.mark.parametrize('look_ahead,hop', [(0, 1), (3, 1), (10, 1), (40, 1), (5, 10)])
def test_key_frames_are_lifted_like_a_clip_that_ends_now(s_in, look_ahead, hop):
    lifter, keypoints = sparse(input_stride=s_in), clip(93)
    stream = LiftStream(lifter, SIZE, 50, look_ahead, hop)
    poses, came, asked = needed(stream, keypoints)
    assert asked == list(range(0, 93, s_in)) and sorted(poses) == list(range(93))
    assert max(came[frame] - frame for frame in came) == stream.delay
    assert stream.delay == look_ahead + max(STEP, hop) - 1
    known = lifter.key_frame_lifter.start(SIZE)
    known.add(asked, keypoints[asked])
    for frame in range(0, 93, STEP):
        newest = came.get(frame, 92)
        np.testing.assert_allclose(poses[frame], known.poses([frame], newest + 1, s_in)[0],
                                   atol=1e-5)
    np.testing.assert_allclose(poses[42], 0.6 * poses[40] + 0.4 * poses[45], atol=1e-5)
    np.testing.assert_allclose(poses[92], poses[90], atol=1e-6)


@pytest.mark.parametrize('fps', [24, 25, 29.97, 60, 100, 120])
def test_key_frames_at_other_rates_are_those_of_the_lifter(fps):
    lifter, keypoints = sparse(input_stride=10), clip(150)
    poses, came, asked = needed(LiftStream(lifter, SIZE, fps, 3), keypoints)
    np.testing.assert_array_equal(asked, lifter.key_frame_numbers(150, fps))
    assert sorted(poses) == list(range(150))
    assert max(came[frame] - frame for frame in came) <= LiftStream(lifter, SIZE, fps, 3).delay


def test_keypoints_that_nobody_asked_for_are_not_read():
    lifter, keypoints = sparse(input_stride=20), clip(60)
    expected, *_ = needed(LiftStream(lifter, SIZE, 50), keypoints)
    found, _ = feed(LiftStream(lifter, SIZE, 50), keypoints)
    for frame, pose in expected.items():
        np.testing.assert_array_equal(found[frame], pose)


def test_a_missed_key_frame_is_bridged_and_a_long_gap_starts_anew():
    lifter, keypoints = sparse(input_stride=5), clip(200)
    for first, last, left_out in ((60, 61, []), (60, 120, range(76, 120))):
        given = [None if first <= i < last else k for i, k in enumerate(keypoints)]
        poses, _ = feed(LiftStream(lifter, SIZE, 50, 5), given)
        assert sorted(set(range(200)) - set(poses)) == list(left_out)  # half a window: 20 frames
    anew, _ = feed(LiftStream(lifter, SIZE, 50, 5), keypoints[120:])
    for frame, pose in anew.items():
        np.testing.assert_allclose(poses[120 + frame], pose, atol=1e-5)


@pytest.mark.parametrize('look_ahead', [0, 10])
def test_adaptive_key_frames_are_those_of_online_lifting(look_ahead):
    lifter, keypoints = sparse(input_stride=5), clip(240)
    keypoints[:80] = keypoints[0] + 0.01 * (keypoints[:80] - keypoints[0])
    keypoints[150:] = keypoints[150] + 0.01 * (keypoints[150:] - keypoints[150])
    poses = lifter.lift(keypoints, SIZE)
    speed = AdaptiveInputStride().velocities(poses[::5])
    policy = AdaptiveInputStride(20, 5, float(np.quantile(speed, 0.6)), 30)
    _, chosen = lift_adaptively(lifter.key_frame_lifter, lambda frames: keypoints[frames], 240,
                                SIZE, policy, look_ahead=look_ahead)
    found, _, asked = needed(LiftStream(lifter, SIZE, 50, look_ahead, adaptive=policy), keypoints)
    assert sorted(found) == list(range(240)) and 14 < len(asked) < 46
    assert asked == np.flatnonzero(chosen).tolist()


# ---------------------------------------------------------------- state, memory, wrong input


def test_streams_do_not_know_of_each_other_and_can_be_used_again():
    lifter, one, two = build(), clip(40), clip(40, seed=1)
    expected = [feed(LiftStream(lifter, SIZE, 50, 3), k)[0] for k in (one, two)]
    streams, found = [LiftStream(lifter, SIZE, 50, 3) for _ in range(2)], [{}, {}]
    for frame in range(40):
        for stream, keypoints, poses in zip(streams, (one, two), found):
            poses.update(stream.add(keypoints[frame]))
    for stream, poses in zip(streams, found):
        poses.update(stream.finish())
    again, _ = feed(streams[1], one)
    for poses, wanted in zip([*found, again], [*expected, expected[0]]):
        np.testing.assert_array_equal(list(poses.values()), list(wanted.values()))


def test_memory_does_not_grow_with_windows():
    stream, keypoints, sizes = LiftStream(stub(), SIZE, 50, 5), clip(50), []
    tracemalloc.start()
    for frame in range(800):
        stream.add(keypoints[frame % 50])
        if frame in (250, 799):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 5_000  # a window of keypoints is 4 kB


@pytest.mark.parametrize('adaptive', [False, True])
def test_memory_does_not_grow_with_key_frames(adaptive):
    stream, keypoints, sizes = LiftStream(sparse(), SIZE, 50, 5, adaptive=adaptive), clip(50), []
    for frame in range(600):
        stream.add(keypoints[frame % 50])
        track = stream._track  # PyTorch's own allocations hide what a stream holds
        sizes.append((track._table.shape[1], len(track._keys), len(track._known),
                      len(track._pending)))
    assert max(sizes[300:]) == max(sizes[100:300])
    assert max(sizes)[0] <= TOKENS + 4  # some tokens more where the judging lags behind


@pytest.mark.parametrize('options,message', [
    (dict(look_ahead=-1), 'look_ahead: expected a whole number of frames, 0 or more, found -1'),
    (dict(look_ahead=0.5), 'look_ahead: expected a whole number'),
    (dict(look_ahead=T), 'spans 27 frames at 50 per second.*at most 26, found 27'),
    (dict(look_ahead=20, hop=8), r'at most 26, found 20 \+ 8 - 1'),
    (dict(hop=0), 'hop: expected a whole number of frames, 1 or more'),
    (dict(fps=0), 'fps: expected a positive number'),
    (dict(max_gap=-1), 'max_gap: expected 0 seconds'),
    (dict(min_score=2), 'min_score: expected 0 to 1'),
    (dict(image_size=(0, 5)), 'image_size: expected width and height'),
    (dict(adaptive=True), 'adaptive: .* needs 2D keypoints at every frame'),
])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        LiftStream(build(), **{'image_size': SIZE, 'fps': 50, **options})


def test_wrong_input_leaves_no_trace():
    stream, keypoints = LiftStream(stub(), SIZE, 50), clip(3)
    stream.add(keypoints[0], 1.)
    for given, time, message in ((keypoints[1], 1., 'time: expected more than 1 s'),
                                 (keypoints[1], None, 'time: give it for all frames'),
                                 (keypoints[1], np.nan, 'time: expected more than'),
                                 (keypoints[1, :5], 2., r'expected \(17, 2\).*found \(5, 2\)'),
                                 (keypoints[1] * np.nan, 2., 'frame 1 holds NaN')):
        with pytest.raises(ValueError, match=message):
            stream.add(given, time)
    [(frame, pose)] = stream.add(keypoints[1], 1.02)
    assert frame == 1
    np.testing.assert_allclose(pose, normalised(keypoints[1]), atol=1e-5)


def test_more_wrong_options():
    with pytest.raises(ValueError, match='max_gap: key-frames .* are 0.4 s apart'):
        LiftStream(sparse(input_stride=20), SIZE, 50, max_gap=0.1)
    with pytest.raises(ValueError, match='expected output stride 5'):
        LiftStream(sparse(), SIZE, 50, adaptive=AdaptiveInputStride(20, 4, output_stride=2))
    with pytest.raises(MissingWeightsError):
        LiftStream(ClipLifter(small(), device='cpu'), SIZE, 50)


# ---------------------------------------------------------------- people

IMAGE = np.zeros((1000, 1000, 3), np.uint8)
BODY = np.random.default_rng(3).uniform(0, 1, (17, 2)) * [120, 300]


class Stage:
    """A 2D model that knows who stands where: person -> (first frame, last frame + 1, x)."""

    convention = 'coco'

    def __init__(self, *people):
        self.people, self.calls, self.frame = people, [], 0

    def pose(self, frame, x):
        points = BODY + [x + 40 * np.sin(frame / 25), 300]
        return np.concatenate([points, np.ones((17, 1))], axis=1).astype(np.float32)

    def __call__(self, images, boxes=None):
        found = []
        for _ in images:
            self.calls.append(self.frame)
            here = [self.pose(self.frame, x) for first, last, x in self.people
                    if any(a <= self.frame < b for a, b in zip(np.atleast_1d(first),
                                                               np.atleast_1d(last)))]
            corners = [np.concatenate([k[:, :2].min(0), k[:, :2].max(0)]) for k in here]
            found.append(People(np.array(corners, np.float32).reshape(-1, 4),
                                np.ones(len(here), np.float32),
                                np.array(here, np.float32).reshape(-1, 17, 3)))
        return found


def play(stream, frames, **options):
    out = []
    for frame in range(frames):
        stream.people.frame = frame
        out += stream.add(IMAGE, **{name: values[frame] for name, values in options.items()})
        assert all(one.index <= frame - stream.look_ahead for one in out)
    out += stream.finish()
    assert [one.index for one in out] == list(range(frames))
    return out


@pytest.mark.parametrize('look_ahead,hop', [(0, 1), (5, 1), (4, 6)])
def test_people_are_lifted_as_each_alone(look_ahead, hop):
    lifter = build()
    forward, calls = lifter.forward, []
    lifter.forward = lambda inputs: (calls.append(len(inputs)), forward(inputs))[1]
    stage = Stage((0, 60, 100), (0, 60, 500))
    stream = PeopleStream(lifter, stage, 50, look_ahead, hop)
    frames = play(stream, 60)
    assert calls == [2] * {1: 60 - look_ahead, 6: 9}[hop] + [2] * (look_ahead > 0)  # both at once
    assert all(one.look_ahead >= look_ahead for one in frames[:-look_ahead or None])
    assert stage.calls == list(range(60))
    for person, (_, _, x) in enumerate(stage.people):
        keypoints = to_lifter(np.stack([stage.pose(f, x) for f in range(60)]), 'coco', 'h36m')
        alone, _ = feed(LiftStream(lifter, SIZE, 50, look_ahead, hop), keypoints)
        for frame in (10, 40, 59):
            shown = frames[frame].people[person]
            assert shown.track_id == person and shown.detected
            np.testing.assert_allclose(shown.keypoints_3d, alone[frame], atol=1e-5)
            np.testing.assert_allclose(shown.keypoints_2d, keypoints[frame], rtol=1e-5)
            np.testing.assert_array_equal(shown.keypoints, stage.pose(frame, x))


def test_people_enter_leave_and_are_missed():
    stage = Stage(([0, 30], [25, 100], 100), (40, 50, 500), ([10, 110], [20, 140], 700))
    frames = play(PeopleStream(stub(), stage, 50, look_ahead=8), 140)
    shown = {number: [one.index for one in frames for p in one.people if p.track_id == number]
             for number in range(4)}
    assert shown[0] == list(range(110))  # five frames bridged, and held for 10 frames at the end
    assert shown[1] == list(range(10, 30)) and shown[2] == list(range(40, 60))
    assert shown[3] == list(range(110, 140))  # another number after 1.8 s
    missed = [p for one in frames for p in one.people if not p.detected and p.track_id == 0]
    assert len(missed) == 5 + 10 and not any(p.keypoints[:, 2].any() or p.score for p in missed)
    bridged = frames[27].people[0]
    before, after = (frames[f].people[0] for f in (24, 30))
    np.testing.assert_allclose(bridged.box, (before.box + after.box) / 2, rtol=1e-5)
    np.testing.assert_allclose(bridged.keypoints_3d,
                               (before.keypoints_3d + after.keypoints_3d) / 2, atol=1e-4)


def test_nobody_is_made_of_one_false_detection():
    frames = play(PeopleStream(stub(), Stage((5, 6, 100), (0, 40, 500)), 50, look_ahead=3), 40)
    assert all([p.track_id for p in one.people] == [0] for one in frames)


def test_models_of_key_frames_detect_on_these_only():
    lifter, stage = sparse(input_stride=20), Stage((0, 100, 100), (20, 100, 500))
    stream = PeopleStream(lifter, stage, 50, look_ahead=20)
    frames = play(stream, 101)
    assert stage.calls == [0, 20, 40, 60, 80, 100] and stream.delay == 24
    assert [len(one.people) for one in frames] == [1] * 20 + [2] * 80 + [0]
    keypoints = to_lifter(np.stack([stage.pose(f, 100) for f in range(101)]), 'coco', 'h36m')
    alone, *_ = needed(LiftStream(lifter, SIZE, 50, 20), [*keypoints[:100], None])
    for frame in (0, 33, 60, 80):
        np.testing.assert_allclose(frames[frame].people[0].keypoints_3d, alone[frame], atol=1e-5)
    assert [one.index for one in frames if any(p.detected for p in one.people)] == [
        0, 20, 40, 60, 80]
    np.testing.assert_allclose(frames[30].people[0].box,
                               (frames[20].people[0].box + frames[40].people[0].box) / 2, rtol=1e-5)


def test_adaptive_detection_for_people():
    lifter, stage = sparse(input_stride=5), Stage((0, 200, 100), (0, 200, 500))
    play(PeopleStream(lifter, stage, 50, adaptive=True), 100)
    fast = AdaptiveInputStride(20, 5, threshold=1e-6)
    often = Stage(*stage.people)
    play(PeopleStream(lifter, often, 50, adaptive=fast), 100)
    slow = AdaptiveInputStride(20, 5, threshold=1e6)
    seldom = Stage(*stage.people)
    play(PeopleStream(lifter, seldom, 50, adaptive=slow), 100)
    assert seldom.calls == list(range(0, 100, 20)) and often.calls == [0, *range(20, 100, 5)]
    assert set(seldom.calls) <= set(stage.calls)


def test_smoothing_times_boxes_and_pictures():
    stage, times = Stage((0, 30, 100)), 7 + np.cumsum(np.linspace(0.01, 0.03, 30))
    plain = play(PeopleStream(stub(), stage, 50, look_ahead=1), 30, time=times)
    smooth = play(PeopleStream(stub(), stage, 50, look_ahead=1, smooth={'min_cutoff': 2.}), 30,
                  time=times)
    np.testing.assert_allclose([one.time for one in plain], times)
    poses, smoothed = (np.stack([one.people[0].keypoints_3d for one in frames])
                       for frames in (plain, smooth))
    np.testing.assert_allclose(smoothed, one_euro(poses, times=times, min_cutoff=2.), atol=1e-5)
    kept = PeopleStream(stub(), stage, 50, look_ahead=1, keep_images=True)
    assert all(one.image is IMAGE for one in play(kept, 30)) and plain[0].image is None

    class WithBoxes(Stage):
        def __call__(self, images, boxes=None):
            assert len(images) == len(boxes) == 1
            return [People(boxes[0], np.ones(1, np.float32), self.pose(0, 1)[None])]

    box = np.array([[1, 2, 121, 302]], np.float32)
    frames = play(PeopleStream(stub(), WithBoxes(), 50, 1), 5, boxes=[box] * 5)
    assert all((one.people[0].box == box[0]).all() for one in frames)


def test_people_streams_start_afresh_and_side_by_side():
    lifter, stage, other = build(), Stage((0, 30, 100)), Stage((0, 30, 400), (0, 30, 100))
    stream = PeopleStream(lifter, stage, 50, 4)
    expected = play(stream, 30)
    beside = PeopleStream(lifter, other, 50, 2)
    found = []
    for frame in range(30):
        stage.frame = other.frame = frame
        found += stream.add(IMAGE)
        beside.add(IMAGE)
    found += stream.finish()
    for one, two in zip(expected, found):
        assert [p.track_id for p in one.people] == [p.track_id for p in two.people] == [0]
        np.testing.assert_array_equal(one.people[0].keypoints_3d, two.people[0].keypoints_3d)


def test_memory_of_a_long_stream_with_people_who_come_and_go():
    lifter = stub(lambda inputs: np.zeros((len(inputs), T, 17, 3), np.float32))
    starts = np.arange(0, 360, 60)
    stage = Stage((starts, starts + 15, 100), (0, 360, 600))
    stream, sizes = PeopleStream(lifter, stage, 50, 2, smooth={}, tracker=dict(max_lost=0.3)), []
    tracemalloc.start()
    for frame in range(360):
        stage.frame = frame
        for one in stream.add(IMAGE):
            numbers = [p.track_id for p in one.people]
        stage.calls.clear()
        if frame in (179, 359):  # the same moment between two visits
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert numbers == [1] and stream._tracker._next_id == 7
    assert abs(sizes[1] - sizes[0]) < 20_000


@pytest.mark.parametrize('image,message', [
    (np.zeros((5, 5), np.uint8), r'expected a picture \(H, W, 3\) uint8 BGR, found uint8 \(5, 5\)'),
    (np.zeros((5, 5, 3)), 'found float64'), (None, 'found NoneType'),
    (np.zeros((500, 600, 3), np.uint8), 'frame 1: expected 1000 x 1000 .* found 600 x 500'),
])
def test_wrong_pictures(image, message):
    stream = PeopleStream(stub(), Stage((0, 9, 100)), 50)
    stream.add(IMAGE)
    with pytest.raises(ValueError, match=message):
        stream.add(image)
    assert stream.add(IMAGE)[0].index == 1


def test_wrong_options_of_people_streams():
    for options, message in ((dict(hold=-1), 'hold'), (dict(look_ahead=99), 'look_ahead'),
                             (dict(smooth=dict(beta=-1)), 'beta'),
                             (dict(tracker=dict(high_score=2)), 'high_score')):
        with pytest.raises(ValueError, match=message):
            PeopleStream(stub(), Stage(), 50, **options)
