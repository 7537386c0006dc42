"""PoseStore: one on-disk form for all motion data, plain arrays that are memory-mapped.

A store is a folder (written under a temporary name and renamed, never changed afterwards):

* ``store.json``: format, version, source, unit, frame, skeleton, list of sequences, and for each
  array its file, dtype, shape and SHA-256; protected by its own checksum.
* ``keypoints_3d.npy`` (N, K, 3) float32, metres, absolute; ``keypoints_2d_<source>.npy`` (N, K, 3)
  float32, x and y in pixels and score; ``valid.npy`` (N,) bool. All values are finite,
  also those of frames that are not valid.
* ``cameras.json``: intrinsics with distortion and extrinsics by camera name.
"""

import hashlib
import json
import re
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Set, Union

import numpy as np

from ..geometry.cameras import Camera
from ..geometry.skeletons import get_skeleton
from .atomic import atomic_directory
from .store_files import (
    FORMAT,
    VERSION,
    ArrayFile,
    check_clip,
    fill_invalid_frames,
    info_checksum,
    keypoint_array,
    map_array,
    read_cameras,
    read_info,
    valid_array,
)

FRAMES = ('camera', 'world')
_CHUNK_BYTES = 1 << 22
_SOURCE_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.-]*')


@dataclass(frozen=True)
class Sequence:
    """One clip seen by one camera, or one world-space clip (``camera`` is '').

    Args:
        subject: For example 'S9'.
        action: Group of the metric tables, for example 'Walking'; '' where there are none.
        subaction: Full name of the clip, for example 'Walking 1'.
        camera: Name of the camera, a key of ``PoseStore.cameras`` where that camera is calibrated.
        fps: Frames per second.
        width, height: Image size in pixels; 0 for world clips.
        first, last: Rows [first, last) of the arrays.
        file: Image folder or video, where known.
    """

    subject: str
    action: str
    subaction: str
    camera: str
    fps: float
    width: int
    height: int
    first: int = 0
    last: int = 0
    file: str = ''

    @property
    def name(self) -> str:
        return f'{self.subject}/{self.subaction or self.action}/{self.camera}'

    @property
    def num_frames(self) -> int:
        return self.last - self.first


