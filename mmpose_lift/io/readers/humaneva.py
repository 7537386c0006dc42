"""HumanEva-I in VideoPose3D's files (Pavllo et al., CVPR 2019) as a camera-space recording."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ...geometry.cameras import world_to_camera
from ...geometry.rotations import quaternion_to_matrix
from ..pose_store import Sequence as StoreSequence
from .recording import Clip, Recording, require_file, require_poses
from .videopose3d_files import (
    PoseDict,
    Source2D,
    camera_views,
    load_2d,
    load_poses,
    source_name,
    sources_by_name,
)

SKELETON = 'humaneva'
FPS = 60
WIDTH, HEIGHT = 640, 480
CAMERAS = ('C1', 'C2', 'C3')  # the colour cameras, in the order of the 2D files
PREFIX = 'data_2d_humaneva15_'
_WHAT = "a HumanEva file of VideoPose3D"

# Camera to world: quaternion (w, x, y, z) and position in mm, of C1, C2, C3. Intrinsics are not
# published in the tools.
_S1 = (
    ((0.424207, -0.4983646, -0.5802981, 0.4847012), (4062.227, 663.2477, 1528.397)),
    ((0.6503354, -0.7481602, -0.0919284, 0.0941766), (844.8131, -3805.2092, 1504.9929)),
    ((0.0664734, -0.0690535, 0.7416416, -0.6639132), (-797.67377, 3916.3174, 1433.6602)),
)
_S2 = (
    ((0.4214752, -0.4961493, -0.5838273, 0.4851187), (4112.9121, 626.4929, 1545.2988)),
    ((0.6501393, -0.7476588, -0.0954617, 0.0959808), (923.574, -3877.9243, 1504.5518)),
    ((0.0699353, -0.0712403, 0.7421637, -0.662742), (-781.4915, 3838.8853, 1444.9929)),
)
_EXTRINSICS = {'S1': _S1, 'S2': _S2, 'S3': _S1}


def read_humaneva(
    keypoints_3d: str | Path,
    keypoints_2d: Sequence[str | Path] | Mapping[str, str | Path],
    subjects: Sequence[str] | None = None,
) -> Recording:
    """Read ``data_3d_humaneva15.npz`` and files ``data_2d_humaneva15_<name>.npz``.

    World positions go to the camera space of the three colour cameras (built-in extrinsics). Their
    intrinsics are not known, so nothing is projected: 2D comes from the files, and the store has no
    calibrated cameras. 2D longer than 3D is cut, as VideoPose3D does.

    Args:
        keypoints_3d: ``data_3d_humaneva15.npz``, world space, metres, 15 joints.
        keypoints_2d: At least one file of 2D, by name or as a dict of files by name. Pixels, with
            or without score (then 1). Files in COCO joint order (``detectron_pt_coco``) are
            converted with the fixed weights of :mod:`mmpose_lift.geometry.joint_weights`: an
            approximation.
        subjects: For example 'Train/S1', 'Validate/S2'. Defaults to all of the 3D file. Subjects
            that only a 2D file has are ignored.

    Returns:
        Camera-space recording, skeleton 'humaneva', 60 Hz, 640 x 480; clips are
        'Train/S1/Walking 1 chunk0/C1', the action is the text before the first space.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: a file holds more than arrays.
        ValueError: not these files, no 2D, wrong joint count, NaN, empty clip, 2D missing or
            shorter than 3D, unknown subject.
    """
    path = require_file(keypoints_3d, "VideoPose3D's HumanEva 3D file")
    poses = load_poses(path, 'positions_3d', _WHAT)
    names = list(poses) if subjects is None else list(subjects)
    absent = [name for name in names if name not in poses]
    if absent:
        raise ValueError(f'{path}: no subject {", ".join(absent)}; it has {", ".join(poses)}')
    extrinsics = {name: _extrinsics(path, name) for name in names}
    sources = {
        name: load_2d(file, name, _WHAT, (SKELETON, 'coco'))
        for name, file in sources_by_name(keypoints_2d, PREFIX).items()
    }
    if not sources:
        raise ValueError(f'{path}: no 2D file is given, and without intrinsics 2D cannot be '
                         f'projected; give {PREFIX}gt.npz as well')
    return Recording(
        _clips(path, poses, extrinsics, sources),
        sum(len(poses[name]) for name in names) * len(CAMERAS),
        source=f'HumanEva-I, {path.name} of VideoPose3D',
        frame='camera',
        skeleton=SKELETON,
    )


def name_of_source(file: str | Path) -> str:
    """<name> of a file called ``data_2d_humaneva15_<name>.npz``; ValueError if it is not."""
    return source_name(file, PREFIX)


def _extrinsics(path: Path, subject: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """World-to-camera rotation (3, 3) and camera position (3,), metres, of each camera."""
    person = subject.rsplit('/', 1)[-1]
    if person not in _EXTRINSICS:
        raise ValueError(f'{path}: no extrinsics are known for subject {subject!r}, only for '
                         f'{", ".join(_EXTRINSICS)}; leave it out with subjects')
    return [(quaternion_to_matrix(q).T, np.divide(t, 1000)) for q, t in _EXTRINSICS[person]]


def _clips(path: Path, poses: PoseDict, extrinsics: dict,
           sources: dict[str, Source2D]) -> Iterator[Clip]:
    for subject, cameras in extrinsics.items():
        for action, world in poses[subject].items():
            world = require_poses(f'{path}: {subject} {action!r}', world, 15, (3,)).astype(float)
            views = {
                name: camera_views(source, subject, action, len(world), len(cameras), SKELETON)
                for name, source in sources.items()
            }
            for i, (rotation, position) in enumerate(cameras):
                points = world_to_camera(world, rotation, position)
                sequence = StoreSequence(subject, action.split(' ')[0], action, CAMERAS[i], FPS,
                                         WIDTH, HEIGHT)
                yield Clip(sequence, points.astype(np.float32),
                           {name: arrays[i] for name, arrays in views.items()})
