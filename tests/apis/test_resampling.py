import numpy as np
import pytest

from mmpose_lift.apis.resampling import (
    even_rate,
    frame_times,
    from_model_grid,
    interpolate,
    model_grid,
    nearest_frames,
    nearest_tokens,
    rate_factor,
)

RATE = 50


def motion(times):
    """(T, 17, 2) pixels: joints that move like limbs, at most 1.5 times a second."""
    phase = np.arange(34).reshape(17, 2)
    cycles = np.asarray(times)[:, None, None] * (0.5 + phase % 3 / 2)
    return 500 + 100 * np.sin(2 * np.pi * cycles + phase)


def uneven(duration, fps, seed=0):
    """Seconds of frames that come up to 40 % of a frame early or late, some of them lost."""
    rng = np.random.default_rng(seed)
    times = (np.arange(int(duration * fps)) + 0.4 * rng.uniform(-1, 1, int(duration * fps))) / fps
    return np.delete(times, rng.choice(len(times) - 2, 3, replace=False) + 1)


@pytest.mark.parametrize('fps', [24, 25, 29.97, 30, 60, 120, 'uneven'])
def test_there_and_back_again(fps):
    times = frame_times(97, fps) if fps != 'uneven' else frame_times(87, None, uneven(3, 30))
    grid = model_grid(times, RATE)
    assert grid[-1] >= times[-1] - 1e-6 > grid[-1] - 1 / RATE - 1e-6
    keypoints = motion(times)
    apart = max(np.diff(times))
    bound = 100 * (2 * np.pi * 1.5 * apart) ** 2 / 8  # of a line between two points of a sine
    seen = interpolate(keypoints, times, grid)
    inside = grid <= times[-1]
    assert np.abs(seen - motion(grid))[inside].max() <= bound
    np.testing.assert_array_equal(seen[~inside], np.repeat(keypoints[-1:], (~inside).sum(), axis=0))
    # the true motion on the grid, back at the frames; its last point shows the last frame
    back = from_model_grid(motion(np.minimum(grid, times[-1])), grid, times)
    assert np.abs(back - keypoints).max() <= 100 * (2 * np.pi * 1.5 / RATE) ** 2 / 8
    np.testing.assert_allclose(back[[0, -1]], keypoints[[0, -1]], atol=1e-9)


def ends_behind(steps):
    """Seconds of uneven frames of which the last is so many steps of the grid after the first."""
    times = uneven(3, 120)
    return (times - times[0]) * steps / RATE / (times[-1] - times[0])


@pytest.mark.parametrize('times', [
    frame_times(1002, 59.94), frame_times(1207, 119.88), ends_behind(150.001), ends_behind(150.1),
    ends_behind(150.3)], ids=['59.94', '119.88', 'uneven', 'uneven .1', 'uneven .3'])
def test_noise_does_not_grow_where_the_last_interval_is_short(times):
    grid = model_grid(times, RATE)
    knots = np.minimum(grid, times[-1])
    assert knots[-1] - knots[-2] < 0.31 / RATE
    noise = np.random.default_rng(0).normal(0, 1, (len(grid), 17, 2))  # mm
    error = np.abs(from_model_grid(motion(knots) + noise, grid, times) - motion(times))
    assert error[-10:].max() < 4 and error.max() < 6


def test_errors_grow_little_wherever_the_clip_ends():
    for steps in np.add.outer([1, 2, 40], [1e-5, 1e-3, 0.1, 0.249, 0.251, 0.5, 0.75, 1]).flat:
        times = np.linspace(0, steps / RATE, 997)
        grid = model_grid(times, RATE)
        weights = from_model_grid(np.eye(len(grid)), grid, times)
        assert np.abs(weights).sum(axis=1).max() < (2.1 if len(grid) > 3 else 2.6)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        np.testing.assert_allclose(weights[[0, -1]][:, [0, -1]], np.eye(2), atol=1e-9)


