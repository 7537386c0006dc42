"""MPT: what drawing heatmaps costs beside a training step, the transformer beside METRO's eager
form, how busy loader workers are, and the parameters of table 1. One CPU thread."""

import argparse
import math
import tempfile
import time
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Callable, Dict, Optional, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS
from torch import Tensor, nn

from mmpose_lift.io.body_motion import BodyMotion, write_body_motion
from mmpose_lift.io.metro_checkpoint import hrnet_extra
from mmpose_lift.models.cost import metro_parameters
from mmpose_lift.models.heatmap_synthesis import draw_heatmaps

from .hybrik import median_seconds, peak_mib

PARTS = ('synthesis', 'step', 'loader', 'table')
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
REAL = CONFIGS / 'mpt_pretrain.py'
SMALL = CONFIGS / 'demo_mpt.py'
WORKERS = 2
OURS, EAGER = 'ours', 'METRO-like, eager'
M = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--batch', type=int, default=64, help='of the heatmaps')
    parser.add_argument('--step-batch', type=int, default=8, help='of the training step; on a CPU '
                        '64 take minutes a step')
    parser.add_argument('--rounds', type=int, default=3,
                        help='interleaved rounds; the median of each variant counts')
    parser.add_argument('--motion', type=Path, help='folder of body motion; default: made-up files')


# ------------------------------------------------------------------ the eager form


class EagerLayer(nn.Module):
    """A BERT layer as METRO's public code runs it: three projections, explicit softmax, everything
    kept for the backward pass; weights and results are those of ``BertLayer``."""

    def __init__(self, dims: int, num_heads: int, hidden_dims: int, drop_rate: float,
                 attn_drop_rate: float, norm_eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value = (nn.Linear(dims, dims) for _ in range(3))
        self.attn_drop, self.drop = nn.Dropout(attn_drop_rate), nn.Dropout(drop_rate)
        self.dense = nn.Linear(dims, dims)
        self.norm1, self.norm2 = (nn.LayerNorm(dims, eps=norm_eps) for _ in range(2))
        self.intermediate, self.output = nn.Linear(dims, hidden_dims), nn.Linear(hidden_dims, dims)

    def forward(self, x: Tensor) -> Tensor:
        def heads(y: Tensor) -> Tensor:  # [B, N, C] -> [B, H, N, D]
            return y.view(*y.shape[:2], self.num_heads, -1).permute(0, 2, 1, 3)

        query, key, value = heads(self.query(x)), heads(self.key(x)), heads(self.value(x))
        scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1])
        scores = scores + scores.new_zeros(len(x), 1, 1, x.shape[1])  # a mask that hides nothing
        context = torch.matmul(self.attn_drop(scores.softmax(-1)), value)
        context = context.permute(0, 2, 1, 3).contiguous().view(x.shape)
        x = self.norm1(self.drop(self.dense(context)) + x)
        hidden = self.intermediate(x)
        hidden = hidden * 0.5 * (1.0 + torch.erf(hidden / math.sqrt(2.0)))
        return self.norm2(self.drop(self.output(hidden)) + x)


def eager_form(transformer: nn.Module) -> nn.Module:
    """A transformer with the same weights whose layers are :class:`EagerLayer`."""
    for block in transformer.blocks:
        for i, layer in enumerate(block.layers):
            dims, hidden = layer.mlp.fc1.in_features, layer.mlp.fc1.out_features
            eager = EagerLayer(dims, layer.attn.num_heads, hidden, layer.drop.p,
                               layer.attn.attn_drop_rate, layer.norm1.eps)
            pairs = [(eager.dense, layer.attn.proj), (eager.norm1, layer.norm1),
                     (eager.norm2, layer.norm2), (eager.intermediate, layer.mlp.fc1),
                     (eager.output, layer.mlp.fc2)]
            for mine, theirs in pairs:
                mine.load_state_dict(theirs.state_dict())
            with torch.no_grad():
                for j, mine in enumerate((eager.query, eager.key, eager.value)):
                    rows = slice(j * dims, (j + 1) * dims)
                    mine.weight.copy_(layer.attn.qkv.weight[rows])
                    mine.bias.copy_(layer.attn.qkv.bias[rows])
            block.layers[i] = eager
    return transformer


# ------------------------------------------------------------------ what is measured


