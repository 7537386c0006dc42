#!/usr/bin/env python
"""Figures about lifting models: tools/analyze.py SUBJECT CONFIG CHECKPOINT [...]."""

import argparse
from pathlib import Path

import numpy as np
from mmengine.config import DictAction

import mmpose_lift  # noqa: F401
from mmpose_lift.apis import (
    analysis,
    look_ahead,
    mesh_baseline,
    pose_analysis,
    pose_maps,
    view_analysis,
)
from mmpose_lift.apis.adaptive_stride import MODES, AdaptiveInputStride
from mmpose_lift.apis.command_line import load_config, one_line_errors, plain_messages
from mmpose_lift.evaluation.velocity import velocity_bins
from mmpose_lift.visualization import analysis_plots, virtual_views

EXAMPLES = """examples:
  %(prog)s poses configs/ampose_h36m.py latest.pth --clip WalkDog --count 6
  %(prog)s poses configs/mixste_h36m.py latest.pth --clip 3 --worst
  %(prog)s attention configs/uplift_upsample_h36m.py latest.pth --clip WalkDog --frame 400 --s-in 20
  %(prog)s keyframes configs/uplift_upsample_h36m.py latest.pth --clip 12 --first 200
  %(prog)s velocity configs/uplift_upsample_h36m.py latest.pth --s-in 5 20 --out velocity
  %(prog)s stride configs/uplift_upsample_h36m.py latest.pth --clip WalkDog --threshold 0.5
  %(prog)s look-ahead configs/mixste_h36m.py latest.pth --look-ahead 0 1 5 --cameras 1
  %(prog)s mean-mesh configs/mpt_pretrain.py --samples 2000
  %(prog)s pose-maps configs/mpt_mix.py latest.pth --image person.jpg --out maps.png
  %(prog)s virtual-views configs/mpt_pretrain.py latest.pth --sample 40 --ring ring.png
"""


