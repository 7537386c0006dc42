"""AMPose: size and operations beside the published ones, time against graph convolutions written as
1x1 convolution and sum over neighbours (ST-GCN's form), share of that sum; one CPU thread."""

import argparse
from copy import deepcopy
from typing import Callable, Dict

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.models import SequencePoseLifter
from mmpose_lift.models.backbones.ampose import GraphBlock
from mmpose_lift.models.cost import ampose_cost
from mmpose_lift.models.layers import GraphConvolution, aggregation_matrix

from .mixste import interleaved

PARTS = ('cost', 'forward', 'training', 'share')
SIZES: Dict[str, int] = {}  # the published model

# Name, sizes, parameters and operations in millions as the paper prints them.
PUBLISHED = (('proposed', dict(), 18.3, 312.2),
             ('two residual', dict(gcn_design='two_residual'), 18.5, 312.2),
             ('Transformer', dict(gcn_design='transformer'), 17.0, 289.8),
             ('ConvNeXt', dict(gcn_design='convnext'), 17.0, 289.9),
             ('small, 16 joints', dict(num_keypoints=16, embed_dims=96), 0.67, None),
             ('full, 16 joints', dict(num_keypoints=16), 18.3, None))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=PARTS)
    parser.add_argument('--batches', nargs='+', type=int, default=[1, 128])
    parser.add_argument('--rounds', type=int, default=60,
                        help='interleaved rounds of one pose, fewer for larger batches (at least '
                        '3); the fastest of each variant counts')


def build(**sizes) -> SequencePoseLifter:
    """The model with random weights and random statistics of its batch norms."""
    torch.manual_seed(0)
    sizes = {**SIZES, **sizes}
    joints = sizes.get('num_keypoints', 17)
    model = MODELS.build(dict(
        type='SequencePoseLifter',
        backbone=dict(type='AMPose', **sizes),
        head=dict(type='LiftingHead', in_channels=sizes.get('embed_dims', 512), norm=False,
                  num_keypoints=joints, loss=dict(type='AMPoseLoss'))))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


class ConvolutionForm(nn.Module):
    """A graph block as ST-GCN writes it: 1x1 convolution to 3C channels, then neighbours summed.

    The bias of our form, one vector after the sum, is moved into the mean of the batch norm.
    """

    def __init__(self, block: GraphBlock, adjacency: Tensor) -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        self.adjacency = adjacency
        for conv, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2)):
            self._append(conv, norm)

    @torch.no_grad()
    def _append(self, conv: GraphConvolution, norm: nn.BatchNorm1d) -> None:
        groups, in_dims, out_dims = conv.theta.shape
        self.convs.append(nn.Conv2d(in_dims, groups * out_dims, 1, bias=False))
        self.convs[-1].weight.copy_(conv.theta.transpose(1, 2).reshape(-1, in_dims, 1, 1))
        self.norms.append(nn.BatchNorm2d(out_dims))
        self.norms[-1].load_state_dict(norm.state_dict())
        self.norms[-1].running_mean -= conv.bias

    def forward(self, x: Tensor, _: Tensor) -> Tensor:
        x = x.transpose(1, 2)[:, :, None]  # [N, J, C] -> [N, C, 1, J]
        hidden = self._convolve(0, x)
        return (hidden + self._convolve(1, hidden))[:, :, 0].transpose(1, 2)

    def _convolve(self, i: int, x: Tensor) -> Tensor:
        grouped = self.convs[i](x).unflatten(1, (len(self.adjacency), -1))
        return self.norms[i](torch.einsum('nkctj,kij->ncti', grouped, self.adjacency)).relu()


def convolution_form(model: SequencePoseLifter) -> SequencePoseLifter:
    """The same function with every graph block as :class:`ConvolutionForm`; the rest stays."""
    model = deepcopy(model)
    net = model.backbone
    for i, block in enumerate(net.gcn_blocks):
        net.gcn_blocks[i] = ConvolutionForm(block, net.adjacency.clone()).train(model.training)
    return model


def folded(model: SequencePoseLifter) -> SequencePoseLifter:
    model = deepcopy(model)
    model.backbone.fold_batch_norm()
    return model


def low(model: SequencePoseLifter) -> SequencePoseLifter:
    model = deepcopy(model).bfloat16()
    for block in model.backbone.gcn_blocks:
        if isinstance(block, ConvolutionForm):
            block.adjacency = block.adjacency.bfloat16()
    return model


def lift(model: SequencePoseLifter, x: Tensor) -> Tensor:
    return model(x, None, mode='tensor')


