"""Files of a pose store: array files written as a stream, ``store.json`` and its checksum."""

import hashlib
import json
from pathlib import Path
from typing import Dict

import numpy as np

from ..geometry.cameras import Camera

FORMAT = 'mmpose_lift.pose_store'
VERSION = 1
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
