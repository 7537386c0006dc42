import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.models.body import (
    BodyModel,
    body_parts,
    stand_in_arrays,
    stand_in_h36m_regressor,
)
from mmpose_lift.models.body.stand_in_body import LANDMARKS, mirror_vertices

MIRROR = np.array([-1, 1, 1])
NAMES = get_skeleton('smpl').joint_names
# the h36m joints that are joints of the body too
SAME = dict(right_hip='right_hip', right_knee='right_knee', right_foot='right_ankle',
            left_hip='left_hip', left_knee='left_knee', left_foot='left_ankle', spine='spine2',
            thorax='neck', neck_base='head', left_shoulder='left_shoulder',
            left_elbow='left_elbow', left_wrist='left_wrist', right_shoulder='right_shoulder',
            right_elbow='right_elbow', right_wrist='right_wrist')


@pytest.fixture(scope='module')
def arrays():
    return stand_in_arrays()


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


def random_pose(batch, size=0.5):
    rng = np.random.default_rng(3)
    return (rng.uniform(-2, 2, (batch, 10)).astype(np.float32),
            axis_angle_to_matrix(rng.normal(0, size, (batch, 24, 3))).astype(np.float32))


def pose(body, betas, rotmats):
    with torch.no_grad():
        return [x.numpy() for x in body(torch.from_numpy(betas), torch.from_numpy(rotmats))]


def test_sizes_and_types(arrays):
    expected = dict(v_template=(6890, 3), shapedirs=(6890, 3, 10), posedirs=(6890, 3, 207),
                    J_regressor=(24, 6890), lbs_weights=(6890, 24), parents=(24, ),
                    faces=(13776, 3))
    assert {name: array.shape for name, array in arrays.items()} == expected
    for name, array in arrays.items():
        assert array.dtype == (np.int64 if name in ('faces', 'parents') else np.float32)
        assert np.isfinite(array).all() and not array.flags.writeable
    assert tuple(arrays['parents']) == get_skeleton('smpl').parents


def test_surface_is_closed_of_genus_0_and_outward(arrays):
    vertices, faces = arrays['v_template'].astype(float), arrays['faces']
    edges = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    number = edges[:, 0] * 6890 + edges[:, 1]
    assert len(np.unique(number)) == len(number)  # no directed edge twice
    assert set(number) == set(edges[:, 1] * 6890 + edges[:, 0])  # each once the other way round
    assert len(np.unique(faces)) == 6890
    assert 6890 - len(edges) // 2 + len(faces) == 2
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    assert 0.055 < (a * np.cross(b, c)).sum() / 6 < 0.085  # cubic metres: outward, and a person


def test_triangles_are_well_shaped(arrays):
    corners = arrays['v_template'].astype(float)[arrays['faces']]
    sides = np.linalg.norm(corners - np.roll(corners, -1, 1), axis=-1)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]),
                          axis=-1) / 2
    quality = 4 * np.sqrt(3) * area / (sides**2).sum(1)  # 1 for equal sides
    assert quality.min() > 0.3 and np.median(quality) > 0.9
    assert sides.max() < 0.045


def test_no_self_intersection_at_rest(arrays):
    vertices, faces = arrays['v_template'].astype(float), arrays['faces']
    corners = vertices[faces]
    centre = corners.mean(1)
    reach = np.linalg.norm(corners - centre[:, None], axis=-1).max()
    pairs = cKDTree(centre).query_pairs(2 * reach, output_type='ndarray')
    apart = ~(faces[pairs[:, 0]][:, :, None] == faces[pairs[:, 1]][:, None]).any((1, 2))
    pairs = np.concatenate([pairs[apart], pairs[apart][:, ::-1]])
    # an edge of the first must not cross the second: first the corners on both sides of its plane
    origin = corners[pairs[:, 1], 0]
    u, v = (corners[pairs[:, 1], i] - origin for i in (1, 2))
    normal = np.cross(u, v)
    height = ((corners[pairs[:, 0]] - origin[:, None]) * normal[:, None]).sum(-1)
    crosses = (height.min(1) < 0) & (height.max(1) > 0)
    pairs, origin, u, v, normal = (x[crosses] for x in (pairs, origin, u, v, normal))
    for i in range(3):
        start = corners[pairs[:, 0], i] - origin
        way = corners[pairs[:, 0], (i + 1) % 3] - corners[pairs[:, 0], i]
        with np.errstate(divide='ignore', invalid='ignore'):
            t = -(start * normal).sum(1) / (way * normal).sum(1)
        hit = start + t[:, None] * way
        square = (normal**2).sum(1)
        s1 = (np.cross(hit, v) * normal).sum(1) / square
        s2 = (np.cross(u, hit) * normal).sum(1) / square
        assert not ((t >= 0) & (t <= 1) & (s1 >= 0) & (s2 >= 0) & (s1 + s2 <= 1)).any()


def test_mirror_symmetry(arrays, body):
    mirror, flip = mirror_vertices(), list(get_skeleton('smpl').flip_indices)
    np.testing.assert_array_equal(mirror[mirror], np.arange(6890))
    template = arrays['v_template']
    np.testing.assert_allclose(template[mirror], template * MIRROR, atol=1e-6)
    np.testing.assert_allclose(arrays['lbs_weights'][mirror], arrays['lbs_weights'][:, flip],
                               atol=1e-6)
    # the mirrored pose, with all blend shapes, gives the mirrored body
    betas, rotmats = random_pose(2)
    mirrored = np.ascontiguousarray(rotmats[:, flip] * np.outer(MIRROR, MIRROR).astype(np.float32))
    vertices, joints = pose(body, betas, rotmats)
    other, other_joints = pose(body, betas, mirrored)
    np.testing.assert_allclose(other, vertices[:, mirror] * MIRROR, atol=2e-5)
    np.testing.assert_allclose(other_joints, joints[:, flip] * MIRROR, atol=2e-5)


