"""AMASS (Mahmood et al., ICCV 2019): SMPL+H motion as a world-space recording of 17 joints."""

import re
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from ..pose_store import Sequence as SequenceInfo
from .recording import Clip, Recording, require_file
from .smplh_body import (
    GENDERS,
    NUM_BETAS,
    NUM_DMPLS,
    NUM_JOINTS,
    find_body_file,
    find_dmpl_file,
    load_arrays,
    read_regressed_joints,
)

FPS = 50

# Sub-datasets of the pre-training of Uplift and Upsample [C].
AMASS_SPLITS = {
    'train': (
        'CMU', 'DanceDB', 'MPILimits', 'TotalCapture', 'EyesJapanDataset', 'HUMAN4D', 'KIT',
        'BMLhandball', 'BMLmovi', 'BMLrub', 'EKUT', 'TCDhandMocap', 'ACCAD', 'Transitionsmocap',
    ),
    'val': ('MPIHDM05', 'SFU', 'MPImosh'),
}

# Names that differ by more than capitals, '_' and '-': of folders inside the official archives, and
# of the archives of the newer release.
_ALIASES = {
    'biomotionlabntroje': 'bmlrub',
    'hdm05': 'mpihdm05',
    'poseprior': 'mpilimits',
    'mosh': 'mpimosh',
    'tcdhands': 'tcdhandmocap',
    'transitions': 'transitionsmocap',
    'dfaust67': 'dfaust',
    'ssmsynced': 'ssm',
}  # fmt: skip

_RATES = ('mocap_framerate', 'mocap_frame_rate')  # the second in files of stage II
_SUFFIX = re.compile(r'_(poses|stageii)$')
# A recording that is a whole number of samples long must not lose one to rounding.
_SAMPLE_MARGIN = 1e-3


class Motion(NamedTuple):
    """One AMASS file, its poses not read yet."""

    path: Path
    subject: str
    name: str
    gender: str
    fps: float
    has_dmpls: bool


@dataclass
class AmassRecording(Recording):
    """A recording with ``notes``: what was not found or left out, one sentence each."""

    notes: List[str] = field(default_factory=list)


def read_amass(
    root: Union[str, Path],
    body_dir: Union[str, Path],
    regressor: Union[str, Path],
    dmpl_dir: Optional[Union[str, Path]] = None,
    split: Optional[str] = None,
    subsets: Optional[Sequence[str]] = None,
    regressor_skeleton: str = 'h36m_l_first',
) -> AmassRecording:
    """Read AMASS in its SMPL+H form: ``<sub-dataset>/<subject>/<name>_poses.npz``.

    Each file is posed with the body of its gender, 16 shape and, where ``dmpl_dir`` is given, 8
    soft-tissue coefficients; 17 joints are regressed from the surface, brought to the order 'h36m',
    and resampled to 50 Hz (:func:`resample`). World space is kept as it is: metres, z up, not
    re-centred.

    Sub-datasets are found by name, whatever the capitals, '_' and '-', and under the other names
    that the official archives use (``BioMotionLab_NTroje`` is BMLrub). Files of stage II
    (``*_stageii.npz``) have no soft-tissue coefficients and are posed with zeros. Genders and frame
    rates of all files are checked before the first one is posed.

    Args:
        root: Folder of the sub-datasets.
        body_dir: SMPL+H bodies by gender (:func:`~.smplh_body.find_body_file`).
        regressor: Joint regressor (:func:`~.smplh_body.read_regressed_joints`).
        dmpl_dir: DMPL directions by gender; None leaves soft tissue at rest, which the source text
            of the store says. The authors' conversion uses them [C].
        split: 'train' or 'val' of ``AMASS_SPLITS``.
        subsets: Sub-datasets instead of a split.
        regressor_skeleton: Joint order of the regressor's rows.

    Returns:
        World-space recording without actions; the subject is '<sub-dataset>/<subject>'.

    Raises:
        FileNotFoundError: no such folder or file, none of the sub-datasets, no body of a gender.
        ValueError: a file without frame rate, of unknown gender, with poses of another width (SMPL,
            SMPL-X) or values that are not finite; bodies and regressor that do not fit.
    """
    names = _wanted(split, subsets)
    folders, notes = _find_folders(Path(root), names)
    motions = _find_motions(folders, notes)
    bodies = {
        gender: _body_reader(body_dir, regressor, dmpl_dir, gender, regressor_skeleton)
        for gender in sorted({motion.gender for motion in motions})
    }
    soft = 'with DMPLs' if dmpl_dir is not None else 'without DMPLs'
    if dmpl_dir is not None:
        rigid = sum(not motion.has_dmpls for motion in motions)
        if rigid:
            notes.append(f'{rigid} file(s) have no dmpls (stage II): soft tissue is left at rest')
    return AmassRecording(
        _clips(motions, bodies, dmpl_dir is not None),
        len(motions),
        source=f'AMASS (amass.is.tue.mpg.de), {", ".join(folders)}; joints by '
        f'{Path(regressor).name} from SMPL+H {soft}',
        frame='world',
        notes=notes,
    )


