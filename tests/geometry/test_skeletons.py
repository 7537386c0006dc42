"""The skeleton table against the published index lists."""

from pathlib import Path

import mmpose
import numpy as np
import pytest
from mmengine.config import Config

from mmpose_lift.geometry.skeletons import (
    convert_keypoints,
    get_skeleton,
    joint_map,
    partial_joint_map,
    skeleton_names,
)

JOINTS = dict(h36m=17, h36m_16=16, h36m_l_first=17, uplift_upsample=17, coco=17,
              mpi_inf_3dhp_28=28, mpi_inf_3dhp=17, humaneva=15, smpl=24, lsp_14=14, h36m_32=32,
              halpe_26=26, halpe=136, coco_wholebody=133)

PARENTS = dict(
    h36m=[-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15],
    h36m_16=[-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14],
    uplift_upsample=[1, 2, 6, 6, 3, 4, -1, 8, 6, 7, 9, 12, 13, 7, 7, 14, 15],
    mpi_inf_3dhp=[16, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, -1, 14, 1],
    mpi_inf_3dhp_28=[2, 0, 3, 4, -1, 1, 5, 6, 5, 8, 9, 10, 11, 5, 13, 14, 15, 16, 4, 18, 19, 20,
                     21, 4, 23, 24, 25, 26],
    humaneva=[-1, 0, 1, 2, 3, 1, 5, 6, 0, 8, 9, 0, 11, 12, 1],
    smpl=[-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21],
    h36m_32=[-1, 0, 1, 2, 3, 4, 0, 6, 7, 8, 9, 0, 11, 12, 13, 14, 12, 16, 17, 18, 19, 20, 19, 22,
             12, 24, 25, 26, 27, 28, 27, 30])

FLIPS = dict(
    h36m=[0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13],
    h36m_16=[0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 13, 14, 15, 10, 11, 12],
    uplift_upsample=[5, 4, 3, 2, 1, 0, 6, 7, 8, 9, 10, 16, 15, 14, 13, 12, 11],
    coco=[0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15],
    mpi_inf_3dhp=[0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 14, 15, 16],
    humaneva=[0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 14],
    lsp_14=[5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13])