def test_person_of_human_size(arrays):
    template, joints = arrays['v_template'], arrays['J_regressor'] @ arrays['v_template']
    joint = dict(zip(NAMES, joints))

    def length(*names):
        return sum(np.linalg.norm(joint[a] - joint[b]) for a, b in zip(names, names[1:]))

    assert 1.65 < np.ptp(template[:, 1]) < 1.8
    assert 0.34 < length('left_hip', 'left_knee') < 0.43
    assert 0.39 < length('left_knee', 'left_ankle') < 0.46
    assert 0.43 < length('left_shoulder', 'left_elbow', 'left_wrist') < 0.55
    assert joint['left_hip'][0] > 0 > joint['right_hip'][0]
    # face and feet to the front
    assert template[LANDMARKS['nose'], 2] > joint['head'][2] + 0.1
    assert template[LANDMARKS['left_big_toe'], 2] > joint['left_ankle'][2] + 0.15


def test_landmarks_have_the_numbers_of_smpl(arrays):
    assert LANDMARKS == dict(
        nose=332, right_eye=6260, left_eye=2800, right_ear=4071, left_ear=583, head_top=411,
        left_middle_finger=2445, right_middle_finger=5905, left_big_toe=3216, right_big_toe=6617)
    template, mirror, parts = arrays['v_template'], mirror_vertices(), body_parts()
    at = {name: template[number] for name, number in LANDMARKS.items()}
    assert at['nose'][2] == template[np.abs(template[:, 0]) < 0.05][parts[
        np.abs(template[:, 0]) < 0.05] == NAMES.index('head'), 2].max()
    assert at['nose'][0] == at['head_top'][0] == 0
    assert at['head_top'][1] == template[:, 1].max()
    assert at['left_middle_finger'][0] > template[:, 0].max() - 0.01
    assert at['left_ear'][0] > template[parts == NAMES.index('head'), 0].max() - 0.01
    assert 0.02 < at['left_eye'][0] < 0.04 < at['left_eye'][2] < at['nose'][2]
    assert at['nose'][1] < at['left_eye'][1] < at['head_top'][1]
    for name in ('eye', 'ear', 'middle_finger', 'big_toe'):
        assert mirror[LANDMARKS[f'left_{name}']] == LANDMARKS[f'right_{name}']


def test_weights_and_regressor(arrays):
    weights, regressor = arrays['lbs_weights'], arrays['J_regressor']
    assert weights.min() >= 0 and (weights > 0).sum(1).max() <= 4
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(regressor.sum(1), 1, atol=1e-5)
    assert (regressor != 0).sum(1).max() <= 200
    # smooth: neighbouring vertices have similar weights
    faces = arrays['faces']
    assert np.abs(weights[faces] - weights[np.roll(faces, 1, 1)]).max() < 0.4  # a step of 3 cm
    parts = body_parts()
    assert parts.shape == (6890, ) and set(parts) == set(range(24))


def test_h36m_joints_follow_shape_and_pose(body):
    regressor = stand_in_h36m_regressor()
    np.testing.assert_allclose(regressor.sum(1), 1, atol=1e-5)
    h36m = get_skeleton('h36m').joint_names
    rest = np.zeros((1, 10), np.float32), np.eye(3, dtype=np.float32)[None, None].repeat(24, 1)
    for inputs, limit in ((rest, 1e-4), (random_pose(8), 0.01)):
        vertices, joints = pose(body, *inputs)
        found = dict(zip(h36m, np.moveaxis(regressor @ vertices, 1, 0)))
        for name, own in SAME.items():
            distance = np.linalg.norm(found[name] - joints[:, NAMES.index(own)], axis=-1)
            assert distance.max() < limit, name
        hips = (joints[:, NAMES.index('left_hip')] + joints[:, NAMES.index('right_hip')]) / 2
        assert np.linalg.norm(found['root'] - hips, axis=-1).max() < limit
    up = {name: found[0, 1] for name, found in zip(
        h36m, np.moveaxis(regressor @ pose(body, *rest)[0], 1, 0))}
    assert 0.08 < up['neck_base'] - up['thorax'] < 0.11
    assert abs(up['head'] - body.template[1].max()) < 0.02
    assert 0 < up['thorax'] - up['left_shoulder'] < 0.08


def test_shapes_are_plausible_and_seeded(arrays, body):
    rest = np.eye(3, dtype=np.float32)[None, None].repeat(24, 1)
    for direction in range(10):
        for size in (-2, 2):
            betas = np.zeros((1, 10), np.float32)
            betas[0, direction] = size
            vertices, _ = pose(body, betas, rest)
            assert 1.5 < np.ptp(vertices[0, :, 1]) < 1.9
    other = stand_in_arrays(seed=1)
    for name in arrays:
        same = np.array_equal(arrays[name], other[name])
        assert same == (name not in ('shapedirs', 'posedirs')), name
    assert 1e-3 < np.abs(arrays['posedirs']).max() < 0.02
