"""Targets of body meshes: values, weights and what is not known."""

import numpy as np
import pytest
import torch

from mmpose_lift.codecs import BodyMeshLabel
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.geometry.skeletons import joint_map
from mmpose_lift.geometry.torch_rotations import matrix_to_quaternion_cases
from tests.mesh_files import make_people


@pytest.fixture
def person():
    people = make_people()
    return dict(
        keypoints=np.random.default_rng(0).uniform(0, 200, (1, 24, 2)).astype(np.float32),
        keypoints_visible=np.ones((1, 24), np.float32),
        joints=people['joints'][0].astype(np.float32), joints_valid=np.ones(24, np.float32),
        h36m_joints=people['h36m'][0].astype(np.float32), h36m_valid=np.ones(17, np.float32),
        betas=people['betas'][0].astype(np.float32), poses=people['poses'][0].astype(np.float32),
        body_valid=1., twists=people['twists'][0], twists_valid=np.ones(23, np.float32),
        root_valid=1., depth_factor=2.)


def test_targets_are_those_of_the_paper(person):
    out, people = BodyMeshLabel((200, 400)).encode(**person), make_people()
    relative = people['joints'][0] - people['roots'][0]
    np.testing.assert_allclose(out['target_xyz_24'][0], relative / 2, atol=1e-6)
    np.testing.assert_allclose(out['target_uvd'][0, :, :2],
                               person['keypoints'][0] / [200, 400] - 0.5, atol=1e-6)
    np.testing.assert_allclose(out['target_uvd'][0, :, 2], relative[:, 2] / 2, atol=1e-6)
    h36m = people['h36m'][0] - people['h36m'][0, 0]
    np.testing.assert_allclose(out['gt_h36m_joints'][0], h36m, atol=1e-6)
    np.testing.assert_allclose(out['target_xyz_17'][0],
                               h36m[list(joint_map('h36m', 'h36m_l_first'))] / 2, atol=1e-6)
    rotmats = axis_angle_to_matrix(person['poses'])
    np.testing.assert_allclose(out['gt_rotmats'][0], rotmats, atol=1e-6)
    quaternions = matrix_to_quaternion_cases(torch.from_numpy(rotmats)).reshape(-1)
    np.testing.assert_array_equal(out['target_theta'][0], quaternions)
    assert all(out[key].dtype == np.float32 for key in out)
    assert {key: out[key].shape for key in BodyMeshLabel.label_mapping_table} == dict(
        root_valid=(1, 1), target_uvd=(1, 24, 3), target_uvd_weight=(1, 24, 3),
        target_beta=(1, 10), target_smpl_weight=(1, 1), target_theta=(1, 96),
        target_theta_weight=(1, 96), target_twist=(1, 23, 2), target_twist_weight=(1, 23, 2),
        target_xyz_24=(1, 24, 3), target_xyz_24_weight=(1, 24, 3), target_xyz_17=(1, 17, 3),
        target_xyz_17_weight=(1, 17, 3))
    assert all(out[key].all() for key in out if key.endswith('_weight'))


def test_a_joint_outside_of_the_crop_or_of_the_depth_range_has_no_weight(person):
    person['keypoints'][0, 3, 0] = 201
    person['keypoints'][0, 4, 1] = -1
    person['joints'][5, 2] = person['joints'][0, 2] + 1.01
    person['keypoints'][0, 6] = [0, 200]  # the edge is inside
    weight = BodyMeshLabel(200).encode(**person)['target_uvd_weight'][0]
    assert np.flatnonzero(~weight.any(1)).tolist() == [3, 4, 5]
    assert weight[[0, 1, 2, 6]].all()


def test_2d_people_have_no_depth(person):
    for key in ('joints', 'joints_valid', 'h36m_joints', 'h36m_valid', 'betas', 'poses', 'twists',
                'twists_valid'):
        person[key] = np.zeros_like(person[key])
    person.update(body_valid=0., root_valid=0.)
    person['keypoints_visible'][0, 10:] = 0
    out = BodyMeshLabel(200).encode(**person)
    expected = np.zeros((24, 3))
    expected[:10, :2] = 1
    np.testing.assert_array_equal(out['target_uvd_weight'][0], expected)
    assert not any(out[key].any() for key in out if key.endswith('_weight') and 'uvd' not in key)
    assert not out['root_valid'].any() and not out['target_theta'].any()
    assert all(np.isfinite(value).all() for value in out.values())


def test_unknown_joints_and_twists(person):
    person['joints_valid'][7] = person['twists_valid'][2] = 0
    out = BodyMeshLabel(200).encode(**person)
    assert np.flatnonzero(~out['target_xyz_24_weight'][0].any(1)).tolist() == [7]
    assert out['target_uvd_weight'][0, 7].tolist() == [1, 1, 0]
    assert not out['target_xyz_24'][0, 7].any()
    assert np.flatnonzero(~out['target_twist_weight'][0].any(1)).tolist() == [2]
    person['joints_valid'][0] = 0  # nothing to be relative to
    out = BodyMeshLabel(200).encode(**person)
    assert not out['target_xyz_24_weight'].any() and not out['target_uvd_weight'][..., 2].any()


def test_without_labels_nothing_is_encoded_and_decoding_inverts():
    codec = BodyMeshLabel((200, 100))
    assert codec.encode(np.zeros([]), np.ones((1, 1, 1)), joints=None) == {}
    pixels, scores = codec.decode(np.array([[[0., 0.25, 0.1]]]))
    assert pixels.tolist() == [[[100, 75]]] and scores.tolist() == [[1]]
