"""2D keypoint sequences as people have them in files, and lifted sequences written for them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple, Union

import numpy as np

from ..geometry.skeletons import get_skeleton
from .atomic import atomic_write
from .restricted_pickle import load_npy, load_npz

SUFFIXES = ('.npz', '.npy', '.json')


@dataclass
class KeypointSequence:
    """One person over the frames of one clip.

    Attributes:
        keypoints: (T, K, 2) pixels, or (T, K, 3) with a score.
        image_size: (width, height) in pixels, None where the file does not say.
        skeleton: Name of the joint order, None where the file does not say.
        fps: Frames per second, None where the file does not say.
    """
    keypoints: np.ndarray
    image_size: Optional[Tuple[int, int]] = None
    skeleton: Optional[str] = None
    fps: Optional[float] = None


def read_keypoint_sequence(path: Union[str, Path]) -> KeypointSequence:
    """Read a 2D keypoint sequence.

    * ``.npz``: ``keypoints`` (T, K, 2 or 3), optionally ``image_size``, ``skeleton``, ``fps``.
    * ``.npy``: the array alone.
    * ``.json``: an object with the same names, or what MMPose's inferencer writes for a video with
      one person (a list of frames, or ``instance_info``).

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another suffix, a file that does not parse, or no ``keypoints`` in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'keypoint file {path}: no such file')
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f'keypoint file {path}: expected one of {SUFFIXES}, found {suffix!r}')
    if suffix == '.npy':
        return KeypointSequence(_numbers(load_npy(path), path))
    if suffix == '.npz':
        content = load_npz(path)
    else:
        try:
            content = json.loads(path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f'keypoint file {path} is not valid JSON: {error}') from error
        if isinstance(content, list) or 'instance_info' in content:
            return KeypointSequence(_mmpose_frames(content, path))
    if 'keypoints' not in content:
        raise ValueError(f'keypoint file {path}: expected an entry "keypoints" (T, K, 2 or 3), '
                         f'found {sorted(content)}')
    size = content.get('image_size')
    if size is not None:
        size = np.asarray(size).ravel()
        if size.shape != (2, ):
            raise ValueError(f'keypoint file {path}: image_size needs (width, height), found '
                             f'{size}')
        size = (int(size[0]), int(size[1]))
    fps, skeleton = content.get('fps'), content.get('skeleton')
    return KeypointSequence(
        _numbers(content['keypoints'], path), size,
        None if skeleton is None else str(skeleton), None if fps is None else float(fps))


def _numbers(values, path: Path) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f'keypoint file {path}: "keypoints" is no (T, K, 2 or 3) array of '
                         'numbers; do all frames have the same joints?') from error


def _mmpose_frames(content, path: Path) -> np.ndarray:
    frames = content if isinstance(content, list) else content['instance_info']
    poses = []
    for number, frame in enumerate(frames):
        people = frame.get('instances') if isinstance(frame, dict) else frame
        if not isinstance(people, list) or len(people) != 1 or 'keypoints' not in people[0]:
            found = len(people) if isinstance(people, list) else 'none'
            raise ValueError(f'keypoint file {path}: frame {number} needs exactly one person, '
                             f'found {found}; write one file per person')
        points = np.asarray(people[0]['keypoints'], np.float32)
        score = np.asarray(people[0].get('keypoint_scores', np.ones(len(points))), np.float32)
        poses.append(np.concatenate([points[:, :2], score[:, None]], axis=1))
    if not poses:
        raise ValueError(f'keypoint file {path}: no frames')
    return _numbers(poses, path)


def write_lifted_sequence(path: Union[str, Path], lifted: dict) -> None:
    """Write what :class:`~mmpose_lift.apis.PoseLiftInferencer` returns, as .npz or .json.

    Raises:
        ValueError: Another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in ('.npz', '.json'):
        raise ValueError(f'output file {path}: expected .npz or .json, found {path.suffix!r}')
    known = {k: v for k, v in lifted.items() if v is not None}
    with atomic_write(path) as temporary:
        if path.suffix.lower() == '.npz':
            np.savez_compressed(temporary, **known)
        else:
            plain = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in known.items()}
            temporary.write_text(json.dumps(plain))


def check_keypoints(keypoints: np.ndarray, skeleton: str, where: str = 'keypoints') -> np.ndarray:
    """Check a 2D sequence against a skeleton.

    Returns:
        (T, K, 2 or 3) float32.

    Raises:
        ValueError: Wrong shape or joint count, no frame, or values that are not finite.
    """
    keypoints = np.asarray(keypoints)
    joints = get_skeleton(skeleton).num_joints
    if (keypoints.dtype.kind not in 'fiu' or keypoints.ndim != 3
            or keypoints.shape[-1] not in (2, 3)):
        raise ValueError(f'{where}: expected a (T, {joints}, 2 or 3) array of numbers, found '
                         f'{keypoints.dtype} {keypoints.shape}')
    if keypoints.shape[0] == 0:
        raise ValueError(f'{where}: the clip has no frames')
    if keypoints.shape[1] != joints:
        raise ValueError(f'{where}: skeleton {skeleton!r} has {joints} joints, found '
                         f'{keypoints.shape[1]}; name the right skeleton')
    bad = ~np.isfinite(keypoints).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f'{where}: {bad.sum()} of {len(bad)} frames hold NaN or infinite values '
                         f'(first: frame {int(np.argmax(bad))}); interpolate or leave them out')
    return keypoints.astype(np.float32, copy=False)
