"""Coarser meshes: from the body, from the public file (never run), and back to the full surface."""

import pickle

import fast_simplification
import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix
from scipy.sparse import random as random_matrix
from scipy.spatial import ConvexHull

from mmpose_lift.geometry.torch_rotations import axis_angle_to_matrix
from mmpose_lift.io.restricted_pickle import UnsafePickleError
from mmpose_lift.models.body import BodyModel, LazyBodyModel, LazyMeshSampling, MeshSampling
from mmpose_lift.models.body.mesh_sampling import SparseRows, _closest_barycentric
from tests.smpl_files import VERTICES, fake, fake_class, make_smpl

FULL, SIZES = 6890, (6890, 1723, 431)


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def sampling(body):
    return MeshSampling.from_body(body, cache=False)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'mmpose_lift'


def small_body(**changes):
    """Random numbers as a body of 60 vertices; its faces are no surface."""
    arrays = make_smpl(**changes)
    return BodyModel.from_arrays(
        arrays['v_template'], arrays['shapedirs'], arrays['posedirs'], arrays['J_regressor'],
        arrays['weights'], [-1, *arrays['kintree_table'][0, 1:]], arrays['f'])


def ball(vertices=200):
    """A body of one part: points on a sphere and their convex hull."""
    points = np.random.default_rng(1).normal(size=(vertices, 3))
    points /= np.linalg.norm(points, axis=-1, keepdims=True)
    return BodyModel.from_arrays(
        points, np.zeros((vertices, 3, 1)), np.zeros((vertices, 3, 0)),
        np.full((1, vertices), 1 / vertices), np.ones((vertices, 1)), [-1],
        ConvexHull(points).simplices)


# ---------------------------------------------------------------- from the body


def test_levels_are_vertices_of_the_body_and_the_way_back_ends_on_them(body, sampling):
    assert sampling.sizes == SIZES
    full = torch.arange(FULL)[None, :, None].double().expand(1, FULL, 3)
    numbers = sampling.levels(full)
    assert [mesh.shape for mesh in numbers] == [(1, size, 3) for size in SIZES]
    for fine, coarse in zip(numbers, numbers[1:]):
        kept = coarse[0, :, 0].long()
        assert kept.unique().numel() == len(kept) and set(kept.tolist()) <= set(
            fine[0, :, 0].long().tolist())
    assert torch.equal(sampling.down(full), numbers[2])
    assert torch.equal(sampling.down(full, level=1), numbers[1])
    # a vertex that is in the coarser mesh comes back in its place
    template = body.template.t()[None]
    meshes = sampling.up(sampling.down(template))
    kept = numbers[2][0, :, 0].long()
    assert [mesh.shape for mesh in meshes] == [(1, size, 3) for size in SIZES[::-1]]
    torch.testing.assert_close(meshes[2][0, kept], template[0, kept], atol=1e-6, rtol=0)


@pytest.mark.parametrize('sizes, limit', [((1723, 431), 0.008), ((431, 108), 0.025)])
def test_the_way_back_is_near_in_any_pose(body, sizes, limit):
    torch.manual_seed(0)
    vertices, _ = body(torch.randn(8, body.num_shapes),
                       axis_angle_to_matrix(0.4 * torch.randn(8, 24, 3)))
    sampling = MeshSampling.from_body(body, sizes, cache=False)
    assert sampling.sizes == (FULL, *sizes)
    back = sampling.up(sampling.down(vertices))[-1]
    assert (back - vertices).norm(dim=-1).mean() < limit
    # weights sum to 1, so the way back takes any shift of the body along
    moved = sampling.up(sampling.down(vertices + 3))[-1]
    torch.testing.assert_close(moved, back + 3, atol=1e-5, rtol=0)


def test_same_body_same_matrices(body, sampling):
    again = MeshSampling.from_body(BodyModel.stand_in(), cache=False)
    for (name, first), (_, second) in zip(sampling.named_buffers(), again.named_buffers()):
        assert torch.equal(first, second), name
    assert not sampling.state_dict()


def test_nearest_point_of_a_triangle(rng):
    corners, points = rng.normal(size=(200, 3, 3)), rng.normal(size=(200, 3))
    corners[:5, 2] = corners[:5, 1]  # no area
    corners[5, :] = corners[5, :1]  # a point
    weights = _closest_barycentric(points, corners)
    assert (weights >= 0).all() and np.allclose(weights.sum(1), 1)

    def distance(weights):
        return np.linalg.norm((weights[..., None] * corners).sum(1) - points, axis=-1)

    found = distance(weights)
    for other in rng.dirichlet([0.5, 0.5, 0.5], 400):
        assert (found <= distance(other[None]) + 1e-9).all()


# ---------------------------------------------------------------- cache


