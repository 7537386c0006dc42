"""What lifting live costs: errors of streams with few future frames and of whole clips."""

import copy
import csv
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..datasets.pose_sequence_dataset import PoseSequenceDataset
from ..evaluation.functional import joint_errors, velocity_errors
from ..io.atomic import atomic_write
from .clip_lifter import DEFAULT_FRAME_RATE, ClipLifter
from .keypoint_preparation import MIN_SCORE
from .lift_stream import MAX_GAP, Job, make_tokens, make_track, run_jobs
from .stream_clock import KeySchedule, StreamClock

# Options of test data sets that say which poses are read, not in which windows.
_DATA_OPTIONS = ('stores', 'skeleton', 'keypoints_2d', 'fps', 'subjects', 'actions',
                 'cameras_per_clip', 'camera_seed', 'data_root', 'metainfo')


class StreamErrors(NamedTuple):
    """Errors over a test data set, poses and ground truth at their root joints.

    Attributes:
        look_ahead: Frames; None for whole clips.
        milliseconds: The same as time; None for whole clips.
        input_stride: Frames between key-frames, None for models that see all frames.
        mpjpe: mm.
        mpjve: mm per frame.
        acceleration: Mean norm of the difference of second differences, mm per frame squared.
        frames: Number of frames with ground truth.
    """
    look_ahead: Optional[int]
    milliseconds: Optional[float]
    input_stride: Optional[int]
    mpjpe: float
    mpjve: float
    acceleration: float
    frames: int


class _Clip(NamedTuple):
    keypoints: np.ndarray  # (F, J, 2) pixels
    target: np.ndarray  # (F, J, 3) metres
    valid: np.ndarray  # (F, J) bool
    image_size: tuple
    fps: float


def load_lifter(config: Config, checkpoint: str, device: Optional[str] = None) -> ClipLifter:
    """The lifter of a config with the weights of a checkpoint."""
    return ClipLifter(config, checkpoint, device, batch_size=64)


def measure_look_ahead(config: Config, lifter: ClipLifter, look_aheads: Sequence[int],
                       input_strides: Sequence[int] = (), cameras: Optional[int] = None,
                       track: Callable[[Iterable], Iterable] = iter) -> List[StreamErrors]:
    """Lift the clips of a config's test data set as live streams, and as whole clips.

    The streams are those of :class:`LiftStream` with ``hop=1``; only the network runs on many
    windows at once, and on windows that streams of different look-ahead share once. The last frames
    of a clip have less look-ahead than the others, as at the end of any stream.

    Args:
        config: Its ``test_dataloader`` names the data.
        lifter: The model.
        look_aheads: Frames at the model's rate (clips of a multiple of it get the same time).
        input_strides: For models that see key-frames only. Defaults to the lifter's.
        cameras: Cameras per clip instead of the config's.
        track: Wraps the clips, for a progress bar.

    Returns:
        For each input stride the errors of each look-ahead and, last, of whole clips.

    Raises:
        ValueError: More look-ahead than a window has, or strides for a model without key-frames.
    """
    if not look_aheads:
        raise ValueError('look_aheads: expected one number of frames or more, found none')
    lifters = [lifter]
    if len(input_strides) and not lifter.sparse:
        raise ValueError(f'input_strides: model {lifter.name!r} needs 2D keypoints at every frame; '
                         'leave them out')
    if len(input_strides):
        lifters = [_with_stride(lifter, stride) for stride in input_strides]
    waits = sorted(set(look_aheads))
    sums: Dict[tuple, _Sums] = {(i, wait): _Sums() for i in range(len(lifters))
                                for wait in [*waits, None]}
    for clip in track(_read_clips(config, lifter, cameras)):
        for i, one in enumerate(lifters):
            for wait, poses in zip(waits, lift_live(one, clip.keypoints, clip.image_size, clip.fps,
                                                    waits)):
                sums[i, wait].add(poses, clip, lifter.skeleton.root_index)
            whole = one.lift_at(clip.keypoints, clip.image_size, fps=clip.fps)
            sums[i, None].add(whole, clip, lifter.skeleton.root_index)
    rate = lifter.fps or DEFAULT_FRAME_RATE
    return [StreamErrors(wait, None if wait is None else 1000 * wait / rate,
                         lifters[i].input_stride if lifter.sparse else None, *found.means())
            for (i, wait), found in sums.items()]


def _with_stride(lifter: ClipLifter, stride: int) -> ClipLifter:
    other = copy.copy(lifter)
    other.input_stride = int(stride)
    other.key_frame_numbers(1)  # refuses strides that do not fit
    return other


def lift_live(lifter: ClipLifter, keypoints: np.ndarray, image_size, fps: float,
              look_aheads: Sequence[int]) -> np.ndarray:
    """The poses that :class:`LiftStream` gives for a clip, for several look-aheads at once.

    Args:
        keypoints: (F, J, 2 or 3) pixels.
        image_size: (width, height).
        fps: Frames per second.
        look_aheads: n numbers of frames at the model's rate.

    Returns:
        (n, F, J, 3) metres.
    """
    factor = fps / (lifter.fps or fps)
    clocks = [StreamClock(lifter, fps, round(wait * factor)) for wait in look_aheads]
    tracks = [make_track(lifter, clock, image_size, MAX_GAP, MIN_SCORE) for clock in clocks]
    schedule = KeySchedule(lifter.input_stride, clocks[0].step)
    poses = np.full((len(clocks), *keypoints.shape[:2], 3), np.nan, np.float32)
    waiting: List[tuple] = []  # number of the stream and job

    def run() -> None:
        for (row, _), found in zip(waiting, _run_shared(lifter, [job for _, job in waiting])):
            for one in found:
                poses[row, one.frame] = one.pose
        waiting.clear()

    for frame, position in enumerate(np.arange(len(keypoints)) * clocks[0].step):
        needed = not lifter.sparse or schedule.needs(position)
        if needed:
            schedule.serve(position)
        given = keypoints[frame] if needed else None
        limits = [clock.tick() for clock in clocks]
        added = [one.add(frame, position, given) for one in tracks]
        if lifter.sparse:
            make_tokens(lifter, tracks, image_size)
        for row, (one, limit, jobs) in enumerate(zip(tracks, limits, added)):
            waiting += [(row, job) for job in [*jobs, *one.jobs(limit, position)]]
        if len(waiting) >= lifter.batch_size * len(clocks):
            run()
    waiting += [(row, job) for row, one in enumerate(tracks) for job in one.flush()]
    run()
    return poses


