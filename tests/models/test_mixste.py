"""MixSTE: parity with the published code, exact sizes, gradients, isolation of samples."""

import json

import numpy as np
import pytest
import torch

from mmpose_lift.io import convert_checkpoint
from mmpose_lift.models import LiftingHead, MixSTE


def small(**kwargs) -> MixSTE:
    torch.manual_seed(0)
    options = dict(num_frames=9, embed_dims=16, depth=2, num_heads=2)
    options.update(kwargs)
    model = MixSTE(**options)
    for table in (model.spatial_pos_embed, model.temporal_pos_embed):
        torch.nn.init.normal_(table, std=0.1)
    return model


def load_reference(path):
    """The reference arrays, and backbone and head with its weights."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive}
    config = json.loads(str(arrays['config']))
    backbone = MixSTE(num_frames=config['num_frame'], num_keypoints=config['num_joints'],
                      embed_dims=config['embed_dim'], depth=config['depth'],
                      num_heads=config['num_heads'], mlp_ratio=config['mlp_ratio'],
                      qkv_bias=config['qkv_bias'], qk_scale=config['qk_scale'])
    head = LiftingHead(config['embed_dim'], config['num_joints'])
    model = torch.nn.ModuleDict(dict(backbone=backbone, head=head)).eval()
    model.load_state_dict(convert_checkpoint('mixste', path), strict=True)
    return arrays, backbone, head


@pytest.mark.parametrize('name', ['model', 'model_ln_eps'])
def test_output_equals_published_code(shared_dir, name):
    arrays, backbone, head = load_reference(shared_dir / 'reference' / 'mixste' / f'{name}.npz')
    with torch.no_grad():
        out = head(backbone(torch.from_numpy(arrays['input'])))
    np.testing.assert_allclose(out.numpy(), arrays['output'], atol=1e-5)


def test_intermediate_values_equal_published_code(shared_dir):
    arrays, backbone, _ = load_reference(shared_dir / 'reference' / 'mixste' / 'model.npz')
    outputs = {}
    for name in ('spatial_norm', 'temporal_norm'):
        # The shared norms run once per block: only their first call is compared.
        getattr(backbone, name).register_forward_hook(
            lambda _, __, out, name=name: outputs.setdefault(name, out))
    with torch.no_grad():
        backbone(torch.from_numpy(arrays['input']))
    spatial = outputs['spatial_norm'].transpose(0, 1)  # [J, B*T, C] -> [B*T, J, C]
    np.testing.assert_allclose(spatial.numpy(), arrays['after_first_spatial'], atol=1e-5)
    temporal = outputs['temporal_norm'].unflatten(0, (17, 2)).transpose(0, 1).flatten(0, 1)
    np.testing.assert_allclose(temporal.numpy(), arrays['after_first_temporal'], atol=1e-5)


@pytest.mark.parametrize('frames, depth, count', [
    (243, 8, 33_783_811), (81, 8, 33_700_867), (27, 8, 33_673_219), (1, 8, 33_659_907),
    (243, 10, 42_194_947)])
def test_parameter_count_of_the_paper(frames, depth, count):
    with torch.device('meta'):
        model = torch.nn.ModuleList([MixSTE(num_frames=frames, depth=depth), LiftingHead(512, 17)])
    assert sum(p.numel() for p in model.parameters()) == count


def test_defaults_are_the_published_model():
    with torch.device('meta'):
        model = MixSTE()
    assert len(model.state_dict()) == 200  # and four of the head
    assert model.spatial_norm.eps == model.temporal_norm.eps == 1e-6
    assert {m.eps for m in model.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-6}
    rates = [block.drop_path.drop_prob for block in model.spatial_blocks]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 8))
    assert rates == [block.drop_path.drop_prob for block in model.temporal_blocks]
    assert LiftingHead(8, 17).norm.eps == 1e-5
    fresh = MixSTE(num_frames=3, embed_dims=8, depth=1, num_heads=2)
    assert not fresh.spatial_pos_embed.any() and not fresh.temporal_pos_embed.any()


@pytest.mark.parametrize('variant', ['alternating', 'separate'])
def test_every_parameter_gets_a_gradient(variant):
    model = small(variant=variant).train()
    model(torch.randn(2, 9, 17, 2)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize('variant', ['alternating', 'separate'])
def test_eval_is_deterministic_and_samples_are_independent(variant):
    model = small(variant=variant, drop_rate=0.2, drop_path_rate=0.5).eval()
    x = torch.randn(3, 9, 17, 2)
    with torch.no_grad():
        out = model(x)
        assert out.shape == (3, 9, 17, 16) and out.isfinite().all()
        assert torch.equal(out, model(x))
        torch.testing.assert_close(model(x[1:2]), out[1:2], rtol=1e-5, atol=1e-5)
        x[0] = 100.0
        torch.testing.assert_close(model(x)[1:], out[1:], rtol=1e-5, atol=1e-5)


def test_every_frame_and_joint_sees_every_other():
    model = small().eval()
    x = torch.randn(1, 9, 17, 2, requires_grad=True)
    model(x)[0, 0, 0].square().sum().backward()
    assert (x.grad[0].abs().sum(-1) > 0).all()


def test_separate_variant_runs_the_first_temporal_block_twice():
    model = small(variant='separate').eval()
    calls = []
    for kind in ('spatial', 'temporal'):
        for i, block in enumerate(getattr(model, f'{kind}_blocks')):
            block.register_forward_hook(lambda *_, n=f'{kind[0]}{i}': calls.append(n))
    model(torch.randn(1, 9, 17, 2))
    assert calls == ['s0', 's1', 't0', 't0', 't1']


def test_checkpointing_changes_no_gradient():
    x = torch.randn(2, 9, 17, 2)
    gradients = []
    for with_cp in (False, True):
        model = small(with_cp=with_cp, drop_path_rate=0.5, drop_rate=0.1).train()
        torch.manual_seed(1)
        model(x).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)


def test_save_and_load(tmp_path):
    model, x = small().eval(), torch.randn(1, 9, 17, 2)
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    other = MixSTE(num_frames=9, embed_dims=16, depth=2, num_heads=2).eval()
    other.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True))
    assert torch.equal(model(x), other(x))


def test_bfloat16_is_close():
    model, x = small(embed_dims=64, num_heads=4).eval(), torch.randn(2, 9, 17, 2)
    with torch.no_grad():
        exact = model(x)
        with torch.autocast('cpu', torch.bfloat16):
            low = model(x)
        weights = model.bfloat16()(x.bfloat16())
    for out in (low, weights):
        assert (out.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_one_frame():
    assert small(num_frames=1)(torch.randn(2, 1, 17, 2)).shape == (2, 1, 17, 16)


@pytest.mark.parametrize('shape', [(1, 8, 17, 2), (1, 9, 16, 2), (1, 9, 17, 3), (9, 17, 2)])
def test_wrong_input_is_named(shape):
    with pytest.raises(ValueError, match=r'T=9 frames and J=17 joints, found \(') as error:
        small()(torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_wrong_options():
    with pytest.raises(ValueError, match='unknown variant'):
        small(variant='mixed')
    with pytest.raises(ValueError, match='depth must be at least 1'):
        small(depth=0)
