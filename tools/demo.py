#!/usr/bin/env python
"""The main job on embedded data: train and test a small MixSTE, people and bodies in a video."""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import mmpose_lift  # noqa: F401
from mmpose_lift.apis import MeshInferencer, PoseLiftInferencer, ShownStages
from mmpose_lift.apis.command_line import load_config
from mmpose_lift.datasets import PoseSequenceDataset
from mmpose_lift.evaluation.functional import mpjpe, p_mpjpe
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.io.exporters import write_video_poses
from mmpose_lift.io.frames import open_frames
from mmpose_lift.rendering.people import TwoPeopleVideo
from mmpose_lift.rendering.scene import project
from mmpose_lift.visualization import (
    MeshScene,
    VideoWriter,
    write_people_video,
    write_skeleton_picture,
    write_skeleton_video,
)

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

    say('[bold]1/7 training[/] a small MixSTE on procedural motion (synthetic, made up here)')
    config = load_config(str(CONFIG))
    config.work_dir = str(args.out_dir / 'work_dir')
    config.log_level = 'WARNING'
    runner = Runner.from_cfg(config)
    untrained = runner.test()['MPJPE']
    runner.register_hook(ProgressBar())
    runner.train()
    trained = runner.test()['MPJPE']
    checkpoint = Path(config.work_dir) / f'epoch_{config.train_cfg.max_epochs}.pth'

    say('[bold]2/7 testing[/] the saved checkpoint with tools/test.py')
    metrics = test(checkpoint, args.out_dir)
    if abs(metrics['MPJPE'] - trained) > 1e-3:
        sys.exit(f'error: the checkpoint tests to {metrics["MPJPE"]:.3f} mm, the model in memory '
                 f'to {trained:.3f} mm')

    say('[bold]3/7 lifting[/] a clip that the training did not see')
    lifted, truth, up = lift(checkpoint, args.out_dir)
    error = 1000 * float(mpjpe(lifted['keypoints_3d'], truth))

    say('[bold]4/7 drawing[/] it')
    picture, video = args.out_dir / 'lifted.png', args.out_dir / 'lifted.mp4'
    common = dict(fps=lifted['fps'], up=up, caption='synthetic motion')
    write_skeleton_picture(picture, lifted['keypoints_3d'], lifted['keypoints_2d'], **common)
    write_skeleton_video(video, np.stack([lifted['keypoints_3d'], truth]), lifted['keypoints_2d'],
                         image_size=lifted['image_size'], labels=['lifted', 'ground truth'],
                         **common)

    say('[bold]5/7 a video[/] of two people, rendered here: boxes, 2D poses, tracks, 3D poses')
    scene, source, boxes = render_video(args.out_dir)
    video_3d, found = lift_video(scene, source, boxes, checkpoint, args.out_dir)

    say('[bold]6/7 bodies[/] of the same people, by a small HybrIK-Transformer of this package')
    video_bodies, bodies = bodies_of_video(
        'hybrik_transformer_rendered', scene, source, boxes, args.out_dir / 'two_people_bodies')

    say('[bold]7/7 bodies again[/], from heatmaps, by a small MPT that learned from motion alone')
    video_meshes, meshes = bodies_of_video(
        'mpt_cmu', scene, source, boxes, args.out_dir / 'two_people_heatmaps',
        pose2d='rendered_human')

    say(f'\nMPJPE on unseen synthetic clips: untrained {untrained:.1f} mm, trained '
        f'{trained:.1f} mm ({untrained / trained:.1f}x lower); from the saved checkpoint '
        f'{metrics["MPJPE"]:.1f} mm')
    say(f'the lifted clip: {error:.1f} mm; look at {picture} and {video}')
    say(f'the rendered video: {len(found.tracks)} people in {found.num_frames} frames; mean error '
        f'{found.pixels:.1f} pixels in 2D, {found.millimetres:.0f} mm in 3D (from the true 2D '
        f'joints {found.floor:.0f} mm); look at {video_3d}')
    say(f'their bodies: {bodies.millimetres:.0f} mm in 3D, {bodies.aligned:.0f} mm after '
        f'alignment; look at {video_bodies}')
    say(f'from heatmaps: {meshes.millimetres:.0f} mm, {meshes.aligned:.0f} mm after alignment; '
        f'look at {video_meshes}')
    say(f'{time.perf_counter() - start:.0f} s in all')


