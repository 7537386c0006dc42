import cv2
import numpy as np
import pytest

from mmpose_lift.evaluation.velocity import velocity_bins
from mmpose_lift.visualization import analysis_plots as plots
from mmpose_lift.visualization.analysis_plots import AttentionMap, StrideCurve


def has_colour(path, colour, tolerance=12):
    wanted = [int(colour[i:i + 2], 16) for i in (5, 3, 1)]  # BGR
    difference = np.abs(cv2.imread(str(path)).astype(int) - wanted)
    return (difference.max(-1) <= tolerance).sum()


def attention(heads=3, tokens=9):
    weights = np.full((heads, tokens, tokens), 1 / tokens)
    frames = (np.arange(tokens) - tokens // 2) * 5
    return AttentionMap('temporal block 1', weights, frames, frames % 20 == 0)


def test_attention_marks_key_frames_and_shows_heads(tmp_path):
    block = attention()
    sizes = {}
    for per_head in (False, True):
        path = tmp_path / f'{per_head}.png'
        plots.plot_attention(path, [block, block._replace(key_frames=None)], per_head)
        sizes[per_head] = cv2.imread(str(path)).shape
    assert sizes[True][0] > sizes[False][0] and sizes[True][1] > sizes[False][1]
    plots.plot_attention(tmp_path / 'none.png', [block._replace(key_frames=None)] * 2)
    assert has_colour(tmp_path / 'False.png', plots.COLOURS[0]) > 100
    assert not has_colour(tmp_path / 'none.png', plots.COLOURS[0])


def test_only_key_frames_show_2d(tmp_path, rng):
    keypoints, poses = rng.random((4, 17, 2)) * 100, rng.normal(0, .3, (4, 17, 3))
    flags = np.array([True, False, False, True])
    hidden = np.where(flags[:, None, None], keypoints, np.nan)
    for name, points in (('all', keypoints), ('hidden', hidden)):
        plots.plot_key_frames(tmp_path / f'{name}.png', range(0, 20, 5), points, flags, poses)
    images = [cv2.imread(str(tmp_path / f'{name}.png')) for name in ('all', 'hidden')]
    np.testing.assert_array_equal(*images)
    # no key-frame among the columns is fine as well, and the truth adds its own colour
    plots.plot_key_frames(tmp_path / 'truth.png', range(4), keypoints, ~flags & flags, poses,
                          poses + .1)
    assert has_colour(tmp_path / 'truth.png', plots.FAINT) > has_colour(tmp_path / 'all.png',
                                                                        plots.FAINT)


def test_every_input_stride_gets_its_colour(tmp_path, rng):
    velocity, error = rng.random(500), rng.random(500) * 50
    error[(velocity > 0.4) & (velocity < 0.5)] = np.nan  # an empty bin
    plots.plot_velocity_errors(tmp_path / 'v.png', {
        s: velocity_bins(velocity, error + s) for s in (5, 10, 20)})
    for colour in plots.COLOURS[:3]:
        assert has_colour(tmp_path / 'v.png', colour) > 200


def test_strides_with_unknown_frames(tmp_path, rng):
    error, velocity = rng.random(60) * 50, rng.random(60)
    error[20:30] = velocity[0] = np.nan
    curves = [StrideCurve(name, error + i, np.arange(60) % step == 0)
              for i, (name, step) in enumerate([('fixed 20', 20), ('fixed 5', 5), ('both', 5)])]
    plots.plot_strides(tmp_path / 's.png', curves, velocity, 0.5, 50.)
    for colour in plots.COLOURS[:3]:
        assert has_colour(tmp_path / 's.png', colour) > 200


def test_other_formats(tmp_path):
    plots.plot_attention(tmp_path / 'a.svg', [attention()])
    assert '<svg' in (tmp_path / 'a.svg').read_text()


@pytest.mark.parametrize('call, message', [
    (lambda path: plots.plot_attention(path.with_suffix('.xyz'), [attention()]), "'.xyz'; use one"),
    (lambda path: plots.plot_attention(path, []), 'no attention'),
    (lambda path: plots.plot_attention(path, [attention()._replace(frames=np.arange(4))]),
     r'expected weights \(H, 4, 4\)'),
    (lambda path: plots.plot_key_frames(path, [0, 5], np.zeros((2, 16, 2)), [True, False],
                                        np.zeros((2, 17, 3))), r'keypoints: expected \(2, 17, 2\)'),
    (lambda path: plots.plot_key_frames(path, [], np.zeros((0, 17, 2)), np.zeros(0, bool),
                                        np.zeros((0, 17, 3))), 'for 0 frames'),
    (lambda path: plots.plot_velocity_errors(path, {}), 'no input stride'),
    (lambda path: plots.plot_strides(path, [StrideCurve('a', np.zeros(3), np.ones(3, bool))],
                                     np.zeros(4), 0.5, 50.), r'lengths \[3, 4\]'),
])
def test_bad_input_gets_one_clear_error_and_no_file(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / 'picture.png')
    assert not list(tmp_path.iterdir())
