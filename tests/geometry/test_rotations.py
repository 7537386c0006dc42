"""Rotation formats against scipy."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from mmpose_lift.geometry.rotations import (
    axis_angle_to_matrix,
    euler_to_matrix,
    matrix_to_quaternion,
    quaternion_to_matrix,
    slerp,
)


def test_quaternion_both_ways(rng):
    rotation = Rotation.random(200, random_state=0)
    wxyz = rotation.as_quat()[:, [3, 0, 1, 2]]
    np.testing.assert_allclose(quaternion_to_matrix(wxyz * 3), rotation.as_matrix(), atol=1e-12)
    back = matrix_to_quaternion(rotation.as_matrix().reshape(20, 10, 3, 3)).reshape(-1, 4)
    np.testing.assert_allclose(back, np.where(wxyz[:, :1] < 0, -wxyz, wxyz), atol=1e-12)


def test_matrix_to_quaternion_at_half_turns():
    for axis in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [-0.48, 0.6, 0.64]):
        matrix = Rotation.from_rotvec(np.pi * np.array(axis)).as_matrix()
        np.testing.assert_allclose(quaternion_to_matrix(matrix_to_quaternion(matrix)), matrix,
                                   atol=1e-12)


@pytest.mark.parametrize('order', ['zyx', 'XYZ', 'zxy', 'yz', 'x'])
def test_euler(rng, order):
    angles = rng.uniform(-180, 180, (6, 5, len(order)))
    expected = np.array([Rotation.from_euler(order.upper(), a, degrees=True).as_matrix()
                         for a in angles.reshape(-1, len(order))]).reshape(6, 5, 3, 3)
    np.testing.assert_allclose(euler_to_matrix(angles, order, degrees=True), expected, atol=1e-12)
    np.testing.assert_allclose(euler_to_matrix(np.deg2rad(angles), order), expected, atol=1e-12)


def test_axis_angle(rng):
    vectors = rng.normal(size=(50, 3))
    vectors[:3] = [[0, 0, 0], [1e-9, 0, 0], [np.pi, 0, 0]]
    np.testing.assert_allclose(axis_angle_to_matrix(vectors),
                               Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)


def test_slerp(rng):
    ends = Rotation.random(2, random_state=1)
    a, b = ends.as_quat()[:, [3, 0, 1, 2]]
    t = np.linspace(0, 1, 7)
    expected = Slerp([0, 1], ends)(t).as_matrix()
    out = slerp(np.tile(a, (7, 1)), np.tile(-b, (7, 1)), t)  # the sign of an end does not matter
    np.testing.assert_allclose(quaternion_to_matrix(out), expected, atol=1e-12)
    same = slerp(a, a + 1e-12, 0.5)
    assert np.isfinite(same).all() and abs(np.linalg.norm(same) - 1) < 1e-12


def test_errors():
    with pytest.raises(ValueError, match=r'\(\.\.\., 4\), found \(3,\)'):
        quaternion_to_matrix([1., 0, 0])
    with pytest.raises(ValueError, match='length zero'):
        quaternion_to_matrix([0., 0, 0, 0])
    with pytest.raises(ValueError, match="'zwx'"):
        euler_to_matrix([0., 0, 0], 'zwx')
    with pytest.raises(ValueError, match=r'\(\.\.\., 2\)'):
        euler_to_matrix([0., 0, 0], 'zx')
