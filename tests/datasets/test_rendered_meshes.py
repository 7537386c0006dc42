"""Pictures with labels of a body model: labels agree with each other and with the picture."""

import json
import runpy
import sys

import cv2
import numpy as np
import pytest
import torch

from mmpose_lift.datasets.rendered_meshes import (
    RenderedMeshWriter,
    _sample_person,
    body_motion_pool,
)
from mmpose_lift.datasets.rendered_people import renderer
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton, joint_map
from mmpose_lift.io.body_motion import BodyMotion, write_body_motion
from mmpose_lift.models.body.inverse_kinematics import (
    inverse_kinematics,
    leaf_quats_from_rotmats,
)
from mmpose_lift.rendering.rasterizer import rasterize

SIZE = (112, 96)


@pytest.fixture(scope='module', autouse=True)
def few_poses():
    """Pools of procedural motion small enough for a test."""
    patch = pytest.MonkeyPatch()
    patch.setattr('mmpose_lift.datasets.rendered_meshes._CLIPS_PER_ACTION', 1)
    body_motion_pool.cache_clear()
    yield
    patch.undo()
    body_motion_pool.cache_clear()


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """A data set of six pictures and its folder's writer."""
    writer = RenderedMeshWriter(tmp_path_factory.mktemp('meshes'), seed=3, size=SIZE)
    writer.write('train', 6)
    return writer


@pytest.fixture(scope='module')
def content(written):
    return json.loads((written.out / 'train.json').read_text())


@pytest.fixture(scope='module')
def labels(content):
    """Labels of all pictures as arrays; metres."""
    def stack(name, *shape):
        return np.array([a[name] for a in content['annotations']]).reshape(-1, *shape)

    return dict(betas=stack('betas', 10), thetas=stack('thetas', 24, 3),
                joints=stack('smpl_joints', 24, 3) / 1000, roots=stack('root_coord', 3) / 1000,
                regressed=stack('h36m_joints', 17, 3) / 1000, boxes=stack('bbox', 4))


@pytest.fixture(scope='module')
def posed(labels):
    """The body of the labels: vertices and joints, camera axes, metres."""
    vertices, joints = renderer().body(
        torch.from_numpy(labels['betas']).float(),
        torch.from_numpy(axis_angle_to_matrix(labels['thetas'])).float())
    move = labels['roots'][:, None] - joints[:, :1].numpy()
    return vertices.numpy() + move, joints.numpy() + move


def pixels(annotation, points):
    camera = annotation['cam_param']
    return points[:, :2] / points[:, 2:] * camera['f'] + camera['c']


def test_layout(content, written):
    assert [image['id'] for image in content['images']] == list(range(6))
    assert [a['image_id'] for a in content['annotations']] == list(range(6))
    for image in content['images']:
        picture = cv2.imread(str(written.out / 'train' / image['file_name']))
        assert picture.shape == (image['height'], image['width'], 3) == (SIZE[1], SIZE[0], 3)
    for annotation in content['annotations']:
        assert set(annotation) == {'id', 'image_id', 'bbox', 'cam_param', 'h36m_joints', 'betas',
                                   'smpl_joints', 'thetas', 'root_coord', 'angle_twist'}
        assert np.shape(annotation['thetas']) == (72, )
        assert annotation['smpl_joints'][0] == annotation['root_coord']


def test_the_body_of_the_labels_has_the_labelled_joints(labels, posed):
    vertices, joints = posed
    np.testing.assert_allclose(joints, labels['joints'], atol=1e-4)
    regressed = renderer().h36m_joints(vertices.astype(np.float32))
    np.testing.assert_allclose(regressed[:, list(joint_map('h36m', 'h36m_l_first'))],
                               labels['regressed'], atol=1e-4)


def test_the_body_of_the_labels_is_that_in_the_picture(content, posed, written):
    """The box is that of its projection, and most joints are in the picture."""
    corner = np.array(SIZE) - 1
    for annotation, vertices, joints in zip(content['annotations'], *posed):
        xy = np.clip(pixels(annotation, vertices), 0, corner)
        x, y, w, h = annotation['bbox']
        np.testing.assert_allclose([*xy.min(0), *xy.max(0)], [x, y, x + w, y + h], atol=0.02)
        inside = ((pixels(annotation, joints) >= 0) & (pixels(annotation, joints) <= corner))
        assert inside.all(1).sum() >= 20
        assert 0.3 * min(SIZE) < max(w, h) and vertices[:, 2].min() > 0.3


