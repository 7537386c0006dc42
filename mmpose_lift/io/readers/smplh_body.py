"""SMPL+H bodies, DMPL directions and joint regressors from their public files."""

from pathlib import Path
from typing import Optional, Union

import numpy as np

from ...geometry.skeletons import joint_map
from ...models.body.regressed_joints import RegressedJoints
from ..body_model_file import (
    ONE_BODY,
    check_array,
    check_regressor_sides,
    load_arrays,
    read_joint_regressor,
)
from .recording import require_file

NUM_JOINTS = 52  # 22 of the body, 2 x 15 of the hands
NUM_BETAS = 16
NUM_DMPLS = 8
GENDERS = ('male', 'female', 'neutral')

_BODY_ARRAYS = ('v_template', 'shapedirs', 'posedirs', 'J_regressor', 'weights', 'kintree_table')
_BODY_SOURCE = (
    'download "Extended SMPL+H model" (smplh.tar.xz) from https://mano.is.tue.mpg.de after '
    'registration'
)
_DMPL_SOURCE = (
    'download "DMPLs compatible with SMPL" (dmpls.tar.xz) from https://smpl.is.tue.mpg.de after '
    'registration'
)


def find_body_file(folder: Union[str, Path], gender: str) -> Path:
    """``<gender>/model.npz`` or ``SMPLH_<GENDER>.npz`` in a folder (names in any case).

    Raises:
        FileNotFoundError: there is none; the message says where to get it.
    """
    return _find(folder, gender, 'SMPLH', 'SMPL+H body', _BODY_SOURCE)


def find_dmpl_file(folder: Union[str, Path], gender: str) -> Path:
    """``<gender>/model.npz`` or ``DMPL_<GENDER>.npz`` in a folder (names in any case).

    Raises:
        FileNotFoundError: there is none; the message says where to get it.
    """
    return _find(folder, gender, 'DMPL', 'DMPL directions', _DMPL_SOURCE)


def _find(folder, gender: str, prefix: str, what: str, source: str) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: no such folder ({what}); {source}')
    names = (f'{gender}/model.npz', f'{prefix}_{gender}.npz'.lower())
    for path in sorted([*folder.glob('*/*.npz'), *folder.glob('*.npz')]):
        if path.relative_to(folder).as_posix().lower() in names:
            return path
    raise FileNotFoundError(
        f'{folder}: no {what} for gender {gender!r}; expected {gender}/model.npz or '
        f'{prefix}_{gender.upper()}.npz in it: {source}'
    )


def read_regressed_joints(
    body: Union[str, Path],
    regressor: Union[str, Path],
    dmpl: Optional[Union[str, Path]] = None,
    regressor_skeleton: str = 'h36m_l_first',
) -> RegressedJoints:
    """Read a body that yields the 17 Human3.6M joints, in the order of this package ('h36m').

    Args:
        body: SMPL+H of one gender, .npz: ``v_template`` (V, 3), ``shapedirs`` (V, 3, >= 16),
            ``posedirs`` (V, 3, 459), ``J_regressor`` (52, V), ``weights`` (V, 52),
            ``kintree_table`` (2, 52).
        regressor: Regressor of the 17 joints from the surface, (17, V): a .npy file, or a .npz file
            with one array; for example SPIN's ``J_regressor_h36m.npy``.
        dmpl: Soft-tissue directions of that gender, .npz: ``eigvec`` (V, 3, >= 8). They follow the
            16 shape coefficients.
        regressor_skeleton: Joint order of the regressor, 'h36m_l_first' (SPIN's) or 'h36m' (that of
            METRO's "correct" file).

    Raises:
        FileNotFoundError: no such file.
        ValueError: missing arrays, another body model, shapes that do not fit each other, values
            that are not finite, a regressor whose left joints are on the right of the body.
    """
    arrays = _read_body(require_file(body, 'SMPL+H body'))
    vertices = len(arrays['v_template'])
    matrix = read_joint_regressor(regressor, body, vertices)
    check_regressor_sides(regressor, matrix @ arrays['v_template'], regressor_skeleton)
    shapedirs = arrays['shapedirs'][..., :NUM_BETAS]
    if dmpl is not None:
        directions = _read_dmpl(require_file(dmpl, 'DMPL directions'), Path(body), vertices)
        shapedirs = np.concatenate([shapedirs, directions], axis=-1)
    return RegressedJoints(
        arrays['v_template'],
        shapedirs,
        arrays['posedirs'],
        arrays['J_regressor'],
        arrays['weights'],
        arrays['parents'],
        matrix[list(joint_map(regressor_skeleton, 'h36m'))],
    )


def _read_body(path: Path) -> dict:
    arrays = load_arrays(path, _BODY_ARRAYS, 'an SMPL+H body')
    joints = np.atleast_1d(arrays['kintree_table']).shape[-1]
    if joints != NUM_JOINTS:
        name = {24: ' (SMPL)', 55: ' (SMPL-X)'}.get(joints, '')
        raise ValueError(
            f'{path}: a body with {joints} joints{name}, expected the {NUM_JOINTS} of SMPL+H, '
            f'which the poses of AMASS are made for; {_BODY_SOURCE}'
        )
    vertices = len(np.atleast_1d(arrays['v_template']))
    for name, shape in (
        ('v_template', (vertices, 3)),
        ('shapedirs', (vertices, 3, NUM_BETAS)),
        ('posedirs', (vertices, 3, 9 * (NUM_JOINTS - 1))),
        ('J_regressor', (NUM_JOINTS, vertices)),
        ('weights', (vertices, NUM_JOINTS)),
        ('kintree_table', (2, NUM_JOINTS)),
    ):
        reason = f'the body with {NUM_BETAS} shape coefficients'
        longer = name == 'shapedirs'
        check_array(path, name, arrays[name], shape, reason, _BODY_SOURCE, at_least=longer)
    # the root's parent is stored as 2 ** 32 - 1
    parents = np.concatenate([[-1], arrays.pop('kintree_table')[0, 1:].astype(np.int64)])
    if not (parents < np.arange(NUM_JOINTS)).all() or (parents[1:] < 0).any():
        raise ValueError(
            f'{path}: kintree_table does not list parents before their children; the file is '
            f'damaged or was changed: {_BODY_SOURCE}'
        )
    return dict(arrays, parents=parents)


def _read_dmpl(path: Path, body: Path, vertices: int) -> np.ndarray:
    array = load_arrays(path, ('eigvec',), 'a file of DMPL directions')['eigvec']
    shape, reason = (vertices, 3, NUM_DMPLS), f'the vertices of {body}'
    check_array(path, 'eigvec', array, shape, reason, ONE_BODY, at_least=True)
    return array[..., :NUM_DMPLS]
