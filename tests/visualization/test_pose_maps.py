"""Pictures of heatmaps."""

import numpy as np
import pytest

from mmpose_lift.visualization.pose_maps import colour_maps, draw_pose_maps, stack_pictures


def spot(x, y, size=56, height=1.):
    axis = np.arange(size)
    return height * np.exp(-((axis - x)**2 + (axis[:, None] - y)**2) / 8)


def test_every_map_has_a_colour_of_its_own():
    maps = np.stack([spot(10, 10), spot(40, 40), np.zeros((56, 56))])
    picture = np.full((56, 56, 3), 100, np.uint8)
    drawn = colour_maps(maps, picture)
    first, second = drawn[10, 10].astype(int), drawn[40, 40].astype(int)
    assert np.abs(first - second).max() > 200
    assert drawn[10, 40].tolist() == [100] * 3  # no map: the picture
    assert colour_maps(maps)[10, 40].tolist() == [0] * 3
    assert not colour_maps(-maps).any()


def test_a_spot_is_drawn_where_it_is():
    maps = np.stack([spot(14, 28), spot(42, 28, height=0.5)])
    drawn = draw_pose_maps(maps, names=['a', 'b'])
    tile = drawn.shape[1] // 3
    for i, (x, bright) in enumerate(((45, 255), (135, 150))):  # of 180 pixels
        own = drawn[18:198, (i + 1) * tile:(i + 1) * tile + 180].sum(-1)
        y, found = np.unravel_index(own.argmax(), own.shape)
        assert abs(found - x) <= 2 and abs(y - 90) <= 2
        assert drawn[18 + y, (i + 1) * tile + found].max() >= bright
    tiles = draw_pose_maps(np.zeros((17, 28, 28)))
    assert tiles.shape == (3 * (18 + 180 + 4), 6 * (180 + 4), 3)


def test_the_crop_lies_below_its_maps():
    picture = np.zeros((224, 224, 3), np.uint8)
    picture[100:124, 50:74, 1] = 255
    drawn = draw_pose_maps(np.zeros((1, 56, 56)), picture)
    first, second = (drawn[18:198, x:x + 180, 1].astype(float) for x in (0, drawn.shape[1] // 2))
    for image in (first, second):
        rows, columns = (image.sum(axis) for axis in (1, 0))
        assert (rows * np.arange(180)).sum() / rows.sum() == pytest.approx(111.5 / 224 * 180, abs=1)
        assert (columns * np.arange(180)).sum() / columns.sum() == pytest.approx(
            61.5 / 224 * 180, abs=1)
    assert second.max() < 0.6 * first.max()  # dimmed


@pytest.mark.parametrize('maps, names, message', [
    (np.zeros((28, 28)), None, r'maps: .*found shape \(28, 28\)'),
    (np.full((2, 8, 8), np.nan), None, 'NaN'), (np.zeros((0, 8, 8)), None, r'\(0, 8, 8\)'),
    (np.zeros((2, 8, 8)), ['a'], 'names: expected 2.*found 1')])
def test_wrong_input(maps, names, message):
    with pytest.raises(ValueError, match=message):
        draw_pose_maps(maps, names=names)


def test_pictures_of_other_widths_are_stacked():
    stacked = stack_pictures([np.zeros((2, 3, 3), np.uint8), np.zeros((1, 5, 3), np.uint8)])
    assert stacked.shape == (3, 5, 3) and (stacked[:2, 3:] == 255).all()
