"""Head of HybrIK-Transformer and what it shares with other mesh heads."""

import json

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.geometry.torch_rotations import axis_angle_to_matrix
from mmpose_lift.geometry.uvd import xyz_to_uvd
from mmpose_lift.io import convert_checkpoint
from mmpose_lift.io.hybrik_checkpoint import _rename
from mmpose_lift.models import HybrIKTransformerHead
from mmpose_lift.models.body import BodyModel, LazyBodyModel
from mmpose_lift.models.body.inverse_kinematics import leaf_quats_from_rotmats, twists_from_rotmats
from mmpose_lift.models.heads.mesh_head import mirror_regressed

SMALL = dict(in_channels=32, d_model=16, layer_width=24, num_blocks=2, num_heads=4)
K = torch.tensor([[1000., 0, 320], [0, 1000, 240], [0, 0, 1]])


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


def build(body, **kwargs) -> HybrIKTransformerHead:
    torch.manual_seed(0)
    return HybrIKTransformerHead(**{**SMALL, 'body_model': body, **kwargs})


def metainfo(root=(0.1, 0.2, 4.0), side=600.0) -> dict:
    """Camera and crop of a person at a root, a box of ``side`` pixels around it."""
    root = np.array(root, np.float32)
    pixel = (K.numpy() @ root / root[2])[:2]
    scale = side / 256
    trans_inv = np.array([[scale, 0, pixel[0] - side / 2], [0, scale, pixel[1] - side / 2]])
    return dict(trans_inv=trans_inv, intrinsic_inv=np.linalg.inv(K.numpy()), root=root,
                depth_factor=2.0)


def cameras(batch=2, **kwargs) -> tuple:
    info = metainfo(**kwargs)
    return tuple(torch.tensor(np.array([info[key]] * batch), dtype=torch.float32)
                 for key in ('trans_inv', 'intrinsic_inv', 'root')) + (torch.full((batch, 1), 2.0),)


def labels(rng, **changes) -> InstanceData:
    shapes = dict(target_uvd=(24, 3), target_uvd_weight=(24, 3), target_beta=(10, ),
                  target_smpl_weight=(1, ), target_theta=(96, ), target_theta_weight=(96, ),
                  target_twist=(23, 2), target_twist_weight=(23, 2), target_xyz_24=(24, 3),
                  target_xyz_24_weight=(24, 3), target_xyz_17=(17, 3),
                  target_xyz_17_weight=(17, 3), root_valid=(1, ))
    made = {}
    for key, shape in shapes.items():
        values = np.ones(shape) if key.endswith(('weight', 'valid')) else rng.normal(size=shape)
        made[key] = torch.tensor(values[None], dtype=torch.float32)
    return InstanceData(**{**made, **changes})


def samples(rng=None, batch=2, **kwargs) -> list:
    made = [PoseDataSample(metainfo=metainfo(**kwargs)) for _ in range(batch)]
    if rng is not None:
        for sample in made:
            sample.gt_instance_labels = labels(rng)
    return made


# --- parity with the published code

@pytest.fixture(scope='module')
def reference(shared_dir):
    folder = shared_dir / 'reference' / 'hybrik_transformer'
    with np.load(folder / 'body_model.npz') as archive:
        body = BodyModel.from_arrays(**dict(archive))
    with np.load(folder / 'full_head.npz') as archive:
        arrays = {k: archive[k] for k in archive}
    config = json.loads(str(arrays.pop('config')))
    head = HybrIKTransformerHead(
        config['feature_channel'], d_model=config['D_MODEL'], layer_width=config['LAYER_WIDTH'],
        num_blocks=config['NUM_BLOCKS'], num_layers=config['NUM_LAYERS'],
        num_heads=config['NUM_HEADS'], body_model=body).eval()
    state = convert_checkpoint('hybrik_transformer', arrays)
    head.load_state_dict({key.removeprefix('head.'): value for key, value in state.items()})
    return head, {key: torch.from_numpy(value) for key, value in arrays.items()}


