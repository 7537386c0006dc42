"""Human3.6M in VideoPose3D's files (Pavllo et al., CVPR 2019) as a camera-space recording."""

from pathlib import Path
from typing import Dict, List, Mapping, Optional, Union

import numpy as np

from ...geometry.cameras import h36m_cameras
from ...geometry.skeletons import convert_keypoints, get_skeleton, joint_map
from ..pose_store import Sequence
from ..restricted_pickle import load_npz
from .recording import Clip, Recording, require_arrays, require_file, require_poses

FPS = 50
_PREFIX = 'data_2d_h36m_'
_MOCAP_JOINTS = 32
_2D_CHANNELS = (2, 3)  # some third-party files add a score

PoseDict = Dict[str, Dict[str, object]]  # subject -> action -> array, or list of one per camera


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
    poses = _load(path, 'positions_3d')
    names = list(poses) if subjects is None else list(subjects)
    absent = [name for name in names if name not in poses]
    if absent:
        raise ValueError(f'{path}: no subject {", ".join(absent)}; it has {", ".join(poses)}')
    try:
        cameras = h36m_cameras(names)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from None
    sources = {}
    for name, file in _by_name(keypoints_2d).items():
        file = require_file(file, f'2D source {name!r}')
        sources[name] = (file, *_load_2d(file))
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
    stem = Path(file).stem
    if not stem.startswith(_PREFIX):
        raise ValueError(
            f'{file}: the name of the 2D source cannot be told; expected {_PREFIX}<name>.npz, or '
            'give it as NAME=FILE'
        )
    return stem[len(_PREFIX) :]


def _by_name(files) -> Dict[str, Path]:
    if isinstance(files, Mapping):
        return dict(files)
    return {name_of_source(file): file for file in files}


def _load(path: Path, key: str) -> PoseDict:
    arrays = load_npz(path)
    require_arrays(path, arrays, [key], 'a Human3.6M file of VideoPose3D')
    array = arrays[key]
    poses = array.item() if array.shape == () else array
    if not isinstance(poses, dict) or not all(isinstance(v, dict) for v in poses.values()):
        raise ValueError(f'{path}: {key} must be a dict {{subject: {{action: array}}}}')
    return poses


def _load_2d(path: Path):
    """Poses and the skeleton they are in, told by the left and right joints of the file."""
    arrays = load_npz(path)
    skeleton = 'h36m'
    if 'metadata' in arrays:
        metadata = arrays['metadata']
        metadata = metadata.item() if metadata.shape == () else {}
        sides = metadata.get('keypoints_symmetry') if isinstance(metadata, dict) else None
        if sides is not None:
            known = {
                name: (get_skeleton(name).left_joints, get_skeleton(name).right_joints)
                for name in ('h36m', 'coco')
            }
            found = tuple(tuple(sorted(int(i) for i in side)) for side in sides)
            skeleton = next((name for name, both in known.items() if both == found), None)
            if skeleton is None:
                raise ValueError(
                    f'{path}: keypoints_symmetry {found} is neither that of Human3.6M '
                    f'{known["h36m"]} nor of COCO {known["coco"]}: unknown joint order'
                )
    return _load(path, 'positions_2d'), skeleton


def _clips(path: Path, poses: PoseDict, cameras: dict, sources: dict):
    keep = list(joint_map('h36m_32', 'h36m'))
    for subject, subject_cameras in cameras.items():
        for action, world in poses[subject].items():
            where = f'{path}: {subject} {action!r}'
            world = require_poses(where, world, _MOCAP_JOINTS, (3,))[:, keep].astype(np.float64)
            views = {
                name: _views(source, subject, action, len(world), len(subject_cameras))
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


def _views(source, subject: str, action: str, num_frames: int, num_cameras: int) -> list:
    """2D of one clip by camera, cut to the length of its 3D."""
    path, poses, skeleton = source
    if action not in poses.get(subject, {}):
        raise ValueError(
            f'{path}: {subject} {action!r} is missing, the 3D file has it; the two files do not '
            'belong together'
        )
    views = poses[subject][action]
    if len(views) != num_cameras:
        raise ValueError(
            f'{path}: {subject} {action!r} has {len(views)} cameras, expected {num_cameras}'
        )
    joints, result = get_skeleton(skeleton).num_joints, []
    for i, view in enumerate(views):
        where = f'{path}: {subject} {action!r} camera {i}'
        view = require_poses(where, view, joints, _2D_CHANNELS)
        if len(view) < num_frames:
            raise ValueError(
                f'{where}: {len(view)} frames of 2D, the 3D has {num_frames}; 2D may be longer, '
                'not '
                'shorter: get a complete file'
            )
        view = view[:num_frames].astype(np.float32)
        if skeleton != 'h36m':
            view = convert_keypoints(view, skeleton, 'h36m', has_score=view.shape[-1] == 3)
        result.append(view)
    return result
