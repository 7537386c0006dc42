"""Frames per second of drawing and encoding videos of people, and the memory that takes.

Two people, 2D over pictures and 3D, 960x540 by default; no networks.
"""

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np

from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.io.video_poses import PersonTrack, VideoPoses
from mmpose_lift.visualization import PeopleScene, SkeletonScene, VideoWriter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``benchmark.py drawing``."""
    parser.add_argument('--frames', type=int, default=500, help='length of the clip')
    parser.add_argument('--people', type=int, default=2)
    parser.add_argument('--size', type=int, nargs=2, default=(960, 540), metavar=('W', 'H'))
    parser.add_argument('--picture', type=int, nargs=2, default=(1920, 1080), metavar=('W', 'H'),
                        help='size of the pictures that are drawn over')
    parser.add_argument('--long', type=int, default=20000,
                        help='length of the video whose memory is compared with the clip')
    parser.add_argument('--repeat', type=int, default=3, help='the best of so many runs counts')


def _people(args: argparse.Namespace, num_frames: int) -> VideoPoses:
    """People of a synthetic video who come one after the other and repeat 500 frames of motion."""
    camera, tracks = h36m_cameras()[0], []
    for number in range(args.people):
        world = generate_motion(('walking', 'reaching')[number % 2], 500, number)
        points = camera.world_to_camera(world - world[:, :1] * [1, 1, 0])
        scale = np.array(args.picture) / (camera.width, camera.height)
        keypoints = np.concatenate([camera.project(points) * scale + [60 * number, 0],
                                    np.ones((500, 17, 1))], -1).astype(np.float32)
        rows = np.arange(num_frames - 50 * number) % 500
        keypoints, points = keypoints[rows], points[rows].astype(np.float32)
        boxes = np.concatenate([keypoints[..., :2].min(1), keypoints[..., :2].max(1)], -1)
        tracks.append(PersonTrack(number + 1, 50 * number, boxes, np.ones(len(rows)), keypoints,
                                  np.ones(len(rows), bool), keypoints, points - points[:, :1]))
    return VideoPoses('synthetic', 50, tuple(args.picture), num_frames, 'h36m', 'h36m', tracks)


def run(args: argparse.Namespace) -> None:
    """Measure and print drawing alone and with encoding, and the memory of a long video."""
    size = tuple(args.size)
    poses = _people(args, args.frames)
    noise = np.random.default_rng(0).integers(0, 256, (args.picture[1] // 8, args.picture[0] // 8,
                                                       3), dtype=np.uint8)
    image = cv2.resize(noise, tuple(args.picture))
    print(f'{args.people} people, 2D and 3D, {size[0]}x{size[1]}, {args.frames} frames; '
          f'best of {args.repeat}; processor time of one process, and time on the clock')

    def measure(name: str, work) -> None:
        spent, clock = [], []
        for _ in range(args.repeat):
            start = time.process_time(), time.perf_counter()
            work()
            spent.append(time.process_time() - start[0])
            clock.append(time.perf_counter() - start[1])
        print(f'{name:<44}{args.frames / min(spent):8.0f} {args.frames / min(clock):8.0f} frames/s')

    def draw(picture=None, write=lambda canvas: None, poses=poses, every=1):
        scene = PeopleScene(poses, size)
        for frame in range(0, poses.num_frames, every):
            write(scene.draw(frame, picture))

    def walk_around():
        shortest = min(len(track) for track in poses.tracks)
        scene = SkeletonScene([t.keypoints_3d[:shortest] for t in poses.tracks], turntable=30,
                              size=size)
        for frame in range(args.frames):
            scene.draw(frame % shortest)

    measure('people, on an empty page', draw)
    measure(f'people, over pictures of {image.shape[1]}x{image.shape[0]}', lambda: draw(image))
    measure('3D alone, walking around', walk_around)
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ('mp4', 'avi'):

            def encode(suffix=suffix):
                with VideoWriter(Path(folder) / f'clip.{suffix}', 50, size) as writer:
                    draw(image, writer.write)

            measure(f'drawing over pictures and encoding .{suffix}', encode)
    peaks = []
    for num_frames in (args.frames, args.long):
        long = _people(args, num_frames)
        tracemalloc.start()
        draw(image, poses=long, every=10)
        peaks.append(tracemalloc.get_traced_memory()[1] / 2 ** 20)
        tracemalloc.stop()
    print(f'memory of drawing: {peaks[0]:.1f} MB for {args.frames} frames, {peaks[1]:.1f} MB for '
          f'{args.long}')


if __name__ == '__main__':
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    run(_parser.parse_args())
