"""Poses of body motion and cameras that look at them: what pre-training without images reads."""

import os.path as osp
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Callable, List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS
from mmpose.structures import PoseDataSample

from ..geometry.camera_ring import virtual_cameras
from ..geometry.cameras import CAMERA_SHAPES
from ..geometry.skeletons import get_skeleton
from ..io.body_motion import FRAME_RATES, BodyMotion, read_body_motion
from ..io.restricted_pickle import load_npz
from .store_skeletons import skeleton_metainfo
from .synthetic_motion import synthetic_clips

_FILES_PER_MESSAGE = 1000
_ROUNDING = 1e-6  # of a frame: a product that ends just below a whole number is that number
_CLIP_FRAMES, _FRAME_STEP, _CLIP_FPS = 60, 2, 10  # [np] procedural: clips of 6 s, 5 poses a second
_MAX_BETA = 2.0  # [np] random coefficients end there, as those of rendered people


@dataclass(frozen=True)
class _Clips:
    """Chosen poses of clips, as arrays that loader processes share."""

    poses: np.ndarray  # (N, 72) float32
    trans: np.ndarray  # (N, 3) float32
    clip: np.ndarray  # (N,) int32, row of the lists below
    frame: np.ndarray  # (N,) int32, in the clip
    betas: np.ndarray  # (C, S) float32
    names: List[str]
    subjects: List[str]
    genders: List[str]

    @classmethod
    def join(cls, parts: Sequence['_Clips']) -> '_Clips':
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(len(part.names) for part in parts)])
        columns = {name: np.concatenate([getattr(part, name) for part in parts])
                   for name in ('poses', 'trans', 'frame', 'betas')}
        lists = {name: [text for part in parts for text in getattr(part, name)]
                 for name in ('names', 'subjects', 'genders')}
        clip = np.concatenate([part.clip + start for part, start in zip(parts, starts)])
        return cls(clip=clip.astype(np.int32), **columns, **lists)


