"""2D keypoint sequences as people have them in files, and lifted sequences written for them."""

import json
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as short_repr
from typing import Optional, Tuple, Union

import numpy as np

from ..geometry.joint_conventions import convention_of
from ..geometry.skeletons import get_skeleton, skeleton_names
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
        needs_skeleton: The file is a result of MMPose that does not name its joint order, which is
            COCO's as often as not: the user has to name it, no default can be right.
    """
    keypoints: np.ndarray
    image_size: Optional[Tuple[int, int]] = None
    skeleton: Optional[str] = None
    fps: Optional[float] = None
    needs_skeleton: bool = False


def read_keypoint_sequence(path: Union[str, Path]) -> KeypointSequence:
    """Read a 2D keypoint sequence.

    * ``.npz``: ``keypoints`` (T, K, 2 or 3), optionally ``image_size``, ``skeleton``, ``fps``.
    * ``.npy``: the array alone.
    * ``.json``: an object with the same names, or what MMPose's inferencer writes for a video with
      one person: a list of frames, which does not name its joint order (``needs_skeleton``), or
      ``meta_info`` and ``instance_info``, where ``meta_info.dataset_name`` names it.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Another suffix, a file that does not parse, no ``keypoints`` in it, an entry of
            another kind than above, a result of MMPose with more than one person in a frame, with
            3D keypoints, or of a dataset whose joint order is not known here. The message names
            the file.
    """
    path = Path(path)
    where = f'keypoint file {path}'
    if not path.is_file():
        raise FileNotFoundError(f'{where}: no such file')
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f'{where}: expected one of {SUFFIXES}, found {suffix!r}')
    if suffix == '.npy':
        return KeypointSequence(_keypoints(load_npy(path), where))
    if suffix == '.npz':
        content = load_npz(path)
    else:
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{where} is not valid JSON: {error}') from error
        if isinstance(content, list) or isinstance(content, dict) and 'instance_info' in content:
            return _mmpose_result(content, where)
        if not isinstance(content, dict):
            raise ValueError(f'{where}: expected an object with "keypoints", or the frames of a '
                             f'result of MMPose, found {short_repr(content)}')
    if 'keypoints' not in content:
        raise ValueError(f'{where}: expected an entry "keypoints" (T, K, 2 or 3), '
                         f'found {sorted(content)}')
    return KeypointSequence(
        _keypoints(content['keypoints'], where), _image_size(content.get('image_size'), where),
        _skeleton(content.get('skeleton'), where), _fps(content.get('fps'), where))


def _array(values) -> Optional[np.ndarray]:
    """Float32 array, or None where the values are not a regular array of numbers.

    Text that looks like numbers, null and true are no numbers.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        return None
    if array.dtype.kind not in 'fiu':
        return None
    with np.errstate(over='ignore'):  # too large becomes infinite, which check_keypoints refuses
        return array.astype(np.float32, copy=False)


def _keypoints(values, where: str) -> np.ndarray:
    array = _array(values)
    if array is None:
        raise ValueError(f'{where}: "keypoints" is no (T, K, 2 or 3) array of numbers, found '
                         f'{short_repr(values)}; do all frames have the same joints?')
    if array.ndim != 3 or array.shape[-1] not in (2, 3):
        raise ValueError(f'{where}: expected "keypoints" of shape (T, K, 2 or 3), found '
                         f'{array.shape}')
    return array


def _image_size(value, where: str) -> Optional[Tuple[int, int]]:
    if value is None:
        return None
    size = _array(value)
    if size is None or size.size != 2 or not (np.isfinite(size) & (size >= 1)).all():
        raise ValueError(f'{where}: expected "image_size" (width, height) in pixels, found '
                         f'{short_repr(value)}')
    width, height = size.ravel()
    return int(width), int(height)


def _fps(value, where: str) -> Optional[float]:
    if value is None:
        return None
    fps = _array(value)
    if fps is None or fps.size != 1 or not 0 < float(fps.item()) < np.inf:
        raise ValueError(f'{where}: expected "fps" as one positive number, found '
                         f'{short_repr(value)}')
    return float(np.asarray(value, dtype=np.float64).item())


def _skeleton(value, where: str) -> Optional[str]:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    if value is not None and not isinstance(value, str):
        raise ValueError(f'{where}: expected "skeleton" as the name of a joint order, found '
                         f'{short_repr(value)}; it is one of {", ".join(skeleton_names())}')
    return value


