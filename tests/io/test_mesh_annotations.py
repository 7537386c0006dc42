"""Annotation files of body meshes: every layout, what is left out, and errors."""

import copy
import re

import numpy as np
import pytest

from mmpose_lift.geometry.skeletons import get_skeleton, joint_map
from mmpose_lift.io.readers.mesh_annotations import read_mesh_annotations
from tests.mesh_files import (
    L_FIRST,
    SIZE,
    h36m_content,
    make_people,
    threedpw_content,
    write_json,
)


@pytest.fixture
def read(tmp_path):
    return lambda content, layout='h36m', **options: read_mesh_annotations(
        write_json(tmp_path / 'people.json', content), layout, **options)


@pytest.fixture
def h36m():
    return copy.deepcopy(h36m_content(make_people()))


def test_h36m_is_metres_in_our_joint_order(read, h36m):
    truth, people = make_people(), read(h36m)
    assert people.notes == ()
    for name, expected in (('joints', truth['joints']), ('h36m_joints', truth['h36m']),
                           ('betas', truth['betas']), ('poses', truth['poses']),
                           ('twists', truth['twists']), ('roots', truth['roots'])):
        np.testing.assert_allclose(getattr(people, name), expected, atol=1e-5)
    assert people.joints_valid.all() and people.twists_valid.all() and people.body_valid.all()
    assert people.subjects[0] == b'S9' and people.actions[0] == b'Directions'
    assert people.images[1] == b's_09_act_02_subact_01_ca_02/000001.jpg'
    assert people.image_ids.tolist() == list(range(100, 106))
    np.testing.assert_allclose(people.boxes[:, :2], truth['boxes'][:, :2].clip(0), atol=1e-4)
    np.testing.assert_array_equal(people.cameras[0, :2, 2], truth['centre'].astype(np.float32))


def test_29_joints_and_absent_labels(read, h36m):
    first, second, third = h36m['annotations'][:3]
    first['smpl_joints'] += [[0, 0, 0]] * 5
    del second['betas']
    third['angle_twist']['angle'][4] = -999
    third['angle_twist']['angle'][5] = third['angle_twist']['cos'][6] = float('nan')
    third['angle_twist']['cos'][7] = third['angle_twist']['sin'][7] = 0
    people = read(h36m)
    np.testing.assert_allclose(people.joints[0], make_people()['joints'][0], atol=1e-5)
    assert people.body_valid.tolist() == [True, False, True, True, True, True]
    assert np.flatnonzero(~people.twists_valid[2]).tolist() == [4, 5, 6, 7]
    assert not people.twists[2, 4:8].any()
    for annotation in h36m['annotations']:
        del annotation['angle_twist'], annotation['smpl_joints']
    people = read(h36m)
    assert people.twists is None and people.joints is None
    np.testing.assert_allclose(people.roots, make_people()['roots'], atol=1e-5)


def test_h36m_choices(read, h36m):
    assert read(h36m, cameras=[2]).ids.tolist() == [1, 5]
    assert read(h36m, interval=4).ids.tolist() == [0, 4]
    assert len(read(h36m, subjects=['S9', 'S11'])) == 6
    with pytest.raises(ValueError, match='nobody left with subjects'):
        read(h36m, subjects=['S1'])
    h36m['images'][3]['file_name'] = 's_09_act_13_subact_01_ca_01/000001.jpg'
    people = read(h36m)
    assert people.ids.tolist() == [0, 1, 2, 4, 5]
    assert people.notes == ('people.json: 1 people left out: clips whose recorded positions are '
                            'known to be wrong', )


