"""MixSTE's cost against the plain eager form of the same network, on one CPU thread."""

import argparse
import itertools
import subprocess
import sys
import time
from typing import Callable, Dict

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.models import SequencePoseLifter
from mmpose_lift.models.layers import TransformerBlock

FORWARD = ('eager fp32', 'fp32', 'eager bf16 autocast', 'bf16 autocast', 'bf16 weights', 'int8')
TRAINING = ('eager fp32', 'fp32', 'eager bf16 autocast', 'bf16 autocast', 'fp32 checkpointed',
            'bf16 autocast checkpointed')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--frames', type=int, default=243, help='window length')
    parser.add_argument('--embed-dims', type=int, default=512)
    parser.add_argument('--depth', type=int, default=8)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=3,
                        help='interleaved rounds; the fastest of each variant counts')
    parser.add_argument('--skip-training', action='store_true')
    parser.add_argument('--compile', action='store_true',
                        help='add torch.compile variants (needs a C++ compiler)')
    parser.add_argument('--memory', action='store_true',
                        help='peak memory of a training step, one process per variant')
    parser.add_argument('--memory-of', help=argparse.SUPPRESS)


def build(args: argparse.Namespace) -> SequencePoseLifter:
    """The model with random weights, position tables included."""
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='SequencePoseLifter',
        backbone=dict(type='MixSTE', num_frames=args.frames, embed_dims=args.embed_dims,
                      depth=args.depth),
        head=dict(type='LiftingHead', in_channels=args.embed_dims, num_keypoints=17)))
    for table in (model.backbone.spatial_pos_embed, model.backbone.temporal_pos_embed):
        nn.init.normal_(table, std=0.02)
    return model


def eager_forward(model: SequencePoseLifter, x: Tensor) -> Tensor:
    """The network written step by step, axes regrouped before every block, softmax spelled out.

    Args:
        model: Gives the weights.
        x: (B, T, J, 2).

    Returns:
        (B, T, J, 3).
    """
    net = model.backbone
    batch, frames, joints, channels = x.shape
    x = net.joint_embed(x.reshape(batch * frames, joints, channels)) + net.spatial_pos_embed
    for i, (spatial, temporal) in enumerate(zip(net.spatial_blocks, net.temporal_blocks)):
        x = net.spatial_norm(_eager_block(spatial, x))
        x = x.reshape(batch, frames, joints, -1).permute(0, 2, 1, 3).reshape(
            batch * joints, frames, -1)
        if i == 0:
            x = x + net.temporal_pos_embed
        x = net.temporal_norm(_eager_block(temporal, x))
        x = x.reshape(batch, joints, frames, -1).permute(0, 2, 1, 3).reshape(
            batch * frames, joints, -1)
    return model.head.fc(model.head.norm(x)).reshape(batch, frames, joints, -1)


