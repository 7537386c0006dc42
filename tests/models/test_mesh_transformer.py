"""MeshTransformer: parity with METRO's code, what a trained network relies on, and refusals."""

import json

import numpy as np
import pytest
import torch

from mmpose_lift.io import convert_checkpoint
from mmpose_lift.models import MeshTransformer
from mmpose_lift.models.backbones.mesh_transformer import BertLayer

SMALL = dict(input_dims=(11, 8, 6), hidden_dims=(16, 12, 8), output_dims=(8, 6, 3),
             intermediate_dims=(24, 20, 16), num_layers=2, num_heads=4, max_tokens=9)


@pytest.fixture
def model() -> MeshTransformer:
    torch.manual_seed(0)
    return MeshTransformer(**SMALL)


@pytest.mark.parametrize('name', ['encoder', 'encoder_ln_eps'])
def test_outputs_equal_published_code(shared_dir, name):
    file = shared_dir / 'reference' / 'metro_mpt' / f'{name}.npz'
    if not file.is_file():
        pytest.skip(f'no reference/metro_mpt/{file.name} in the shared folder')
    with np.load(file) as archive:
        sizes = json.loads(str(archive['config']))
        expected = {key: torch.from_numpy(archive[key]) for key in archive.files
                    if key != 'config' and not key.startswith('sd/')}
    inputs = sizes['input_feat_dim']
    model = MeshTransformer(
        inputs, sizes['hidden_feat_dim'], (*inputs[1:], 3), sizes['intermediate_size'],
        sizes['num_hidden_layers'], sizes['num_attention_heads'],
        sizes['max_position_embeddings']).eval()
    state = convert_checkpoint('metro', file)
    prefix = 'head.transformer.'
    model.load_state_dict({key[len(prefix):]: value for key, value in state.items()}, strict=True)

    def check(value, key):
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5)

    first, seen = model.blocks[0], []
    first.drop.register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    first.layers[0].register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    with torch.no_grad():
        x = expected['input']
        for i, block in enumerate(model.blocks):
            x = block(x)
            check(x, f'block{i}_output')
        check(seen[0], 'embedding_output_block0')
        check(seen[1], 'first_layer_output_block0')
        torch.testing.assert_close(model(expected['input']), x, rtol=0, atol=0)


def test_trains(model):
    x = torch.randn(2, 9, 11, requires_grad=True)
    out = model(x)
    assert out.shape == (2, 9, 3) and out.isfinite().all()
    out.square().sum().backward()
    for name, value in model.named_parameters():
        assert value.grad.isfinite().all() and value.grad.abs().max() > 0, name
    assert x.grad.abs().max() > 0
    assert not torch.equal(model(x), model(x)), 'dropout draws anew'


def test_dropout_is_off_in_evaluation(model):
    x = torch.randn(2, 7, 11)
    with torch.no_grad():
        out = model.eval()(x)
        torch.testing.assert_close(model(x), out, rtol=0, atol=0)
        torch.testing.assert_close(model(x[:1]), out[:1])
        without = MeshTransformer(**SMALL, drop_rate=0., attn_drop_rate=0.).train()
        without.load_state_dict(model.state_dict())
        torch.testing.assert_close(without(x), out)


def test_attention_dropout_alone_changes_the_output():
    torch.manual_seed(0)
    model = MeshTransformer(**SMALL, drop_rate=0., attn_drop_rate=0.5)
    x = torch.randn(2, 7, 11)
    assert not torch.equal(model(x), model(x))


def test_order_of_tokens_matters_only_through_the_position_table(model):
    model.eval()
    x, order = torch.randn(2, 9, 11), torch.randperm(9)
    with torch.no_grad():
        assert not torch.allclose(model(x[:, order]), model(x)[:, order])
        for block in model.blocks:
            block.pos_embed.zero_()
        torch.testing.assert_close(model(x[:, order]), model(x)[:, order])


def test_start(model):
    weights = torch.cat([block.in_proj.weight.flatten() for block in MeshTransformer(
        input_dims=(200, ), hidden_dims=(200, ), output_dims=(3, ), intermediate_dims=(8, ),
        num_layers=1).blocks])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    for name, value in model.named_parameters():
        if name.endswith('bias'):
            assert (value == 0).all()
        elif '.norm' in name:
            assert (value == 1).all()
        else:
            assert 0.01 < value.std() < 0.03, name


def test_norms_of_nearly_equal_channels_under_bfloat16():
    """Channels that differ by 1e-4 around 1: bfloat16 could not tell them apart."""
    layer = BertLayer(64, 4, 8, drop_rate=0., attn_drop_rate=0.)
    for module in (layer.attn.proj, layer.mlp.fc2):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    x = 1 + 1e-4 * torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        out = layer(x)
    expected = torch.nn.functional.layer_norm(x.double(), (64, ), eps=1e-12)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), expected, rtol=0, atol=5e-3)


def test_bfloat16_stays_near_float32(model):
    x = torch.randn(2, 9, 11)
    with torch.no_grad():
        out = model.eval()(x)
        with torch.autocast('cpu', torch.bfloat16):
            low = model(x)
    assert (low.float() - out).abs().max() < 0.03 * out.abs().max()
    with torch.autocast('cpu', torch.bfloat16):
        model.train()(x).float().sum().backward()
    assert all(value.grad.isfinite().all() for value in model.parameters())


def test_long_or_wide_tokens_are_refused(model):
    with pytest.raises(ValueError, match='10 tokens, but the position table has 9 rows: set '
                                         'max_tokens=10 or more'):
        model(torch.zeros(1, 10, 11))
    with pytest.raises(ValueError, match='expected tokens of width 11 .*found 12'):
        model(torch.zeros(1, 4, 12))


@pytest.mark.parametrize('change, message', [
    (dict(num_heads=3), 'hidden_dims that are multiples of num_heads=3'),
    (dict(num_layers=0), 'num_layers of at least 1'),
    (dict(hidden_dims=(16, 12)), 'one width per block in each of input_dims, hidden_dims'),
    (dict(output_dims=(8, 5, 3)), r'must equal output_dims\[:-1\]; found \(8, 6\) and \(8, 5\)')])
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        MeshTransformer(**dict(SMALL, **change))
