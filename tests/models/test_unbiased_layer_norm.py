"""The norm by the unbiased standard deviation."""

import numpy as np
import torch

from mmpose_lift.models.layers import UnbiasedLayerNorm


def formula(x, weight, bias):
    deviation = x - x.mean(-1, keepdim=True)
    return weight * deviation / (x.std(-1, keepdim=True) + 1e-6) + bias


def test_equals_published_numbers(shared_dir):
    with np.load(shared_dir / 'reference' / 'hybrik_transformer' / 'layernorm.npz') as archive:
        x, expected, weight, bias = (torch.from_numpy(archive[key])
                                     for key in ('input', 'output', 'sd/a_2', 'sd/b_2'))
    norm = UnbiasedLayerNorm(48)
    norm.load_state_dict(dict(weight=weight, bias=bias))
    torch.testing.assert_close(norm(x), expected, atol=2e-6, rtol=0)


def test_equals_formula_and_its_gradients():
    torch.manual_seed(0)
    norm = UnbiasedLayerNorm(512)
    with torch.no_grad():
        norm.weight.normal_(), norm.bias.normal_()
    x = torch.randn(4, 7, 512, requires_grad=True)
    weight, bias = (p.detach().clone().requires_grad_() for p in (norm.weight, norm.bias))
    upstream = torch.randn_like(x)
    ours = torch.autograd.grad(norm(x), (x, norm.weight, norm.bias), upstream)
    expected = torch.autograd.grad(formula(x, weight, bias), (x, weight, bias), upstream)
    torch.testing.assert_close(norm(x), formula(x, weight, bias), atol=4e-6, rtol=0)
    for a, b in zip(ours, expected):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-5)


def test_constant_rows_and_short_types():
    norm = UnbiasedLayerNorm(16)
    assert (norm(torch.full((2, 16), 3.3)).abs() < 1e-2).all()
    x = torch.randn(3, 16).bfloat16()
    assert norm(x).dtype == torch.float32
    torch.testing.assert_close(norm(x), formula(x.float(), 1, 0), atol=2e-6, rtol=0)
