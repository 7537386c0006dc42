"""Every config of the project builds, and its parts fit each other."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, METRICS, MODELS

import mmpose_lift  # noqa: F401  (registration)

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(str(p.relative_to(ROOT / 'configs')) for p in (ROOT / 'configs').rglob('*.py')
                 if p.parent.name != '_base_')
UPLIFT = 'body_3d_keypoint/uplift_upsample'
PUBLISHED = {  # section 5 of the recipe: tokens, s_out, s_in, windows, pairs, steps, lr
    f'{UPLIFT}/h36m/video-pose-lift_uplift-upsample-351frm-cpn_1xb512-720k_h36m.py':
        (71, 5, (5, 10, 20), 512, True, 720_000, 4e-5),
    f'{UPLIFT}/h36m/video-pose-lift_uplift-upsample-351frm-cpn_1xb512-18k_h36m_amass.py':
        (71, 5, (5, 10, 20), 512, True, 18_000, 2e-5),
    f'{UPLIFT}/h36m/video-pose-lift_uplift-upsample-81frm-cpn_1xb256-720k_h36m.py':
        (41, 2, (4, 10, 20), 256, False, 720_000, 4e-5),
    f'{UPLIFT}/amass/video-pose-lift_uplift-upsample-351frm_1xb512-600k_amass.py':
        (71, 5, (5, 10, 20), 512, True, 600_000, 4e-5),
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpose')


def parts(config, *kinds):
    """The loaders' data sets and the evaluators that a config has."""
    loaders = [config.get(f'{kind}_dataloader') for kind in kinds]
    datasets = [loader.dataset for loader in loaders if loader]
    datasets = [part for options in datasets for part in options.get('datasets', [options])]
    evaluators = []
    for kind in kinds:
        found = config.get(f'{kind}_evaluator') or []
        evaluators += found if isinstance(found, list) else [found]
    return datasets, evaluators


@pytest.mark.parametrize('name', CONFIGS)
def test_parts_fit(name):
    config = Config.fromfile(ROOT / 'configs' / name)
    model = MODELS.build(config.model).eval()
    datasets, evaluators = parts(config, 'train', 'val', 'test')
    for kind in ('val', 'test'):  # MMEngine wants all three or none
        given = [config.get(f'{kind}_{part}') is not None
                 for part in ('dataloader', 'cfg', 'evaluator')]
        assert len(set(given)) == 1, f'{kind}: {given}'
    length = getattr(model.backbone, 'num_tokens', getattr(model.backbone, 'num_frames', None))
    for options in datasets:
        assert DATASETS.get(options.type) is not None
        if length is not None:
            assert options.seq_len == length
        if 'input_strides' in options:
            steps = {stride % options.seq_step for stride in options.input_strides}
            assert steps == {0}
    for evaluator in evaluators:
        metric = METRICS.build(dict(evaluator))
        if type(metric).__module__.startswith('mmpose_lift.'):
            assert metric.default_prefix == ''
    if all(options.type == 'BodyMotionDataset' for options in datasets):
        # what is drawn is what the head takes, of the body that it gives and that is scored
        views, head = config.model.data_preprocessor, config.model.head
        assert views.heatmap_size == config.model.backbone.size == head.input_size
        channels = 1 if views.get('input') == 'mask' else 17
        assert channels == config.model.backbone.channels == head.in_channels
        bodies = [views.body_model, head.body_model, *(e.body_model for e in evaluators)]
        assert all(body == bodies[0] for body in bodies)
        return
    # the codec of the pipelines is that of the head, where a head decodes
    codecs = [t.encoder for options in datasets for t in options.pipeline
              if t.type == 'GenerateTarget']
    decoder = config.model.head.get('decoder')
    assert codecs and all(codec == (decoder or codec) for codec in codecs)
    meta = [key for options in parts(config, 'test')[0] for t in options.pipeline
            if t.type == 'PackPoseInputs' for key in t.get('meta_keys', ())]
    if any(e.type == 'KeyFrameLiftingMetric' for e in evaluators):
        assert {'s_in', 's_in_frames', 'start', 'sequence', 'counted', 'fps'} <= set(meta)
    if config.model.type == 'RefinedPoseLifter':
        train = [t for t in config.train_dataloader.dataset.pipeline if t.type == 'PackPoseInputs']
        assert 'camera_param' in train[0].meta_keys and 'camera_param' in meta


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_recipes(name):
    tokens, s_out, s_in, windows, pairs, steps, rate = PUBLISHED[name]
    config = Config.fromfile(ROOT / 'configs' / name)
    train, test = config.train_dataloader, config.test_dataloader
    for options in (train.dataset, test.dataset):
        assert (options.seq_len, options.seq_step, tuple(options.input_strides)) == (
            tokens, s_out, s_in)
    assert train.dataset.masks == 'random' and test.dataset.masks == 'clip'
    assert train.dataset.get('pairs', False) == pairs
    assert train.dataset.get('flip') == (None if pairs else 'copies')
    assert train.batch_size * (2 if pairs else 1) == windows
    assert config.train_cfg.max_iters == steps and not config.train_cfg.by_epoch
    optimizer = config.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', rate, 0.1)
    assert list(config.param_scheduler) == [
        dict(type='StepLR', step_size=6000, gamma=0.99, by_epoch=False)]
    hooks = [h.ema_type for h in config.get('custom_hooks', []) if h.type == 'EMAHook']
    assert hooks == ([] if pairs else ['WarmupEMA'])
    assert config.model.test_cfg.flip_test and config.val_cfg is None
    if 'h36m' in name:
        assert train.dataset.subjects == ('S1', 'S5', 'S6', 'S7', 'S8')
        assert test.dataset.subjects == ('S9', 'S11')
    else:
        assert train.dataset.cameras_per_clip == 'random'
    backbone = config.model.backbone
    assert tuple(backbone.drop_path_rate) == (0.1, 0.1, 0.) and backbone.num_tokens == tokens


