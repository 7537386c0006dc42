"""Human3.6M in VideoPose3D's files (Pavllo et al., CVPR 2019) as a camera-space recording."""

from pathlib import Path
from typing import List, Mapping, Optional, Union

import numpy as np

from ...geometry.cameras import h36m_cameras
from ...geometry.skeletons import joint_map
from ..pose_store import Sequence
from .recording import Clip, Recording, require_file, require_poses
from .videopose3d_files import (
    PoseDict,
    camera_views,
    load_2d,
    load_poses,
    source_name,
    sources_by_name,
)

FPS = 50
_PREFIX = 'data_2d_h36m_'
_WHAT = 'a Human3.6M file of VideoPose3D'
_MOCAP_JOINTS = 32


def read_videopose3d_h36m(
    keypoints_3d: Union[str, Path],
    keypoints_2d: Union[List[Union[str, Path]], Mapping[str, Union[str, Path]]] = (),
    subjects: Optional[List[str]] = None,
) -> Recording:
    """Read ``data_3d_h36m.npz`` and any number of ``data_2d_h36m_<name>.npz``.

    World positions go to the camera space of the four cameras of each subject (built-in table), 32
    mocap joints become 17. 2D longer than 3D is cut, as VideoPose3D does. Source ``gt`` is always
    in the store: from its file where one is given, otherwise projected with distortion (the same
    numbers).

    Args:
        keypoints_3d: ``data_3d_h36m.npz``, world space, metres.
        keypoints_2d: Files named ``data_2d_h36m_<name>.npz``, or a dict of files by name. Pixels,
            with or without score (then 1). Files in COCO joint order are converted by the averages
            that MMPose uses.
        subjects: Defaults to all of the 3D file. Subjects that only a 2D file has are ignored.

    Returns:
        Camera-space recording; clips are 'S1/Directions 1/S1.54138969', the action is the text
        before the first space.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: a file holds more than arrays.
        ValueError: not these files, wrong joint count, NaN, empty clip, 2D missing or shorter than
            3D, unknown subject.
    """
    path = require_file(keypoints_3d, "VideoPose3D's Human3.6M 3D file")
    poses = load_poses(path, 'positions_3d', _WHAT)
    names = list(poses) if subjects is None else list(subjects)
    absent = [name for name in names if name not in poses]
    if absent:
        raise ValueError(f'{path}: no subject {", ".join(absent)}; it has {", ".join(poses)}')
    try:
        cameras = h36m_cameras(names)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    sources = {name: load_2d(file, name, _WHAT, ('h36m', 'coco'))
               for name, file in sources_by_name(keypoints_2d, _PREFIX).items()}
    by_subject = {name: [c for c in cameras if c.name.startswith(name + '.')] for name in names}
    return Recording(
        _clips(path, poses, by_subject, sources),
        sum(len(poses[name]) * len(by_subject[name]) for name in names),
        source=f'Human3.6M, {path.name} of VideoPose3D',
        frame='camera',
        cameras={camera.name: camera for camera in cameras},
    )


def name_of_source(file: Union[str, Path]) -> str:
    """<name> of a file called ``data_2d_h36m_<name>.npz``.

    Raises:
        ValueError: the file is not called like that.
    """
    return source_name(file, _PREFIX)


def _clips(path: Path, poses: PoseDict, cameras: dict, sources: dict):
    keep = list(joint_map('h36m_32', 'h36m'))
    for subject, subject_cameras in cameras.items():
        for action, world in poses[subject].items():
            where = f'{path}: {subject} {action!r}'
            world = require_poses(where, world, _MOCAP_JOINTS, (3,))[:, keep].astype(np.float64)
            views = {
                name: camera_views(source, subject, action, len(world), len(subject_cameras),
                                   'h36m')
                for name, source in sources.items()
            }
            for i, camera in enumerate(subject_cameras):
                points = camera.world_to_camera(world)
                keypoints = {name: arrays[i] for name, arrays in views.items()}
                if 'gt' not in keypoints:
                    keypoints['gt'] = camera.project(points).astype(np.float32)
                sequence = Sequence(
                    subject,
                    action.split(' ')[0],
                    action,
                    camera.name,
                    FPS,
                    camera.width,
                    camera.height,
                )
                yield Clip(sequence, points.astype(np.float32), keypoints)
