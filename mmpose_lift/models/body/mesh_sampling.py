"""Mesh sampling: from the full surface of a body to coarser meshes of it and back.

Mesh transformers predict a coarse mesh of 431 vertices; METRO and Graphormer (Lin et al., CVPR and
ICCV 2021) take 6890 -> 1723 -> 431 from the public file mesh_downsampling.npz, made with the code
of CoMA (Ranjan et al., ECCV 2018). Without that file, meshes of the same sizes come from quadric
decimation (Garland and Heckbert, SIGGRAPH 1997) of the body's template: the vertices differ from
the public ones, so weights trained with one sampling do not fit the other.
"""

import hashlib
import os
import warnings
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor, nn

from .body_model import BodyModel
from .lazy_body_model import LazyBodyModel

__all__ = ['LazyMeshSampling', 'MeshSampling', 'SparseRows']

_VERSION = 1  # of the decimation below; a change makes new files in the cache
_DEFAULT_SIZES = (1723, 431)


class SparseRows(nn.Module):
    """Product with a constant sparse matrix (R, C) of few entries in each row.

    It works in any dtype, on any device and with gradients, as products with sparse tensors do not.

    Args:
        columns: (R, K) integers below C; rows with fewer entries repeat a column of weight 0.
        weights: (R, K), or None for the selection of one column per row, K = 1.
        num_columns: C.

    Raises:
        ValueError: shapes that do not fit, columns outside the matrix, weights not finite.
    """

    def __init__(self, columns, weights, num_columns: int):
        super().__init__()
        columns = np.asarray(columns)
        if columns.ndim != 2 or columns.dtype.kind not in 'iu' or not columns.size:
            raise ValueError('columns: expected integers of shape (R, K), found '
                             f'{columns.dtype} of shape {columns.shape}')
        if not (columns.min() >= 0 and columns.max() < num_columns):
            raise ValueError(f'columns: expected 0 to {num_columns - 1}, found '
                             f'{columns.min()} to {columns.max()}')
        if weights is not None:
            weights = np.asarray(weights, dtype=np.float32)
            if weights.shape != columns.shape or not np.isfinite(weights).all():
                raise ValueError(f'weights: expected finite numbers of shape {columns.shape}, '
                                 f'found shape {weights.shape} or values that are not finite')
            weights = torch.from_numpy(weights.T.copy())[..., None]  # [K, R, 1]
        columns = torch.from_numpy(columns.T.astype(np.int64))  # [K, R]
        self.register_buffer('columns', columns, persistent=False)
        self.register_buffer('weights', weights, persistent=False)
        self.shape = (columns.shape[1], num_columns)

    @classmethod
    def from_matrix(cls, matrix) -> 'SparseRows':
        """Make it of a scipy sparse matrix."""
        matrix = matrix.tocsr()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        counts = np.diff(matrix.indptr)
        columns = np.zeros((matrix.shape[0], max(1, counts.max(initial=0))), dtype=np.int64)
        weights = np.zeros(columns.shape, dtype=np.float32)
        filled = np.arange(columns.shape[1]) < counts[:, None]
        columns[filled], weights[filled] = matrix.indices, matrix.data
        return cls(columns, None if (counts == 1).all() and (weights == 1).all() else weights,
                   matrix.shape[1])

    def forward(self, points: Tensor) -> Tensor:
        """Map (..., C, D) to (..., R, D)."""
        if points.shape[-2] != self.shape[1]:
            raise ValueError(f'mismatched mesh sizes: expected {self.shape[1]} vertices, found '
                             f'{points.shape[-2]} in shape {tuple(points.shape)}')
        if self.weights is None:
            return points.index_select(-2, self.columns[0])
        return sum(weight * points.index_select(-2, column)
                   for weight, column in zip(self.weights, self.columns))


