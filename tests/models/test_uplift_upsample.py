"""Uplift and Upsample: exact sizes, key-frames, deferred attention, strided blocks, bad input."""

from importlib import import_module

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmpose_lift.models import UpliftUpsampleHead, UpliftUpsampleTransformer
from mmpose_lift.models.layers import SelfAttention, StridedTransformerBlock, attend, key_mask

CENTER = 13
NO_STRIDED = dict(strides=(), paddings=())


def small(**kwargs) -> UpliftUpsampleTransformer:
    torch.manual_seed(0)
    options = dict(num_tokens=27, spatial_dims=16, temporal_dims=32, spatial_depth=2,
                   temporal_depth=2, strides=(3, 3, 3), paddings=None, num_heads=4)
    options.update(kwargs)
    return UpliftUpsampleTransformer(**options)


def windows(batch=3, stride=4, tokens=27, shift=0, seed=0) -> torch.Tensor:
    """Random poses, every ``stride``-th frame counted from the centre + shift a key-frame."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, tokens, 17, 3, generator=generator)
    x[..., 2] = key_frames(tokens, stride, shift).float()[:, None]
    return x


def key_frames(tokens=27, stride=4, shift=0) -> torch.Tensor:
    return (torch.arange(tokens) - tokens // 2 - shift) % stride == 0


def assert_equal(first, second, **tolerance):
    for a, b in zip(first, second):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize('options, count', [
    (dict(), 10_404_902),
    (dict(num_tokens=41, strides=(4, 4, 3), paddings=((1, 1), (0, 0), (0, 0))), 10_377_254)])
def test_parameter_count_of_the_published_models(options, count):
    with torch.device('meta'):
        model = torch.nn.ModuleList(
            [UpliftUpsampleTransformer(**options), UpliftUpsampleHead(384, 17)])
    assert sum(p.numel() for p in model.parameters()) == count


def test_defaults_are_the_published_model():
    with torch.device('meta'):
        model = UpliftUpsampleTransformer()
    assert [tuple(p.shape) for p in model.strided_pe] == [(71, 384), (23, 384), (3, 384)]
    rates = [[block.drop_path.drop_prob for block in blocks]
             for blocks in (model.spatial_blocks, model.temporal_blocks, model.strided_blocks)]
    np.testing.assert_allclose(rates[0], np.linspace(0, 0.1, 4))
    assert rates[1] == rates[0] and rates[2] == [0, 0, 0]
    eps = {name: m.eps for name, m in model.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    assert eps.pop('spatial_norm') == 1e-6 and set(eps.values()) == {1e-5}
    activations = [[type(m) for m in block.modules()
                    if isinstance(m, (torch.nn.GELU, torch.nn.ReLU))] for block in
                   (model.spatial_blocks[0], model.temporal_blocks[0], model.strided_blocks[0])]
    assert activations == [[torch.nn.GELU], [torch.nn.ReLU], [torch.nn.ReLU]]


def test_initialisation():
    model = small(temporal_dims=128)
    for table in (model.spatial_pe, model.temporal_pe, model.upsample_token, *model.strided_pe):
        assert 0 < table.abs().max() <= 0.04 and 0.012 < table.std() < 0.022
    # q, k and v are three square layers of the public code, not one of 3C outputs
    bound = (6 / 256) ** 0.5
    for part in model.temporal_blocks[0].attn.qkv.weight.chunk(3):
        assert 0.98 * bound < part.abs().max() <= bound
    conv = model.strided_blocks[0].conv
    bound = (6 / (3 * (256 + 128))) ** 0.5
    assert 0.98 * bound < conv.weight.abs().max() <= bound
    assert all(not p.any() for name, p in model.named_parameters()
               if name.endswith('bias') or name == 'bias')


@pytest.mark.parametrize('options', [
    dict(), dict(spatial_depth=0), dict(temporal_depth=0), NO_STRIDED,
    dict(first_upsample_attention_block=0), dict(first_upsample_attention_block=2),
    dict(token_mask_rate=0.3), dict(token_mask_rate=0.3, learned_mask_token=True),
    dict(qkv_bias=False), dict(spatial_depth=0, temporal_depth=0)], ids=str)
def test_variants_give_every_parameter_a_gradient(options):
    model = small(**options, drop_path_rate=0.0).train()
    features = model(windows())
    if options.get('temporal_depth') == 0:
        assert features[0] is None
    outputs = [x for x in features if x is not None]
    assert all(x.isfinite().all() for x in outputs)
    assert outputs[-1].shape == (3, 32) and outputs[0].shape[-1] == 32
    sum(x.square().sum() for x in outputs).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize('flag', [0.0, 1.0])
def test_windows_of_one_kind_leave_no_parameter_out(flag):
    """Distributed training waits for a gradient of every parameter in every step."""
    model, x = small().train(), windows()
    x[..., 2] = flag
    sum(f.square().sum() for f in model(x)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_eval_is_deterministic_and_samples_are_independent():
    model = small(drop_path_rate=0.5, token_mask_rate=0.5).eval()
    x = windows()
    x[1, :, :, 2] = key_frames(stride=2, shift=1).float()[:, None]
    x[2, :, :, 2] = 0
    with torch.no_grad():
        features = model(x)
        assert_equal(features, model(x), rtol=0, atol=0)
        for i in range(3):
            assert_equal([f[i:i + 1] for f in features], model(x[i:i + 1]), rtol=1e-5, atol=1e-5)
        x[0] = windows(seed=1, stride=1)[0]
        assert_equal([f[1:] for f in features], [f[1:] for f in model(x)], rtol=1e-5, atol=1e-5)


def test_every_key_frame_and_joint_reaches_the_centre():
    model, x = small().eval(), windows(1).requires_grad_()
    model(x)[1].square().sum().backward()
    reached = x.grad[0, ..., :2].abs().sum(-1) > 0
    assert torch.equal(reached, key_frames()[:, None].expand(-1, 17))


@pytest.mark.parametrize('junk', [1e6, float('nan')])
def test_coordinates_of_missing_frames_do_not_matter(junk):
    model, x = small().eval(), windows()
    other = x.clone()
    other[:, ~key_frames(), :, :2] = junk
    assert_equal(model(x), model(other), rtol=0, atol=0)


def test_skipping_equals_running_all_frames_and_replacing():
    """The public code computes all frames and discards those without a pose."""
    model, x = small().double().eval(), windows().double()
    x[1, :, :, 2] = key_frames(stride=2, shift=1)[:, None]
    gradients = []
    for skip in (True, False):
        model.zero_grad()
        if skip:
            features = model(x)
        else:
            tokens = model.pose_tokens(x[..., :2].flatten(0, 1)).unflatten(0, (3, 27))
            features = model.from_tokens(tokens, x[..., 0, 2] == 1)
        sum(f.square().sum() for f in features).backward()
        gradients.append([f.detach() for f in features] + [p.grad for p in model.parameters()])
    assert_equal(*gradients)


def changed_by_upsample_token(**options) -> torch.Tensor:
    """Which tokens of the temporal transformer depend on the upsampling token, (L,) bool."""
    model, x = small(**options).eval(), windows(1)
    with torch.no_grad():
        before, _ = model(x)
        model.upsample_token += torch.randn(32)
        after, _ = model(x)
    return (before != after).any(-1)[0]


@pytest.mark.parametrize('depth, deferred, isolated', [
    (1, 1, True), (1, 0, False), (2, 1, False), (2, 2, True)])
def test_deferred_attention_keeps_upsampling_tokens_out(depth, deferred, isolated):
    changed = changed_by_upsample_token(temporal_depth=depth,
                                        first_upsample_attention_block=deferred)
    assert changed[~key_frames()].all()
    assert changed[key_frames()].any() != isolated


def test_without_temporal_blocks_the_first_strided_block_defers():
    model, x = small(temporal_depth=0).eval(), windows()
    *_, attention = model(x, return_attention=True)
    weights = attention['strided_0']
    assert not weights[..., ~key_frames()].any()
    assert (attention['strided_1'] > 0).all()
    *_, attention = small(temporal_depth=0, first_upsample_attention_block=0).eval()(
        x, return_attention=True)
    assert (attention['strided_0'] > 0).all()


def test_without_any_key_frame_attention_is_uniform():
    model, x = small().eval(), windows()
    x[..., 2] = 0
    *features, attention = model(x, return_attention=True)
    assert all(f.isfinite().all() for f in features)
    torch.testing.assert_close(attention['temporal_0'], torch.full((3, 4, 27, 27), 1 / 27))
    assert_equal(features, model(x), rtol=1e-5, atol=1e-5)  # the fused form rounds alike


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_masked_keys_in_low_precision(dtype):
    query, key, value = torch.randn(3, 1, 2, 5, 4).to(dtype)
    allowed = torch.tensor([[True, False, True, False, False]])
    out = attend(query, key, value, 0.5, mask=key_mask(allowed))
    expected = attend(query, key[..., [0, 2], :], value[..., [0, 2], :], 0.5)
    torch.testing.assert_close(out, expected, rtol=0.02, atol=0.02)
    assert attend(query, key, value, 0.5, mask=key_mask(~allowed & allowed)).isfinite().all()


@pytest.mark.parametrize('fused', [True, False])
def test_mask_equals_leaving_keys_out(monkeypatch, fused):
    module = import_module('mmpose_lift.models.layers.attention')
    monkeypatch.setattr(module, 'fused_attention_is_faster', lambda *_: fused)
    torch.manual_seed(0)
    layer, x = SelfAttention(16, 2), torch.randn(2, 7, 16)
    allowed = torch.tensor([1, 0, 1, 1, 0, 0, 1]).bool()
    masked = layer(x, mask=key_mask(allowed.expand(2, -1)))
    torch.testing.assert_close(masked[:, allowed], layer(x[:, allowed]))


def test_attention_weights():
    model, x = small().eval(), windows()
    *features, attention = model(x, return_attention=True)
    assert_equal(features, model(x), rtol=1e-5, atol=1e-5)
    real = 3 * int(key_frames().sum())
    assert {name: tuple(w.shape) for name, w in attention.items()} == {
        'spatial_0': (real, 4, 17, 17), 'spatial_1': (real, 4, 17, 17),
        'temporal_0': (3, 4, 27, 27), 'temporal_1': (3, 4, 27, 27),
        'strided_0': (3, 4, 27, 27), 'strided_1': (3, 4, 9, 9), 'strided_2': (3, 4, 3, 3)}
    for weights in attention.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert not attention['temporal_0'][..., ~key_frames()].any()
    assert (attention['temporal_1'] > 0).all()


@pytest.mark.parametrize('length, stride, padding', [
    (71, 3, (0, 0)), (23, 10, (0, 0)), (3, 3, (0, 0)), (41, 4, (1, 1)), (11, 4, (0, 0)),
    (9, 3, (1, 1)), (10, 2, (1, 0)), (10, 3, (0, 1)), (8, 1, (1, 1))])
def test_strided_block_as_the_public_code_writes_it(length, stride, padding):
    torch.manual_seed(0)
    block, x = StridedTransformerBlock(16, 2, stride, padding), torch.randn(2, length, 16)
    y = x + block.attn(block.norm1(x))
    kernel = block.conv.weight
    padded = F.pad(torch.relu(block.fc1(block.norm2(y))), (0, 0, *padding))
    branch = torch.stack([  # window by window
        torch.einsum('nkc,dck->nd', padded[:, start:start + 3], kernel) + block.conv.bias
        for start in range(0, padded.shape[1] - 2, stride)], dim=1)
    cropped = y[:, 1 - padding[0]:length - 1 + padding[1]]
    pooled = F.max_pool1d(cropped.transpose(1, 2), 1, stride).transpose(1, 2)
    torch.testing.assert_close(block(x), pooled + branch)


def test_recomputation_changes_no_gradient(monkeypatch):
    gradients = []
    for minimum in (0, 10**9):
        monkeypatch.setattr(import_module('mmpose_lift.models.layers.recompute'), 'MIN_ELEMENTS',
                            minimum)
        model = small(drop_path_rate=0.3).train()
        torch.manual_seed(1)
        sum(f.square().sum() for f in model(windows())).backward()
        gradients.append([p.grad for p in model.parameters()])
    assert_equal(*gradients, rtol=0, atol=0)


def test_drop_path_works_per_frame_and_per_window():
    model = small(drop_path_rate=(0.4, 0.2, 0.1)).train()
    rates = [[b.drop_path.drop_prob for b in blocks]
             for blocks in (model.spatial_blocks, model.temporal_blocks, model.strided_blocks)]
    assert rates == [[0, 0.4], [0, 0.2], [0, 0.05, 0.1]]
    assert small(drop_path_rate=0.3).temporal_blocks[-1].drop_path.drop_prob == 0.3
    dropped = []

    def look(_, __, out):
        rows = (out == 0).flatten(1)
        assert torch.equal(rows.all(1), rows.any(1)), 'a row is dropped as a whole'
        dropped.append(rows.all(1).float())

    model.spatial_blocks[1].drop_path.register_forward_hook(look)
    model(windows(100, stride=2))
    assert [len(rows) for rows in dropped] == [1300, 1300]  # key-frames of the batch
    assert all(abs(rows.mean() - 0.4) < 0.05 for rows in dropped)
    assert not torch.equal(*dropped)


@pytest.mark.parametrize('learned', [False, True])
def test_token_masking(learned):
    model = small(token_mask_rate=0.4, learned_mask_token=learned).train()
    tokens = model._mask_tokens(torch.ones(500, 27, 32))
    masked = (tokens != 1).all(-1)
    assert not masked[:, CENTER].any() and abs(masked.float().sum() / (500 * 26) - 0.4) < 0.03
    substitute = model.mask_token if learned else torch.zeros(32)
    assert (tokens[masked] == substitute).all() and (tokens[~masked] == 1).all()
    assert (model.eval()._mask_tokens(torch.ones(5, 27, 32)) == 1).all()


def test_without_strided_part_the_centre_is_the_middle_token():
    tokens, center = small(**NO_STRIDED).eval()(windows())
    assert torch.equal(tokens[:, CENTER], center)


def test_without_upsampling_token():
    model = small(upsample_token=False).eval()
    assert 'upsample_token' not in model.state_dict()
    assert model(windows(stride=1))[1].isfinite().all()
    with pytest.raises(ValueError, match='upsample_token=False .* found 60 of 81 frames without'):
        model(windows())


def test_save_and_load(tmp_path):
    model, x = small().eval(), windows()
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    other = small(drop_path_rate=0.0).eval()
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    other.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True))
    assert_equal(model(x), other(x), rtol=0, atol=0)


def test_bfloat16_is_close():
    model, x = small().eval(), windows()
    with torch.no_grad():
        exact = model(x)
        with torch.autocast('cpu', torch.bfloat16):
            low = model(x)
        weights = model.bfloat16()(x.bfloat16())
    for features in (low, weights):
        for a, b in zip(features, exact):
            assert (a.float() - b).abs().max() < 0.05 * b.abs().max()


@pytest.mark.parametrize('shape', [(1, 26, 17, 3), (1, 27, 16, 3), (1, 27, 17, 2), (27, 17, 3)])
def test_wrong_input_is_named(shape):
    with pytest.raises(ValueError, match='L=27 frames and J=17 joints') as error:
        small()(torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_wrong_flags_are_named():
    x = windows()
    x[0, 3, 5, 2] = 1
    with pytest.raises(ValueError, match='the same for all joints'):
        small()(x)
    for value in (0.5, float('nan')):
        x[0, 3, :, 2] = value
        with pytest.raises(ValueError, match=f'must be 1 or 0.*{value}'):
            small()(x)


def test_wrong_tokens_are_named():
    model, flags = small(), key_frames()[None]
    with pytest.raises(ValueError, match=r'poses \(N, 17, 2\), found \(4, 17, 3\)'):
        model.pose_tokens(torch.zeros(4, 17, 3))
    with pytest.raises(ValueError, match=r'tokens \(B, 27, 32\), found \(1, 26, 32\)'):
        model.from_tokens(torch.zeros(1, 26, 32), flags[:, 1:])
    for wrong in (flags[:, 1:], flags.float()):
        with pytest.raises(ValueError, match=r'key_frames \(1, 27\) torch.bool, found'):
            model.from_tokens(torch.zeros(1, 27, 32), wrong)


@pytest.mark.parametrize('options, message', [
    (dict(strides=(3, 3)), r'27 tokens into \[9, 3\]; the last length must be 1'),
    (dict(num_tokens=5, strides=(3, 3), paddings=((0, 0), (0, 0))), r'into \[1, 0\]'),
    (dict(paddings=((1, 1), )), 'each of the 3 strides, found 1'),
    (dict(strides=(), paddings=((1, 1), )), 'each of the 0 strides, found 1'),
    (dict(paddings=((2, 0), (1, 1), (1, 1))), r'of 0 or 1, found stride 3 with padding \(2, 0\)'),
    (dict(strides=(0, 3, 3)), 'found stride 0'),
    (dict(temporal_depth=-1), 'temporal_depth=-1'),
    (dict(temporal_depth=0, **NO_STRIDED), 'temporal or a strided block'),
    (dict(first_upsample_attention_block=3), 'in 0 to 2 with temporal_depth=2, got 3'),
    (dict(temporal_depth=0, first_upsample_attention_block=2), 'in 0 to 1'),
    (dict(token_mask_rate=1.0), r'in \[0, 1\)'),
    (dict(learned_mask_token=True), 'above 0 with learned_mask_token'),
    (dict(drop_path_rate=(0.1, 0.1)), 'one number or three'),
    (dict(drop_path_rate=1.0), r'in \[0, 1\)'),
    (dict(num_heads=5), 'cannot be split into 5 heads')], ids=str)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
