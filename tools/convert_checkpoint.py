"""Convert a checkpoint of a paper's authors into one that this package loads.

With --to-skeleton or --num-frames, a MixSTE of the authors or of this package becomes one for
another joint order or for shorter windows, to fine-tune from (load_from).
"""

import argparse
import sys
from typing import Optional, Sequence

from mmpose_lift.geometry.skeletons import skeleton_names
from mmpose_lift.io.adapt_checkpoint import TABLES, adapt_mixste, load_mixste
from mmpose_lift.io.checkpoint import SYSTEMS, convert_checkpoint, save_checkpoint


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('system', choices=sorted(SYSTEMS), help='the model the checkpoint is of')
    parser.add_argument('src', help='checkpoint of the authors: .bin, .pth, .h5 (Keras), .npz or '
                        '.safetensors')
    parser.add_argument('dst', help='file to write: .pth or .safetensors')
    parser.add_argument('--from-skeleton', default='h36m', metavar='NAME',
                        choices=skeleton_names(), help='joints of the source, default: %(default)s')
    parser.add_argument('--to-skeleton', metavar='NAME', choices=skeleton_names(),
                        help='joints of the new model, for example humaneva')
    parser.add_argument('--num-frames', type=int, metavar='T', help='frames of the new model')
    parser.add_argument('--reset', nargs='+', default=[], choices=TABLES,
                        help='position tables that start at zero instead')
    args = parser.parse_args(argv)
    adapt = args.to_skeleton is not None or args.num_frames is not None or args.reset
    if adapt and args.system != 'mixste':
        parser.error('--to-skeleton, --num-frames and --reset are for mixste')
    try:
        if adapt:
            state = adapt_mixste(load_mixste(args.src), args.from_skeleton,
                                 args.to_skeleton or args.from_skeleton, args.num_frames,
                                 args.reset)
        else:
            state = convert_checkpoint(args.system, args.src)
        save_checkpoint(state, args.dst, system=args.system, converted_from=args.src)
    except (OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    count = sum(tensor.numel() for tensor in state.values())
    print(f'{args.dst}: {len(state)} tensors, {count:,} parameters')
    return 0


if __name__ == '__main__':
    sys.exit(main())
