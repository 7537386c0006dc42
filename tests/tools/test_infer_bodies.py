"""tools/infer.py with a model of bodies: files, messages, options that do not fit."""

import json
import runpy
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis import MeshInferencer
from mmpose_lift.io.body_motion import read_body_motion
from mmpose_lift.io.exporters import read_npz
from mmpose_lift.io.video_poses import CAMERA_FRAME
from mmpose_lift.visualization import VideoWriter
from tests.smpl_files import make_regressor, make_smpl

FRAMES = 6
PRETRAINED = dict(  # a small MPT that sees heatmaps
    type='BodyMeshEstimator', backbone=dict(type='HeatmapInput', size=28),
    data_preprocessor=dict(type='VirtualViewPreprocessor', body_model='stand_in', heatmap_size=28),
    head=dict(
        type='MPTHead', input_size=28, stem=dict(channels=(8, 8)), sizes=(6890, 431, 108),
        upsampling='barycentric', cam_dims=8, body_model='stand_in',
        transformer=dict(type='MeshTransformer', input_dims=(11, ), hidden_dims=(8, ),
                         output_dims=(3, ), intermediate_dims=(8, ), num_layers=1, num_heads=2)))


@pytest.fixture(scope='module')
def given(root_dir, tmp_path_factory):
    """A small model's config and checkpoint, a video, and its boxes."""
    folder = tmp_path_factory.mktemp('bodies')
    config = Config.fromfile(root_dir / 'configs/body_3d_mesh/hybrik_transformer/rendered/'
                             'img-mesh_hybrik-transformer-res18-w32_1xb32_rendered-meshes.py')
    config.merge_from_dict({
        'model.backbone.init_cfg': None, 'model.head.d_model': 32, 'model.head.layer_width': 32,
        'model.head.num_blocks': 1, 'model.backbone.stem_channels': 8,
        'model.backbone.base_channels': 8, 'model.head.in_channels': 32})
    config.dump(folder / 'small.py')
    torch.manual_seed(0)
    model = MeshInferencer(config, device='cpu', allow_random_weights=True).model
    torch.save(dict(state_dict=model.state_dict()), folder / 'small.pth')
    with VideoWriter(folder / 'walk.avi', 25, (160, 120)) as writer:
        for number in range(FRAMES):
            writer.write(np.full((120, 160, 3), 20 * number, np.uint8))
    (folder / 'boxes.json').write_text(json.dumps([[[40, 10, 100, 110]]] * FRAMES))
    return folder


@pytest.fixture
def infer(root_dir, given, monkeypatch, capsys):
    def run(*options, source='walk.avi', weights='small.pth', pose3d='small.py'):
        monkeypatch.setattr(sys, 'argv', [
            str(root_dir / 'tools/infer.py'), str(given / source), '--pose3d', str(given / pose3d),
            '--device', 'cpu', *(['--weights', str(given / weights)] if weights else []),
            *map(str, options)])
        monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)
        runpy.run_path(sys.argv[0], run_name='__main__')
        return capsys.readouterr().out
    return run


def test_video_to_files(infer, given, tmp_path):
    out = infer('--bboxes', given / 'boxes.json', '--out-dir', tmp_path, '--focal', 200,
                '--formats', 'json', 'npz', 'smpl', 'gltf', 'bvh', '--picture', '--smooth',
                'savgol')
    assert '6 frames, 1 people' in out
    names = {path.name for path in tmp_path.iterdir()}
    assert {'walk.json', 'walk.npz', 'walk_person0_smpl.npz', 'walk.glb', 'walk_person0.bvh',
            'walk_3d.png'} <= names
    poses = read_npz(tmp_path / 'walk.npz')
    [track] = poses.tracks
    assert poses.focal == 200 and poses.body_model == 'stand_in' and poses.frame == CAMERA_FRAME
    assert track.body.rotmats.shape == (6, 24, 3, 3)
    assert 'Savitzky-Golay' in poses.notes['smoothing'] and 'weights' not in poses.notes
    motion = read_body_motion(tmp_path / 'walk_person0_smpl.npz')
    assert motion.poses.shape == (6, 72) and motion.body_model == 'stand_in'


