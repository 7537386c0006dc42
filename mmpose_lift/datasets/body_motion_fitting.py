"""Turn recorded joints into body motion: stores of 17 joints into a folder of AMASS-like files."""

import json
import multiprocessing
import re
import signal
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from ..io.atomic import atomic_write
from ..io.body_motion import BodyMotion, write_body_motion
from ..io.pose_store import PoseStore

__all__ = ['BodyMotionFitting']

STAND_IN = 'stand_in'
MAX_ERROR = 40.0  # [np] millimetres
_REPORT = 'report.json'


class _Body(NamedTuple):
    """Where the body model comes from; arguments of ``BodyModel.from_file``."""

    path: str
    gender: str
    regressor: Optional[str]
    regressor_skeleton: str


class _Clip(NamedTuple):
    """A run of valid rows of a store, empty where none is valid."""

    store: str
    subject: str
    name: str
    first: int
    last: int
    fps: float
    file: str  # inside the folder

    @property
    def person(self) -> Tuple[str, str]:
        return self.store, self.subject


class BodyMotionFitting:
    """Fit a body model to every clip of world-space stores (``models.body.MotionFitter``).

    One shape is found per person (a subject of a store) from all clips of that person. Clips become
    ``<out>/<subject>/<clip>_poses.npz`` (``io.body_motion``); of a clip with frames that are not
    valid, the longest valid run. ``<out>/report.json`` has the settings and, for every clip, the
    mean distance between recorded and regressed joints, over all frames and in the worst one, that
    with the person's own thorax and head (``FittedShape.reach``), all in millimetres, and why it
    was rejected ('' if it was not). A run that was stopped goes on where it was.

    Args:
        stores: Pose stores of the 'h36m' skeleton in world axes.
        out: Folder of the motions.
        body: 'stand_in', or a file of an SMPL body.
        gender: Of the body in that file; it is written into the motions.
        regressor: Joint regressor (17, V), where the body file has none.
        regressor_skeleton: Joint order of the regressor.
        fps: Frame rate to fit at: every k-th frame is taken, with the k that comes nearest.
        max_error: Millimetres; clips with a larger mean distance are rejected (no file is written).
        overwrite: Forget the report of an earlier run in ``out`` and fit every clip again.

    Raises:
        FileNotFoundError: No such store.
        FileExistsError: ``out`` has a report with other settings, or other files.
        ValueError: A store in camera axes or with other joints, two clips of the same name, a
            regressor for the stand-in body, or a number that is not above 0.
    """

    def __init__(self, stores: Iterable[Union[str, Path]], out: Union[str, Path],
                 body: Union[str, Path] = STAND_IN, gender: str = 'neutral',
                 regressor: Optional[Union[str, Path]] = None,
                 regressor_skeleton: str = 'h36m_l_first', fps: float = 25,
                 max_error: float = MAX_ERROR, overwrite: bool = False):
        for name, value in (('fps', fps), ('max_error', max_error)):
            if not value > 0:
                raise ValueError(f'{name}: expected a number above 0, found {value}')
        if str(body) == STAND_IN and (regressor is not None or gender != 'neutral'):
            raise ValueError('body: the stand-in body is neutral and has a regressor of its own; '
                             'give gender and regressor only with the file of a body model')
        self.out = Path(out)
        self.body = _Body(str(body), gender, regressor and str(regressor), regressor_skeleton)
        self.max_error = float(max_error)
        self.clips: List[_Clip] = []
        sources = {}
        for path in stores:
            store = _open_store(str(path))
            sources[str(path)] = store.source
            self.clips += _clips(str(path), store, float(fps))
        self._check_names()
        self._sources = sources
        self.settings = dict(
            sources=list(sources.values()), body=Path(body).name, gender=gender,
            regressor=regressor and Path(regressor).name, fps=float(fps), max_error_mm=max_error)
        self.report: Dict[str, dict] = self._open_report(overwrite)

    def _check_names(self) -> None:
        files: Dict[str, _Clip] = {}
        for clip in self.clips:
            other = files.setdefault(clip.file, clip)
            if other is not clip:
                raise ValueError(f'{clip.name} of {clip.store} and {other.name} of {other.store} '
                                 f'would both be {clip.file}; fit the stores into two folders')

    def _open_report(self, overwrite: bool) -> Dict[str, dict]:
        path = self.out / _REPORT
        if not path.is_file():
            if self.out.exists() and any(self.out.iterdir()):
                raise FileExistsError(f'{self.out} is not empty and was not written by this tool; '
                                      'choose another folder')
            return {}
        try:
            report = json.loads(path.read_text(encoding='utf-8'))
            settings, clips = report['settings'], report['clips']
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f'{path}: not a report of this tool ({error}); choose another folder'
                             ) from None
        if overwrite:
            for name in clips:
                (self.out / name).unlink(missing_ok=True)
            return {}
        if settings != self.settings:
            raise FileExistsError(
                f'{self.out} has motions of other settings (see {path}); give the same ones to go '
                'on, overwrite (--overwrite), or choose another folder')
        return {name: entry for name, entry in clips.items()
                if entry['rejected'] or (self.out / name).is_file()}

    @property
    def remaining(self) -> List[_Clip]:
        """Clips that are not finished."""
        return [clip for clip in self.clips if clip.file not in self.report]

    def run(self, processes: int = 1,
            progress: Callable[[str], None] = lambda clip: None) -> Dict[str, dict]:
        """Fit what remains.

        Args:
            processes: How many work.
            progress: Called with the name of every clip that is done.

        Returns:
            The report's entries of all clips by file.

        Raises:
            ValueError: ``processes`` below 1, or what the body model's file has wrong.
        """
        if processes < 1:
            raise ValueError(f'processes: expected at least 1, found {processes}')
        for clip in self.remaining:
            if clip.first == clip.last:
                self.report[clip.file] = _rejected(clip, 'no valid frame')
        self._write_report()
        with ExitStack() as stack:
            run = _run_here
            if processes > 1:
                pool = stack.enter_context(ProcessPoolExecutor(
                    processes, mp_context=multiprocessing.get_context('spawn'),
                    initializer=_start_worker))
                stack.callback(pool.shutdown, cancel_futures=True)

                def run(function, tasks):
                    futures = [pool.submit(function, *task) for task in tasks]
                    return (future.result() for future in as_completed(futures))
            remaining = self.remaining
            people = {clip.person: [c for c in self.clips if c.person == clip.person]
                      for clip in remaining}
            shapes = dict(run(_fit_shape, [(self.body, clips) for clips in people.values()]))
            tasks = [(self.body, clip, shapes[clip.person], self.out, self.max_error,
                      f'{self._sources[clip.store]}; fitted to 17 joints by mmpose_lift')
                     for clip in remaining]
            for name, entry in run(_fit_clip, tasks):
                self.report[name] = entry
                self._write_report()
                progress(name)
        return self.report

    def summary(self) -> str:
        """One line about what is finished."""
        kept = [entry for entry in self.report.values() if not entry['rejected']]
        line = f'{len(kept)} motions, {len(self.report) - len(kept)} rejected'
        if kept:
            frames = [entry['frames'] for entry in kept]
            means = [np.average([entry[key] for entry in kept], weights=frames)
                     for key in ('error_mm', 'fitted_error_mm')]
            line += (f'; {sum(frames):,} frames, mean joint distance {means[0]:.1f} mm '
                     f"({means[1]:.1f} mm with the person's own thorax and head)")
        return line

    def _write_report(self) -> None:
        with atomic_write(self.out / _REPORT) as temporary:
            content = dict(settings=self.settings, clips=dict(sorted(self.report.items())))
            temporary.write_text(json.dumps(content, indent=1), encoding='utf-8')