def load(path: Path) -> Config:
    """A config with the stand-in body, so that no licensed file is needed."""
    init_default_scope('mmpose')
    config = Config.fromfile(path)
    for part in (config.model.data_preprocessor, config.model.head):
        part.body_model = 'stand_in'
    return config


def build(config: Config, form: str = OURS) -> nn.Module:
    """The model of a config with random weights, ready to train."""
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    if form == EAGER:
        eager_form(model.head.transformer)
    return model.train()


def write_motion(folder: Path, files: int = 20, frames: int = 400) -> Path:
    """Made-up files in AMASS's layout."""
    rng = np.random.default_rng(0)
    for i in range(files):
        poses = 0.2 * rng.standard_normal((frames, 72))
        write_body_motion(folder / f'{i}.npz', BodyMotion(
            poses, np.zeros(10), np.zeros((frames, 3)), 100.))
    return folder


def dataset_of(config: Config, motion: Path):
    """The training set of a config, on other files."""
    given = config.train_dataloader.dataset
    return DATASETS.build(dict(type=given.type, views=given.views, ann_file=str(motion)))


def samples(dataset, batch: int) -> dict:
    """A batch as the loader gives it."""
    return pseudo_collate([dataset[i] for i in range(batch)])


def training_step(model: nn.Module, data: dict,
                  half: bool = False) -> Callable[[], None]:
    """Forward and backward pass, without preprocessor and optimiser."""
    def step() -> None:
        model.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=half):
            losses = model(data['inputs'], data['data_samples'], mode='loss')
        sum(value for key, value in losses.items() if key.startswith('loss')).backward()

    return step


def synthesis(config: Config, dataset, batch: int) -> Dict[str, Callable[[], None]]:
    """Drawing alone, and all that the preprocessor does: poses, cameras, crops, maps, labels."""
    preprocessor = MODELS.build(config.model.data_preprocessor)
    data, size = samples(dataset, batch), preprocessor.heatmap_size
    points = size * torch.rand(batch, 17, 2, generator=torch.Generator().manual_seed(0))
    return {'maps': lambda: draw_heatmaps(points, size, 2.0),
            'preprocessor': lambda: preprocessor(data, training=True)}


def worker_seconds(dataset, batch: int, rounds: int) -> float:
    """CPU seconds of a loader worker per sample: read, collate, pickle for the main process."""
    def work() -> None:
        ForkingPickler.dumps(samples(dataset, batch))

    return median_seconds(dict(work=work), rounds)['work'] / batch


# ------------------------------------------------------------------ tables


def print_synthesis(args: argparse.Namespace, motion: Path) -> None:
    config = load(REAL)
    dataset, model = dataset_of(config, motion), build(load(REAL))
    small = model.data_preprocessor(samples(dataset, args.step_batch), training=True)
    variants = synthesis(config, dataset, args.batch)
    seconds = median_seconds({**variants, 'step': training_step(model, small),
                              'step, bfloat16': training_step(model, small, half=True)},
                             args.rounds)
    size = config.model.data_preprocessor.heatmap_size
    print(f'\nheatmap synthesis, 17 maps of {size} pixels, batch {args.batch}; training step '
          f'in batches of {args.step_batch}: CPU ms per sample')
    for name, value in seconds.items():
        print(f'  {name:34s} '
              f'{1000 * value / (args.step_batch if "step" in name else args.batch):8.2f}')
    print('\nshare of the training step (wanted of the maps: below 5 %)')
    for name in variants:
        shares = [100 * seconds[name] / args.batch / (seconds[step] / args.step_batch)
                  for step in ('step', 'step, bfloat16')]
        print(f'  {name:34s} float32 {shares[0]:6.2f} %   bfloat16 {shares[1]:6.2f} %')


def print_step(args: argparse.Namespace, motion: Path) -> None:
    config = load(REAL)
    models = {form: build(config, form) for form in (EAGER, OURS)}
    counts = {sum(p.numel() for p in model.parameters()) for model in models.values()}
    assert len(counts) == 1, counts
    data = models[OURS].data_preprocessor(samples(dataset_of(config, motion), args.step_batch),
                                          training=True)
    print(f'\ntraining step, batch {args.step_batch}, {counts.pop():,} parameters    CPU s  '
          'times less      MiB  times less')
    for precision in ('float32', 'bfloat16'):
        steps = {form: training_step(model, data, precision == 'bfloat16')
                 for form, model in models.items()}
        seconds = median_seconds(steps, args.rounds)
        mib = {form: peak_mib(step) for form, step in steps.items()}
        for form in models:
            print(f'  {form + ", " + precision:46s} {seconds[form]:7.2f}  '
                  f'{seconds[EAGER] / seconds[form]:10.2f}  {mib[form]:7.0f}  '
                  f'{mib[EAGER] / mib[form]:10.2f}')