@DATASETS.register_module()
class BodyMotionDataset(BaseDataset):
    """Poses of AMASS, of one's own body motion or of a procedure, each seen by a virtual camera.

    The data of MPT's pre-training (Lin et al., arXiv 2211.13357). A sample is one frame as the
    files have it and one camera; heatmaps and targets of a whole batch are made from it on the
    model's device, by :class:`~mmpose_lift.models.VirtualViewPreprocessor`.

    Frames are taken evenly in time over all clips one after the other [np], so that a clip of
    120 Hz counts no more than one of 60 Hz. The chosen ones stay in memory, 308 bytes each (2
    million: 0.6 GB), shared by loader processes; files are read one after the other, some 100 000
    frames a second.

    In training every sample has a random camera, and a random shape if asked for, from NumPy's
    global generator, which MMEngine seeds in every loader process. For tests sample i is seen by
    camera i modulo their number, and random shapes belong to a clip and follow from ``seed``.

    Args:
        ann_file: Folder of .npz files in AMASS's layout (``io.body_motion``), searched with all its
            subfolders, or one file; several as a list; None for procedural motion only. Files
            without poses (AMASS's shape.npz) are left out.
        data_root: Folder that relative names start from.
        procedural: So many frames of procedural motion in addition, with the mean shape; they are
            SYNTHETIC (``datasets.synthetic_motion``), fitted to the stand-in body when first used,
            some 6000 a second.
        num_samples: Take so many frames of the files. Where a clip has fewer frames per second than
            are taken, some are taken twice.
        interval: Or take a frame every so many seconds. Default: all.
        views: Cameras: 1 to 4 of Human3.6M's S1, up to 8 with those between them, or 'unseen' (
            :func:`~mmpose_lift.geometry.camera_ring.virtual_cameras`).
        all_views: Every frame by every camera: sample i is frame i // n and camera i % n.
        betas: 'file': those of the file, which belong to the body of the file's gender and give
            another a slightly different shape. 'random': normal with ``betas_std``, at most 2
            either way [np].
        betas_std: Standard deviation of random coefficients [np].
        num_betas: S; what a file has beyond is cut, what it lacks is 0.
        seed: Of the procedural motion, and of random shapes for tests.
        pipeline: Transforms of samples.
        metainfo: Overrides of the meta information, which follows from the skeleton 'smpl'.
        test_mode: Samples are drawn for evaluation.
        lazy_init: Do not read the files yet.
        max_refetch: As in MMEngine.

    Raises:
        FileNotFoundError: No such folder, or no .npz file with poses in it.
        ValueError: Options that do not fit, more ``num_samples`` than there are frames, or a file
            that :func:`~mmpose_lift.io.body_motion.read_body_motion` refuses.
    """

    METAINFO: dict = {**skeleton_metainfo(get_skeleton('smpl')), 'dataset_name': 'body_motion'}

    def __init__(self,
                 ann_file: Optional[Union[str, Sequence[str]]] = None,
                 data_root: str = '',
                 procedural: int = 0,
                 num_samples: Optional[int] = None,
                 interval: Optional[float] = None,
                 views: Union[int, str] = 4,
                 all_views: bool = False,
                 betas: str = 'file',
                 betas_std: float = 0.9,
                 num_betas: int = 10,
                 seed: int = 0,
                 pipeline: Sequence[Union[dict, Callable]] = (),
                 metainfo: Optional[dict] = None,
                 test_mode: bool = False,
                 lazy_init: bool = False,
                 max_refetch: int = 1000):
        paths = [ann_file] if isinstance(ann_file, (str, Path)) else list(ann_file or ())
        self.paths = [Path(osp.join(data_root or '', path)) for path in paths if str(path)]
        _check_options(bool(self.paths), procedural, num_samples, interval)
        if betas not in ('file', 'random'):
            raise ValueError(f"betas: expected 'file' or 'random', found {betas!r}")
        if not betas_std > 0 or num_betas < 1:
            raise ValueError('betas_std and num_betas: expected numbers above 0, found '
                             f'{betas_std} and {num_betas}')
        self.procedural, self.num_samples, self.interval = procedural, num_samples, interval
        self.cameras = virtual_cameras(views)
        self._views = [{name: getattr(camera, name).astype(np.float32)
                        for name in CAMERA_SHAPES} for camera in self.cameras]
        self.all_views = all_views
        self.random_betas = betas == 'random'
        self.betas_std, self.num_betas, self.seed = float(betas_std), num_betas, seed
        self.clips: Optional[_Clips] = None
        super().__init__(
            ann_file='', metainfo=metainfo, data_root=data_root, data_prefix={},
            serialize_data=False, pipeline=pipeline, test_mode=test_mode, lazy_init=lazy_init,
            max_refetch=max_refetch)

    @classmethod
    def _load_metainfo(cls, metainfo: Optional[dict] = None) -> dict:
        return parse_pose_metainfo({**cls.METAINFO, **(metainfo or {})})

    def full_init(self) -> None:
        """Read the files, once."""
        if self._fully_initialized:
            return
        parts = []
        if self.paths:
            parts.append(_read_clips(self.paths, self.num_samples, self.interval, self.num_betas))
        if self.procedural:
            parts.append(_procedural_clips(self.procedural, self.seed, self.num_betas))
        self.clips = _Clips.join(parts)
        self._test_betas = self.clips.betas
        if self.random_betas:
            self._test_betas = np.stack([
                self._draw_betas(np.random.default_rng([self.seed, clip]))
                for clip in range(len(self.clips.names))])
        self._fully_initialized = True

    @force_full_init
    def __len__(self) -> int:
        return len(self.clips.poses) * (len(self.cameras) if self.all_views else 1)

    def _draw_betas(self, rng) -> np.ndarray:
        betas = self.betas_std * rng.standard_normal(self.num_betas)
        return np.clip(betas, -_MAX_BETA, _MAX_BETA).astype(np.float32)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """One frame and one camera.

        Returns:
            dict with

            * ``inputs``: dict of float32 arrays ``poses`` (24, 3) axis-angle, world axes with z up;
              ``betas`` (S,); ``trans`` (3,) metres, added to every vertex; and of the camera
              ``rotation`` (3, 3), ``position`` (3,), ``focal`` (2,), ``center`` (2,), ``radial``
              (3,), ``tangential`` (2,) (:class:`~mmpose_lift.geometry.cameras.Camera`);
            * ``data_samples``: PoseDataSample with the metainfo ``id``, ``img_path`` (file#frame,
              there is no image), ``subject`` (folder of the file), ``action`` (''), ``gender``,
              ``dataset_name`` and ``camera`` (a name).
        """
        count, views = len(self), len(self.cameras)
        if not -count <= idx < count:
            raise IndexError(f'index {idx} of {count} samples of body motion')
        idx = int(idx) % count
        row = idx // views if self.all_views else idx
        fixed = self.all_views or self.test_mode
        view = idx % views if fixed else np.random.randint(views)
        clips, clip = self.clips, self.clips.clip[row]
        random_betas = self.random_betas and not self.test_mode
        inputs = dict(
            poses=clips.poses[row].reshape(-1, 3).copy(),
            betas=self._draw_betas(np.random) if random_betas else self._test_betas[clip].copy(),
            trans=clips.trans[row].copy(),
            **{name: array.copy() for name, array in self._views[view].items()})
        sample = PoseDataSample(metainfo=dict(
            id=idx, img_path=f'{clips.names[clip]}#{clips.frame[row]}',
            subject=clips.subjects[clip], action='', gender=clips.genders[clip],
            dataset_name=self._metainfo['dataset_name'], camera=self.cameras[view].name))
        return dict(inputs=inputs, data_samples=sample)


