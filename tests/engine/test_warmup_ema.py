"""The average by hand, and in a real run: evaluated, saved, resumed."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from mmpose.registry import MODELS as MMPOSE_MODELS
from torch import nn

from mmpose_lift.compat.checkpoint_loading import load_checkpoint_file
from mmpose_lift.engine import WarmupEMA

STEPS = 30
FINAL = 0.7  # reached at step 20, so that both parts of the schedule are seen


class Regression(BaseModel):
    """Linear model with batch norm; its weights are only meaningful after init_weights."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.fc = nn.Linear(4, 1)
        nn.init.constant_(self.fc.weight, np.nan)

    def init_weights(self):
        nn.init.constant_(self.fc.weight, 0.3)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        inputs = torch.stack(inputs)
        out = self.fc(self.norm(inputs))
        return dict(loss=(out - inputs.sum(1, keepdim=True)).square().mean()) if (
            mode == 'loss') else [out.detach()]


class Outputs(BaseMetric):
    """What the model answered during evaluation."""
    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(mean=float(torch.cat(list(results)).mean()))


class Record(Hook):
    """The weights after each step, before the average takes them in."""
    priority = 'HIGHEST'

    def __init__(self):
        self.states, self.evaluated = [], []

    def before_train(self, runner):
        self.states.append(snapshot(runner.model))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.states.append(snapshot(runner.model))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.evaluated.append(snapshot(runner.model))


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(4, generator=generator) * 3 + 1)


def snapshot(model):
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def by_hand(states, final=FINAL):
    """Average after the last of the states; the first one is the start."""
    average = dict(states[0])
    for t, state in enumerate(states[1:]):
        decay = min(final, (1 + t) / (10 + t))
        for key, value in state.items():
            average[key] = value if not value.is_floating_point() else (
                decay * average[key].double() + (1 - decay) * value.double())
    return average


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key].double(), value.double(), rtol=1e-5, atol=1e-7,
                                   msg=lambda text, key=key: f'{key}: {text}')


def test_registered():
    for registry in (MODELS, MMPOSE_MODELS):
        average = registry.build(dict(type='WarmupEMA', model=nn.Linear(2, 2)))
        assert isinstance(average, WarmupEMA) and average.momentum == 0.001


def test_decay():
    average = WarmupEMA(nn.Linear(1, 1))
    assert [average.decay(t) for t in (0, 1, 8, 10)] == [1 / 10, 2 / 11, 9 / 18, 11 / 20]
    assert average.decay(8989) < 0.999 == average.decay(8992) == average.decay(10**6)


@pytest.mark.parametrize('interval', [1, 3])
@pytest.mark.parametrize('update_buffers', [True, False])
def test_by_hand(interval, update_buffers):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    average = WarmupEMA(model, 1 - FINAL, interval, update_buffers=update_buffers)
    states = []
    for _ in range(STEPS):
        model(torch.randn(8, 4))
        states = states or [snapshot(model)]
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        average.update_parameters(model)
        states.append(snapshot(model))
    buffers = dict(model.named_buffers())
    wanted = {k: v.double() for k, v in states[0].items()}
    # the start is taken before the first forward pass, which changes the running statistics
    wanted['1.running_mean'], wanted['1.running_var'] = torch.zeros(4), torch.ones(4)
    for t in range(0, STEPS, interval):
        decay = min(FINAL, (1 + t) / (10 + t))
        for key, value in states[t + 1].items():
            wanted[key] = decay * wanted[key] + (1 - decay) * value
    for key, value in buffers.items():
        if not update_buffers or not value.is_floating_point():
            wanted[key] = value
    assert_same(average.module.state_dict(), wanted)
    assert average.steps == STEPS and not model._forward_pre_hooks


def test_evaluation_before_training_changes_nothing():
    model = nn.Linear(2, 1)
    average = WarmupEMA(model)
    start = snapshot(average.module)
    with torch.no_grad():
        model.weight.zero_()
    model.eval()(torch.ones(1, 2))
    assert_same(average.module.state_dict(), start)
    model.train()(torch.ones(1, 2))
    assert_same(average.module.state_dict(), model.state_dict())


def test_refused():
    for momentum in (0, 1, -0.1, 1.5):
        with pytest.raises(ValueError, match=r'1 - the final decay and lies between 0 and 1'):
            WarmupEMA(nn.Linear(1, 1), momentum)
    with pytest.raises(ValueError, match='interval must be at least 1'):
        WarmupEMA(nn.Linear(1, 1), interval=0)


def runner(work_dir, epochs, resume=False, load_from=None):
    init_default_scope('mmpose')
    record = Record()
    loader = dict(dataset=Data(), batch_size=8, num_workers=0)
    torch.manual_seed(0)
    return record, Runner(
        model=Regression(), work_dir=str(work_dir), default_scope='mmpose',
        experiment_name=f'{work_dir.name}_{epochs}_{resume}',
        train_dataloader=dict(**loader, sampler=dict(type='DefaultSampler', shuffle=True, seed=0)),
        val_dataloader=dict(**loader, sampler=dict(type='DefaultSampler', shuffle=False)),
        test_dataloader=dict(**loader, sampler=dict(type='DefaultSampler', shuffle=False)),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1), val_cfg={}, test_cfg={},
        val_evaluator=Evaluator(Outputs()), test_evaluator=Evaluator(Outputs()),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=-1)),
        custom_hooks=[dict(type='EMAHook', ema_type='WarmupEMA', momentum=1 - FINAL), record],
        resume=resume, load_from=load_from, log_level='WARNING')


def test_in_a_run(tmp_path):
    record, whole = runner(tmp_path / 'whole', 4)
    whole.train()
    assert torch.equal(record.states[0]['fc.weight'], torch.full((1, 4), 0.3))
    wanted = by_hand(record.states)
    # evaluation saw the average after each epoch of 8 steps, and training went on without it
    for epoch in range(4):
        assert_same(record.evaluated[8 * epoch], by_hand(record.states[:8 * epoch + 9]))
    assert_same(whole.model.state_dict(), record.states[-1])
    # the checkpoint holds the average where weights are looked for
    saved = load_checkpoint_file(tmp_path / 'whole' / 'epoch_4.pth')
    assert_same(saved['state_dict'], wanted)
    assert saved['ema_state_dict']['steps'] == 32
    assert_same({k[len('module.'):]: v for k, v in saved['ema_state_dict'].items()
                 if k != 'steps'}, record.states[-1])
    value = whole.message_hub.get_scalar('val/mean').current()

    _, tested = runner(tmp_path / 'test', 4, load_from=str(tmp_path / 'whole' / 'epoch_4.pth'))
    assert tested.test()['mean'] == pytest.approx(value, rel=1e-6)

    # stopped after two epochs and resumed
    _, half = runner(tmp_path / 'half', 2)
    half.train()
    record, rest = runner(tmp_path / 'half', 4, resume=True)
    rest.train()
    assert len(record.evaluated) == 16
    found = load_checkpoint_file(tmp_path / 'half' / 'epoch_4.pth')
    assert_same(found['state_dict'], wanted)
    assert found['ema_state_dict']['steps'] == 32