class MeshSampling(nn.Module):
    """Meshes of decreasing size of one surface, and the way between neighbouring sizes.

    Nothing of it is saved with a model. Use ``from_file`` or ``from_body``.

    Args:
        down: from each size to the next smaller one.
        up: back, in the same order: ``up[0]`` gives the full mesh.

    Attributes:
        sizes: vertices of each level, the full mesh first.
        source: what it came from, for messages.
    """

    source: str = 'matrices'

    def __init__(self, down: Sequence[SparseRows], up: Sequence[SparseRows]):
        super().__init__()
        shapes = [matrix.shape for matrix in down]
        found = ([shape[::-1] for shape in shapes], [matrix.shape for matrix in up])
        chained = all(first[0] == second[1] for first, second in zip(shapes, shapes[1:]))
        if not shapes or not chained or found[0] != found[1]:
            raise ValueError('mismatched mesh sizes: expected matrices down that follow each other '
                             'and matrices up of the same sizes, found down '
                             f'{shapes}, up {found[1]} (rows, columns)')
        self.sizes: Tuple[int, ...] = (shapes[0][1], *(rows for rows, _ in shapes))
        self._down, self._up = nn.ModuleList(down), nn.ModuleList(up)

    @classmethod
    def from_file(cls, path: Union[str, Path]) -> 'MeshSampling':
        """Read the public mesh_downsampling.npz without running the pickles in it.

        Raises:
            FileNotFoundError, UnsafePickleError, ValueError: see
                ``io.mesh_sampling_file.read_mesh_sampling``.
        """
        from ...io.mesh_sampling_file import read_mesh_sampling
        down, up = read_mesh_sampling(path)
        try:
            sampling = cls(*([SparseRows.from_matrix(matrix) for matrix in matrices]
                             for matrices in (down, up)))
        except ValueError as error:
            raise ValueError(f'{path}: {error}; is it mesh_downsampling.npz?') from None
        sampling.source = str(path)
        return sampling

    @classmethod
    def from_body(cls, body: BodyModel, sizes: Sequence[int] = _DEFAULT_SIZES,
                  cache: bool = True) -> 'MeshSampling':
        """Decimate the template of a body (on the CPU); same body and sizes, same matrices.

        Coarse vertices are vertices of the body: of those that the decimation merges into one, the
        nearest to it. The way back is barycentric in the nearest triangle of the coarser mesh that
        is near along the surface, too: an arm takes no part in the skin of the chest beside it.

        Args:
            body: Body with faces.
            sizes: Vertices of the coarser levels, decreasing.
            cache: Keep the matrices in the user's cache folder (``$XDG_CACHE_HOME``, by default
                ~/.cache), so that a later release of the decimation library changes nothing.

        Raises:
            ValueError: no faces, sizes that do not decrease, or a surface that has no mesh of
                these sizes.
        """
        name = body.source or 'this body model'
        if body.faces is None:
            raise ValueError(f'{name}: no faces, which the coarser meshes are computed from; use a '
                             "file with 'f' or 'faces', or give mesh_downsampling.npz as "
                             'mesh_sampling')
        sizes = tuple(int(size) for size in sizes)
        if not sizes or min(sizes) < 4 or any(
                second >= first for first, second in zip((body.num_vertices, *sizes), sizes)):
            raise ValueError(f'sizes: expected decreasing numbers of vertices from below '
                             f'{body.num_vertices}, those of {name}, to 4, found {sizes}')
        points = body.template.t().double().cpu().numpy()
        faces = body.faces.cpu().numpy()
        file = _cache_file(points, faces, sizes)
        arrays = _read_cache(file, body.num_vertices, sizes) if cache else None
        if arrays is None:
            arrays = _decimated(points, faces, sizes, name)
            if cache:
                _write_cache(file, arrays)
        sampling = cls(*_matrices(arrays, (body.num_vertices, *sizes)))
        sampling.source = f'decimation of {name}'
        return sampling

    def down(self, vertices: Tensor, level: int = -1) -> Tensor:
        """Vertices (..., V, 3) of the full mesh to those (..., sizes[level], 3) of a level."""
        return self.levels(vertices)[level]

    def levels(self, vertices: Tensor) -> List[Tensor]:
        """The full mesh (..., V, 3) and all coarser ones of it, in the order of ``sizes``."""
        meshes = [vertices]
        for matrix in self._down:
            meshes.append(matrix(meshes[-1]))
        return meshes

    def up(self, coarse: Tensor) -> List[Tensor]:
        """The coarsest mesh (..., sizes[-1], 3) and all finer ones, the full mesh last."""
        meshes = [coarse]
        for step in range(len(self._up)):
            meshes.append(self.up_step(meshes[-1], step))
        return meshes

    def up_step(self, mesh: Tensor, step: int) -> Tensor:
        """The next finer mesh; step 0 starts from the coarsest."""
        return self._up[-1 - step](mesh)