MAPS = {
    ('h36m', 'h36m_l_first'): [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
    ('h36m', 'h36m_16'): [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16],
    ('h36m', 'uplift_upsample'): [3, 2, 1, 4, 5, 6, 0, 8, 7, 9, 10, 16, 15, 14, 11, 12, 13],
    ('uplift_upsample', 'h36m'): [6, 2, 1, 0, 3, 4, 5, 8, 7, 9, 10, 14, 15, 16, 13, 12, 11],
    ('h36m_32', 'h36m'): [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27],
    ('h36m_32', 'uplift_upsample'): [3, 2, 1, 6, 7, 8, 0, 13, 12, 14, 15, 27, 26, 25, 17, 18, 19],
    ('h36m_l_first', 'uplift_upsample'):
        [6, 5, 4, 1, 2, 3, 0, 8, 7, 9, 10, 16, 15, 14, 11, 12, 13],
    ('mpi_inf_3dhp_28', 'mpi_inf_3dhp'):
        [7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6],
    ('mpi_inf_3dhp', 'h36m'): [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4],
    ('h36m', 'mpi_inf_3dhp'): [10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6, 0, 7, 9],
    ('mpi_inf_3dhp', 'h36m_l_first'):
        [14, 11, 12, 13, 8, 9, 10, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4],
    ('h36m', 'humaneva'): [0, 8, 11, 12, 13, 14, 15, 16, 4, 5, 6, 1, 2, 3, 10],
    ('h36m', 'lsp_14'): [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10],
    ('h36m_l_first', 'lsp_14'): [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10],
}


def test_names_and_sizes():
    assert {name: get_skeleton(name).num_joints for name in skeleton_names()} == JOINTS
    for name in skeleton_names():
        assert len(set(get_skeleton(name).joint_names)) == JOINTS[name]
        assert len(set(get_skeleton(name).common_names)) == JOINTS[name]


@pytest.mark.parametrize('name', PARENTS)
def test_parents(name):
    assert list(get_skeleton(name).parents) == PARENTS[name]


@pytest.mark.parametrize('name', FLIPS)
def test_flip_lists(name):
    assert list(get_skeleton(name).flip_indices) == FLIPS[name]


@pytest.mark.parametrize('pair', MAPS, ids='-'.join)
def test_published_maps(pair):
    assert list(joint_map(*pair)) == MAPS[pair]


def test_flip_pairs_of_the_sheets():
    assert get_skeleton('mpi_inf_3dhp_28').flip_pairs == (
        (8, 13), (9, 14), (10, 15), (11, 16), (12, 17), (18, 23), (19, 24), (20, 25), (21, 26),
        (22, 27))
    assert get_skeleton('smpl').flip_pairs == (
        (1, 2), (4, 5), (7, 8), (10, 11), (13, 14), (16, 17), (18, 19), (20, 21), (22, 23))
    skeleton = get_skeleton('h36m_32')
    assert skeleton.left_joints == (6, 7, 8, 9, 10) + tuple(range(16, 24))
    assert skeleton.right_joints == (1, 2, 3, 4, 5) + tuple(range(24, 32))


def test_h36m_derived_lists():
    skeleton = get_skeleton('h36m')
    assert skeleton.joint_names == (
        'root', 'right_hip', 'right_knee', 'right_foot', 'left_hip', 'left_knee', 'left_foot',
        'spine', 'thorax', 'neck_base', 'head', 'left_shoulder', 'left_elbow', 'left_wrist',
        'right_shoulder', 'right_elbow', 'right_wrist')
    assert skeleton.root_index == 0
    assert skeleton.left_joints == (4, 5, 6, 11, 12, 13)
    assert skeleton.right_joints == (1, 2, 3, 14, 15, 16)
    assert skeleton.hops == (0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 3, 4, 5, 3, 4, 5)
    assert get_skeleton('h36m_16').hops == (0, 1, 2, 3, 1, 2, 3, 1, 2, 3, 3, 4, 5, 3, 4, 5)
    assert set(skeleton.symmetric_bones) == {
        ((0, 4), (0, 1)), ((4, 5), (1, 2)), ((5, 6), (2, 3)), ((8, 11), (8, 14)),
        ((11, 12), (14, 15)), ((12, 13), (15, 16))}
    assert skeleton.index('thorax') == skeleton.index('neck') == 8
    assert skeleton.index('left_ankle') == 6


@pytest.mark.parametrize('name', JOINTS)
def test_structure(name):
    skeleton = get_skeleton(name)
    flip = skeleton.flip_indices
    assert [flip[i] for i in flip] == list(range(skeleton.num_joints))
    left, right = set(skeleton.left_joints), set(skeleton.right_joints)
    assert not left & right and {flip[i] for i in left} == right
    assert all(not n.startswith(('left', 'l_')) for i, n in enumerate(skeleton.joint_names)
               if i not in left)
    assert all(not n.startswith(('right', 'r_')) for i, n in enumerate(skeleton.joint_names)
               if i not in right)
    trees = list(skeleton.parents).count(-1)
    assert trees == (2 if name == 'lsp_14' else 1)
    assert len(skeleton.bones) == skeleton.num_joints - trees
    for joint in range(skeleton.num_joints):
        seen = set()
        while joint >= 0:
            assert joint not in seen
            seen.add(joint)
            joint = skeleton.parents[joint]
    if skeleton.has_root:
        assert skeleton.parents[skeleton.root_index] == -1
        assert skeleton.hops[skeleton.root_index] == 0
    # The tree itself is symmetric: mirrored joints have mirrored parents.
    if name != 'lsp_14':
        for parent, child in skeleton.bones:
            assert skeleton.parents[flip[child]] == flip[parent]


def test_maps_compose_to_the_identity():
    for a in JOINTS:
        assert list(joint_map(a, a)) == list(range(JOINTS[a]))
        for b in JOINTS:
            if JOINTS[a] == JOINTS[b] and a != b:
                try:
                    there, back = joint_map(a, b), joint_map(b, a)
                except ValueError:
                    continue
                assert [there[i] for i in back] == list(range(JOINTS[a])), (a, b)


def test_partial_maps_to_smpl():
    """HybrIK's 2D label maps: neither the hips nor the head are the same joints."""
    coco = {(13, 4), (14, 5), (15, 7), (16, 8), (5, 16), (6, 17), (7, 18), (8, 19), (9, 20),
            (10, 21)}
    assert set(partial_joint_map('coco', 'smpl')) == coco
    mpi = {(4, 0), (19, 4), (24, 5), (20, 7), (25, 8), (5, 12), (9, 16), (14, 17), (10, 18),
           (15, 19), (11, 20), (16, 21)}
    assert set(partial_joint_map('mpi_inf_3dhp_28', 'smpl')) == mpi


@pytest.mark.parametrize('name, file', [
    ('coco', 'coco'), ('coco_wholebody', 'coco_wholebody'), ('halpe', 'halpe'),
    ('halpe_26', 'halpe26'), ('h36m', 'h36m'), ('mpi_inf_3dhp', 'mpi_inf_3dhp')])
def test_joints_of_mmpose(name, file):
    """Names, order and mirror pairs as MMPose's 2D models have them."""
    path = Path(mmpose.__file__).parent / f'.mim/configs/_base_/datasets/{file}.py'
    joints = Config.fromfile(path).dataset_info['keypoint_info']
    joints = [joints[i] for i in range(len(joints))]
    skeleton = get_skeleton(name)
    assert skeleton.joint_names == tuple(joint['name'] for joint in joints)
    mirrored = [joint['swap'] or joint['name'] for joint in joints]
    assert [skeleton.joint_names[i] for i in skeleton.flip_indices] == mirrored


def test_exact_conversion_copies(rng):
    pose = rng.random((3, 17, 3))
    back = convert_keypoints(convert_keypoints(pose, 'h36m', 'uplift_upsample'),
                             'uplift_upsample', 'h36m')
    np.testing.assert_array_equal(back, pose)
    same = convert_keypoints(pose, 'coco', 'coco')
    same[:] = 0
    assert pose.any()


def test_mirroring_twice_is_the_identity(rng):
    pose = rng.random((17, 3))
    flip = list(get_skeleton('h36m').flip_indices)

    def mirror(x):
        return x[flip] * [-1, 1, 1]

    np.testing.assert_array_equal(mirror(mirror(pose)), pose)


def test_errors():
    with pytest.raises(ValueError, match="unknown skeleton 'h3.6m'; choose one of h36m,"):
        get_skeleton('h3.6m')
    with pytest.raises(ValueError, match="'h36m_16' has no joint for neck_base of 'h36m'"):
        joint_map('h36m_16', 'h36m')
    with pytest.raises(ValueError, match='no root'):
        _ = get_skeleton('coco').root_index
    with pytest.raises(ValueError, match="no joint 'tail'"):
        get_skeleton('h36m').index('tail')
    with pytest.raises(ValueError, match=r'\(\.\.\., 17, D\), found \(2, 16, 2\)'):
        convert_keypoints(np.zeros((2, 16, 2)), 'coco', 'h36m')
    with pytest.raises(ValueError, match='has_score=True'):
        convert_keypoints(np.zeros((2, 17, 3)), 'coco', 'h36m')
    with pytest.raises(ValueError, match='x, y, score'):
        convert_keypoints(np.zeros((2, 17, 2)), 'coco', 'h36m', has_score=True)