def _wanted(split: Optional[str], subsets: Optional[Sequence[str]]) -> Tuple[str, ...]:
    if (split is None) == (subsets is None):
        raise ValueError('give either split (train, val) or subsets (names of sub-datasets)')
    if split is None:
        names = [subsets] if isinstance(subsets, str) else subsets
        return tuple({_key(name): name for name in names}.values())
    if split not in AMASS_SPLITS:
        raise ValueError(f'split: expected one of {", ".join(AMASS_SPLITS)}, found {split!r}')
    return AMASS_SPLITS[split]


def _key(name: str) -> str:
    plain = re.sub('[^a-z0-9]', '', name.lower())
    return _ALIASES.get(plain, plain)


def _find_folders(root: Path, names: Sequence[str]) -> Tuple[Dict[str, Path], List[str]]:
    """Folders by the name asked for, and a note on those that are absent."""
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder (AMASS); check the path')
    present: Dict[str, List[Path]] = {}
    for path in sorted(root.iterdir()):
        if path.is_dir():
            present.setdefault(_key(path.name), []).append(path)
    found, absent = {}, []
    for name in names:
        folders = present.get(_key(name), [])
        if len(folders) > 1:
            raise ValueError(
                f'{root}: {" and ".join(path.name for path in folders)} are both the sub-dataset '
                f'{name}; keep one of them there'
            )
        if folders:
            found[name] = folders[0]
        else:
            absent.append(name)
    have = ', '.join(path.name for paths in present.values() for path in paths) or 'no folder'
    if not found:
        raise FileNotFoundError(
            f'{root}: none of the sub-datasets {", ".join(names)} is there (it has: {have}); '
            'download them in the form "SMPL+H G" from https://amass.is.tue.mpg.de, or check the '
            'path'
        )
    notes = []
    if absent:
        notes.append(
            f'{len(absent)} of {len(names)} sub-datasets are not in {root}: {", ".join(absent)}'
        )
    return found, notes


def _find_motions(folders: Dict[str, Path], notes: List[str]) -> List[Motion]:
    """The files with poses, in order; notes on the others."""
    motions, shapes, others = [], 0, []
    for subset, folder in folders.items():
        for path in sorted(folder.rglob('*.npz')):
            if path.name.startswith('.'):  # what macOS leaves beside the files of an archive
                continue
            names = _names_in(path)
            if 'poses' in names:
                motions.append(_describe(path, subset, folder, names))
            elif path.stem == 'shape':
                shapes += 1
            else:
                others.append(path)
    if shapes:
        notes.append(f'{shapes} shape.npz file(s) without poses left out')
    if others:
        listed = ', '.join(map(str, others[:10])) + (', ...' if len(others) > 10 else '')
        notes.append(f'{len(others)} other file(s) without poses left out: {listed}')
    if not motions:
        raise FileNotFoundError(
            f'{", ".join(map(str, folders.values()))}: no .npz file with poses; were the archives '
            'unpacked there?'
        )
    [((subject, name), count)] = Counter((m.subject, m.name) for m in motions).most_common(1)
    if count > 1:
        paths = [str(m.path) for m in motions if (m.subject, m.name) == (subject, name)]
        raise ValueError(
            f'{" and ".join(paths)} are the same motion; keep one release of AMASS there'
        )
    return motions


def _names_in(path: Path) -> set:
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix('.npy') for name in archive.namelist()}
    except zipfile.BadZipFile:
        raise ValueError(
            f'{path}: not a readable .npz archive; the file is damaged or incomplete: unpack or '
            'download it again'
        ) from None


def _describe(path: Path, subset: str, folder: Path, names: set) -> Motion:
    # archives may hold their folder twice (CMU/CMU/01/01_01_poses.npz)
    parts = [p for p in path.relative_to(folder).parts[:-1] if _key(p) != _key(subset)]
    rate = next((name for name in _RATES if name in names), None)
    if rate is None or 'gender' not in names:
        raise ValueError(
            f'{path}: poses without {"frame rate" if rate is None else "gender"} (it holds '
            f'{", ".join(sorted(names))}), expected {_RATES[0]} and gender; is it a file of AMASS?'
        )
    header = load_arrays(path, [rate, 'gender'], 'a motion of AMASS')
    fps = header[rate].item() if header[rate].size == 1 else None
    if not isinstance(fps, (int, float)) or not (np.isfinite(fps) and fps > 0):
        raise ValueError(f'{path}: {rate} is {header[rate]!r}, expected one number above 0 (Hz)')
    gender = header['gender'].item() if header['gender'].size == 1 else None
    gender = gender.decode('latin1') if isinstance(gender, bytes) else gender
    if not isinstance(gender, str) or gender.lower() not in GENDERS:
        raise ValueError(
            f'{path}: unknown gender {gender!r}, expected one of {", ".join(GENDERS)}; it decides '
            'which body the motion was fitted with, so correct it in the file'
        )
    name = _SUFFIX.sub('', path.stem)
    return Motion(
        path, '/'.join([subset, *parts]), name, gender.lower(), float(fps), 'dmpls' in names
    )


