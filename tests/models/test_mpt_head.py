import json

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from scipy.spatial import ConvexHull

import mmpose_lift  # noqa: F401  (registers the models)
from mmpose_lift.geometry.skeletons import get_skeleton, joint_map
from mmpose_lift.io import convert_checkpoint
from mmpose_lift.models.body import BodyModel, MeshSampling
from mmpose_lift.models.body.mesh_sampling import SparseRows
from mmpose_lift.models.heads import mpt_head

LSP_14 = list(joint_map('h36m', 'lsp_14'))
SIZES = (60, 30, 12)
CAMERA = np.array([[1100., 0, 500], [0, 1100, 480], [0, 0, 1]])
SMALL = dict(type='MeshTransformer', input_dims=(19, 16), hidden_dims=(16, 8), output_dims=(16, 3),
             intermediate_dims=(24, 16), num_layers=1, num_heads=2, max_tokens=80)


def random_body(vertices=SIZES[0], seed=0, points=None, faces=None):
    """A body about 1 m wide with the joints of SMPL and, without faces, no surface to speak of."""
    rng = np.random.default_rng(seed)
    joints = get_skeleton('smpl').num_joints

    def rows(*shape):
        array = rng.random(shape)
        return array / array.sum(-1, keepdims=True)

    points = rng.normal(size=(vertices, 3)) * 0.3 if points is None else points
    return BodyModel.from_arrays(
        points, rng.normal(size=(vertices, 3, 4)) * 0.01,
        np.zeros((vertices, 3, 9 * (joints - 1))), rows(joints, vertices), rows(vertices, joints),
        get_skeleton('smpl').parents, faces, J_regressor_h36m=rows(17, vertices),
        regressor_skeleton='h36m')


def round_body(vertices=200):
    """A ball."""
    points = np.random.default_rng(0).normal(size=(vertices, 3))
    points /= 2 * np.linalg.norm(points, axis=1, keepdims=True)
    return random_body(vertices, points=points, faces=ConvexHull(points).simplices)


def picking(*indices, size):
    """A sampling that picks rows; on the way back each vertex takes its number modulo the size."""
    sizes = [size, *map(len, indices)]
    down = [SparseRows(np.asarray(index)[:, None], None, n) for index, n in zip(indices, sizes)]
    up = [SparseRows(np.arange(fine)[:, None] % coarse, None, coarse)
          for fine, coarse in zip(sizes, sizes[1:])]
    return MeshSampling(down, up)


BODY = random_body()
SAMPLING = picking(np.arange(0, 60, 2), np.arange(12) * 2, size=60)


def make_head(**kwargs):
    torch.manual_seed(0)
    settings = dict(type='MPTHead', in_channels=5, input_size=28, stem=dict(channels=(6, 8)),
                    transformer=SMALL, body_model=BODY, mesh_sampling=SAMPLING, sizes=SIZES,
                    cam_dims=7)
    return MODELS.build({**settings, **kwargs})


def heatmaps(batch=3, seed=0):
    return torch.rand(batch, 5, 28, 28, generator=torch.Generator().manual_seed(seed))


def make_sample(seed=0, labelled=True, posed=False, camera=True):
    rng = np.random.default_rng(seed)
    metainfo = dict(trans_inv=np.array([[3., 0, 120], [0, 3, 90]]), input_size=(28, 28),
                    intrinsic_inv=np.linalg.inv(CAMERA)) if camera else {}
    sample = PoseDataSample(metainfo=metainfo)
    weight = np.float32(labelled)
    unknown = 0 if labelled else np.nan
    labels = dict(
        target_body_weight=np.full((1, 1), weight),
        target_joints=rng.normal(size=(1, 14, 3)) + unknown,
        target_joints_weight=np.full((1, 14), weight),
        target_keypoints=rng.normal(size=(1, 14, 2)) + unknown,
        target_keypoints_weight=np.full((1, 14), weight))
    if posed:
        labels.update(target_betas=rng.normal(size=(1, 4)) + unknown,
                      target_rotmats=np.eye(3)[None, None].repeat(24, 1) + unknown)
    else:
        labels['target_vertices'] = rng.normal(size=(1, 60, 3)) + unknown
    sample.gt_instance_labels = InstanceData(**labels)
    return sample


@pytest.fixture(scope='module')
def reference(shared_dir):
    with np.load(shared_dir / 'reference' / 'metro_mpt' / 'body_network.npz') as file:
        return dict(file)


