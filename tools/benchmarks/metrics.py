"""P-MPJPE of many poses beside MMPose's loop, and the largest difference between the two.

Both run in this process on one thread; rounds alternate, the best CPU time of each counts.
"""

import time

import numpy as np
import torch
from mmpose.evaluation.functional import keypoint_mpjpe

from mmpose_lift.evaluation.functional import p_mpjpe


def add_arguments(parser):
    parser.add_argument('--poses', type=int, default=100_000)
    parser.add_argument('--rounds', type=int, default=3)


def run(args):
    """Print the table."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = benchmark_metrics(args.poses, args.rounds)
    finally:
        torch.set_num_threads(threads)
    print(f'P-MPJPE of {args.poses} poses of 17 joints, CPU seconds')
    for name, value in rows:
        print(f'  {name:34s} {value}')


def benchmark_metrics(num_poses: int = 100_000, rounds: int = 3) -> list:
    """(name, value) rows; poses are random and predictions 10 cm off, a few mirrored."""
    rng = np.random.default_rng(0)
    gt = rng.normal(size=(num_poses, 17, 3)) * [0.2, 0.5, 0.2]
    pred = (gt + rng.normal(size=gt.shape) * 0.1) * 1.1
    pred[::50, :, 0] *= -1
    mask = np.ones(gt.shape[:2], bool)
    runs = {
        'mmpose keypoint_mpjpe': lambda: keypoint_mpjpe(pred, gt, mask, 'procrustes'),
        'mmpose_lift p_mpjpe': lambda: p_mpjpe(pred, gt),
    }
    best, values = dict.fromkeys(runs, float('inf')), {}
    for _ in range(rounds):
        for name, call in runs.items():
            start = time.process_time()
            values[name] = float(call())
            best[name] = min(best[name], time.process_time() - start)
    theirs, ours = best.values()
    sample = slice(0, 5000)
    one_by_one = np.array([keypoint_mpjpe(p[None], g[None], m[None], 'procrustes')
                           for p, g, m in zip(pred[sample], gt[sample], mask[sample])])
    worst = np.abs(p_mpjpe(pred[sample], gt[sample], reduction='none') - one_by_one).max() * 1000
    return [(name, f'{seconds:.3f} s') for name, seconds in best.items()] + [
        ('speed-up', f'{theirs / ours:.1f}x'),
        ('difference of the means', f'{abs(np.subtract(*values.values())) * 1000:.1e} mm'),
        (f'largest difference of {len(one_by_one)} poses', f'{worst:.1e} mm')]
