"""HybrIK-Transformer through the command lines: render, train, average, test, infer."""

import json
import runpy

import cv2
import numpy as np

CONFIG = 'configs/demo_hybrik_transformer.py'
SMALL = ['model.backbone.init_cfg=None', 'train_dataloader.dataset.num_images=6',
         'val_dataloader.dataset.num_images=3', 'test_dataloader.dataset.num_images=3',
         'train_dataloader.batch_size=3', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2',
         'default_hooks.checkpoint.interval=1', 'default_hooks.logger.interval=1']
LOADERS = [f'{kind}_dataloader.{option}' for kind in ('train', 'val', 'test')
           for option in ('num_workers=0', 'persistent_workers=False')]


def test_from_pictures_to_bodies(tool, root_dir, tmp_path, monkeypatch):
    def here(name, *words):  # in this process: quicker
        monkeypatch.setattr('sys.argv', [name, *map(str, words)])
        try:
            runpy.run_path(str(root_dir / 'tools' / name), run_name='__main__')
        except SystemExit as left:
            assert not left.code
    out, work = tmp_path / 'rendered', tmp_path / 'work'
    options = [*SMALL, *LOADERS, *(f'{kind}_dataloader.dataset.out={out}'
                                   for kind in ('train', 'val', 'test'))]
    tool('train.py', root_dir / CONFIG, '--work-dir', work, options=options)
    [log] = work.glob('*/vis_data/scalars.json')
    steps = [json.loads(line) for line in log.read_text().splitlines()]
    assert all(step['loss_uvd'] > 0 and step['loss_twist'] > 0 for step in steps if 'loss' in step)
    averaged = tmp_path / 'averaged.pth'
    here('average_checkpoints.py', work / 'iter_1.pth', work / 'iter_2.pth', '--out', averaged)
    here('test.py', root_dir / CONFIG, averaged, '--work-dir', work, '--out',
         tmp_path / 'metrics.json', '--cfg-options', *options)
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert {'MPJPE', 'PA-MPJPE', 'PA-MPJPE-17', 'PVE'} <= set(metrics)
    picture = out / 'val' / '000000.jpg'
    here('infer.py', picture, '--pose3d', root_dir / CONFIG, '--weights', averaged, '--det-model',
         'whole_image', '--picture', '--formats', 'json', 'smpl', 'obj', '--out-dir', tmp_path)
    [found] = json.loads((tmp_path / '000000.json').read_text())['instance_info'][0]['instances']
    assert len(found['keypoints']) == 17 and len(found['poses']) == 72
    [drawn] = tmp_path.glob('000000*.png')
    assert np.ptp(cv2.imread(str(drawn))) > 100
