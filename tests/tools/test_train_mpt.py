"""MPT through the command lines: motion files, training, resume, test, bad input, bodies."""

import json
import runpy

import cv2
import numpy as np
import pytest
from mmengine.runner import CheckpointLoader

from mmpose_lift.io.body_motion import BodyMotion, write_body_motion

CONFIG = 'configs/body_3d_mesh/mpt/cmu/heatmap-mesh_mpt-small_1xb32-2k_cmu.py'
SMALL = ['train_dataloader.batch_size=4', 'val_dataloader.dataset.num_samples=2',
         'val_dataloader.dataset.interval=None', 'test_dataloader.dataset.num_samples=2',
         'test_dataloader.dataset.interval=None', 'default_hooks.checkpoint.interval=2',
         'default_hooks.logger.interval=1',
         *(f'{kind}_dataloader.{option}' for kind in ('train', 'val', 'test')
           for option in ('num_workers=0', 'persistent_workers=False'))]


@pytest.fixture
def here(root_dir, monkeypatch):
    """Run a command line in this process, which is quicker; its error, or an empty text."""
    def run(name, *words):
        monkeypatch.setattr('sys.argv', [name, *map(str, words)])
        try:
            runpy.run_path(str(root_dir / 'tools' / name), run_name='__main__')
        except SystemExit as left:
            return str(left.code or '')
        return ''
    return run


@pytest.fixture
def motion(tmp_path):
    """Options that read two small folders of motion in AMASS's layout."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        poses = np.zeros((12, 72))
        poses[:, 0] = np.pi / 2  # upright in a world with z up
        poses[:, 3:] = rng.normal(0, 0.15, (12, 69))
        path = tmp_path / split / 'anybody' / 'walk_poses.npz'
        path.parent.mkdir(parents=True)
        write_body_motion(path, BodyMotion(poses, np.zeros(10), np.full((12, 3), [3, 2, 1.]), 10.,
                                           'neutral'))
    return [f'{kind}_dataloader.dataset.{option}' for kind in ('train', 'val', 'test')
            for option in (f'data_root={tmp_path}/',
                           f'ann_file={"train" if kind == "train" else "val"}')]


def test_from_motion_to_bodies(here, root_dir, tmp_path, motion):
    work, options = tmp_path / 'work', [*SMALL, *motion]
    config = root_dir / CONFIG

    def train(steps, *words):
        return here('train.py', config, '--work-dir', work, *words, '--cfg-options', *options,
                    f'train_cfg.max_iters={steps}', f'train_cfg.val_interval={steps}')
    assert train(2) == '' and train(4, '--resume') == ''
    state = CheckpointLoader.load_checkpoint(str(work / 'iter_4.pth'), map_location='cpu')
    assert state['meta']['iter'] == 4
    assert {int(entry['step']) for entry in state['optimizer']['state'].values()} == {4}
    assert here('test.py', config, work / 'iter_4.pth', '--work-dir', work, '--out',
                tmp_path / 'metrics.json', '--cfg-options', *options) == ''
    tested = json.loads((tmp_path / 'metrics.json').read_text())
    assert {'MPJPE', 'PA-MPJPE', 'PVE'} <= set(tested) and 0 < tested['PVE'] < 2000

    picture = np.random.default_rng(0).integers(0, 255, (120, 90, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'person.png'), picture)
    assert here('infer.py', tmp_path / 'person.png', '--pose3d', config, '--weights',
                work / 'iter_4.pth', '--pose2d', 'rendered_human', '--det-model', 'whole_image',
                '--formats', 'json', 'smpl', '--out-dir', tmp_path) == ''
    [found] = json.loads((tmp_path / 'person.json').read_text())['instance_info'][0]['instances']
    assert len(found['keypoints']) == 17 and len(found['poses']) == 72


@pytest.mark.parametrize('option, message', [
    ('model.head.masking.ratio=1.5', 'HeatmapMasking: ratio: expected a share between 0 and 1'),
    ('train_dataloader.dataset.ann_file=nowhere', 'nowhere'),
    ('model.head.sizes=(6000,431,64)', 'mismatched mesh sizes'),
    ('train_dataloader.dataset.views=9', 'views'),
])
def test_user_errors_are_one_line(here, root_dir, tmp_path, motion, option, message):
    error = here('train.py', root_dir / CONFIG, '--work-dir', tmp_path / 'work', '--cfg-options',
                 *SMALL, *motion, 'train_cfg.max_iters=1', option)
    assert error.startswith('error: ') and message in error and '\n' not in error


def test_mixed_precision_is_not_asked_for_twice(here, root_dir, tmp_path):
    error = here('train.py', root_dir / 'configs/mpt_pretrain.py', '--amp', '--work-dir', tmp_path)
    assert 'mixed precision already, by its BFloat16Hook' in error
