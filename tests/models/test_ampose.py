"""AMPose: published sizes, symmetries, isolation of frames and samples, gradients."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch.utils.flop_counter import FlopCounterMode

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.geometry import get_skeleton, normalized_adjacency
from mmpose_lift.models import AMPose, LiftingHead
from mmpose_lift.models.backbones.ampose import GCN_DESIGNS
from mmpose_lift.models.cost import ampose_cost

VARIANTS = [*(dict(gcn_design=design) for design in GCN_DESIGNS),
            dict(residual_from='input'), dict(pos_embed='each'), dict(pos_embed='shared'),
            dict(scale='full', qkv_bias=False), dict(gcn_norm='layer', gcn_act='gelu'),
            dict(gcn_design='convnext', gcn_norm='batch', gcn_act='relu'),
            dict(num_keypoints=16), dict(adjacency_norm='row')]


def small(**kwargs) -> AMPose:
    """A small network whose batch norms have seen something."""
    torch.manual_seed(0)
    options = dict(embed_dims=16, depth=2, num_heads=2)
    options.update(kwargs)
    model = AMPose(**options)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return model


def lifter(dims=16, joints=17, **kwargs):
    torch.manual_seed(0)
    options = dict(embed_dims=dims, depth=2, num_heads=2, num_keypoints=joints)
    options.update(kwargs)
    return MODELS.build(dict(
        type='SequencePoseLifter', backbone=dict(type='AMPose', **options),
        head=dict(type='LiftingHead', in_channels=dims, num_keypoints=joints, norm=False,
                  loss=dict(type='AMPoseLoss')),
        skeleton='h36m' if joints == 17 else 'h36m_16'))


@pytest.mark.parametrize('options, count, published', [
    (dict(), 18_405_379, 18.3e6), (dict(gcn_design='two_residual'), 18_405_379, 18.5e6),
    (dict(gcn_design='transformer'), 17_097_219, 17.0e6),
    (dict(gcn_design='convnext'), 17_092_099, 17.0e6),
    (dict(num_keypoints=16), 18_404_867, 18.3e6)])
def test_parameter_count_of_the_paper(options, count, published):
    joints = options.get('num_keypoints', 17)
    model = torch.nn.ModuleList([AMPose(**options), LiftingHead(512, joints, norm=False)])
    found = sum(p.numel() for p in model.parameters())
    assert found == count
    assert abs(found / published - 1) < 0.01


def test_parameter_count_of_the_small_model():
    model = torch.nn.ModuleList([AMPose(16, embed_dims=96), LiftingHead(96, 16, norm=False)])
    found = sum(p.numel() for p in model.parameters())
    assert found == 655_395 and abs(found / 0.67e6 - 1) < 0.03


@pytest.mark.parametrize('design, published', [
    ('proposed', 312.2), ('two_residual', 312.2), ('transformer', 289.8), ('convnext', 289.9)])
def test_operations_of_the_paper(design, published):
    cost = ampose_cost(gcn_design=design)
    assert cost.published / 1e6 == pytest.approx(published, rel=0.01)
    if design == 'proposed':
        assert cost.published == 312_168_960  # 17 x (5 x 14 C^2 + embedding and head) and norms
        assert cost.linear == 17 * (5 * 14 * 512**2 + 2 * 512 + 3 * 512)


@pytest.mark.parametrize('options', [
    dict(), dict(gcn_design='transformer'), dict(gcn_design='convnext', mlp_ratio=3.0),
    dict(num_keypoints=16, in_channels=3)])
def test_multiply_adds_are_those_of_the_model(monkeypatch, options):
    # The counter does not know the fused attention kernel for CPUs.
    monkeypatch.setattr('mmpose_lift.models.layers.attention.fused_attention_is_faster',
                        lambda *_: False)
    model = small(**options).eval()
    head = LiftingHead(16, model.num_keypoints, norm=False)
    x = torch.randn(1, 1, model.num_keypoints, model.in_channels)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        head(model(x))
    assert counter.get_total_flops() == 2 * ampose_cost(embed_dims=16, depth=2,
                                                        **options).multiply_adds


def test_cost_of_unknown_design():
    with pytest.raises(ValueError, match="unknown gcn_design 'resnet'"):
        ampose_cost(gcn_design='resnet')


def test_names_of_weights():
    model = small()
    keys = model.state_dict()
    assert keys['gcn_blocks.1.conv2.theta'].shape == (3, 16, 16)
    assert keys['gcn_blocks.1.conv2.bias'].shape == (16, )
    assert 'adjacency' not in keys and model.adjacency.shape == (3, 17, 17)
    assert {'joint_embed.weight', 'pos_embed', 'encoders.0.attn.qkv.weight',
            'encoders.1.mlp.fc2.bias', 'gcn_blocks.0.norm1.running_mean'} <= keys.keys()
    assert set(LiftingHead(8, 17, norm=False).state_dict()) == {'fc.weight', 'fc.bias'}
    assert set(LiftingHead(8, 17).state_dict()) == {'norm.weight', 'norm.bias', 'fc.weight',
                                                    'fc.bias'}


def test_head_without_norm_is_one_linear_layer():
    head, x = LiftingHead(8, 17, norm=False), 5 + torch.randn(1, 2, 17, 8)
    torch.testing.assert_close(head(x), x @ head.fc.weight.T + head.fc.bias)


def test_defaults_are_the_stated_choices():
    model = AMPose()
    np.testing.assert_allclose(model.adjacency, normalized_adjacency('h36m', 'split'), atol=1e-7)
    np.testing.assert_allclose(AMPose(16, embed_dims=8).adjacency,
                               normalized_adjacency('h36m_16', 'split'), atol=1e-7)
    assert len(model.encoders) == len(model.gcn_blocks) == 5
    assert model.pos_embed.shape == (1, 17, 512)
    assert {block.attn.scale for block in model.encoders} == {64 ** -0.5}
    assert {block.attn.scale for block in AMPose(embed_dims=64, scale='full').encoders} == {1 / 8}
    kinds = {type(module) for block in model.gcn_blocks for module in (block.norm1, block.act)}
    assert kinds == {torch.nn.BatchNorm1d, torch.nn.ReLU}


def test_proposed_and_two_residual_by_hand():
    """h = act(norm(conv(x))), out = h + act(norm(conv(h))), on the adjacency taken edge by edge."""
    x = torch.randn(2, 17, 16)
    for design, start in (('proposed', 'hidden'), ('proposed', 'input'),
                          ('two_residual', 'hidden')):
        model = small(gcn_design=design, residual_from=start).eval()
        block = model.gcn_blocks[0]

        def layer(x, conv, norm, adjacency=model.adjacency):
            out = sum(adjacency[k] @ x @ conv.theta[k] for k in range(3)) + conv.bias
            out = (out - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
            return (out * norm.weight + norm.bias).relu()

        hidden = layer(x, block.conv1, block.norm1) + (x if design == 'two_residual' else 0)
        expected = layer(hidden, block.conv2, block.norm2) + (hidden if start == 'hidden' else x)
        found = block(x, model.adjacency.transpose(0, 1).flatten(0, 1))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_every_parameter_gets_a_gradient(options):
    model = small(drop_rate=0.1, drop_path_rate=0.2, **options).train()
    model(torch.randn(16, 2, model.num_keypoints, 2)).pow(3).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_frames_and_samples_are_independent_in_eval(options):
    model = small(drop_rate=0.2, drop_path_rate=0.5, attn_drop_rate=0.1, **options).eval()
    joints = model.num_keypoints
    x = torch.randn(3, 4, joints, 2)
    with torch.no_grad():
        out = model(x)
        assert out.shape == (3, 4, joints, 16) and out.isfinite().all()
        assert torch.equal(out, model(x))
        torch.testing.assert_close(model(x[1:2, 2:3]), out[1:2, 2:3])
        torch.testing.assert_close(model(x.view(12, 1, joints, 2)).view_as(out), out)
        x[0, 0] = 100.0
        changed = model(x)
    torch.testing.assert_close(changed[1:], out[1:])
    torch.testing.assert_close(changed[:, 1:], out[:, 1:])
    assert not torch.allclose(changed[0, 0], out[0, 0])


@pytest.mark.parametrize('norm, coupled', [('batch', True), ('layer', False)])
def test_only_batch_norm_couples_frames_in_training(norm, coupled):
    model = small(gcn_norm=norm).train()
    x = torch.randn(1, 4, 17, 2)
    before = model(x)
    x[0, 0] = 100.0
    same = torch.allclose(model(x)[:, 1:], before[:, 1:], atol=1e-5)
    assert same != coupled


def test_every_joint_sees_every_other():
    model = small(depth=1).eval()
    x = torch.randn(1, 1, 17, 2, requires_grad=True)
    model(x)[0, 0, 3].sum().backward()
    assert (x.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize('options', VARIANTS, ids=str)
def test_relabelled_joints_give_relabelled_features(options):
    model = small(**options).eval()
    joints = model.num_keypoints
    parents = get_skeleton('h36m' if joints == 17 else 'h36m_16').parents
    order = torch.randperm(joints).tolist()  # new joint i is old joint order[i]
    relabelled = [order.index(parents[old]) if parents[old] >= 0 else -1 for old in order]
    other = small(skeleton=relabelled, **options).eval()
    weights = model.state_dict()
    weights['pos_embed'] = weights['pos_embed'][:, order]
    other.load_state_dict(weights)
    x = torch.randn(2, 3, joints, 2)
    with torch.no_grad():
        torch.testing.assert_close(other(x[:, :, order]), model(x)[:, :, order],
                                   rtol=1e-4, atol=1e-5)


def test_mirrored_joints_commute_where_positions_are_mirrored():
    """The skeleton treats left and right alike: only the position table tells them apart."""
    flip = list(get_skeleton('h36m').flip_indices)
    model, x = small().eval(), torch.randn(2, 3, 17, 2)
    with torch.no_grad():
        assert not torch.allclose(model(x[:, :, flip]), model(x)[:, :, flip], atol=1e-3)
        model.pos_embed.copy_((model.pos_embed + model.pos_embed[:, flip]) / 2)
        torch.testing.assert_close(model(x[:, :, flip]), model(x)[:, :, flip],
                                   rtol=1e-4, atol=1e-5)


def test_position_tables():
    x = torch.randn(1, 1, 17, 2)
    for kind, tables in (('first', 1), ('each', 3), ('shared', 1)):
        model = small(depth=3, pos_embed=kind).eval()
        assert model.pos_embed.shape == (tables, 17, 16)
        seen = []
        for encoder in model.encoders:
            encoder.register_forward_pre_hook(lambda _, args, s=seen: s.append(args[0]))
        added = []
        for block in model.gcn_blocks:
            block.register_forward_hook(lambda _, __, out, a=added: a.append(out))
        model(x)
        differences = [seen[0] - model.joint_embed(x[0]), seen[1] - added[0], seen[2] - added[1]]
        table = model.pos_embed
        expected = dict(first=[table[0], 0 * table[0], 0 * table[0]], each=list(table),
                        shared=[table[0]] * 3)[kind]
        for found, wanted in zip(differences, expected):
            torch.testing.assert_close(found[0], wanted, rtol=0, atol=1e-5)


def test_save_and_load(tmp_path):
    model, x = lifter().eval(), torch.randn(2, 3, 17, 2)
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    other = lifter().eval()
    torch.nn.init.normal_(other.backbone.pos_embed)
    other.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True), strict=True)
    assert torch.equal(model(x, None, mode='tensor'), other(x, None, mode='tensor'))
    # the adjacency matrix is what the model was built with, not what the weights come from
    other = lifter(adjacency_norm='whole').eval()
    other.load_state_dict(model.state_dict(), strict=True)
    assert not torch.equal(model(x, None, mode='tensor'), other(x, None, mode='tensor'))


@pytest.mark.parametrize('design', GCN_DESIGNS)
def test_bfloat16_is_close(design):
    model = small(embed_dims=64, num_heads=4, gcn_design=design).eval()
    x = torch.randn(2, 3, 17, 2)
    with torch.no_grad():
        exact = model(x)
        with torch.autocast('cpu', torch.bfloat16):
            autocast = model(x)
        weights = model.bfloat16()(x.bfloat16())
    for out in (autocast, weights):
        assert (out.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize('options', [dict(), dict(gcn_design='two_residual')])
def test_folded_batch_norm_changes_nothing(options):
    model, x = small(**options).eval(), torch.randn(2, 3, 17, 2)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.weight)
            torch.nn.init.normal_(module.bias)
    with torch.no_grad():
        expected = model(x)
        model.fold_batch_norm()
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    assert not any('norm' in name for name in model.gcn_blocks.state_dict())
    with pytest.raises(ValueError, match='nothing .left. to fold'):
        model.fold_batch_norm()


def test_folding_where_it_cannot_be_done():
    with pytest.raises(RuntimeError, match='evaluation mode'):
        small().train().fold_batch_norm()
    with pytest.raises(ValueError, match='found LayerNorm'):
        small(gcn_norm='layer').eval().fold_batch_norm()
    with pytest.raises(ValueError, match='found a convnext layout'):
        small(gcn_design='convnext', gcn_norm='batch').eval().fold_batch_norm()


@pytest.mark.parametrize('joints', [17, 16])
@pytest.mark.parametrize('design', GCN_DESIGNS)
def test_all_designs_learn(design, joints):
    model = lifter(joints=joints, gcn_design=design).train()
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(32, 1, joints, 2, generator=generator)
    target = torch.cat([inputs, inputs[..., :1] * inputs[..., 1:]], -1)
    samples = [PoseDataSample(gt_instance_labels=InstanceData(lifting_target_label=t))
               for t in target]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        out = model(inputs, samples, mode='loss')
        assert out.keys() == {'loss_pose3d', 'mpjpe'}
        out['loss_pose3d'].backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(out['loss_pose3d'].item())
    assert losses[-1] < 0.5 * losses[0], losses
    model.eval()
    poses = model(inputs[:2], None, mode='predict')[0].pred_instances.keypoints
    assert poses.shape == (1, joints, 3)


@pytest.mark.parametrize('shape', [(1, 8, 16, 2), (1, 9, 17, 3), (9, 17, 2)])
def test_wrong_input_is_named(shape):
    with pytest.raises(ValueError, match=r'J=17 joints, found \(') as error:
        small()(torch.zeros(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize('options, message', [
    (dict(gcn_design='resnet'), "unknown gcn_design 'resnet', choose one of .*'convnext'"),
    (dict(num_heads=0), 'num_heads must be a whole number'),
    (dict(embed_dims=0), 'embed_dims must be a whole number'),
    (dict(depth=2.5), 'depth must be a whole number'),
    (dict(mlp_ratio=0), 'mlp_ratio'),
    (dict(skeleton=5), 'skeleton: expected a name or a list'),
    (dict(skeleton=[-1.5] + [0] * 16), 'whole numbers'),
    (dict(skeleton=[1, 2, 0] + [0] * 14), 'no root.*cyclic'),
    (dict(adjacency_norm='both'), "expected one of .*'split'.* found 'both'"),
    (dict(pos_embed='last'), "unknown pos_embed 'last'"), (dict(scale='half'), 'unknown scale'),
    (dict(gcn_norm='group'), 'unknown gcn_norm'), (dict(gcn_act='tanh'), 'unknown gcn_act'),
    (dict(residual_from='output'), 'unknown residual_from'),
    (dict(gcn_design='convnext', residual_from='input'), 'has no effect'),
    (dict(depth=0), 'depth must be a whole number of at least 1'),
    (dict(num_heads=3), 'cannot be split into 3 heads'),
    (dict(num_keypoints=16, skeleton='h36m'), "'h36m' has 17 joints, but num_keypoints=16"),
    (dict(num_keypoints=15), r'no default skeleton of 15 joints, only of \[16, 17\]'),
    (dict(skeleton='coco'), "'coco' has no root"),
    (dict(num_keypoints=3, skeleton=[-1, 2, 1]), 'cyclic'),
    (dict(num_keypoints=2, skeleton=[-1, -1]), 'disconnected')])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_other_skeletons():
    model = small(num_keypoints=15, skeleton='humaneva').eval()
    assert model(torch.randn(1, 2, 15, 2)).shape == (1, 2, 15, 16)
