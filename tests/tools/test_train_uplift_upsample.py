"""Training, resuming and testing with sparse 2D input, on the embedded motion, as a user does."""

import json
import math

import pytest
import torch

from mmpose_lift.compat.checkpoint_loading import load_checkpoint_file

CONFIG = 'configs/demo_uplift_upsample.py'
TINY = [
    'model.backbone.temporal_dims=16', 'model.backbone.temporal_depth=1',
    'model.backbone.spatial_dims=8', 'model.backbone.num_heads=2', 'model.head.in_channels=16',
    'train_dataloader.dataset.stores.num_clips=2', 'train_dataloader.dataset.stores.num_frames=120',
    'train_dataloader.batch_size=4', 'test_dataloader.dataset.stores.num_clips=2',
    'test_dataloader.dataset.stores.num_frames=63', 'default_hooks.checkpoint.interval=2',
    'default_hooks.checkpoint.max_keep_ckpts=-1', 'default_hooks.logger.interval=1',
    'log_processor.window_size=1', 'param_scheduler.0.total_steps=6',
]


@pytest.fixture(scope='module')
def averaged_config(root_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'averaged.py'
    path.write_text(f"_base_ = [{str(root_dir / CONFIG)!r}]\n"
                    "custom_hooks = [dict(type='EMAHook', ema_type='WarmupEMA', momentum=1e-3)]\n")
    return path


def test_train_resume_and_test_at_every_stride(tool, averaged_config, tmp_path):
    tool('train.py', averaged_config, '--work-dir', tmp_path,
         options=[*TINY, 'train_cfg.max_iters=4'])
    done = tool('train.py', averaged_config, '--work-dir', tmp_path, '--resume',
                options=[*TINY, 'train_cfg.max_iters=6'])
    log = done.stdout + done.stderr
    assert 'resumed epoch: 0, iter: 4' in log and 'Iter(train) [6/6]' in log
    state = load_checkpoint_file(str(tmp_path / 'iter_6.pth'))
    assert int(state['ema_state_dict']['steps']) == 6  # went on counting
    raw = state['ema_state_dict']['module.head.center_head.weight']
    assert not torch.equal(raw, state['state_dict']['head.center_head.weight'])
    assert all(math.isfinite(v.sum()) for v in state['state_dict'].values())

    out = tmp_path / 'metrics.json'
    tool('test.py', averaged_config, tmp_path / 'iter_6.pth', '--work-dir', tmp_path, '--out', out,
         options=TINY)
    metrics = json.loads(out.read_text())
    for s_in in (5, 10, 20):
        for name in ('MPJPE', 'N-MPJPE', 'P-MPJPE'):
            for part in ('', '/key'):
                key = f'{name}/s_in={s_in}{part}'
                assert 0 < metrics[key] < 10_000 and f'{key}/frame_mean' in metrics
    actions = {k.split('/')[-1] for k in metrics if k.startswith('MPJPE/s_in=5/')}
    assert len(actions - {'key', 'frame_mean'}) == 2  # two clips, two actions


def test_wrong_strides_are_one_line(tool, root_dir, tmp_path):
    done = tool('train.py', root_dir / CONFIG, '--work-dir', tmp_path, check=False,
                options=[*TINY, 'train_dataloader.dataset.input_strides=(5,7)'])
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert 'multiple of the output stride 5, found 7' in done.stderr
