#!/usr/bin/env python
"""3D poses or bodies of people in a video: tools/infer.py INPUT --pose3d NAME [--out-dir DIR]."""

import argparse
import sys
import time
from pathlib import Path

import mmpose_lift  # noqa: F401
from mmpose_lift.apis import MeshInferencer, MissingWeightsError, PoseLiftInferencer
from mmpose_lift.apis.command_line import one_line_errors, plain_messages, read_boxes
from mmpose_lift.apis.heatmap_source import HEATMAPS
from mmpose_lift.apis.inferencer import after_lifting
from mmpose_lift.apis.mmpose_inferencer import kind_of_model
from mmpose_lift.apis.progress import ShownStages
from mmpose_lift.geometry.skeletons import skeleton_names
from mmpose_lift.io.exporters import FORMATS, write_video_poses
from mmpose_lift.io.exporters.export import NEED_BODIES, check_formats, writable_folder
from mmpose_lift.io.frames import open_frames
from mmpose_lift.io.keypoint_sequence import SUFFIXES

EXAMPLES = """examples:
  %(prog)s walk.mp4 --pose3d mixste_h36m --weights mixste.pth --video
  %(prog)s walk.mp4 --pose3d uplift_upsample_h36m --weights uu.pth --input-stride 10 \\
      --formats json bvh
  %(prog)s frames/ --fps 25 --pose3d mixste_h36m --weights mixste.pth --rerun
  %(prog)s keypoints.npz --pose3d mixste_h36m --weights mixste.pth --picture
  %(prog)s walk.mp4 --pose3d hybrik_transformer_mix --weights hybrik.pth --video \\
      --formats json smpl gltf --body-model SMPL_NEUTRAL.npz
  %(prog)s walk.mp4 --pose3d mpt_pretrain --weights mpt.pth --pose2d human --heatmaps drawn
"""


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('input', help='video (or folder of its pictures, with --fps), picture, '
                        'folder of pictures that are no video, or the 2D keypoints of one person: '
                        '.npz, .npy or .json with (T, K, 2 or 3) in pixels')
    parser.add_argument('--pose3d', required=True, help='alias (mixste_h36m) or config file')
    parser.add_argument('--weights', '--pose3d-weights',
                        help='checkpoint of the 3D model, or an .onnx file of tools/export_onnx.py')
    parser.add_argument('--out-dir', default='outputs', type=Path, help='default: outputs')
    parser.add_argument('--device', help='cpu, cuda, ...; default: the best there is')
    parser.add_argument('--no-flip-test', action='store_true',
                        help='half the time, a bit less exact')
    parser.add_argument('--input-stride', type=int, metavar='FRAMES',
                        help='Uplift and Upsample: frames (at 50 per second) between those whose '
                        '2D pose is used')
    parser.add_argument('--overlap', type=float, metavar='PART',
                        help='part of a window that the next one covers again, blended')
    parser.add_argument('--precision', choices=['float32', 'bfloat16'], default='float32',
                        help='bfloat16: about half the time where the processor has it')
    parser.add_argument('--fps', type=float,
                        help='frames per second of keypoints, or of pictures that are a video')
    parser.add_argument('--video', action='store_true', help='write a video to look at')
    parser.add_argument('--picture', action='store_true', help='write a picture to look at')
    parser.add_argument('--allow-random-weights', action='store_true',
                        help='run without trained weights (the result is noise)')

    video = parser.add_argument_group('videos and pictures')
    video.add_argument('--pose2d', help="MMPose's 2D model; default: human, none for bodies, and "
                       'an HRNet for MPT that was only pre-trained')
    video.add_argument('--pose2d-weights', metavar='FILE')
    video.add_argument('--det-model', help="MMDetection's model, or whole_image; default: MMPose's")
    video.add_argument('--det-weights', metavar='FILE')
    video.add_argument('--det-cat-ids', type=int, nargs='+', default=None,
                       help='classes of the detector that are people; default: 0')
    video.add_argument('--bboxes', metavar='FILE',
                       help='.json: for each frame a list of boxes x1, y1, x2, y2 (and score), in '
                       'or partly in the picture; no detector is run')
    video.add_argument('--bbox-thr', type=float, help='drop boxes of a lower score')
    video.add_argument('--min-score', type=float,
                       help='interpolate 2D joints of a lower score; default: 0.3')
    video.add_argument('--adaptive', action='store_true',
                       help='Uplift and Upsample: look at more frames where people move fast')
    video.add_argument('--batch-size', type=int, default=16,
                       help='of detector and 2D model; boxes at a time for bodies')
    video.add_argument('--formats', nargs='+', default=['json', 'npz'],
                       choices=[name for name in FORMATS if name != 'rerun'],
                       help='default: json npz')
    video.add_argument('--rerun', action='store_true', help='write a recording for rerun')
    video.add_argument('--smooth', choices=['one-euro', 'savgol'])
    video.add_argument('--height', type=float, metavar='METRES', help='standing height of people')
    video.add_argument('--trajectory', action='store_true',
                       help='estimate where people are, by reprojection')
    video.add_argument('--focal', type=float, metavar='PIXELS',
                       help='focal length; default: that of a usual field of view')
    video.add_argument('--ground', action='store_true', help='z up, floor at z = 0')

    mesh = parser.add_argument_group('bodies (models of body meshes)')
    mesh.add_argument('--body-model', metavar='FILE',
                      help="SMPL (.npz or .pkl) instead of the config's, or stand_in")
    mesh.add_argument('--h36m-regressor', metavar='FILE',
                      help="regressor of Human3.6M's 17 joints for --body-model, where it has none")
    mesh.add_argument('--root-depth', metavar='RULE',
                      help='how far away people are: bones, box, or a RootNet (alias or config); '
                      'default: bones. Not for MPT, which has a camera of its own')
    mesh.add_argument('--root-weights', metavar='FILE', help='checkpoint of the RootNet')
    mesh.add_argument('--heatmaps', choices=list(HEATMAPS),
                      help='what MPT that was only pre-trained sees: the heatmaps of the 2D '
                      'network (default), or Gaussians drawn at the keypoints of any 2D model')
    mesh.add_argument('--shape-per-frame', action='store_true',
                      help="leave each frame its own shape instead of a person's mean")

    keypoints = parser.add_argument_group('2D keypoints')
    keypoints.add_argument('--image-size', type=int, nargs=2, metavar=('WIDTH', 'HEIGHT'),
                           help='pixels; needed where the file does not say')
    keypoints.add_argument('--skeleton', choices=skeleton_names(), metavar='NAME',
                           help='joint order of the input; default: what the file says, else that '
                           'of the model. One of ' + ', '.join(skeleton_names()))
    keypoints.add_argument('--format', choices=['npz', 'json'], default='npz')
    return parser.parse_args()