class LazyMeshSampling(nn.Module):
    """Hold a mesh sampling, or where to get it, until it is needed; nothing of it is saved.

    Args:
        source: None for the usual sizes from the body; the path of mesh_downsampling.npz; a dict
            with ``sizes`` (and ``cache``) for ``MeshSampling.from_body``; or a ``MeshSampling``.
        body: The body that it is for.

    Raises:
        ValueError: the source is none of these.
    """

    def __init__(self, source: Union[None, str, Path, Mapping[str, Any], MeshSampling],
                 body: LazyBodyModel):
        super().__init__()
        if isinstance(source, Mapping):
            source = dict(source)
            if set(source) - {'sizes', 'cache'}:
                raise ValueError('mesh sampling: expected a dict with sizes and cache, found '
                                 f'{", ".join(map(str, source))}')
        elif source is not None and not isinstance(source, (str, Path, MeshSampling)):
            raise ValueError('mesh sampling: expected None, a path, a dict with sizes or a '
                             f'MeshSampling, found {type(source).__name__}')
        # Neither is a submodule, for the reasons that LazyBodyModel gives.
        self._source, self._body, self._loaded = source, [body], []

    def on(self, tensor: Tensor) -> MeshSampling:
        """The mesh sampling, on the device of a tensor (it moves there).

        Raises:
            FileNotFoundError, ValueError: the file or the body cannot be read, the sampling is for
                another body, or the body has no faces to compute one from.
        """
        with torch.inference_mode(False):  # training may need these tensors later
            if not self._loaded:
                self._loaded.append(self._load(self._body[0].on(tensor)))
            return self._loaded[0].to(tensor.device)

    def _load(self, body: BodyModel) -> MeshSampling:
        source = self._source
        if source is None or isinstance(source, dict):
            return MeshSampling.from_body(body, **(source or {}))
        sampling = source if isinstance(source, MeshSampling) else MeshSampling.from_file(source)
        if sampling.sizes[0] != body.num_vertices:
            raise ValueError(f'mismatched mesh sizes: the sampling ({sampling.source}) is for '
                             f'{sampling.sizes[0]} vertices, the body model '
                             f'({body.source or "made of arrays"}) has {body.num_vertices}; use '
                             'files of one body model, or leave mesh_sampling out to compute it')
        return sampling


# ---------------------------------------------------------------- decimation


def _decimated(points: np.ndarray, faces: np.ndarray, sizes: Sequence[int],
               name: Union[str, Path]) -> Dict[str, np.ndarray]:
    """Index of each coarser vertex in the level before, and columns and weights of the way back."""
    import fast_simplification

    # A closed surface of n vertices has 2 n - 4 faces: as many faces as vertices is far enough.
    _, _, collapses = fast_simplification.simplify(
        points, faces, target_count=sizes[-1], return_collapses=True)
    arrays: Dict[str, np.ndarray] = {}
    kept = np.arange(len(points))  # vertices of the level before
    for level, size in enumerate(sizes):
        merged, triangles, cluster = fast_simplification.replay_simplification(
            points, faces, collapses[:len(points) - size])
        if len(merged) != size or len(np.unique(triangles)) != size:
            raise ValueError(f'{name}: its surface of {len(points)} vertices cannot be decimated '
                             f'to {size} vertices (found {len(np.unique(triangles))} on '
                             f'triangles); choose other sizes or give mesh_downsampling.npz')
        cluster = cluster[kept]
        distance = np.linalg.norm(points[kept] - merged[cluster], axis=-1)
        order = np.lexsort((distance, cluster))
        picked = order[np.searchsorted(cluster[order], np.arange(size))]
        columns, weights = _nearest_on_surface(
            points[kept], points[kept[picked]], triangles, cluster)
        arrays.update({f'down_{level}': picked.astype(np.int32),
                       f'up_columns_{level}': columns.astype(np.int32),
                       f'up_weights_{level}': weights.astype(np.float32)})
        kept = kept[picked]
    return arrays


