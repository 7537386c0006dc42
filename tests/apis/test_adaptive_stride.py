import numpy as np
import pytest

from mmpose_lift.apis.adaptive_stride import AdaptiveInputStride, lift_adaptively
from mmpose_lift.apis.key_frame_lifting import KeyFrameLifter
from mmpose_lift.evaluation.key_frames import fill_between
from mmpose_lift.evaluation.velocity import root_relative_velocity

from .conftest import SIZE, STEP, TOKENS, build, clip

FPS = 50


def motion(speeds):
    """(F, 17, 3) poses with a given velocity (m/s) in each frame: one direction, root fixed."""
    poses = np.zeros((len(speeds), 17, 3))
    poses[:, 1:, 0] = np.cumsum(speeds)[:, None] / FPS * 17 / 16  # the root counts in the mean
    return poses


class PerfectLifter:
    """Gives the true poses, but only interpolates between the key-frames it has seen."""

    seq_step = STEP

    def __init__(self, poses):
        self.true, self.key_frames, self.passes = poses, np.empty(0, int), []

    def start(self, image_size, rate=1):
        self.key_frames, self.step = np.empty(0, int), STEP * rate
        return self

    def add(self, frames, keypoints):
        assert len(frames) == len(keypoints)
        self.key_frames = np.concatenate([self.key_frames, frames])

    def poses(self, frames, num_frames, stride=None):
        assert max(frames) < num_frames
        self.passes.append((list(frames), num_frames))
        keys = self.key_frames[self.key_frames < num_frames]
        return fill_between(self.true[keys], keys, np.asarray(frames))

    def lift(self, num_frames, stride=None):
        return self.poses(np.arange(num_frames), num_frames)


class Detector:
    def __init__(self):
        self.calls = []

    def __call__(self, frames):
        self.calls.append(list(frames))
        return np.zeros((len(frames), 17, 2), np.float32)


def run(speeds, mode='online', look_ahead=0, **policy):
    poses, detector = motion(np.asarray(speeds, float)), Detector()
    lifter = PerfectLifter(poses)
    lifted, keys = lift_adaptively(lifter, detector, len(poses), SIZE,
                                   AdaptiveInputStride(**policy), mode, look_ahead)
    assert lifted.shape == poses.shape
    asked = sorted(sum(detector.calls, []))
    assert asked == np.flatnonzero(keys).tolist() and len(set(asked)) == len(asked)
    return asked, lifter, detector


def test_the_test_motion_has_the_velocity_it_says():
    np.testing.assert_allclose(root_relative_velocity(motion(np.full(9, 0.7)), FPS)[1:], 0.7)


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_slow_motion_stays_slow(mode):
    asked, _, detector = run(np.full(400, 0.4), mode)
    assert asked == list(range(0, 400, 20))
    assert len(detector.calls) == (20 if mode == 'online' else 1)


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_fast_motion_is_fast_from_its_start_on(mode):
    asked, *_ = run(np.full(200, 0.6), mode)
    first = [0, 20, 25, 30, 35] if mode == 'online' else [0, 5, 10, 15, 20]
    assert asked[:5] == first and set(np.diff(asked[1:])) == {5}