@pytest.fixture(scope='module')
def metro(reference):
    """METRO's network of the reference with a made-up body of one joint at the origin."""
    cfg = json.loads(str(reference['config']))
    rest = reference['template_vertices'] * [1, -1, -1]  # the head turns it by pi about x
    vertices = len(rest)
    body = BodyModel.from_arrays(
        rest, np.zeros((vertices, 3, 2)), np.zeros((vertices, 3, 0)), np.zeros((1, vertices)),
        np.ones((vertices, 1)), [-1], J_regressor_h36m=reference['regressor_17'],
        regressor_skeleton='h36m')
    transformer = dict(
        type='MeshTransformer', input_dims=cfg['input_feat_dim'],
        hidden_dims=cfg['hidden_feat_dim'], output_dims=(*cfg['input_feat_dim'][1:], 3),
        intermediate_dims=cfg['intermediate_size'], num_layers=cfg['num_hidden_layers'],
        num_heads=cfg['num_attention_heads'], max_tokens=cfg['max_position_embeddings'])
    sampling = picking(reference['downsample_index_1'], reference['downsample_index_2'],
                       size=vertices)
    head = MODELS.build(dict(
        type='MPTHead', tokens='metro', stem=None, in_channels=2048, grid_size=(4, 3),
        transformer=transformer, body_model=body, mesh_sampling=sampling,
        sizes=cfg['n_vertices'][::-1], cam_dims=cfg['cam_fc']))
    weights = convert_checkpoint('metro', {key: value for key, value in reference.items()
                                           if key.startswith('sd/')})
    head.load_state_dict({key.removeprefix('head.'): value for key, value in weights.items()})
    return head.eval()


@pytest.mark.parametrize('masked', [False, True])
def test_the_published_network_gives_the_same(metro, reference, masked):
    mask = torch.from_numpy(reference['token_mask']) if masked else None
    with torch.no_grad():
        outputs = metro(torch.from_numpy(reference['feature_map']), mask)
    for name in ('cam_param', 'pred_3d_joints', 'pred_vertices_sub2', 'pred_vertices_sub',
                 'pred_vertices_full'):
        expected = torch.from_numpy(reference[f'masked/{name}' if masked else name])
        torch.testing.assert_close(outputs[name], expected, rtol=1e-4, atol=1e-5)


