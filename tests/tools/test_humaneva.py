"""HumanEva from the files to the metrics: prepare, adapt Human3.6M weights, fine-tune, test."""

import importlib.util
import json

import pytest
import torch

from mmpose_lift.compat.checkpoint_loading import load_checkpoint_file
from mmpose_lift.io.checkpoint import save_checkpoint
from mmpose_lift.models import LiftingHead, MixSTE
from tests.humaneva_files import people, pixels, save_2d, save_3d

CONFIG = ('configs/body_3d_keypoint/mixste/humaneva/'
          'video-pose-lift_mixste-43frm-gt_1xb23-160e_humaneva_h36m.py')


def in_process(root_dir, name, *words):
    spec = importlib.util.spec_from_file_location(name, root_dir / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.main([str(word) for word in words]) == 0


@pytest.fixture
def options(tmp_path, root_dir, rng):
    """Tiny model and store; the store is made by the tool."""
    poses = people(rng, frames=50)
    file_2d = save_2d(tmp_path, 'gt', pixels(rng, poses))
    in_process(root_dir, 'prepare_data', 'humaneva', save_3d(tmp_path, poses), '--keypoints-2d',
               file_2d, '--out', tmp_path / 'store')
    small = ['model.backbone.embed_dims=16', 'model.backbone.depth=1',
             'model.backbone.num_heads=2', 'model.head.in_channels=16',
             'train_cfg.max_epochs=1', 'train_cfg.val_interval=10',
             'default_hooks.checkpoint.interval=1', 'optim_wrapper.optimizer.lr=1e-6']
    for part, subject in (('train', 'Train/S1'), ('val', 'Validate/S2'), ('test', 'Validate/S2')):
        loader = f'{part}_dataloader'
        small += [f'{loader}.dataset.stores={tmp_path / "store"}', f'{loader}.num_workers=0',
                  f'{loader}.persistent_workers=False',
                  f'{loader}.dataset.subjects="[\'{subject}\']"']
    return small


def test_fine_tuning_starts_from_all_the_weights(tool, root_dir, tmp_path, options):
    torch.manual_seed(0)
    h36m = torch.nn.ModuleDict(dict(
        backbone=MixSTE(num_frames=45, embed_dims=16, depth=1, num_heads=2),
        head=LiftingHead(16, 17)))
    for parameter in h36m.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_checkpoint(h36m.state_dict(), tmp_path / 'h36m.pth')
    in_process(root_dir, 'convert_checkpoint', 'mixste', tmp_path / 'h36m.pth',
               tmp_path / 'start.pth', '--to-skeleton', 'humaneva', '--num-frames', 43)
    work = ['--work-dir', tmp_path / 'work']
    tool('train.py', root_dir / CONFIG, *work, '--no-validate',
         options=[*options, f'load_from={tmp_path / "start.pth"}'])
    start, end = (load_checkpoint_file(str(path))['state_dict']
                  for path in (tmp_path / 'start.pth', tmp_path / 'work/epoch_1.pth'))
    assert any((start[k] != end[k]).any() for k in start), 'nothing was trained'
    for key in start:  # a few steps of 1e-6 away
        torch.testing.assert_close(end[key], start[key], rtol=0, atol=1e-3, msg=key)
    out = tmp_path / 'metrics.json'
    tool('test.py', root_dir / CONFIG, tmp_path / 'work/epoch_1.pth', *work, '--out', out,
         options=options)
    metrics = json.loads(out.read_text())
    assert {'MPJPE', 'MPJPE/Walking', 'MPJPE/Jog', 'P-MPJPE', 'MPJVE'} <= set(metrics)
    assert 0 < metrics['P-MPJPE'] < metrics['MPJPE'] < 5000
