"""Files of SMPL bodies and of joint regressors: read without running them, written as plain .npz.

SMPL is licensed and not part of this package: https://smpl.is.tue.mpg.de, after registration.
"""

import re
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

import numpy as np

from ..geometry.skeletons import get_skeleton, joint_map
from .atomic import atomic_write
from .pickle_shells import Shell, UnsafePickleError
from .restricted_pickle import load_npy, load_npz, restricted_load

__all__ = ['GENDERS', 'check_array', 'check_regressor_sides', 'load_arrays', 'read_body_model',
           'read_joint_regressor', 'write_body_model']

GENDERS = ('neutral', 'female', 'male')
FILE_SKELETON = 'h36m_l_first'  # joint order of public regressors, and of those inside body files

_SOURCE = ('download SMPL from https://smpl.is.tue.mpg.de after registration and put its .pkl, or '
           "the .npz that tools/convert_body_model.py makes of it, there; 'stand_in' is the "
           'built-in body model (not SMPL)')
_REGRESSOR_SOURCE = ('put a (17, V) .npy file there, for example J_regressor_h36m.npy, which SPIN '
                     'and HybrIK publish')
ONE_BODY = "use files of one body model (SMPL+H has SMPL's 6890 vertices)"
_OTHER_BODIES = {5: 'FLAME', 16: 'MANO', 52: 'SMPL+H', 55: 'SMPL-X'}  # by their number of joints

# Our name, then the names in the files.
_REQUIRED = (('v_template',), ('shapedirs',), ('posedirs',), ('J_regressor',),
             ('lbs_weights', 'weights'), ('parents', 'kintree_table'))
_OPTIONAL = (('faces', 'f'), ('J_regressor_h36m',))


def read_body_model(path: Union[str, Path], gender: Optional[str] = None,
                    h36m_regressor: Optional[Union[str, Path]] = None,
                    regressor_skeleton: str = FILE_SKELETON,
                    num_betas: Optional[int] = 10) -> Tuple[Dict[str, Any], Optional[str]]:
    """Read the arguments of ``BodyModel.from_arrays`` and the gender from an SMPL file.

    Keys of the file: ``v_template`` (V, 3), ``shapedirs`` (V, 3, S), ``posedirs`` (V, 3, 207),
    ``J_regressor`` (24, V), ``weights`` or ``lbs_weights`` (V, 24), ``kintree_table`` (2, 24) or
    ``parents`` (24,), and where there are any ``f`` or ``faces`` (F, 3), ``J_regressor_h36m``
    (17, V), ``gender``. A pickle is not run: its chumpy and scipy objects become arrays, anything
    else is refused.

    Args:
        path: .npz, or an official .pkl.
        gender: One of ``GENDERS`` where the body must be that one. What the file says counts, then
            the names of file and folder; a body of unknown gender passes.
        h36m_regressor: As for :func:`read_joint_regressor`; default: the one in ``path``, if any.
        regressor_skeleton: Joint order of the regressor, 'h36m_l_first' (SPIN, HybrIK) or 'h36m'.
        num_betas: Shape directions to keep; None: all.

    Returns:
        The arguments, and the gender or None.

    Raises:
        FileNotFoundError: No such file; the message says where to get it.
        UnsafePickleError: A pickle asks for anything but arrays.
        ValueError: Not an SMPL body, of another gender, damaged, fewer shape directions, or a
            regressor that does not fit the body.
    """
    if gender is not None and gender not in GENDERS:
        raise ValueError(f'gender: expected one of {", ".join(GENDERS)}, found {gender!r}')
    path = _require(path, 'SMPL body model', _SOURCE)
    content = _read(path)
    arrays = {}
    for names in (*_REQUIRED, *_OPTIONAL):
        present = [name for name in names if name in content]
        if present:
            arrays[names[0]] = np.asarray(content[present[0]])
        elif names in _REQUIRED:
            raise ValueError(f'{path}: no array {" or ".join(map(repr, names))} (found: '
                             f'{", ".join(map(str, content))}); is it an SMPL body? {_SOURCE}')
    arrays['parents'] = _parents(path, arrays['parents'])
    _check_arrays(path, arrays, num_betas or 1)
    arrays['shapedirs'] = arrays['shapedirs'][..., :num_betas]
    found = _gender(path, content.get('gender'))
    if None not in (gender, found) and gender != found:
        raise ValueError(f'{path}: a {found} body, expected a {gender} one; give the file of that '
                         f'gender, or ask for gender {found!r}')
    if h36m_regressor is not None:
        regressor = read_joint_regressor(h36m_regressor, path, len(arrays['v_template']))
        check_regressor_sides(h36m_regressor, regressor @ arrays['v_template'], regressor_skeleton)
        arrays['J_regressor_h36m'] = regressor
    return dict(arrays, regressor_skeleton=regressor_skeleton), found or gender


