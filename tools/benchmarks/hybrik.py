"""HybrIK-Transformer beside the deconvolution head it replaces, as published and with a fused
soft-argmax: time and memory of the heads and of whole models; inverse kinematics and skinning
beside loops and smplx. One CPU thread."""

import argparse
import itertools
import statistics
import time
from typing import Callable, Dict, List

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import nn

import mmpose_lift  # noqa: F401  (registration)

PARTS = ('heads', 'model', 'kinematics')
BASELINE = 'deconv, published'
PATCHES = 'transformer, patches'  # trains on some of the 64 image tokens, as published
HEADS = {
    BASELINE: dict(type='HybrIKHead', soft_argmax='published'),
    'deconv, fused': dict(type='HybrIKHead', soft_argmax='fused'),
    'transformer': dict(type='HybrIKTransformerHead', min_patch_ratio=1.),
    PATCHES: dict(type='HybrIKTransformerHead')}
WIDTH, SIDE = 512, 256  # channels of the features, pixels of the pictures
DEPTH = 34  # of the ResNet
SIZES: Dict[str, int] = {}  # of the transformer: the published ones


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--batch', nargs='+', type=int, default=[16, 64], help='of the heads')
    parser.add_argument('--model-batch', nargs='+', type=int, default=[8, 16],
                        help='of ResNet-34 with a head')
    parser.add_argument('--kinematics-batch', nargs='+', type=int, default=[64])
    parser.add_argument('--rounds', type=int, default=5,
                        help='interleaved rounds; the median of each variant counts')
    parser.add_argument('--kinematics-rounds', type=int, default=30)
    parser.add_argument('--compile', action='store_true',
                        help='inverse kinematics by torch.compile too (needs a C++ compiler)')
    parser.add_argument('--max-gib', type=float, default=12.,
                        help='leave out deconvolution heads that would need more memory')


