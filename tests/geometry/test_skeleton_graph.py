"""Partition and degree tables of AMPose edge by edge; trees that are none."""

import numpy as np
import pytest

from mmpose_lift.geometry import (
    ADJACENCY_NORMS,
    Skeleton,
    adjacency_groups,
    get_skeleton,
    hops_to_root,
    normalized_adjacency,
    tree_parents,
)

# joint: (hops, neighbours with fewer hops, neighbours with more hops)
PARTITION = {
    'h36m': {
        0: (0, [], [1, 4, 7]), 1: (1, [0], [2]), 2: (2, [1], [3]), 3: (3, [2], []),
        4: (1, [0], [5]), 5: (2, [4], [6]), 6: (3, [5], []), 7: (1, [0], [8]),
        8: (2, [7], [9, 11, 14]), 9: (3, [8], [10]), 10: (4, [9], []), 11: (3, [8], [12]),
        12: (4, [11], [13]), 13: (5, [12], []), 14: (3, [8], [15]), 15: (4, [14], [16]),
        16: (5, [15], [])},
    'h36m_16': {
        0: (0, [], [1, 4, 7]), 1: (1, [0], [2]), 2: (2, [1], [3]), 3: (3, [2], []),
        4: (1, [0], [5]), 5: (2, [4], [6]), 6: (3, [5], []), 7: (1, [0], [8]),
        8: (2, [7], [9, 10, 13]), 9: (3, [8], []), 10: (3, [8], [11]), 11: (4, [10], [12]),
        12: (5, [11], []), 13: (3, [8], [14]), 14: (4, [13], [15]), 15: (5, [14], [])},
}
ROOT_EDGES = {(1, 0), (4, 0), (7, 0)}  # (receiving joint, sending joint)
LEAF_EDGES = {'h36m': {(3, 2), (6, 5), (10, 9), (13, 12), (16, 15)},
              'h36m_16': {(3, 2), (6, 5), (9, 8), (12, 11), (15, 14)}}
THIRD = 3 ** -0.5


def edges(matrix):
    return {(int(i), int(j)): matrix[i, j] for i, j in np.argwhere(matrix)}


def reverse(some):
    return {(j, i) for i, j in some}


@pytest.fixture(params=['h36m', 'h36m_16'])
def name(request):
    return request.param


@pytest.fixture
def all_edges(name):
    """Edges from parents, (child, parent)."""
    return {(c, p) for c, (_, parents, _) in PARTITION[name].items() for p in parents}


def test_partition(name):
    groups = adjacency_groups(name)
    assert groups.shape == (3, len(PARTITION[name]), len(PARTITION[name]))
    assert hops_to_root(name) == tuple(hops for hops, _, _ in PARTITION[name].values())
    assert hops_to_root(name) == get_skeleton(name).hops
    for joint, (_, fewer, more) in PARTITION[name].items():
        assert [np.flatnonzero(group[joint]).tolist() for group in groups] == [[joint], fewer, more]
    assert set(np.unique(groups)) == {0, 1}


@pytest.mark.parametrize('norm', ['split', 'row', 'column', 'row_one'])
def test_self_loops_stay(name, norm):
    np.testing.assert_array_equal(normalized_adjacency(name, norm)[0], np.eye(len(PARTITION[name])))


def three_children(name):
    """Edges from joints 0 and 8 to their children."""
    return {(c, p) for p in (0, 8) for c in PARTITION[name][p][2]}


def test_split_loses_no_edge(name, all_edges):
    _, down, up = normalized_adjacency(name, 'split')
    expected = {edge: THIRD if edge in three_children(name) else 1 for edge in all_edges}
    assert edges(down) == pytest.approx(expected)
    np.testing.assert_array_equal(up, down.T)


def test_row_degree_taken_literally(name, all_edges):
    _, down, up = normalized_adjacency(name, 'row')
    assert edges(down) == dict.fromkeys(all_edges - ROOT_EDGES, 1)
    kept = reverse(all_edges - LEAF_EDGES[name])
    assert edges(up).keys() == kept
    # D_k of the receiving and of the sending joint: joints 0 and 8 have three children each
    assert edges(up) == pytest.approx({(i, j): THIRD if {i, j} & {0, 8} else 1 for i, j in kept})
    counts = {'h36m': (13, 11), 'h36m_16': (12, 10)}[name]
    assert (np.count_nonzero(down), np.count_nonzero(up)) == counts