def _read(path: Path) -> Dict[str, Any]:
    if path.suffix == '.npz':
        return load_npz(path)
    content = restricted_load(path, extra_globals=_PICKLED)
    if not isinstance(content, dict):
        raise ValueError(f'{path}: expected a dict of arrays, found a {type(content).__name__}; is '
                         f'it a body model? {_SOURCE}')
    return content


def _parents(path: Path, table: np.ndarray) -> np.ndarray:
    skeleton = get_skeleton('smpl')
    joints = table.shape[-1] if table.ndim else 0
    if joints != skeleton.num_joints:
        name = f' ({_OTHER_BODIES[joints]})' if joints in _OTHER_BODIES else ''
        raise ValueError(f'{path}: a body with {joints} joints{name}, expected the '
                         f'{skeleton.num_joints} of SMPL; {_SOURCE}')
    parents = np.array(table.reshape(-1, joints)[0], dtype=np.int64)
    parents[0] = -1  # stored as 2 ** 32 - 1 in the official files
    if tuple(parents) != skeleton.parents:
        raise ValueError(f"{path}: the joint tree is not SMPL's: expected parents "
                         f'{skeleton.parents}, found {tuple(parents)}; {_SOURCE}')
    return parents


def _check_arrays(path: Path, arrays: dict, num_betas: int) -> None:
    vertices = len(np.atleast_1d(arrays['v_template']))
    joints = get_skeleton('smpl').num_joints
    for name, shape in (('v_template', (vertices, 3)), ('shapedirs', (vertices, 3, num_betas)),
                        ('posedirs', (vertices, 3, 9 * (joints - 1))),
                        ('J_regressor', (joints, vertices)), ('lbs_weights', (vertices, joints)),
                        ('J_regressor_h36m', (get_skeleton('h36m').num_joints, vertices))):
        if name in arrays:
            check_array(path, name, arrays[name], shape, f'an SMPL body of {vertices} vertices',
                        _SOURCE, at_least=name == 'shapedirs')
    faces = arrays.get('faces')
    if faces is not None and (faces.shape[1:] != (3,) or faces.dtype.kind not in 'iu'
                              or not ((faces >= 0) & (faces < vertices)).all()):
        raise ValueError(f'{path}: faces: expected (F, 3) integers from 0 to {vertices - 1}, found '
                         f'{faces.dtype} of shape {faces.shape}; {_SOURCE}')


def _gender(path: Path, stored: Any) -> Optional[str]:
    if stored is not None:
        words = [word.decode() if isinstance(word, bytes) else str(word).lower()
                 for word in np.ravel(stored).tolist()]
    else:  # basicModel_f_lbs_10_207_0_v1.0.0.pkl, SMPL_NEUTRAL.pkl, female/model.npz
        short = dict(f='female', m='male')
        words = [short.get(word, word) for word in re.split('[^a-z]+', path.stem.lower())]
        words.append(path.resolve().parent.name.lower())
    return next((word for word in words if word in GENDERS), None)


def read_joint_regressor(path: Union[str, Path], body: Union[str, Path],
                         vertices: int) -> np.ndarray:
    """Read the regressor (17, V) of the joints of Human3.6M: .npy, or .npz with that one array.

    Args:
        path: The file.
        body: Name of the body model's file, for the message.
        vertices: V of that body.

    Raises:
        FileNotFoundError, ValueError: No such file, or no such regressor in it.
    """
    path = _require(path, 'joint regressor', _REGRESSOR_SOURCE)
    if path.suffix == '.npz':
        arrays = load_npz(path)
        if len(arrays) != 1:
            raise ValueError(
                f'{path}: expected one array, the regressor, found {len(arrays)}: '
                f'{", ".join(sorted(arrays))}; save the regressor alone as a .npy file')
        [array] = arrays.values()
    else:
        array = load_npy(path)
    check_array(path, 'the regressor', array, (get_skeleton('h36m').num_joints, vertices),
                f'the vertices of {body}', ONE_BODY)
    return array


def check_regressor_sides(path: Union[str, Path], rest: np.ndarray, skeleton: str) -> None:
    """Find a regressor whose left and right are swapped, which would not show in any shape.

    Args:
        path: File of the regressor, for the message.
        rest: (K, 3) its joints at rest; the body looks along z and its left is at +x.
        skeleton: Joint order in which the regressor is read.

    Raises:
        ValueError: A left joint is on the right of its counterpart.
    """
    skeleton = get_skeleton(skeleton)
    wrong = [skeleton.joint_names[left] for left, right in skeleton.flip_pairs
             if not rest[left, 0] > rest[right, 0]]
    if wrong:
        raise ValueError(
            f'{path}: read in the joint order {skeleton.name!r}, {", ".join(wrong)} would be on '
            "the right of the body; is it a regressor of the other order ('h36m_l_first' of SPIN, "
            "'h36m' of METRO), or of another skeleton?")


