#!/usr/bin/env python
"""Turn an SMPL file (.pkl or .npz) into one clean .npz: tools/convert_body_model.py SRC DST.

The file is not run, and chumpy is not needed. Licensed: keep both files to yourself.
"""

import argparse
import sys
from typing import Optional, Sequence

from mmpose_lift.apis.command_line import one_line_errors
from mmpose_lift.io.body_model_file import (
    FILE_SKELETON,
    GENDERS,
    check_regressor_sides,
    read_body_model,
    write_body_model,
)


def parse_args(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', help='official SMPL file, for example '
                        'basicModel_neutral_lbs_10_207_0_v1.0.0.pkl, or an .npz')
    parser.add_argument('dst', help='file to write: .npz')
    parser.add_argument('--h36m-regressor', metavar='FILE', help='put this regressor of the 17 '
                        'joints of Human3.6M, (17, V) .npy or .npz, into the file')
    parser.add_argument('--regressor-skeleton', default=FILE_SKELETON,
                        choices=('h36m_l_first', 'h36m'),
                        help='joint order of the regressor, default: %(default)s')
    parser.add_argument('--gender', choices=GENDERS, help='fail if the body is of another gender; '
                        'stored where the file does not say')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> int:
    args = parse_args(argv)
    with one_line_errors():
        arrays, gender = read_body_model(args.src, args.gender, args.h36m_regressor,
                                         args.regressor_skeleton, num_betas=None)
        regressor = arrays.get('J_regressor_h36m')
        if regressor is not None:
            check_regressor_sides(args.h36m_regressor or args.src,
                                  regressor @ arrays['v_template'], args.regressor_skeleton)
        write_body_model(args.dst, dict(arrays, gender=gender))
    vertices, _, betas = arrays['shapedirs'].shape
    print(f'{args.dst}: {gender or "gender unknown"}, {vertices} vertices, {betas} shape '
          f'directions, {"no" if regressor is None else "with a"} regressor of the 17 joints')
    return 0


if __name__ == '__main__':
    sys.exit(main())
