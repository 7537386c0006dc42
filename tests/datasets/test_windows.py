import numpy as np
import pytest

from mmpose_lift.datasets.windows import (
    evaluation_windows,
    frame_windows,
    training_windows,
    window_frames,
)


@pytest.mark.parametrize('frames', [1, 26, 27, 28, 54, 61, 100, 243, 1000])
def test_chunks_follow_the_published_centring(frames):
    T = 27
    starts = training_windows(frames, T)
    n = -(-frames // T)
    assert len(starts) == n
    assert starts[0] == -((n * T - frames) // 2)
    assert (np.diff(starts) == T).all()


@pytest.mark.parametrize('interval', [1, 5, 9, 26, 27])
@pytest.mark.parametrize('frames', [1, 20, 27, 28, 61, 200])
def test_every_frame_is_in_some_training_window(frames, interval):
    starts = training_windows(frames, 27, interval)
    seen = window_frames(starts, 27, np.full(len(starts), frames))
    assert set(seen.ravel()) == set(range(frames))
    left, right = -starts[0], starts[-1] + 27 - frames
    assert min(left, right) >= 0 and abs(left - right) <= 1  # centred


@pytest.mark.parametrize('frames', [1, 20, 27, 28, 41, 54, 61, 80, 243])
def test_unique_windows_count_every_frame_once(frames):
    starts, counted = evaluation_windows(frames, 27, 'unique')
    all_frames = window_frames(starts, 27, np.full(len(starts), frames))
    seen = np.concatenate([f[a:b] for f, (a, b) in zip(all_frames, counted)])
    assert seen.tolist() == list(range(frames))


def test_paper_windows_overlap_at_the_end_and_count_all():
    starts, counted = evaluation_windows(61, 27, 'paper')
    assert starts.tolist() == [0, 27, 34]
    assert counted.tolist() == [[0, 27]] * 3
    starts, counted = evaluation_windows(20, 27, 'paper')
    assert starts.tolist() == [0] and counted.tolist() == [[0, 27]]
    assert window_frames(starts, 27, np.array([20]))[0, 19:].tolist() == [19] * 8


def test_frame_windows_have_their_frame_in_the_middle_or_at_the_end():
    assert frame_windows(4, 3).tolist() == [-1, 0, 1, 2]
    assert frame_windows(4, 3, causal=True).tolist() == [-2, -1, 0, 1]


def test_training_windows_reproduce_the_public_code(shared_dir):
    data = np.load(shared_dir / 'reference/mixste/eval_pipeline.npz')
    for case in ('T20', 'T54', 'T61'):
        frames = len(data[f'{case}/seq_2d'])
        pairs = data[f'{case}/train_pairs']
        starts = training_windows(frames, 27)
        plain, flipped = pairs[pairs[:, 3] == 0], pairs[pairs[:, 3] == 1]
        assert sorted(plain[:, 1]) == starts.tolist() == sorted(flipped[:, 1])
        assert (pairs[:, 2] - pairs[:, 1] == 27).all()


@pytest.mark.parametrize('call, message', [
    (lambda: training_windows(10, 27, 28), 'interval'),
    (lambda: training_windows(10, 27, 0), 'interval'),
    (lambda: training_windows(0, 27), 'num_frames'),
    (lambda: evaluation_windows(10, 0), 'length'),
    (lambda: evaluation_windows(10, 27, 'all'), "'all'"),
])
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
