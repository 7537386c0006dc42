"""DeepSpeed as an option: the config fits together, errors are clear, and where it is installed a
few steps are taken."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import OPTIM_WRAPPERS, RUNNERS, STRATEGIES, init_default_scope

from mmpose_lift.engine import OptionalDeepSpeed, deepspeed_strategy
from mmpose_lift.io.body_motion import BodyMotion, write_body_motion

CONFIG = 'configs/body_3d_mesh/mpt/deepspeed/heatmap-mesh_mpt-deepspeed_16xb32-10e_amass.py'


@pytest.fixture(scope='module')
def config(root_dir):
    return Config.fromfile(root_dir / CONFIG)


@pytest.fixture
def installed(monkeypatch):
    """Make it look as if a version of DeepSpeed (None: no DeepSpeed) were installed."""
    def pretend(version):
        monkeypatch.setattr(importlib.util, 'find_spec', lambda name: version and name)
        monkeypatch.setattr(deepspeed_strategy, 'version', lambda name: version)
    return pretend


def test_the_config_fits_together(config):
    assert RUNNERS.get(config.runner_type).__name__ == 'FlexibleRunner'
    assert STRATEGIES.get(config.strategy.type) is OptionalDeepSpeed
    assert OPTIM_WRAPPERS.get(config.optim_wrapper.type).__name__ == 'DeepSpeedOptimWrapper'
    assert config.optim_wrapper.optimizer.type == 'Adam'
    # it would give convolutions other memory than the one that ZeRO updates
    assert not any(hook['type'] == 'BFloat16Hook' for hook in config.custom_hooks)


def test_without_deepspeed(config, installed, tmp_path):
    installed(None)
    init_default_scope('mmpose')
    with pytest.raises(ImportError, match='DeepSpeed, which is not installed; install it with '
                                          "'pip install \"deepspeed>=0.18,<0.19\"'"):
        RUNNERS.build(Config(dict(config.to_dict(), work_dir=str(tmp_path), launcher='none')))


def test_versions(installed):
    for version in ('0.17.6', '0.19.0', '1.0.0'):
        installed(version)
        with pytest.raises(ImportError, match=f'DeepSpeed {version} is installed'):
            deepspeed_strategy.check_deepspeed()
    for version in ('0.18.0', '0.18.9', '0.18.9+cu128'):
        installed(version)
        deepspeed_strategy.check_deepspeed()


def test_bad_options(installed):
    installed('0.18.9')
    with pytest.raises(ValueError, match="autocast: expected None or one of .*found 'half'"):
        OptionalDeepSpeed(autocast='half')
    with pytest.raises(ValueError, match='stage: expected 0, 1 or 2 .*found 3'):
        OptionalDeepSpeed(stage=3)


def test_zero_on_cpus(installed, monkeypatch):
    installed('0.18.9')
    monkeypatch.setattr(deepspeed_strategy, 'get_device', lambda: 'cpu')
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setattr(deepspeed_strategy.DeepSpeedStrategy, '__init__',
                        lambda self, **_: self._setup_distributed('pytorch', 'gloo'))
    with pytest.raises(ValueError, match='stage: expected 0 for several .* CPUs, found 1'):
        OptionalDeepSpeed()


@pytest.fixture
def small(config, tmp_path, rng):
    """The config with a small network, the stand-in body and made-up motion."""
    motion = BodyMotion(0.2 * rng.standard_normal((40, 72)), np.zeros(10), np.zeros((40, 3)), 10.)
    write_body_motion(tmp_path / 'motion' / 'a.npz', motion)
    small = Config(config.to_dict())
    small.merge_from_dict(dict(
        work_dir=str(tmp_path / 'work'), launcher='none', body_model='stand_in',
        default_hooks=dict(checkpoint=dict(by_epoch=False, interval=4),
                           logger=dict(interval=1)),
        train_dataloader=dict(batch_size=2, num_workers=0, persistent_workers=False),
        train_cfg=dict(by_epoch=False, max_iters=4), log_processor=dict(by_epoch=False),
        val_cfg=None, val_dataloader=None, val_evaluator=None, test_cfg=None,
        test_dataloader=None, test_evaluator=None))
    small.train_cfg.pop('max_epochs')
    small.train_cfg.pop('val_interval')
    small.train_dataloader.dataset.update(data_root='', ann_file=str(tmp_path / 'motion'),
                                          num_samples=8)
    small.param_scheduler = [dict(type='LinearLR', start_factor=0.1, end=3, by_epoch=False)]
    small.model.data_preprocessor.update(body_model='stand_in', heatmap_size=28)
    small.model.backbone.size = 28
    small.model.head.update(
        input_size=28, body_model='stand_in', upsampling='barycentric', sizes=(6890, 431, 64),
        stem=dict(channels=(8, 16)))
    small.model.head.transformer.update(
        input_dims=(35, 16, 16), hidden_dims=(16, 16, 16), output_dims=(16, 16, 3),
        intermediate_dims=(32, 32, 32), num_layers=1, num_heads=2)
    return small


@pytest.mark.skipif(importlib.util.find_spec('deepspeed') is None,
                    reason='DeepSpeed is not installed (it is an option; pip install '
                           '"deepspeed>=0.18,<0.19")')
def test_training_and_resuming(small, tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    init_default_scope('mmpose')
    try:
        runner = RUNNERS.build(small)
        runner.train()
        engine = runner.model.model
        assert engine.train_micro_batch_size_per_gpu() == 2
        assert engine.zero_optimization_stage() == 1 and engine.torch_autocast_enabled()
        weights = {key: value.detach().clone()
                   for key, value in engine.module.named_parameters()}
        assert {value.dtype for value in weights.values()} == {torch.float32}
        start = tmp_path / 'work' / 'iter_4.pth'
        assert start.is_dir()
        [log] = (tmp_path / 'work').glob('*/vis_data/scalars.json')
        steps = [json.loads(line) for line in log.read_text().splitlines()]
        assert [step['lr'] for step in steps] == pytest.approx([2e-5, 1.1e-4, 2e-4, 2e-4])
        assert all(np.isfinite(step['loss']) for step in steps)

        # MMEngine registers DeepSpeed's optimisers with every strategy, and once is all it can
        monkeypatch.setattr('mmengine._strategy.deepspeed.register_deepspeed_optimizers',
                            lambda: None)
        small.update(resume=True, load_from=str(start))
        small.train_cfg.max_iters = 5
        runner = RUNNERS.build(small)
        runner.train()
        resumed = dict(runner.model.model.module.named_parameters())
        assert runner.train_loop.iter == 5
        changes = [float((resumed[key] - value).detach().abs().max())
                   for key, value in weights.items()]
        assert 0 < max(changes) < 1e-3  # one step of Adam from where it stood
        small.update(resume=False, load_from=str(tmp_path / 'motion' / 'a.npz'))
        with pytest.raises(ValueError, match='start from a plain file of weights'):
            RUNNERS.build(small).train()
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
