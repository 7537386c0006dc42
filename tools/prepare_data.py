"""Turn motion data of any known layout into a pose store, project it, check it or describe it."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

EXAMPLES = """examples:
  %(prog)s videopose3d-h36m data_3d_h36m.npz --keypoints-2d data_2d_h36m_cpn_ft_h36m_dbb.npz \\
      --out data/h36m
  %(prog)s mmpose-h36m h36m_train.npz h36m_test.npz --cameras cameras.pkl --out data/h36m_mmpose
  %(prog)s humaneva data_3d_humaneva15.npz --keypoints-2d data_2d_humaneva15_gt.npz \\
      --out data/humaneva
  %(prog)s pstmo-3dhp data_train_3dhp.npz --out data/mpi_inf_3dhp_train
  %(prog)s mmpose-3dhp mpi_inf_3dhp_train.npz --cameras cameras_train.pkl --out data/mpi_inf_3dhp_mm
  %(prog)s spin-3dhp test_3dhp.npz --out data/mpi_inf_3dhp_frames
  %(prog)s mocap-npz train.npz train_short.npz --out data/cmu_train
  %(prog)s bvh 16_22.bvh 35_01.bvh --out data/cmu_bvh
  %(prog)s asf-amc 16.asf 16_22.amc --out data/cmu_amc
  %(prog)s amass AMASS --body smplh --dmpl dmpls --regressor J_regressor_h36m.npy --split train \\
      --out data/amass_train
  %(prog)s 3dpw 3DPW/sequenceFiles/test --male SMPL_MALE.npz --female SMPL_FEMALE.npz \\
      --regressor J_regressor_h36m.npy --out data/3dpw/test.json
  %(prog)s mesh-labels people.json --layout h36m --neutral SMPL_NEUTRAL.npz \\
      --regressor J_regressor_h36m.npy --out data/people_labels.json
  %(prog)s synthetic --clips 60 --frames 500 --out data/synthetic
  %(prog)s project data/cmu_train --cameras-per-clip 4 --noise detected --out data/cmu_train_2d
  %(prog)s fit-body data/cmu_train --out data/cmu_train_body
  %(prog)s info data/h36m
  %(prog)s verify data/h36m