class Found(NamedTuple):
    """People found in the rendered video, and their errors against what was rendered."""
    tracks: list
    num_frames: int
    pixels: float
    millimetres: float
    floor: float  # from the true 2D joints


class Bodies(NamedTuple):
    """Errors of the bodies' 17 joints."""
    millimetres: float
    aligned: float  # by a similarity transform of each pose


def render_video(out_dir):
    """Two people who pass each other, and their boxes: a bit wrong, as those of a detector are."""
    MMLogger.get_current_instance().setLevel('ERROR')
    scene = TwoPeopleVideo(seed=1, num_frames=200, focal=1.145 * 960)  # Human3.6M's field of view
    source = out_dir / 'two_people.mp4'
    with ShownStages() as stages, VideoWriter(source, scene.fps, scene.size) as writer, \
            stages.stage('rendering', len(scene)) as advance:
        for image in scene:
            writer.write(image)
            advance(1)
    rng = np.random.default_rng(0)
    side = (scene.boxes[..., 2:] - scene.boxes[..., :2]).max(-1, keepdims=True)
    boxes = scene.boxes + 0.02 * side * rng.normal(size=scene.boxes.shape)
    boxes = [boxes[scene.visible[:, t], t] for t in range(len(scene))]
    path = out_dir / 'two_people_boxes.json'
    path.write_text(json.dumps([frame.round(1).tolist() for frame in boxes]), encoding='utf-8')
    return scene, source, boxes


def lift_video(scene, source, boxes, checkpoint, out_dir):
    """Run the whole chain on the video; the 2D model was trained on rendered people only."""
    target = out_dir / 'two_people_3d.mp4'
    with ShownStages() as stages:
        inferencer = PoseLiftInferencer(str(CONFIG), str(checkpoint), pose2d='rendered_human')
        poses = inferencer.video(source, bboxes=boxes, stages=stages)
        write_video_poses(poses, out_dir, 'two_people_3d', ['json', 'npz', 'bvh'])
        with open_frames(source) as frames:
            write_people_video(poses, target, frames, stages=stages)
    return target, compare(poses, scene, inferencer.lifter)


def bodies_of_video(model, scene, source, boxes, out, **options):
    """Body parameters of everybody in the video, drawn over it and written for Blender."""
    target = out.with_suffix('.mp4')
    with ShownStages() as stages:
        inferencer = MeshInferencer(model, focal=scene.focal, **options)
        poses = inferencer.video(source, bboxes=boxes, smooth='one-euro', stages=stages)
        write_video_poses(poses, out.parent, out.name, ['smpl', 'gltf'])
        with open_frames(source) as frames:
            write_people_video(poses, target, frames, stages=stages, scene_type=MeshScene)
    errors = []
    for track in poses.tracks:
        box = track.boxes[:, None] - scene.boxes[:, track.frames].swapaxes(0, 1)
        person = int(np.abs(box).mean((0, 2)).argmin())
        truth = scene.keypoints_3d[person, track.frames]
        errors += [(mpjpe(pose, joints, root_index=0), p_mpjpe(pose, joints))
                   for pose, joints in zip(track.keypoints_3d, truth)]
    return target, Bodies(*1000 * np.mean(errors, axis=0))


def compare(poses, scene, lifter):
    """Errors of each track against the rendered person that it mostly is."""
    pixels, lifted, floor = [], [], []
    for track in poses.tracks:
        truth_2d = scene.keypoints_2d[:, track.frames]
        apart = np.linalg.norm(track.keypoints[..., :2] - truth_2d, axis=-1).mean((1, 2))
        person = int(apart.argmin())
        truth = scene.keypoints_3d[person, track.frames]
        exact = project(truth, scene.focal, scene.center)
        target = truth - truth[:, :1]
        pixels += [apart[person]] * len(track)
        lifted += mpjpe(track.keypoints_3d, target, reduction='none').tolist()
        floor += mpjpe(lifter.lift(exact.astype(np.float32), scene.size), target,
                       reduction='none').tolist()
    return Found(poses.tracks, poses.num_frames, np.mean(pixels), 1000 * np.mean(lifted),
                 1000 * np.mean(floor))


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
