"""Files of a pose store: arrays checked and written as a stream, ``store.json``, its checksum."""

import hashlib
import json
from pathlib import Path
from typing import Dict

import numpy as np

from ..geometry.cameras import Camera
from ..geometry.skeletons import Skeleton

FORMAT = 'mmpose_lift.pose_store'
VERSION = 1
LONGEST_BONE = 5.0  # metres; above it as the median of a clip, the unit is another one
_HEADER_BYTES = 128  # fixed, so that the number of rows can be filled in after streaming


class ArrayFile:
    """One .npy file whose number of rows is known only at the end."""

    def __init__(self, path: Path, dtype, row_shape):
        self.path, self.dtype, self.row_shape = path, np.dtype(dtype), tuple(row_shape)
        self._digest = hashlib.sha256()
        self._file = open(path, 'wb')
        self._file.write(bytes(_HEADER_BYTES))

    def append(self, rows: np.ndarray) -> None:
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        self._digest.update(rows.data)
        self._file.write(rows.data)

    def finish(self, num_rows: int) -> dict:
        """Write the header and return the entry of ``store.json``."""
        shape = (num_rows, *self.row_shape)
        text = f"{{'descr': {self.dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
        room = _HEADER_BYTES - 10
        header = (
            b'\x93NUMPY\x01\x00'
            + room.to_bytes(2, 'little')
            + text.ljust(room - 1).encode()
            + b'\n'
        )
        self._file.seek(0)
        self._file.write(header)
        self._file.close()
        return dict(
            file=self.path.name,
            dtype=self.dtype.str,
            shape=list(shape),
            sha256=self._digest.hexdigest(),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()


def keypoint_array(where: str, name: str, values) -> np.ndarray:
    """Float32 array of keypoints; (F, K, 2) pixels get the score 1."""
    array = _plain_array(where, name, values, 'fiu')
    with np.errstate(over='ignore'):  # too large becomes infinite, which check_clip refuses
        array = np.atleast_1d(array.astype(np.float32, copy=False))
    if name != 'keypoints_3d' and array.ndim == 3 and array.shape[-1] == 2:
        return np.concatenate([array, np.ones_like(array[..., :1])], axis=-1)
    return array


def valid_array(where: str, values, length: int) -> np.ndarray:
    """Bool array, all true by default."""
    if values is None:
        return np.ones(length, dtype=bool)
    return _plain_array(where, 'valid', values, 'biu').astype(bool, copy=False)


def _plain_array(where: str, name: str, values, kinds: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f'{where}: array {name!r} is no regular array: {error}') from error
    if array.dtype.kind not in kinds:
        expected = 'bool' if 'b' in kinds else 'numbers'
        raise ValueError(
            f'{where}: array {name!r} holds values of type {array.dtype}, expected {expected}; '
            'convert them first'
        )
    return array


def check_clip(where: str, arrays: Dict[str, np.ndarray], length: int, skeleton: Skeleton) -> None:
    """Check shapes, finite values in the valid frames, and the unit of the 3D poses."""
    joints = skeleton.num_joints
    for name, array in arrays.items():
        expected = (length,) if name == 'valid' else (length, joints, 3)
        if array.shape != expected:
            raise ValueError(
                f'{where}: array {name!r} has shape {array.shape}, expected {expected} '
                f'({joints} joints of skeleton {skeleton.name!r})'
            )
    valid = arrays['valid']
    for name in sorted(set(arrays) - {'valid'}):
        bad = ~np.isfinite(arrays[name]).all(axis=(1, 2)) & valid
        if bad.any():
            raise ValueError(
                f'{where}: array {name!r} is not finite (NaN, infinite or beyond float32) in '
                f'{bad.sum()} frame(s), first {np.flatnonzero(bad)[0]}; repair or remove these '
                'frames, or mark them as not valid'
            )
    if 'keypoints_3d' in arrays and valid.any():
        bone = _median_bone(arrays['keypoints_3d'][valid], skeleton)
        if bone > LONGEST_BONE:
            raise ValueError(
                f"{where}: array 'keypoints_3d' has a median bone length of {bone:.4g}, expected "
                f'metres (at most {LONGEST_BONE:g}); are these millimetres? Divide them by 1000'
            )


def _median_bone(points: np.ndarray, skeleton: Skeleton) -> float:
    parents, children = np.array(skeleton.bones).T
    bones = points[:, children].astype(np.float64) - points[:, parents]
    return float(np.median(np.linalg.norm(bones, axis=-1)))


def fill_invalid_frames(arrays: Dict[str, np.ndarray]) -> None:
    """Replace invalid frames that are not finite: nearest valid coordinates, score zero."""
    rows = np.flatnonzero(arrays['valid'])
    for name in set(arrays) - {'valid'}:
        array = arrays[name]
        bad = np.flatnonzero(~np.isfinite(array).all(axis=(1, 2)))
        if not len(bad):
            continue
        arrays[name] = array = array.copy()
        if len(rows):
            after = np.searchsorted(rows, bad)
            before, after = rows[np.maximum(after - 1, 0)], rows[np.minimum(after, len(rows) - 1)]
            array[bad] = array[np.where(abs(bad - before) <= abs(after - bad), before, after)]
        else:
            array[bad] = 0
        if name != 'keypoints_3d':
            array[bad, :, 2] = 0


def info_checksum(info: dict) -> str:
    """SHA-256 of the canonical JSON text without the checksum itself."""
    body = {key: value for key, value in info.items() if key != 'checksum'}
    text = json.dumps(body, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(text.encode()).hexdigest()


def read_info(path: Path) -> dict:
    file = path / 'store.json'
    if not path.is_dir():
        raise FileNotFoundError(
            f'{path}: no such folder; a store is a folder made by tools/prepare_data.py'
        )
    if not file.is_file():
        raise FileNotFoundError(
            f'{path}: not a store (no store.json in it); make one with tools/prepare_data.py'
        )
    try:
        info = json.loads(file.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{file}: not a JSON text ({error}); prepare the store again') from None
    if not isinstance(info, dict) or info.get('format') != FORMAT:
        raise ValueError(f'{file}: not the description of a store (expected format {FORMAT!r})')
    if info.get('version') != VERSION:
        raise ValueError(
            f'{file}: store version {info.get("version")}, this program reads version {VERSION}; '
            'prepare the store again, or use the matching version of mmpose_lift'
        )
    if info.get('checksum') != info_checksum(info):
        raise ValueError(
            f'{file}: does not match its own checksum: it was changed or damaged; prepare the '
            'store again'
        )
    return info


def read_cameras(path: Path, checksum: str) -> Dict[str, Camera]:
    file = path / 'cameras.json'
    if not file.is_file():
        raise FileNotFoundError(f'{file}: missing; prepare the store again')
    text = file.read_bytes()
    if hashlib.sha256(text).hexdigest() != checksum:
        raise ValueError(
            f'{file}: does not match its checksum in store.json: it was changed or damaged; '
            'prepare the store again'
        )
    return {name: Camera.from_dict(entry) for name, entry in json.loads(text).items()}


def map_array(path: Path, name: str, entry: dict) -> np.ndarray:
    file = path / entry['file']
    if not file.is_file():
        raise FileNotFoundError(f'{file}: missing; prepare the store again')
    shape, dtype = tuple(entry['shape']), np.dtype(entry['dtype'])
    size = _HEADER_BYTES + dtype.itemsize * int(np.prod(shape))
    if file.stat().st_size != size:
        raise ValueError(
            f'{file}: {file.stat().st_size} bytes, expected {size} for {dtype} {shape}: the copy '
            'is incomplete or damaged; copy it or prepare the store again'
        )
    try:
        array = np.load(file, mmap_mode='r')
    except ValueError as error:
        raise ValueError(
            f'{file}: not a readable array ({error}); prepare the store again'
        ) from None
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f'{file}: holds {array.dtype} {array.shape}, store.json says {dtype} {shape}; prepare '
            'the store again'
        )
    return array