"""


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    formats = parser.add_subparsers(dest='format', required=True, metavar='FORMAT')

    def add(name, run, text, writes=True):
        sub = formats.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        if writes:
            sub.add_argument('--out', required=True, type=Path, metavar='STORE',
                             help='folder to create')
            sub.add_argument('--overwrite', action='store_true', help='replace an existing store')
        return sub

    sub = add('videopose3d-h36m', _videopose3d, "Human3.6M in VideoPose3D's .npz files")
    sub.add_argument('keypoints_3d', type=Path, help='data_3d_h36m.npz')
    sub.add_argument('--keypoints-2d', nargs='*', default=[], metavar='[NAME=]FILE',
                     help='data_2d_h36m_<name>.npz files; "gt" is always made')
    sub.add_argument('--subjects', nargs='+', help='default: all')

    sub = add('mmpose-h36m', _mmpose, "Human3.6M in MMPose's layout")
    sub.add_argument('annotations', nargs='+', type=Path, help='h36m_train.npz, h36m_test.npz')
    sub.add_argument('--cameras', required=True, type=Path, help='cameras.pkl')
    sub.add_argument('--detections', nargs='*', default=[], metavar='NAME=FILE',
                     help='.npy detections; repeat a name once per annotation file, in their order')
    sub.add_argument('--fps', type=float, help='default: told by the image numbers')

    sub = add('humaneva', _humaneva, "HumanEva-I (15 joints) in VideoPose3D's .npz files")
    sub.add_argument('keypoints_3d', type=Path, help='data_3d_humaneva15.npz')
    sub.add_argument('--keypoints-2d', nargs='+', required=True, metavar='[NAME=]FILE',
                     help='data_2d_humaneva15_<name>.npz files')
    sub.add_argument('--subjects', nargs='+', help="for example Train/S1, default: all")

    sub = add('pstmo-3dhp', _pstmo_3dhp, "MPI-INF-3DHP in P-STMO's files (universal annotation)")
    sub.add_argument('files', nargs='+', type=Path,
                     help='data_train_3dhp.npz, data_test_3dhp.npz')
    _add_test_fps(sub)

    sub = add('mmpose-3dhp', _mmpose_3dhp, "MPI-INF-3DHP in MMPose's layout (metric annotation)")
    sub.add_argument('annotations', nargs='+', type=Path,
                     help='mpi_inf_3dhp_train.npz, mpi_inf_3dhp_test_valid.npz')
    sub.add_argument('--cameras', required=True, nargs='+', type=Path,
                     help='cameras_train.pkl, cameras_test.pkl')
    _add_test_fps(sub)

    sub = add('spin-3dhp', _spin_3dhp,
              "MPI-INF-3DHP test frames in SPIN's order of 24 joints (cross-data-set tests)")
    sub.add_argument('file', type=Path)
    _add_test_fps(sub)

    sub = add('mocap-npz', _mocap_npz, 'compact CMU motion sets (17 joints, world space)')
    sub.add_argument('files', nargs='+', type=Path)

    sub = add('bvh', _bvh, 'raw CMU motion, BVH (MotionBuilder-style or Daz-friendly)')
    sub.add_argument('files', nargs='+', type=Path, help='<subject>_<trial>.bvh')
    _add_rates(sub, None, 'recording rate, where the header is wrong')
    sub.add_argument('--keep-first-frame', action='store_true',
                     help='keep the T-pose that both CMU releases begin with')

    sub = add('asf-amc', _asf_amc, 'raw CMU motion, ASF/AMC')
    sub.add_argument('asf', type=Path, help='skeleton of one subject')
    sub.add_argument('amc', nargs='+', type=Path, help='motions of that subject')
    _add_rates(sub, 120, 'recording rate (default: %(default)s)')

    sub = add('amass', _amass, 'AMASS, 17 joints regressed from SMPL+H bodies (world space)')
    sub.add_argument('root', type=Path, help='folder of the sub-datasets (CMU, KIT, ...)')
    sub.add_argument('--body', required=True, type=Path, metavar='DIR',
                     help='SMPL+H bodies: <gender>/model.npz or SMPLH_<GENDER>.npz')
    sub.add_argument('--regressor', required=True, type=Path, metavar='FILE',
                     help="(17, vertices) regressor, for example SPIN's J_regressor_h36m.npy")
    sub.add_argument('--regressor-skeleton', default='h36m_l_first',
                     choices=['h36m_l_first', 'h36m'],
                     help="joint order of the regressor (METRO's: h36m), default: %(default)s")
    sub.add_argument('--dmpl', type=Path, metavar='DIR',
                     help='soft-tissue directions: <gender>/model.npz or DMPL_<GENDER>.npz; '
                          'without, soft tissue stays at rest')
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument('--split', choices=['train', 'val'],
                       help='sub-datasets of the pre-training of Uplift and Upsample')
    which.add_argument('--subsets', nargs='+', metavar='NAME', help='these sub-datasets')

    sub = add('synthetic', _synthetic, 'procedural motion (synthetic, not recorded from people)')
    sub.add_argument('--clips', type=int, default=60, help='default: %(default)s')
    sub.add_argument('--frames', type=int, default=500, help='per clip, default: %(default)s')
    sub.add_argument('--seed', type=int, default=0, help='default: %(default)s')

    sub = add('project', _project, 'see a world-space store through Human3.6M cameras')
    sub.add_argument('store', type=Path, help='world-space store')
    sub.add_argument('--cameras', nargs='+', metavar='SUBJECT.ID',
                     help='for example S1.54138969; default: all 28')
    sub.add_argument('--cameras-per-clip', type=int, metavar='N',
                     help='draw N of them for each clip; default: all')
    sub.add_argument('--seed', type=int, default=0, help='default: %(default)s')
    sub.add_argument('--noise', metavar='NAME',
                     help='add a 2D source of this name, made by the detector-noise model')
    sub.add_argument('--noise-param', nargs='+', default=[], metavar='KEY=VALUE',
                     help='parameters of the noise model (see docs/data.md)')

    sub = add('3dpw', _3dpw, "3DPW's sequence files as one annotation file for body meshes",
              writes=False)
    sub.add_argument('folder', type=Path, help='sequenceFiles/<split>, or one .pkl')
    sub.add_argument('--min-keypoints', type=int, default=6,
                     help='detected keypoints a person needs to be kept, default: %(default)s')
    _add_bodies(sub)

    sub = add('mesh-labels', _mesh_labels, 'add joints, twists and boxes to an annotation file '
              'that has body parameters', writes=False)
    sub.add_argument('annotations', type=Path, help='json file with shape, pose and root')
    sub.add_argument('--layout', required=True, choices=['h36m', '3dpw'])
    sub.add_argument('--replace', action='store_true', help='replace labels that are there')
    _add_bodies(sub)

    sub = add('fit-body', _fit_body, 'fit a body model to world-space stores: one motion per clip',
              writes=False)
    sub.add_argument('stores', nargs='+', type=Path, metavar='STORE',
                     help='world-space stores of 17 joints')
    sub.add_argument('--out', required=True, type=Path, metavar='FOLDER',
                     help='for <subject>/<clip>_poses.npz and report.json; a stopped run goes on')
    sub.add_argument('--body', default='stand_in', metavar='FILE',
                     help='SMPL body (.npz or .pkl), default: the stand-in body (not SMPL)')
    sub.add_argument('--gender', default='neutral', choices=['neutral', 'male', 'female'],
                     help='of the body in FILE, default: %(default)s')
    sub.add_argument('--regressor', type=Path, metavar='FILE',
                     help="(17, vertices) regressor, for example SPIN's J_regressor_h36m.npy; "
                          'default: the one in the body file')
    sub.add_argument('--regressor-skeleton', default='h36m_l_first',
                     choices=['h36m_l_first', 'h36m'],
                     help='joint order of the regressor, default: %(default)s')
    sub.add_argument('--fps', type=float, default=25,
                     help='fit every k-th frame, nearest to this rate, default: %(default)s')
    sub.add_argument('--max-error', type=float, default=40, metavar='MM',
                     help='reject clips with a larger mean joint distance, default: %(default)s')
    sub.add_argument('--processes', type=int, default=2, help='default: %(default)s')
    sub.add_argument('--overwrite', action='store_true', help='fit finished clips again')

    sub = add('verify', _verify, 'check every array of a store against its checksum', writes=False)
    sub.add_argument('store', type=Path)
    sub = add('info', _info, 'describe a store', writes=False)
    sub.add_argument('store', type=Path)
    return parser.parse_args(argv)


def _add_rates(sub, source_fps, text) -> None:
    sub.add_argument('--fps', type=float, default=50, help='resample to it, default: %(default)s')
    sub.add_argument('--source-fps', type=float, default=source_fps, help=text)


def _add_test_fps(sub) -> None:
    sub.add_argument('--test-fps', type=float, default=25,
                     help='frame rate given to TS1 to TS6, which no file says (default: '
                          '%(default)s)')


def _add_bodies(sub) -> None:
    sub.add_argument('--out', required=True, type=Path, metavar='FILE', help='json file to write')
    for gender in ('neutral', 'male', 'female'):
        sub.add_argument(f'--{gender}', metavar='FILE', help=f'{gender} SMPL body (.npz or .pkl)')
    sub.add_argument('--regressor', metavar='FILE',
                     help='(17, vertices) regressor of the joints of Human3.6M; default: the one '
                          'in the body files, where they have one')


def _bodies(args) -> dict:
    from mmpose_lift.models.body import BodyModel
    return {gender: BodyModel.from_file(path, gender, args.regressor)
            for gender in ('neutral', 'male', 'female') if (path := getattr(args, gender))}


def _pairs(items, what) -> list:
    for item in items:
        if '=' not in item:
            raise ValueError(f'{what}: expected NAME=VALUE, found {item!r}')
    return [item.split('=', 1) for item in items]


def _videopose3d(args):
    from mmpose_lift.io.readers.videopose3d_h36m import name_of_source, read_videopose3d_h36m
    named = _named_sources(args.keypoints_2d, name_of_source)
    return read_videopose3d_h36m(args.keypoints_3d, named, args.subjects)


def _humaneva(args):
    from mmpose_lift.io.readers.humaneva import name_of_source, read_humaneva
    named = _named_sources(args.keypoints_2d, name_of_source)
    return read_humaneva(args.keypoints_3d, named, args.subjects)


def _named_sources(items, name_of_source) -> dict:
    """2D files by name from words [NAME=]FILE."""
    named = {}
    for item in items:
        name, file = item.split('=', 1) if '=' in item else (name_of_source(item), item)
        if name in named:
            raise ValueError(f'--keypoints-2d: two files for source {name!r}')
        named[name] = file
    return named


def _mmpose(args):
    from mmpose_lift.io.readers import read_mmpose_h36m
    detections = {}
    for name, file in _pairs(args.detections, '--detections'):
        detections.setdefault(name, []).append(file)
    return read_mmpose_h36m(args.annotations, args.cameras, detections, args.fps)


def _pstmo_3dhp(args):
    from mmpose_lift.io.readers import read_pstmo_3dhp
    return read_pstmo_3dhp(args.files, args.test_fps)


def _mmpose_3dhp(args):
    from mmpose_lift.io.readers import read_mmpose_3dhp
    return read_mmpose_3dhp(args.annotations, args.cameras, args.test_fps)


def _spin_3dhp(args):
    from mmpose_lift.io.readers import read_spin_3dhp
    return read_spin_3dhp(args.file, args.test_fps)


def _mocap_npz(args):
    from mmpose_lift.io.readers import read_mocap_npz
    return read_mocap_npz(args.files)


def _bvh(args):
    from mmpose_lift.io.readers import read_bvh
    return read_bvh(args.files, args.fps, args.source_fps, args.keep_first_frame)


def _asf_amc(args):
    from mmpose_lift.io.readers import read_asf_amc
    return read_asf_amc(args.asf, args.amc, args.fps, args.source_fps)


def _amass(args):
    from mmpose_lift.io.readers import read_amass
    recording = read_amass(args.root, args.body, args.regressor, args.dmpl, args.split,
                           args.subsets, args.regressor_skeleton)
    for note in recording.notes:
        print(f'note: {note}', file=sys.stderr)
    return recording


def _synthetic(args):
    from mmpose_lift.datasets.synthetic_motion import synthetic_clips
    from mmpose_lift.io.readers import Clip, Recording
    clips = (Clip(*clip) for clip in synthetic_clips(args.clips, args.frames, args.seed))
    return Recording(clips, args.clips, frame='world',
                     source=f'synthetic motion of mmpose_lift, seed {args.seed}: made by a '
                            'procedure, not recorded from people')


def _3dpw(args):
    from mmpose_lift.apis.mesh_labels import convert_3dpw
    report = convert_3dpw(args.folder, args.out, _bodies(args), args.min_keypoints)
    Console().print(f'{args.out}: {report}', highlight=False)


def _mesh_labels(args):
    from mmpose_lift.apis.mesh_labels import complete_file
    report = complete_file(args.annotations, args.out, args.layout, _bodies(args), args.replace)
    Console().print(f'{args.out}: {report}', highlight=False)


def _project(args):
    from mmpose_lift.datasets.projection import project_store
    from mmpose_lift.geometry import h36m_camera
    from mmpose_lift.io import PoseStore
    cameras = args.cameras and [h36m_camera(*name.partition('.')[::2]) for name in args.cameras]
    params = {key: float(value) for key, value in _pairs(args.noise_param, '--noise-param')}
    return project_store(PoseStore.open(args.store), cameras, args.cameras_per_clip, args.seed,
                         args.noise, params)


def _fit_body(args):
    from mmpose_lift.datasets.body_motion_fitting import BodyMotionFitting
    fitting = BodyMotionFitting(args.stores, args.out, args.body, args.gender, args.regressor,
                                args.regressor_skeleton, args.fps, args.max_error, args.overwrite)
    with _progress() as bar:
        total = len(fitting.clips)
        task = bar.add_task('fit-body', total=total, completed=total - len(fitting.remaining))
        report = fitting.run(args.processes,
                             lambda name: bar.update(task, advance=1, description=name))
    print(f'{args.out}: {fitting.summary()}')
    for name, entry in report.items():
        if entry['rejected']:
            print(f'rejected: {name}: {entry["rejected"]}')


def _verify(args):
    from mmpose_lift.io import PoseStore
    PoseStore.open(args.store).verify()
    Console().print(f'{args.store}: every array matches its checksum')


def _info(args):
    from mmpose_lift.io import PoseStore
    store, console = PoseStore.open(args.store), Console()
    fps = ', '.join(f'{rate:g}' for rate in sorted({s.fps for s in store.sequences}))
    console.print(f'{args.store}: {len(store.sequences)} clips, {store.num_frames:,} frames, '
                  f'{fps} Hz', highlight=False)
    console.print(f'  {store.source}', highlight=False)
    console.print(f'  {store.frame} space, skeleton {store.skeleton}, '
                  f'3D: {"no" if store.keypoints_3d is None else "yes"}, '
                  f'2D: {", ".join(store.sources_2d) or "none"}, {len(store.cameras)} cameras, '
                  f'{int(store.valid.sum()):,} valid frames', highlight=False)
    clips, frames = Counter(), Counter()
    for sequence in store.sequences:
        clips[sequence.subject] += 1
        frames[sequence.subject] += sequence.num_frames
    table = Table('subject', 'clips', 'frames', 'actions')
    for subject in store.subjects:
        actions = {s.action for s in store.sequences if s.subject == subject} - {''}
        table.add_row(subject, str(clips[subject]), f'{frames[subject]:,}',
                      ', '.join(sorted(actions)))
    console.print(table)


def _progress() -> Progress:
    return Progress(TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
                    TimeRemainingColumn(), console=Console(stderr=True))


def main(argv=None) -> int:
    args = parse_args(argv)
    try:
        recording = args.run(args)
        if recording is None:
            return 0
        with _progress() as bar:
            task = bar.add_task(args.format, total=recording.total)
            store = recording.write(
                args.out, args.overwrite,
                lambda clip: bar.update(task, advance=1, description=clip.sequence.name))
        print(f'{args.out}: {len(store.sequences)} clips, {store.num_frames:,} frames, '
              f'2D: {", ".join(store.sources_2d) or "none"}')
        return 0
    except KeyboardInterrupt:
        print('stopped; what is finished is kept', file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