@pytest.mark.parametrize('start', [101, 107, 119, 120])
def test_a_burst_switches_within_one_slow_stride_and_hold_holds(start):
    """So fast that a single frame of it lifts the mean of a slow stride above the threshold."""
    speeds = np.full(400, 0.1)
    speeds[start:start + 30] = 15.
    asked, *_ = run(speeds, hold=50)
    gaps = dict(zip(asked, np.diff(asked)))
    switched = min(f for f, gap in gaps.items() if gap == 5)
    assert switched == -(-start // 20) * 20  # the first key-frame that can show it
    back = min(f for f, gap in gaps.items() if f > switched and gap > 5)
    last_fast = -(-(start + 29) // 5) * 5  # key-frame at the end of the burst
    assert back == last_fast + 50
    assert all(f % 20 == 0 for f in asked if f > back)  # the slow grid again


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_a_burst_is_followed_with_few_frames(mode):
    """Between both fixed strides: the error of the fast one, nearly the frames of the slow one."""
    frames = np.arange(600)
    speeds = np.full(600, 0.1)
    speeds[250:330] = 3 * np.cos(frames[250:330] / 6)  # to and fro: key-frames far apart miss it
    poses = motion(speeds)
    burst = (frames >= 280) & (frames < 340)  # online: from where it was noticed

    def errors(lifted):
        return 1000 * np.linalg.norm(lifted - poses, axis=-1).mean(-1)

    found = {}
    for stride in (20, 5):
        keys = frames[::stride]
        found[stride] = errors(fill_between(poses[keys], keys, 600)), len(keys)
    lifted, chosen = lift_adaptively(PerfectLifter(poses), Detector(), 600, SIZE,
                                     AdaptiveInputStride(hold=50), mode)
    adaptive = errors(lifted)
    slow, fast = found[20][0][burst].mean(), found[5][0][burst].mean()
    assert fast < 0.25 * slow and adaptive[burst].mean() < fast + 0.2 * (slow - fast)
    assert found[20][1] < chosen.sum() < 0.5 * found[5][1]
    np.testing.assert_allclose(adaptive[400:], found[20][0][400:], atol=1e-9)


def test_hysteresis_bridges_short_pauses():
    speeds = np.tile(np.repeat([2., 0.1], [20, 30]), 8)  # pauses shorter than hold
    asked, *_ = run(speeds, hold=50)
    assert set(np.diff(asked[2:])) == {5}
    nervous, *_ = run(speeds, hold=0)
    assert len(nervous) < 0.8 * len(asked)


def test_online_decisions_see_nothing_behind_the_newest_key_frame():
    speeds = np.full(300, 0.1)
    speeds[150:200] = 2.
    _, lifter, detector = run(speeds)
    asked = sum(detector.calls, [])
    assert all(len(call) == 1 for call in detector.calls) and asked == sorted(asked)
    judged = [p for p in lifter.passes if len(p[0]) < p[1]]  # others are the result
    assert [num_frames - 1 for _, num_frames in judged] == asked[1:]
    for (frames, num_frames), previous in zip(judged, asked):
        assert frames[0] == previous and frames[-1] == num_frames - 1


def test_look_ahead_delays_decisions():
    speeds = np.full(400, 0.1)
    speeds[200:] = 2.
    switched = []
    for look_ahead in (0, 20, 40):
        asked, lifter, _ = run(speeds, look_ahead=look_ahead)
        assert all(num_frames - 1 - frames[-1] == look_ahead
                   for frames, num_frames in lifter.passes if len(frames) < num_frames)
        switched.append(asked[int(np.argmax(np.diff(asked) == 5))])
    assert switched == [220, 240, 260]


def test_offline_refines_around_fast_motion_only():
    speeds = np.full(600, 0.1)
    speeds[301:311] = 3.
    asked, _, detector = run(speeds, 'offline', hold=40)
    assert len(detector.calls) == 2
    # the first pass sees it between the key-frames 300 and 320
    extra = [f for f in asked if f % 20]
    assert extra[0] == 285 and extra[-1] == 355
    assert asked == sorted({*range(0, 600, 20), *range(285, 361, 5)})


def test_offline_selection_by_hand():
    policy = AdaptiveInputStride(slow=20, fast=10, threshold=0.5, hold=10, output_stride=5)
    poses = motion(np.r_[np.zeros(61), np.full(5, 5.), np.zeros(34)])[::5]
    keys = policy.select_offline(poses, 100)
    assert np.flatnonzero(keys).tolist() == [0, 20, 40, 50, 60, 70, 80]
    with pytest.raises(ValueError, match='expected 21'):
        policy.select_offline(poses, 101)


def test_velocity_counts_frames_not_grid_steps():
    policy = AdaptiveInputStride(slow=40, fast=10, fps=100, output_stride=10)
    poses = motion(np.full(50, 0.6))  # at 100 frames per second this is 1.2 m/s
    np.testing.assert_allclose(policy.velocities(poses[::10]), 1.2)


def test_a_policy_forgets_the_clip_before():
    policy = AdaptiveInputStride()
    policy.update(motion(np.full(30, 2.))[::5], 0)
    assert policy.stride == 5 and policy.next_key_frame(42) == 45
    policy.reset()
    assert policy.stride == 20 and policy.next_key_frame(42) == 60
    assert policy.update(motion(np.full(30, .1))[::5], 0) == 20


@pytest.fixture(scope='module')
def lifter():
    return KeyFrameLifter(build(), TOKENS, STEP)


@pytest.mark.parametrize('mode', ['online', 'offline'])
@pytest.mark.parametrize('frames', [1, 12, 90])
def test_with_a_model_that_stays_slow_it_is_plain_lifting(lifter, mode, frames):
    keypoints = clip(frames)
    poses, keys = lift_adaptively(lifter, lambda f: keypoints[f], frames, SIZE,
                                  AdaptiveInputStride(threshold=1e6), mode)
    assert np.flatnonzero(keys).tolist() == list(range(0, frames, 20))
    np.testing.assert_allclose(poses, lifter.lift(keypoints, SIZE, 20), atol=2e-5)


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_with_a_model_that_is_always_fast_all_but_the_first_stride_is(lifter, mode):
    keypoints = clip(90)
    poses, keys = lift_adaptively(lifter, lambda f: keypoints[f], 90, SIZE,
                                  AdaptiveInputStride(threshold=1e-6), mode)
    passed = [5, 10, 15] if mode == 'online' else []
    assert np.flatnonzero(keys).tolist() == [f for f in range(0, 90, 5) if f not in passed]
    slow = 20 if mode == 'online' else 0  # the part where the slow stride was active
    np.testing.assert_allclose(poses[:slow], lifter.lift(keypoints, SIZE, 20)[:slow], atol=2e-5)
    np.testing.assert_allclose(poses[slow:], lifter.lift(keypoints, SIZE, keys)[slow:], atol=2e-5)


def test_other_frame_rates_scale_all_strides(lifter):
    keypoints = clip(90)
    policy = AdaptiveInputStride(slow=40, fast=10, threshold=1e6, fps=100, output_stride=10)
    poses, keys = lift_adaptively(lifter, lambda f: keypoints[f], 90, SIZE, policy)
    np.testing.assert_allclose(poses, lifter.lift(keypoints, SIZE, 20, rate=2), atol=2e-5)


@pytest.mark.parametrize('kwargs, message', [
    (dict(slow=20, fast=20), 'fast'),
    (dict(slow=18), 'multiples of the output stride 5'),
    (dict(fast=0), 'multiples'),
    (dict(threshold=0), 'threshold'),
    (dict(fps=-1), 'fps'),
    (dict(hold=-1), 'hold'),
])
def test_bad_policies_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        AdaptiveInputStride(**kwargs)


@pytest.mark.parametrize('kwargs, message', [
    (dict(mode='live'), "mode: expected one of .*'live'"),
    (dict(num_frames=0), 'at least 1 frame'),
    (dict(look_ahead=3), 'look_ahead'),
    (dict(policy=AdaptiveInputStride(slow=20, fast=4, output_stride=4)), 'output stride of 4'),
    (dict(detect=lambda frames: np.zeros((len(frames), 16, 2))), r'expected \(1, 17, 2\)'),
    (dict(detect=lambda frames: np.full((len(frames), 17, 2), np.nan)), 'key-frame 0 holds NaN'),
])
def test_bad_input_gets_one_clear_error(lifter, kwargs, message):
    arguments = dict(lifter=lifter, detect=Detector(), num_frames=50, image_size=SIZE,
                     policy=AdaptiveInputStride(), mode='online', look_ahead=0)
    with pytest.raises(ValueError, match=message):
        lift_adaptively(**{**arguments, **kwargs})


def test_poses_without_a_velocity_are_refused():
    with pytest.raises(ValueError, match='no velocity'):
        AdaptiveInputStride().update(np.full((3, 17, 3), np.nan), 0)
