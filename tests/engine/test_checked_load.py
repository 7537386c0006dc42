"""The hook that refuses weights which MMEngine would load in part."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import nn


def load(model, state, **options):
    hook = HOOKS.build(dict(type='CheckedLoadHook', **options))
    hook.after_load_checkpoint(SimpleNamespace(model=model, _load_from='some.pth'), state)


def test_whole_weights_pass():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    load(model, dict(state_dict=model.state_dict(), meta={}))
    load(model, {f'module.{k}': v for k, v in model.state_dict().items()})
    wrapped = nn.DataParallel(model)
    load(wrapped, dict(state_dict=model.state_dict()))


@pytest.mark.parametrize('change, message', [
    (lambda s: s.pop('bias'), 'missing: bias'),
    (lambda s: s.update(other=torch.zeros(1)), 'unexpected: other'),
    (lambda s: s.update(weight=torch.zeros(4, 2)), r'weight \(4, 2\) instead of \(3, 2\)'),
])
def test_partial_weights_are_refused(change, message):
    model = nn.Linear(2, 3)
    state = dict(model.state_dict())
    change(state)
    with pytest.raises(ValueError, match=f'some.pth.*{message}.*Do this.'):
        load(model, dict(state_dict=state), advice='Do this.')


def test_parts_that_start_anew_and_parts_left_behind():
    model = nn.ModuleDict(dict(neck=nn.Linear(2, 3), head=nn.Linear(3, 1)))
    state = {f'head.{k}': v for k, v in model['head'].state_dict().items()}
    state['head.masking.fill'] = torch.zeros(17)
    load(model, state, new=['neck.'], left=['head.masking.'])
    with pytest.raises(ValueError, match='missing: neck.'):
        load(model, state, left=['head.masking.'])
    with pytest.raises(ValueError, match='unexpected: head.masking.fill'):
        load(model, state, new=['neck.'])


class _Model(BaseModel):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(2, width)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.layer(inputs)


@pytest.mark.parametrize('hooked', [True, False])
def test_a_runner_asks_before_it_loads(tmp_path, hooked):
    """Without the hook MMEngine keeps what does not fit; when that ends, the hook can go."""
    torch.save(dict(state_dict=_Model(3).state_dict()), tmp_path / 'other.pth')
    hooks = [HOOKS.build(dict(type='CheckedLoadHook', advice='Convert it.'))] if hooked else None
    runner = Runner(_Model(4), str(tmp_path / 'work'), load_from=str(tmp_path / 'other.pth'),
                    custom_hooks=hooks, default_scope='mmpose', experiment_name=f'checked{hooked}')
    before = runner.model.layer.weight.clone()
    if hooked:
        with pytest.raises(ValueError, match=r'other.pth.*layer.weight \(3, 2\).*Convert it.'):
            runner.load_or_resume()
    else:
        runner.load_or_resume()
    assert torch.equal(runner.model.layer.weight, before)


def test_parts_that_start_anew_may_be_missing():
    model = nn.ModuleDict(dict(base=nn.Linear(2, 3), refiner=nn.Linear(3, 3)))
    first_stage = {k: v for k, v in model.state_dict().items() if k.startswith('base.')}
    load(model, dict(state_dict=first_stage), new=('refiner.', ))
    load(model, dict(state_dict=model.state_dict()), new=('refiner.', ))
    with pytest.raises(ValueError, match='missing: refiner'):
        load(model, dict(state_dict=first_stage))
    del first_stage['base.bias']
    with pytest.raises(ValueError, match='missing: base.bias'):
        load(model, dict(state_dict=first_stage), new=('refiner.', ))