def test_tokens_start_with_the_upright_template(metro, reference):
    template = metro._template(torch.zeros(1))
    expected = torch.from_numpy(reference['ref_tokens_joints_then_vertices'])
    torch.testing.assert_close(template, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('options', [
    dict(), dict(tokens='metro'), dict(upsampling='barycentric'),
    dict(stem=None, in_channels=16, grid_size=(3, 4), tokens='metro'),
    dict(query_mask_ratio=1., masking=dict(type='HeatmapMasking', ratio=1., fill='learned'))])
def test_a_model_trains(options):
    head = make_head(**options).train()
    feats = torch.rand(3, 16, 3, 4) if options.get('stem', 0) is None else heatmaps()
    losses = head.loss((feats, ), [make_sample(seed) for seed in range(3)])
    assert set(losses) == {'loss_vertices', 'loss_joints', 'loss_keypoints', 'mpjpe'}
    assert not losses['mpjpe'].requires_grad
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert head.transformer.blocks[0].in_proj.weight.grad.abs().sum() > 0
    assert not any('template' in key or 'body' in key for key in head.state_dict())


def test_shapes_names_and_independence_of_the_batch():
    head = make_head().eval()
    with torch.no_grad():
        outputs, alone = head(heatmaps()), head(heatmaps()[1:2])
    assert {key: tuple(value.shape) for key, value in outputs.items() if key != 'levels'} == dict(
        cam_param=(3, 3), pred_3d_joints=(3, 14, 3), pred_vertices_sub2=(3, 12, 3),
        pred_vertices_sub=(3, 30, 3), pred_vertices_full=(3, 60, 3))
    assert [level.shape[1] for level in outputs['levels']] == [12, 30, 60]
    for key in ('cam_param', 'pred_vertices_full'):
        torch.testing.assert_close(outputs[key][1:2], alone[key])


def test_queries_are_masked_in_training_only():
    head = make_head(query_mask_ratio=1.)
    cells = torch.randn(40, 49, 8)
    embedded = head.eval()._embed(cells, None)
    assert (embedded[:, :26, :3] == head._template(cells)).all()
    embedded = head.train()._embed(cells, None)
    masked = (embedded == mpt_head.MASKED_QUERY).all(-1)
    assert not masked[:, 26:].any()  # the grid is no query
    for part in (masked[:, :14], masked[:, 14:26]):  # joints and vertices: shares of their own
        assert 0.3 < part.float().mean() < 0.6 and len(part.sum(1).unique()) > 5
    assert (masked[:, :14].sum(1) != masked[:, 14:26].sum(1)).any()


def test_barycentric_upsampling_is_that_of_the_mesh():
    head = make_head(upsampling='barycentric').eval()
    assert not list(head.upsample.parameters())
    with torch.no_grad():
        outputs = head(heatmaps())
    coarse = outputs['pred_vertices_sub2']
    torch.testing.assert_close(outputs['pred_vertices_full'],
                               coarse[:, np.arange(60) % 30 % 12], rtol=0, atol=0)


def test_each_step_of_the_upsampling_has_its_kind():
    head = make_head(upsampling=('learned', 'barycentric')).eval()
    assert [type(layer) for layer in head.upsample] == [torch.nn.Linear, torch.nn.Identity]
    with torch.no_grad():
        outputs = head(heatmaps())
    middle = head.upsample[0](outputs['pred_vertices_sub2'].mT).mT
    torch.testing.assert_close(outputs['pred_vertices_sub'], middle)
    torch.testing.assert_close(outputs['pred_vertices_full'], middle[:, np.arange(60) % 30])
    with pytest.raises(ValueError, match='one for each of the 2 steps'):
        make_head(upsampling=('learned', ))


def test_the_target_is_the_posed_body_where_it_has_a_weight():
    head = make_head()
    samples = [make_sample(0, posed=True), make_sample(1, labelled=False, posed=True)]
    labels = {'target_body_weight': torch.tensor([[1.], [0.]])}
    vertices = head._target_vertices(samples, labels, torch.zeros(1))
    label = samples[0].gt_instance_labels
    posed, _ = BODY(*(torch.from_numpy(label[key]).float()
                      for key in ('target_betas', 'target_rotmats')))
    torch.testing.assert_close(vertices[0], (posed - BODY.h36m_joints(posed)[:, :1])[0])
    assert not vertices[1].any()
    losses = head.loss(heatmaps(2), samples)
    assert all(value.isfinite() for value in losses.values())


def test_unlabelled_samples_only_have_finite_gradients():
    head = make_head().train()
    losses = head.loss(heatmaps(2), [make_sample(seed, labelled=False) for seed in range(2)])
    assert all(value == 0 for value in losses.values())
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


def test_meshes_stay_float32_under_autocast():
    head = make_head().eval()
    with torch.no_grad():
        expected = head(heatmaps())
        with torch.autocast('cpu', torch.bfloat16):
            outputs = head(heatmaps())
            losses = head.loss(heatmaps(), [make_sample(seed) for seed in range(3)])
    assert outputs['pred_vertices_full'].dtype == outputs['cam_param'].dtype == torch.float32
    assert losses['loss_vertices'].dtype == torch.float32
    torch.testing.assert_close(outputs['pred_vertices_full'], expected['pred_vertices_full'],
                               rtol=0, atol=0.02)
    with torch.no_grad():
        outputs = head.bfloat16()(heatmaps().bfloat16())  # as DeepSpeed trains
    for key in ('pred_vertices_full', 'pred_3d_joints', 'cam_param'):
        assert outputs[key].dtype == torch.float32
        torch.testing.assert_close(outputs[key], expected[key], rtol=0, atol=0.04)


def project(points):
    pixels = points @ torch.from_numpy(CAMERA).float().mT
    return pixels[..., :2] / pixels[..., 2:]


def test_prediction_is_where_the_crop_sees_it(monkeypatch):
    """What the crop's camera says equals the picture of the mesh at ``transl``, if it is flat."""
    head = make_head().eval()
    mesh = torch.randn(1, 60, 3) * 0.3
    mesh[..., 2] = 0.
    outputs = dict(levels=[mesh], cam_param=torch.tensor([[0.8, 0.2, -0.1]]),
                   pred_3d_joints=torch.zeros(1, 14, 3))
    monkeypatch.setattr(head, 'forward', lambda feats: outputs)
    prediction = head.predict(None, [make_sample()])[0]
    joints = BODY.h36m_joints(mesh)
    torch.testing.assert_close(prediction.vertices, mesh - joints[:, :1])
    torch.testing.assert_close(prediction.h36m_joints, joints - joints[:, :1])
    torch.testing.assert_close(prediction.token_joints, -joints[:, :1].expand(-1, 14, -1))
    crop = 0.8 * (joints[:, LSP_14, :2] + torch.tensor([0.2, -0.1]))
    pixels = (crop + 1) / 2 * 28 * 3 + torch.tensor([120., 90])
    np.testing.assert_allclose(prediction.keypoints, pixels, atol=1e-3)
    # depth: 2 f / (s * side) = 2 * 1100 / (0.8 * 28 * 3)
    assert prediction.transl[0, 2].item() == pytest.approx(2200 / (0.8 * 84), rel=1e-5)
    placed = prediction.h36m_joints[:, LSP_14] + prediction.transl[:, None]
    np.testing.assert_allclose(project(placed), pixels, atol=0.02)
    assert prediction.keypoint_scores.shape == (1, 14)


def test_prediction_without_a_camera():
    head = make_head().eval()
    with_crop, bare = head.predict(heatmaps(2), [make_sample(), make_sample(camera=False)])
    assert 'transl' in with_crop and 'transl' not in bare
    head.crop_size = 56  # of samples that do not say
    doubled = head.predict(heatmaps(2), [make_sample(), make_sample(camera=False)])[1]
    np.testing.assert_allclose(doubled.keypoints, 2 * bare.keypoints, rtol=1e-5)


def test_whole_model_with_a_computed_sampling(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))  # of the mesh sampling
    init_default_scope('mmpose')
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='BodyMeshEstimator', backbone=dict(type='HeatmapInput', channels=5, size=28),
        head=dict(type='MPTHead', in_channels=5, input_size=28, stem=dict(channels=(6, 8)),
                  transformer=SMALL, body_model=round_body(), sizes=(200, 50, 16)))).eval()
    with torch.no_grad():
        sample = model(heatmaps(1), [make_sample()], mode='predict')[0]
    assert sample.pred_instances.vertices.shape == (1, 200, 3)
    assert sample.pred_instances.keypoints.shape == (1, 14, 2)
    outputs = model(heatmaps(1), None, mode='tensor')
    assert outputs['pred_vertices_sub2'].shape == (1, 16, 3)