MESH_MIXES = {  # section 5: pictures of the four GPUs, set and its share
    'res34_4xb64-200e_mix': (256, dict(h36m=0.4, coco=0.5, mpi_inf_3dhp=0.1)),
    'res34_4xb64-200e_mix-3dpw': (256, {'h36m': 0.3, 'coco': 0.4, 'mpi_inf_3dhp': 0.1,
                                        '3dpw': 0.2}),
    'hrnet-w48_4xb56-200e_mix': (224, dict(h36m=0.4, coco=0.5, mpi_inf_3dhp=0.1)),
    'hrnet-w48_4xb56-200e_mix-3dpw': (224, {'h36m': 0.3, 'coco': 0.4, 'mpi_inf_3dhp': 0.1,
                                            '3dpw': 0.2}),
}


@pytest.mark.parametrize('name', MESH_MIXES)
def test_mesh_recipes(name):
    pictures, shares = MESH_MIXES[name]
    config = Config.fromfile(ROOT / 'configs/body_3d_mesh/hybrik_transformer/mix'
                             f'/img-mesh_hybrik-transformer-{name}.py')
    dataset = config.train_dataloader.dataset
    assert dataset.type == 'MixedDataset' and dataset.get('epoch_length') in (None, '2x_largest')
    assert dict(zip((d.layout for d in dataset.datasets), dataset.probabilities)) == shares
    assert config.train_dataloader.batch_size * 4 == pictures
    assert config.auto_scale_lr.base_batch_size == pictures
    assert dict(config.optim_wrapper.optimizer) == dict(type='Adam', lr=5e-4)
    assert list(config.param_scheduler) == [
        dict(type='InverseSqrtLR', warmup=4000, by_epoch=False)]
    assert config.train_cfg.max_epochs == 200 and config.default_hooks.checkpoint.interval == 2
    assert [(h.type, h.get('last')) for h in config.custom_hooks] == [
        ('SyncBuffersHook', None), ('AverageCheckpointsHook', 10)]
    for part in dataset.datasets:
        transforms = {t.type: t for t in part.pipeline}
        occlusion = transforms.get('RandomNoiseOcclusion')
        assert (occlusion is None) == (part.layout == 'mpi_inf_3dhp')
        assert transforms['GetBBoxCenterScale'].padding == (1 if part.layout == 'h36m' else 1.25)
        if part.layout == 'coco':
            assert (tuple(occlusion.area), tuple(occlusion.aspect)) == ((0, 0.7), (0.3, 3.33))
    head = config.model.head
    assert (head.d_model, head.layer_width, head.num_blocks, head.num_layers, head.num_heads) == (
        512, 512, 6, 3, 8) and config.model.test_cfg.flip_test
    assert 'compat_joint23' not in head  # the default, as in the public code


@pytest.mark.parametrize('name, epochs, layout', [
    ('mpt_pretrain.py', 10, None), ('mpt_mix.py', 80, 'h36m'),
    ('body_3d_mesh/mpt/mix/img-mesh_mpt-higherhrnet-w48_16xb32-5e_3dpw.py', 5, '3dpw')])
def test_mpt_recipes(name, epochs, layout):
    """Sections 2 and 5 of the supplement."""
    config = Config.fromfile(ROOT / 'configs' / name)
    transformer = config.model.head.transformer
    assert tuple(transformer.hidden_dims) == (1024, 256, 64)
    assert (transformer.num_layers, transformer.num_heads) == (4, 4)
    assert dict(config.optim_wrapper.optimizer) == dict(type='Adam', lr=2e-4)
    assert config.train_cfg.max_epochs == epochs
    warmup, decay = config.param_scheduler
    assert (warmup.begin, warmup.end, decay.begin, decay.end) == (
        0, epochs / 10, epochs / 10, epochs)
    assert warmup.convert_to_iter_based and decay.convert_to_iter_based and decay.end_factor == 0
    test = config.test_dataloader.dataset
    if layout is None:
        assert config.train_dataloader.dataset.num_samples == 2_000_000
        assert test.views == 'unseen' and test.all_views
    else:
        assert test.layout == layout and config.test_evaluator.root == 'hips'
        assert config.load_from and config.model.head.masking is None
    if layout == '3dpw':
        assert config.test_evaluator.joints_from_mesh
        assert set(config.test_evaluator.gendered_body_models) == {'male', 'female'}


def test_uplift_parameter_counts():
    for name, count in ((next(iter(PUBLISHED)), 10_404_902), (list(PUBLISHED)[2], 10_377_254)):
        model = MODELS.build(Config.fromfile(ROOT / 'configs' / name).model)
        assert sum(p.numel() for p in model.parameters()) == count
        with torch.no_grad():
            x = torch.rand(1, model.backbone.num_tokens, 17, 3)
            x[..., 2] = 1
            sequence, centre = model.eval()(x, None, mode='tensor')
        assert sequence.shape == x.shape and centre.shape == (1, 17, 3)