def test_cache_is_used_and_made_again_when_damaged(cache, monkeypatch):
    first = MeshSampling.from_body(ball(), (60, 20))
    [file] = cache.glob('*.npz')
    with monkeypatch.context() as patch:
        patch.setattr(fast_simplification, 'simplify', None)
        cached = MeshSampling.from_body(ball(), (60, 20))
    for before, after in zip(first.buffers(), cached.buffers()):
        assert torch.equal(before, after)
    whole = file.read_bytes()
    other = dict(np.load(file), up_columns_0=np.full((200, 3), 99))  # outside the coarser mesh
    for damage in (lambda: file.write_bytes(whole[:len(whole) // 2]),
                   lambda: np.savez(file, **other)):
        damage()
        with pytest.warns(UserWarning, match='made again'):
            MeshSampling.from_body(ball(), (60, 20))
        assert file.read_bytes()[:1000] == whole[:1000] and len(file.read_bytes()) == len(whole)
    MeshSampling.from_body(ball(), (60, ))  # other sizes, other body: other files
    MeshSampling.from_body(ball(199), (60, ))
    assert len(list(cache.glob('*.npz'))) == 3


def test_folder_that_cannot_be_written_is_only_a_warning(cache):
    cache.parent.mkdir()
    cache.write_text('a file where the folder should be')
    with pytest.warns(UserWarning, match='not cached'):
        assert MeshSampling.from_body(ball(), (60, 20)).sizes == (200, 60, 20)


# ---------------------------------------------------------------- the public file


def public_matrices(rng, sizes=(VERTICES, 20, 7)):
    """Selections down; rows of three weights up."""
    down, up = [], []
    for fine, coarse in zip(sizes, sizes[1:]):
        rows = rng.choice(fine, coarse, replace=False)
        down.append(coo_matrix((np.ones(coarse), (np.arange(coarse), rows)), (coarse, fine)))
        columns = np.stack([rng.choice(coarse, 3, replace=False) for _ in range(fine)])
        up.append(csr_matrix((rng.dirichlet([1, 1, 1], fine).ravel(), columns.ravel(),
                              3 * np.arange(fine + 1)), (fine, coarse)))
    return down, up


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def save_as_old_scipy(path, down, up, monkeypatch):
    """csc and csr by the module paths of scipy < 1.8."""
    with monkeypatch.context() as patch:
        csc, csr = (fake_class(f'scipy.sparse.{name}.{name}_matrix', patch)
                    for name in ('csc', 'csr'))

        def old(kind, matrix):
            return fake(kind, _shape=matrix.shape, maxprint=50, data=matrix.data,
                        indices=matrix.indices, indptr=matrix.indptr)

        np.savez(path, A=objects([old(csr, up[0])]),
                 D=objects([old(csc, csc_matrix(matrix)) for matrix in down]),
                 U=objects([old(csr, matrix) for matrix in up]))


@pytest.mark.parametrize('layout', ['old', 'csr', 'csc', 'coo'])
def test_public_file(layout, tmp_path, rng, monkeypatch):
    down, up = public_matrices(rng)
    path = tmp_path / 'mesh_downsampling.npz'
    if layout == 'old':
        save_as_old_scipy(path, down, up, monkeypatch)
    else:
        down, up = ([matrix.asformat(layout) for matrix in kind] for kind in (down, up))
        np.savez(path, A=objects([csr_matrix(np.eye(3))]), D=objects(down), U=objects(up))
    sampling = MeshSampling.from_file(path)
    assert sampling.sizes == (VERTICES, 20, 7)
    points = rng.normal(size=(2, VERTICES, 3))
    middle = np.einsum('rc,bcx->brx', down[0].toarray(), points)
    coarse = np.einsum('rc,bcx->brx', down[1].toarray(), middle)
    meshes = sampling.levels(torch.from_numpy(points))
    np.testing.assert_allclose(meshes[1], middle, atol=1e-6)
    np.testing.assert_allclose(meshes[2], coarse, atol=1e-6)
    back = np.einsum('rc,bcx->brx', (up[0] @ up[1]).toarray(), coarse)
    np.testing.assert_allclose(sampling.up(meshes[2])[-1], back, atol=1e-6)


def test_nothing_in_the_file_is_run(tmp_path):
    marker = tmp_path / 'ran'

    class Attack:
        def __reduce__(self):
            return open, (str(marker), 'w')

    path = tmp_path / 'mesh_downsampling.npz'
    np.savez(path, D=objects([Attack()]), U=objects([Attack()]))
    with pytest.raises(UnsafePickleError, match=r"mesh_downsampling.npz\['D'\].*refused"):
        MeshSampling.from_file(path)
    assert not marker.exists()


def test_indices_outside_a_matrix_are_found(tmp_path, rng, monkeypatch):
    down, up = public_matrices(rng)
    up[0].indices[4] = 1000
    path = tmp_path / 'mesh_downsampling.npz'
    save_as_old_scipy(path, down, up, monkeypatch)
    with pytest.raises(ValueError, match=r"mesh_downsampling.npz\['U'\].*damaged"):
        MeshSampling.from_file(path)


@pytest.mark.parametrize('change, message', [
    (lambda d, u: dict(D=objects(d)), "no array 'U'"),
    (lambda d, u: dict(D=np.zeros(2), U=objects(u)), 'D: expected sparse matrices, found float'),
    (lambda d, u: dict(D=objects(d[:1]), U=objects(u)), 'mismatched mesh sizes'),
    (lambda d, u: dict(D=objects(d[::-1]), U=objects(u)), 'mismatched mesh sizes'),
    (lambda d, u: dict(D=objects(d), U=objects([u[0] * np.nan, u[1]])), r'U\[0\].*finite'),
])
def test_other_files(change, message, tmp_path, rng):
    path = tmp_path / 'mesh_downsampling.npz'
    np.savez(path, **change(*public_matrices(rng)))
    with pytest.raises(ValueError, match=message) as caught:
        MeshSampling.from_file(path)
    assert 'mesh_downsampling.npz' in str(caught.value)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.npz.*mesh sampling'):
        MeshSampling.from_file(tmp_path / 'nowhere.npz')


# ---------------------------------------------------------------- lazily, and what cannot be


def test_lazy_sources(body, sampling, tmp_path, rng):
    place = torch.zeros(1)
    for source, lazy_body, sizes in (
            (None, LazyBodyModel(body), SIZES), (sampling, LazyBodyModel(body), SIZES),
            (dict(sizes=[60, 20], cache=False), LazyBodyModel(ball()), (200, 60, 20))):
        lazy = LazyMeshSampling(source, lazy_body)
        with torch.inference_mode():
            found = lazy.on(place)
        assert found is lazy.on(place) and found.sizes == sizes
        assert not lazy.state_dict() and not any(b.is_inference() for b in found.buffers())
    down, up = public_matrices(rng)
    path = tmp_path / 'mesh_downsampling.npz'
    np.savez(path, D=objects(down), U=objects(up))
    assert LazyMeshSampling(str(path), LazyBodyModel(small_body())).on(place).sizes[0] == VERTICES
    with pytest.raises(ValueError, match='mismatched mesh sizes.*mesh_downsampling.npz.*60.*6890'):
        LazyMeshSampling(path, LazyBodyModel(body)).on(place)


@pytest.mark.parametrize('source', [3, dict(size=(5, )), dict(path='x')])
def test_unknown_source(source, body):
    with pytest.raises(ValueError, match='mesh sampling: expected'):
        LazyMeshSampling(source, LazyBodyModel(body))


def test_body_without_faces():
    body = small_body()
    body.faces = None
    with pytest.raises(ValueError, match='no faces.*mesh_downsampling.npz'):
        LazyMeshSampling(None, LazyBodyModel(body)).on(torch.zeros(1))


@pytest.mark.parametrize('sizes', [(), (6890, ), (431, 1723), (431, 431), (431, 3)])
def test_sizes_that_do_not_decrease(body, sizes):
    with pytest.raises(ValueError, match='sizes: expected decreasing'):
        MeshSampling.from_body(body, sizes)


def test_faces_that_are_no_surface():
    with pytest.raises(ValueError, match='cannot be decimated to 5 vertices'):
        MeshSampling.from_body(small_body(), (20, 5))


def test_vertices_of_another_body(sampling):
    with pytest.raises(ValueError, match='mismatched mesh sizes: expected 6890'):
        sampling.down(torch.zeros(1, 10475, 3))


# ---------------------------------------------------------------- products


def test_product_gradient_and_precision(rng):
    matrix = random_matrix(9, 6, 0.3, random_state=0)  # with empty rows
    rows = SparseRows.from_matrix(matrix)
    points = torch.from_numpy(rng.normal(size=(2, 6, 3))).requires_grad_()
    weights = torch.from_numpy(rng.normal(size=(2, 9, 3)))
    rows(points).backward(weights)
    np.testing.assert_allclose(points.grad, matrix.toarray().T @ weights.numpy(), atol=1e-6)
    with torch.autocast('cpu', torch.bfloat16):
        assert rows(points.float()).dtype == torch.float32


@pytest.mark.parametrize('columns, weights, message', [
    ([[6]], None, 'expected 0 to 5'), ([[-1]], None, 'expected 0 to 5'),
    ([[0.5]], None, 'expected integers'), ([[1]], [[np.inf]], 'finite'),
    ([[1]], [[1, 0]], 'finite numbers of shape')])
def test_rows_that_do_not_fit(columns, weights, message):
    with pytest.raises(ValueError, match=message):
        SparseRows(columns, weights, 6)


def test_pickled_sampling_is_whole(sampling):
    copy = pickle.loads(pickle.dumps(sampling))
    vertices = torch.rand(1, FULL, 3)
    assert torch.equal(copy.up(copy.down(vertices))[-1], sampling.up(sampling.down(vertices))[-1])
