"""Uplift and Upsample: operations beside the published ones, poses per second by input stride, the
gain of skipping missing frames, and a whole clip against one window per frame; one CPU thread."""

import argparse
import time
from functools import partial
from typing import Callable, Dict, List, NamedTuple, Tuple

import numpy as np
import torch
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.apis.key_frame_lifting import KeyFrameLifter
from mmpose_lift.datasets.key_frames import grid_window, key_frame_mask, token_offsets
from mmpose_lift.geometry.cameras import normalize_screen
from mmpose_lift.models import SequencePoseLifter
from mmpose_lift.models.cost import num_key_frames, uplift_upsample_cost

from .mixste import interleaved

PARTS = ('cost', 'speed', 'skip', 'clip')
IMAGE_SIZE = (1000, 1000)


class Network(NamedTuple):
    """Sizes of a published model; published FLOPs in millions by input stride."""
    num_tokens: int
    output_stride: int
    strides: tuple
    paddings: tuple
    published: Dict[int, int]

    @property
    def sizes(self) -> dict:
        return dict(num_tokens=self.num_tokens, strides=self.strides, paddings=self.paddings)


NETWORKS = {
    351: Network(71, 5, (3, 10, 3), ((0, 0), (0, 0), (0, 0)), {5: 1062, 10: 999, 20: 966}),
    81: Network(41, 2, (4, 4, 3), ((1, 1), (0, 0), (0, 0)), {4: 564, 10: 543, 20: 535}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--receptive-fields', nargs='+', type=int, choices=sorted(NETWORKS),
                        default=[351, 81], help='of the models timed')
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--rounds', type=int, default=5,
                        help='interleaved rounds; the fastest of each variant counts')
    parser.add_argument('--clip-frames', type=int, default=2000)
    parser.add_argument('--clip-sample', type=int, default=200,
                        help='frames of the clip lifted one by one, the time is scaled up')


def build(network: Network) -> SequencePoseLifter:
    """The model with random weights."""
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='SequencePoseLifter',
        backbone=dict(type='UpliftUpsampleTransformer', **network.sizes),
        head=dict(type='UpliftUpsampleHead', in_channels=384, num_keypoints=17))).eval()


