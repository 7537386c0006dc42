"""Labels made from body parameters, and 3DPW's own files, through the command line too."""

import copy
import importlib.util
import json
import pickle

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mmpose_lift.apis.mesh_labels import complete_labels, convert_3dpw
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.io.readers.mesh_annotations import read_mesh_annotations
from mmpose_lift.io.readers.threedpw import read_3dpw_sequence
from mmpose_lift.io.restricted_pickle import UnsafePickleError
from mmpose_lift.models.body.stand_in_body import stand_in_arrays
from tests.mesh_files import (
    L_FIRST,
    body,
    h36m_content,
    make_people,
    pose_body,
    threedpw_content,
    write_json,
)

FRAMES = 5


@pytest.fixture(scope='module')
def body_files(tmp_path_factory):
    """The stand-in as body model files of both genders, and its regressor."""
    folder = tmp_path_factory.mktemp('bodies')
    arrays = stand_in_arrays()
    for gender in ('neutral', 'female', 'male'):
        np.savez(folder / f'SMPL_{gender.upper()}.npz', **arrays, gender=gender)
    regressor = body().require_h36m_regressor().numpy()
    np.save(folder / 'regressor.npy', regressor[L_FIRST])
    return folder


@pytest.fixture
def run(root_dir):
    spec = importlib.util.spec_from_file_location('prepare', root_dir / 'tools/prepare_data.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return lambda *words: tool.main([str(word) for word in words])


def sequence(rng, cut=0) -> dict:
    """A file of 3DPW with two people, in the world; the camera moves."""
    people = make_people(2 * FRAMES, seed=7)
    content = dict(sequence='downtown_walk_00', genders=['f', 'm'], betas=[], poses=[], trans=[],
                   jointPositions=[], campose_valid=[], poses2d=[])
    views = np.tile(np.eye(4), (FRAMES, 1, 1))
    views[:, :3, :3] = axis_angle_to_matrix(rng.normal(0, 1, (FRAMES, 3)))
    views[:, :3, 3] = rng.normal(0, 1, (FRAMES, 3))
    for actor in range(2):
        rows = slice(actor * FRAMES, (actor + 1) * FRAMES)
        betas = people['betas'][actor * FRAMES]
        # the pose in the camera is that of `people`: undo the camera
        poses = people['poses'][rows].copy()
        turned = views[:, :3, :3].swapaxes(1, 2) @ axis_angle_to_matrix(poses[:, 0])
        poses[:, 0] = Rotation.from_matrix(turned).as_rotvec()
        _, joints, _, _ = pose_body(np.tile(betas, (FRAMES, 1)), poses)
        roots = (people['roots'][rows] - views[:, :3, 3])[:, None] @ views[:, :3, :3]
        trans = roots[:, 0] - joints[:, 0]
        content['betas'].append(betas)
        content['poses'].append(poses.reshape(FRAMES, 72))
        content['trans'].append(trans)
        content['jointPositions'].append((joints + trans[:, None]).reshape(FRAMES, 72))
        content['campose_valid'].append(np.arange(FRAMES) >= cut)
        content['poses2d'].append(np.ones((FRAMES, 3, 18)))
    content.update(cam_poses=views, img_frame_ids=np.arange(FRAMES),
                   cam_intrinsics=np.array([[210., 0, 100], [0, 220, 80], [0, 0, 1]]))
    return content


def save(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def test_labels_follow_from_the_parameters():
    expected = h36m_content(make_people())
    content = copy.deepcopy(expected)
    del content['annotations'][5]['thetas']
    for annotation in content['annotations']:
        for key in ('smpl_joints', 'h36m_joints', 'angle_twist', 'bbox'):
            del annotation[key]
    report = complete_labels(content, 'people', 'h36m', dict(neutral=body()))
    assert (report.people, report.completed, report.residual) == (6, 5, None)
    assert '(the others have no shape' in str(report)
    assert 'bbox' not in content['annotations'][5]
    for made, truth in zip(content['annotations'][:5], expected['annotations']):
        for key in ('smpl_joints', 'h36m_joints', 'root_coord'):
            np.testing.assert_allclose(made[key], truth[key], atol=0.01)
        low = np.clip(truth['bbox'][:2], 0, None)  # the file's box is not cut at the picture
        np.testing.assert_allclose(made['bbox'][:2], low, atol=0.02)
        angles = np.array(made['angle_twist']['angle'])
        known = angles > -10
        assert known.sum() == 18
        np.testing.assert_allclose(angles[known],
                                   np.array(truth['angle_twist']['angle'])[known], atol=1e-4)


def test_labels_that_are_there_are_kept_unless_replaced():
    content = threedpw_content(make_people())
    for annotation in content['annotations']:
        annotation['smpl_joint_cam'][3][0] += 0.24  # of one joint: a hundredth on average
    bodies = dict(female=body())
    kept = copy.deepcopy(content)
    report = complete_labels(kept, 'people', '3dpw', bodies)
    assert abs(report.residual - 0.01) < 1e-4 and '10.0 mm' in str(report)
    assert kept['annotations'][0]['smpl_joint_cam'] == content['annotations'][0]['smpl_joint_cam']
    complete_labels(content, 'people', '3dpw', bodies, replace=True)
    np.testing.assert_allclose(content['annotations'][0]['smpl_joint_cam'],
                               make_people()['joints'][0], atol=1e-5)


def test_what_is_needed_to_make_labels():
    content = threedpw_content(make_people())
    with pytest.raises(ValueError, match='annotation 0 .* the body is female, but .* for male'):
        complete_labels(content, 'people', '3dpw', dict(male=body()))
    with pytest.raises(ValueError, match="found none; is the layout 'h36m'"):
        complete_labels(content, 'people', 'h36m', dict(neutral=body()))
    with pytest.raises(ValueError, match='layout: expected one of h36m, 3dpw'):
        complete_labels(content, 'people', 'coco', {})
    for annotation, image in zip(content['annotations'], content['images']):
        del annotation['bbox'], image['cam_param']
    with pytest.raises(ValueError, match='has neither bbox nor cam_param.focal'):
        complete_labels(content, 'people', '3dpw', dict(female=body()))


def test_3dpw_is_turned_into_the_camera(tmp_path, rng):
    content = read_3dpw_sequence(save(tmp_path / 'walk.pkl', sequence(rng)))
    assert len(content['annotations']) == 2 * FRAMES and len(content['images']) == FRAMES
    assert content['images'][3] == dict(
        id=3, sequence='downtown_walk_00', file_name='image_00003.jpg', width=200, height=160,
        cam_param=dict(focal=[210, 220], princpt=[100, 80]))
    people = make_people(2 * FRAMES, seed=7)
    for i, annotation in enumerate(content['annotations']):
        parameters = annotation['smpl_param']
        np.testing.assert_allclose(
            axis_angle_to_matrix(np.reshape(parameters['pose'], (24, 3))),
            axis_angle_to_matrix(people['poses'][i]), atol=1e-4)
        joints = pose_body([parameters['shape']], parameters['pose'])[1][0]
        seen = np.array(annotation['smpl_joint_cam'])
        np.testing.assert_allclose(seen[0], people['roots'][i], atol=1e-4)
        np.testing.assert_allclose(joints - joints[0], seen - seen[0], atol=1e-4)
        assert parameters['gender'] == ('female' if i < FRAMES else 'male')


def test_3dpw_frames_that_are_left_out(tmp_path, rng):
    content = sequence(rng, cut=1)
    content['poses2d'][0][2, 2, 5:] = 0
    content['cam_poses'][4, 2, 3] -= 20  # behind the camera
    found = [(a['actor'], a['image_id']) for a in
             read_3dpw_sequence(save(tmp_path / 'walk.pkl', content))['annotations']]
    assert found == [(0, 1), (0, 3), (1, 1), (1, 2), (1, 3)]


def test_3dpw_files_of_another_form(tmp_path, rng):
    content = sequence(rng)
    content['poses'][1] = content['poses'][1][:, :66]
    with pytest.raises(ValueError, match=r'walk.pkl: expected shape \(5, 72\) of poses of person'):
        read_3dpw_sequence(save(tmp_path / 'walk.pkl', content))
    with pytest.raises(ValueError, match='found no cam_poses, genders'):
        read_3dpw_sequence(save(tmp_path / 'walk.pkl', {
            key: value for key, value in content.items() if key not in ('cam_poses', 'genders')}))
    with pytest.raises(ValueError, match="expected gender 'm' or 'f'"):
        read_3dpw_sequence(save(tmp_path / 'walk.pkl', {**sequence(rng), 'genders': ['x', 'm']}))
    (tmp_path / 'walk.pkl').write_bytes(b'cos\nsystem\n(S"true"\ntR.')
    with pytest.raises(UnsafePickleError, match='posix.system|os.system'):
        read_3dpw_sequence(tmp_path / 'walk.pkl')
    with pytest.raises(FileNotFoundError, match='no sequence file'):
        convert_3dpw(tmp_path / 'train', tmp_path / 'train.json')


def test_3dpw_command_line(tmp_path, rng, run, body_files, capsys):
    (tmp_path / 'test').mkdir()
    for name in ('b', 'a'):
        save(tmp_path / 'test' / f'{name}.pkl', {**sequence(rng), 'sequence': name})
    assert run('3dpw', tmp_path / 'test', '--out', tmp_path / 'plain.json') == 0
    plain = read_mesh_annotations(tmp_path / 'plain.json', '3dpw')
    assert run('3dpw', tmp_path / 'test', '--male', body_files / 'SMPL_MALE.npz', '--female',
               body_files / 'SMPL_FEMALE.npz', '--regressor', body_files / 'regressor.npy',
               '--out', tmp_path / 'full.json') == 0
    assert 'full.json: 20 of 20 annotations completed' in capsys.readouterr().out.replace('\n', '')
    full = read_mesh_annotations(tmp_path / 'full.json', '3dpw')
    assert plain.h36m_joints is None and plain.twists is None and len(full) == 20
    assert full.images[0] == b'a/image_00000.jpg' and full.images[10] == b'b/image_00000.jpg'
    assert len(np.unique(full.ids)) == 20 and len(np.unique(full.image_ids)) == 10
    truth = pose_body(full.betas, full.poses)
    np.testing.assert_allclose(full.h36m_joints - full.joints[:, :1], truth[2] - truth[1][:, :1],
                               atol=1e-4)
    # boxes around the joints hold those around the mesh nearly
    centres = [(p.boxes[:, :2] + p.boxes[:, 2:]) / 2 for p in (plain, full)]
    assert np.abs(centres[0] - centres[1]).max() < 12


def test_mesh_labels_command_line(tmp_path, run, body_files, capsys):
    content = h36m_content(make_people())
    for annotation in content['annotations']:
        del annotation['angle_twist']
    path = write_json(tmp_path / 'people.json', content)
    assert run('mesh-labels', path, '--layout', 'h36m', '--neutral',
               body_files / 'SMPL_NEUTRAL.npz', '--regressor', body_files / 'regressor.npy',
               '--out', tmp_path / 'labels.json') == 0
    assert 'joints of the file are 0.0 mm' in capsys.readouterr().out.replace('\n', ' ')
    people = read_mesh_annotations(tmp_path / 'labels.json', 'h36m')
    known = people.twists_valid
    np.testing.assert_allclose(people.twists[known], make_people()['twists'][known], atol=1e-4)
    assert known.sum() == 6 * 18
    assert run('mesh-labels', path, '--layout', 'h36m', '--out', tmp_path / 'labels.json') == 1
    assert 'body models are given for no gender' in capsys.readouterr().err
    assert json.loads((tmp_path / 'labels.json').read_text())['annotations'][0]['angle_twist']
