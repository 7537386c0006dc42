"""Dropout on CPUs: the distribution, its expectation and the gradients."""

import pytest
import torch

from mmpose_lift.models.layers import Dropout, SelfAttention, attend, cpu_dropout, dropout


@pytest.mark.parametrize('rate', [1e-4, 0.1, 0.5, 0.9])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_share_and_scale(rate, dtype):
    torch.manual_seed(0)
    out = dropout(torch.ones(1000, 1001, dtype=dtype), rate)
    assert out.dtype == dtype and len(out.unique()) == 2
    assert out.max().item() == pytest.approx(1 / (1 - rate), rel=2e-4 if out.itemsize > 2 else 0.01)
    share = (out == 0).float()
    assert share.mean().item() == pytest.approx(rate, abs=4 * (rate / 1e6)**0.5 + 2**-17)
    for dim in (0, 1):  # independent: no row or column stands out
        spread = share.mean(dim).std().item()
        assert spread == pytest.approx((rate * (1 - rate) / 1000)**0.5, rel=0.1)


def test_rates_at_the_ends():
    x = torch.randn(4, 5)
    assert torch.equal(dropout(x, 0.), x) and (dropout(x, 1.) == 0).all()
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(dropout(x, 1e-9), x) and dropout(x, 1 - 1e-9).isfinite().all()
    assert dropout(torch.empty(0, 3), 0.1).shape == (0, 3)


def test_seeds_repeat_it():
    drop, x = Dropout(0.3), torch.randn(50)
    torch.manual_seed(3)
    first = drop(x)
    second = drop(x)
    torch.manual_seed(3)
    assert torch.equal(drop(x), first) and not torch.equal(first, second)


def test_gradients():
    def seeded(function, *inputs):
        torch.manual_seed(0)
        return function(*inputs)

    torch.manual_seed(1)
    query, key, value = (torch.randn(2, 2, length, 4, dtype=torch.double, requires_grad=True)
                         for length in (3, 5, 5))
    mask = torch.zeros(2, 1, 1, 5, dtype=torch.double)
    mask[1, ..., 3:] = -1e9
    assert torch.autograd.gradcheck(lambda x: seeded(dropout, x, 0.3), (query, ))
    assert torch.autograd.gradcheck(
        lambda *qkv: seeded(lambda *a: attend(*a, 0.4, 0.3, mask), *qkv), (query, key, value))


def test_attention_is_that_with_dropped_weights():
    torch.manual_seed(1)
    query, key, value = (torch.randn(2, 3, 7, 4) for _ in range(3))
    weights = (query @ key.mT * 0.5).softmax(-1)
    torch.manual_seed(0)
    out = attend(query, key, value, 0.5, 0.25)
    torch.manual_seed(0)
    signs, rate = cpu_dropout._random_signs(weights.shape, 0.25)
    assert rate == 0.25 and 0 < (signs < 0).sum() < signs.numel()
    torch.testing.assert_close(out, weights * (signs >= 0) / 0.75 @ value)


def test_expectation_of_attention():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 6, 4) for _ in range(3))
    plain = attend(query, key, value, 0.5)
    many = attend(*(x.expand(4000, -1, -1, -1) for x in (query, key, value)), 0.5, 0.1)
    torch.testing.assert_close(many.mean(0, keepdim=True), plain, rtol=0, atol=0.05)


def test_autocast_and_recording():
    attention = SelfAttention(8, 2, attn_drop_rate=0.5)
    x = torch.randn(2, 5, 8)
    with torch.autocast('cpu', torch.bfloat16):
        out = attention(x)
        out.float().sum().backward()
    assert out.dtype == torch.bfloat16 and attention.qkv.weight.grad.isfinite().all()
    weights = []
    attention(x, record=weights)
    torch.testing.assert_close(weights[0].sum(-1), torch.ones(2, 2, 5))