def _check_options(files: bool, procedural: int, num_samples, interval) -> None:
    if procedural < 0 or not (files or procedural):
        raise ValueError('expected ann_file (folders of body motion), procedural (a number of '
                         f'frames above 0) or both, found no ann_file and procedural={procedural}')
    if num_samples is not None and interval is not None:
        raise ValueError('give num_samples or interval, not both: either says which frames of the '
                         'files are taken')
    for name, value in (('num_samples', num_samples), ('interval', interval)):
        if value is not None and not (files and value > 0):
            raise ValueError(f'{name}: expected a number above 0, and ann_file to take frames '
                             f'from, found {value}' + ('' if files else ' without ann_file'))


def _read_clips(paths: Sequence[Path], num_samples: Optional[int], interval: Optional[float],
                num_betas: int) -> _Clips:
    """The chosen frames of all files; numbers of frames first, so that memory holds no others."""
    files, lengths, rates, left_out = [], [], [], 0
    for path in _npz_files(paths):
        header = _length_and_rate(path)
        if header is None:
            left_out += 1
            continue
        files.append(path)
        lengths.append(header[0])
        rates.append(header[1])
    if not files:
        raise FileNotFoundError(f'{", ".join(map(str, paths))}: none of {left_out} .npz files has '
                                'poses; expected body motion in the layout of AMASS')
    clip, frame = _choose(np.array(lengths), np.array(rates), num_samples, interval)
    poses = np.empty((len(clip), 72), np.float32)
    trans = np.empty((len(clip), 3), np.float32)
    betas = np.zeros((len(files), num_betas), np.float32)
    genders = [''] * len(files)
    borders = np.searchsorted(clip, np.arange(len(files) + 1))  # clip is sorted
    for i, (path, first, last) in enumerate(zip(files, borders, borders[1:])):
        if i and i % _FILES_PER_MESSAGE == 0:
            print_log(f'body motion: {i} of {len(files)} files read', logger='current')
        if first == last:
            continue
        motion = read_body_motion(path)
        rows = frame[first:last]
        poses[first:last], trans[first:last] = motion.poses[rows], motion.trans[rows]
        known = motion.betas[:num_betas]
        betas[i, :len(known)] = known
        genders[i] = motion.gender
    print_log(f'body motion: {len(clip)} of {sum(lengths)} frames of {len(files)} files'
              + (f', {left_out} without poses left out' if left_out else ''), logger='current')
    return _Clips(poses, trans, clip, frame, betas, [str(path) for path in files],
                  [path.parent.name for path in files], genders)


