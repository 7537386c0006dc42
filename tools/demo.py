#!/usr/bin/env python
"""The main job on embedded data: train, test and use a small MixSTE (make demo)."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import mmpose_lift  # noqa: F401
from mmpose_lift.apis import PoseLiftInferencer
from mmpose_lift.apis.command_line import load_config
from mmpose_lift.datasets import PoseSequenceDataset
from mmpose_lift.evaluation.functional import mpjpe
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.visualization import write_skeleton_picture, write_skeleton_video

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs' / 'demo_mixste.py'


class ProgressBar(Hook):
    """One bar for the whole training, with the error on the last batch."""

    def before_train(self, runner):
        self.bar = Progress(TextColumn('    {task.description}'), BarColumn(),
                            TimeRemainingColumn())
        self.task = self.bar.add_task('starts', total=runner.max_iters)
        self.bar.start()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        error = 1000 * float(outputs['mpjpe'])
        self.bar.update(self.task, advance=1, description=f'training batch: {error:4.0f} mm')

    def after_train(self, runner):
        self.bar.stop()


def main():
    parser = argparse.ArgumentParser(description='Train, test and use a small MixSTE on procedural '
                                     '(synthetic) motion; a few minutes on a CPU')
    parser.add_argument('--out-dir', type=Path, default=Path('outputs/demo'))
    args = parser.parse_args()
    say = Console().print
    start = time.perf_counter()

    say('[bold]1/4 training[/] a small MixSTE on procedural motion (synthetic, made up here)')
    config = load_config(str(CONFIG))
    config.work_dir = str(args.out_dir / 'work_dir')
    config.log_level = 'WARNING'
    runner = Runner.from_cfg(config)
    untrained = runner.test()['MPJPE']
    runner.register_hook(ProgressBar())
    runner.train()
    trained = runner.test()['MPJPE']
    checkpoint = Path(config.work_dir) / f'epoch_{config.train_cfg.max_epochs}.pth'

    say('[bold]2/4 testing[/] the saved checkpoint with tools/test.py')
    metrics = test(checkpoint, args.out_dir)
    if abs(metrics['MPJPE'] - trained) > 1e-3:
        sys.exit(f'error: the checkpoint tests to {metrics["MPJPE"]:.3f} mm, the model in memory '
                 f'to {trained:.3f} mm')

    say('[bold]3/4 lifting[/] a clip that the training did not see')
    lifted, truth, up = lift(checkpoint, args.out_dir)
    error = 1000 * float(mpjpe(lifted['keypoints_3d'], truth))

    say('[bold]4/4 drawing[/] it')
    picture, video = args.out_dir / 'lifted.png', args.out_dir / 'lifted.mp4'
    common = dict(fps=lifted['fps'], up=up, caption='synthetic motion')
    write_skeleton_picture(picture, lifted['keypoints_3d'], lifted['keypoints_2d'], **common)
    write_skeleton_video(video, np.stack([lifted['keypoints_3d'], truth]), lifted['keypoints_2d'],
                         image_size=lifted['image_size'], labels=['lifted', 'ground truth'],
                         **common)

    say(f'\nMPJPE on unseen synthetic clips: untrained {untrained:.1f} mm, trained '
        f'{trained:.1f} mm ({untrained / trained:.1f}x lower); from the saved checkpoint '
        f'{metrics["MPJPE"]:.1f} mm')
    say(f'the lifted clip: {error:.1f} mm; look at {picture} and {video}')
    say(f'{time.perf_counter() - start:.0f} s in all')


def test(checkpoint, out_dir):
    """Metrics of the checkpoint, measured by the command line in a process of its own."""
    out = out_dir / 'metrics.json'
    subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'test.py'), str(CONFIG), str(checkpoint),
         '--work-dir', str(out_dir / 'work_dir'), '--out', str(out), '--cfg-options',
         'log_level=WARNING'],
        check=True)
    return json.loads(out.read_text())


def lift(checkpoint, out_dir):
    """Lift an unseen clip, whose 2D goes through a file as a user's would.

    Returns:
        The lifted clip, the true root-relative poses (T, 17, 3) in metres, and the vertical in
        camera axes (3,).
    """
    init_default_scope('mmpose')
    data = PoseSequenceDataset(dict(num_clips=1, num_frames=300, seed=5), seq_len=300,
                               windows='unique', cameras_per_clip=1)
    clip, camera = data.read(np.array(0)), h36m_cameras()[data.clips[0].camera]
    source = out_dir / 'keypoints_2d.npz'
    np.savez(source, keypoints=clip['keypoints'], image_size=(camera.width, camera.height),
             skeleton='h36m', fps=50.)
    inferencer = PoseLiftInferencer(str(CONFIG), str(checkpoint))
    lifted = inferencer(source, out_file=out_dir / 'lifted.npz')
    target = clip['lifting_target']
    return lifted, target - target[:, :1], camera.rotation[:, 2]


if __name__ == '__main__':
    main()