def test_the_labels_cover_the_drawn_person(monkeypatch):
    """The silhouette of the labelled body is the drawn one, but for its clothes."""
    shots, people = [], renderer()
    photograph = people.photograph
    monkeypatch.setattr(people, 'photograph',
                        lambda *args: shots.append(photograph(*args)) or shots[-1])
    for seed in range(3):
        _, [annotation] = _sample_person(np.random.default_rng(seed), (), 0, (160, 160))
        vertices = people.body(
            torch.tensor([annotation['betas']]), torch.from_numpy(axis_angle_to_matrix(
                np.reshape(annotation['thetas'], (1, 24, 3)))).float())
        vertices, joints = (x[0].numpy() for x in vertices)
        vertices = vertices - joints[0] + np.array(annotation['root_coord']) / 1000
        # pixel (0, 0) of the labels is the middle of the first pixel, that of rasterize its corner
        labelled = rasterize(pixels(annotation, vertices) + 0.5, vertices[:, 2], people.faces,
                             (160, 160)).face >= 0
        drawn = shots[-1].picture.segmentation == 0
        assert (labelled & drawn).sum() > 0.97 * labelled.sum()
        assert (labelled & drawn).sum() > 0.7 * drawn.sum()


def test_upright_and_facing_any_direction(labels):
    """Camera axes have y down; shapes, headings and poses differ from picture to picture."""
    smpl = get_skeleton('smpl')
    up = labels['joints'][:, smpl.index('neck')] - labels['joints'][:, smpl.index('pelvis')]
    assert (up[:, 1] < 0).all()
    for name in ('betas', 'thetas'):
        assert (labels[name].std(axis=0) > 0.01).all()
    left = labels['joints'][:, smpl.index('left_hip')] - labels['joints'][
        :, smpl.index('right_hip')]
    assert (left[:, 0] > 0).any() and (left[:, 0] < 0).any()


def test_joints_and_twists_give_the_pose_back(content, labels):
    rotmats = torch.from_numpy(axis_angle_to_matrix(labels['thetas'])).float()
    twists = torch.tensor([[a['angle_twist'][key] for key in ('cos', 'sin')]
                           for a in content['annotations']]).transpose(1, 2)
    angles = torch.tensor([a['angle_twist']['angle'] for a in content['annotations']])
    torch.testing.assert_close(torch.stack([angles.cos(), angles.sin()], -1), twists, atol=1e-4,
                               rtol=0)
    joints = torch.from_numpy(labels['joints'] - labels['roots'][:, None]).float()
    found = inverse_kinematics(renderer().body, joints, torch.from_numpy(labels['betas']).float(),
                               twists, leaf_quats_from_rotmats(rotmats))
    torch.testing.assert_close(found, rotmats, atol=0.005, rtol=0)


def test_recorded_motion(tmp_path, rng):
    """Poses come from the files at ten per second; the procedural ones stay."""
    motions = [BodyMotion(0.2 * rng.normal(size=(40, 72)), np.zeros(10), np.zeros((40, 3)), fps)
               for fps in (10, 40)]
    for i, motion in enumerate(motions):
        write_body_motion(tmp_path / 'body' / 'subject' / f'{i}.npz', motion)
    procedural, recorded = body_motion_pool((str(tmp_path / 'body'), ), 0)
    np.testing.assert_array_equal(procedural, body_motion_pool((), 0)[0])
    np.testing.assert_allclose(recorded, np.concatenate(
        [motions[0].rotmats, motions[1].rotmats[::4]]), atol=1e-6)
    writer = RenderedMeshWriter(tmp_path / 'out', size=(96, 96),
                                motion=dict(val=[tmp_path / 'body']))
    assert json.loads((tmp_path / 'out' / 'settings.json').read_text()) == dict(
        seed=0, size=[96, 96], labels='mesh',
        motion=dict(train=[], val=['body: 2 files of body motion']))
    writer.write('val', 1)
    with pytest.raises(FileNotFoundError, match='no folder: .*fit-body'):
        RenderedMeshWriter(tmp_path / 'out2', motion=dict(train=[tmp_path / 'no folder']))


def test_the_command_line(tmp_path, root_dir, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['render_people.py', '--labels', 'mesh', '--images', '1',
                                      '--val-images', '1', '--processes', '1', '--out',
                                      str(tmp_path / 'out')])
    runpy.run_path(str(root_dir / 'tools' / 'render_people.py'), run_name='__main__')
    assert capsys.readouterr().out.count('wrote') == 2
    [image] = json.loads((tmp_path / 'out' / 'val.json').read_text())['images']
    assert (image['width'], image['height']) == (160, 160)