def _npz_files(paths: Sequence[Path]) -> List[Path]:
    files = []
    for path in paths:
        # what macOS leaves beside the files of an archive starts with a dot
        found = [path] if path.is_file() else sorted(
            file for file in path.rglob('*.npz') if not file.name.startswith('.'))
        if not found:
            raise FileNotFoundError(
                f'{path}: expected a folder with body motion (.npz files in the layout of AMASS), '
                f'found {"none" if path.is_dir() else "no such folder"}; get AMASS, or make one '
                'with tools/prepare_data.py fit-body')
        files += found
    return files


def _length_and_rate(path: Path) -> Optional[Tuple[int, float]]:
    """Frames and frames per second, without unpacking the poses; None where there are none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if 'poses.npy' not in names:
                return None
            with archive.open('poses.npy') as member:
                version = np.lib.format.read_magic(member)
                read_header = (np.lib.format.read_array_header_1_0 if version[0] == 1
                               else np.lib.format.read_array_header_2_0)
                (length, _), _, _ = read_header(member)
        rate = next(name for name in FRAME_RATES if f'{name}.npy' in names)
        fps = float(load_npz(path, [rate])[rate])
        if length > 0 and np.isfinite(fps) and fps > 0:
            return length, fps
    except (zipfile.BadZipFile, OSError, ValueError, TypeError, StopIteration):
        pass
    motion = read_body_motion(path)  # says what is wrong with it
    return len(motion), motion.fps


def _choose(lengths: np.ndarray, rates: np.ndarray, num_samples: Optional[int],
            interval: Optional[float]) -> Tuple[np.ndarray, np.ndarray]:
    """(N,) int32 clip, in rising order, and frame in it."""
    if num_samples is not None:
        if num_samples > lengths.sum():
            raise ValueError(f'num_samples: expected at most the {lengths.sum()} frames of '
                             f'{len(lengths)} files of body motion, found {num_samples}')
        ends = np.cumsum(lengths / rates)
        times = (np.arange(num_samples) + 0.5) * (ends[-1] / num_samples)
        clip = np.searchsorted(ends[:-1], times, side='right')
        frame = (times - (ends - lengths / rates)[clip]) * rates[clip]
    else:
        step = np.ones(len(lengths)) if interval is None else np.maximum(1, interval * rates)
        counts = np.ceil(lengths / step - _ROUNDING).astype(int)
        frames = [np.arange(count) * s for count, s in zip(counts, step)]
        clip = np.repeat(np.arange(len(lengths)), counts)
        frame = np.concatenate(frames)
    frame = np.clip(np.floor(frame + _ROUNDING), 0, lengths[clip] - 1)
    return clip.astype(np.int32), frame.astype(np.int32)


@lru_cache(maxsize=4)
def _procedural_clips(count: int, seed: int, num_betas: int) -> _Clips:
    """``count`` poses of procedural motion, fitted to the stand-in body of mean shape."""
    from ..models.body import BodyModel, fit_pose
    per_clip = _CLIP_FRAMES // _FRAME_STEP
    num_clips = -(-count // per_clip)
    made = list(synthetic_clips(num_clips, _CLIP_FRAMES, seed, fps=_CLIP_FPS))
    joints = np.concatenate([joints[::_FRAME_STEP] for _, joints in made])[:count]
    rotmats, trans = fit_pose(BodyModel.stand_in(), joints)
    motion = BodyMotion.from_rotmats(rotmats, np.zeros(num_betas), trans, fps=1)
    rows = np.arange(count, dtype=np.int32)
    infos = [info for info, _ in made]
    return _Clips(motion.poses, motion.trans, rows // per_clip, rows % per_clip * _FRAME_STEP,
                  np.zeros((num_clips, num_betas), np.float32),
                  [f'procedural/{info.subject}/{info.subaction}' for info in infos],
                  [info.subject for info in infos], ['neutral'] * num_clips)
