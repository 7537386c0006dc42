"""The public mesh_downsampling.npz of CoMA and METRO: read without running the pickles in it."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple, Union

import numpy as np

from .pickle_shells import Shell
from .restricted_pickle import load_npz

__all__ = ['read_mesh_sampling']

_ADVICE = ('expected mesh_downsampling.npz as METRO and Graphormer publish it; get it again, or '
           'leave mesh_sampling out to compute the meshes from the body')


def read_mesh_sampling(path: Union[str, Path]) -> Tuple[list, list]:
    """Read the sampling matrices of a mesh.

    Keys of the file: ``D`` and ``U``, object arrays of one sparse matrix per step, from the full
    mesh to the coarsest: ``D[i]`` (n_{i+1}, n_i) goes down, ``U[i]`` (n_i, n_{i+1}) up.

    Returns:
        Lists D and U of ``scipy.sparse.coo_matrix``, float64.

    Raises:
        FileNotFoundError: No such file.
        UnsafePickleError: It asks for anything but arrays and sparse matrices.
        ValueError: It is damaged or another file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file (mesh sampling); {_ADVICE}')
    try:
        arrays = load_npz(path, ('D', 'U'), extra_globals=_PICKLED)
    except KeyError as error:
        raise ValueError(f'{error.args[0]}; {_ADVICE}') from None
    return _matrices(path, 'D', arrays['D']), _matrices(path, 'U', arrays['U'])


def _matrices(path: Path, name: str, array: np.ndarray) -> List[Any]:
    from scipy.sparse import coo_matrix

    found = [type(matrix).__name__ for matrix in array.ravel().tolist()]
    if not found or any(kind != 'coo_matrix' for kind in found):
        raise ValueError(f'{path}: {name}: expected sparse matrices, found '
                         f'{", ".join(sorted(set(found))) or "nothing"}; {_ADVICE}')
    matrices: List[coo_matrix] = list(array.ravel())
    for step, matrix in enumerate(matrices):
        if matrix.dtype.kind not in 'fiu' or not np.isfinite(matrix.data).all():
            raise ValueError(f'{path}: {name}[{step}] ({matrix.dtype}) does not hold finite '
                             f'numbers only; {_ADVICE}')
    return [matrix.astype(np.float64) for matrix in matrices]


class _Sparse(Shell):
    """A matrix of ``scipy.sparse``, made again from its arrays, whose indices scipy checks."""

    state: Dict[str, Any] = {}
    places: Callable[[Dict[str, Any], Tuple[int, int]], Tuple]  # rows and columns of the values

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.state = state

    def resolve(self, finish: Callable[[Any], Any]) -> Any:
        from scipy.sparse import coo_matrix

        state = {name: finish(value) for name, value in self.state.items()}
        shape, data = state['_shape'], state['data']
        return coo_matrix((data, self.places(state, shape)), shape=shape)


class _Coo(_Sparse):
    def places(self, state, shape):
        return state['coords'] if 'coords' in state else (state['row'], state['col'])


class _Csr(_Sparse):
    def places(self, state, shape):
        return np.repeat(np.arange(shape[0]), np.diff(state['indptr'])), state['indices']


class _Csc(_Sparse):
    def places(self, state, shape):
        return state['indices'], np.repeat(np.arange(shape[1]), np.diff(state['indptr']))


# The modules are private (csr -> _csr) since scipy 1.8.
_PICKLED = {f'scipy.sparse.{private}{name}.{name}_{kind}': shell
            for name, shell in (('coo', _Coo), ('csr', _Csr), ('csc', _Csc))
            for private in ('', '_') for kind in ('matrix', 'array')}