@pytest.mark.parametrize('joints', [28, 17])
def test_mpi_inf_3dhp(read, joints):
    source = {28: 'mpi_inf_3dhp_28', 17: 'mpi_inf_3dhp'}[joints]
    points = np.random.default_rng(0).uniform(2000, 4000, (2, joints, 3))
    matrix = [[900, 0, 512], [0, 910, 500], [0, 0, 1]]
    content = dict(
        images=[dict(file_name=f'TS1/img_{i}.jpg', width=1024, height=1000) for i in range(2)],
        annotations=[dict(bbox=[5, 6, 500, 600], keypoints_cam=points[i].tolist(), activity_id=i,
                          cam_param=dict(intrinsic_param=[matrix, np.ravel(matrix).tolist()][i]))
                     for i in range(2)])
    people = read(content, 'mpi_inf_3dhp')
    skeleton = get_skeleton(source)
    known = np.flatnonzero(people.joints_valid[0]).tolist()
    assert known == [0, 4, 5, 7, 8, 12, 16, 17, 18, 19, 20, 21]
    for name in ('pelvis', 'left_knee', 'right_wrist', 'neck'):
        np.testing.assert_allclose(
            people.joints[:, get_skeleton('smpl').index(name)],
            points[:, skeleton.common_names.index(name)] / 1000, rtol=1e-6)
    np.testing.assert_allclose(people.h36m_joints,
                               points[:, list(joint_map(source, 'h36m'))] / 1000, rtol=1e-6)
    np.testing.assert_array_equal(people.cameras, np.float32([matrix, matrix]))
    assert people.actions.tolist() == [b'activity0', b'activity1'] and people.subjects[0] == b'TS1'
    assert people.poses is None and people.notes == ()
    content['annotations'][1]['cam_param']['intrinsic_param'] = [1, 2]
    with pytest.raises(ValueError, match='intrinsic_param, found 2 numbers'):
        read(content, 'mpi_inf_3dhp')
    del content['annotations'][0]['keypoints_cam'][0]
    with pytest.raises(ValueError, match='expected keypoints_cam of 28'):
        content['annotations'][1]['cam_param']['intrinsic_param'] = matrix
        read(content, 'mpi_inf_3dhp')


def test_the_maps_into_smpl_are_the_published_ones():
    from mmpose_lift.geometry.skeletons import partial_joint_map
    coco = {13: 4, 14: 5, 15: 7, 16: 8, 5: 16, 6: 17, 7: 18, 8: 19, 9: 20, 10: 21}
    assert dict(partial_joint_map('coco', 'smpl')) == coco
    mpi = {4: 0, 19: 4, 24: 5, 20: 7, 25: 8, 5: 12, 9: 16, 14: 17, 10: 18, 15: 19, 11: 20, 16: 21}
    assert dict(partial_joint_map('mpi_inf_3dhp_28', 'smpl')) == mpi


def test_3dpw(read):
    truth, people = make_people(), read(threedpw_content(make_people()), '3dpw')
    for name, key in (('joints', 'joints'), ('h36m_joints', 'h36m'), ('poses', 'poses')):
        np.testing.assert_allclose(getattr(people, name), truth[key], atol=1e-5)
    assert people.images[2] == b'downtown_walk_00/image_00002.jpg'
    assert people.genders[0] == b'female' and people.twists is None


def test_coco(read):
    keypoints = np.zeros((17, 3))
    keypoints[[5, 0, 9]] = [[30, 40, 2], [35, 20, 2], [60, 50, 1]]

    def person(i, **more):
        return dict(id=i, image_id=7, bbox=[10, 10, 80, 100], iscrowd=0, num_keypoints=3,
                    keypoints=keypoints.reshape(-1).tolist(), **more)

    head = keypoints.copy()
    head[[5, 9]] = 0
    content = dict(images=[dict(id=7, file_name='a.jpg', width=SIZE[0], height=SIZE[1])],
                   annotations=[person(0), {**person(1), 'iscrowd': 1},
                                {**person(2), 'num_keypoints': 0},
                                {**person(3), 'keypoints': head.reshape(-1).tolist()}])
    people = read(content, 'coco')
    assert people.ids.tolist() == [0] and people.joints is None and people.roots is None
    smpl = get_skeleton('smpl')
    known = [smpl.index('left_shoulder'), smpl.index('left_wrist')]
    assert np.flatnonzero(people.keypoints_valid[0]).tolist() == known
    np.testing.assert_array_equal(people.keypoints[0, known], keypoints[[5, 9], :2])
    np.testing.assert_array_equal(people.cameras[0], [[200, 0, 100], [0, 200, 80], [0, 0, 1]])
    assert read(content, 'coco', focal=1000.).cameras[0, 0, 0] == 1000
    assert [note.split(':')[1][:4].strip() for note in people.notes] == ['2 p', '1 p']
    keypoints[[11, 12]] = [[20, 60, 1], [40, 64, 2]]
    assert not people.keypoints_valid[0, 0]
    content['annotations'][0]['keypoints'] = keypoints.reshape(-1).tolist()
    people = read(content, 'coco', mid_hip=True)
    assert people.keypoints_valid[0, 0] and people.keypoints[0, 0].tolist() == [30, 62]


