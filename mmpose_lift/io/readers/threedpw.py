"""Original sequence files of 3DPW (von Marcard et al., ECCV 2018) as annotations.

A file holds what a moving camera saw of one or two people: bodies in the world and the camera's
pose, frame by frame. Annotations have everything in the axes of the camera.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import numpy as np
import torch

from ...geometry.rotations import axis_angle_to_matrix
from ...geometry.torch_rotations import matrix_to_axis_angle
from ..restricted_pickle import restricted_load

__all__ = ['read_3dpw_sequence']

_GENDERS = {'m': 'male', 'f': 'female'}
_KEYS = ('sequence', 'poses', 'betas', 'trans', 'cam_intrinsics', 'cam_poses', 'genders',
         'jointPositions', 'campose_valid')


def read_3dpw_sequence(path: Union[str, Path], min_keypoints: int = 6,
                       image_size: Optional[tuple] = None) -> Dict[str, List[dict]]:
    """Read ``sequenceFiles/<split>/<sequence>.pkl`` without running it.

    Frames in which the camera's pose is not valid, or fewer than ``min_keypoints`` of the person's
    18 detected keypoints were found, are left out (published lists differ in this), and so are
    those with a joint behind the camera.

    Args:
        path: The file.
        min_keypoints: Of ``poses2d``, with a confidence above 0 [np]; files without it have no
            such rule.
        image_size: (width, height) in pixels. Defaults to twice the principal point, which is the
            middle of the picture in these files.

    Returns:
        ``images`` and ``annotations`` in the 3DPW layout of ``mesh_annotations``, in metres: shape,
        pose with the root turned into the camera's axes, gender, ``smpl_joint_cam`` from the file's
        joints, ``smpl_joint_img``, and ``actor``, the number of the person in the file. There are
        no boxes and no joints of Human3.6M: these need the body model.

    Raises:
        FileNotFoundError: No such file.
        UnsafePickleError: The file holds more than arrays.
        ValueError: An array is missing or of another length.
    """
    path = Path(path)
    content = restricted_load(path)
    missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f'{path}: expected a sequence file of 3DPW with {", ".join(_KEYS)}, found '
                         f'no {", ".join(missing)}')
    name = str(content['sequence'])
    camera = _array(path, content, 'cam_intrinsics', (3, 3))
    views = _array(path, content, 'cam_poses', (None, 4, 4))
    frames = len(views)
    width, height = image_size or np.round(2 * camera[:2, 2]).astype(int).tolist()
    intrinsics = dict(focal=camera[[0, 1], [0, 1]].tolist(), princpt=camera[:2, 2].tolist())
    annotations = []
    for actor in range(len(content['poses'])):
        valid = _array(path, content, 'campose_valid', (frames, ), actor) > 0
        if 'poses2d' in content:
            found = _array(path, content, 'poses2d', (frames, 3, 18), actor)[:, 2] > 0
            valid &= found.sum(1) >= min_keypoints
        annotations += _annotations(path, content, actor, np.flatnonzero(valid), views, camera)
    used = sorted({annotation['image_id'] for annotation in annotations})
    images = [dict(id=frame, sequence=name, file_name=f'image_{frame:05d}.jpg', width=width,
                   height=height, cam_param=intrinsics) for frame in used]
    return dict(images=images, annotations=annotations)


def _annotations(path: Path, content: Dict[str, Any], actor: int, rows: np.ndarray,
                 views: np.ndarray, camera: np.ndarray) -> List[dict]:
    """Annotations of one person in the frames ``rows``."""
    frames = len(views)
    poses = _array(path, content, 'poses', (frames, 72), actor)[rows]
    joints = _array(path, content, 'jointPositions', (frames, 72), actor)[rows].reshape(-1, 24, 3)
    betas = np.asarray(content['betas'][actor], np.float64).reshape(-1)[:10]
    gender = str(content['genders'][actor])
    if gender not in _GENDERS or len(betas) < 10:
        raise ValueError(f"{path}: expected gender 'm' or 'f' and 10 shape coefficients of person "
                         f'{actor}, found {gender!r} and {len(betas)}')
    joints = joints @ views[rows, :3, :3].swapaxes(1, 2) + views[rows, None, :3, 3]
    seen = (joints[..., 2] > 0).all(1)
    rows, poses, joints = rows[seen], poses[seen], joints[seen]
    # a body turns about its own root joint, so the camera only turns the root
    root = matrix_to_axis_angle(
        torch.from_numpy(views[rows, :3, :3] @ axis_angle_to_matrix(poses[:, :3])))
    poses = np.concatenate([root.numpy(), poses[:, 3:]], 1)
    pixels = joints @ camera.T
    pixels[..., :2] /= pixels[..., 2:]  # x and y in the picture, and the depth
    body = dict(shape=betas.round(6).tolist(), gender=_GENDERS[gender])
    return [dict(image_id=int(row), actor=actor, smpl_param=dict(body, pose=pose),
                 smpl_joint_cam=cam, smpl_joint_img=img)
            for row, pose, cam, img in zip(rows, poses.round(6).tolist(), joints.round(6).tolist(),
                                           pixels.round(3).tolist())]


def _array(path: Path, content: Dict[str, Any], key: str, shape: tuple,
           actor: Optional[int] = None) -> np.ndarray:
    """An array of the file, or of one person in it; None in ``shape`` is any length."""
    value = content[key] if actor is None else content[key][actor]
    array = np.asarray(value, np.float64)
    if array.ndim != len(shape) or any(a != b for a, b in zip(array.shape, shape) if b is not None):
        whose = '' if actor is None else f' of person {actor}'
        expected = ', '.join('frames' if size is None else str(size) for size in shape)
        raise ValueError(f'{path}: expected shape ({expected}) of {key}{whose}, found '
                         f'{array.shape}')
    return array
