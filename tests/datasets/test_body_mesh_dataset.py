"""From annotation file to targets: geometry under every augmentation, and inference."""

import copy
import warnings

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, TRANSFORMS

from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.geometry.uvd import uvd_to_xyz, xyz_to_uvd
from mmpose_lift.models.body.inverse_kinematics import (
    inverse_kinematics,
    leaf_quats_from_rotmats,
)
from tests.mesh_files import (
    SIZE,
    body,
    h36m_content,
    make_people,
    threedpw_content,
    write_json,
)

CODEC = dict(type='BodyMeshLabel', input_size=(128, 128))
TEST = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.25),
        dict(type='MeshAffine', input_size=(128, 128)),
        dict(type='GenerateTarget', encoder=CODEC), dict(type='PackMeshInputs')]


def train(flip=0.5, rotation_prob=1., compat=False):
    return [*TEST[:2], dict(type='MeshRandomFlip', prob=flip, compat=compat),
            dict(type='MeshBBoxTransform', rotation_prob=rotation_prob),
            dict(type='RandomNoiseOcclusion'), TEST[2], dict(type='ChannelNoise'), *TEST[3:]]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Six people, each in a picture that is bright where joint 0 is seen."""
    folder, people = tmp_path_factory.mktemp('mesh'), make_people()
    content = h36m_content(people)
    write_json(folder / 'people.json', content)
    for i, image in enumerate(content['images']):
        root = people['roots'][i]
        pixel = root[:2] / root[2] * people['focal'] + people['centre']
        y, x = np.mgrid[:SIZE[1], :SIZE[0]]
        spot = np.exp(-((x - pixel[0]) ** 2 + (y - pixel[1]) ** 2) / 20)
        path = folder / 'images' / image['file_name']
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.repeat((255 * spot).astype(np.uint8)[..., None], 3, 2))
    return folder


@pytest.fixture
def dataset(folder):
    init_default_scope('mmpose')
    np.random.seed(0)

    def make(pipeline=TEST, **options):
        return DATASETS.build(dict(
            type='BodyMeshDataset', layout='h36m', ann_file='people.json', data_root=str(folder),
            data_prefix=dict(img='images'), pipeline=pipeline, **options))

    return make


def back_projected(sample):
    labels = sample.gt_instance_labels
    return uvd_to_xyz(labels.target_uvd, *(np.asarray(sample.metainfo[key])[None] for key in
                                           ('trans_inv', 'intrinsic_inv', 'root')),
                      np.array([[2.]]), 128)


@pytest.mark.parametrize('pipeline', [TEST, train()], ids=['test', 'train'])
def test_image_targets_go_back_to_the_joints_in_space(dataset, pipeline):
    data = dataset(pipeline)
    flips = set()
    for index in [*range(len(data))] * 4:
        sample = data[index]['data_samples']
        flips.add(sample.metainfo.get('flip', False))
        target = sample.gt_instance_labels.target_xyz_24
        np.testing.assert_allclose(back_projected(sample), target, atol=3e-6)
        np.testing.assert_allclose(sample.gt_instances.gt_joints, 2 * target, atol=1e-6)
    assert len(flips) == (1 if pipeline is TEST else 2)


@pytest.mark.parametrize('flip', [0., 1.])
def test_the_picture_moves_with_its_labels(dataset, flip):
    """The bright spot is where the target of joint 0 is, whatever was done to the picture."""
    pipeline = [step for step in train(flip) if step['type'] not in
                ('RandomNoiseOcclusion', 'ChannelNoise')]
    data = dataset(pipeline)
    for index in range(len(data)):
        packed = data[index]
        image = packed['inputs'].numpy().sum(0).astype(float)
        y, x = ((np.arange(128) * image.sum(axis)).sum() / image.sum() for axis in (1, 0))
        u, v = packed['data_samples'].gt_instance_labels.target_uvd[0, 0, :2]
        assert abs((u + 0.5) * 128 - x) < 1 and abs((v + 0.5) * 128 - y) < 1


@pytest.mark.parametrize('flip', [0., 1.])
def test_inverse_kinematics_of_the_targets_gives_the_pose(dataset, flip):
    data = dataset(train(flip))
    samples = [data[index]['data_samples'] for index in range(len(data))]

    def stack(part, key):
        return torch.from_numpy(np.concatenate([getattr(s, part)[key] for s in samples]))

    rotmats = stack('gt_instances', 'gt_rotmats')
    fitted = inverse_kinematics(
        body(), 2 * stack('gt_instance_labels', 'target_xyz_24'),
        stack('gt_instance_labels', 'target_beta'), stack('gt_instance_labels', 'target_twist'),
        leaf_quats_from_rotmats(rotmats))
    torch.testing.assert_close(fitted, rotmats, atol=2e-4, rtol=0)


def test_a_mirrored_person_is_the_body_in_the_mirrored_pose(dataset):
    """The stand-in is symmetric: posing it with the mirrored labels gives the mirrored joints."""
    flip = TRANSFORMS.build(dict(type='MeshRandomFlip', prob=1.))
    info = dataset().get_data_info(0)
    info.update(img=np.zeros((SIZE[1], SIZE[0], 3), np.uint8), img_shape=SIZE[::-1])
    before = copy.deepcopy(info)
    once = copy.deepcopy(flip(info))
    rotmats = torch.from_numpy(axis_angle_to_matrix(once['poses']).astype(np.float32))[None]
    vertices, joints = body()(torch.from_numpy(once['betas'])[None], rotmats)
    move = once['root'] - joints[0, 0].numpy()
    np.testing.assert_allclose(joints[0] + move, once['joints'], atol=1e-5)
    np.testing.assert_allclose(body().h36m_joints(vertices)[0] + move, once['h36m_joints'],
                               atol=1e-5)
    pixels = once['joints'] @ once['camera_matrix'].T
    np.testing.assert_allclose(pixels[:, :2] / pixels[:, 2:], once['keypoints'][0], atol=1e-3)
    twice = flip(once)
    for key in ('joints', 'h36m_joints', 'poses', 'twists', 'root', 'camera_matrix', 'keypoints',
                'bbox', 'twists_valid', 'joints_valid'):
        np.testing.assert_allclose(twice[key], before[key], atol=1e-4, err_msg=key)


def test_flip_of_the_public_code_leaves_camera_and_root(dataset):
    data = dataset(train(flip=1., compat=True, rotation_prob=0))
    info, sample = data.get_data_info(0), data[0]['data_samples']
    np.testing.assert_array_equal(sample.metainfo['root'], info['root'])
    np.testing.assert_allclose(np.linalg.inv(sample.metainfo['intrinsic_inv']),
                               info['camera_matrix'], atol=1e-3)
    error = np.abs(back_projected(sample) - sample.gt_instance_labels.target_xyz_24).max()
    assert error > 1e-3  # the inconsistency that the default does not have


def test_scale_and_rotation_are_clipped_not_cut():
    np.random.seed(0)
    transform = TRANSFORMS.build(dict(type='MeshBBoxTransform'))
    drawn = [transform(dict(bbox_scale=np.ones((1, 2), np.float32))) for _ in range(4000)]
    scales = np.array([d['bbox_scale'][0, 0] for d in drawn])
    rotations = np.array([d['bbox_rotation'][0] for d in drawn])
    assert scales.min() == np.float32(0.7) and scales.max() == np.float32(1.3)
    assert abs((scales == scales.max()).mean() - 0.159) < 0.02  # beyond one standard deviation
    assert abs(scales.mean() - 1) < 0.01 and abs((rotations != 0).mean() - 0.6) < 0.03
    assert np.abs(rotations).max() == 60 and abs((np.abs(rotations) == 60).mean() - 0.0273) < 0.01


def test_noise_covers_part_of_the_box_only():
    np.random.seed(0)
    transform = TRANSFORMS.build(dict(type='RandomNoiseOcclusion', area=(0.1, 0.3)))
    original = np.full((100, 120, 3), 7, np.uint8)
    for _ in range(20):
        image = transform(dict(img=original, bbox=np.array([[20, 10, 80, 90.]])))['img']
        changed = (image != 7).any(2)
        assert 0.08 < changed.sum() / (60 * 80) < 0.31
        assert not changed[:10].any() and not changed[:, :20].any() and not changed[:, 80:].any()
    assert (original == 7).all()
    thin = transform(dict(img=original, bbox=np.array([[20, 10, 20.4, 90.]])))['img']
    assert thin.shape == original.shape  # nothing fits: no error


def test_channels_are_scaled_each_by_its_own():
    np.random.seed(0)
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    out = TRANSFORMS.build(dict(type='ChannelNoise'))(dict(img=image))['img']
    factors = out.reshape(-1, 3)[200] / 200
    assert len(set(factors)) == 3 and (0.79 <= factors).all() and (factors <= 1.2).all()
    assert out.dtype == np.uint8 and out.max() <= 255


def test_inference_needs_a_picture_a_box_and_a_camera():
    init_default_scope('mmpose')
    camera = np.array([[300., 0, 60], [0, 300, 50], [0, 0, 1]])
    results = dict(img=np.zeros((100, 120, 3), np.uint8), bbox=np.array([[20, 10, 60, 90.]]),
                   bbox_score=np.ones(1))
    packed = Compose(TEST)(dict(results, camera_matrix=camera))
    info = packed['data_samples'].metainfo
    assert packed['inputs'].shape == (3, 128, 128) and info['depth_factor'] == 2.0
    assert 'root' not in info
    np.testing.assert_allclose(info['trans_inv'] @ [64, 64, 1], [40, 50], atol=1e-4)
    np.testing.assert_allclose(info['intrinsic_inv'] @ camera, np.eye(3), atol=1e-5)
    np.testing.assert_array_equal(packed['data_samples'].gt_instances.bboxes, results['bbox'])
    outside = dict(results, bbox=np.array([[500, 500, 600, 600.]]), camera_matrix=camera)
    assert not Compose(TEST)(outside)['inputs'].any()
    for wrong in ({}, dict(camera_matrix=np.zeros((3, 3))), dict(camera_matrix=np.eye(2))):
        with pytest.raises(ValueError, match=r'expected camera_matrix \(3, 3\)'):
            Compose(TEST)(dict(results, **wrong))


def test_a_picture_that_is_missing_is_named(dataset, folder):
    data = dataset()
    name = data.get_data_info(3)['img_path']
    assert name == f'{folder}/images/s_09_act_02_subact_01_ca_04/000003.jpg'
    for prefix in ('nowhere', f'{folder}/people.json'):
        data.data_prefix['img'] = prefix
        with pytest.raises(FileNotFoundError, match=f'^{prefix}/s_09_act_02.*: no such picture of '
                           f'{folder}/people.json; check data_root and data_prefix$'):
            data[0]


def test_another_missing_file_is_not_called_a_picture(dataset):
    def step(results):
        raise FileNotFoundError('background.jpg')

    with pytest.raises(FileNotFoundError, match='^background.jpg$'):
        dataset([step])[0]


def with_gaps(layout):
    """Six people of a layout; every left wrist of the first, and its body, are no numbers."""
    nan = float('nan')
    content = (threedpw_content if layout == '3dpw' else h36m_content)(make_people())
    people = content['annotations']
    joints = dict(h36m=dict(smpl_joints='smpl', h36m_joints='h36m_l_first'),
                  coco=dict(keypoints='coco'), mpi_inf_3dhp=dict(keypoints_cam='mpi_inf_3dhp_28'))
    joints['3dpw'] = dict(smpl_joint_cam='smpl', h36m_joints='h36m_l_first')
    for key, skeleton in joints[layout].items():
        skeleton = get_skeleton(skeleton)
        points = np.random.default_rng(0).uniform(3000, 4000, (skeleton.num_joints, 3))
        if layout == 'coco':
            points = np.insert(points[:, :2] / 50, 2, 2, axis=1)  # pixels, seen
        for person in people:
            person.setdefault(key, points.tolist())
        people[0][key][skeleton.common_names.index('left_wrist')] = [
            nan, nan, 2 if layout == 'coco' else nan]
    if layout == 'mpi_inf_3dhp':
        for person in people:
            person['cam_param'] = dict(intrinsic_param=np.eye(3).tolist())
    people[0]['betas'] = [nan] * 10
    people[0].get('smpl_param', {})['shape'] = [nan] * 10
    return content


@pytest.mark.parametrize('layout', ['h36m', '3dpw', 'mpi_inf_3dhp', 'coco'])
@pytest.mark.parametrize('pipeline', [TEST, train(flip=1.)], ids=['test', 'train'])
def test_joints_that_are_no_numbers_never_reach_the_loss(tmp_path, layout, pipeline):
    write_json(tmp_path / 'people.json', with_gaps(layout))
    init_default_scope('mmpose')
    data = DATASETS.build(dict(
        type='BodyMeshDataset', layout=layout, ann_file='people.json', data_root=str(tmp_path),
        pipeline=[lambda results: dict(results, img=np.zeros((*SIZE[::-1], 3), np.uint8),
                                       img_shape=SIZE[::-1])] + pipeline[1:]))
    wrist = 'left_wrist' if pipeline is TEST else 'right_wrist'  # flipped
    smpl, h36m = (get_skeleton(name).index(wrist) for name in ('smpl', 'h36m'))
    broken, sound = (data[i]['data_samples'] for i in (0, 1))
    for sample in (broken, sound):
        for part in (sample.gt_instance_labels, sample.gt_instances):
            for key, value in part.items():
                assert np.isfinite(np.asarray(value)).all(), key
    weights = broken.gt_instance_labels
    assert not weights.target_uvd_weight[0, smpl].any()
    if layout != 'coco':
        assert not weights.target_xyz_24_weight[0, smpl].any()
        assert sound.gt_instance_labels.target_xyz_24_weight[0, smpl].all()
        assert not broken.gt_instances.gt_h36m_valid[0, h36m]
        assert sound.gt_instances.gt_h36m_valid.all()
    if layout in ('h36m', '3dpw'):
        assert not weights.target_smpl_weight.any() and not weights.target_theta_weight.any()
        assert sound.gt_instance_labels.target_smpl_weight.all()
    assert len(data) == 6 and ('no numbers' in ' '.join(data.people.notes)) == (layout != 'coco')


def test_people_with_2d_labels_only_and_mixed(folder, dataset, tmp_path):
    keypoints = np.zeros((17, 3))
    keypoints[5] = [30, 40, 2]
    write_json(tmp_path / 'coco.json', dict(
        images=[dict(id=7, file_name='a.jpg', width=SIZE[0], height=SIZE[1])],
        annotations=[dict(id=0, image_id=7, bbox=[10, 10, 80, 100], num_keypoints=1,
                          keypoints=keypoints.reshape(-1).tolist())]))
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    data = DATASETS.build(dict(type='BodyMeshDataset', layout='coco', ann_file='coco.json',
                               data_root=str(tmp_path), pipeline=train()))
    sample = data[0]['data_samples']
    labels = sample.gt_instance_labels
    left = get_skeleton('smpl').index('left_shoulder')
    assert 'root' not in sample.metainfo and not labels.root_valid.any()
    assert not labels.target_uvd_weight[..., 2].any() and not labels.target_smpl_weight.any()
    assert np.flatnonzero(labels.target_uvd_weight[0, :, 0]).tolist() in ([left], [left + 1])
    mixed = DATASETS.build(dict(
        type='MixedDataset', probabilities=[0.5, 0.5],
        datasets=[data, dict(type='BodyMeshDataset', layout='h36m', ann_file='people.json',
                             data_root=str(folder), data_prefix=dict(img='images'),
                             pipeline=train())]))
    batch = pseudo_collate([mixed[index] for index in range(len(mixed))])
    assert {sample.dataset_name for sample in batch['data_samples']} == {'coco', 'h36m'}
    stacked = np.concatenate([s.gt_instance_labels.target_theta for s in batch['data_samples']])
    assert stacked.shape == (12, 96)


def test_data_set_as_mmengine_expects_it(dataset):
    data = dataset(lazy_init=True, indices=4)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        data.full_init()
    assert len(data) == 4 and data.metainfo['dataset_name'] == 'h36m'
    assert data.metainfo['flip_indices'] == list(get_skeleton('smpl').flip_indices)
    assert len(dataset(indices=[5, 1])) == 2 and dataset(indices=[5, 1]).get_data_info(0)['id'] == 5
    sample = data[0]['data_samples']
    assert (sample.subject, sample.action, sample.gender) == ('S9', 'Directions', '')
    with pytest.raises(IndexError, match='index 4 of 4'):
        data[4]
    with pytest.raises(ValueError, match='depth_factor'):
        dataset(depth_factor=0)


def test_the_targets_agree_with_the_projection(dataset):
    """Independent of the key points: joints, camera and crop give the same u, v, d."""
    data = dataset()
    info, sample = data.get_data_info(1), data[1]['data_samples']
    trans = cv2.invertAffineTransform(sample.metainfo['trans_inv'])
    uvd = xyz_to_uvd(info['joints'], trans, info['camera_matrix'], info['root'][2], 2.0, 128)
    np.testing.assert_allclose(sample.gt_instance_labels.target_uvd[0], uvd, atol=1e-5)