def test_column_degree_is_the_mirror_image(name, all_edges):
    _, down, up = normalized_adjacency(name, 'column')
    kept = all_edges - LEAF_EDGES[name]
    assert edges(down) == pytest.approx({(i, j): THIRD if {i, j} & {0, 8} else 1 for i, j in kept})
    assert edges(up) == dict.fromkeys(reverse(all_edges - ROOT_EDGES), 1)
    counts = {'h36m': (11, 13), 'h36m_16': (10, 12)}[name]
    assert (np.count_nonzero(down), np.count_nonzero(up)) == counts


def test_row_degree_with_zeros_as_ones(name, all_edges):
    _, down, up = normalized_adjacency(name, 'row_one')
    assert edges(down) == dict.fromkeys(all_edges, 1)
    expected = {(i, j): THIRD if {i, j} & {0, 8} else 1 for i, j in reverse(all_edges)}
    assert edges(up) == pytest.approx(expected)
    thirds = {edge for edge, value in expected.items() if value < 1}
    neck = {'h36m': {(8, 9), (8, 11), (8, 14)}, 'h36m_16': {(8, 9), (8, 10), (8, 13)}}[name]
    assert thirds == {(0, 1), (0, 4), (0, 7), (7, 8)} | neck


def test_whole_skeleton_normalised_once(name, all_edges):
    degree = {j: 1 + len(fewer) + len(more) for j, (_, fewer, more) in PARTITION[name].items()}
    assert sorted(set(degree.values())) == [2, 3, 4, 5]  # leaves, chains, joint 0, joint 8
    loops, down, up = normalized_adjacency(name, 'whole')
    np.testing.assert_allclose(np.diag(loops), [1 / degree[j] for j in sorted(degree)])
    assert edges(down) == pytest.approx(
        {(i, j): (degree[i] * degree[j]) ** -0.5 for i, j in all_edges})
    np.testing.assert_array_equal(up, down.T)
    columns = normalized_adjacency(name, 'whole_column')
    np.testing.assert_allclose(columns.sum((0, 1)), 1)
    assert edges(columns[1]) == pytest.approx({(i, j): 1 / degree[j] for i, j in all_edges})


@pytest.mark.parametrize('norm', ADJACENCY_NORMS)
@pytest.mark.parametrize('skeleton', ['h36m', 'h36m_16', 'mpi_inf_3dhp', 'humaneva', [-1]])
def test_finite_and_mirrored(skeleton, norm):
    with np.errstate(all='raise'):
        adjacency = normalized_adjacency(skeleton, norm)
    assert np.isfinite(adjacency).all()
    if isinstance(skeleton, str):  # left and right are treated alike
        flip = list(get_skeleton(skeleton).flip_indices)
        np.testing.assert_array_equal(adjacency[:, flip][:, :, flip], adjacency)


@pytest.mark.parametrize('norm', ADJACENCY_NORMS)
def test_relabelled_joints(norm, rng):
    parents = np.array(get_skeleton('h36m').parents)
    order = rng.permutation(17)  # new joint i is old joint order[i]
    new_of_old = np.argsort(order)
    relabelled = [int(new_of_old[parents[old]]) if parents[old] >= 0 else -1 for old in order]
    np.testing.assert_allclose(normalized_adjacency(relabelled, norm),
                               normalized_adjacency('h36m', norm)[:, order][:, :, order])


def test_named_skeletons_start_at_the_mid_hip():
    for name in ('h36m', 'h36m_16', 'uplift_upsample', 'mpi_inf_3dhp', 'humaneva', 'smpl'):
        assert tree_parents(name)[get_skeleton(name).root_index] == -1


@pytest.mark.parametrize('skeleton, message', [
    ('coco', "'coco' has no root"), ('lsp_14', "'lsp_14' has no root"),
    ('stick', "unknown skeleton 'stick'"),
    ([1, 0], r'parents \[1, 0\] has no root'), ([], 'has no root'),
    ([-1, 0, -1], r'disconnected: expected one root, found joints \[0, 2\]'),
    ([-1, 2, 3, 1, 0], r'cyclic: .* root 0, found joints \[1, 2, 3\]'),
    ([-1, 1], r'cyclic: .* found joints \[1\]'),
    ([-1, 2], 'expected parents of 0 to 1, or -1 at the root, found 2'),
    ([-1, -2], 'found -2'),
    (Skeleton('upside_down', ('head', 'pelvis'), (-1, 0), ('head', 'pelvis')),
     r'start at the mid hip \(joint 1\), found that joint below joint 0')])
def test_no_rooted_tree(skeleton, message):
    with pytest.raises(ValueError, match=message):
        tree_parents(skeleton)


def test_unknown_norm():
    with pytest.raises(ValueError, match="expected one of .*'split'.*, found 'both'"):
        normalized_adjacency('h36m', 'both')
