"""Maps that reach a mesh head: collected from test sets and pictures, drawn by the command line."""

import importlib.util
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis import pose_maps
from mmpose_lift.geometry.skeletons import get_skeleton
from tests.mesh_files import SIZE, h36m_content, make_people, write_json

SMALL = dict(type='MPTHead', input_size=28, stem=dict(channels=(8, )), body_model='stand_in',
             transformer=dict(type='MeshTransformer', input_dims=(19, 8, 8), hidden_dims=(8, 8, 8),
                              output_dims=(8, 8, 3), intermediate_dims=(8, 8, 8), num_layers=1,
                              num_heads=2))
POSE_HEAD = dict(type='HeatmapHead', in_channels=64, out_channels=17, deconv_out_channels=None)
PREPROCESSOR = dict(type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
BACKBONE = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)


def with_picture(results):
    img = np.random.default_rng(0).integers(0, 255, (*SIZE[::-1], 3), np.uint8)
    return dict(results, img=img, img_shape=SIZE[::-1])


@pytest.fixture
def config(tmp_path):
    """Fine-tuning: a 2D network in front of MPT's head."""
    write_json(tmp_path / 'people.json', h36m_content(make_people()))
    for i in range(6):
        folder = tmp_path / f's_09_act_02_subact_01_ca_{1 + i % 4:02d}'
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f'{i:06d}.jpg'), with_picture({})['img'])
    codec = dict(type='MPTMeshLabel', input_size=(64, 64))
    return Config(dict(
        model=dict(type='BodyMeshEstimator', data_preprocessor=PREPROCESSOR, backbone=BACKBONE,
                   neck=dict(type='PoseMapNeck', head=POSE_HEAD, size=28), head=SMALL),
        test_dataloader=dict(dataset=dict(
            type='BodyMeshDataset', layout='h36m', ann_file='people.json', data_root=str(tmp_path),
            pipeline=[dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.25),
                      dict(type='MeshAffine', input_size=(64, 64)),
                      dict(type='GenerateTarget', encoder=codec), dict(type='PackMeshInputs')]))))


def test_the_maps_are_the_input_of_the_head(config):
    torch.manual_seed(0)
    model = pose_maps.load_model(config, device='cpu')
    seen = []
    forward = model.head.forward
    model.head.forward = lambda feats: seen.append(feats) or forward(feats)
    people = pose_maps.dataset_maps(config, model, 2)
    assert [person.name for person in people] == ['000000.jpg', '000005.jpg']
    assert people[0].map_names == list(get_skeleton('coco').joint_names)
    assert people[0].picture.shape == (64, 64, 3) and people[0].picture.dtype == np.uint8
    batch = model.data_preprocessor(dict(
        inputs=[torch.from_numpy(person.picture).permute(2, 0, 1) for person in people],
        data_samples=[]), False)
    model(batch['inputs'], None, mode='tensor')
    np.testing.assert_allclose(seen[0].detach(), np.stack([p.maps for p in people]), atol=1e-6)
    assert len(pose_maps.dataset_maps(config, model, 99)) == 6


def test_a_2d_network_of_its_own_and_models_without_maps(config):
    config.model = dict(config.model, type='TopdownPoseEstimator', head=POSE_HEAD, neck=None)
    person, = pose_maps.dataset_maps(config, pose_maps.load_model(config, device='cpu'), 1)
    assert person.maps.shape == (17, 2, 2) and person.map_names[3] == 'map 3'
    config.model.head.out_channels = 24
    person, = pose_maps.dataset_maps(config, pose_maps.load_model(config, device='cpu'), 1)
    assert person.map_names == list(get_skeleton('smpl').joint_names)  # those of the data set
    config.model.head = dict(type='RegressionHead', in_channels=64, num_joints=17)
    config.model.neck = dict(type='GlobalAveragePooling')
    with pytest.raises(ValueError, match='expected one whose head sees maps.*RegressionHead'):
        pose_maps.dataset_maps(config, pose_maps.load_model(config, device='cpu'), 1)


def test_heatmaps_drawn_from_motion(config):
    config.model = dict(
        config.model, backbone=dict(type='HeatmapInput', size=28), neck=None,
        data_preprocessor=dict(type='VirtualViewPreprocessor', body_model='stand_in',
                               heatmap_size=28))
    config.test_dataloader.dataset = dict(type='BodyMotionDataset', procedural=20, test_mode=True)
    model = pose_maps.load_model(config, device='cpu')
    person, _ = pose_maps.dataset_maps(config, model, 2)
    assert person.maps.shape == (17, 28, 28) and person.picture is None
    assert 0.8 < person.maps.max() <= 1
    with pytest.raises(ValueError, match='a.jpg: the model of this config works on maps alone'):
        pose_maps.picture_maps(config, model, 'a.jpg')


def test_command_line(config, root_dir, tmp_path, monkeypatch, capsys):
    config.dump(str(tmp_path / 'small.py'))
    picture = tmp_path / 'person.jpg'
    cv2.imwrite(str(picture), np.zeros((80, 60, 3), np.uint8))
    model = pose_maps.load_model(config, device='cpu')
    torch.save(model.state_dict(), tmp_path / 'small.pth')
    spec = importlib.util.spec_from_file_location('analyze', root_dir / 'tools/analyze.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(*options):
        monkeypatch.setattr(sys, 'argv', ['analyze.py', 'pose-maps', str(tmp_path / 'small.py'),
                                          *map(str, options), '--device', 'cpu'])
        tool.main()
    run('--samples', 2, '--out', tmp_path / 'two.png')
    assert '000005.jpg' in capsys.readouterr().out
    run(tmp_path / 'small.pth', '--image', picture, '--bbox', 0, 0, 30, 40, '--out',
        tmp_path / 'one.jpg')
    heights = [cv2.imread(str(tmp_path / name)).shape[0] for name in ('two.png', 'one.jpg')]
    assert heights[0] == 2 * heights[1]
    for options, message in ((('--image', tmp_path / 'none.jpg'), 'no such picture'),
                             (('--image', tmp_path / 'small.py'), 'not a picture'),
                             (('--samples', 0), 'expected at least 1'),
                             (('--samples', 1, '--out', 'maps.txt'), 'maps.txt')):
        with pytest.raises(SystemExit, match=message):
            run(*options)
