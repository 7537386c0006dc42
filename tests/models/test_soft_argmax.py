from itertools import accumulate

import pytest
import torch

from mmpose_lift.models.layers import soft_argmax as layer
from mmpose_lift.models.layers.soft_argmax import deconvolutions, soft_argmax


@pytest.mark.parametrize('shape', [(2, 3, 4, 6, 5), (2, 3, 6, 5)])
def test_both_forms_are_the_expectation(shape):
    torch.manual_seed(0)
    logits = 3 * torch.randn(shape, dtype=torch.float64)
    p = logits.flatten(2).softmax(-1).view(shape)
    expected = []
    for axis in range(logits.ndim - 1, 1, -1):  # x, y and z: the last axis first
        index = torch.arange(shape[axis], dtype=p.dtype)
        index = index.view([-1 if i == axis else 1 for i in range(p.ndim)])
        expected.append((p * index).flatten(2).sum(-1))
    for method in ('fused', 'published'):
        torch.testing.assert_close(soft_argmax(logits, method), torch.stack(expected, -1))


def test_a_peak_is_found_in_each_axis():
    logits = torch.zeros(1, 1, 8, 9, 10)
    logits[0, 0, 2, 3, 7] = 1000.
    for method in ('fused', 'published'):
        assert soft_argmax(logits, method).tolist() == [[[7., 3., 2.]]]


@pytest.mark.parametrize('shape', [(2, 2, 3, 4, 5), (2, 2, 4, 3)])
def test_gradient(shape, monkeypatch):
    torch.manual_seed(0)
    logits = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_argmax, (logits, ))
    monkeypatch.setattr(layer, '_pieces', lambda rows, like=None: rows.split(3))  # 4 rows: uneven
    assert torch.autograd.gradcheck(soft_argmax, (logits, ))


def test_float32_agrees_at_full_size():
    torch.manual_seed(0)
    logits = (4 * torch.randn(1, 5, 64, 64, 64)).requires_grad_()
    weight = torch.randn(1, 5, 3)
    results = []
    for method in ('fused', 'published'):
        found = soft_argmax(logits, method) / 64
        results.append((found, *torch.autograd.grad((found * weight).sum(), logits)))
    (found, grad), (wanted, wanted_grad) = results
    assert (found - wanted).abs().max() < 1e-6
    assert (grad - wanted_grad).abs().max() < 1e-5 * wanted_grad.abs().max()


def test_peak_memory(monkeypatch):
    monkeypatch.setattr(layer, '_pieces', lambda rows, like=None: rows.split(1))
    logits = torch.randn(8, 3, 16, 16, 16, requires_grad=True)
    peaks = {}
    for method in ('fused', 'published'):
        with torch.profiler.profile(profile_memory=True) as profiler:
            torch.autograd.grad(soft_argmax(logits, method).sum(), logits)
        changes = sorted((event.start_ns(), event.nbytes())
                         for event in profiler.profiler.kineto_results.events()
                         if event.name() == '[memory]')
        peaks[method] = max(accumulate(change for _, change in changes)) / (4 * logits.numel())
    assert peaks['fused'] < 1.2  # the gradient
    assert peaks['published'] > 2.9


def test_low_precision_heatmaps_are_summed_in_float32():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 16, 16, 16, dtype=torch.bfloat16, requires_grad=True)
    for method in ('fused', 'published'):
        found = soft_argmax(logits, method)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, soft_argmax(logits.double(), method).float())
        grad, = torch.autograd.grad(found.sum(), logits)
        assert grad.dtype == torch.bfloat16 and grad.abs().sum() > 0


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r'found \(2, 3, 4\)'):
        soft_argmax(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="found 'other'"):
        soft_argmax(torch.zeros(2, 3, 4, 5), 'other')


def test_deconvolutions_double_the_size():
    layers = deconvolutions(5, 7, 2)
    assert layers(torch.randn(2, 5, 3, 4)).shape == (2, 7, 12, 16)
    assert sum(p.numel() for p in layers.parameters()) == 16 * 7 * (5 + 7) + 2 * 2 * 7