def forward_variants(model: SequencePoseLifter) -> Dict[str, Callable[[Tensor], Tensor]]:
    """Name to a function of the input, without gradients."""
    conv = convolution_form(model)
    models = {'conv2d fp32': conv, 'fp32': model, 'fp32 folded': folded(model),
              'conv2d bf16': low(conv), 'bf16': low(model), 'bf16 folded': low(folded(model))}
    return {name: lambda x, m=m: lift(m, x) for name, m in models.items()}


def rounds_for(batch: int, args: argparse.Namespace) -> int:
    return max(args.rounds // batch, min(args.rounds, 3))


def print_cost() -> None:
    """Parameters and operations of the published sizes."""
    print('\nmillions              parameters  published          operations  published          '
          'all multiply-adds')
    for name, sizes, parameters, operations in PUBLISHED:
        count = sum(p.numel() for p in build(**sizes).parameters()) / 1e6
        sizes = {k: v for k, v in {**SIZES, **sizes}.items() if k != 'num_heads'}
        cost = ampose_cost(**sizes)
        beside = ' ' * 18 if operations is None else (
            f'{operations:9.1f} {100 * (cost.published / 1e6 / operations - 1):+6.2f} %')
        print(f'  {name:18s}  {count:10.3f}  {parameters:9.2f} '
              f'{100 * (count / parameters - 1):+6.2f} %  {cost.published / 1e6:10.2f}  '
              f'{beside}  {cost.multiply_adds / 1e6:17.2f}')


@torch.inference_mode()
def print_forward(model: SequencePoseLifter, batch: int, args: argparse.Namespace) -> None:
    variants = forward_variants(model)
    x = torch.randn(batch, 1, model.backbone.num_keypoints, 2)
    reference = variants['conv2d fp32'](x)
    errors = {name: (call(x).float() - reference).abs().max() / reference.abs().max()
              for name, call in variants.items()}
    times = interleaved({name: lambda c=call: c(x) for name, call in variants.items()},
                        rounds_for(batch, args))
    print(f'\nforward, batch {batch:4d}      CPU ms   against conv2d fp32   largest difference')
    for name, seconds in times.items():
        print(f'  {name:20s} {seconds * 1e3:8.2f}   {times["conv2d fp32"] / seconds:.2f}x   '
              f'{errors[name]:.0e}')


def print_training(model: SequencePoseLifter, batch: int, args: argparse.Namespace) -> None:
    """Forward pass, loss and backward pass, without the optimiser."""
    joints = model.backbone.num_keypoints
    x, target = torch.randn(batch, 1, joints, 2), torch.randn(batch, 1, joints, 3)

    def step(model: SequencePoseLifter) -> Callable[[], None]:
        model = deepcopy(model).train()

        def run() -> None:
            model.zero_grad()
            model.head.loss_module(lift(model, x), target)['loss_pose3d'].backward()
        return run

    times = interleaved({'conv2d fp32': step(convolution_form(model)), 'fp32': step(model)},
                        rounds_for(batch, args))
    print(f'\ntraining, batch {batch:4d}     CPU ms   against conv2d fp32')
    for name, seconds in times.items():
        print(f'  {name:20s} {seconds * 1e3:8.2f}   {times["conv2d fp32"] / seconds:.2f}x')


@torch.inference_mode()
def print_share(model: SequencePoseLifter, batch: int, args: argparse.Namespace) -> None:
    """Time of the sums over neighbours in a graph block, called as the block calls them."""
    net = model.backbone
    block, encoder = net.gcn_blocks[0], net.encoders[0]
    matrix = aggregation_matrix(net.adjacency)
    x = torch.randn(batch, net.num_keypoints, net.joint_embed.out_features)

    times = interleaved({
        'encoder': lambda: encoder(x), 'graph block': lambda: block(x, matrix),
        'its two sums over neighbours': lambda: (matrix.expand(batch, -1, -1) @ x,
                                                 matrix.expand(batch, -1, -1) @ x)},
        rounds_for(batch, args))
    print(f'\nfp32, batch {batch:4d}                 CPU ms   of the graph block')
    for name, seconds in times.items():
        print(f'  {name:30s} {seconds * 1e3:6.2f}   {100 * seconds / times["graph block"]:5.1f} %')


def run(args: argparse.Namespace) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    if 'cost' in args.parts:
        print_cost()
    model = build()
    for name, part in (('forward', print_forward), ('training', print_training),
                       ('share', print_share)):
        if name in args.parts:
            for batch in args.batches:
                part(model, batch, args)
