"""Placement of clips in the capture volume."""

import numpy as np
import pytest

from mmpose_lift.geometry.placement import place_clip


def test_clip_that_fits_is_centred(rng):
    path = rng.uniform(-1, 1, size=(100, 2)) + (40, -7)
    [(first, last, offset)] = place_clip(path)
    assert (first, last) == (0, 100)
    placed = path - offset
    np.testing.assert_allclose(placed.min(0), -placed.max(0), atol=1e-12)


@pytest.mark.parametrize('radius', [0.5, 2.5])
def test_long_paths_are_cut_into_pieces_that_fit(rng, radius):
    path = (
        np.cumsum(rng.normal(scale=0.05, size=(3000, 2)), axis=0)
        + np.linspace(0, 12, 3000)[:, None]
    )
    pieces = place_clip(path, radius)
    assert len(pieces) > 1
    assert [p[0] for p in pieces] == [0] + [p[1] for p in pieces[:-1]] and pieces[-1][1] == 3000
    for first, last, offset in pieces:
        assert last > first
        assert np.linalg.norm(path[first:last] - offset, axis=1).max() <= radius + 1e-9
    for (first, last, _), (_, _, _) in zip(pieces, pieces[1:]):  # greedy: one more would not fit
        longer = path[first : last + 1]
        centre = (longer.min(0) + longer.max(0)) / 2
        assert np.linalg.norm(longer - centre, axis=1).max() > radius


def test_straight_walk():
    path = np.stack([np.linspace(0, 10, 101), np.zeros(101)], -1)
    assert [p[:2] for p in place_clip(path, 2.5)] == [(0, 51), (51, 101)]
    assert [p[:2] for p in place_clip(path[:1])] == [(0, 1)]
    assert len(place_clip(path, 0.01)) == 101


@pytest.mark.parametrize(
    'path, radius, message',
    [
        (np.zeros((0, 2)), 2.5, 'at least one frame'),
        (np.zeros((4, 3)), 2.5, r'\(F, 2\)'),
        (np.full((4, 2), np.nan), 2.5, 'not finite'),
        (np.zeros((4, 2)), 0, 'positive'),
    ],
)
def test_errors(path, radius, message):
    with pytest.raises(ValueError, match=message):
        place_clip(path, radius)