def parse_args():
    parser = argparse.ArgumentParser(
        description='Figures and tables about a trained model. "poses" is for models that see '
        'every frame (MixSTE, AMPose), "look-ahead" for all that lift, "mean-mesh" for body '
        'meshes (it needs no checkpoint), "pose-maps" for MPT and 2D networks, '
        '"virtual-views" for pre-training of MPT, the others for one that lifts key-frames '
        '(Uplift and Upsample)',
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    subjects = parser.add_subparsers(dest='subject', required=True, metavar='SUBJECT')

    def add(run, name, text, out=None, clip=True, load=analysis.load_lifter,
            checkpoint=None):
        sub = subjects.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run, load=load)
        sub.add_argument('config', help='config file')
        if load is not None:
            sub.add_argument('checkpoint', nargs=checkpoint, help='checkpoint file or address')
        if out is not None:
            sub.add_argument('--out', type=Path, default=Path(out), help='default: %(default)s')
        sub.add_argument('--device', help='default: the best there is')
        sub.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                         help='override settings of the config')
        if clip:
            sub.add_argument('--clip', default='0', help='number of a test clip or part of its '
                             'name; default: %(default)s')
        return sub

    sub = add(draw_poses, 'poses', '2D input, prediction and ground truth of some frames side by '
              'side, with their errors', 'poses.png', load=pose_analysis.load_model)
    which = sub.add_mutually_exclusive_group()
    which.add_argument('--frames', type=int, nargs='+', metavar='FRAME',
                       help='frames of the clip; default: evenly spaced ones')
    which.add_argument('--worst', action='store_true', help='the frames with the largest errors')
    sub.add_argument('--count', type=int, default=6, help='how many without --frames, default: '
                     '%(default)s')
    sub.add_argument('--apart', type=int, default=pose_analysis.WORST_APART,
                     help='--worst: at least so many frames between two, default: %(default)s')

    sub = add(draw_attention, 'attention', 'attention maps of all blocks over frames, in one '
              'window', 'attention.png')
    sub.add_argument('--frame', type=int, help='centre of the window, a multiple of s_out; '
                     'default: the middle of the clip')
    sub.add_argument('--s-in', type=int, default=20, help='input stride, default: %(default)s')
    sub.add_argument('--per-head', action='store_true', help='all heads instead of their mean')

    sub = add(draw_key_frames, 'keyframes', '2D input at key-frames and 3D predictions at and '
              'between them', 'keyframes.png')
    sub.add_argument('--s-in', type=int, default=20, help='input stride, default: %(default)s')
    sub.add_argument('--first', type=int, default=0, help='first frame, default: %(default)s')
    sub.add_argument('--every', type=int, help='frames between columns; default: s_out')
    sub.add_argument('--columns', type=int, default=9, help='default: %(default)s')

    sub = add(draw_velocity, 'velocity', 'error by velocity of the ground truth for several input '
              'strides, over the whole test data set', 'velocity', clip=False)
    sub.add_argument('--s-in', type=int, nargs='+', default=[5, 20],
                     help='input strides, default: 5 20')
    sub.add_argument('--width', type=float, default=0.1, help='of a bin in m/s, default: '
                     '%(default)s')

    sub = add(draw_strides, 'stride', 'error per frame with fixed and adaptive input stride',
              'stride.png')
    sub.add_argument('--slow', type=int, default=20, help='default: %(default)s frames')
    sub.add_argument('--fast', type=int, default=5, help='default: %(default)s frames')
    sub.add_argument('--threshold', type=float, default=0.5, help='m/s, default: %(default)s')
    sub.add_argument('--hold', type=int, default=50, help='frames below the threshold before the '
                     'slow stride returns, default: %(default)s')
    sub.add_argument('--mode', choices=MODES, default='online', help='default: %(default)s')
    sub.add_argument('--look-ahead', type=int, default=0, help='online: frames that a decision '
                     'waits for context, default: %(default)s')

    sub = add(tabulate_look_ahead, 'look-ahead', 'errors of live streams with some frames of '
              'look-ahead beside those of whole clips, over the test data set', 'look_ahead.csv',
              clip=False, load=look_ahead.load_lifter)
    sub.add_argument('--look-ahead', type=int, nargs='+', default=[0, 1, 5], metavar='FRAMES',
                     help='frames at the rate of the model; default: 0 1 5')
    sub.add_argument('--s-in', type=int, nargs='+', default=[], help='input strides, for models '
                     'that see key-frames only; default: the smallest of the config')
    sub.add_argument('--cameras', type=int, help='cameras per clip, default: as in the config')

    sub = add(score_mean_mesh, 'mean-mesh', 'what the mean mesh of the training samples scores as '
              'the prediction for the whole test data set: what a network has to beat', clip=False,
              load=None)
    sub.add_argument('--samples', type=int, default=2000, help='training samples, at equal steps '
                     'through the set, default: %(default)s')

    sub = add(draw_pose_maps, 'pose-maps', 'the maps that the mesh head of MPT sees: heatmaps '
              'drawn from motion, those of a 2D network or, after fine-tuning, "pose feature '
              'maps"; also the heatmaps of a 2D network by itself', 'pose_maps.png', clip=False,
              load=load_for_maps, checkpoint='?')
    sub.add_argument('--samples', type=int, default=3, help='people at equal steps through the '
                     'test data set, default: %(default)s')
    sub.add_argument('--image', help='a picture instead of the test data set')
    sub.add_argument('--bbox', type=float, nargs=4, metavar=('X1', 'Y1', 'X2', 'Y2'),
                     help='of the person in --image, pixels; default: the whole picture')
    sub = add(draw_virtual_views, 'virtual-views', 'a body of a pre-training config as virtual '
              'cameras see it: mesh, heatmaps and, with a checkpoint, the mesh of the network',
              'virtual_views.png', clip=False, load=view_analysis.VirtualViews, checkpoint='?')
    sub.add_argument('--sample', type=int, default=0, help='frame of the test data set, default: '
                     '%(default)s')
    sub.add_argument('--views', default='8', help='1 to 8 cameras, or "unseen"; default: '
                     '%(default)s')
    sub.add_argument('--ring', type=Path, help='draw the cameras from above too, into this file')

    args = parser.parse_args()
    if args.subject == 'pose-maps' and args.bbox and not args.image:
        parser.error('--bbox is of the person in --image, which is not given')
    return args


def open_clip(args, config):
    clips = analysis.TestClips(config)
    return clips[clips.find(args.clip)]


def draw_poses(args, config, model):
    predictions = pose_analysis.TestPredictions(config, model)
    clip = predictions.find(args.clip)
    if args.worst:
        shown = predictions.worst(clip, args.count, args.apart)
    else:
        frames = (predictions.evenly_spaced(clip, args.count) if args.frames is None
                  else args.frames)
        shown = predictions.read(clip, frames)
    name = predictions.names[clip]
    analysis_plots.plot_poses(args.out, *shown, skeleton=predictions.skeleton, title=name)
    errors = ', '.join(f'{frame}: {error:.1f}' for frame, error in zip(shown.frames, shown.errors))
    print(f'{name}, MPJPE in mm of frame {errors}; wrote {args.out}')


def draw_attention(args, config, lifter):
    clip = open_clip(args, config)
    step = lifter.seq_step * clip.rate
    frame = len(clip.target) // 2 // step * step if args.frame is None else args.frame
    maps = analysis.attention_maps(lifter, clip, frame, args.s_in)
    analysis_plots.plot_attention(args.out, maps, args.per_head,
                                  f'{clip.name}, frame {frame}, s_in = {args.s_in}')
    print(f'{clip.name}, frame {frame}: wrote {args.out}')


