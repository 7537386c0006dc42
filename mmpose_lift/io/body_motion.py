"""Motion of a body model on disk, in the layout of AMASS (Mahmood et al., ICCV 2019).

An ``.npz`` file with ``poses``, ``betas``, ``trans``, ``mocap_framerate`` and ``gender``, which
Blender's SMPL add-on and the tools of AMASS read; ours say the rate as ``fps`` too. World axes have
z up. The vertices of frame f are those that the body gives for the shape and the rotations of f,
plus ``trans[f]``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np
import torch

from ..geometry.rotations import axis_angle_to_matrix
from ..geometry.torch_rotations import matrix_to_axis_angle
from .atomic import atomic_write
from .body_model_file import GENDERS
from .readers.recording import require_file
from .restricted_pickle import load_npz

__all__ = ['FRAME_RATES', 'BodyMotion', 'read_body_motion', 'write_body_motion']

NUM_JOINTS = 24
_SMPLH_JOINTS = 52  # the first 22 are SMPL's; SMPL's two hands are joints of the fingers there
_SHARED_JOINTS = 22
# names of the frame rate; the second in files of AMASS's stage II
FRAME_RATES = ('mocap_framerate', 'mocap_frame_rate', 'fps')


@dataclass(frozen=True)
class BodyMotion:
    """Motion of one person's body model.

    Args:
        poses: (F, 72) axis-angle vectors of 24 joints relative to their parents, radians; the first
            turns the body about its own root joint into the world.
        betas: (S,) shape coefficients, the same in all frames.
        trans: (F, 3) metres, added to every vertex.
        fps: Frames per second.
        gender: Of the body model: 'male', 'female' or 'neutral'.
        body_model: Which body the motion was made with, for example 'stand_in'; '' is not said.
        source: Where the motion comes from; '' is not said.

    Raises:
        ValueError: An argument has another shape, no frame, or values that are not finite.
    """

    poses: np.ndarray
    betas: np.ndarray
    trans: np.ndarray
    fps: float
    gender: str = 'neutral'
    body_model: str = ''
    source: str = ''

    def __post_init__(self):
        for name in ('poses', 'betas', 'trans'):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        width = 3 * NUM_JOINTS
        if self.poses.ndim != 2 or self.poses.shape[1] != width:
            raise ValueError(f'poses: expected shape (frames, {width}), the axis-angle vectors of '
                             f'{NUM_JOINTS} joints, found {self.poses.shape}')
        if not len(self.poses):
            raise ValueError('poses: the motion is empty (0 frames)')
        if self.betas.ndim != 1:
            raise ValueError('betas: expected one shape for all frames, (S,), found '
                             f'{self.betas.shape}')
        if self.trans.shape != (len(self.poses), 3):
            raise ValueError(f'trans: expected shape {(len(self.poses), 3)} like poses, found '
                             f'{self.trans.shape}')
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f'fps: expected frames per second above 0, found {self.fps!r}')
        if self.gender not in GENDERS:
            raise ValueError(f'gender: expected one of {", ".join(GENDERS)}, found '
                             f'{self.gender!r}; it says which body the motion belongs to')

    @classmethod
    def from_rotmats(cls, rotmats, betas, trans, fps: float, **words) -> 'BodyMotion':
        """Make a motion from (F, 24, 3, 3) rotations instead of ``poses``."""
        rotmats = np.asarray(rotmats, dtype=np.float64)
        if rotmats.ndim != 4 or rotmats.shape[1:] != (NUM_JOINTS, 3, 3):
            raise ValueError(f'rotmats: expected shape (frames, {NUM_JOINTS}, 3, 3), found '
                             f'{rotmats.shape}')
        rotmats = torch.from_numpy(_numbers('rotmats', rotmats).astype(np.float64))
        return cls(matrix_to_axis_angle(rotmats).flatten(1).numpy(), betas, trans, fps, **words)

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def rotmats(self) -> np.ndarray:
        """(F, 24, 3, 3) float32 rotations of the joints relative to their parents."""
        vectors = self.poses.reshape(len(self), NUM_JOINTS, 3).astype(np.float64)
        return axis_angle_to_matrix(vectors).astype(np.float32)


def _numbers(name: str, array) -> np.ndarray:
    array = np.asarray(array)
    if array.dtype.kind not in 'fiu':
        raise ValueError(f'{name}: expected numbers, found {array.dtype} values')
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(f'{name}: {bad.sum()} value(s) are not finite (NaN or infinite), the '
                         f'first at index {np.argwhere(bad)[0].tolist()}')
    return array.astype(np.float32)


def read_body_motion(path: Union[str, Path]) -> BodyMotion:
    """Read a motion in SMPL's form (F, 72) or in SMPL+H's, as AMASS gives it (F, 156).

    Of SMPL+H, the 22 joints that both bodies have are kept; SMPL's two hands stay at rest. The
    frame rate is ``mocap_framerate``, else ``mocap_frame_rate``, else ``fps``.

    Raises:
        FileNotFoundError: No such file.
        ValueError: It is no such file, is a file of a shape without poses, of another body, without
            frame rate or gender, or its arrays do not fit (as in :class:`BodyMotion`).
    """
    path = require_file(path, 'body motion')
    arrays = load_npz(path)
    if 'poses' not in arrays:
        kind = 'a shape without motion' if 'betas' in arrays else 'no body motion'
        raise ValueError(f'{path}: {kind} (it holds {", ".join(sorted(arrays)) or "nothing"}), '
                         'expected poses, betas, trans, mocap_framerate and gender; give a file '
                         'of a motion, in AMASS <name>_poses.npz')
    missing = [name for name in ('betas', 'trans', 'gender') if name not in arrays]
    rates = [name for name in FRAME_RATES if name in arrays]
    if not rates:
        missing.append(' or '.join(FRAME_RATES))
    if missing:
        raise ValueError(f'{path}: poses without {", ".join(missing)} (it holds '
                         f'{", ".join(sorted(arrays))}); is it a motion in the layout of AMASS?')
    try:
        return BodyMotion(
            _smpl_poses(arrays['poses']), arrays['betas'], arrays['trans'],
            _rate(rates[0], arrays[rates[0]]), _word('gender', arrays['gender']).lower(),
            *(_word(name, arrays.get(name, np.array(''))) for name in ('body_model', 'source')))
    except ValueError as error:
        raise ValueError(f'{path}: {error}; repair the file or get it again') from None


def _smpl_poses(poses: np.ndarray) -> np.ndarray:
    width = poses.shape[1] if poses.ndim == 2 else 0
    if width == 3 * _SMPLH_JOINTS:
        poses = np.pad(poses[:, :3 * _SHARED_JOINTS],
                       [(0, 0), (0, 3 * (NUM_JOINTS - _SHARED_JOINTS))])
    elif width != 3 * NUM_JOINTS:
        what = ' (SMPL-X)' if width == 165 else ''
        raise ValueError(f'poses have shape {poses.shape}{what}, expected (frames, '
                         f'{3 * NUM_JOINTS}) of SMPL or (frames, {3 * _SMPLH_JOINTS}) of SMPL+H')
    return poses


def _rate(name: str, array: np.ndarray) -> float:
    if array.size != 1 or array.dtype.kind not in 'fiu':
        raise ValueError(f'{name} is {array!r}, expected one number (Hz)')
    return float(array.item())


def _word(name: str, array: np.ndarray) -> str:
    value = array.item() if array.size == 1 else None
    value = value.decode('latin1') if isinstance(value, bytes) else value
    if not isinstance(value, str):
        raise ValueError(f'{name} is {array!r}, expected one word')
    return value


def write_body_motion(path: Union[str, Path], motion: BodyMotion) -> None:
    """Write a motion in AMASS's layout, with ``body_model`` and ``source`` where they are said.

    The frame rate is written twice: as ``mocap_framerate``, AMASS's name, which readers prefer, and
    as ``fps``.

    Raises:
        ValueError: ``path`` does not end in .npz.
    """
    path = Path(path)
    if path.suffix != '.npz':
        raise ValueError(f'{path}: expected a name that ends in .npz')
    words = {name: np.array(getattr(motion, name))
             for name in ('body_model', 'source') if getattr(motion, name)}
    with atomic_write(path) as temporary:
        np.savez(temporary, poses=motion.poses, betas=motion.betas, trans=motion.trans,
                 mocap_framerate=np.array(float(motion.fps)), fps=np.array(float(motion.fps)),
                 gender=np.array(motion.gender), **words)