def write_body_model(path: Union[str, Path], arrays: Dict[str, Any]) -> None:
    """Write what :func:`read_body_model` reads: one .npz of float32 arrays, whole or not at all.

    Args:
        path: .npz to write; its folder is created.
        arrays: Arguments of ``BodyModel.from_arrays``, and ``gender`` where it is known. A
            regressor in the order ``regressor_skeleton`` is stored as 'h36m_l_first'.

    Raises:
        ValueError: ``path`` does not end in .npz.
    """
    if Path(path).suffix != '.npz':
        raise ValueError(f'{path}: a body model is written as .npz; choose a name that ends so')
    arrays = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    order = str(arrays.pop('regressor_skeleton', FILE_SKELETON))
    if 'J_regressor_h36m' in arrays:
        rows = list(joint_map(order, FILE_SKELETON))
        arrays['J_regressor_h36m'] = arrays['J_regressor_h36m'][rows]
    arrays = {name: array.astype(np.float32) if array.dtype.kind == 'f' else array
              for name, array in arrays.items()}
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays)


# ---------------------------------------------------------------- shared with other body files


def load_arrays(path: Path, names: Sequence[str], what: str) -> Dict[str, np.ndarray]:
    """Load the named arrays of an .npz file; ``what`` the file should be, for the message.

    Raises:
        ValueError: it lacks one of them.
    """
    try:
        return load_npz(path, names)
    except KeyError as error:
        raise ValueError(f'{error.args[0]}; expected {what}: is this the right file?') from None


def check_array(path: Union[str, Path], name: str, array: np.ndarray, shape: Tuple[int, ...],
                reason: str, advice: str, at_least: bool = False) -> None:
    """Raise ValueError unless the array has that shape and finite numbers only.

    Args:
        path, name, reason, advice: For the message: of what, why that shape, what to do.
        at_least: The last axis may be longer.
    """
    fits = array.shape == shape or (
        at_least and array.shape[:-1] == shape[:-1] and array.shape[-1] >= shape[-1])
    if not fits:
        numbers = ', '.join(map(str, shape[:-1]))
        last = f'at least {shape[-1]}' if at_least else str(shape[-1])
        raise ValueError(f'{path}: {name} has shape {array.shape}, expected ({numbers}, {last}) '
                         f'for {reason}; {advice}')
    if array.dtype.kind not in 'fiu' or not np.isfinite(array).all():
        raise ValueError(f'{path}: {name} ({array.dtype}) does not hold finite numbers only; the '
                         'file is damaged or of another format: get it again')


def _require(path: Union[str, Path], what: str, source: str) -> Path:
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file ({what}); {source}')
    return path


# ---------------------------------------------------------------- objects in official pickles


class _Object(Shell):
    """An object with its attributes as the state, as Python 2 pickled it."""

    state: Dict[str, Any] = {}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.state = state


class _Ch(_Object):
    """``chumpy.ch.Ch``: a variable; ``x`` is its value."""

    def resolve(self, finish: Callable[[Any], Any]) -> np.ndarray:
        return np.asarray(finish(self.state['x']))


class _Select(_Object):
    """``chumpy.reordering.Select``: entries ``idxs`` of the flat ``a``, in another shape."""

    def resolve(self, finish: Callable[[Any], Any]) -> np.ndarray:
        entries = np.asarray(finish(self.state['idxs'])).astype(np.int64)
        picked = np.ravel(finish(self.state['a']))[entries]
        shape = finish(self.state.get('preferred_shape'))
        return picked if shape is None else picked.reshape(shape)


class _CscMatrix(_Object):
    """``scipy.sparse.csc_matrix``, made dense; NumPy checks the indices that scipy would trust."""

    def resolve(self, finish: Callable[[Any], Any]) -> np.ndarray:
        shape, data, rows, starts = (finish(self.state[name])
                                     for name in ('_shape', 'data', 'indices', 'indptr'))
        dense = np.zeros(shape, dtype=data.dtype)
        columns = np.repeat(np.arange(shape[1]), np.diff(starts))
        np.add.at(dense, (rows, columns), data)
        return dense


class _PythonObject(Shell):
    """``object``, as the base class of what protocols 0 and 1 rebuild."""


def _reconstructor(kind: type, base: type, state: Any) -> _Object:
    """``copyreg._reconstructor`` as protocols 0 and 1 use it for plain objects."""
    if not (isinstance(kind, type) and issubclass(kind, _Object)) or base is not _PythonObject:
        raise UnsafePickleError(f'an object of type {kind!r} with base {base!r}')
    return kind()


_PICKLED: Dict[str, Any] = {
    'chumpy.ch.Ch': _Ch, 'chumpy.reordering.Select': _Select,
    'scipy.sparse.csc.csc_matrix': _CscMatrix, 'scipy.sparse._csc.csc_matrix': _CscMatrix,
    'copyreg._reconstructor': _reconstructor, 'builtins.object': _PythonObject}