# What only one kind of model has, by its option and what counts as not given.
LIFTERS_ONLY = dict(input_stride=None, overlap=None, precision='float32', adaptive=False,
                    min_score=None, height=None, trajectory=False, ground=False)
MESHES_ONLY = dict(body_model=None, h36m_regressor=None, root_depth=None, root_weights=None,
                   heatmaps=None, shape_per_frame=False)
# What only videos have.
VIDEOS_ONLY = dict(smooth=None, shape_per_frame=False, adaptive=False, height=None,
                   trajectory=False, ground=False, rerun=False)


def check_options(args, mesh):
    """Refuse options that the model would ignore."""
    for name, absent in (LIFTERS_ONLY if mesh else MESHES_ONLY).items():
        if getattr(args, name) != absent:
            raise ValueError(f'--{name.replace("_", "-")}: model {args.pose3d!r} '
                             f'{"gives bodies" if mesh else "lifts 2D poses"} and has no such '
                             'option; leave it out')
    bodies = [] if mesh else [name for name in args.formats if name in NEED_BODIES]
    if bodies:
        raise ValueError(f'--formats {bodies[0]}: model {args.pose3d!r} gives no bodies; use '
                         'hybrik_transformer_mix or the like')


def check_picture_options(args):
    """Refuse options that single pictures would ignore."""
    for name, absent in VIDEOS_ONLY.items():
        if getattr(args, name) != absent:
            raise ValueError(f'--{name.replace("_", "-")}: only for videos, and {args.input} is '
                             'none; leave it out, or give the --fps of frames of a video')


def build(args, mesh):
    shared = dict(weights=args.weights, device=args.device,
                  flip_test=False if args.no_flip_test else None,
                  allow_random_weights=args.allow_random_weights,
                  pose2d_weights=args.pose2d_weights, det_model=args.det_model,
                  det_weights=args.det_weights, det_cat_ids=args.det_cat_ids or 0)
    if mesh:
        body = args.body_model
        if args.h36m_regressor is not None:
            if body is None:
                raise ValueError('--h36m-regressor: give the --body-model it is for')
            body = dict(path=body, h36m_regressor=args.h36m_regressor)
        return MeshInferencer(args.pose3d, pose2d=args.pose2d, body_model=body,
                              batch_size=args.batch_size, root_depth=args.root_depth,
                              root_weights=args.root_weights, focal=args.focal,
                              heatmaps=args.heatmaps, **shared)
    options = {} if args.overlap is None else dict(overlap=args.overlap)
    return PoseLiftInferencer(args.pose3d, pose2d=args.pose2d or 'human', precision=args.precision,
                              input_stride=args.input_stride, **shared, **options)


