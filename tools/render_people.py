#!/usr/bin/env python
"""Render people (stand-in bodies, no photographs) as a data set for 2D models or for mesh systems.

Writes OUT/train/*.jpg, OUT/val/*.jpg, OUT/train.json and OUT/val.json: COCO keypoints of one to
three people per picture, or (--labels mesh) joints, pose, shape and twists of one person in the
layout of HybrIK's Human3.6M files. A stopped run goes on when it is called again with the same
arguments.
"""

import argparse
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmpose_lift.apis.command_line import one_line_errors
from mmpose_lift.datasets.rendered_people import RenderedPeopleWriter


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--labels', choices=['keypoints', 'mesh'], default='keypoints',
                        help='what the pictures are for, default: %(default)s')
    parser.add_argument('--images', type=int, default=8000,
                        help='pictures for training, default: %(default)s')
    parser.add_argument('--val-images', type=int, default=500,
                        help='pictures for validation, default: %(default)s')
    parser.add_argument('--size', type=int, nargs=2, metavar=('W', 'H'),
                        help='of a picture in pixels, default: 320 320, with --labels mesh 160 160')
    parser.add_argument('--motion', nargs='*', default=[], metavar='STORE',
                        help='pose stores of recorded motion for training, with --labels mesh '
                             'folders of tools/prepare_data.py fit-body; without, all motion is '
                             'procedural')
    parser.add_argument('--val-motion', nargs='*', default=[], metavar='STORE',
                        help='the same of other people for validation')
    parser.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    parser.add_argument('--processes', type=int, default=2, help='default: %(default)s')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace the pictures of another run in OUT')
    args = parser.parse_args()
    with one_line_errors():
        writer_class, size = RenderedPeopleWriter, (320, 320)
        if args.labels == 'mesh':
            from mmpose_lift.datasets.rendered_meshes import RenderedMeshWriter
            writer_class, size = RenderedMeshWriter, (160, 160)
        writer = writer_class(args.out, args.seed, dict(train=args.motion, val=args.val_motion),
                              args.size or size, args.overwrite)
        with Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                      TimeRemainingColumn()) as bars:
            for split, images in (('val', args.val_images), ('train', args.images)):
                task = bars.add_task(f'rendering {split}', total=images)
                path = writer.write(split, images, args.processes,
                                    lambda done, task=task: bars.advance(task, done))
                bars.console.print(f'wrote {path}')


if __name__ == '__main__':
    main()