def _body_reader(body_dir, regressor, dmpl_dir, gender: str, regressor_skeleton: str):
    return read_regressed_joints(
        find_body_file(body_dir, gender),
        require_file(regressor, 'joint regressor'),
        None if dmpl_dir is None else find_dmpl_file(dmpl_dir, gender),
        regressor_skeleton,
    )


def _clips(motions: List[Motion], bodies: dict, with_dmpls: bool):
    for motion in motions:
        poses, trans, shape = _read_motion(motion, with_dmpls)
        before, after, part = resample(len(poses), motion.fps, FPS)
        # at 100 Hz and more, many frames lie between no two samples: pose the others only
        needed = np.unique(np.concatenate([before, after]))
        joints = bodies[motion.gender](poses[needed], shape[needed], trans[needed])
        first, second = np.searchsorted(needed, before), np.searchsorted(needed, after)
        part = part[:, None, None].astype(np.float32)
        points = joints[first] * (1 - part) + joints[second] * part
        yield Clip(SequenceInfo(motion.subject, '', motion.name, '', FPS, 0, 0), points)


def resample(frames: int, rate: float, fps: float) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the samples of linear interpolation lie.

    Frame i is at i / rate seconds and the clip lasts frames / rate. There are floor(duration * fps)
    samples, at least one, at 0, 1 / fps, 2 / fps, ... [C gives their number; their times are
    [np]]. A time after the last frame, possible where rate < fps, reads the last frame.

    Args:
        frames: F.
        rate: Hz.
        fps: Hz of the samples.

    Returns:
        before, after (n,) frames, and part (n,) in [0, 1): sample = (1 - part) * before + part *
        after.
    """
    count = max(1, int(np.floor(frames * fps / rate + _SAMPLE_MARGIN)))
    times = np.minimum(np.arange(count) * (rate / fps), frames - 1)
    before = np.floor(times).astype(np.int64)
    part = times - before
    return before, np.where(part > 0, before + 1, before), part


def _read_motion(motion: Motion, with_dmpls: bool):
    """Poses (F, 156) radians, trans (F, 3) metres, shape (F, 16 or 24)."""
    soft = with_dmpls and motion.has_dmpls
    names = ['poses', 'trans', 'betas'] + ['dmpls'] * soft
    arrays = load_arrays(motion.path, names, 'a motion of AMASS')
    poses, where = arrays['poses'], str(motion.path)
    width = 3 * NUM_JOINTS
    if poses.ndim != 2 or poses.shape[1] != width:
        name = {165: ' (SMPL-X)', 72: ' (SMPL)'}.get(poses.shape[-1] if poses.ndim else 0, '')
        raise ValueError(
            f'{where}: poses have shape {poses.shape}{name}, expected (frames, {width}); download '
            'AMASS in the form "SMPL+H G"'
        )
    frames = len(poses)
    if frames == 0:
        raise ValueError(f'{where}: the motion is empty (0 frames); remove the file')
    shapes = dict(poses=(frames, width), trans=(frames, 3), betas=(NUM_BETAS,),
                  dmpls=(frames, NUM_DMPLS))  # fmt: skip
    for name, array in arrays.items():
        _check(where, name, array, shapes[name])
    shape = np.broadcast_to(arrays['betas'], (frames, NUM_BETAS))
    if with_dmpls:
        shape = np.concatenate([shape, arrays.get('dmpls', np.zeros((frames, NUM_DMPLS)))], axis=1)
    return poses, arrays['trans'], shape


def _check(where: str, name: str, array: np.ndarray, shape: tuple) -> None:
    if array.shape != shape:
        raise ValueError(
            f'{where}: {name} has shape {array.shape}, expected {shape}; the file is of another '
            'form than the SMPL+H files of AMASS'
        )
    if array.dtype.kind not in 'fiu':
        raise ValueError(f'{where}: {name} holds {array.dtype} values, expected numbers')
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(
            f'{where}: {name} is not finite (NaN or infinite) in {bad.sum()} value(s), first at '
            f'index {np.argwhere(bad)[0].tolist()}; download the file again, or remove it'
        )
