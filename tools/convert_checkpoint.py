"""Convert a checkpoint of a paper's authors into one that this package loads."""

import argparse
import sys
from typing import Optional, Sequence

from mmpose_lift.io.checkpoint import SYSTEMS, convert_checkpoint, save_checkpoint


def main(argv: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('system', choices=sorted(SYSTEMS), help='the model the checkpoint is of')
    parser.add_argument('src', help='checkpoint of the authors: .bin, .pth, .h5 (Keras), .npz or '
                        '.safetensors')
    parser.add_argument('dst', help='file to write: .pth or .safetensors')
    args = parser.parse_args(argv)
    try:
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
