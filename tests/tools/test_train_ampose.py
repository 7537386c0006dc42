"""AMPose on small files in MPI-INF-3DHP's layouts: prepare, train, test within and across sets."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS

import mmpose_lift  # noqa: F401  (registration)
from tests.io.test_readers_3dhp import SPIN_TO_H36M_16, person, pstmo_view, save
from tests.tools.test_humaneva import in_process

FOLDER = 'configs/body_3d_keypoint/ampose'
TRAIN = f'{FOLDER}/mpi_inf_3dhp/image-pose-lift_ampose-gt_1xb128-50e_mpi-inf-3dhp.py'
CROSS = f'{FOLDER}/mpi_inf_3dhp/image-pose-lift_ampose-16kpt-gt_1xb128-50e_h36m_mpi-inf-3dhp.py'
SMALL = ['model.backbone.embed_dims=16', 'model.backbone.depth=2', 'model.backbone.num_heads=2',
         'model.head.in_channels=16', 'train_dataloader.batch_size=8', 'train_cfg.max_epochs=1',
         'train_cfg.val_interval=1', 'default_hooks.checkpoint.interval=1']
GROUPS = {f'{name}{part}' for name in ('PCK', 'AUC', 'MPJPE')
          for part in ('', '/GS', '/outdoor', '/TS1', '/TS6')}


def stores(**paths):
    """Options that read other stores, in the main process."""
    return [f'{part}_dataloader.{option}' for part, path in paths.items()
            for option in (f'dataset.stores={path}', 'num_workers=0', 'persistent_workers=False')]


def metrics(tool, config, checkpoint, tmp_path, options):
    out = tmp_path / 'metrics.json'
    tool('test.py', config, checkpoint, '--work-dir', tmp_path / 'work', '--out', out,
         options=options)
    return json.loads(out.read_text())


def test_train_and_test_on_3dhp_files(tool, root_dir, tmp_path, rng):
    train = save(tmp_path / 'train.npz', {'S1 Seq1': [{'0': pstmo_view(rng, 24)}, 25]})
    test = save(tmp_path / 'test.npz', {
        'TS1': pstmo_view(rng, 6, valid=np.array([1, 0, 1, 1, 1, 0])),
        'TS6': pstmo_view(rng, 4, valid=np.ones(4))})
    for source, name in ((train, 'train'), (test, 'test')):
        in_process(root_dir, 'prepare_data', 'pstmo-3dhp', source, '--out', tmp_path / name)
    options = [*SMALL, *stores(train=tmp_path / 'train', val=tmp_path / 'test',
                               test=tmp_path / 'test'),
               'train_dataloader.dataset.subjects=S1']
    tool('train.py', root_dir / TRAIN, '--work-dir', tmp_path / 'work', options=options)
    found = metrics(tool, root_dir / TRAIN, tmp_path / 'work/epoch_1.pth', tmp_path, options)
    assert set(found) == GROUPS
    # groups pool frames: 4 valid ones of TS1 (all of GS) and 4 of TS6 (all of outdoor)
    assert found['MPJPE'] == pytest.approx((found['MPJPE/GS'] + found['MPJPE/outdoor']) / 2)
    assert found['MPJPE/GS'] == found['MPJPE/TS1'] and 0 < found['MPJPE'] < 5000


def test_cross_data_set_test_of_a_16_joint_model(tool, root_dir, tmp_path, rng):
    options = [*SMALL, *stores(train=tmp_path / 'h36m', test=tmp_path / 'spin'),
               'train_dataloader.dataset.subjects=S1']
    write_h36m(tmp_path / 'h36m', rng)
    write_spin(tmp_path / 'spin.npz', rng)
    in_process(root_dir, 'prepare_data', 'spin-3dhp', tmp_path / 'spin.npz', '--out',
               tmp_path / 'spin')
    tool('train.py', root_dir / CROSS, '--work-dir', tmp_path / 'work', '--no-validate',
         options=options)
    found = metrics(tool, root_dir / CROSS, tmp_path / 'work/epoch_1.pth', tmp_path, options)
    assert set(found) == GROUPS


def write_h36m(path, rng):
    """17 joints, read as 16."""
    from mmpose_lift.io.pose_store import PoseStoreWriter, Sequence
    points, pixels = person(rng, 24, unit=1e-3)
    with PoseStoreWriter(path, source='test', frame='camera', skeleton='h36m') as writer:
        writer.add_sequence(
            Sequence('S1', 'Walking', 'Walking 1', 'cam', 50, 1000, 1000),
            points.astype(np.float32),
            {'gt': np.concatenate([pixels, np.ones((24, 17, 1))], -1).astype(np.float32)})


def write_spin(path, rng):
    names = [f'TS1/imageSequence/img_{i:06d}.jpg' for i in range(5)] + [
        f'TS6/imageSequence/img_{i:06d}.jpg' for i in range(3)]
    points, pixels = person(rng, len(names), joints=24, unit=1e-3)
    seen = np.zeros((len(names), 24, 1))
    seen[:, SPIN_TO_H36M_16] = 1
    np.savez(path, imgname=np.array(names), part=np.concatenate([pixels, seen], -1),
             S=np.concatenate([points, seen], -1))


@pytest.mark.parametrize('root_depth', ['ground_truth', 'estimated'])
def test_the_refinement_stage_learns(root_dir, root_depth):
    init_default_scope('mmpose')
    config = Config.fromfile(
        root_dir / FOLDER / 'h36m/image-pose-lift_ampose-cpn-refine_1xb128-20e_h36m.py')
    config.merge_from_dict({
        'model.backbone.embed_dims': 16, 'model.head.in_channels': 16,
        'model.root_depth': root_depth})
    options = config.train_dataloader.dataset
    options.update(stores=dict(num_clips=2, num_frames=60, seed=0), subjects=None)
    dataset, model = DATASETS.build(options), MODELS.build(config.model)
    batch = model.data_preprocessor(pseudo_collate(dataset.__getitems__(list(range(8)))), True)
    losses = model.loss(**batch)
    assert {'loss_pose3d', 'loss_refined', 'loss_symmetry'} <= set(losses)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
