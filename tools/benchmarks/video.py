"""Videos: a clip in windows against one window per frame, milliseconds of each stage, poses per
second with the 2D model included, and memory against the length of the video; one CPU thread."""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.logging import MMLogger

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.apis import ClipLifter, PoseLiftInferencer, Stages
from mmpose_lift.io.exporters import write_video_poses
from mmpose_lift.io.frames import open_frames
from mmpose_lift.rendering.people import TwoPeopleVideo

from .mixste import interleaved

PARTS = ('clip', 'stages', 'strides', 'memory')
ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / 'configs' / 'demo_mixste.py')
SIZE = (960, 540)
NETWORKS = ('detector', '2D network', 'lifting')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--rounds', type=int, default=3,
                        help='interleaved rounds; the fastest of each variant counts')
    parser.add_argument('--clip-frames', type=int, default=2000)
    parser.add_argument('--frames', type=int, default=250, help='of the rendered video')
    parser.add_argument('--lengths', type=int, nargs=2, default=(500, 20000),
                        help='of the videos whose memory is compared')
    parser.add_argument('--measure-memory', type=int, metavar='FRAMES', help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> None:
    if args.measure_memory:
        print(peak_memory(args.measure_memory))
        return
    MMLogger.get_current_instance().setLevel('ERROR')
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if 'clip' in args.parts:
        print_clip(args)
    if 'stages' in args.parts or 'strides' in args.parts:
        with tempfile.TemporaryDirectory() as folder:
            video = RenderedVideo(Path(folder) / 'two_people.mp4', args.frames)
            if 'stages' in args.parts:
                print_stages(video, Path(folder))
            if 'strides' in args.parts:
                print_strides(video)
    if 'memory' in args.parts:
        print_memory(args.lengths)


def print_clip(args: argparse.Namespace) -> None:
    """MixSTE with 243 frames on a clip, from 2D arrays to 3D arrays, in seconds of CPU time."""
    keypoints = np.random.default_rng(0).uniform(100, 900, (args.clip_frames, 17, 2))
    keypoints = keypoints.astype(np.float32)
    lifters = {overlap: ClipLifter('mixste_h36m', device='cpu', flip_test=False, overlap=overlap,
                                   batch_size=1, allow_random_weights=True)
               for overlap in (0., 0.5)}
    windows = [keypoints[i:i + lifters[0.].window] for i in range(0, 1200, 300)]
    times = interleaved({
        'windows': lambda: [lifters[0.].lift(window, (1000, 1000)) for window in windows],
        **{overlap: lambda lifter=lifter: lifter.lift(keypoints, (1000, 1000))
           for overlap, lifter in lifters.items()}}, args.rounds)
    one = times['windows'] / len(windows)
    per_frame = one * args.clip_frames
    print(f'\nMixSTE-243, clip of {args.clip_frames} frames, no flip test; one window takes '
          f'{one:.2f} s, one for every frame {per_frame:.0f} s')
    for overlap in lifters:
        print(f'  overlap {overlap:3.1f}   {times[overlap]:6.1f} s   '
              f'{per_frame / times[overlap]:.0f}x fewer')


class RenderedVideo:
    """The rendered two people as a file, with their boxes."""

    def __init__(self, path: Path, num_frames: int) -> None:
        from mmpose_lift.visualization import VideoWriter
        scene = TwoPeopleVideo(seed=0, num_frames=num_frames, size=SIZE)
        with VideoWriter(path, scene.fps, SIZE) as writer:
            for number in range(num_frames):
                writer.write(scene.frame(number))
        self.path, self.num_frames = path, num_frames
        self.boxes = [scene.boxes[scene.visible[:, t], t] for t in range(num_frames)]


def print_stages(video: RenderedVideo, folder: Path) -> None:
    """Every stage of a video with two people, in milliseconds per frame of wall clock time."""
    from mmpose_lift.visualization import write_people_video
    inferencer = PoseLiftInferencer(DEMO, device='cpu', allow_random_weights=True,
                                    pose2d='rendered_human')
    stages = Stages()
    poses = inferencer.video(video.path, bboxes=video.boxes, stages=stages)
    stitching = time_beside_network(inferencer.lifter, poses)
    with stages.time('writing'):
        write_video_poses(poses, folder, 'poses', ['json', 'npz'])
    with open_frames(video.path) as frames:
        write_people_video(poses, folder / 'poses.mp4', frames, stages=stages)
    spent = {name: 1000 * seconds / video.num_frames for name, seconds in stages.seconds.items()}
    spent['stitching'] = 1000 * stitching / video.num_frames
    rest = sum(ms for name, ms in spent.items() if name not in NETWORKS)
    print(f'\n{video.num_frames} frames of {SIZE[0]}x{SIZE[1]} with {len(poses.tracks)} people, '
          'demo_mixste and rendered_human, ms per frame')
    for name, ms in spent.items():
        if ms < 0.001:
            continue
        note = 'network' if name in NETWORKS else f'{1000 / ms:.0f} frames/s' if ms else ''
        print(f'  {name:<16}{ms:8.3f}   {note}')
    print(f'  all but networks{rest:8.3f}')


def time_beside_network(lifter: ClipLifter, poses) -> float:
    """Seconds of resampling, windows and stitching: lifting with a network that does nothing."""
    network = lifter.forward
    lifter.forward = lambda inputs: np.zeros((*inputs.shape[:3], 3), np.float32)
    start = time.perf_counter()
    lifter.lift_people_at([track.keypoints_2d for track in poses.tracks], poses.image_size,
                          fps=poses.fps)
    lifter.forward = network
    return time.perf_counter() - start


def print_strides(video: RenderedVideo) -> None:
    """Uplift and Upsample (N = 351) with the 2D model included, against the input stride."""
    print('\nUplift and Upsample, N = 351, with rendered_human on key-frames, given boxes: poses '
          '(people x frames) per second')
    for stride in (5, 10, 20):
        inferencer = PoseLiftInferencer(
            'uplift_upsample_h36m', device='cpu', flip_test=False, input_stride=stride,
            allow_random_weights=True, pose2d='rendered_human')
        inferencer.video(video.path, bboxes=video.boxes)  # builds the 2D model, warms up
        stages = Stages()
        with stages.time('all'):
            poses = inferencer.video(video.path, bboxes=video.boxes, stages=stages)
        count = sum(len(track) for track in poses.tracks)
        print(f'  s_in {stride:2d}   {count / stages.seconds["all"]:6.0f} in all, '
              f'{count / stages.seconds["2D network"]:6.0f} of the 2D model, '
              f'{count / stages.seconds["lifting"]:6.0f} of the lifter')


def print_memory(lengths) -> None:
    """Peak memory of processes that lift and draw a short and a long video."""
    peaks = []
    for length in lengths:
        done = subprocess.run(
            [sys.executable, str(ROOT / 'tools/benchmark.py'), 'video', '--measure-memory',
             str(length)], capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout.split()[-1]))
    print('\npeak memory of reading, tracking two people, lifting (demo_mixste) and drawing, the '
          '2D model\nreplaced by given keypoints: ' + ', '.join(
              f'{length} frames {peak:.0f} MiB' for length, peak in zip(lengths, peaks))
          + f'; {peaks[1] - peaks[0]:+.0f} MiB')