@pytest.mark.parametrize('steps', [0.1, 1, 1.001, 2.001])
def test_the_shortest_clips(steps):
    times = np.linspace(0, steps / RATE, 5)
    grid = model_grid(times, RATE)
    line = np.minimum(grid, times[-1]).astype(np.float32)
    back = from_model_grid(line, grid, times)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, times, atol=1e-8)


def test_a_cubic_is_closer_than_a_line():
    grid, times = np.arange(100) / RATE, frame_times(230, 120)
    line, cubic = (np.abs(interpolate(motion(grid), grid, times, kind) - motion(times))[1:-1].max()
                   for kind in (False, True))
    assert cubic < line / 3


def test_lines_are_exact_and_ends_are_held():
    values = np.float32([[0, 10], [1, 30]])
    found = interpolate(values, np.array([0, 2.]), np.array([-1, 0, 0.5, 2, 3]))
    np.testing.assert_array_equal(found, [[0, 10], [0, 10], [.25, 15], [1, 30], [1, 30]])
    assert found.dtype == np.float32
    for cubic in (False, True):  # one and two frames
        np.testing.assert_array_equal(
            interpolate(values[:1], np.zeros(1), np.array([0, 1.]), cubic), values[[0, 0]])
        np.testing.assert_array_equal(
            interpolate(values, np.array([0, 2.]), np.array([0, 1, 2.]), cubic)[1], [.5, 20])


@pytest.mark.parametrize('fps, factor', [
    (50, 1), (49.96, 1), (50.06, None), (100, 2), (99.91, 2), (99.8, None), (25, None), (30, None),
    (75, None), (1e-3, None), (150.1, 3)])
def test_whole_multiples_within_a_thousandth(fps, factor):
    assert rate_factor(fps, RATE) == factor


def test_rates_of_film_and_television_equal_the_rounded_ones():
    assert rate_factor(60000 / 1001, 60) == rate_factor(24000 / 1001, 24) == 1


def test_even_rates_are_found():
    assert even_rate(np.arange(9) / 30) == pytest.approx(30)
    assert even_rate(uneven(3, 30)) is None and even_rate(np.zeros(1)) is None


def test_no_point_is_added_by_rounding():
    for fps in (25, 30, 29.97, 24, 120):
        for frames in (1, 2, 30, 1001):
            times = frame_times(frames, fps)
            assert len(model_grid(times, fps)) == frames


def test_a_longer_clip_has_the_same_nearest_frames_and_more():
    positions = np.arange(200) * 2.5
    long = nearest_frames(positions, 400)
    assert long[:6].tolist() == [0, 3, 5, 8, 10, 13] and long[-1] < 400
    for frames in (1, 3, 4, 137):
        short = nearest_frames(positions, frames)
        assert short.tolist() == long[long < frames].tolist()


def test_of_frames_at_one_token_the_closest_stays():
    times = frame_times(10, 24)
    frames, tokens = nearest_tokens(times, np.ones(10, bool), 0.1)
    assert tokens.tolist() == [0, 1, 2, 3, 4]
    assert frames.tolist() == [0, 2, 5, 7, 9]  # 0, 83, 208, 292, 375 ms
    frames, tokens = nearest_tokens(times, np.arange(10) == 4, 0.1)
    assert (frames.tolist(), tokens.tolist()) == ([4], [2])


@pytest.mark.parametrize('call, message', [
    (lambda: frame_times(3), 'fps'),
    (lambda: frame_times(3, 0), 'fps.*0'),
    (lambda: frame_times(3, True), 'fps.*True'),
    (lambda: frame_times(3, np.nan), 'fps.*nan'),
    (lambda: frame_times(3, 30, [0, 1]), '3 finite numbers'),
    (lambda: frame_times(3, 30, [0, 1, np.inf]), '3 finite numbers'),
    (lambda: frame_times(4, 30, [0, 1, 1, 2]), 'found 1 s and then 1 s at frames 1 and 2'),
    (lambda: model_grid(frame_times(60, 0.1), 50), '60 frames over 590 s are too few'),
])
def test_bad_times_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
