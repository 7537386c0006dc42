"""Stock PyTorch and MMEngine parts give the published optimisation of Uplift and Upsample."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.optim import StepLR as _StepLR  # noqa: F401  (registration)
from mmengine.registry import PARAM_SCHEDULERS
from torch import nn

LR, DECAY = 4e-5, 4e-6  # decay per step, not multiplied by the learning rate
GAMMA, STEP = 0.99, 6000


def scheduler(optimizer, step_size=STEP):
    return PARAM_SCHEDULERS.build(dict(type='StepLR', step_size=step_size, gamma=GAMMA,
                                       by_epoch=False), default_args=dict(optimizer=optimizer))


def test_learning_rate_is_a_staircase():
    optimizer = OptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=LR))
    steps = scheduler(optimizer)
    for step in range(3 * STEP + 1):
        if step % STEP in (0, 1, STEP - 1):
            assert optimizer.param_groups[0]['lr'] == pytest.approx(LR * GAMMA**(step // STEP))
        optimizer.step()
        steps.step()


def test_adamw_has_the_published_decay():
    """Adam's step, then w -= decay * w of the weight before it, both scaled by the staircase."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=DECAY / LR)
    assert optimizer.param_groups[0]['weight_decay'] == pytest.approx(0.1)
    assert optimizer.param_groups[0]['betas'] == (0.9, 0.999)
    steps = scheduler(optimizer, step_size=7)
    hand = [p.detach().clone() for p in model.parameters()]  # bias included
    first, second = ([torch.zeros_like(p) for p in hand] for _ in range(2))
    for t in range(1, 31):
        factor = GAMMA**((t - 1) // 7)
        gradients = [torch.randn_like(p) for p in hand]
        for i, (parameter, gradient) in enumerate(zip(model.parameters(), gradients)):
            parameter.grad = gradient
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.999 * second[i] + 0.001 * gradient**2
            change = LR * factor * (first[i] / (1 - 0.9**t)) / (
                (second[i] / (1 - 0.999**t)).sqrt() + 1e-8)
            hand[i] = hand[i] - DECAY * factor * hand[i] - change
        optimizer.step()
        steps.step()
    for parameter, value in zip(model.parameters(), hand):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-12, atol=0)
