import cv2
import numpy as np
import pytest

from mmpose_lift.evaluation.velocity import velocity_bins
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.visualization import analysis_plots as plots
from mmpose_lift.visualization.analysis_plots import AttentionMap, StrideCurve

H36M = get_skeleton('h36m')


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


def person(frames=2):
    """Keypoints in pixels and pose in metres of somebody who stands and faces the camera."""
    pose = np.zeros((17, 3))
    places = dict(hip=(0.13, 0), knee=(0.13, 0.45), foot=(0.13, 0.9), shoulder=(0.16, -0.45),
                  elbow=(0.3, -0.2), wrist=(0.4, 0))
    for name, (x, y) in places.items():
        pose[H36M.index(f'left_{name}')] = x, y, 0  # left of the person is right in the image
        pose[H36M.index(f'right_{name}')] = -x, y, 0
    for name, y in dict(spine=-0.25, thorax=-0.5, neck_base=-0.6, head=-0.72).items():
        pose[H36M.index(name)] = 0, y, 0
    poses = np.repeat(pose[None], frames, axis=0)
    return poses[..., :2] * 200 + [500, 400], poses


def panels(path, rows=3, columns=2):
    """Insides of the panels: frames of dark pixels bound them."""
    image = cv2.imread(str(path))
    edge = np.abs(image.astype(int) - 0x40).max(-1) < 60
    along_y = np.flatnonzero(edge.mean(1) > 0.6)
    along_x = np.flatnonzero(edge.mean(0) > 0.6)
    y, x = (a[np.append(True, np.diff(a) > 5)] for a in (along_y, along_x))
    assert len(y) == 2 * rows and len(x) == 2 * columns
    return [[image[y[2 * r] + 4:y[2 * r + 1] - 3, x[2 * c] + 4:x[2 * c + 1] - 3]
             for c in range(columns)] for r in range(rows)]


def places(panel, colour):
    wanted = [int(colour[i:i + 2], 16) for i in (5, 3, 1)]
    return np.argwhere(np.abs(panel.astype(int) - wanted).max(-1) < 12)


def centre_of(panel, colour):
    return places(panel, colour).mean(0)


def test_poses_have_one_scale_and_view_and_are_not_mirrored(tmp_path):
    keypoints, poses = person()
    wide = poses.copy()
    wide[1] *= 1.3
    plots.plot_poses(tmp_path / 'p.png', [3, 70], keypoints, wide, wide, [0., 0.])
    shown = panels(tmp_path / 'p.png')
    for row in shown:
        for panel in row:
            left, right = centre_of(panel, plots.LEFT), centre_of(panel, plots.RIGHT)
            middle = centre_of(panel, plots.MIDDLE)
            assert left[1] > right[1] + 20, 'not mirrored'
            assert middle[0] < min(left[0], right[0]) - 20, 'head up'
    for predicted, true in zip(shown[1], shown[2]):  # grey is covered where both are equal
        difference = [np.abs(centre_of(predicted, c) - centre_of(true, c)).max()
                      for c in (plots.LEFT, plots.RIGHT, plots.MIDDLE)]
        assert max(difference) < 2 and min(true.shape[:2]) > 100
    spread = [np.ptp(np.argwhere((panel < 200).any(-1))[:, 0]) for panel in shown[2]]
    assert spread[1] == pytest.approx(1.3 * spread[0], rel=0.05)


def test_errors_are_written_and_unknown_truth_is_left_out(tmp_path):
    keypoints, poses = person()
    truth = poses + [0.2, 0, 0]
    truth[1] = np.nan
    for suffix in ('.svg', '.png'):
        plots.plot_poses(tmp_path / f'p{suffix}', [3, 70], keypoints, poses, truth,
                         [51.26, np.nan], title='WalkDog 1')
    text = (tmp_path / 'p.svg').read_text()
    assert all(f'<!-- {word}' in text for word in ('51.3 mm', 'unknown', '70', 'WalkDog 1'))
    assert 'nan' not in text.lower().split('</style>')[-1].replace('dominant', '')
    shown = panels(tmp_path / 'p.png')
    assert len(places(shown[2][1], plots.LEFT)) == 0 < len(places(shown[2][0], plots.LEFT))
    assert len(places(shown[1][1], plots.FAINT)) == 0 < len(places(shown[1][0], plots.FAINT))


def test_poses_of_other_skeletons(tmp_path, rng):
    for name, joints in (('humaneva', 15), ('h36m_16', 16)):
        poses = rng.normal(0, .3, (1, joints, 3))
        plots.plot_poses(tmp_path / 'p.png', [0], poses[..., :2], poses, poses, [0.],
                         skeleton=name)
        assert has_colour(tmp_path / 'p.png', plots.LEFT) > 100


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
    (lambda path: plots.plot_poses(path, [0, 5], *person(), np.zeros((2, 17, 3)), [0.]),
     r'errors: expected \(2,\) for 2 frames'),
    (lambda path: plots.plot_poses(path, [0], *person(), np.zeros((1, 17, 3)), [0.]),
     r'keypoints: expected \(1, 17, 2\) for 1 frames, found \(2, 17, 2\)'),
    (lambda path: plots.plot_velocity_errors(path, {}), 'no input stride'),
    (lambda path: plots.plot_strides(path, [StrideCurve('a', np.zeros(3), np.ones(3, bool))],
                                     np.zeros(4), 0.5, 50.), r'lengths \[3, 4\]'),
])
def test_bad_input_gets_one_clear_error_and_no_file(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path / 'picture.png')
    assert not list(tmp_path.iterdir())
