"""Layers: equal results in every layout and form, statistics of drop path, gradients."""

from importlib import import_module

import pytest
import torch

from mmpose_lift.models.layers import DropPath, SelfAttention, TransformerBlock, drop_path

# `layers.recompute` is the function: modules are fetched by their full names.
attention_module, recompute_module = (
    import_module(f'mmpose_lift.models.layers.{name}') for name in ('attention', 'recompute'))


@pytest.fixture
def recompute_always(monkeypatch):
    monkeypatch.setattr(recompute_module, 'MIN_ELEMENTS', 0)


def plain_attention(layer: SelfAttention, x: torch.Tensor) -> torch.Tensor:
    """(N, L, C) attention head by head, straight from the definition."""
    rows, length, dims = x.shape
    width = dims // layer.num_heads
    query, key, value = layer.qkv(x).split(dims, dim=-1)
    heads = []
    for h in range(layer.num_heads):
        part = slice(h * width, (h + 1) * width)
        scores = query[..., part] @ key[..., part].transpose(1, 2) * layer.scale
        heads.append(scores.softmax(-1) @ value[..., part])
    return layer.proj(torch.cat(heads, dim=-1))


@pytest.mark.parametrize('fused', [True, False])
@pytest.mark.parametrize('qk_scale', [None, 0.7])
def test_attention_equals_definition(monkeypatch, fused, qk_scale):
    monkeypatch.setattr(attention_module, 'fused_attention_is_faster', lambda *_: fused)
    torch.manual_seed(0)
    layer = SelfAttention(24, 4, qk_scale=qk_scale).double()
    x = torch.randn(3, 7, 24, dtype=torch.double)
    torch.testing.assert_close(layer(x), plain_attention(layer, x))
    token_first = layer(x.transpose(0, 1).contiguous(), token_dim=0).transpose(0, 1)
    torch.testing.assert_close(token_first, plain_attention(layer, x))


@pytest.mark.parametrize('device, dtype, tokens, rows, fused', [
    ('cpu', torch.float32, 243, 17, True), ('cpu', torch.float64, 17, 1, True),
    ('cpu', torch.bfloat16, 17, 1, True), ('cpu', torch.bfloat16, 41, 1, True),
    ('cpu', torch.bfloat16, 17, 32, False), ('cpu', torch.bfloat16, 71, 1, False),
    ('cpu', torch.bfloat16, 243, 1, False), ('cpu', torch.bfloat16, 243, 17, False),
    ('cpu', torch.float16, 17, 1, False), ('cuda', torch.bfloat16, 243, 17, True)])
def test_faster_form_of_attention(device, dtype, tokens, rows, fused):
    """As measured with 8 heads; 17 rows of 243 tokens are MixSTE's."""
    assert attention_module.fused_attention_is_faster(
        torch.device(device), dtype, rows * 8 * tokens**2) == fused


@pytest.mark.parametrize('tokens, rows', [(17, 1), (17, 32), (243, 1)])
def test_attention_asks_for_the_number_of_scores(monkeypatch, tokens, rows):
    calls, kernel = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(attention_module.F, 'scaled_dot_product_attention',
                        lambda *args, **kwargs: calls.append(1) or kernel(*args, **kwargs))
    torch.manual_seed(0)
    layer = SelfAttention(32, 8).bfloat16()
    x = torch.randn(rows, tokens, 32, dtype=torch.bfloat16)
    out = layer(x)
    assert len(calls) == (rows * tokens**2 <= 2048)  # 2**14 scores of 8 heads
    expected = plain_attention(layer.float(), x.float())
    assert (out.float() - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize('fused', [True, False])
def test_attention_gradient(monkeypatch, fused):
    monkeypatch.setattr(attention_module, 'fused_attention_is_faster', lambda *_: fused)
    torch.manual_seed(0)
    layer = SelfAttention(8, 2).double()
    x = torch.randn(2, 5, 8, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, token_dim=0), (x, ))


def test_attention_needs_divisible_width():
    with pytest.raises(ValueError, match='10 channels cannot be split into 4 heads'):
        SelfAttention(10, 4)


@pytest.mark.parametrize('sample_dim', [0, 1])
def test_drop_path_statistics(sample_dim):
    torch.manual_seed(0)
    x = torch.ones(4000, 4000 // 1000, 3) if sample_dim == 0 else torch.ones(4, 4000, 3)
    out = drop_path(x, 0.25, sample_dim)
    rows = out.movedim(sample_dim, 0).flatten(1)
    assert (rows == rows[:, :1]).all(), 'a sample is dropped as a whole'
    assert set(rows[:, 0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs((rows[:, 0] == 0).float().mean() - 0.25) < 0.03
    assert abs(out.mean() - 1) < 0.04


def test_drop_path_off():
    x = torch.randn(5, 3)
    assert DropPath(0.5).eval()(x) is x
    assert DropPath(0.0).train()(x) is x
    with pytest.raises(ValueError, match=r'\[0, 1\)'):
        DropPath(1.0)


def test_block_layouts_agree():
    torch.manual_seed(0)
    block = TransformerBlock(16, 2)
    x = torch.randn(3, 5, 16)
    torch.testing.assert_close(block(x), block(x.transpose(0, 1), token_dim=0).transpose(0, 1))


@pytest.mark.parametrize('drop_rate', [0.0, 0.3])
def test_block_recomputation_changes_no_gradient(monkeypatch, recompute_always, drop_rate):
    torch.manual_seed(0)
    block = TransformerBlock(16, 2, drop_rate=drop_rate, drop_path_rate=0.3)
    x = torch.randn(3, 5, 16)

    def gradients():
        torch.manual_seed(1)
        block.zero_grad()
        out = block(x)
        out.square().sum().backward()
        return [out.detach()] + [p.grad.clone() for p in block.parameters()]

    kept = gradients()
    monkeypatch.setattr(recompute_module, 'MIN_ELEMENTS', 10**9)
    for a, b in zip(kept, gradients()):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_recompute_does_not_repeat_the_product(recompute_always):
    """The second run stops where the product has stored its operands."""
    calls = []

    class Product(torch.nn.Linear):

        def forward(self, x):
            out = super().forward(x)
            calls.append('product done')
            return out

    layer = Product(4, 4)
    x = torch.randn(3, 4, requires_grad=True)
    recompute = recompute_module.recompute
    recompute(lambda x: layer(torch.tanh(x)), x).sum().backward()
    assert calls == ['product done']
    with torch.no_grad():
        assert not recompute(layer, x).requires_grad
