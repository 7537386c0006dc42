"""The schedule's values, in a run and after a resume."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import PARAM_SCHEDULERS
from torch import nn

from mmpose_lift.engine import InverseSqrtLR


def scheduler(**options):
    optimizer = torch.optim.SGD([
        dict(params=[torch.zeros(1, requires_grad=True)], lr=5e-4),
        dict(params=[torch.zeros(1, requires_grad=True)], lr=1e-4)], lr=1)
    return optimizer, PARAM_SCHEDULERS.build(
        dict(type='InverseSqrtLR', by_epoch=False, optimizer=optimizer, **options))


def rates(optimizer):
    return [group['lr'] for group in optimizer.param_groups]


def test_published_values():
    optimizer, schedule = scheduler()
    found = []
    for _ in range(16001):
        found.append(rates(optimizer))
        optimizer.step()
        schedule.step()
    assert found[0] == [0, 0]
    for t in (1, 1000, 3999):
        assert found[t] == pytest.approx([5e-4 * t / 4000, 1e-4 * t / 4000])
    assert found[4000] == pytest.approx([5e-4, 1e-4])
    assert found[16000] == pytest.approx([2.5e-4, 0.5e-4])
    assert max(found) == found[4000]


def test_wrong_options():
    optimizer, _ = scheduler()
    with pytest.raises(ValueError, match='add by_epoch=False'):
        InverseSqrtLR(optimizer)
    with pytest.raises(ValueError, match='warmup must be at least 1'):
        InverseSqrtLR(optimizer, warmup=0, by_epoch=False)


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.rates = []

    def train_step(self, data, optim_wrapper):
        self.rates.append(optim_wrapper.get_lr()['lr'][0])
        return super().train_step(data, optim_wrapper)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=self.layer(torch.stack(inputs)).square().mean())


def train(work_dir, epochs, resume=False):
    init_default_scope('mmpose')
    model = Model()
    Runner(model, str(work_dir), dict(
        dataset=[dict(inputs=torch.ones(1))] * 6, batch_size=1, num_workers=0,
        sampler=dict(type='DefaultSampler')), train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.1)),
        param_scheduler=dict(type='InverseSqrtLR', warmup=4, by_epoch=False), resume=resume,
        default_scope='mmpose', experiment_name=f'{work_dir.name}{epochs}{resume}',
        log_level='WARNING').train()
    return model.rates


def test_in_a_run_and_resumed(tmp_path):
    whole = train(tmp_path / 'whole', 3)
    assert whole == pytest.approx([0.1 * min(t / 4, (4 / max(t, 1))**0.5) for t in range(18)])
    train(tmp_path / 'half', 2)
    assert train(tmp_path / 'half', 3, resume=True) == whole[12:]
