"""MPI-INF-3DHP (Mehta et al., 3DV 2017) in P-STMO's files, and what its other layouts share.

The files of MMPose and of cross-data-set tests, one row per frame, are in ``mpi_inf_3dhp_frames``.
No layout holds the frame rate of the test set: ``TEST_FPS`` is a choice [np].
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Iterator, Tuple, Union
from typing import Sequence as Seq

import numpy as np

from ...geometry.skeletons import convert_keypoints, get_skeleton
from ..pose_store import Sequence
from ..restricted_pickle import load_npz
from .recording import Clip, Recording, require_arrays, require_file, require_poses

PathLike = Union[str, Path]

TEST_FPS = 25.0
VALID_FRAMES = {'TS1': 603, 'TS2': 540, 'TS3': 505, 'TS4': 553, 'TS5': 276, 'TS6': 452}
_SUBJECT = re.compile(r'S[1-8]|TS[1-6]')
_CLIP = re.compile(r'(?P<subject>S[1-8]) (?P<sequence>Seq[12])')

_BONES = (0.03, 1.0)  # metres; the median bone of a person is about 0.25
_SMALLEST_PERSON = 10.0  # pixels; below it as the median of a clip, 2D was normalised
_FARTHEST_HIP = 1.0  # metres from the root; beyond it, only the root is absolute


def image_size(subject: str) -> Tuple[int, int]:
    """Width and height in pixels of the videos of 'S1' ... 'S8', 'TS1' ... 'TS6'.

    Raises:
        ValueError: another name.
    """
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f'MPI-INF-3DHP has no subject {subject!r}; it has S1 to S8, TS1 to TS6')
    return (1920, 1080) if subject in ('TS5', 'TS6') else (2048, 2048)


def path_list(paths: Union[PathLike, Seq[PathLike]]) -> list:
    """One path or several as a list."""
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def read_pstmo_3dhp(files: Union[PathLike, Seq[PathLike]],
                    test_fps: float = TEST_FPS) -> Recording:
    """Read P-STMO's ``data_train_3dhp.npz`` and ``data_test_3dhp.npz``.

    Universal annotation, millimetres in the file. The file holds absolute camera-space positions;
    subtracting joint 14 (the root) is a step of P-STMO's loader, not done here. Joints are brought
    from 3DHP's order to 'h36m' by name. 2D source 'gt'. Frames of the test set that are not valid
    stay in the store, marked as such: windows use them as neighbours.

    Args:
        files: One file or more, each of one of the two kinds.
        test_fps: Frame rate given to test clips; the file says that of training clips only.

    Returns:
        Camera-space recording without actions and without calibrated cameras. Clips are
        'S1/Seq1/S1_Seq1_Cam0' and 'TS1/TS1/TS1'.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: a file holds more than arrays.
        ValueError: another layout, a missing key (``valid`` among them), wrong joint count or
            length, NaN in a valid frame, 3D that is not in mm or not absolute, 2D not in pixels.
    """
    paths = [require_file(path, "P-STMO's MPI-INF-3DHP file") for path in path_list(files)]
    views = [view for path in paths for view in _pstmo_views(path, test_fps)]
    return Recording(
        (_pstmo_clip(*view) for view in views),
        len(views),
        source=f'MPI-INF-3DHP, universal annotation, {", ".join(p.name for p in paths)} of P-STMO',
        frame='camera',
    )


def _pstmo_views(path: Path, test_fps: float) -> Iterator[tuple]:
    """(where, description, {data_2d, data_3d[, valid]}) of every clip and camera."""
    arrays = load_npz(path)
    what = 'a file of P-STMO (data_train_3dhp.npz, data_test_3dhp.npz)'
    require_arrays(path, arrays, ['data'], what)
    data = arrays['data']
    data = data.item() if data.shape == () else data
    if not isinstance(data, Mapping) or not data:
        raise ValueError(f'{path}: data must be a dict of clips, found {type(data).__name__}')
    for key, entry in data.items():
        where = f'{path}: {key!r}'
        match = _CLIP.fullmatch(str(key))
        if key in VALID_FRAMES:
            require_keys(where, entry, ('data_2d', 'data_3d', 'valid'))
            yield where, Sequence(key, '', key, key, test_fps, *image_size(key)), entry
        elif match:
            yield from _pstmo_training_views(where, match, entry)
        else:
            raise ValueError(
                f'{where}: unknown clip, expected names like "S1 Seq1" or "TS1"; is it {what}?'
            )


def _pstmo_training_views(where: str, match: re.Match, entry) -> Iterator[tuple]:
    if not isinstance(entry, (list, tuple, np.ndarray)) or len(entry) != 2:
        raise ValueError(f'{where}: expected [{{camera: arrays}}, fps], found {type(entry)}')
    cameras, fps = entry
    if np.ndim(fps) or not isinstance(fps, (int, float, np.number)) or not 0 < fps < np.inf:
        raise ValueError(f'{where}: the frame rate is {fps!r}, expected one number above 0 (Hz)')
    if not isinstance(cameras, Mapping) or not cameras:
        raise ValueError(f'{where}: expected {{camera: arrays}}, found {type(cameras).__name__}')
    subject, sequence = match['subject'], match['sequence']
    for camera, view in cameras.items():
        require_keys(f'{where} camera {camera}', view, ('data_2d', 'data_3d'))
        name = f'{subject}_{sequence}_Cam{camera}'
        info = Sequence(subject, '', sequence, name, float(fps), *image_size(subject))
        yield f'{where} camera {camera}', info, {**view, 'valid': None}


def require_keys(where: str, entry, keys: Seq[str]) -> None:
    """Raise ValueError where ``entry`` is no dict with these keys."""
    if not isinstance(entry, Mapping):
        raise ValueError(f'{where}: expected a dict of arrays, found {type(entry).__name__}')
    missing = [key for key in keys if key not in entry]
    if missing:
        hint = (
            '; the protocol counts valid frames only, so make the file again with them'
            if 'valid' in missing
            else '; is the file complete?'
        )
        raise ValueError(
            f'{where}: lacks {", ".join(missing)} (it has {", ".join(map(str, entry))}){hint}'
        )


def _pstmo_clip(where: str, info: Sequence, view: Mapping) -> Clip:
    points, pixels, valid = view['data_3d'], view['data_2d'], view['valid']
    points, pixels = np.asarray(points), np.asarray(pixels)
    if points.shape[:1] != pixels.shape[:1]:
        raise ValueError(
            f'{where}: data_3d {points.shape} and data_2d {pixels.shape} must have the same number '
            'of frames; the file is damaged'
        )
    if valid is not None:
        valid = _flags(where, valid, points.size and len(points))
    points = _used(f'{where} data_3d', points, 17, (3,), valid).astype(np.float64) / 1000
    pixels = _used(f'{where} data_2d', pixels, 17, (2,), valid)
    seen = slice(None) if valid is None else valid
    check_units(where, points[seen], pixels[seen], 'mpi_inf_3dhp', 'millimetres')
    _check_absolute(where, points[seen])
    points, pixels = (convert_keypoints(x, 'mpi_inf_3dhp', 'h36m') for x in (points, pixels))
    return Clip(info, points.astype(np.float32), {'gt': pixels.astype(np.float32)}, valid)


def _flags(where: str, values, length: int) -> np.ndarray:
    values = np.asarray(values)
    numbers = values.size == length and values.dtype.kind in 'biuf'
    if not numbers or not np.isin(values, (0, 1)).all():
        raise ValueError(
            f'{where}: valid must hold {length} values 0 or 1, one per frame, found '
            f'{values.dtype} {values.shape}'
        )
    flags = values.reshape(length).astype(bool)
    if not flags.any():
        raise ValueError(f'{where}: no frame is valid; expected some, is this array the right one?')
    return flags


def _used(where: str, array: np.ndarray, joints: int, channels: tuple, valid) -> np.ndarray:
    """``array``, checked as by ``require_poses`` except for values in frames that are not valid."""
    if valid is None or array.ndim != 3 or array.dtype.kind not in 'fiu':
        return require_poses(where, array, joints, channels)
    require_poses(where, np.where(valid[:, None, None], array, 0), joints, channels)
    return array


def check_units(where: str, points, pixels, skeleton: str, unit: str) -> None:
    """Raise ValueError where bones or people have an impossible size.

    Args:
        where: File and clip.
        points: (F, K, 3) metres.
        pixels: (F, K, 2).
        skeleton: Joint order of both.
        unit: 'metres' or 'millimetres', what the file should hold, for the message.
    """
    parents, children = np.array(get_skeleton(skeleton).bones).T
    bone = float(np.median(np.linalg.norm(points[:, children] - points[:, parents], axis=-1)))
    if not _BONES[0] <= bone <= _BONES[1]:
        factor = 1000 if unit == 'millimetres' else 1
        raise ValueError(
            f'{where}: the median bone length is {bone * factor:.4g}, expected {unit} '
            f'({_BONES[0] * factor:g} to {_BONES[1] * factor:g}); is the 3D in another unit?'
        )
    size = float(np.median(np.ptp(pixels, axis=1).max(axis=-1)))
    if size < _SMALLEST_PERSON:
        raise ValueError(
            f'{where}: the person is {size:.3g} pixels large (median), expected pixels of the full '
            'image; were the 2D keypoints normalised?'
        )


def _check_absolute(where: str, points: np.ndarray) -> None:
    """Refuse poses (F, 17, 3) metres in 3DHP's order after P-STMO's preparation, or other forms."""
    skeleton = get_skeleton('mpi_inf_3dhp')
    root, hip = points[:, skeleton.root_index], points[:, skeleton.index('right_hip')]
    hint = 'expected absolute camera-space positions, as the published file holds them'
    far = np.median(np.linalg.norm(hip - root, axis=-1)) > _FARTHEST_HIP
    if far and np.median(np.linalg.norm(hip, axis=-1)) < _FARTHEST_HIP:
        raise ValueError(
            f'{where}: the hips are metres away from the root: only joint {skeleton.root_index} is '
            f"absolute, as after P-STMO's preparation; {hint}"
        )
    if np.median(root[:, 2]) <= 0:
        raise ValueError(
            f'{where}: the median depth of the root is {np.median(root[:, 2]):.3g} m, so the 3D is '
            f'root-relative or not in camera space; {hint}'
        )
