"""Poses of a video as one .npz file without pickled objects, and back."""

import json
from pathlib import Path
from typing import Union

import numpy as np

from ..atomic import atomic_write
from ..restricted_pickle import load_npz
from ..video_poses import BodyTrack, PersonTrack, VideoPoses
from .description import (
    BODY_ARRAYS,
    OPTIONAL_ARRAYS,
    TRACK_ARRAYS,
    check_poses,
    describe,
    described_poses,
    row_shape,
)


def write_npz(poses: VideoPoses, path: Union[str, Path]) -> Path:
    """Write all people into one compressed file, exactly.

    The arrays of :class:`~mmpose_lift.io.video_poses.PersonTrack` are concatenated: person p has
    the rows ``offsets[p]:offsets[p + 1]``, the number ``track_ids[p]``, and the frames of the video
    from ``first_frames[p]`` on (``frames`` has them for every row). Arrays that no person has are
    left out; rows of a person who lacks one that others have are NaN; body models are in
    ``body_betas``, ``body_rotmats``, ``body_transl`` and ``body_joints``. ``joint_names``,
    ``parents``, ``fps``, ``units``, ``frame`` and all else that describes the numbers are arrays of
    their own; ``description`` is the same as JSON text. ``times`` is there where the frames of the
    video are at uneven times.

    Raises:
        ValueError: The path does not end in .npz, or arrays of a track do not fit together.
    """
    path = Path(path)
    if path.suffix.lower() != '.npz':
        raise ValueError(f'{path}: expected a name that ends in .npz')
    check_poses(poses)
    description = describe(poses)
    arrays = {name: value for name, value in description.items()
              if value is not None and not isinstance(value, dict)}
    arrays['description'] = json.dumps(description)
    tracks = poses.tracks
    arrays['track_ids'] = np.array([track.track_id for track in tracks], np.int64)
    arrays['first_frames'] = np.array([track.first_frame for track in tracks], np.int64)
    arrays['offsets'] = np.cumsum([0] + [len(track) for track in tracks])
    arrays['frames'] = _rows([track.frames for track in tracks], (), np.int64)
    for name in TRACK_ARRAYS:
        rows = [getattr(track, name) for track in tracks]
        if name in OPTIONAL_ARRAYS and all(array is None for array in rows):
            continue
        shape = row_shape(poses, name)
        rows = [np.full((len(track), ) + shape, np.nan, np.float32) if array is None else array
                for track, array in zip(tracks, rows)]
        arrays[name] = _rows(rows, shape, bool if name == 'detected' else np.float32)
    bodies = [track.body for track in tracks if track.body is not None]
    for name in BODY_ARRAYS if bodies else ():
        shape = np.shape(getattr(bodies[0], name))[1:]
        arrays[f'body_{name}'] = np.concatenate([
            np.full((len(track), *shape), np.nan) if track.body is None else
            getattr(track.body, name) for track in tracks]).astype(np.float32)
    if poses.times is not None:
        arrays['times'] = poses.times
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)
    return path


def _rows(arrays: list, shape: tuple, dtype) -> np.ndarray:
    """Concatenated arrays; an empty one of that shape and type where there are none."""
    return np.concatenate(arrays) if arrays else np.empty((0, ) + shape, dtype)


def read_npz(path: Union[str, Path]) -> VideoPoses:
    """Read what :func:`write_npz` wrote.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not an .npz file, or one of other contents.
    """
    arrays = load_npz(path)
    required = ['description', 'track_ids', 'first_frames', 'offsets',
                *(name for name in TRACK_ARRAYS if name not in OPTIONAL_ARRAYS)]
    missing = [name for name in required if name not in arrays]
    if missing:
        raise ValueError(f'{path}: no poses of a video as write_npz writes them: it lacks '
                         f'{", ".join(missing)} (found: {", ".join(sorted(arrays))})')
    tracks = []
    for p, (number, first) in enumerate(zip(arrays['track_ids'], arrays['first_frames'])):
        rows = slice(*arrays['offsets'][p:p + 2])
        values = {name: arrays[name][rows].copy() for name in TRACK_ARRAYS if name in arrays}
        for name in set(OPTIONAL_ARRAYS) & set(values):
            if np.isnan(values[name]).all():
                values[name] = None
        body = {name: arrays[f'body_{name}'][rows].copy() for name in BODY_ARRAYS
                if f'body_{name}' in arrays}
        if body and not np.isnan(body['betas']).all():
            values['body'] = BodyTrack(**body)
        tracks.append(PersonTrack(int(number), int(first), **values))
    return described_poses(json.loads(arrays['description'].item()), tracks, arrays.get('times'),
                           str(path))
