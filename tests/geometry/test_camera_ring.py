"""Virtual cameras against the published azimuths of S1, by symmetry, and on wrong input."""

from dataclasses import replace

import numpy as np
import pytest

from mmpose_lift.geometry import h36m_cameras
from mmpose_lift.geometry.camera_ring import (
    interpolate_ring,
    ring_azimuths,
    ring_target,
    virtual_cameras,
)
from mmpose_lift.geometry.rotations import euler_to_matrix


def degrees(cameras):
    return np.degrees(ring_azimuths(cameras))


def turned(camera, angle: float):
    """The camera in a world turned about z."""
    turn = euler_to_matrix(np.array([angle]), 'z')
    return replace(camera, rotation=camera.rotation @ turn.T, position=turn @ camera.position)


def test_azimuths_of_s1_and_between():
    given = h36m_cameras(['S1'])
    assert degrees(given) == pytest.approx([69.6, -70.9, 109.5, -115.7], abs=0.06)
    gaps = np.diff(np.sort(degrees(given)), append=360 + min(degrees(given)))
    # of rounded azimuths
    assert gaps == pytest.approx([44.8, 140.5, 39.9, 134.8], abs=0.1)
    assert degrees(interpolate_ring(given)) == pytest.approx([-93.3, -0.6, 89.5, 176.9], abs=0.06)


def test_between_two_neighbours():
    given = h36m_cameras(['S1'])
    target = ring_target(given)
    first, second, made = given[0], given[2], interpolate_ring(given[::-1])[2]
    radii = [np.hypot(*camera.position[:2]) for camera in (first, second, made)]
    assert radii[2] == pytest.approx((radii[0] + radii[1]) / 2)
    assert made.position[2] == pytest.approx((first.position[2] + second.position[2]) / 2)
    for name in ('focal', 'center', 'radial', 'tangential'):
        mean = (getattr(first, name) + getattr(second, name)) / 2
        assert getattr(made, name) == pytest.approx(mean)
    assert (made.width, made.height) == (1000, 1001)
    # it looks at the target, and up in the world is up in the picture
    above = made.project(made.world_to_camera(np.stack([target, target + [0, 0, 0.3]])))
    assert above[0] == pytest.approx(made.center, abs=1e-6)
    assert above[1, 0] == pytest.approx(made.center[0], abs=0.5) and above[1, 1] < above[0, 1] - 30


def test_target_is_nearest_to_all_axes():
    given = h36m_cameras(['S1'])
    target = ring_target(given)

    def squared_distances(point):
        return sum(np.square(np.cross(camera.rotation[2], point - camera.position)).sum()
                   for camera in given)

    steps = 0.01 * np.concatenate([np.eye(3), -np.eye(3)])
    assert all(squared_distances(target) < squared_distances(target + step) for step in steps)


@pytest.mark.parametrize('angle', [0.4, 2.9, -2.0])
def test_ring_turns_with_the_world(angle):
    given = h36m_cameras(['S1'])
    expected = [turned(camera, angle) for camera in interpolate_ring(given)]
    made = interpolate_ring([turned(camera, angle) for camera in given])
    for camera in expected:  # the one that comes first may be another
        twin = min(made, key=lambda c: np.linalg.norm(c.position - camera.position))
        for name in ('position', 'rotation', 'focal'):
            assert getattr(twin, name) == pytest.approx(getattr(camera, name), abs=1e-9)


def test_two_cameras_have_two_between():
    made = interpolate_ring(h36m_cameras(['S1'])[:2])
    assert np.sort(degrees(made)) == pytest.approx([-0.6, 179.4], abs=0.1)


def test_views():
    eight = virtual_cameras(8)
    assert eight[:4] == virtual_cameras(4) == h36m_cameras(['S1'])
    assert eight[4:] == interpolate_ring(virtual_cameras(4))
    assert virtual_cameras(1) == eight[:1] and virtual_cameras(2) == eight[:2]
    unseen = virtual_cameras('unseen')
    assert len(unseen) == len({camera.name for camera in eight + unseen}) - 8 == 8
    apart = (degrees(unseen)[:, None] - degrees(eight) + 180) % 360 - 180
    assert np.abs(apart).min() > 9.9  # degrees: half of the narrowest gap of the eight
    for camera in unseen + eight:  # the capture space is in front of all, well inside the picture
        corners = np.array([[x, y, z] for x in (-.5, .5) for y in (-.5, .5) for z in (0.3, 1.5)])
        local = camera.world_to_camera(corners)
        assert local[:, 2].min() > 2
        assert 0 < camera.project(local).min() < camera.project(local).max() < 1000


@pytest.mark.parametrize('views', [0, 9, 2.5, 'all', None])
def test_unknown_views(views):
    with pytest.raises(ValueError, match="views: expected 1 to 8 or 'unseen', found"):
        virtual_cameras(views)


def test_no_ring():
    camera = h36m_cameras(['S1'])[0]
    with pytest.raises(ValueError, match='at least two for a ring, found 1'):
        interpolate_ring([camera])
    with pytest.raises(ValueError, match='different azimuths .* found .69.6'):
        interpolate_ring([camera, camera])
    above = replace(camera, position=[0, 0, 3])
    with pytest.raises(ValueError, match=r'at \[5\.\d+, 0\.0\] m from the axis'):
        interpolate_ring([camera, above])
    with pytest.raises(ValueError, match='found parallel ones'):
        ring_target([camera, replace(camera, position=[1, 2, 3])])