def test_joints_that_are_no_numbers_are_not_valid(read, h36m):
    h36m['annotations'][1]['smpl_joints'][3] = [float('nan')] * 3
    h36m['annotations'][2]['bbox'] = [-50, 10, 20, 20]
    h36m['annotations'][3]['bbox'] = [10, 10, float('nan'), 20]
    people = read(h36m)
    assert people.ids.tolist() == [0, 1, 4, 5]
    assert np.argwhere(~people.joints_valid).tolist() == [[1, 3]]
    assert np.isfinite(people.joints).all()
    assert [note.split(': ')[1] for note in people.notes] == [
        '1 people with joints that are no numbers', '2 people left out']


def change(path, value):
    def apply(content):
        *keys, last = path
        for key in keys:
            content = content[key]
        if value is KeyError:
            del content[last]
        else:
            content[last] = value
    return apply


@pytest.mark.parametrize('apply, message', [
    (change(['annotations', 1, 'cam_param'], KeyError),
     r'people.json: annotation 1 \(s_09.*\) has no cam_param.f'),
    (change(['annotations', 2, 'cam_param', 'f'], [0, 5]), 'expected a camera with positive focal'),
    (change(['annotations', 2, 'cam_param', 'f'], [5]), 'expected 2 numbers in cam_param.f'),
    (change(['annotations', 0, 'bbox'], KeyError), 'has no bbox'),
    (change(['images', 0, 'width'], KeyError), 'has no width'),
    (change(['annotations', 1, 'image_id'], 5), 'annotation 1 is of image 5, which is not in'),
    (change(['annotations', 1, 'image_id'], KeyError), None),
    (change(['annotations', 1, 'h36m_joints'], [[1, 2, 3]]),
     'expected 51 numbers in h36m_joints, found 3'),
    (change(['annotations'], []), 'no annotations'),
    (change(['annotations'], KeyError), r'expected {"images": \[...\], "annotations": \[...\]}'),
])
def test_files_of_another_form(read, h36m, apply, message):
    apply(h36m)
    if message is None:  # as many pictures as people: one to one
        assert len(read(h36m)) == 6
        h36m['images'].pop()
        message = '5 images and 6 annotations without image_id'
    with pytest.raises(ValueError, match=message):
        read(h36m)


def test_units_are_checked(read, h36m):
    for annotation in h36m['annotations']:
        annotation['smpl_joints'] = (np.array(annotation['smpl_joints']) / 1000).tolist()
    with pytest.raises(ValueError, match='median depth of 0.00.* when read in millimetres'):
        read(h36m)


def test_other_files(tmp_path, read, h36m):
    with pytest.raises(FileNotFoundError, match='no such annotation file'):
        read_mesh_annotations(tmp_path / 'none.json', 'h36m')
    (tmp_path / 'half.json').write_text('{"images": [')
    with pytest.raises(ValueError, match='half.json: no json'):
        read_mesh_annotations(tmp_path / 'half.json', 'h36m')
    with pytest.raises(ValueError, match='layout: expected one of h36m'):
        read(h36m, 'lsp')
    for layout, options in (('h36m', 'subjects, cameras, interval'), ('3dpw', 'none'),
                            ('coco', 'focal, mid_hip')):
        with pytest.raises(ValueError, match=f"layout '{layout}' has no option fps, step; its "
                           f'options: {options}$'):
            read_mesh_annotations(tmp_path / 'people.json', layout, step=2, fps=3)
    for annotation in h36m['annotations']:
        annotation['bbox'] = [500, 0, 10, 10]
    with pytest.raises(ValueError, match=re.escape('nobody left of 6 annotations')):
        read(h36m)


def test_left_leg_first_is_left(read, h36m):
    """The files' second joint is the left hip."""
    people, left = read(h36m), get_skeleton('h36m').index('left_hip')
    expected = np.array(h36m['annotations'][0]['h36m_joints'])[1] / 1000
    np.testing.assert_allclose(people.h36m_joints[0, left], expected, atol=1e-6)
    assert L_FIRST[1] == left