def _run_shared(lifter: ClipLifter, jobs: List[Job]) -> List[list]:
    """As :func:`run_jobs`, with equal windows only once."""
    if lifter.sparse:
        return run_jobs(lifter, jobs)
    keys = [job.inputs.tobytes() for job in jobs]
    first = {key: job for key, job in reversed(list(zip(keys, jobs)))}
    inputs = torch.from_numpy(np.stack([job.inputs for job in first.values()]))
    poses = np.concatenate([lifter.forward(part) for part in inputs.split(lifter.batch_size)])
    found = dict(zip(first, poses))
    return [job.done(found[key]) for key, job in zip(keys, jobs)]


def _read_clips(config: Config, lifter: ClipLifter, cameras: Optional[int]) -> '_Clips':
    init_default_scope('mmpose')
    options = config.test_dataloader.dataset.to_dict()
    step = 1 if lifter.sparse else int(options.get('seq_step', 1))
    rate = lifter.fps * step if lifter.fps else options.get('fps') or DEFAULT_FRAME_RATE
    options = {name: options[name] for name in _DATA_OPTIONS if name in options}
    if cameras is not None:
        options['cameras_per_clip'] = cameras
    return _Clips(PoseSequenceDataset(**options, seq_len=1, windows='frames'), rate)


class _Clips:
    """All clips of a data set, read one after the other."""

    def __init__(self, dataset: PoseSequenceDataset, rate: float) -> None:
        self._dataset, self._rate = dataset, rate

    def __len__(self) -> int:
        return len(self._dataset.clips)

    def __iter__(self) -> Iterator[_Clip]:
        first = 0
        for clip in self._dataset.clips:
            item = self._dataset.read(np.arange(first, first + clip.num_frames))
            first += clip.num_frames
            size = tuple(float(item['camera_param'][name][0]) for name in 'wh')
            yield _Clip(item['keypoints'][:, 0], item['lifting_target'][:, 0],
                        item['lifting_target_visible'][:, 0] != 0, size, self._rate * clip.rate)


class _Sums:
    """Error sums of poses, velocities and accelerations."""

    def __init__(self) -> None:
        self._total, self._count, self._frames = np.zeros(3), np.zeros(3, np.int64), 0

    def add(self, poses: np.ndarray, clip: _Clip, root: int) -> None:
        pred, target = (1000 * (x - x[:, root, None]).astype(np.float64)
                        for x in (poses, clip.target))
        mask, errors = clip.valid, [joint_errors(pred, target, clip.valid)]
        masks = [mask]
        for _ in range(2):
            if len(pred) < 2:
                break
            errors.append(velocity_errors(pred, target, mask))
            pred, target = np.diff(pred, axis=0), np.diff(target, axis=0)
            mask = mask[1:] & mask[:-1]
            masks.append(mask)
        for i, (error, known) in enumerate(zip(errors, masks)):
            self._total[i] += error.sum()
            self._count[i] += known.sum()
        self._frames += int(clip.valid.any(axis=1).sum())

    def means(self) -> tuple:
        with np.errstate(invalid='ignore'):  # no velocity in clips of one frame
            return (*(self._total / self._count).tolist(), self._frames)


def write_look_ahead_table(path: Union[str, Path], errors: Sequence[StreamErrors]) -> None:
    """Write the errors as .csv or, as a table in Markdown, .md.

    Raises:
        ValueError: Another suffix.
    """
    if Path(path).suffix not in ('.csv', '.md'):
        raise ValueError(f'{path}: expected a .csv or .md file')
    with atomic_write(path) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as out:
        if Path(path).suffix == '.md':
            out.write(format_table(errors))
        else:
            csv.writer(out).writerows(_cells(errors))


def format_table(errors: Sequence[StreamErrors]) -> str:
    """The errors as a table in Markdown."""
    rows = _cells(errors)
    rows.insert(1, ['---:'] * len(rows[0]))
    return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def _cells(errors: Sequence[StreamErrors]) -> List[List[str]]:
    sparse = any(one.input_stride is not None for one in errors)
    rows = [['look-ahead frames', 'ms', *(['s_in'] if sparse else []), 'MPJPE mm',
             'MPJVE mm/frame', 'acceleration mm/frame^2', 'frames']]
    for one in errors:
        when = (['whole clip', ''] if one.look_ahead is None else
                [str(one.look_ahead), f'{one.milliseconds:.0f}'])
        rows.append([*when, *([str(one.input_stride)] if sparse else []), f'{one.mpjpe:.2f}',
                     f'{one.mpjve:.3f}', f'{one.acceleration:.3f}', str(one.frames)])
    return rows