def windows(network: Network, input_stride: int, batch: int) -> Tensor:
    """Random windows (B, L, 17, 3) around a key-frame."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, network.num_tokens, 17, 3, generator=generator) * 2 - 1
    offsets = token_offsets(network.num_tokens, network.output_stride)
    flags = torch.from_numpy(key_frame_mask(offsets, input_stride)).float()
    x[..., 2] = flags[None, :, None]
    x[..., :2] *= x[..., 2:]
    return x


def centre_poses(model: SequencePoseLifter, x: Tensor) -> Tensor:
    """(B, 17, 3), spatial part on the key-frames."""
    return model.head.predict_center(model.backbone(x))


def all_frames_features(model: SequencePoseLifter, x: Tensor) -> Tuple[Tensor, Tensor]:
    """Features as the public code makes them: the spatial part runs on every frame, and what it
    gives for missing frames is thrown away."""
    poses = x[..., :2].flatten(0, 1)
    tokens = model.backbone.pose_tokens(poses).unflatten(0, x.shape[:2])
    return model.backbone.from_tokens(tokens, x[:, :, 0, 2] == 1)


def print_cost() -> None:
    """Operations per window, for the centre pose."""
    print('\nM FLOPs per window, centre pose only; published convention: 2 per multiply-add and '
          'element-wise\noperations, key-frames counted from the first token')
    print('    N  s_in  key-frames  2 x mult.-adds  PyTorch counter  published convention  '
          'published')
    for field, network in NETWORKS.items():
        model = build(network)
        for stride, published in network.published.items():
            step = stride // network.output_stride
            key_frames = num_key_frames(network.num_tokens, step)
            from_first = num_key_frames(network.num_tokens, step, centred=False)
            plain = uplift_upsample_cost(key_frames, **network.sizes).plain / 1e6
            theirs = uplift_upsample_cost(from_first, **network.sizes).published / 1e6
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                # attention spelled out: the counter does not know the fused kernel for CPUs
                *features, _ = model.backbone(windows(network, stride, 1), return_attention=True)
                model.head.predict_center(features)
            print(f'  {field:3d}  {stride:4d}  {key_frames:10d}  {plain:14.1f}  '
                  f'{counter.get_total_flops() / 1e6:15.1f}  {theirs:20.1f}  {published:9d}  '
                  f'{100 * (theirs / published - 1):+.2f} %')


@torch.inference_mode()
def print_speed(field: int, args: argparse.Namespace) -> None:
    """Video poses per second: a window stands for s_out frames, the rest is interpolated."""
    network = NETWORKS[field]
    model = build(network)
    inputs = {stride: windows(network, stride, args.batch) for stride in network.published}
    times = interleaved({stride: lambda x=x: centre_poses(model, x)
                         for stride, x in inputs.items()}, args.rounds)
    print(f'\nN = {field}, batch {args.batch}       poses/s   against the smallest stride')
    slowest = next(iter(times.values()))
    for stride, seconds in times.items():
        rate = args.batch * network.output_stride / seconds
        print(f'  s_in {stride:3d}                {rate:7.0f}   {slowest / seconds:.2f}x')


def training_step(model: SequencePoseLifter, features: Callable, x: Tensor,
                  target: Tensor) -> Callable:
    """Forward pass, loss and backward pass, without the optimiser."""
    def step() -> None:
        model.zero_grad()
        sequence, centre = model.head(features(x))
        losses = model.head.loss_module(sequence, centre, target, None)
        sum(value for name, value in losses.items() if 'loss' in name).backward()
    return step


def print_skip(field: int, args: argparse.Namespace) -> None:
    """The spatial part on key-frames only, against running it on all frames."""
    network = NETWORKS[field]
    model = build(network)
    target = torch.randn(args.batch, network.num_tokens, 17, 3)
    print(f'\nN = {field}, batch {args.batch}        all frames   key-frames   gain   '
          'largest difference')
    for stride in network.published:
        x = windows(network, stride, args.batch)
        model.eval()
        with torch.inference_mode():
            variants = {'all': lambda x=x: model.head.predict_center(all_frames_features(model, x)),
                        'key': lambda x=x: centre_poses(model, x)}
            error = float((variants['all']() - variants['key']()).abs().max())
            forward = interleaved(variants, args.rounds)
        model.train()
        training = interleaved({
            'all': training_step(model, lambda x: all_frames_features(model, x), x, target),
            'key': training_step(model, model.backbone, x, target)}, args.rounds)
        for name, times in (('forward', forward), ('training', training)):
            print(f'  s_in {stride:3d} {name:12s}  {times["all"]:8.3f} s   {times["key"]:8.3f} s   '
                  f'{times["all"] / times["key"]:.2f}x  '
                  + (f'{error:.0e}' if name == 'forward' else ''))


def clip_window(network: Network, poses: np.ndarray, frame: int, input_stride: int) -> Tensor:
    """The window (1, L, 17, 3) around a frame of a clip, as the public code evaluates it, but with
    copied frames given only where they are key-frames."""
    frames, _ = grid_window(np.array(frame), network.num_tokens, network.output_stride, len(poses))
    positions = frame + token_offsets(network.num_tokens, network.output_stride)
    given = key_frame_mask(positions, input_stride) & (frames % input_stride == 0)
    x = np.zeros((1, network.num_tokens, 17, 3), np.float32)
    x[0, given, :, :2] = poses[frames[given]]
    x[0, given, :, 2] = 1
    return torch.from_numpy(x)


def print_clip(field: int, args: argparse.Namespace) -> None:
    """A clip from its key-frames at once, against a forward pass for every frame."""
    network = NETWORKS[field]
    model = build(network)
    lifters = {name: KeyFrameLifter(m, network.num_tokens, network.output_stride, args.batch)
               for name, m in (('float32', model), ('bfloat16', build(network).bfloat16()))}
    keypoints = np.random.default_rng(0).uniform(0, 1000, (args.clip_frames, 17, 2))
    poses = normalize_screen(keypoints.astype(np.float32), *IMAGE_SIZE)
    sample = np.unique(np.linspace(0, args.clip_frames - 1, args.clip_sample).astype(int))
    on_grid = sample % network.output_stride == 0
    print(f'\nN = {field}, {args.clip_frames} frames: CPU s of key-frames at once, and how many '
          'times that of a window per\nframe in float32, bare and through MMPose\'s test_step; '
          'largest difference on the grid')
    for stride in network.published:
        variants = {name: partial(lifter.lift, keypoints, IMAGE_SIZE, stride)
                    for name, lifter in lifters.items()}
        lifted = {name: call() for name, call in variants.items()}
        times = interleaved(variants, args.rounds)
        plain, mmpose, single = time_single_windows(network, model, poses, sample, stride)
        plain, mmpose = (seconds * args.clip_frames / len(sample) for seconds in (plain, mmpose))
        print(f'  s_in {stride:3d}   window per frame {plain:6.1f} s, test_step {mmpose:6.1f} s')
        for name, seconds in times.items():
            error = np.abs(single[on_grid] - lifted[name][sample[on_grid]]).max()
            print(f'    {name:10s} {seconds:6.2f} s   {plain / seconds:5.1f}x   '
                  f'{mmpose / seconds:5.1f}x   {error:.0e} of {np.abs(single).max():.1f}')


def time_single_windows(network: Network, model: SequencePoseLifter, poses: np.ndarray,
                        sample: np.ndarray, stride: int) -> Tuple[float, float, np.ndarray]:
    """One window for each sampled frame, batch 1, spatial part on all frames.

    Returns:
        CPU seconds with the bare network, the same through MMPose's ``test_step`` (data samples in
        and out), and the poses (n, 17, 3).
    """
    model.backbone.forward = lambda x: all_frames_features(model, x)  # as the public code does
    plain, mmpose, single = 0.0, 0.0, []
    for frame in sample:
        start = time.process_time()
        with torch.inference_mode():
            x = clip_window(network, poses, frame, stride)
            single.append(centre_poses(model, x)[0].numpy())
        plain += time.process_time() - start
        start = time.process_time()
        with torch.inference_mode():
            x = clip_window(network, poses, frame, stride)
            model.test_step(dict(inputs=[x[0]], data_samples=[PoseDataSample()]))
        mmpose += time.process_time() - start
    del model.backbone.forward
    return plain, mmpose, np.stack(single)


def run(args: argparse.Namespace) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    parts: List[str] = args.parts
    if 'cost' in parts:
        print_cost()
    for name, part in (('speed', print_speed), ('skip', print_skip), ('clip', print_clip)):
        if name in parts:
            for field in args.receptive_fields:
                part(field, args)
