"""MixSTE's configs for HumanEva and MPI-INF-3DHP: data, codec, model, loss and metric agree."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, METRICS, MODELS

from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.io.pose_store import PoseStoreWriter, Sequence

FOLDER = 'configs/body_3d_keypoint/mixste'
HUMANEVA = 'humaneva/video-pose-lift_mixste-43frm-gt_1xb23-160e_humaneva'
CONFIGS = {
    f'{HUMANEVA}.py': 'humaneva',
    f'{HUMANEVA}_compat.py': 'humaneva',
    f'{HUMANEVA}_interval1.py': 'humaneva',
    f'{HUMANEVA}_h36m.py': 'humaneva',
    'mpi_inf_3dhp/video-pose-lift_mixste-27frm-gt_1xb37-160e_mpi-inf-3dhp.py': 'h36m',
    'mpi_inf_3dhp/video-pose-lift_mixste-1frm-gt_1xb1024-160e_mpi-inf-3dhp.py': 'h36m',
}
# by what a joint is: named here once more, independently of the table of the package
WEIGHTS = {'elbow': 4., 'wrist': 4., 'knee': 2.5, 'ankle': 2.5, 'shoulder': 1.5, 'top': 1.5}


def test_no_config_is_left_out(root_dir):
    found = {f'{p.parent.name}/{p.name}' for folder in ('humaneva', 'mpi_inf_3dhp')
             for p in (root_dir / FOLDER / folder).glob('*.py')}
    assert found == set(CONFIGS)


def write_store(path, skeleton, rng):
    joints = get_skeleton(skeleton).num_joints
    people = [('Train/S1', 'Walking'), ('Train/S2', 'Jog'), ('Train/S3', 'Jog'),
              ('Validate/S1', 'Walking'), ('Validate/S2', 'Jog'), ('Validate/S3', 'Walking')]
    if skeleton == 'h36m':
        people = [('TS1', ''), ('TS5', '')]
    with PoseStoreWriter(path, source='test', frame='camera', skeleton=skeleton) as writer:
        for subject, action in people:
            points = rng.normal(scale=0.3, size=(45, joints, 3)) + (0, 0, 4)
            pixels = rng.uniform(0, 480, (45, joints, 2))
            writer.add_sequence(Sequence(subject, action, f'{action} 1', 'C1', 60, 640, 480),
                                points, {'gt': pixels}, valid=np.arange(45) != 3)
    return str(path)


@pytest.mark.parametrize('name, skeleton', CONFIGS.items())
def test_parts_fit_together(root_dir, tmp_path, rng, name, skeleton):
    init_default_scope('mmpose')
    config = Config.fromfile(root_dir / FOLDER / name)
    store = write_store(tmp_path / 'store', skeleton, rng)
    config.model.backbone.update(embed_dims=16, depth=1, num_heads=2)
    config.model.head.in_channels = 16
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    batches = {}
    for part in ('train', 'test', 'val'):
        dataset = DATASETS.build({**config[f'{part}_dataloader'].dataset, 'stores': store})
        assert dataset.skeleton.name == model.skeleton.name == skeleton
        assert dataset.metainfo['num_keypoints'] == config.model.backbone.num_keypoints
        numbers = np.arange(len(dataset))
        batch, = dataset.__getitems__(numbers)
        batches[part] = {key: [value] for key, value in batch.items()}
    frames = {'humaneva': 43, 'h36m': config.model.backbone.num_frames}[skeleton]
    assert batches['train']['inputs'][0].shape[1:3] == (frames, model.head.num_keypoints)

    losses = model.loss(**model.data_preprocessor(batches['train'], True))
    losses['loss_pose3d'].backward()
    used = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    assert 'backbone.spatial_pos_embed' in used and 'head.fc.weight' in used

    model.eval()
    with torch.no_grad():
        samples = model.predict(**model.data_preprocessor(batches['test']))
    metric = METRICS.build(config.test_evaluator)
    metric.process(None, [sample.to_dict() for sample in samples])
    values = metric.compute_metrics(metric.results)
    expected = {'MPJPE', 'P-MPJPE', 'MPJPE/Walking', 'MPJPE/Jog'} if skeleton == 'humaneva' else {
        'MPJPE', 'PCK', 'AUC', 'PCK/GS', 'PCK/outdoor'}
    assert expected <= set(values) and all(np.isfinite(v) for v in values.values())


def test_weights_are_those_of_the_joints(root_dir):
    init_default_scope('mmpose')
    names = get_skeleton('humaneva').common_names
    by_name = [WEIGHTS.get(n.split('_')[-1], 1.) for n in names]
    found = {}
    for suffix in ('', '_compat'):
        config = Config.fromfile(root_dir / FOLDER / f'{HUMANEVA}{suffix}.py')
        found[suffix] = MODELS.build(config.model.head.loss).joint_weights.tolist()
    assert found[''] == by_name
    assert found['_compat'] != by_name and sorted(found['_compat']) == sorted(by_name)