def head_config(name: str) -> dict:
    config = dict(HEADS[name], in_channels=WIDTH, body_model='stand_in')
    if config['type'] == 'HybrIKTransformerHead':
        config.update(feat_size=SIDE // 32, **SIZES)
    return config


def build(name: str) -> nn.Module:
    """A head with random weights."""
    torch.manual_seed(0)
    return MODELS.build(head_config(name))


def estimated_gib(name: str, batch: int) -> float:
    """Memory of a training step, from the heatmaps: 7 tensors of their size, or 3."""
    tensors = {'published': 7, 'fused': 3}.get(HEADS[name].get('soft_argmax'), 0)
    return tensors * batch * 24 * 64**3 * 4 / 2**30


def affordable(batch: int, args: argparse.Namespace) -> List[str]:
    """Names of the heads to measure; says which are left out."""
    names = [name for name in HEADS if estimated_gib(name, batch) <= args.max_gib]
    for name in HEADS:
        if name not in names:
            print(f'\n{name}, batch {batch}: left out, needs about '
                  f'{estimated_gib(name, batch):.0f} GiB (--max-gib {args.max_gib:g})')
    return names


def samples(batch: int) -> List[PoseDataSample]:
    """People with random labels."""
    rng = np.random.default_rng(0)
    shapes = dict(target_uvd=(24, 3), target_beta=(10, ), target_theta=(96, ),
                  target_twist=(23, 2), target_xyz_24=(24, 3), target_xyz_17=(17, 3))
    result = []
    for _ in range(batch):
        labels = {key: torch.as_tensor(rng.uniform(-0.5, 0.5, (1, *shape)), dtype=torch.float32)
                  for key, shape in shapes.items()}
        labels.update({f'{key}_weight': torch.ones_like(labels[key]) for key in shapes})
        labels.update(target_smpl_weight=torch.ones(1, 1), root_valid=torch.ones(1, 1))
        sample = PoseDataSample(metainfo=dict(
            trans_inv=np.array([[2., 0., 200.], [0., 2., 200.]]), input_size=(256, 256),
            intrinsic_inv=np.linalg.inv([[1100., 0, 500], [0, 1100, 500], [0, 0, 1]]),
            root=np.array([0., 0., 4.]), depth_factor=2.))
        sample.gt_instance_labels = InstanceData(**labels)
        result.append(sample)
    return result


def head_steps(name: str, batch: int) -> Dict[str, Callable[[], None]]:
    """Forward pass, and training step without the optimiser, of what a head regresses.

    The geometry behind it, the same for all heads, is part of :func:`model_step`.
    """
    head = build(name)
    feats = torch.randn(batch, WIDTH, SIDE // 32, SIDE // 32)

    @torch.inference_mode()
    def forward() -> None:
        head.eval().regress((feats, ))

    def training() -> None:
        head.train().zero_grad()
        learning = feats.clone().requires_grad_()  # the backbone needs its gradient
        outputs = head.regress((learning, ))
        sum(value.square().sum() for value in outputs.values() if value.requires_grad).backward()

    return dict(forward=forward, training=training)


def model_step(name: str, batch: int) -> Callable[[], None]:
    """Training step without the optimiser: ResNet, head, inverse kinematics and losses."""
    torch.manual_seed(0)
    model = MODELS.build(dict(type='BodyMeshEstimator', backbone=dict(type='ResNet', depth=DEPTH),
                              head=head_config(name)))
    model.train()
    images, data_samples = torch.randn(batch, 3, SIDE, SIDE), samples(batch)

    def step() -> None:
        model.zero_grad()
        losses = model(images, data_samples, mode='loss')
        sum(value for key, value in losses.items() if key.startswith('loss')).backward()

    return step


def median_seconds(variants: Dict[str, Callable], rounds: int) -> Dict[str, float]:
    """Median CPU seconds of each variant over rounds in which every variant runs once.

    The random numbers (dropout, how many patches are kept) differ between rounds, and are the same
    for all variants of a round.
    """
    for call in variants.values():
        call()
    seconds: Dict[str, List[float]] = {name: [] for name in variants}
    for i in range(rounds):
        for name, call in variants.items():
            torch.manual_seed(i)
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_mib(call: Callable[[], None]) -> float:
    """Most memory of the tensors that a call allocates, in MiB.

    Allocations are added up rather than the process's memory read: that depends on how the
    allocator keeps freed blocks. A training step's activations and gradients are counted, those of
    the weights too; weights and inputs are not.
    """
    torch.manual_seed(0)
    with torch.profiler.profile(profile_memory=True) as profiler:
        call()
    changes = sorted((event.start_ns(), event.nbytes())
                     for event in profiler.profiler.kineto_results.events()
                     if event.name() == '[memory]')
    return max(itertools.accumulate(change for _, change in changes)) / 2**20


def print_table(title: str, seconds: Dict[str, float], mib: Dict[str, float]) -> None:
    """Time and memory of each variant, and how many times less than both baselines."""
    print(f'\n{title:34s}  CPU s  against published  fused     MiB  against published  fused')
    for name in seconds:
        print(f'  {name:32s} {seconds[name]:6.2f}' + _ratios(name, seconds)
              + (f' {mib[name]:7.0f}' + _ratios(name, mib) if name in mib else ''))


def _ratios(name: str, values: Dict[str, float]) -> str:
    published, fused = (f'{values[base] / values[name]:.2f}x' if base in values else '-'
                        for base in list(HEADS)[:2])
    return f'  {published:>17s}  {fused:>5s}'


def measure(title: str, steps: Dict[str, Callable], rounds: int) -> None:
    """Print a table. Memory with fewer patches is left out: a step may keep all of them."""
    seconds = median_seconds(steps, rounds)
    print_table(title, seconds,
                {name: peak_mib(step) for name, step in steps.items() if name != PATCHES})


def print_heads(args: argparse.Namespace) -> None:
    print('\nparameters: ' + ', '.join(
        f'{name} {sum(p.numel() for p in build(name).parameters()):,}' for name in HEADS))
    for batch in args.batch:
        steps = {name: head_steps(name, batch) for name in affordable(batch, args)}
        measure(f'head, forward, batch {batch}',
                {name: step['forward'] for name, step in steps.items() if name != PATCHES},
                args.rounds)
        measure(f'head, training, batch {batch}',
                {name: step['training'] for name, step in steps.items()}, args.rounds)


def print_models(args: argparse.Namespace) -> None:
    for batch in args.model_batch:
        measure(f'ResNet-{DEPTH} model, training, batch {batch}',
                {name: model_step(name, batch) for name in affordable(batch, args)}, args.rounds)
    print('\n  wanted of the transformer: training step 1.4x faster, peak memory 2.3x less than '
          'published;\n  the paper claims 23 % less time per epoch (1.3x) and half the memory')


def print_kinematics(args: argparse.Namespace) -> None:
    from . import kinematics  # needs the extra 'mesh' (smplx), the other parts do not

    for batch in args.kinematics_batch:
        for title, wanted, compare, options in (
                ('inverse kinematics', '3x, compiled 7x', kinematics.compare_inverse_kinematics,
                 dict(compiled=args.compile)),
                ('skinning', '1.8x', kinematics.compare_skinning, {}),
                ('17 joints only', '15x', kinematics.compare_joints_only, {})):
            print(f'\n{title}, batch {batch} (wanted at batch 64: {wanted})')
            for name, value in compare(batch, args.kinematics_rounds, **options).items():
                print(f'  {name:32s} {value:8.3g}')


def run(args: argparse.Namespace) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    for name, part in (('heads', print_heads), ('model', print_models),
                       ('kinematics', print_kinematics)):
        if name in args.parts:
            part(args)