def test_heatmaps_of_a_2d_model_go_in(infer, given, tmp_path):
    Config(dict(model=PRETRAINED)).dump(given / 'mpt.py')
    torch.manual_seed(0)
    model = MeshInferencer(given / 'mpt.py', device='cpu', allow_random_weights=True).model
    torch.save(dict(state_dict=model.state_dict()), given / 'mpt.pth')
    options = ('--bboxes', given / 'boxes.json', '--formats', 'npz', 'smpl')
    chosen = dict(pose3d='mpt.py', weights='mpt.pth')
    out = infer(*options, '--out-dir', tmp_path, '--pose2d', 'rendered_human', '--heatmaps',
                'drawn', **chosen)
    assert '6 frames, 1 people' in out and (tmp_path / 'walk_person0_smpl.npz').is_file()
    poses = read_npz(tmp_path / 'walk.npz')
    assert poses.model_2d == 'rendered_human' and poses.skeleton_2d == 'coco'
    assert poses.notes['heatmaps'] == 'drawn at the keypoints of the 2D model'
    with pytest.raises(SystemExit, match="root_depth: model 'mpt' has a weak-perspective camera"):
        infer(*options, '--root-depth', 'box', **chosen)


def test_a_model_without_weights_says_so(infer, tmp_path):
    with pytest.raises(SystemExit, match='has no published weights'):
        infer('--out-dir', tmp_path, weights=None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('options, message', [
    (('--height', 1.8), '--height: model .* gives bodies and has no such option'),
    (('--adaptive', ), '--adaptive'),
    (('--h36m-regressor', 'a.npy'), 'give the --body-model it is for'),
    (('--body-model', 'nowhere.npz'), 'nowhere.npz: no such file.*smpl.is.tue.mpg.de'),
    (('--root-depth', 'nowhere'), 'nowhere'),
    (('--heatmaps', 'drawn'), "'small' sees pictures, not heatmaps"),
])
def test_options_that_do_not_fit(infer, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        infer('--out-dir', tmp_path, *options)


def test_options_of_bodies_are_refused_for_lifters(infer, root_dir, tmp_path):
    lifter = root_dir / 'configs/demo_mixste.py'
    with pytest.raises(SystemExit, match='--body-model: model .* lifts 2D poses'):
        infer('--body-model', 'stand_in', '--out-dir', tmp_path, pose3d=lifter, weights=None)
    with pytest.raises(SystemExit, match='--formats gltf: model .* gives no bodies'):
        infer('--formats', 'json', 'gltf', '--out-dir', tmp_path, pose3d=lifter, weights=None)


@pytest.mark.parametrize('options, name', [
    (('--smooth', 'savgol'), '--smooth'), (('--shape-per-frame', ), '--shape-per-frame')])
def test_options_of_videos_are_refused_for_pictures(infer, given, tmp_path, options, name):
    cv2.imwrite(str(given / 'one.png'), np.zeros((120, 160, 3), np.uint8))
    with pytest.raises(SystemExit, match=f'{name}: only for videos, and .*one.png is none'):
        infer('--out-dir', tmp_path, '--det-model', 'whole_image', *options, source='one.png')


def test_a_body_of_another_gender_than_the_config_says(infer, given, tmp_path):
    config = Config.fromfile(given / 'small.py')
    config.model.head.body_model = dict(path='nowhere.npz', gender='neutral')
    config.dump(given / 'neutral.py')
    female = tmp_path / 'SMPL_FEMALE.npz'
    np.savez(female, **make_smpl(), J_regressor_h36m=make_regressor())
    with pytest.raises(SystemExit, match='SMPL_FEMALE.npz: a female body, expected a neutral'):
        infer('--out-dir', tmp_path, '--body-model', female, pose3d='neutral.py')


def test_help_fits_the_screen(infer, capsys):
    with pytest.raises(SystemExit):
        infer('--help')
    examples = capsys.readouterr().out.partition('examples:')[2].splitlines()
    assert max(map(len, examples)) < 100 and sum(line.endswith('\\') for line in examples) == 2


def test_keypoints_are_no_pictures(infer, given, tmp_path):
    np.save(given / 'keypoints.npy', np.zeros((4, 17, 2)))
    with pytest.raises(SystemExit, match='not at 2D keypoints'):
        infer('--out-dir', tmp_path, source='keypoints.npy')