def print_loader(args: argparse.Namespace, motion: Path) -> None:
    print(f'\nloader workers ({WORKERS})            ms per sample  samples/s of both  '
          'training takes samples/s  busy')
    for name, path, batch in (('small network', SMALL, 32), ('real sizes', REAL, args.step_batch)):
        config = load(path)
        dataset, model = dataset_of(config, motion), build(config)
        batched = samples(dataset, batch)

        def train(model=model, batched=batched) -> None:
            training_step(model, model.data_preprocessor(batched, training=True), half=True)()

        eats = batch / median_seconds(dict(train=train), args.rounds)['train']
        worker = worker_seconds(dataset, batch, max(args.rounds, 10))
        print(f'  {name:28s} {1000 * worker:14.3f}  {WORKERS / worker:17.0f}  {eats:24.1f}  '
              f'{100 * eats * worker / WORKERS:.2f} %')


def networks_2d() -> Dict[str, Tuple[nn.Module, ...]]:
    """METRO's image backbone, and the 2D networks whose heatmaps MPT reads."""
    def hrnet(width: int, all_branches: bool = False) -> nn.Module:
        extra = hrnet_extra(width)
        extra['stage4']['multiscale_output'] = all_branches
        return MODELS.build(dict(type='HRNet', in_channels=3, extra=extra))

    networks = {'HRNet-W64 (METRO)': (hrnet(64, True), MODELS.build(
        dict(type='HRNetMergeNeck', in_channels=[64, 128, 256, 512])))}
    networks.update({f'HigherHRNet-W{width}': (
        hrnet(width), MODELS.build(dict(type='HigherHRNetHead', in_channels=width)))
        for width in (32, 48)})
    networks['SimpleBaseline ResNet-101'] = (
        MODELS.build(dict(type='ResNet', depth=101)),
        MODELS.build(dict(type='HeatmapHead', in_channels=2048, out_channels=17)))
    return networks


def count(*modules: Optional[nn.Module]) -> float:
    """Million parameters."""
    return sum(p.numel() for module in modules if module for p in module.parameters()) / M


def print_table(args: argparse.Namespace, motion: Path) -> None:
    published = {'METRO, published': (128, 102, '54.0 / 36.7'),
                 'MPT, published': (28, 102, '45.3 / 31.7')}
    with torch.device('meta'):  # shapes are enough
        head, networks = build(load(REAL)).head, networks_2d()
    metro, mpt = (metro_parameters(hidden_dims=dims)
                  for dims in ((1024, 256, 128), (1024, 256, 64)))
    print('\ntable 1, million parameters         2D network  transformer  with unused tables  '
          'H36M MPJPE / PA-MPJPE')
    for name, (first, second, score) in published.items():
        print(f'  {name:34s} {first:9.0f}  {"":11s}  {second:18.0f}  {score}')
    for name, modules in networks.items():
        used = metro.transformer / M if 'METRO' in name else count(head.transformer)
        tables = (metro if 'METRO' in name else mpt).as_built / M
        print(f'  {name:34s} {count(*modules):9.1f}  {used:11.1f}  {tables:18.1f}')
    print("  Only the public code has the unused tables. HRNet-W64: with ImageNet's classifier "
          '2.0 more.')
    parts = dict(stem=(head.stem, head.grid_proj, head.query_proj), upsampling=(head.upsample, ),
                 camera=(head.cam_fc1, head.cam_fc2, head.cam_fc3))
    print('  ours beside the transformer: ' + ', '.join(
        f'{name} {count(*modules):.2f}' for name, modules in parts.items()))


def run(args: argparse.Namespace) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    printers = dict(synthesis=print_synthesis, step=print_step, loader=print_loader,
                    table=print_table)
    with tempfile.TemporaryDirectory() as folder:
        motion = args.motion or write_motion(Path(folder))
        for part in args.parts:
            start = time.perf_counter()
            printers[part](args, motion)
            print(f'  ({part}: {time.perf_counter() - start:.0f} s)')
