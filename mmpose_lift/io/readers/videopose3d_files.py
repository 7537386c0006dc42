"""What VideoPose3D's .npz files have in common, whatever data set they hold."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...geometry.skeletons import convert_keypoints, get_skeleton
from ..restricted_pickle import load_npz
from .recording import require_arrays, require_file, require_poses

_2D_CHANNELS = (2, 3)  # some third-party files add a score

PoseDict = dict[str, dict[str, object]]  # subject -> action -> array, or list of one per camera


class Source2D(NamedTuple):
    """A 2D file: where it is, its poses in pixels, and the joint order they are in."""

    path: Path
    poses: PoseDict
    skeleton: str


def load_poses(path: Path, key: str, what: str) -> PoseDict:
    """Read ``positions_3d`` or ``positions_2d``: {subject: {action: ...}}.

    Raises:
        UnsafePickleError: the file holds more than arrays and containers.
        ValueError: the file is not ``what``.
    """
    arrays = load_npz(path)
    require_arrays(path, arrays, [key], what)
    return _poses(path, key, arrays)


def _poses(path: Path, key: str, arrays: dict) -> PoseDict:
    array = arrays[key]
    poses = array.item() if array.shape == () else array
    if not isinstance(poses, dict) or not all(isinstance(v, dict) for v in poses.values()):
        raise ValueError(f'{path}: {key} must be a dict {{subject: {{action: array}}}}')
    return poses


def load_2d(path: str | Path, name: str, what: str, skeletons: Iterable[str]) -> Source2D:
    """Read a 2D file; the left and right joints it lists tell which skeleton it is in.

    Args:
        path: ``data_2d_*.npz``.
        name: Name of the 2D source, for messages.
        what: The kind of file, for messages.
        skeletons: Joint orders that may occur; files without that list are in the first.

    Raises:
        FileNotFoundError, UnsafePickleError: as ``load_npz``.
        ValueError: not such a file, or left and right joints of none of the skeletons.
    """
    path = require_file(path, f'2D source {name!r}')
    skeletons = list(skeletons)
    arrays = load_npz(path)
    require_arrays(path, arrays, ['positions_2d'], what)
    skeleton, metadata = skeletons[0], arrays.get('metadata')
    metadata = metadata.item() if metadata is not None and metadata.shape == () else None
    sides = metadata.get('keypoints_symmetry') if isinstance(metadata, dict) else None
    if sides is not None:
        known = {s: (get_skeleton(s).left_joints, get_skeleton(s).right_joints) for s in skeletons}
        found = tuple(tuple(sorted(int(i) for i in side)) for side in sides)
        skeleton = next((s for s, both in known.items() if both == found), None)
        if skeleton is None:
            expected = ', '.join(f'{s} {both}' for s, both in known.items())
            raise ValueError(f'{path}: keypoints_symmetry (left, right) is {found}, expected that '
                             f'of one of {expected}; the joint order is unknown')
    return Source2D(path, _poses(path, 'positions_2d', arrays), skeleton)


def sources_by_name(files, prefix: str) -> dict[str, str | Path]:
    """2D files by name: a dict as it is, a list by the <name> of ``<prefix><name>.npz``.

    Raises:
        ValueError: a file is not called like that, or two give one name.
    """
    if isinstance(files, Mapping):
        return dict(files)
    named = {}
    for file in files:
        name = source_name(file, prefix)
        if name in named:
            raise ValueError(f'two files for 2D source {name!r}: {named[name]} and {file}')
        named[name] = file
    return named


def source_name(file: str | Path, prefix: str) -> str:
    """<name> of a file called ``<prefix><name>.npz``.

    Raises:
        ValueError: the file is not called like that.
    """
    stem = Path(file).stem
    if not stem.startswith(prefix) or stem == prefix:
        raise ValueError(f'{file}: the name of the 2D source cannot be told; expected '
                         f'{prefix}<name>.npz, or give it as NAME=FILE')
    return stem[len(prefix):]


def camera_views(source: Source2D, subject: str, action: str, num_frames: int, num_cameras: int,
                 skeleton: str) -> list[np.ndarray]:
    """2D of one clip by camera, cut to the length of its 3D as VideoPose3D does.

    Returns:
        Per camera (F, K, 2 or 3) float32 pixels (and score) in the order of ``skeleton``.

    Raises:
        ValueError: the clip or a camera is missing, 2D is shorter than 3D, wrong joint count, NaN.
    """
    if action not in source.poses.get(subject, {}):
        raise ValueError(f'{source.path}: {subject} {action!r} is missing, the 3D file has it; the '
                         'two files do not belong together')
    views = source.poses[subject][action]
    if len(views) != num_cameras:
        raise ValueError(f'{source.path}: {subject} {action!r} has {len(views)} cameras, expected '
                         f'{num_cameras}')
    joints, result = get_skeleton(source.skeleton).num_joints, []
    for i, view in enumerate(views):
        where = f'{source.path}: {subject} {action!r} camera {i}'
        view = require_poses(where, view, joints, _2D_CHANNELS)
        if len(view) < num_frames:
            raise ValueError(f'{where}: {len(view)} frames of 2D, the 3D has {num_frames}; 2D may '
                             'be longer, not shorter: get a complete file')
        view = view[:num_frames].astype(np.float32)
        if source.skeleton != skeleton:
            view = convert_keypoints(view, source.skeleton, skeleton, view.shape[-1] == 3)
        result.append(view)
    return result