def _run_here(function, tasks) -> Iterator:
    return (function(*task) for task in tasks)


def _start_worker() -> None:
    import torch
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the main process, which waits


@lru_cache(maxsize=1)
def _fitter(body: _Body):
    from ..models.body import BodyModel, MotionFitter
    if body.path == STAND_IN:
        return MotionFitter(BodyModel.stand_in())
    return MotionFitter(BodyModel.from_file(body.path, body.gender, body.regressor,
                                            body.regressor_skeleton))


@lru_cache(maxsize=4)
def _open_store(path: str) -> PoseStore:
    store = PoseStore.open(path)
    if store.frame != 'world' or store.skeleton != 'h36m' or store.keypoints_3d is None:
        raise ValueError(f'{path}: expected 3D joints of skeleton h36m in world axes, found '
                         f'{store.skeleton} in {store.frame} axes; prepare a world-space store '
                         '(tools/prepare_data.py mocap-npz, bvh, asf-amc or synthetic)')
    return store


def _clips(path: str, store: PoseStore, fps: float) -> Iterator[_Clip]:
    for sequence in store.sequences:
        valid = np.r_[False, store.valid[sequence.first:sequence.last], False]
        runs = np.flatnonzero(np.diff(valid)).reshape(-1, 2) + sequence.first
        first, last = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
        subject, name = str(sequence.subject), sequence.subaction or sequence.action
        yield _Clip(path, subject, sequence.name, int(first), int(last), fps,
                    f'{_plain(subject)}/{_plain(name)}_poses.npz')


