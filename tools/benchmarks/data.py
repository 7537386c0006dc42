"""Reading 243-frame windows beside MMPose's Human36mDataset, and opening a full-sized store.

Both data sets hold the same frames and give the same windows (network input and target) through a
DataLoader with the same batch size and workers; passes over the data alternate, the best of each
counts. The big store has as many frames as Human3.6M's training set; it is opened in a process of
its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mmengine
import numpy as np
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS
from torch.utils.data import DataLoader

import mmpose_lift  # noqa: F401
from mmpose_lift.geometry.cameras import h36m_camera
from mmpose_lift.io.pose_store import PoseStoreWriter, Sequence

H36M_TRAIN_FRAMES = 1_559_752
CAMERA = ('S1', '54138969')


def add_arguments(parser):
    parser.add_argument('--frames', type=int, default=97_200, help='frames of both data sets')
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--passes', type=int, default=5)
    parser.add_argument('--no-open', action='store_true', help='skip the full-sized store')


def run(args):
    init_default_scope('mmpose')
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours, theirs = build(folder, args.frames, clip_frames=2430)
        loaders = {
            name: DataLoader(dataset, args.batch_size, num_workers=args.workers, shuffle=True,
                             collate_fn=pseudo_collate, persistent_workers=args.workers > 0)
            for name, dataset in [('PoseSequenceDataset', ours), ('Human36mDataset', theirs)]
        }
        best = dict.fromkeys(loaders, 0.)
        for _ in range(args.passes + 1):  # the first pass also starts the workers
            for name, loader in loaders.items():
                start, count = time.perf_counter(), 0
                for batch in loader:
                    count += sum(len(x) if x.ndim == 4 else 1 for x in batch['inputs'])
                best[name] = max(best[name], count / (time.perf_counter() - start))
        print(f'{args.frames} frames, windows of 243, batch {args.batch_size}, '
              f'{args.workers} workers')
        for name, rate in best.items():
            print(f'  {name:22s} {rate:9.0f} windows/s')
        ratio = best['PoseSequenceDataset'] / best['Human36mDataset']
        print(f'  {"ratio":22s} {ratio:9.1f}x')
        if not args.no_open:
            write_store(folder / 'big', H36M_TRAIN_FRAMES, clip_frames=2_600)
            seconds, megabytes = open_store(folder / 'big')
            print(f'opening a store of {H36M_TRAIN_FRAMES} frames: {seconds:.3f} s, '
                  f'{megabytes:.0f} MB more in the process')


def build(folder, frames, clip_frames):
    """The same random poses as a store of ours and as MMPose's files, behind both data sets."""
    points, pixels = write_store(folder / 'store', frames, clip_frames)
    name = '{0}/{0}_Walking_{1}.{2}/{0}_Walking_{1}.{2}_{3:06d}.jpg'
    ones = np.ones((frames, 17, 1), np.float32)
    np.savez(
        folder / 'h36m.npz',
        imgname=np.array([name.format(CAMERA[0], i // clip_frames, CAMERA[1], i % clip_frames)
                          for i in range(frames)]),
        center=np.zeros((frames, 2), np.float32), scale=np.ones(frames, np.float32),
        part=np.concatenate([pixels[..., :2], ones], -1), S=np.concatenate([points, ones], -1))
    camera = h36m_camera(*CAMERA)
    mmengine.dump({CAMERA: dict(w=camera.width, h=camera.height)}, str(folder / 'cameras.pkl'))
    ours = DATASETS.build(dict(
        type='PoseSequenceDataset', stores=str(folder / 'store'), seq_len=243, windows='train',
        pipeline=[dict(type='GenerateTarget', encoder=dict(type='PoseSequenceLabel')),
                  dict(type='PackPoseInputs', meta_keys=('id', 'flip_indices'))]))
    theirs = DATASETS.build(dict(
        type='Human36mDataset', ann_file=str(folder / 'h36m.npz'), seq_len=1, multiple_target=243,
        camera_param_file=str(folder / 'cameras.pkl'),
        pipeline=[
            dict(type='GenerateTarget', encoder=dict(
                type='VideoPoseLifting', num_keypoints=17, reshape_keypoints=False)),
            dict(type='PackPoseInputs', meta_keys=('id', 'flip_indices'))
        ]))
    return ours, theirs


def write_store(path, frames, clip_frames):
    rng = np.random.default_rng(0)
    camera = h36m_camera(*CAMERA)
    points = rng.standard_normal((frames, 17, 3), np.float32) * 0.3 + np.float32([0, 0, 5])
    pixels = np.concatenate(
        [rng.random((frames, 17, 2), np.float32) * 1000, np.ones((frames, 17, 1), np.float32)], -1)
    with PoseStoreWriter(path, source='benchmark', frame='camera', skeleton='h36m',
                         cameras={camera.name: camera}) as writer:
        for first in range(0, frames, clip_frames):
            last = min(first + clip_frames, frames)
            writer.add_sequence(
                Sequence(subject=CAMERA[0], action='Walking', subaction=f'Walking {first}',
                         camera=camera.name, fps=50, width=camera.width, height=camera.height,
                         first=first, last=last),
                points[first:last], {'gt': pixels[first:last]})
    return points, pixels


OPEN = """
import json, os, sys, time
import mmpose_lift
from mmpose_lift.datasets import PoseSequenceDataset
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e6
before, start = resident(), time.perf_counter()
data = PoseSequenceDataset(sys.argv[1], seq_len=243)
print(json.dumps([time.perf_counter() - start, resident() - before]))
"""


def open_store(path):
    """Seconds to open a store as a data set and the megabytes it adds, in a fresh process."""
    out = subprocess.run([sys.executable, '-c', OPEN, str(path)], check=True, capture_output=True,
                         text=True).stdout
    return json.loads(out.strip().splitlines()[-1])
