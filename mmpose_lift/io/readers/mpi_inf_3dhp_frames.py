"""MPI-INF-3DHP with one row per frame: MMPose's converter and the file of cross-data-set tests."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Dict, List, Union
from typing import Sequence as Seq

import numpy as np

from ...geometry.cameras import Camera
from ...geometry.skeletons import convert_keypoints, get_skeleton
from ..pose_store import Sequence
from ..restricted_pickle import load_npz, restricted_load
from .mpi_inf_3dhp import (
    TEST_FPS,
    VALID_FRAMES,
    PathLike,
    check_units,
    image_size,
    path_list,
    require_keys,
)
from .recording import Clip, Recording, require_arrays, require_file, require_poses

# Clips of about 12,000 frames were recorded at 50 Hz, the others at 25.
_50_HZ = {('S1', 'Seq2'), ('S3', 'Seq1'), ('S3', 'Seq2'), ('S5', 'Seq1'), ('S5', 'Seq2')}
_IMAGE = re.compile(
    r'(?P<camera>(?P<subject>S[1-8])_(?P<sequence>Seq[12])_Cam\d+|TS[1-6])_(?P<frame>\d+)\.\w+$'
)
_TEST_SEQUENCE = re.compile(r'(?<![A-Za-z0-9])TS[1-6](?!\d)')

# SPIN's 24 joints under the common names of geometry.skeletons; `spin_` marks those that are
# another definition of a joint (LSP head top, Human3.6M thorax) or belong to no skeleton here.
_SPIN_24 = (
    'right_ankle right_knee right_hip left_hip left_knee left_ankle right_wrist right_elbow '
    'right_shoulder left_shoulder left_elbow left_wrist neck spin_lsp_head_top pelvis spin_thorax '
    'spine head head_top spin_nose spin_left_eye spin_right_eye spin_left_ear spin_right_ear'
).split()

# 3DHP's world has y up, a store's has z up.
_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def read_mmpose_3dhp(
    annotations: Union[PathLike, Seq[PathLike]],
    cameras: Union[PathLike, Seq[PathLike]],
    test_fps: float = TEST_FPS,
) -> Recording:
    """Read the files of MMPose's ``preprocess_mpi_inf_3dhp.py``: metric annotation, metres.

    Joints are brought from 3DHP's order to 'h36m' by name. 2D source 'gt' is the array ``part``;
    its score is the converter's test whether the joint lies within 2048 x 2048 pixels. Frames are
    ordered by image number and a clip is cut where numbers are left out, so that no window reaches
    over a gap: the test file holds valid frames only and is made for single frames.

    The image size is that of the data set, not of the camera file: the converter may cut off the
    last digit of the height (204). Training cameras keep their extrinsics in a world turned to z up
    (3DHP's has y up); test cameras have none, their world is the camera's.

    Args:
        annotations: ``mpi_inf_3dhp_train.npz`` and/or ``mpi_inf_3dhp_test_valid.npz``.
        cameras: ``cameras_train.pkl`` and/or ``cameras_test.pkl``; read without executing them.
        test_fps: Frame rate given to test clips; training clips have that of the data set.

    Returns:
        Camera-space recording without actions. Clips are 'S1/Seq1/S1_Seq1_Cam0'; a clip that was
        cut or does not begin with image 1 has the number of its first image in its name,
        'TS1/TS1_002001/TS1'.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: a file holds more than arrays.
        ValueError: missing arrays, wrong joint count or length, NaN, other units, an image name of
            another form or twice, a camera that is not in the camera files.
    """
    annotations, cameras = path_list(annotations), path_list(cameras)
    table = {}
    for path in cameras:
        table.update(_load_cameras(require_file(path, 'cameras of MPI-INF-3DHP')))
    paths = [require_file(path, 'annotations of MPI-INF-3DHP') for path in annotations]
    runs, used = [], {}
    for path in paths:
        arrays = _load_annotations(path, 17, ('imgname', 'part', 'S'), (4,))
        for run in _runs(path, arrays['imgname']):
            camera = run[0]['camera']
            if camera not in table:
                raise ValueError(
                    f'{path}: camera {camera} is in none of the camera files '
                    f'{", ".join(map(str, cameras))}, which hold {", ".join(table) or "nothing"}'
                )
            used[camera] = table[camera]
            runs.append((path, arrays, *run))
    return Recording(
        (_mmpose_clip(*run, test_fps) for run in runs),
        len(runs),
        source=f'MPI-INF-3DHP, metric annotation, {", ".join(p.name for p in paths)} of MMPose',
        frame='camera',
        cameras=used,
    )


def _load_cameras(path: Path) -> Dict[str, Camera]:
    """Cameras by name. R (world to camera) and T (metres, x_cam = R x + T) in training only."""
    table = restricted_load(path)
    if not isinstance(table, Mapping) or not table:
        raise ValueError(f'{path}: expected a dict {{name: camera}}, found {type(table).__name__}')
    cameras = {}
    for name, entry in table.items():
        require_keys(f'{path}: camera {name}', entry, ('c', 'f'))
        rotation, position = np.eye(3), np.zeros(3)
        if 'R' in entry or 'T' in entry:
            require_keys(f'{path}: camera {name}', entry, ('R', 'T'))
            rotation = np.asarray(entry['R']) @ _Z_UP.T
            position = -rotation.T @ np.ravel(entry['T'])
        width, height = image_size(str(name).partition('_')[0])
        cameras[name] = Camera(
            name=name,
            width=width,
            height=height,
            focal=np.ravel(entry['f']),
            center=np.ravel(entry['c']),
            radial=np.zeros(3),
            tangential=np.zeros(2),
            rotation=rotation,
            position=position,
        )
    return cameras


def _load_annotations(path: Path, joints: int, names: Seq[str], channels_3d: tuple) -> dict:
    """All arrays of a file: those of ``names`` are there, ``part`` and ``S`` are checked poses."""
    arrays = load_npz(path)
    require_arrays(path, arrays, names, 'a file of MPI-INF-3DHP frames (part, S)')
    require_poses(f'{path}: array S', arrays['S'], joints, channels_3d)
    require_poses(f'{path}: array part', arrays['part'], joints, (3,))
    lengths = {name: len(arrays[name]) for name in ('part', 'S', 'imgname') if name in arrays}
    if len(set(lengths.values())) != 1:
        raise ValueError(f'{path}: arrays of different lengths: {lengths}')
    return arrays


def _runs(path: Path, names: np.ndarray) -> List[tuple]:
    """(match of the first image, rows, whether it is the whole clip) of frames without a gap."""
    groups: Dict[str, list] = {}
    for row, name in enumerate(map(str, names)):
        match = _IMAGE.search(name)
        if not match:
            raise ValueError(
                f'{path}: image name {name!r} in row {row}; expected a form like '
                'S1_Seq1_Cam0_000001.jpg or TS1_000001.jpg'
            )
        groups.setdefault(match['camera'], []).append((int(match['frame']), row, match))
    runs = []
    for camera, group in groups.items():
        group.sort(key=lambda item: item[0])
        numbers = np.array([number for number, *_ in group])
        steps = np.diff(numbers)
        if (steps == 0).any():
            raise ValueError(
                f'{path}: image {numbers[np.argmin(steps)]} of {camera} is in it twice; make the '
                'file again'
            )
        for part in np.split(np.arange(len(group)), np.flatnonzero(steps != 1) + 1):
            rows = np.array([group[i][1] for i in part])
            whole = len(part) == len(group) and numbers[0] == 1
            runs.append((group[part[0]][2], rows, whole))
    return runs


def _mmpose_clip(path: Path, arrays: dict, first: re.Match, rows, whole: bool, test_fps) -> Clip:
    points, pixels = arrays['S'][rows, :, :3], arrays['part'][rows]
    camera, sequence = first['camera'], first['sequence']
    subject = first['subject'] or camera
    fps = test_fps
    if sequence:
        fps = 50.0 if (subject, sequence) in _50_HZ else 25.0
    name = sequence or subject
    name = name if whole else f'{name}_{first["frame"]}'
    check_units(f'{path}: {camera}', points, pixels[..., :2], 'mpi_inf_3dhp', 'metres')
    points, pixels = (convert_keypoints(x, 'mpi_inf_3dhp', 'h36m') for x in (points, pixels))
    info = Sequence(subject, '', name, camera, fps, *image_size(subject))
    return Clip(info, points.astype(np.float32), {'gt': pixels.astype(np.float32)})


# ---------------------------------------------------------------- SPIN's frames


def read_spin_3dhp(path: PathLike, test_fps: float = TEST_FPS) -> Recording:
    """Read the frame-level file of cross-data-set tests (PoseAug, SGN): 2,929 test frames.

    ``part`` (N, 24, 3) pixels and confidence, ``S`` (N, 24, 3 or 4) metres, in SPIN's joint order.
    16 joints are taken by name, 'h36m_16': the file has no neck base (Human3.6M's joint 9). The 3D
    is kept as it is, absolute or root-relative. Which array says what sequence a frame belongs to
    is [np]: here the TS1 ... TS6 in ``imgname``; a file without names must hold the 2,929 valid
    frames in the order TS1 to TS6 (603, 540, 505, 553, 276 and 452).

    Returns:
        Recording with one clip per sequence, 'TS1/TS1/TS1'. Its rows are single frames, in the
        order of the file: read them with windows of one frame.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: the file holds more than arrays.
        ValueError: missing arrays, wrong joint count or length, NaN, other units, a joint whose
            confidence is always zero, frames whose sequence cannot be told.
    """
    path = require_file(path, 'frame-level MPI-INF-3DHP file')
    arrays = _load_annotations(path, len(_SPIN_24), ('part', 'S'), (3, 4))
    names = get_skeleton('h36m_16').common_names
    keep = [_SPIN_24.index(name) for name in names]
    for key in ('part', 'S'):
        score = arrays[key][:, keep, 3:] if key == 'S' else arrays[key][:, keep, 2:]
        absent = [name for i, name in enumerate(names) if score.size and not score[:, i].any()]
        if absent:
            raise ValueError(
                f'{path}: array {key} has confidence 0 in every frame for {", ".join(absent)}; '
                "expected these joints, is the file in SPIN's order of 24?"
            )
    rows = _sequence_rows(path, arrays)
    return Recording(
        (_spin_clip(path, arrays, keep, name, rows[name], test_fps) for name in rows),
        len(rows),
        source=f"MPI-INF-3DHP, single test frames in SPIN's order, {path.name}",
        frame='camera',
        skeleton='h36m_16',
    )


def _sequence_rows(path: Path, arrays: dict) -> Dict[str, np.ndarray]:
    """Rows of each test sequence."""
    if 'imgname' in arrays:
        names = [str(name) for name in arrays['imgname']]
        found = [_TEST_SEQUENCE.search(name) for name in names]
        if None in found:
            row = found.index(None)
            raise ValueError(
                f'{path}: image name {names[row]!r} in row {row} says no sequence; expected TS1 to '
                'TS6 in it'
            )
        labels = np.array([match[0] for match in found])
    else:
        total = sum(VALID_FRAMES.values())
        if len(arrays['S']) != total:
            raise ValueError(
                f'{path}: {len(arrays["S"])} frames without imgname; their sequences can only be '
                f'told for the {total} valid frames, add an array imgname'
            )
        labels = np.repeat(list(VALID_FRAMES), list(VALID_FRAMES.values()))
    return {name: np.flatnonzero(labels == name) for name in VALID_FRAMES if (labels == name).any()}


def _spin_clip(path: Path, arrays: dict, keep: list, name: str, rows, test_fps: float) -> Clip:
    points, pixels = arrays['S'][rows][:, keep, :3], arrays['part'][rows][:, keep]
    check_units(f'{path}: {name}', points, pixels[..., :2], 'h36m_16', 'metres')
    info = Sequence(name, '', name, name, test_fps, *image_size(name))
    return Clip(info, points.astype(np.float32), {'gt': pixels.astype(np.float32)})