class PoseStore:
    """Motion data: sequences and the arrays their rows point into.

    ``PoseStore.open`` maps a folder; the constructor takes arrays in memory (generated motion,
    tests) and checks the same things.

    Attributes:
        frame: 'camera' (3D in camera space) or 'world' (z up).
        skeleton: Name in ``geometry.skeletons`` of all arrays' joint order.
        sequences: List of ``Sequence``; they cover the rows in order without gaps.
        keypoints_3d: (N, K, 3) float32, absolute, metres; None in a store that has only 2D.
        valid: (N,) bool, False where the frame must not be used.
        cameras: Calibrated cameras by name.
        source: Where the data come from.
        path: Folder of the store, None in memory.

    Raises:
        ValueError: an argument does not fit the others; the message names it.
    """

    def __init__(
        self,
        *,
        frame: str,
        skeleton: str,
        sequences: Iterable[Sequence],
        keypoints_3d: Optional[np.ndarray] = None,
        keypoints_2d: Optional[Mapping[str, np.ndarray]] = None,
        valid: Optional[np.ndarray] = None,
        cameras: Optional[Mapping[str, Camera]] = None,
        source: str = '',
        path: Optional[Path] = None,
    ):
        self.frame = frame
        self.skeleton = skeleton
        self.sequences: List[Sequence] = list(sequences)
        self.keypoints_3d = keypoints_3d
        self._keypoints_2d = dict(keypoints_2d or {})
        self.cameras: Dict[str, Camera] = dict(cameras or {})
        self.source = source
        self.path = None if path is None else Path(path)
        self._checksums: Dict[str, str] = {}
        self._where = 'the store' if path is None else str(path)
        self.num_frames = self.sequences[-1].last if self.sequences else 0
        self.valid = np.ones(self.num_frames, dtype=bool) if valid is None else valid
        self._check()

    def _check(self) -> None:
        _check_kind(self._where, self.frame, self.skeleton)
        if not self.sequences:
            raise ValueError(f'{self._where}: no sequence; a store needs at least one clip')
        row = 0
        for sequence in self.sequences:
            if sequence.first != row or sequence.last <= sequence.first:
                raise ValueError(
                    f'{self._where}: sequence {sequence.name!r} covers rows [{sequence.first}, '
                    f'{sequence.last}); expected at least one row, starting at {row}'
                )
            _check_sequence(self._where, self.frame, sequence, self._keypoints_2d)
            row = sequence.last
        joints = get_skeleton(self.skeleton).num_joints
        if self.keypoints_3d is None and not self._keypoints_2d:
            raise ValueError(f'{self._where}: neither 3D nor 2D keypoints')
        for name, array in self._arrays().items():
            shape = (row,) if name == 'valid' else (row, joints, 3)
            dtype = np.dtype(bool if name == 'valid' else np.float32)
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f'{self._where}: array {name!r} is {array.dtype} {array.shape}, expected '
                    f'{dtype} {shape} ({joints} joints of skeleton {self.skeleton!r})'
                )

    def _arrays(self) -> Dict[str, np.ndarray]:
        arrays = {} if self.keypoints_3d is None else {'keypoints_3d': self.keypoints_3d}
        arrays.update({f'keypoints_2d_{name}': array for name, array in self._keypoints_2d.items()})
        arrays['valid'] = self.valid
        return arrays

    @property
    def sources_2d(self) -> List[str]:
        """Names of the 2D sources, for example ``['cpn', 'gt']``."""
        return sorted(self._keypoints_2d)

    @property
    def subjects(self) -> List[str]:
        """Subjects in the order of their first clip."""
        return list(dict.fromkeys(sequence.subject for sequence in self.sequences))

    def keypoints_2d(self, source: str) -> np.ndarray:
        """Return the (N, K, 3) float32 array of a 2D source: x, y in pixels and score.

        Raises:
            ValueError: the store does not have this source; the message lists those it has.
        """
        if source not in self._keypoints_2d:
            have = ', '.join(self.sources_2d) or 'none'
            raise ValueError(
                f'{self._where} has no 2D source {source!r} (it has: {have}); choose one of '
                'them, or prepare the store again with that source'
            )
        return self._keypoints_2d[source]

    @classmethod
    def open(cls, path: Union[str, Path]) -> 'PoseStore':
        """Map a store read-only: checks version, checksum of ``store.json``, sizes and dtypes.

        The arrays stay on disk until rows are read; ``verify`` checks their content.

        Raises:
            FileNotFoundError: no such folder, or one of its files is missing.
            ValueError: not a store, another version, damaged or changed files.
        """
        path = Path(path)
        info = read_info(path)
        arrays = {name: map_array(path, name, entry) for name, entry in info['arrays'].items()}
        store = cls(
            frame=info['frame'],
            skeleton=info['skeleton'],
            sequences=_read_sequences(path, info['sequences']),
            keypoints_3d=arrays.get('keypoints_3d'),
            keypoints_2d={
                name[len('keypoints_2d_') :]: array
                for name, array in arrays.items()
                if name.startswith('keypoints_2d_')
            },
            valid=arrays['valid'],
            cameras=read_cameras(path, info['cameras_sha256']),
            source=info['source'],
            path=path,
        )
        store._checksums = {name: entry['sha256'] for name, entry in info['arrays'].items()}
        return store

    def verify(self) -> None:
        """Read every array once and compare it with the checksum written at creation.

        Raises:
            ValueError: an array changed, the message names it; or the store was never on disk.
        """
        if self.path is None:
            raise ValueError('this store is in memory only: there is no checksum to compare with')
        for name, array in self._arrays().items():
            digest = hashlib.sha256()
            rows = max(1, _CHUNK_BYTES // max(1, array[0].nbytes))
            for row in range(0, len(array), rows):
                digest.update(np.ascontiguousarray(array[row : row + rows]).data)
            if digest.hexdigest() != self._checksums[name]:
                raise ValueError(
                    f'{self.path}: the content of array {name!r} does not match its checksum: '
                    'the file was changed or damaged; prepare the store again'
                )

    def __getstate__(self) -> dict:
        # A mapped store is opened again in the other process: its pages are shared, not copied.
        return self.__dict__ if self.path is None else {'path': self.path.absolute()}

    def __setstate__(self, state: dict) -> None:
        stored = state if state['path'] is None else PoseStore.open(state['path']).__dict__
        self.__dict__.update(stored)

    def __repr__(self) -> str:
        return (
            f'PoseStore({self._where!r}, {self.frame}, {self.skeleton}, {len(self.sequences)} '
            'sequences, '
            f'{self.num_frames} frames, 2D: {", ".join(self.sources_2d) or "none"})'
        )


class PoseStoreWriter:
    """Stream clips into a new store; it appears under its name when ``close`` succeeds.

    Use it as a context manager: when the block raises, nothing is left behind. All clips of a store
    have the same 2D sources, and all of them or none of them have 3D.

    Args:
        path: Folder to create.
        source: Where the data come from, kept for readers of the store.
        frame: 'camera' or 'world' (z up).
        skeleton: Name of the joint order of all arrays.
        cameras: Calibrated cameras by name.
        overwrite: Replace an existing store (only a store, never another folder).

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False, or it is not a store.
        ValueError: unknown frame or skeleton.
    """

    def __init__(
        self,
        path: Union[str, Path],
        *,
        source: str,
        frame: str,
        skeleton: str = 'h36m',
        cameras: Optional[Mapping[str, Camera]] = None,
        overwrite: bool = False,
    ):
        self.path = Path(path)
        _check_kind(str(path), frame, skeleton)
        if overwrite and self.path.exists() and not (self.path / 'store.json').is_file():
            raise FileExistsError(
                f'{path} exists and is not a store (no store.json in it): it will not be '
                'replaced; choose another name'
            )
        self.source, self.frame, self.skeleton = source, frame, skeleton
        self.cameras = dict(cameras or {})
        self.num_frames = 0
        self.sequences: List[Sequence] = []
        self._names: Set[str] = set()
        self._arrays: Dict[str, ArrayFile] = {}
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(atomic_directory(self.path, overwrite=overwrite))

    def add_sequence(
        self,
        sequence: Sequence,
        keypoints_3d: Optional[np.ndarray] = None,
        keypoints_2d: Optional[Mapping[str, np.ndarray]] = None,
        valid: Optional[np.ndarray] = None,
    ) -> Sequence:
        """Append one clip.

        Args:
            sequence: Description; ``first`` and ``last`` are set by the writer.
            keypoints_3d: (F, K, 3) metres.
            keypoints_2d: By source, (F, K, 2) pixels (score 1) or (F, K, 3) with score.
            valid: (F,) bool, all frames by default. A frame that is not valid may hold NaN or
                infinite values; so that they never reach a network, the array gets the coordinates
                of the nearest valid frame there (zeros where no frame is valid), and score zero.

        Returns:
            The description with its rows.

        Raises:
            ValueError: empty clip, wrong joint count or length, values that are no numbers or not
                finite (in float32) in a valid frame, 3D that is not in metres (median bone length
                above 5), other arrays than the clips before; the message names the clip and the
                array.
        """
        where = f'{self.path}: clip {sequence.name!r}'
        given = {} if keypoints_3d is None else {'keypoints_3d': keypoints_3d}
        for name, array in (keypoints_2d or {}).items():
            if not _SOURCE_NAME.fullmatch(name):
                raise ValueError(
                    f'2D source name {name!r}: use letters, digits, "_", "." and "-" only'
                )
            given[f'keypoints_2d_{name}'] = array
        arrays = {name: keypoint_array(where, name, array) for name, array in given.items()}
        if sequence.name in self._names:
            raise ValueError(f'{where} was added before; was the same file given twice?')
        if not arrays:
            raise ValueError(f'{where} has neither 3D nor 2D keypoints')
        if self._arrays and set(arrays) | {'valid'} != set(self._arrays):
            raise ValueError(
                f'{where} has the arrays {sorted(arrays)}, the clips before have '
                f'{sorted(set(self._arrays) - {"valid"})}; a store needs the same in every clip'
            )
        length = len(next(iter(arrays.values())))
        if length == 0:
            raise ValueError(f'{where} is empty (0 frames); leave it out')
        arrays['valid'] = valid_array(where, valid, length)
        _check_sequence(str(self.path), self.frame, sequence, keypoints_2d or {})
        check_clip(where, arrays, length, get_skeleton(self.skeleton))
        fill_invalid_frames(arrays)
        for name, array in arrays.items():
            if name not in self._arrays:
                self._arrays[name] = self._stack.enter_context(
                    ArrayFile(
                        self._folder / f'{name}.npy',
                        bool if name == 'valid' else np.float32,
                        array.shape[1:],
                    )
                )
            self._arrays[name].append(array)
        done = replace(sequence, first=self.num_frames, last=self.num_frames + length)
        self.num_frames = done.last
        self.sequences.append(done)
        self._names.add(done.name)
        return done

    def close(self) -> None:
        """Write ``cameras.json`` and ``store.json`` and give the folder its name.

        Raises:
            ValueError: no clip was added; nothing is written.
        """
        try:
            if not self.sequences:
                raise ValueError(f'{self.path}: no clip was added; nothing is written')
            entries = {
                name: array.finish(self.num_frames) for name, array in sorted(self._arrays.items())
            }
            cameras = json.dumps(
                {name: camera.to_dict() for name, camera in self.cameras.items()}, indent=1
            )
            (self._folder / 'cameras.json').write_text(cameras, encoding='utf-8')
            info = dict(
                format=FORMAT,
                version=VERSION,
                source=self.source,
                unit='metre',
                frame=self.frame,
                skeleton=self.skeleton,
                num_frames=self.num_frames,
                arrays=entries,
                cameras_sha256=hashlib.sha256(cameras.encode()).hexdigest(),
                sequences=[asdict(sequence) for sequence in self.sequences],
            )
            info['checksum'] = info_checksum(info)
            (self._folder / 'store.json').write_text(json.dumps(info, indent=1), encoding='utf-8')
        except BaseException as error:
            self.abort(error)
            raise
        self._stack.close()

    def abort(self, error: Optional[BaseException] = None) -> None:
        """Remove what was written so far."""
        error = error or RuntimeError('aborted')
        try:
            self._stack.__exit__(type(error), error, error.__traceback__)
        except BaseException as raised:
            if raised is not error:
                raise

    def __enter__(self) -> 'PoseStoreWriter':
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if error is None:
            self.close()
        else:
            self.abort(error)


def write_store(
    path: Union[str, Path],
    *,
    source: str,
    frame: str,
    skeleton: str,
    sequences: Iterable[Sequence],
    keypoints_3d: Optional[np.ndarray] = None,
    keypoints_2d: Optional[Mapping[str, np.ndarray]] = None,
    valid: Optional[np.ndarray] = None,
    cameras: Optional[Mapping[str, Camera]] = None,
    overwrite: bool = False,
) -> None:
    """Write whole arrays as a store; the arguments are those of ``PoseStore``.

    Raises:
        FileExistsError, ValueError: as ``PoseStoreWriter`` and ``PoseStore``.
    """
    store = PoseStore(
        frame=frame,
        skeleton=skeleton,
        sequences=sequences,
        keypoints_3d=keypoints_3d,
        keypoints_2d=keypoints_2d,
        valid=valid,
        cameras=cameras,
        source=source,
    )
    with PoseStoreWriter(
        path, source=source, frame=frame, skeleton=skeleton, cameras=cameras, overwrite=overwrite
    ) as writer:
        for sequence in store.sequences:
            rows = slice(sequence.first, sequence.last)
            writer.add_sequence(
                sequence,
                None if keypoints_3d is None else keypoints_3d[rows],
                {name: store.keypoints_2d(name)[rows] for name in store.sources_2d},
                store.valid[rows],
            )


def _check_kind(where: str, frame: str, skeleton: str) -> None:
    if frame not in FRAMES:
        raise ValueError(
            f'{where}: frame {frame!r} is unknown; expected one of {", ".join(FRAMES)}'
        )
    get_skeleton(skeleton)


def _check_sequence(where: str, frame: str, sequence: Sequence, sources) -> None:
    if not sequence.fps > 0:
        raise ValueError(
            f'{where}: clip {sequence.name!r} has fps {sequence.fps}; expected more than 0'
        )
    if frame == 'world' and (sequence.camera or sources):
        raise ValueError(
            f'{where}: clip {sequence.name!r} is in world space, so it can have neither a camera '
            f'({sequence.camera!r}) nor 2D ({sorted(sources)}); project it with '
            'mmpose_lift.datasets.projection.project_store'
        )
    if sources and not (sequence.width > 0 and sequence.height > 0):
        raise ValueError(
            f'{where}: clip {sequence.name!r} has 2D keypoints but the image size '
            f'{sequence.width}x{sequence.height}'
        )


def _read_sequences(path: Path, rows: List[dict]) -> List[Sequence]:
    names = {field.name for field in fields(Sequence)}
    if any(set(row) != names for row in rows):
        raise ValueError(f'{path}: a sequence in store.json has other fields than {sorted(names)}')
    return [Sequence(**row) for row in rows]
