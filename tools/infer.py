#!/usr/bin/env python
"""Lift a 2D keypoint sequence to 3D: tools/infer.py INPUT --pose3d NAME [--out-dir DIR]."""

import argparse
from pathlib import Path

import mmpose_lift  # noqa: F401
from mmpose_lift.apis import MissingWeightsError, PoseLiftInferencer
from mmpose_lift.apis.command_line import one_line_errors
from mmpose_lift.geometry.skeletons import skeleton_names


def main():
    parser = argparse.ArgumentParser(
        description='Lift the 2D keypoints of a clip to 3D; writes <input>_3d.npz (or .json), and '
        'with --video and --picture something to look at')
    parser.add_argument('input', help='.npz, .npy or .json with keypoints (T, K, 2 or 3) in pixels')
    parser.add_argument('--pose3d', required=True, help='alias (mixste_h36m) or config file')
    parser.add_argument('--weights', '--pose3d-weights', help='checkpoint of the 3D model')
    parser.add_argument('--out-dir', default='outputs', help='default: outputs')
    parser.add_argument('--format', choices=['npz', 'json'], default='npz')
    parser.add_argument('--image-size', type=int, nargs=2, metavar=('WIDTH', 'HEIGHT'),
                        help='pixels; needed where the file does not say')
    parser.add_argument('--skeleton', choices=skeleton_names(), metavar='NAME',
                        help='joint order of the input; default: what the file says, else that of '
                        'the model. One of ' + ', '.join(skeleton_names()))
    parser.add_argument('--fps', type=float, help='frames per second of the input')
    parser.add_argument('--device')
    parser.add_argument('--no-flip-test', action='store_true',
                        help='half the time, a bit less exact')
    parser.add_argument('--input-stride', type=int, metavar='FRAMES',
                        help='Uplift and Upsample: frames between those whose 2D pose is used')
    parser.add_argument('--precision', choices=['float32', 'bfloat16'], default='float32',
                        help='bfloat16: about half the time where the processor has it')
    parser.add_argument('--video', action='store_true', help='write <input>_3d.mp4')
    parser.add_argument('--picture', action='store_true', help='write <input>_3d.png')
    parser.add_argument('--allow-random-weights', action='store_true',
                        help='run without trained weights (the result is noise)')
    args = parser.parse_args()
    with one_line_errors():
        try:
            inferencer = PoseLiftInferencer(
                args.pose3d, args.weights, device=args.device,
                flip_test=False if args.no_flip_test else None,
                allow_random_weights=args.allow_random_weights, input_stride=args.input_stride,
                precision=args.precision)
            target = Path(args.out_dir) / f'{Path(args.input).stem}_3d.{args.format}'
            lifted = inferencer(args.input, args.image_size, args.skeleton, args.fps, target)
        except MissingWeightsError as error:
            raise ValueError(str(error)) from error
        written = [target] + draw(lifted, target, args)
    print(f'{len(lifted["keypoints_3d"])} frames lifted by {lifted["model"]}; wrote '
          + ', '.join(str(path) for path in written))


def draw(lifted, target, args):
    from mmpose_lift.visualization import write_skeleton_picture, write_skeleton_video
    written = []
    if args.picture:
        written.append(target.with_suffix('.png'))
        write_skeleton_picture(written[-1], lifted['keypoints_3d'], lifted['keypoints_2d'],
                               fps=lifted['fps'] or 25, skeleton=lifted['skeleton'])
    if args.video:
        written.append(target.with_suffix('.mp4'))
        write_skeleton_video(written[-1], lifted['keypoints_3d'], lifted['keypoints_2d'],
                             fps=lifted['fps'] or 25, image_size=lifted['image_size'],
                             skeleton=lifted['skeleton'])
    return written


if __name__ == '__main__':
    main()
