#!/usr/bin/env python
"""Average the weights of some checkpoints of one training, for example of its last ten."""

import argparse
from pathlib import Path
from typing import Optional, Sequence

from mmpose_lift.apis.command_line import one_line_errors
from mmpose_lift.engine.checkpoint_averaging import average_checkpoints


def main(argv: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoints', nargs='+', type=Path, metavar='CKPT',
                        help='files of tools/train.py, all of one model')
    parser.add_argument('--out', required=True, type=Path,
                        help='file to write: .pth or .safetensors')
    args = parser.parse_args(argv)
    with one_line_errors():
        average_checkpoints(args.checkpoints, args.out)
    print(f'{args.out}: mean of {len(args.checkpoints)} checkpoints')


if __name__ == '__main__':
    main()
