"""Frames per second of drawing skeleton videos: two people, 2D and 3D, 960x540 by default."""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.visualization.skeleton_video import SkeletonScene, SkeletonVideoWriter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py drawing``."""
    parser.add_argument('--frames', type=int, default=500, help='length of the clip')
    parser.add_argument('--people', type=int, default=2)
    parser.add_argument('--size', type=int, nargs=2, default=(960, 540), metavar=('W', 'H'))
    parser.add_argument('--repeat', type=int, default=3, help='the best of so many runs counts')


def _clip(people: int, num_frames: int):
    """Root-relative 3D, 2D and the camera of a synthetic clip."""
    camera = h36m_cameras()[0]
    points = np.stack([generate_motion(('walking', 'reaching')[i % 2], num_frames, i)
                       for i in range(people)])
    middle = (points[:, :, :1, :2].min(axis=1) + points[:, :, :1, :2].max(axis=1))[:, None] / 2
    points[..., :2] -= middle
    points = camera.world_to_camera(points)
    return points - points[:, :, :1], camera.project(points), camera


def run(args: argparse.Namespace) -> None:
    """Measure and print drawing alone (with and without images) and drawing with encoding."""
    size = tuple(args.size)
    pose, flat, camera = _clip(args.people, args.frames)
    image_size = (camera.width, camera.height)
    image = np.full((image_size[1], image_size[0], 3), 110, dtype=np.uint8)
    canvas = np.empty((size[1], size[0], 3), dtype=np.uint8)
    print(f'{args.people} people, 2D and 3D, {size[0]}x{size[1]}, {args.frames} frames; '
          f'best of {args.repeat}')

    def measure(name: str, work) -> None:
        seconds = []
        for _ in range(args.repeat):
            begin = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begin)
        print(f'{name:<44}{args.frames / min(seconds):8.0f} frames/s')

    def draw(background=None, turntable=0, write=lambda canvas: None):
        scene = SkeletonScene(pose, flat, fps=50, size=size, image_size=image_size,
                              turntable=turntable, up=camera.rotation[:, 2])
        for frame in range(scene.num_frames):
            scene.draw(canvas, frame, background)
            write(canvas)

    measure('drawing alone', draw)
    measure('drawing alone, walking around', lambda: draw(turntable=30))
    measure(f'drawing over images of {image_size[0]}x{image_size[1]}', lambda: draw(image))
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ('mp4', 'avi'):

            def encode(suffix=suffix):
                with SkeletonVideoWriter(Path(folder) / f'clip.{suffix}', 50, size) as writer:
                    draw(write=writer.write)

            measure(f'drawing and encoding .{suffix}', encode)


if __name__ == '__main__':
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    run(_parser.parse_args())