def test_wrong_input_is_named():
    for options, message in (
            (dict(tokens='hmr'), "tokens to be one of graphormer, metro, found 'hmr'"),
            (dict(upsampling='nearest'), 'upsampling to be one of learned, barycentric'),
            (dict(query_mask_ratio=1.5), 'query_mask_ratio: expected a share between 0 and 1'),
            (dict(masking=dict(type='HeatmapMasking', ratio=-0.1)), 'HeatmapMasking: ratio'),
            (dict(transformer=dict(SMALL, output_dims=(16, 4))), 'found 19 to 4')):
        with pytest.raises(ValueError, match=message):
            make_head(**options)
    head = make_head().eval()
    with pytest.raises(ValueError, match='flip_test=False'):
        head.predict([heatmaps(), heatmaps()], [make_sample()] * 3, dict(flip_test=True))
    with pytest.raises(ValueError, match=r'expected query_mask \(3, 26\), found \(3, 75\)'):
        head(heatmaps(), torch.ones(3, 75))
    with pytest.raises(ValueError, match=r'features \(B, 8, 7, 7\), found \(1, 8, 7, 6\)'):
        make_head(stem=None, in_channels=8)(torch.rand(1, 8, 7, 6))
    sample = make_sample()
    del sample.gt_instance_labels.target_keypoints
    with pytest.raises(ValueError, match="no label 'target_keypoints'"):
        head.loss(heatmaps(1), [sample])


def test_meshes_of_another_size_are_named():
    with pytest.raises(ValueError, match=r'mismatched mesh sizes: expected \(60, 20, 12\)'):
        make_head(sizes=(60, 20, 12))(heatmaps())
    with pytest.raises(ValueError, match='mismatched mesh sizes'):
        make_head(body_model=random_body(50))(heatmaps())
    sample = make_sample()
    sample.gt_instance_labels.target_vertices = torch.zeros(1, 50, 3)
    with pytest.raises(ValueError, match=r'expected target_vertices \(1, 60, 3\), found \(1, 50,'):
        make_head().loss(heatmaps(1), [sample])
    with pytest.raises(ValueError, match='no faces'):
        make_head(mesh_sampling=None)(heatmaps())
