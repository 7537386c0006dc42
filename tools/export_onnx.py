#!/usr/bin/env python
"""Write a lifting model as ONNX: tools/export_onnx.py CONFIG CHECKPOINT OUT.onnx."""

import argparse
import sys
from pathlib import Path
from typing import List, Optional, Sequence

import torch
from mmengine.config import DictAction
from torch import Tensor

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.apis.clip_lifter import ClipLifter, MissingWeightsError, resolve_model
from mmpose_lift.apis.command_line import USER_ERRORS, load_config, one_line_errors
from mmpose_lift.apis.onnx_backend import example_window
from mmpose_lift.apis.onnx_export import OPSET, export_onnx

TOLERANCE = 1e-4  # metres


def parse_args(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file or alias (mixste_h36m)')
    parser.add_argument('checkpoint', nargs='?', help='trained weights; default: the published '
                        'ones, where there are any')
    parser.add_argument('out', help='file to write: .onnx')
    parser.add_argument('--check', action='store_true', help='compare ONNX Runtime with PyTorch on '
                        f'random keypoints and fail above {TOLERANCE:g} m')
    parser.add_argument('--benchmark', action='store_true',
                        help='time both, in turn, on one thread')
    parser.add_argument('--batches', type=int, nargs='+', default=[1], metavar='B',
                        help='windows per pass of --benchmark, default: 1')
    parser.add_argument('--repeats', type=int, default=3,
                        help='of --benchmark; the fastest counts, default: %(default)s')
    parser.add_argument('--random-weights', action='store_true',
                        help='export without trained weights, for --check and --benchmark')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override settings of the config')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = parse_args(argv)
    with one_line_errors((*USER_ERRORS, MissingWeightsError)):
        model = args.config
        if args.cfg_options:
            model = load_config(resolve_model(args.config)[0].filename, args.cfg_options)
        if args.benchmark:
            torch.set_num_threads(1)
        lifter = ClipLifter(model, args.checkpoint, 'cpu', allow_random_weights=args.random_weights)
        metadata = export_onnx(lifter, args.out)
        size = Path(args.out).stat().st_size / 1e6
        print(f'{args.out}: opset {OPSET}, {size:.1f} MB')
        for name, value in metadata.items():
            print(f'  {name}: {value}')
        if not (args.check or args.benchmark):
            return 0
        exported = ClipLifter(model, args.out)
    if args.benchmark:
        benchmark(lifter, exported, args.batches, args.repeats)
    return int(args.check and not check(lifter, exported))


def windows(lifter: ClipLifter, batch: int, stride: Optional[int] = None) -> Tensor:
    """Random input (B, T, J, C) of a lifter, with a key-frame every ``stride`` frames.

    Args:
        batch: Windows B.
        stride: For models that see key-frames only; 0 for windows without any.
    """
    window = example_window(lifter)
    inputs = torch.rand(batch, *window.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if lifter.sparse:
        step = stride // lifter.output_stride
        keys = torch.arange(lifter.window) % step == 0 if step else torch.zeros(lifter.window)
        inputs[..., -1] = keys[:, None]
    return inputs


def strides(lifter: ClipLifter) -> List[Optional[int]]:
    """Frames between key-frames to look at: all tokens, every second one, the config's longest."""
    if not lifter.sparse:
        return [None]
    if lifter.model.backbone.upsample_token is None:
        return [lifter.output_stride]
    return sorted({lifter.output_stride, 2 * lifter.output_stride, lifter.slow_stride})


def check(lifter: ClipLifter, exported: ClipLifter) -> bool:
    """Whether both backends agree, flip test included, for several batches and masks."""
    worst = 0.
    masks = strides(lifter)
    if len(masks) > 1:
        masks.append(0)
    for batch in (1, 3):
        for stride in masks:
            inputs = windows(lifter, batch, stride)
            error = abs(lifter.forward(inputs) - exported.forward(inputs)).max()
            worst = max(worst, float(error))
    agree = worst <= TOLERANCE
    print(f'largest difference from PyTorch: {worst:.1e} m (batches 1 and 3'
          + (f', key-frames every {masks[:-1]} frames and none' if len(masks) > 1 else '')
          + f'), {"below" if agree else "ABOVE"} {TOLERANCE:g} m')
    return agree


def benchmark(lifter: ClipLifter, exported: ClipLifter, batches: Sequence[int],
              repeats: int) -> None:
    """Print CPU seconds of one pass without flip test on both backends."""
    from benchmarks.mixste import interleaved
    print('CPU seconds of one pass, one thread  PyTorch  ONNX Runtime  PyTorch / ONNX Runtime')
    for batch in batches:
        for stride in strides(lifter):
            inputs = windows(lifter, batch, stride)
            with torch.inference_mode():
                times = interleaved(dict(torch=lambda x: lifter._network(x),
                                         onnx=lambda x: exported._network(x)), repeats, (inputs, ))
            title = f'batch {batch}' + (f', key-frames every {stride} frames' if stride else '')
            print(f'  {title:34s} {times["torch"]:8.4f} {times["onnx"]:13.4f} '
                  f'{times["torch"] / times["onnx"]:8.2f}')


if __name__ == '__main__':
    sys.exit(main())