def _plain(name: str) -> str:
    """A file name."""
    return re.sub(r'[^\w+-]+', '_', name).strip('_') or 'clip'


def _joints(clip: _Clip) -> Tuple[np.ndarray, float]:
    """(T, 17, 3) joints of every k-th frame, and the frame rate that this is."""
    store = _open_store(clip.store)
    rate = next(s.fps for s in store.sequences if s.first <= clip.first < s.last)
    step = max(1, round(rate / clip.fps))
    return np.array(store.keypoints_3d[clip.first:clip.last:step]), rate / step


def _fit_shape(body: _Body, clips: List[_Clip]):
    person = clips[0].person
    joints = np.concatenate([_joints(clip)[0] for clip in clips if clip.first < clip.last])
    fitter = _fitter(body)
    try:
        return person, fitter.fit_shape(joints)
    except ValueError as error:
        raise ValueError(f'{person[0]}, subject {person[1]}: {error}') from None


def _fit_clip(body: _Body, clip: _Clip, shape, out: Path, max_error: float,
              source: str) -> Tuple[str, dict]:
    """Fit and write a clip; its entry in the report."""
    start = time.perf_counter()
    joints, fps = _joints(clip)
    try:
        fitted = _fitter(body).fit(joints, fps, shape)
    except ValueError as error:  # bones of no length
        return clip.file, _rejected(clip, str(error))
    error, fitted_error = (1000 * float(e.mean()) for e in (fitted.errors, fitted.fitted_errors))
    entry = dict(
        subject=clip.subject, frames=len(joints), fps=fps, rows=[clip.first, clip.last],
        error_mm=round(error, 2), fitted_error_mm=round(fitted_error, 2),
        worst_frame_mm=round(1000 * float(fitted.errors.mean(1).max()), 2))
    if error > max_error:
        entry.update(_rejected(clip, f'mean joint distance {error:.1f} mm'))
    else:
        entry['rejected'] = ''
        write_body_motion(out / clip.file, BodyMotion.from_rotmats(
            fitted.rotmats, shape.betas, fitted.translation, fps, gender=body.gender,
            body_model=Path(body.path).name, source=source))
    return clip.file, dict(entry, seconds=round(time.perf_counter() - start, 2))


def _rejected(clip: _Clip, reason: str) -> dict:
    return dict(subject=clip.subject, rejected=reason)
