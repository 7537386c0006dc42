"""Targets of MPT in pictures: they belong together after flip, rotation and crop."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS

from mmpose_lift.codecs import BodyMeshLabel, MPTMeshLabel
from mmpose_lift.geometry.skeletons import get_skeleton, joint_map
from tests.mesh_files import SIZE, body, h36m_content, make_people, write_json

LSP = list(joint_map('h36m', 'lsp_14'))


def build(path, flip=0., turn=0., layout='h36m', codec='MPTMeshLabel', scale=1.25):
    """Data set whose crops are turned by ``turn`` degrees."""
    init_default_scope('mmpose')
    return DATASETS.build(dict(
        type='BodyMeshDataset', layout=layout, ann_file=path.name, data_root=str(path.parent),
        pipeline=[
            lambda results: dict(results, img=np.zeros((*SIZE[::-1], 3), np.uint8),
                                 img_shape=SIZE[::-1]),
            dict(type='GetBBoxCenterScale', padding=scale),
            dict(type='MeshRandomFlip', prob=flip),
            dict(type='MeshBBoxTransform', scale_range=(1, 1), rotation_std=1e6,
                 rotation_limit=abs(turn), rotation_prob=float(turn != 0)),
            dict(type='MeshAffine', input_size=(224, 224)),
            dict(type='GenerateTarget', encoder=dict(type=codec, input_size=(224, 224))),
            dict(type='PackMeshInputs')]))


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    return write_json(tmp_path_factory.mktemp('people') / 'people.json',
                      h36m_content(make_people()))


@pytest.mark.parametrize('flip', [0., 1.])
@pytest.mark.parametrize('turn', [0., 40.])
def test_body_joints_and_keypoints_belong_together(people, flip, turn):
    np.random.seed(0)
    data = build(people, flip, turn)
    for index in range(3):
        sample = data[index]['data_samples']
        labels, step = sample.gt_instance_labels, sample.metainfo['trans_inv'][:, :2]
        angle = np.degrees(np.arctan2(step[1, 0], step[0, 0]))
        assert abs(angle) == pytest.approx(turn, abs=1e-3)
        vertices, _ = body()(torch.from_numpy(labels.target_betas),
                             torch.from_numpy(labels.target_rotmats))
        h36m = body().h36m_joints(vertices).numpy()[0]
        # the two halves of the stand-in are not quite mirror images
        np.testing.assert_allclose(labels.target_joints[0], (h36m - h36m[0])[LSP],
                                   atol=1e-5 if flip == 0 else 0.02)
        assert all(labels[f'target_{key}_weight'].all() for key in ('body', 'joints', 'keypoints'))
        # one scale and one shift bring the joints onto the keypoints, but for the perspective
        xy, keypoints = labels.target_joints[0, :, :2], labels.target_keypoints[0]
        centred, seen = xy - xy.mean(0), keypoints - keypoints.mean(0)
        scale = (centred * seen).sum() / np.square(centred).sum()
        assert np.abs(scale * centred - seen).max() < 0.12 * np.abs(seen).max()
        assert np.abs(scale * centred @ [[0, -1], [1, 0]] - seen).max() > 0.5 * np.abs(seen).max()


def test_keypoints_are_the_projection_in_the_crop(people):
    data = build(people, turn=40.)
    info, sample = data.get_data_info(1), data[1]['data_samples']
    pixels = info['h36m_joints'][LSP] @ info['camera_matrix'].T
    trans = cv2.invertAffineTransform(sample.metainfo['trans_inv'])
    crop = cv2.transform((pixels[:, :2] / pixels[:, 2:])[None], trans)[0]
    keypoints = sample.gt_instance_labels.target_keypoints
    np.testing.assert_allclose(keypoints[0], crop / 112 - 1, atol=1e-5)
    decoded, scores = data.pipeline.transforms[-2].encoder.decode(keypoints)
    np.testing.assert_allclose(decoded[0], crop, atol=1e-3)
    assert scores.shape == (1, 14)


def test_truth_is_that_of_the_camera(people):
    """Metrics compare in camera axes: the ground truth is not turned with the crop."""
    truth = [build(people, turn=turn, codec=codec)[0]['data_samples'].gt_instances for turn, codec
             in ((40., 'MPTMeshLabel'), (0., 'BodyMeshLabel'))]
    for key, _ in BodyMeshLabel.instance_mapping_table.items():
        if key.startswith('gt_'):
            np.testing.assert_array_equal(truth[0][key], truth[1][key])


def test_labels_have_the_shapes_of_the_contract(people):
    labels = build(people)[0]['data_samples'].gt_instance_labels
    assert {key: value.shape for key, value in labels.items()} == dict(
        target_betas=(1, 10), target_rotmats=(1, 24, 3, 3), target_body_weight=(1, 1),
        target_joints=(1, 14, 3), target_joints_weight=(1, 14), target_keypoints=(1, 14, 2),
        target_keypoints_weight=(1, 14))
    assert all(value.dtype == np.float32 for value in labels.values())
    small = build(people, scale=0.5)[0]['data_samples'].gt_instance_labels
    outside = np.abs(small.target_keypoints).max(-1) > 1
    assert outside.any() and not small.target_keypoints_weight[outside].any()
    assert small.target_keypoints_weight[~outside].all()


def test_people_without_3d_have_the_keypoints_that_mean_the_same(tmp_path):
    keypoints = np.zeros((17, 3))
    keypoints[:] = [60, 70, 2]
    keypoints[get_skeleton('coco').index('left_wrist')] = 0
    path = write_json(tmp_path / 'coco.json', dict(
        images=[dict(id=7, file_name='a.jpg', width=SIZE[0], height=SIZE[1])],
        annotations=[dict(id=0, image_id=7, bbox=[10, 10, 80, 100], num_keypoints=16,
                          keypoints=keypoints.reshape(-1).tolist())]))
    sample = build(path, layout='coco')[0]['data_samples']
    labels, names = sample.gt_instance_labels, get_skeleton('lsp_14').common_names
    known = labels.target_keypoints_weight[0] > 0
    assert {name for name, seen in zip(names, known) if not seen} == {
        'right_hip', 'left_hip', 'left_wrist', 'neck', 'head_top'}
    trans = cv2.invertAffineTransform(sample.metainfo['trans_inv'])
    expected = cv2.transform(np.float32([[[60, 70]]]), trans)[0] / 112 - 1
    np.testing.assert_allclose(labels.target_keypoints[0, known], np.tile(expected, (9, 1)),
                               atol=1e-5)
    assert not any(labels[f'target_{key}_weight'].any() for key in ('body', 'joints'))
    assert all(np.isfinite(value).all() for value in labels.values())


def test_crop_is_needed_with_labels_only():
    codec = MPTMeshLabel()
    assert codec.encode(np.zeros((1, 24, 2)), np.ones((1, 24)), joints=None) == {}
    people = make_people()
    with pytest.raises(ValueError, match='trans_inv.*MeshAffine'):
        codec.encode(
            np.zeros((1, 24, 2)), np.ones((1, 24)), joints=people['joints'][0],
            joints_valid=np.ones(24), h36m_joints=people['h36m'][0], h36m_valid=np.ones(17),
            betas=people['betas'][0], poses=people['poses'][0], body_valid=1.,
            twists=people['twists'][0], twists_valid=np.ones(23), camera_matrix=np.eye(3))
    with pytest.raises(ValueError, match='MPTMeshLabel: the sample has joints but no joints_valid'):
        codec.encode(np.zeros((1, 24, 2)), np.ones((1, 24)), joints=people['joints'][0])
