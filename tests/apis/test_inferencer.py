import copy
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis import MissingWeightsError, MMPoseInferencer, PoseLiftInferencer
from mmpose_lift.geometry.skeletons import convert_keypoints, get_skeleton

SMALL = {
    'model.backbone.embed_dims': 16, 'model.backbone.depth': 1, 'model.backbone.num_frames': 27,
    'model.backbone.num_heads': 2, 'model.head.in_channels': 16,
    'test_dataloader.dataset.seq_len': 27,
}


@pytest.fixture(scope='module')
def config(root_dir):
    config = Config.fromfile(root_dir / 'configs/mixste_h36m.py')
    config.merge_from_dict(SMALL)
    return config


@pytest.fixture(scope='module')
def small_config_file(config, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'small_mixste.py'
    config.dump(path)
    return str(path)


@pytest.fixture(scope='module')
def inferencer(config):
    torch.manual_seed(0)
    return PoseLiftInferencer(config, device='cpu', batch_size=2, allow_random_weights=True)


def clip(frames, joints=17, seed=0):
    return np.random.default_rng(seed).random((frames, joints, 2)).astype(np.float32) * 900


@pytest.mark.parametrize('frames', [1, 26, 27, 28, 100])
def test_clips_of_any_length(inferencer, frames):
    lifted = inferencer(clip(frames), (1000, 1002), fps=50)
    assert lifted['keypoints_3d'].shape == (frames, 17, 3)
    assert np.isfinite(lifted['keypoints_3d']).all()
    assert lifted['joint_names'] == list(get_skeleton('h36m').joint_names)
    assert lifted['units'] == 'metre' and lifted['fps'] == 50 and 'relative' in lifted['frame']


def test_without_overlap_a_frame_comes_from_the_window_with_more_context(config, inferencer):
    plain = PoseLiftInferencer(config, device='cpu', allow_random_weights=True, overlap=0)
    plain.model.load_state_dict(inferencer.model.state_dict())
    keypoints = clip(40)
    lifted = plain.lift(keypoints, (1000, 1002))
    first = plain.lift(keypoints[:27], (1000, 1002))
    last = plain.lift(keypoints[13:], (1000, 1002))
    np.testing.assert_allclose(lifted[:20], first[:20], atol=1e-6)  # 14 frames overlap
    np.testing.assert_allclose(lifted[20:], last[7:], atol=1e-6)


def test_overlapping_windows_are_cross_faded(inferencer):
    keypoints = clip(40)
    lifted = inferencer.lift(keypoints, (1000, 1002))
    first = inferencer.lift(keypoints[:27], (1000, 1002))
    last = inferencer.lift(keypoints[13:], (1000, 1002))
    part = np.arange(1, 15)[:, None, None] / 15  # 14 frames overlap
    np.testing.assert_allclose(lifted[:13], first[:13], atol=1e-6)
    np.testing.assert_allclose(lifted[13:27], first[13:] * (1 - part) + last[:14] * part, atol=1e-6)
    np.testing.assert_allclose(lifted[27:], last[14:], atol=1e-6)


def test_other_frame_rates_are_resampled(inferencer):
    time = np.arange(61) / 50
    keypoints = 500 + 300 * np.sin(time[:, None, None] + np.arange(34).reshape(17, 2))
    keypoints = keypoints.astype(np.float32)
    lifted = inferencer(keypoints, (1000, 1002), fps=50)['keypoints_3d']
    np.testing.assert_array_equal(inferencer(keypoints, (1000, 1002))['keypoints_3d'], lifted)
    slow = inferencer(keypoints[::2], (1000, 1002), fps=25)
    assert slow['keypoints_3d'].shape == (31, 17, 3) and slow['fps'] == 25
    np.testing.assert_array_equal(slow['keypoints_2d'], keypoints[::2])
    np.testing.assert_allclose(slow['keypoints_3d'], lifted[::2], atol=2e-3)
    unaware = inferencer(keypoints[::2], (1000, 1002))['keypoints_3d']  # as if at 50
    assert np.abs(unaware - lifted[::2]).max() > 0.02


def test_flip_test_makes_mirrored_input_give_the_mirrored_output(inferencer):
    keypoints, flip = clip(27), list(get_skeleton('h36m').flip_indices)
    mirrored = keypoints[:, flip] * [-1, 1] + [1000, 0]
    np.testing.assert_allclose(
        inferencer.lift(mirrored.astype(np.float32), (1000, 1002))[:, flip] * [-1, 1, 1],
        inferencer.lift(keypoints, (1000, 1002)), atol=1e-5)


def test_batches_do_not_change_the_result(config, inferencer):
    other = PoseLiftInferencer(config, device='cpu', batch_size=16, allow_random_weights=True)
    other.model.load_state_dict(inferencer.model.state_dict())
    np.testing.assert_allclose(other.lift(clip(200), (1000, 1002)),
                               inferencer.lift(clip(200), (1000, 1002)), atol=1e-6)


def test_coco_input_is_converted(inferencer):
    keypoints = clip(30)
    lifted = inferencer(keypoints, (1000, 1002), skeleton='coco')
    np.testing.assert_array_equal(lifted['keypoints_2d'],
                                  convert_keypoints(keypoints, 'coco', 'h36m'))


@pytest.mark.parametrize('suffix', ['.npz', '.json'])
def test_files_in_and_out(inferencer, tmp_path, suffix):
    keypoints = clip(30)
    source, target = tmp_path / f'in{suffix}', tmp_path / f'out{suffix}'
    if suffix == '.npz':
        np.savez(source, keypoints=keypoints, image_size=(1000, 1002), skeleton='coco', fps=25.)
    else:
        source.write_text(json.dumps(dict(keypoints=keypoints.tolist(), image_size=[1000, 1002],
                                          skeleton='coco', fps=25)))
    lifted = inferencer(source, out_file=target)
    assert lifted['fps'] == 25
    found = dict(np.load(target)) if suffix == '.npz' else json.loads(target.read_text())
    np.testing.assert_allclose(found['keypoints_3d'], lifted['keypoints_3d'], atol=1e-6)
    assert list(found['joint_names'])[0] == 'root' and str(found['units']) == 'metre'
    assert [p.name for p in tmp_path.iterdir() if 'partial' in p.name] == []


def test_mmpose_json_with_one_person(inferencer, tmp_path):
    keypoints = clip(5)
    frames = [dict(frame_id=i, instances=[dict(keypoints=k.tolist(), keypoint_scores=[1.] * 17)])
              for i, k in enumerate(keypoints)]
    path = tmp_path / 'results.json'
    path.write_text(json.dumps(dict(meta_info=dict(dataset_name='coco'), instance_info=frames)))
    np.testing.assert_allclose(inferencer(path, (1000, 1002))['keypoints_2d'][..., :2],
                               convert_keypoints(keypoints, 'coco', 'h36m'), rtol=1e-5)
    path.write_text(json.dumps(frames))
    with pytest.raises(ValueError, match='coco'):
        inferencer(path, (1000, 1002))
    found = inferencer(path, (1000, 1002), skeleton='h36m')['keypoints_2d']
    np.testing.assert_allclose(found[..., :2], keypoints, rtol=1e-6)
    assert (found[..., 2] == 1).all()
    frames[3]['instances'] = frames[3]['instances'] * 2
    path.write_text(json.dumps(frames))
    with pytest.raises(ValueError, match='frame 3.*one person'):
        inferencer(path, (1000, 1002))


@pytest.mark.parametrize('keypoints, kwargs, message', [
    (clip(9, 16), {}, '17 joints'),
    (clip(9)[0], {}, r'\(T, 17'),
    (clip(0), {}, 'no frames'),
    (np.full((4, 17, 2), np.nan), {}, '4 of 4 frames'),
    (clip(9), dict(image_size=None), 'image size'),
    (clip(9), dict(image_size=1000), 'image size'),
    (clip(9), dict(fps='fast'), 'fps'),
    (clip(9), dict(fps=0.1), 'too few for a model of 50 frames per second'),
    (clip(9) * 1e300, {}, 'infinite'),
    (clip(9), dict(skeleton='h36n'), 'h36n'),
    ('nowhere.npz', {}, 'nowhere.npz'),
])
def test_bad_input_gets_one_clear_error(inferencer, keypoints, kwargs, message):
    kwargs = {'image_size': (1000, 1002), **kwargs}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        inferencer(keypoints, **kwargs)


@pytest.mark.parametrize('name, content, message', [
    ('a.json', b'{"keypoints": [[', 'JSON'),
    ('a.json', b'{"points": []}', 'points'),
    ('a.json', b'{"keypoints": [[[1, 2], [1]]]}', 'numbers'),
    ('a.npz', b'PK\x03\x04 truncated', 'a.npz'),
    ('a.txt', b'', 'a.txt'),
])
def test_bad_files_are_named(inferencer, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        inferencer(tmp_path / name, (1000, 1002))


def test_an_alias_without_weights_constructs_and_explains_itself_on_use():
    inferencer = PoseLiftInferencer('mixste_h36m', device='cpu')
    with pytest.raises(MissingWeightsError, match='convert_checkpoint.*allow_random_weights'):
        inferencer(clip(3), (1000, 1002))


def test_an_unknown_alias_lists_the_known_ones():
    with pytest.raises(ValueError, match='mixste_h36m'):
        PoseLiftInferencer('mixste_h37m')


def test_weights_of_another_model_are_refused(config, inferencer, tmp_path):
    good, other = tmp_path / 'good.pth', tmp_path / 'other.pth'
    torch.save(dict(state_dict=inferencer.model.state_dict()), good)
    torch.save(dict(state_dict=torch.nn.Linear(2, 3).state_dict()), other)
    loaded = PoseLiftInferencer(config, str(good), device='cpu')
    np.testing.assert_allclose(loaded.lift(clip(30), (1000, 1002)),
                               inferencer.lift(clip(30), (1000, 1002)), atol=1e-6)
    with pytest.raises(ValueError, match='other.pth.*not of this model'):
        PoseLiftInferencer(config, str(other), device='cpu')
    deeper = copy.deepcopy(config)
    deeper.model.backbone.depth = 2
    torch.save(dict(state_dict=PoseLiftInferencer(deeper, device='cpu').model.state_dict()), other)
    with pytest.raises(ValueError, match='not of the model'):
        PoseLiftInferencer(config, str(other), device='cpu')
    torch.save([1, 2], other)
    with pytest.raises(ValueError, match='found list'):
        PoseLiftInferencer(config, pose3d_weights=str(other), device='cpu')
    state = inferencer.model.state_dict()
    torch.save(dict(state_dict={k: v * np.nan for k, v in state.items()}), other)
    with pytest.raises(ValueError, match='NaN'):
        PoseLiftInferencer(config, str(other), device='cpu')
    with pytest.raises(FileNotFoundError, match='gone.pth'):
        PoseLiftInferencer(config, str(tmp_path / 'gone.pth'), device='cpu')


STOCK = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'


@pytest.fixture(scope='module')
def config_2d():
    import mmpose
    return f'{mmpose.__path__[0]}/.mim/configs/{STOCK.split("::")[1]}'


def check_video_output(inferencer, video, frames=2):
    stream = inferencer(str(video), disable_norm_pose_2d=True)
    results = [next(stream)['predictions'] for _ in range(frames)]
    for frame in results:
        poses = np.array([p['keypoints'] for p in frame[0]])
        assert poses.shape[-2:] == (17, 3) and np.isfinite(poses).all()


def test_stock_inferencer_runs_the_entry_config_on_a_real_video(shared_dir, root_dir, config_2d):
    """Plumbing only: the 2D network and the lifter are randomly initialised."""
    from mmpose.apis import MMPoseInferencer as StockInferencer
    inferencer = StockInferencer(pose3d=str(root_dir / 'configs/mixste_h36m.py'), pose2d=config_2d,
                                 det_model='whole_image', device='cpu')
    check_video_output(inferencer, shared_dir / 'mmpose_fixtures/demo/demo.mp4', frames=1)


def test_our_inferencer_runs_the_alias_on_a_real_video(shared_dir, small_config_file, config_2d):
    """Plumbing only: the 2D network and the lifter are randomly initialised."""
    options = dict(pose2d=config_2d, det_model='whole_image', device='cpu')
    video = shared_dir / 'mmpose_fixtures/demo/demo.mp4'
    refused = MMPoseInferencer(pose3d='mixste_h36m', **options)
    assert refused.inferencer.model.backbone.num_frames == 243
    with pytest.raises(MissingWeightsError, match='pose3d_weights'):
        refused(str(video))
    check_video_output(MMPoseInferencer(pose3d=Config.fromfile(small_config_file),
                                        allow_random_weights=True, **options), video)


def test_one_target_frame_gives_one_pose(inferencer):
    """What MMPose's own inferencer asks for: the middle frame of the window."""
    from mmengine.dataset import Compose, pseudo_collate
    pipeline = Compose([dict(type='mmpose.GenerateTarget', encoder=dict(type='PoseSequenceLabel')),
                        dict(type='mmpose.PackPoseInputs', meta_keys=('flip_indices', ))])
    keypoints = clip(27)
    item = pipeline(dict(
        keypoints=keypoints, keypoints_visible=np.ones((27, 17), np.float32),
        lifting_target=np.zeros((1, 17, 3), np.float32), camera_param=dict(w=1000, h=1002),
        lifting_target_visible=np.ones((1, 17, 1), np.float32),
        flip_indices=list(get_skeleton('h36m').flip_indices)))
    result = inferencer.model.test_step(pseudo_collate([item]))
    found = result[0].pred_instances.keypoints
    assert found.shape == (1, 17, 3)
    np.testing.assert_allclose(found[0], inferencer.lift(keypoints, (1000, 1002))[13], atol=1e-6)


def test_infer_command(small_config_file, root_dir, tmp_path):
    source = tmp_path / 'clip.npz'
    np.savez(source, keypoints=clip(30), image_size=(1000, 1002))
    command = [sys.executable, str(root_dir / 'tools/infer.py'), str(source), '--pose3d',
               small_config_file, '--out-dir', str(tmp_path / 'out'), '--device', 'cpu']
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1 and 'allow_random_weights' in refused.stderr
    assert 'Traceback' not in refused.stderr and not (tmp_path / 'out').exists()
    subprocess.run(command + ['--allow-random-weights', '--picture', '--video'], check=True)
    assert {p.name for p in (tmp_path / 'out').iterdir()} == {
        'clip_3d.npz', 'clip_3d.png', 'clip_3d.mp4'}