def _eager_block(block: TransformerBlock, x: Tensor) -> Tensor:
    rows, length, dims = x.shape
    attn = block.attn
    qkv = attn.qkv(block.norm1(x)).reshape(rows, length, 3, attn.num_heads, dims // attn.num_heads)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)
    weights = ((query @ key.transpose(-2, -1)) * attn.scale).softmax(dim=-1)
    out = (weights @ value).transpose(1, 2).reshape(rows, length, dims)
    x = x + block.drop_path(attn.proj(out))
    return x + block.drop_path(block.mlp(block.norm2(x)))


def tensor_forward(model: nn.Module, x: Tensor) -> Tensor:
    return model(x, None, mode='tensor')


def autocast(call: Callable) -> Callable:
    def run(*inputs):
        with torch.autocast('cpu', torch.bfloat16):
            return call(*inputs)
    return run


def multiply_adds(args: argparse.Namespace, joints: int = 17) -> Dict[str, float]:
    """Million multiply-adds per frame: linear layers, attention products, norms."""
    width, blocks = args.embed_dims, 2 * args.depth
    hidden = 2 * width
    linear = joints * (2 * width + blocks * (4 * width**2 + 2 * width * hidden) + 3 * width)
    attention = joints * args.depth * 2 * width * (joints + args.frames)
    norms = joints * width * (3 * blocks + 1) * 5  # mean, variance, scale and shift
    return dict(linear=linear / 1e6, attention=attention / 1e6, norms=norms / 1e6)


def forward_variants(model: SequencePoseLifter, args: argparse.Namespace) -> Dict[str, Callable]:
    """Name to a function of the input, without gradients."""
    low = build(args).eval().bfloat16()
    variants = {
        'eager fp32': lambda x: eager_forward(model, x),
        'fp32': lambda x: tensor_forward(model, x),
        'eager bf16 autocast': autocast(lambda x: eager_forward(model, x)),
        'bf16 autocast': autocast(lambda x: tensor_forward(model, x)),
        'bf16 weights': lambda x: tensor_forward(low, x)}
    int8 = torch.ao.quantization.quantize_dynamic(build(args).eval(), {nn.Linear})
    variants['int8'] = lambda x: tensor_forward(int8, x)
    if args.compile:
        compiled = torch.compile(lambda x: tensor_forward(model, x))
        variants['fp32 compiled'] = compiled
    return variants


def training_variants(model: SequencePoseLifter,
                      args: argparse.Namespace) -> Dict[str, Callable]:
    """Name to a function of input and target that runs forward, loss and backward."""
    def step(forward: Callable, with_cp: bool = False) -> Callable:
        def run(x: Tensor, target: Tensor) -> Tensor:
            model.backbone.with_cp = with_cp
            model.zero_grad()
            pred = forward(model, x)
            loss = model.head.loss_module(pred.float(), target)['loss_pose3d']
            loss.backward()
            return loss.detach()
        return run

    variants = {
        'eager fp32': step(eager_forward), 'fp32': step(tensor_forward),
        'eager bf16 autocast': step(autocast(eager_forward)),
        'bf16 autocast': step(autocast(tensor_forward)),
        'fp32 checkpointed': step(tensor_forward, True),
        'bf16 autocast checkpointed': step(autocast(tensor_forward), True)}
    if args.compile:
        compiled = torch.compile(tensor_forward)
        variants['fp32 compiled'] = step(compiled)
        variants['bf16 autocast compiled'] = step(autocast(compiled))
    return variants


def interleaved(variants: Dict[str, Callable], repeats: int,
                inputs: tuple = ()) -> Dict[str, float]:
    """Least CPU seconds of each variant over rounds in which every variant runs once."""
    for call in variants.values():
        call(*inputs)
    best = dict.fromkeys(variants, float('inf'))
    for _ in range(repeats):
        for name, call in variants.items():
            start = time.process_time()
            call(*inputs)
            best[name] = min(best[name], time.process_time() - start)
    return best


def print_times(title: str, times: Dict[str, float]) -> None:
    print(f'\n{title:32s} CPU s   against eager fp32')
    for name, seconds in times.items():
        print(f'  {name:30s} {seconds:5.2f}   {times["eager fp32"] / seconds:.2f}x')


def peak_memory(args: argparse.Namespace) -> None:
    """Run one training step of ``args.memory_of`` and print its peak in MiB, weights included.

    Tensor allocations are added up rather than the process's memory read: that depends on how the
    allocator keeps freed blocks.
    """
    model = build(args).train()
    x, target = torch.randn(args.batch, args.frames, 17, 2), torch.randn(
        args.batch, args.frames, 17, 3)
    step = training_variants(model, args)[args.memory_of]
    if 'compiled' in args.memory_of:
        step(x, target)  # compile outside the measurement
        model.zero_grad()
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    with torch.profiler.profile(profile_memory=True) as profiler:
        step(x, target)
    changes = sorted((event.start_ns(), event.nbytes())
                     for event in profiler.profiler.kineto_results.events()
                     if event.name() == '[memory]')
    peak = max(itertools.accumulate(change for _, change in changes))
    print((weights + peak) / 2**20)


def print_memory(args: argparse.Namespace) -> None:
    names = TRAINING + (('fp32 compiled', 'bf16 autocast compiled') if args.compile else ())
    peaks = {}
    for name in names:
        command = [sys.executable, __file__, '--frames', str(args.frames), '--embed-dims',
                   str(args.embed_dims), '--depth', str(args.depth), '--batch', str(args.batch),
                   '--memory-of', name] + (['--compile'] if args.compile else [])
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[name] = float(result.stdout.split()[-1])
    print('\npeak of one training step           MiB   of eager fp32')
    for name, peak in peaks.items():
        print(f'  {name:30s} {peak:6.0f}   {peak / peaks["eager fp32"]:.2f}')


def run(args: argparse.Namespace) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    if args.memory_of:
        peak_memory(args)
        return
    model = build(args)
    x, target = torch.randn(args.batch, args.frames, 17, 2), torch.randn(
        args.batch, args.frames, 17, 3)
    cost = multiply_adds(args)
    count = sum(p.numel() for p in model.parameters())
    print(f'MixSTE, {args.frames} frames, width {args.embed_dims}, depth {args.depth}, batch '
          f'{args.batch}: {count:,} parameters')
    print(f'{sum(cost.values()):.1f} M multiply-adds per frame ('
          + ', '.join(f'{name} {value:.1f}' for name, value in cost.items())
          + f'); in the published convention, attention counted twice: '
          f'{sum(cost.values()) + cost["attention"]:.1f}')
    model.eval()
    with torch.inference_mode():
        variants = forward_variants(model, args)
        reference = variants['eager fp32'](x)
        for name, call in variants.items():
            error = (call(x).float() - reference).abs().max() / reference.abs().max()
            print(f'  {name:30s} largest difference {error:.1e} of the largest output')
        print_times('forward', interleaved(variants, args.repeats, (x, )))
    if not args.skip_training:
        model.train()
        print_times('training step', interleaved(training_variants(model, args), args.repeats,
                                                 (x, target)))
    if args.memory:
        print_memory(args)


if __name__ == '__main__':
    argument_parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(argument_parser)
    run(argument_parser.parse_args())
