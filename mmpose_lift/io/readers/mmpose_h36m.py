"""Human3.6M in MMPose's layout (h36m_train.npz, cameras.pkl, detections) as a recording."""

import re
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple, Union

import numpy as np

from ...geometry.cameras import Camera
from ...geometry.skeletons import get_skeleton
from ..pose_store import Sequence
from ..restricted_pickle import load_npy, load_npz, restricted_load
from .recording import Clip, Recording, require_arrays, require_file, require_poses

_NAME = re.compile(r'(?P<subject>[^/_]+)_(?P<action>[^/]+)\.(?P<camera>\d+)_(?P<frame>\d+)\.\w+$')
_NATIVE_FPS = 50  # image numbers count frames of 50 Hz
_RENAMED = {'TakingPhoto': 'Photo', 'WalkingDog': 'WalkDog'}
_CAMERA_KEYS = ('R', 'T', 'c', 'f', 'k', 'p', 'w', 'h')


def read_mmpose_h36m(
    annotations: List[Union[str, Path]],
    cameras: Union[str, Path],
    detections: Optional[Mapping[str, List[Union[str, Path]]]] = None,
    fps: Optional[float] = None,
) -> Recording:
    """Read the files of MMPose's ``preprocess_h36m.py``.

    Clips are taken from the image names (``S1_Directions_1.54138969_000001.jpg``) and ordered by
    frame number. 2D source ``gt`` is the array ``part``.

    Args:
        annotations: ``h36m_train.npz`` and/or ``h36m_test.npz``; ``S`` holds camera space, metres.
        cameras: ``cameras.pkl``; read without executing it.
        detections: By source name, one .npy (N, 17, 3) of x, y, score per annotation file, row by
            row.
        fps: Defaults to 50 divided by the step of the image numbers (fps10 files: step 5).

    Returns:
        Camera-space recording.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: a file holds more than arrays.
        ValueError: missing arrays, wrong joint count or length, NaN, an image name of another form,
            an unknown camera, uneven frame numbers.
    """
    camera_file = require_file(cameras, 'cameras of Human3.6M')
    table = _load_cameras(camera_file)
    files = [require_file(path, 'annotations of Human3.6M') for path in annotations]
    parts = []
    for i, path in enumerate(files):
        arrays = _load(path)
        sources = {'gt': arrays['part']}
        for name, paths in (detections or {}).items():
            if len(paths) != len(files):
                raise ValueError(
                    f'2D source {name!r}: {len(paths)} detection file(s) for {len(files)} '
                    'annotation file(s); expected one for each'
                )
            sources[name] = _load_detections(Path(paths[i]), len(arrays['S']), path)
        parts.append((path, arrays['S'], sources, _group(path, arrays['imgname'], table)))
    used = {key for *_, groups in parts for key in (group[:3:2] for group in groups)}
    chosen = {table[key].name: table[key] for key in table if key in used}
    return Recording(
        _clips(parts, table, fps),
        sum(len(groups) for *_, groups in parts),
        source='Human3.6M, ' + ', '.join(path.name for path in files) + ' of MMPose',
        frame='camera',
        cameras=chosen,
    )


def _load_cameras(path: Path) -> Dict[Tuple[str, str], Camera]:
    """Cameras by (subject, id).

    MMPose's R turns camera into world axes, T is the camera centre in world metres, and p is the
    tangential pair in the opposite order of the usual tables.
    """
    table = restricted_load(path)
    if not isinstance(table, dict) or not table:
        raise ValueError(f'{path}: expected a dict {{(subject, camera id): camera}}')
    cameras = {}
    for key, entry in table.items():
        if not isinstance(key, tuple) or len(key) != 2 or not isinstance(entry, dict):
            raise ValueError(f'{path}: entry {key!r} is not a (subject, camera id) with a camera')
        missing = [name for name in _CAMERA_KEYS if name not in entry]
        if missing:
            raise ValueError(f'{path}: camera {key} lacks {", ".join(missing)}')
        subject, camera = map(str, key)
        cameras[subject, camera] = Camera(
            name=f'{subject}.{camera}',
            width=int(entry['w']),
            height=int(entry['h']),
            focal=np.ravel(entry['f']),
            center=np.ravel(entry['c']),
            radial=np.ravel(entry['k']),
            tangential=np.ravel(entry['p'])[::-1],
            rotation=np.asarray(entry['R']).T,
            position=np.ravel(entry['T']),
        )
    return cameras


def _load(path: Path) -> dict:
    arrays = load_npz(path)
    require_arrays(path, arrays, ('imgname', 'part', 'S'), 'annotations in the layout of MMPose')
    joints = get_skeleton('h36m').num_joints
    require_poses(f'{path}: array S', arrays['S'], joints, (4,))
    require_poses(f'{path}: array part', arrays['part'], joints, (3,))
    if not len(arrays['S']) == len(arrays['part']) == len(arrays['imgname']):
        raise ValueError(
            f'{path}: arrays of different lengths: imgname {len(arrays["imgname"])}, part '
            f'{len(arrays["part"])}, S {len(arrays["S"])}'
        )
    return arrays


def _load_detections(path: Path, num_rows: int, annotations: Path) -> np.ndarray:
    array = load_npy(require_file(path, '2D detections'))
    array = require_poses(str(path), array, get_skeleton('h36m').num_joints, (3,))
    if len(array) != num_rows:
        raise ValueError(
            f'{path}: {len(array)} rows, {annotations} has {num_rows}; a detection file belongs to '
            'one annotation file, row by row'
        )
    return array


def _group(path: Path, names: np.ndarray, table: dict) -> list:
    """(subject, subaction, camera id, folder, rows, frame numbers) of each clip, in file order."""
    groups: Dict[tuple, list] = {}
    for row, name in enumerate(map(str, names)):
        match = _NAME.search(name)
        if not match:
            raise ValueError(
                f'{path}: image name {name!r} in row {row}; expected a form like '
                'S1_Directions_1.54138969_000001.jpg'
            )
        key = match['subject'], match['action'], match['camera']
        if key not in groups and (key[0], key[2]) not in table:
            raise ValueError(
                f'{path}: camera {key[2]} of {key[0]} (row {row}) is not in the camera file; it '
                'has ' + ', '.join(sorted(camera.name for camera in table.values()))
            )
        groups.setdefault(key, []).append((int(match['frame']), row))
    clips = []
    for key, found in groups.items():
        found.sort()
        frames, rows = np.array(found).T
        folder = str(names[rows[0]]).rpartition('/')[0]
        clips.append((*key, folder, rows, frames))
    return clips


def _clips(parts: list, table: dict, fps: Optional[float]):
    for path, poses, sources, groups in parts:
        for subject, action, camera_id, folder, rows, frames in groups:
            steps = np.diff(frames)
            step = max(1, int(steps.min())) if len(steps) else 1
            uneven = np.flatnonzero(steps != step)
            if len(uneven):
                raise ValueError(
                    f'{path}: {subject}_{action}.{camera_id}: frame numbers are not evenly spaced '
                    f'after {frames[uneven[0]]}; frames are missing or repeated: create the file '
                    'again'
                )
            camera = table[subject, camera_id]
            name, _, number = action.partition('_')
            name = _RENAMED.get(name, name)
            sequence = Sequence(
                subject,
                name,
                f'{name} {number}' if number else name,
                camera.name,
                fps or _NATIVE_FPS / step,
                camera.width,
                camera.height,
                file=folder,
            )
            keypoints = {name: array[rows].astype(np.float32) for name, array in sources.items()}
            yield Clip(sequence, poses[rows, :, :3].astype(np.float32), keypoints)