def draw_key_frames(args, config, lifter):
    clip = open_clip(args, config)
    every = lifter.seq_step * clip.rate if args.every is None else args.every
    shown = analysis.key_frame_columns(lifter, clip, args.s_in, args.first, every, args.columns)
    analysis_plots.plot_key_frames(args.out, *shown, title=f'{clip.name}, s_in = {args.s_in}')
    print(f'{clip.name}: {len(shown.frames)} frames, {shown.is_key_frame.sum()} of them '
          f'key-frames; wrote {args.out}')


def draw_velocity(args, config, lifter):
    if not args.width > 0:
        raise ValueError(f'--width: expected a positive number of m/s, found {args.width:g}')
    from rich.console import Console
    from rich.progress import track
    errors = analysis.errors_by_stride(
        config, lifter.model, args.s_in,
        lambda loader: track(loader, description='testing', console=Console(stderr=True)))
    bins = {s_in: velocity_bins(found.velocity, found.error, args.width)
            for s_in, found in errors.items()}
    for suffix in ('.csv', '.md'):
        analysis.write_velocity_table(args.out / f'velocity{suffix}', bins)
    analysis_plots.plot_velocity_errors(args.out / 'velocity.png', bins)
    print((args.out / 'velocity.md').read_text(encoding='utf-8'), end='')
    print(f'wrote velocity.csv, velocity.md and velocity.png in {args.out}')


def draw_strides(args, config, lifter):
    clip = open_clip(args, config)
    rate = clip.rate
    policy = AdaptiveInputStride(args.slow * rate, args.fast * rate, args.threshold,
                                 args.hold * rate, clip.fps, lifter.seq_step * rate,
                                 lifter.root_index)
    curves = analysis.compare_strides(lifter, clip, policy, args.mode, args.look_ahead * rate)
    analysis_plots.plot_strides(args.out, curves, clip.velocity(), args.threshold, clip.fps,
                                clip.name)
    print(f'{clip.name}: {len(clip.target)} frames')
    for curve in curves:
        print(f'  {curve.label:20} {np.nanmean(curve.error):7.1f} mm, worst '
              f'{np.nanmax(curve.error):7.1f} mm, {curve.key_frames.sum()} 2D frames')
    print(f'wrote {args.out}')


def tabulate_look_ahead(args, config, lifter):
    from rich.console import Console
    from rich.progress import track
    errors = look_ahead.measure_look_ahead(
        config, lifter, args.look_ahead, args.s_in, args.cameras,
        lambda clips: track(clips, description='lifting', console=Console(stderr=True)))
    look_ahead.write_look_ahead_table(args.out, errors)
    print(look_ahead.format_table(errors), end='')
    print(f'wrote {args.out}')


def score_mean_mesh(args, config, _):
    baseline = mesh_baseline.MeanMeshBaseline(config, args.device)
    means = {axes: baseline.mean_mesh(args.samples, axes) for axes in mesh_baseline.AXES}
    scores = {axes: baseline.score(mean) for axes, mean in means.items()}
    print(f'mean mesh of {means["camera"].num_samples} training samples, averaged in the axes of '
          'the camera | of the body, turned to the camera')
    for name in scores['camera']:
        print(f'{name}: ' + ' | '.join(f'{scores[axes][name]:.2f}' for axes in mesh_baseline.AXES))


def load_for_maps(config, checkpoint, device):
    plain_messages()  # not the origin of every parameter
    return pose_maps.load_model(config, checkpoint, device)


def draw_pose_maps(args, config, model):
    if args.image:
        people = [pose_maps.picture_maps(config, model, args.image, args.bbox)]
    else:
        people = pose_maps.dataset_maps(config, model, args.samples)
    pose_maps.write_pose_maps(args.out, people)
    print(f'maps of {", ".join(person.name for person in people)}; wrote {args.out}')


def draw_virtual_views(args, config, views):
    seen = views.see(args.sample, int(args.views) if args.views.isdecimal() else args.views)
    name = views.name(args.sample)
    virtual_views.virtual_view_sheet(args.out, seen, views.body.faces.cpu().numpy(), name)
    if args.ring is not None:
        virtual_views.camera_ring_figure(args.ring)
        print(f'wrote {args.ring}')
    errors = ', '.join(f'{view.error:.0f}' for view in seen if view.error is not None)
    print(f'{name}: {len(seen)} cameras'
          + (f', mean distance of the vertices {errors} mm' if errors else '')
          + f'; wrote {args.out}')


def main():
    args = parse_args()
    with one_line_errors():
        config = load_config(args.config, args.cfg_options)
        model = args.load and args.load(config, args.checkpoint, args.device)
        args.run(args, config, model)


if __name__ == '__main__':
    main()
