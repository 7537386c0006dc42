"""One-Euro against the paper's formulas, Savitzky-Golay against scipy and polynomials."""

import numpy as np
import pytest
from scipy.signal import savgol_filter

from mmpose_lift.geometry import quaternion_to_matrix
from mmpose_lift.geometry.smoothing import OneEuroFilter, one_euro, savitzky_golay


def jittery(rng, frames=200, fps=50):
    """(T, 17, 3) slow motion of every joint, and the same with noise; metres."""
    times = np.arange(frames) / fps
    phase, size = rng.uniform(0, 6, (17, 3)), rng.uniform(0, 0.2, (17, 3))
    clean = size * np.sin(2 * np.pi * 0.7 * times[:, None, None] + phase)
    return clean, clean + rng.normal(scale=0.01, size=clean.shape)


def test_one_euro_is_the_paper_for_one_scalar():
    values, times = [0.0, 1.0, 0.5, 2.0], [0.0, 0.1, 0.25, 0.3]
    min_cutoff, beta, d_cutoff = 1.2, 0.7, 0.9
    expected, speed = [0.0], 0.0
    for i in range(1, 4):
        step = times[i] - times[i - 1]
        a = 1 / (1 + 1 / (2 * np.pi * d_cutoff) / step)
        speed = a * (values[i] - expected[-1]) / step + (1 - a) * speed
        a = 1 / (1 + 1 / (2 * np.pi * (min_cutoff + beta * abs(speed))) / step)
        expected.append(a * values[i] + (1 - a) * expected[-1])
    found = one_euro(np.array(values)[:, None], times=times, min_cutoff=min_cutoff, beta=beta,
                     d_cutoff=d_cutoff)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-14)


def test_one_euro_streams_the_numbers_of_the_whole_clip(rng):
    _, noisy = jittery(rng)
    times = np.cumsum(rng.uniform(0.01, 0.05, len(noisy)))
    stream = OneEuroFilter()
    first = np.stack([stream(points, time) for points, time in zip(noisy, times)])
    np.testing.assert_array_equal(first, one_euro(noisy, times=times))
    stream.reset()
    np.testing.assert_array_equal(stream(noisy[0], 0.0), noisy[0])
    np.testing.assert_array_equal(one_euro(noisy, fps=50),
                                  one_euro(noisy, times=np.arange(len(noisy)) / 50))


def test_stream_keeps_its_state_from_the_caller():
    stream = OneEuroFilter()
    points = np.zeros((2, 3))
    stream(points, 0)[:] = 9
    points[:] = 7
    np.testing.assert_array_equal(stream(np.zeros((2, 3)), 1), 0)


def test_one_euro_does_not_depend_on_the_axes(rng):
    _, noisy = jittery(rng, 50)
    rotation = quaternion_to_matrix([0.8, 0.1, -0.5, 0.2])
    np.testing.assert_allclose(one_euro(noisy @ rotation.T, fps=50),
                               one_euro(noisy, fps=50) @ rotation.T, atol=1e-12)


@pytest.mark.parametrize('smoother, shake, error', [(one_euro, 0.5, 1.2),
                                                    (savitzky_golay, 0.2, 0.7)])
def test_smoothing_takes_jitter_and_leaves_motion(rng, smoother, shake, error):
    """The One-Euro filter pays for it with lag, up to 2 cm here."""
    clean, noisy = jittery(rng)
    smoothed = smoother(noisy, fps=50)
    acceleration = [np.abs(np.diff(x - clean, 2, axis=0)).mean() for x in (noisy, smoothed)]
    assert acceleration[1] < shake * acceleration[0]
    distance = [np.linalg.norm(x - clean, axis=-1).mean() for x in (noisy, smoothed)]
    assert distance[1] < error * distance[0]
    assert smoother(noisy.astype(np.float32), fps=50).dtype == np.float32


def test_one_euro_at_rest(rng):
    noise = rng.normal(scale=0.01, size=(500, 17, 3))
    assert one_euro(noise, fps=50)[50:].std() < 0.5 * noise.std()


@pytest.mark.parametrize('seconds, order, window', [(0.3, 2, 15), (0.3, 3, 15), (0.41, 4, 21),
                                                    (0.01, 2, 5), (0.01, 3, 5), (0.1, 0, 5)])
def test_savitzky_golay_is_scipys(rng, seconds, order, window):
    points = rng.normal(size=(60, 4, 3))
    np.testing.assert_allclose(savitzky_golay(points, 50, seconds, order),
                               savgol_filter(points, window, order, axis=0), atol=1e-10)


def test_savitzky_golay_keeps_polynomials_at_uneven_times(rng):
    times = np.cumsum(rng.uniform(0.01, 0.06, 80)) + 1e3
    t = (times - times[0])[:, None]
    parabola = np.concatenate([3 * t ** 2 - t, 2 - t, t * 0 + 5], axis=1)
    np.testing.assert_allclose(savitzky_golay(parabola, times=times), parabola, atol=1e-9)


def test_savitzky_golay_of_short_clips(rng):
    points = rng.normal(size=(8, 2, 3))
    for frames in (1, 2, 3):
        np.testing.assert_array_equal(savitzky_golay(points[:frames], 50), points[:frames])
    t = np.arange(8)
    fit = np.polynomial.polynomial
    expected = fit.polyval(t, fit.polyfit(t, points.reshape(8, -1), 2)).T.reshape(points.shape)
    np.testing.assert_allclose(savitzky_golay(points, 50, seconds=1), expected, atol=1e-10)


def test_savitzky_golay_has_no_lag():
    pulse = np.zeros((41, 1))
    pulse[20] = 1
    smoothed = savitzky_golay(pulse, 50)
    np.testing.assert_allclose(smoothed, smoothed[::-1], atol=1e-12)


def test_wrong_input_is_named(rng):
    points = rng.normal(size=(10, 2, 3))
    broken = points.copy()
    broken[4, 1, 2] = np.nan
    for call, message in [
            (lambda: one_euro(broken, fps=50), 'points: frame 4 holds NaN'),
            (lambda: one_euro(points), 'expected one of fps and times'),
            (lambda: savitzky_golay(points, 50, times=np.arange(10)), 'one of fps and times'),
            (lambda: one_euro(points, fps=0), 'fps: expected a positive'),
            (lambda: one_euro(points, times=np.zeros(10)), 'steps that are not positive'),
            (lambda: one_euro(points, times=np.arange(9)), 'times: expected 10 increasing'),
            (lambda: one_euro(points[:0], fps=50), 'at least one frame'),
            (lambda: one_euro(points, fps=50, min_cutoff=0), 'min_cutoff: expected a positive'),
            (lambda: one_euro(points, fps=50, beta=-1), 'beta: expected'),
            (lambda: savitzky_golay(points, 50, seconds=0), 'seconds: expected a positive'),
            (lambda: savitzky_golay(points, 50, order=1.5), 'order: expected a whole number')]:
        with pytest.raises(ValueError, match=message):
            call()
    stream = OneEuroFilter()
    stream(points[0], 1.0)
    with pytest.raises(ValueError, match=r'time: expected more than 1.0 s'):
        stream(points[1], 1.0)
    with pytest.raises(ValueError, match=r'shape of the frames before, \(2, 3\)'):
        stream(points[1, 0], 2.0)
    with pytest.raises(ValueError, match='1 values that are not finite'):
        stream(broken[4], 2.0)
