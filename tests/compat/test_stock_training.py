"""MMPose's own lifting configs train, resume and test under today's torch with the plugin."""

import multiprocessing
import pickle
import time

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import get_installed_path

import mmpose_lift  # noqa: F401  (installs compat)
from mmpose_lift.compat.checkpoint_loading import load_checkpoint_file

FRAMES = 36
CONFIGS = 'body_3d_keypoint'
IMAGE_TCN = 'image_pose_lift/h36m/image-pose-lift_tcn_8xb64-200e_h36m.py'
VIDEO_TCN = 'video_pose_lift/h36m/video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m.py'
MOTIONBERT = 'motionbert/h36m/motionbert_dstformer-243frm_8xb32-240e_h36m.py'

SMALL_TCN = {'model.backbone.stem_channels': 32, 'model.head.in_channels': 32}
SMALL_DSTFORMER = {
    'model.backbone.feat_size': 16, 'model.backbone.depth': 2, 'model.backbone.num_heads': 2,
    'model.backbone.seq_len': 9, 'model.head.in_channels': 16, 'model.head.embedding_size': 16,
    'train_dataloader.dataset.multiple_target': 9,
    'train_dataloader.dataset.multiple_target_step': 3,
    'val_dataloader.dataset.multiple_target': 9, 'test_dataloader.dataset.multiple_target': 9}


@pytest.fixture(autouse=True)
def no_code_formatting(monkeypatch):
    """MMEngine formats the config's text at every save, which takes most of so short a run."""
    monkeypatch.setattr('mmengine.config.config.FormatCode',
                        lambda text, **kwargs: (text, True))


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """A few synthetic frames in the layout of MMPose's Human3.6M annotation files."""
    root = tmp_path_factory.mktemp('h36m')
    folder = root / 'annotation_body3d' / 'fps50'
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    focal, center = 1145.0, 512.0
    cameras = {}
    for split, subject in (('train', 'S1'), ('test', 'S9')):
        pose = rng.normal(0, 0.3, (17, 3))
        pose[0] = 0
        walk = np.linspace(0, 1, FRAMES)[:, None, None] * [0.5, 0, 0.3]
        pose_3d = pose + walk + rng.normal(0, 0.01, (FRAMES, 17, 3)) + [0, 0, 5]
        pose_2d = pose_3d[..., :2] / pose_3d[..., 2:] * focal + center
        ones = np.ones((FRAMES, 17, 1))
        clip = f'{subject}_Walking_1.54138969'
        np.savez(folder / f'h36m_{split}.npz',
                 imgname=np.array([f'{subject}/{clip}/{clip}_{i + 1:06d}.jpg'
                                   for i in range(FRAMES)]),
                 center=np.full((FRAMES, 2), center), scale=np.full(FRAMES, 3.0),
                 part=np.concatenate([pose_2d, ones], -1), S=np.concatenate([pose_3d, ones], -1))
        cameras[subject, '54138969'] = dict(
            R=np.eye(3), T=np.zeros((3, 1)), f=np.full((2, 1), focal), c=np.full((2, 1), center),
            k=np.zeros((3, 1)), p=np.zeros((2, 1)), w=1000, h=1002, name='54138969', id='54138969')
    with open(root / 'annotation_body3d' / 'cameras.pkl', 'wb') as file:
        pickle.dump(cameras, file)
    return root


def build(name, data_root, work_dir, epochs, options):
    config = Config.fromfile(f'{get_installed_path("mmpose")}/.mim/configs/{CONFIGS}/{name}')
    config.merge_from_dict({
        **options, 'work_dir': str(work_dir), 'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': 1, 'default_hooks.checkpoint.interval': 1,
        'randomness': dict(seed=0)})
    for split in ('train', 'val', 'test'):
        loader = config[f'{split}_dataloader']
        loader.dataset.data_root = str(data_root)
        loader.update(num_workers=0, persistent_workers=False, batch_size=8)
        loader.pop('prefetch_factor', None)
    return config


@pytest.mark.parametrize('name, options', [
    (IMAGE_TCN, SMALL_TCN), (VIDEO_TCN, SMALL_TCN), (MOTIONBERT, SMALL_DSTFORMER)],
    ids=['image_tcn', 'video_tcn_27', 'motionbert'])
def test_train_resume_test(name, options, data_root, tmp_path):
    Runner.from_cfg(build(name, data_root, tmp_path, 2, options)).train()
    assert [path.name for path in tmp_path.glob('epoch_*.pth')] == ['epoch_2.pth']
    two = load_checkpoint_file(tmp_path / 'epoch_2.pth')

    config = build(name, data_root, tmp_path, 3, options)
    config.resume = True
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.epoch == 3
    three = load_checkpoint_file(tmp_path / 'epoch_3.pth')
    steps = [checkpoint['optimizer']['state'][0]['step'] for checkpoint in (two, three)]
    assert steps[0] > 0 and steps[1] == steps[0] * 1.5  # the optimizer went on, not anew
    losses = three['message_hub']['log_scalars']['train/loss']
    assert len(losses.data[0]) == steps[1]  # and so did the record of losses
    np.testing.assert_array_equal(
        losses.data[0][:int(steps[0])],
        two['message_hub']['log_scalars']['train/loss'].data[0])
    assert [path.name for path in tmp_path.glob('epoch_*.pth')] == ['epoch_3.pth']
    assert len(list(tmp_path.glob('best_*.pth'))) == 1 and not list(tmp_path.glob('.*partial*'))

    config = build(name, data_root, tmp_path / 'test', 3, options)
    config.load_from = str(tmp_path / 'epoch_3.pth')
    metrics = Runner.from_cfg(config).test()
    value = runner.message_hub.get_scalar('val/MPJPE').current()
    assert metrics['MPJPE'] == pytest.approx(value, rel=1e-5)
    assert np.isfinite(list(metrics.values())).all()


def test_published_form_loads_for_inference(data_root, tmp_path):
    """init_model takes a slim checkpoint: weights and meta with numpy arrays."""
    from mmpose.apis import init_model

    config = build(VIDEO_TCN, data_root, tmp_path, 1, SMALL_TCN)
    runner = Runner.from_cfg(config)
    torch.save(dict(meta=dict(dataset_meta=runner.train_dataloader.dataset.metainfo,
                              cfg=config.pretty_text),
                    state_dict=runner.model.state_dict()), tmp_path / 'published.pth')
    model = init_model(config, str(tmp_path / 'published.pth'), device='cpu')
    assert model.dataset_meta['flip_indices'] == runner.train_dataloader.dataset.metainfo[
        'flip_indices']
    for key, value in runner.model.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=0)


def _train_for_ever(data_root, work_dir):
    Runner.from_cfg(build(VIDEO_TCN, data_root, work_dir, 1000, SMALL_TCN)).train()


def test_resume_after_kill(data_root, tmp_path):
    """Killed at a random moment of a run that saves all the time and keeps one checkpoint."""
    process = multiprocessing.get_context('fork').Process(
        target=_train_for_ever, args=(data_root, tmp_path))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / 'epoch_3.pth').exists():
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.0005)
    process.kill()
    process.join()
    for path in tmp_path.glob('*.pth'):
        load_checkpoint_file(path)
    last = load_checkpoint_file((tmp_path / 'last_checkpoint').read_text())['meta']['epoch']
    config = build(VIDEO_TCN, data_root, tmp_path, last + 2, SMALL_TCN)
    config.resume = True
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.epoch == last + 2
    assert (tmp_path / 'last_checkpoint').read_text().endswith(f'epoch_{last + 2}.pth')
    assert not list(tmp_path.glob('.*partial*'))