def _mmpose_result(content: Union[list, dict], where: str) -> KeypointSequence:
    """A result file of MMPose's inferencer: frames with one person each."""
    meta = {} if isinstance(content, list) else content.get('meta_info')
    skeleton = _mmpose_skeleton({} if meta is None else meta, where)
    frames = content if isinstance(content, list) else content['instance_info']
    if not isinstance(frames, list):
        raise ValueError(f'{where}: expected "instance_info" as a list of frames, found '
                         f'{short_repr(frames)}')
    if not frames:
        raise ValueError(f'{where}: no frames')
    poses = [_mmpose_pose(frame, f'{where}: frame {number}')
             for number, frame in enumerate(frames)]
    for number, pose in enumerate(poses):
        if len(pose) != len(poses[0]):
            raise ValueError(f'{where}: frame {number} has {len(pose)} joints, the first frame '
                             f'{len(poses[0])}; all frames need the same joints')
    return KeypointSequence(np.stack(poses), skeleton=skeleton, needs_skeleton=skeleton is None)


def _mmpose_skeleton(meta, where: str) -> Optional[str]:
    """Joint order of a result by the name of its dataset; MMPose's names are ours where known."""
    if not isinstance(meta, dict):
        raise ValueError(f'{where}: expected "meta_info" as an object, found {short_repr(meta)}')
    if meta.get('dataset_name') is None:
        return None
    try:
        return convention_of(meta)
    except ValueError as error:
        raise ValueError(f'{where}: meta_info: {error}') from error


def _mmpose_pose(frame, where: str) -> np.ndarray:
    """(K, 3) pixels and score of the one person of a frame."""
    people = frame.get('instances') if isinstance(frame, dict) else frame
    if not isinstance(people, list):
        raise ValueError(f'{where} needs a list of instances with exactly one person, found '
                         f'{short_repr(frame)}')
    if len(people) != 1:
        raise ValueError(f'{where} needs exactly one person, found {len(people)}; write one file '
                         'per person')
    person = people[0]
    if not isinstance(person, dict) or 'keypoints' not in person:
        raise ValueError(f'{where}: expected a person with "keypoints", found '
                         f'{short_repr(person)}')
    points = _array(person['keypoints'])
    if points is None:
        raise ValueError(f'{where}: "keypoints" is no (K, 2) array of numbers, found '
                         f'{short_repr(person["keypoints"])}')
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f'{where}: expected "keypoints" of shape (K, 2), found {points.shape}: '
                         'this is not a 2D result; give the result of a 2D pose model')
    if 'keypoint_scores' not in person:
        score = np.ones(len(points), np.float32)
    else:
        values = person['keypoint_scores']
        score = _array(values)
        if score is None or score.shape != (len(points), ):
            found = short_repr(values) if score is None else f'shape {score.shape}'
            raise ValueError(f'{where}: expected {len(points)} "keypoint_scores", one number per '
                             f'joint, found {found}')
    return np.concatenate([points, score[:, None]], axis=1)


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
        ValueError: Wrong shape or joint count, unknown skeleton, no frame, or values that are not
            finite in float32.
    """
    keypoints = np.asarray(keypoints)
    try:
        joints = get_skeleton(skeleton).num_joints
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
    if (keypoints.dtype.kind not in 'fiu' or keypoints.ndim != 3
            or keypoints.shape[-1] not in (2, 3)):
        raise ValueError(f'{where}: expected a (T, {joints}, 2 or 3) array of numbers, found '
                         f'{keypoints.dtype} {keypoints.shape}')
    if keypoints.shape[0] == 0:
        raise ValueError(f'{where}: the clip has no frames')
    if keypoints.shape[1] != joints:
        raise ValueError(f'{where}: skeleton {skeleton!r} has {joints} joints, found '
                         f'{keypoints.shape[1]}; name the right skeleton')
    with np.errstate(over='ignore'):  # a value beyond float32 becomes infinite, refused below
        keypoints = keypoints.astype(np.float32, copy=False)
    bad = ~np.isfinite(keypoints).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f'{where}: {bad.sum()} of {len(bad)} frames hold NaN or infinite values '
                         f'(first: frame {int(np.argmax(bad))}); interpolate or leave them out')
    return keypoints
