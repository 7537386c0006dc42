#!/usr/bin/env python
"""2D keypoints of the people in a video: tools/detect_2d.py INPUT [--pose2d NAME] [...]."""

import argparse
from pathlib import Path

import numpy as np

import mmpose_lift  # noqa: F401
from mmpose_lift.apis import PeopleEstimator, ShownStages, VideoInferencer
from mmpose_lift.apis.command_line import one_line_errors, plain_messages, read_boxes
from mmpose_lift.io.atomic import atomic_write
from mmpose_lift.io.exporters import write_json
from mmpose_lift.io.exporters.export import writable_folder
from mmpose_lift.io.frames import open_frames


def main():
    parser = argparse.ArgumentParser(
        description='Detect and track the people of a video; writes <input>_2d.json with everybody '
        '(MMPose\'s shape) and <input>_person<N>_2d.npz for each, which tools/infer.py lifts')
    parser.add_argument('input', help='video, or folder of pictures with --fps')
    parser.add_argument('--pose2d', default='human', help="MMPose's 2D model; default: human")
    parser.add_argument('--pose2d-weights', metavar='FILE')
    parser.add_argument('--det-model',
                        help="MMDetection's model, or whole_image; default: MMPose's")
    parser.add_argument('--det-weights', metavar='FILE')
    parser.add_argument('--det-cat-ids', type=int, nargs='+', default=[0],
                        help='classes of the detector that are people; default: 0')
    parser.add_argument('--bboxes', metavar='FILE', help='.json: for each frame a list of boxes')
    parser.add_argument('--bbox-thr', type=float, help='drop boxes of a lower score')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--fps', type=float, help='frames per second of pictures')
    parser.add_argument('--device')
    parser.add_argument('--out-dir', default='outputs', type=Path, help='default: outputs')
    args = parser.parse_args()
    plain_messages()
    with one_line_errors(), ShownStages() as stages:
        writable_folder(args.out_dir)
        boxes = None if args.bboxes is None else read_boxes(args.bboxes)
        with open_frames(args.input, args.fps, frames_of_a_video=True) as frames:
            people = PeopleEstimator(
                args.pose2d, args.pose2d_weights, args.det_model, args.det_weights,
                args.det_cat_ids, args.device).with_options(args.batch_size, args.bbox_thr)
            poses = VideoInferencer(None, people).people_2d(frames, boxes, stages)
        stem = Path(poses.source).stem
        written = [write_json(poses, args.out_dir / f'{stem}_2d.json')]
        for track in poses.tracks:
            written.append(args.out_dir / f'{stem}_person{track.track_id}_2d.npz')
            with atomic_write(written[-1]) as path:
                np.savez(path, keypoints=track.keypoints, skeleton=poses.skeleton_2d,
                         fps=poses.fps, image_size=poses.image_size,
                         first_frame=track.first_frame, detected=track.detected)
    print(f'{poses.num_frames} frames, {len(poses.tracks)} people; wrote '
          + ', '.join(str(path) for path in written))


if __name__ == '__main__':
    main()