@pytest.mark.parametrize('prefix', ['out/', 'flip_out/'])
@torch.no_grad()
def test_all_outputs_equal_published_code(reference, prefix):
    head, arrays = reference
    flip = arrays['feature_map_flipped'] if prefix == 'flip_out/' else None
    out = head(arrays['feature_map'], arrays['trans_inv'], arrays['intrinsic_inverse'],
               arrays['joint_root_mm'], arrays['depth_factor_mm'], flip)
    expected = {key[len(prefix):]: value for key, value in arrays.items()
                if key.startswith(prefix)}
    assert len(expected) == 11
    for key, value in expected.items():
        torch.testing.assert_close(out[key], value, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_body_without_regressor_has_everything_else(reference, shared_dir):
    head, arrays = reference
    with np.load(shared_dir / 'reference/hybrik_transformer/body_model.npz') as archive:
        bare = {key: archive[key] for key in archive if key != 'J_regressor_h36m'}
    given = [arrays[key] for key in ('feature_map', 'trans_inv', 'intrinsic_inverse',
                                     'joint_root_mm', 'depth_factor_mm')]
    usual = head.body_model
    head.body_model = LazyBodyModel(BodyModel.from_arrays(**bare))
    out = head(*given)
    missing = {'pred_xyz_jts_17', 'pred_vertices'}
    with pytest.raises(ValueError, match='regressor'):
        head.predict(given[0], samples(batch=2))
    head.body_model = usual
    whole = head(*given)
    assert set(whole) - set(out) == missing
    for key in out:
        torch.testing.assert_close(out[key], whole[key], atol=1e-5, rtol=0)


@torch.no_grad()
def test_tokens_equal_published_code(reference):
    head, arrays = reference
    position = head.position()
    torch.testing.assert_close(position, arrays['pos_embedding'][0], atol=1e-6, rtol=0)
    torch.testing.assert_close(head.queries(), arrays['transformer_x_tgt'][0], atol=1e-6, rtol=0)
    src = (arrays['feature_map'] + position).flatten(2).transpose(1, 2)
    torch.testing.assert_close(src[:1], arrays['transformer_x_src_first_sample'], atol=1e-6,
                               rtol=0)
    out = head.transform(src, head.queries().expand(2, -1, -1))
    torch.testing.assert_close(out, arrays['transformer_output'], atol=1e-5, rtol=0)


@torch.no_grad()
def test_transformer_equals_published_code(shared_dir, body):
    with np.load(shared_dir / 'reference' / 'hybrik_transformer' / 'transformer.npz') as archive:
        arrays = {k: archive[k] for k in archive}
    config = json.loads(str(arrays['config']))
    head = build(body, in_channels=config['size_src'], **{
        key: config[key] for key in ('d_model', 'layer_width', 'num_blocks', 'num_layers',
                                     'num_heads')}).eval()
    state = {_rename('transformer.' + key[3:]).removeprefix('head.'): torch.from_numpy(value)
             for key, value in arrays.items() if key.startswith('sd/')}
    missing, unexpected = head.load_state_dict(state, strict=False)
    assert not unexpected and not any(key.startswith(('blocks', 'src', 'tgt')) for key in missing)
    out = head.transform(*(torch.from_numpy(arrays[key]) for key in ('x_src', 'x_tgt')))
    torch.testing.assert_close(out, torch.from_numpy(arrays['output']), atol=1e-5, rtol=0)


@pytest.mark.parametrize('channels, behind', [(512, 'ResNet-34'), (2048, 'HRNet-W48')])
def test_parameter_counts(shared_dir, channels, behind):
    file = shared_dir / 'reference' / 'hybrik_transformer' / 'param_counts.json'
    counts = json.loads(file.read_text())
    with torch.device('meta'):
        head = HybrIKTransformerHead(channels)
    assert sum(p.numel() for p in head.parameters()) == counts[f'HybrIK-T all behind {behind}']
    parts = [head.src_proj, head.tgt_proj, head.blocks, head.out_proj]
    assert sum(p.numel() for part in parts for p in part.parameters()) == (
        counts[f'HybrIK-T transformer, {channels}-channel features'])


# --- the network

def test_every_parameter_has_a_gradient(body, rng):
    head = build(body).train()
    loss = sum(value for key, value in head.loss(
        (torch.randn(2, 32, 8, 8), ), samples(rng)).items() if key.startswith('loss'))
    loss.backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0 or '.k.bias' in name, name


@torch.no_grad()
def test_repeatable_independent_of_neighbours_and_saved(body, tmp_path):
    head, feats = build(body).eval(), torch.randn(3, 32, 8, 8)
    out = head(feats, *cameras(3))
    again = head(feats, *cameras(3))
    alone = head(feats[1:2], *cameras(1))
    torch.save(head.state_dict(), tmp_path / 'head.pth')
    torch.manual_seed(1)
    other = HybrIKTransformerHead(**SMALL, body_model=body).eval()
    other.load_state_dict(torch.load(tmp_path / 'head.pth', weights_only=True))
    loaded = other(feats, *cameras(3))
    assert not any('template' in key for key in head.state_dict())  # no body in checkpoints
    for key, value in out.items():
        assert torch.isfinite(value).all(), key
        assert torch.equal(value, again[key]) and torch.equal(value, loaded[key]), key
        torch.testing.assert_close(value[1:2], alone[key], atol=1e-3, rtol=1e-4)


def test_patches_are_sampled_in_training_only(body):
    head = build(body, drop_rate=0.0)
    src = torch.arange(64.)[None, :, None].expand(3, -1, 32)
    counts = set()
    for _ in range(200):
        kept = head._sample_patches(src)[..., 0]
        counts.add(kept.shape[1])
        assert all(len(set(row.tolist())) == kept.shape[1] for row in kept)
    assert min(counts) == 12 and max(counts) == 64
    first, second = head._sample_patches(src)[:2, :12]
    assert not torch.equal(first, second)
    feats = torch.randn(2, 32, 8, 8)
    full = head.eval().regress(feats)['pred_uvd_jts']
    assert torch.equal(head.regress(feats)['pred_uvd_jts'], full)
    head.train()
    with torch.no_grad():
        assert not torch.allclose(head.regress(feats)['pred_uvd_jts'], full)
    every = build(body, drop_rate=0.0, min_patch_ratio=1.0).train()
    torch.testing.assert_close(every.regress(feats)['pred_uvd_jts'], full, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_rectangular_maps_and_no_leaf_tokens(body):
    head = build(body, feat_size=(6, 8), leaf_tokens=False, input_size=(192, 256)).eval()
    assert head.queries().shape == (48, 32)
    feats = torch.randn(2, 32, 8, 6)
    out = head(feats, *cameras())
    assert out['pred_leaf'] is None
    flipped = head(feats, *cameras(), feats_flip=feats)
    assert torch.isfinite(flipped['pred_vertices']).all()
    with pytest.raises(ValueError, match=r'expected features \(B, 32, 8, 6\), found'):
        head.regress(feats.transpose(2, 3))


@pytest.mark.parametrize('changes, message', [
    (dict(in_channels=33), 'even number'), (dict(num_heads=3), 'multiple of num_heads'),
    (dict(min_patch_ratio=0), 'min_patch_ratio')])
def test_wrong_sizes_are_named(body, changes, message):
    with pytest.raises(ValueError, match=message):
        build(body, **changes)


def test_mirroring_twice_changes_nothing():
    made = dict(pred_uvd_jts=torch.randn(2, 24, 3), pred_phi=torch.randn(2, 23, 2),
                pred_leaf=torch.randn(2, 5, 4), pred_delta_shape=torch.randn(2, 10))
    twice = mirror_regressed(mirror_regressed(made))
    assert all(torch.equal(twice[key], value) for key, value in made.items())


# --- geometry, with a network that knows the answer

class Exact(torch.nn.Module):
    """What a perfect network would regress of a posed body."""

    def __init__(self, body, root, side):
        super().__init__()
        torch.manual_seed(3)
        angles = torch.randn(2, 24, 3) * 0.4
        self.rotmats, self.betas = axis_angle_to_matrix(angles), torch.randn(2, 10) * 0.5
        self.vertices, self.joints = body(self.betas, self.rotmats)
        self.root = torch.tensor(root).expand(2, 3)
        self.in_camera = self.joints - self.joints[:, :1] + self.root[:, None]
        info = metainfo(root, side)
        matrix = np.concatenate([info['trans_inv'], [[0, 0, 1]]])
        trans = torch.tensor(np.linalg.inv(matrix)[:2], dtype=torch.float32)
        cos, sin = twists_from_rotmats(body, self.betas, self.rotmats).unbind(-1)
        self.regressed = dict(
            pred_uvd_jts=xyz_to_uvd(self.in_camera, trans, K, root[2], 2.0),
            pred_phi=torch.stack([cos, sin], -1), pred_leaf=leaf_quats_from_rotmats(self.rotmats),
            pred_delta_shape=self.betas, maxvals=torch.ones(2, 24, 1))


@pytest.fixture
def exact(body):
    root, side = (0.3, -0.2, 5.0), 450.0
    head = build(body, mean_shape=[0.0] * 10, compat_joint23=False).eval()
    truth = Exact(body, root, side)
    head.regress = lambda feats: dict(truth.regressed)
    return head, truth, samples(root=root, side=side)


@torch.no_grad()
def test_exact_regression_gives_the_body_back(body, exact):
    head, truth, data = exact
    for i, pred in enumerate(head.predict(None, data)):
        betas, rotmats = pred.betas, pred.rotmats
        torch.testing.assert_close(rotmats[0], truth.rotmats[i], atol=2e-3, rtol=0)
        torch.testing.assert_close(pred.joints[0] + pred.root, truth.in_camera[i], atol=1e-3,
                                   rtol=0)
        # what transl says: the body model's own output, moved, is in camera space
        vertices, joints = body(betas, rotmats)
        torch.testing.assert_close(joints + pred.transl, pred.joints + pred.root[:, None])
        h36m = body.h36m_joints(vertices)
        torch.testing.assert_close(pred.h36m_joints, h36m - h36m[:, :1], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(pred.vertices, vertices - h36m[:, :1], atol=1e-5, rtol=1e-4)
        pixels = truth.in_camera[i] @ K.T
        np.testing.assert_allclose(pred.keypoints[0], pixels[:, :2] / pixels[:, 2:], atol=1e-2)
        assert pred.keypoint_scores.shape == (1, 24)


@pytest.mark.parametrize('rule, tolerance', [('given', 1e-6), ('bones', 1e-3), (None, 1e-6)])
@torch.no_grad()
def test_root_depth(exact, rule, tolerance):
    head, truth, data = exact
    [pred, _] = head.predict(None, data, dict(root_depth=rule))
    torch.testing.assert_close(pred.root, truth.root[:1], rtol=tolerance, atol=1e-5)


@torch.no_grad()
def test_root_depth_by_box_and_for_samples_without_root(exact):
    head, truth, data = exact
    [pred, _] = head.predict(None, data, dict(root_depth='box'))
    assert pred.root[0, 2] == pytest.approx(2.0 * 1000 / 450)
    data[1] = PoseDataSample(metainfo={k: v for k, v in data[1].metainfo.items() if k != 'root'})
    given, found = head.predict(None, data)
    torch.testing.assert_close(given.root, truth.root[:1])
    torch.testing.assert_close(found.root, truth.root[1:], rtol=1e-3, atol=1e-5)
    assert not torch.equal(found.root, truth.root[1:])
    with pytest.raises(ValueError, match="root_depth='given', but its metainfo has no 'root'"):
        head.predict(None, data, dict(root_depth='given'))
    with pytest.raises(ValueError, match='root_depth to be one of'):
        head.predict(None, data, dict(root_depth='guess'))


@torch.no_grad()
def test_joints_without_vertices_are_the_same(exact):
    head, _, data = exact
    with_mesh, without = (head.predict(None, data, dict(vertices=v))[0] for v in (True, False))
    assert 'vertices' not in without
    torch.testing.assert_close(without.h36m_joints, with_mesh.h36m_joints, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_flip_test_of_a_consistent_network_changes_nothing(exact):
    head, truth, data = exact
    plain = head.predict(None, data)[0]
    answers = {'plain': truth.regressed, 'flip': mirror_regressed(truth.regressed)}
    head.regress = lambda feats: dict(answers[feats])
    flipped = head.predict(['plain', 'flip'], data)[0]
    torch.testing.assert_close(flipped.vertices, plain.vertices, atol=1e-5, rtol=1e-4)


# --- training

def test_exact_regression_has_no_loss(exact):
    head, truth, data = exact
    head.train()
    out = head.forward(None, *cameras(root=(0.3, -0.2, 5.0), side=450.0))
    assert 'pred_vertices' not in out and 'pred_xyz_jts_17' not in out
    for i, sample in enumerate(data):
        ones = {f'target_{key}_weight': torch.ones(1, *shape) for key, shape in (
            ('uvd', (24, 3)), ('smpl', (1, )), ('theta', (96, )), ('twist', (23, 2)),
            ('xyz_24', (24, 3)))}
        root_relative = truth.in_camera[i] - truth.root[i]
        sample.gt_instance_labels = InstanceData(
            **ones, target_uvd=truth.regressed['pred_uvd_jts'][i:i + 1],
            target_beta=truth.betas[i:i + 1], target_theta=out['pred_theta_mats'][i:i + 1],
            target_twist=truth.regressed['pred_phi'][i:i + 1],
            target_xyz_24=root_relative[None] / 2, root_valid=torch.ones(1, 1))
    losses = head.loss(None, data)
    assert set(losses) == {'loss_uvd', 'loss_shape', 'loss_pose', 'loss_twist', 'mpjpe'}
    assert all(value < 1e-4 for value in losses.values()), losses


def test_samples_without_3d_labels_have_finite_gradients(body, rng):
    head = build(body).train()
    data = samples(rng)
    data[0].gt_instance_labels.root_valid = torch.zeros(1, 1)  # its root is nonsense
    data[0].set_metainfo(dict(root=np.zeros(3, np.float32)))
    data[1] = PoseDataSample(metainfo={k: v for k, v in data[1].metainfo.items() if k != 'root'})
    data[1].gt_instance_labels = labels(rng)
    losses = head.loss(torch.randn(2, 32, 8, 8), data)
    sum(value for key, value in losses.items() if key.startswith('loss')).backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_joint_terms_reach_the_body(body, rng):
    head = build(body, loss=dict(type='HybrIKLoss', xyz_smpl17_weight=1.0, xyz_smpl24_weight=1.0))
    losses = head.train().loss(torch.randn(2, 32, 8, 8), samples(rng))
    gradient = torch.autograd.grad(losses['loss_xyz_smpl17'], head.dec_twist.weight)[0]
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_missing_metainfo_and_labels_are_named(body, rng):
    head, feats = build(body), torch.randn(1, 32, 8, 8)
    bare = PoseDataSample(metainfo=dict(trans_inv=np.eye(3)[:2]))
    with pytest.raises(ValueError, match="has no 'intrinsic_inv'.*MeshAffine"):
        head.predict(feats, [bare])
    [sample] = samples(rng, batch=1)
    del sample.gt_instance_labels.target_twist
    with pytest.raises(ValueError, match="no label 'target_twist'"):
        head.loss(feats, [sample])


def test_registered():
    head = MODELS.build(dict(type='HybrIKTransformerHead', **SMALL))
    assert isinstance(head, HybrIKTransformerHead)


def test_short_types_reach_the_network_only(body, rng):
    head = build(body).train()
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss(torch.randn(2, 32, 8, 8), samples(rng))
        out = head(torch.randn(2, 32, 8, 8), *cameras())
    assert all(value.dtype == torch.float32 for value in (*losses.values(), *out.values()))
    sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())
