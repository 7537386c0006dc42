"""The schedule of MPT, in the form of its configs: linear up for 10 % of the steps, linear to 0."""

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import PARAM_SCHEDULERS

EPOCHS, STEPS, PEAK = 10, 40, 2e-4
SCHEDULE = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1, convert_to_iter_based=True),
    dict(type='LinearLR', start_factor=1, end_factor=0, begin=1, end=EPOCHS,
         convert_to_iter_based=True)]


def rates():
    """Learning rate of every step; schedules are made and stepped as MMEngine's runner does."""
    init_default_scope('mmpose')
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))], lr=PEAK)
    schedulers = []
    for options in SCHEDULE:
        options = dict(options, optimizer=optimizer, epoch_length=STEPS)
        assert options.pop('convert_to_iter_based')
        schedulers.append(PARAM_SCHEDULERS.get(options.pop('type')).build_iter_from_epoch(**options))
    for _ in range(EPOCHS * STEPS):
        yield optimizer.param_groups[0]['lr']
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def test_up_for_a_tenth_of_the_steps_and_down_to_zero():
    found = list(rates())
    total = EPOCHS * STEPS
    assert found[0] == pytest.approx(1e-6 * PEAK)
    # the first phase reaches the peak in its last step, where the second one starts as well
    assert found[STEPS - 1] == pytest.approx(PEAK) and found[STEPS] == pytest.approx(PEAK)
    assert found[-1] == pytest.approx(0, abs=1e-12)
    assert found[int(0.55 * total)] == pytest.approx(PEAK / 2, rel=0.01)
    # never further than a step of the warm-up from the continuous rule
    for step, rate in enumerate(found):
        rule = min(step / STEPS, (total - step) / (total - STEPS))
        assert abs(rate / PEAK - rule) <= 1 / STEPS
    up = [b - a for a, b in zip(found[:STEPS], found[1:STEPS])]
    down = [a - b for a, b in zip(found[STEPS:], found[STEPS + 1:])]
    assert up == pytest.approx([PEAK / (STEPS - 1)] * len(up), rel=1e-4)
    assert down == pytest.approx([PEAK / (total - STEPS - 1)] * len(down), rel=1e-6)