def _nearest_on_surface(points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray,
                        cluster: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Barycentric coordinates of the nearest points of a mesh, at most two edges away.

    Args:
        points: (P, 3); vertices: (N, 3); triangles: (F, 3).
        cluster: (P,) the vertex from which each point looks.

    Returns:
        (P, 3) vertices and (P, 3) weights, that sum to 1.
    """
    from scipy.sparse import csr_matrix

    ends = 3 * np.arange(len(triangles) + 1)
    on_triangle = csr_matrix((np.ones(triangles.size), triangles.ravel(), ends),
                             shape=(len(triangles), len(vertices)))
    near = ((on_triangle.T @ on_triangle) @ on_triangle.T).tocsr()[cluster]  # [P, F]
    near.sort_indices()
    point = np.repeat(np.arange(len(points)), np.diff(near.indptr))
    corners = vertices[triangles[near.indices]]  # [pairs, 3, 3]
    weights = _closest_barycentric(points[point], corners)
    distance = np.linalg.norm((weights[..., None] * corners).sum(1) - points[point], axis=-1)
    best = np.lexsort((distance, point))[near.indptr[:-1]]
    return triangles[near.indices[best]], weights[best]


def _closest_barycentric(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(N, 3) barycentric coordinates of the point of each triangle (N, 3, 3) nearest to (N, 3)."""
    weights, distances = [], []
    for start, end in ((0, 1), (1, 2), (2, 0)):
        edge, offset = corners[:, end] - corners[:, start], points - corners[:, start]
        along = (edge * offset).sum(-1) / np.maximum((edge**2).sum(-1), 1e-20)
        along = np.clip(along, 0, 1)
        weight = np.zeros((len(points), 3))
        weight[:, start], weight[:, end] = 1 - along, along
        weights.append(weight)
        distances.append(np.linalg.norm(offset - along[:, None] * edge, axis=-1))
    # Inside the triangle the foot of the perpendicular is nearer than any edge.
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal, offset = np.cross(first, second), points - corners[:, 0]
    area = np.maximum((normal**2).sum(-1), 1e-20)
    second_weight = (np.cross(offset, second) * normal).sum(-1) / area
    third_weight = (np.cross(first, offset) * normal).sum(-1) / area
    weight = np.stack([1 - second_weight - third_weight, second_weight, third_weight], -1)
    flat = (normal**2).sum(-1) < 1e-20
    inside = (weight >= 0).all(-1) & ~flat
    weights.append(weight)
    distances.append(np.where(inside, 0, np.inf))
    return np.stack(weights)[np.argmin(distances, 0), np.arange(len(points))]


def _matrices(arrays: Mapping[str, np.ndarray],
              sizes: Sequence[int]) -> Tuple[List[SparseRows], List[SparseRows]]:
    down, up = [], []
    for level, (fine, coarse) in enumerate(zip(sizes, sizes[1:])):
        down.append(SparseRows(arrays[f'down_{level}'][:, None], None, fine))
        up.append(SparseRows(arrays[f'up_columns_{level}'], arrays[f'up_weights_{level}'], coarse))
    return down, up


# ---------------------------------------------------------------- cache


def _cache_file(points: np.ndarray, faces: np.ndarray, sizes: Sequence[int]) -> Path:
    digest = hashlib.sha256(repr((_VERSION, *sizes)).encode())
    for array in (points, faces):
        digest.update(np.ascontiguousarray(array).tobytes())
    folder = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(folder) / 'mmpose_lift' / f'mesh_sampling_{digest.hexdigest()[:20]}.npz'


def _read_cache(file: Path, vertices: int,
                sizes: Sequence[int]) -> Optional[Dict[str, np.ndarray]]:
    """The arrays of a whole, undamaged file, or None."""
    from ...io.restricted_pickle import load_npz
    if not file.is_file():
        return None
    try:
        arrays = load_npz(file)
        MeshSampling(*_matrices(arrays, (vertices, *sizes)))
    except (KeyError, IndexError, ValueError, OSError) as error:
        warnings.warn(f'{file}: made again, because it is damaged ({error})')
        return None
    return arrays


def _write_cache(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    from ...io.atomic import atomic_write
    try:
        with atomic_write(file) as temporary:
            np.savez(temporary, **arrays)
    except OSError as error:
        warnings.warn(f'mesh sampling not cached: {error}')