def main():
    args = parse_args()
    plain_messages()
    with one_line_errors():
        try:
            mesh = kind_of_model(args.pose3d) == 'mesh'
            check_options(args, mesh)
            inferencer = build(args, mesh)
            keypoints = Path(args.input).suffix.lower() in SUFFIXES
            if mesh and keypoints:
                raise ValueError(f'{args.input}: models of bodies look at pictures and videos, not '
                                 'at 2D keypoints')
            (lift_keypoints if keypoints else run_on_frames)(inferencer, args)
        except MissingWeightsError as error:
            raise ValueError(str(error)) from error
        except KeyboardInterrupt:
            sys.exit('interrupted')


def run_on_frames(inferencer, args):
    mesh = isinstance(inferencer, MeshInferencer)
    (inferencer.predictor if mesh else inferencer.lifter).check_runs()
    writable_folder(args.out_dir)  # not only when all the work is done
    check_formats(args.formats + ['rerun'] * args.rerun)
    boxes = None if args.bboxes is None else read_boxes(args.bboxes)
    options = dict(bboxes=boxes, bbox_thr=args.bbox_thr, batch_size=args.batch_size)
    of_videos = dict(smooth=args.smooth, same_shape=not args.shape_per_frame)
    if not mesh:
        options['min_score'] = 0.3 if args.min_score is None else args.min_score
        of_videos = dict(adaptive=args.adaptive)
    body, scene = None, {}
    if mesh:
        from mmpose_lift.visualization import MeshScene
        body = inferencer.predictor.body
        scene = dict(scene_type=MeshScene, body_model=body)
    start, failure, written = time.perf_counter(), None, []
    with open_frames(args.input, args.fps, frames_of_a_video=args.fps is not None) as frames, \
            ShownStages() as stages:
        if frames.is_clip:
            poses = inferencer.video(frames, stages=stages, **of_videos, **options)
            stages.stopped = False  # what was read is written and drawn
            try:
                if not mesh:
                    with stages.time('after lifting'):
                        poses = after_lifting(poses, args.smooth, args.height, args.trajectory,
                                              args.focal, args.ground)
            except ValueError as error:
                failure = error
            written = write(poses, Path(poses.source).stem, args, stages, body)
            written += look(poses, Path(poses.source).stem, args, frames, stages, scene)
            num_frames, people, complete = poses.num_frames, len(poses.tracks), poses.complete
        else:
            check_picture_options(args)
            num_frames, people = 0, 0
            for poses, image in inferencer.pictures(frames, stages=stages, **options):
                stem = Path(poses.source).stem
                written += write(poses, stem, args, stages, body)
                if args.picture or args.video:
                    from mmpose_lift.visualization import draw_people_picture, write_picture
                    written.append(write_picture(draw_people_picture(poses, 0, image, **scene),
                                                 args.out_dir / f'{stem}_3d.png'))
                num_frames, people = num_frames + 1, people + len(poses.tracks)
            complete = not stages.stopped
    seconds = time.perf_counter() - start
    speeds = ', '.join(f'{part} {num_frames / spent:.3g}' for part, spent in
                       stages.seconds.items() if spent > 1e-4 * num_frames)
    if not people:
        print(f'{args.input}: no person found in {num_frames} frames; give boxes (--bboxes), '
              'another detector (--det-model) or a score from which a box is a person '
              '(--bbox-thr 0.3)')
    print(f'{num_frames} frames, {people} people in {seconds:.1f} s'
          f'{"" if complete else " (not the whole input)"}; frames per second: {speeds}')
    print('wrote ' + ', '.join(str(path) for path in written))
    if failure is not None:
        raise ValueError(f'{failure}; what was lifted is written without that') from failure


def write(poses, stem, args, stages, body):
    with stages.time('writing'):
        return write_video_poses(poses, args.out_dir, stem, args.formats, body_model=body)


def look(poses, stem, args, frames, stages, scene):
    """Write what people look at: video, picture, recording."""
    written = []
    if args.video:
        from mmpose_lift.visualization import write_people_video
        written.append(write_people_video(poses, args.out_dir / f'{stem}_3d.mp4',
                                          frames.readable(), stages=stages, **scene))
    if args.picture:
        from mmpose_lift.visualization import draw_people_picture, write_picture
        fullest = max(range(poses.num_frames), key=lambda frame: len(poses.people_at(frame)))
        image = next(image for number, image in frames.readable(fullest.__eq__)
                     if number == fullest)
        written.append(write_picture(draw_people_picture(poses, fullest, image, **scene),
                                     args.out_dir / f'{stem}_3d.png'))
    if args.rerun:
        from mmpose_lift.io.exporters import write_rerun
        with stages.time('rerun'):
            written.append(write_rerun(poses, args.out_dir / f'{stem}_3d.rrd', frames.readable()))
    return written


def lift_keypoints(inferencer, args):
    target = args.out_dir / f'{Path(args.input).stem}_3d.{args.format}'
    lifted = inferencer(args.input, args.image_size, args.skeleton, args.fps, target)
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