class _GivenKeypoints:
    """Two people who walk from side to side, as a detector and 2D model would give them."""
    name, detector, convention, topdown = 'given', 'given', 'coco', True
    num_keypoints, batch_size = 17, 16

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._pose = rng.uniform(-1, 1, (2, 17, 2)) * (25, 60)
        self._seen = 0

    def with_options(self, *options):
        return self

    def detect(self, images):
        boxes = []
        for _ in images:
            x = 200 + 100 * np.sin(self._seen / 50) + np.array([0, 200])
            self._seen += 1
            box = np.stack([x - 30, np.full(2, 40), x + 30, np.full(2, 200), np.ones(2)], axis=1)
            boxes.append(box.astype(np.float32))
        return boxes

    def estimate(self, images, boxes):
        centres = [(box[:, :2] + box[:, 2:4]) / 2 for box in boxes]
        return [np.concatenate([self._pose + centre[:, None], np.ones((2, 17, 1))], axis=2)
                .astype(np.float32) for centre in centres]


def peak_memory(num_frames: int) -> float:
    """MiB of this process after a video of so many small frames."""
    from mmpose_lift.visualization import VideoWriter, write_people_video
    size = (480, 270)
    frame = np.random.default_rng(0).integers(0, 255, (size[1] // 30, size[0] // 30, 3), np.uint8)
    frame = cv2.resize(frame, size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'video.mp4'
        with VideoWriter(path, 50, size) as writer:
            for _ in range(num_frames):
                writer.write(frame)
        inferencer = PoseLiftInferencer(DEMO, device='cpu', flip_test=False, overlap=0,
                                        allow_random_weights=True, pose2d=_GivenKeypoints())
        poses = inferencer.video(path)
        with open_frames(path) as frames:
            write_people_video(poses, Path(folder) / 'drawn.mp4', frames, size=(480, 270))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
