"""Skeletons as rooted trees, and their adjacency matrix split by direction (AMPose, section 1.2).

The partition goes back to ST-GCN (Yan et al., AAAI 2018) and Cai et al. (ICCV 2019); AMPose keeps
three groups and measures distance to the mid hip.
"""

import operator
from typing import Sequence, Tuple, Union

import numpy as np

from .skeletons import Skeleton, get_skeleton

__all__ = ['ADJACENCY_NORMS', 'adjacency_groups', 'hops_to_root', 'normalized_adjacency',
           'tree_parents']

ADJACENCY_NORMS = ('split', 'row', 'column', 'row_one', 'whole', 'whole_column')

SkeletonLike = Union[str, Skeleton, Sequence[int]]


def tree_parents(skeleton: SkeletonLike) -> Tuple[int, ...]:
    """Parents of the joints of one tree, -1 at its root.

    Args:
        skeleton: Name for :func:`get_skeleton`, a :class:`Skeleton` (both must be rooted at the mid
            hip), or J parent indices with -1 at the root.

    Returns:
        J parent indices.

    Raises:
        ValueError: unknown name, no root, more than one tree, a cycle, or an index out of range.
    """
    if isinstance(skeleton, (str, Skeleton)):
        skeleton = get_skeleton(skeleton)
        name = f'skeleton {skeleton.name!r}'
        parents, root = skeleton.parents, skeleton.root_index  # raises where there is no mid hip
        if parents[root] != -1:
            raise ValueError(f'{name}: expected the tree to start at the mid hip (joint {root}), '
                             f'found that joint below joint {parents[root]}; give a list of '
                             'parents that starts there')
    else:
        try:
            parents = tuple(operator.index(parent) for parent in skeleton)
        except TypeError as error:
            raise ValueError('skeleton: expected a name or a list of whole numbers, the parent of '
                             f'each joint, found {skeleton!r}') from error
        name = f'skeleton with parents {list(parents)}'
    wrong = [p for p in parents if not -1 <= p < len(parents)]
    if wrong:
        raise ValueError(f'{name}: expected parents of 0 to {len(parents) - 1}, or -1 at the root, '
                         f'found {wrong[0]}')
    roots = [i for i, parent in enumerate(parents) if parent == -1]
    if not roots:
        raise ValueError(f'{name} has no root: expected one joint with parent -1 (the mid hip), '
                         'found none, so the joints are cyclic')
    if len(roots) > 1:
        raise ValueError(f'{name} is disconnected: expected one root, found joints {roots} with '
                         'parent -1; join the trees')
    reached = {roots[0]}
    for _ in parents:
        reached |= {child for child, parent in enumerate(parents) if parent in reached}
    cyclic = sorted(set(range(len(parents))) - reached)
    if cyclic:
        raise ValueError(f'{name} is cyclic: expected every joint to lead to the root '
                         f'{roots[0]}, found joints {cyclic} that go round in a circle')
    return parents


def hops_to_root(skeleton: SkeletonLike) -> Tuple[int, ...]:
    """J numbers of bones between a joint and the root; arguments as of :func:`tree_parents`."""
    parents = tree_parents(skeleton)
    hops = []
    for joint in range(len(parents)):
        count = 0
        while parents[joint] != -1:
            joint, count = parents[joint], count + 1
        hops.append(count)
    return tuple(hops)


def adjacency_groups(skeleton: SkeletonLike) -> np.ndarray:
    """Adjacency matrix with self-loops, split by the distance of a neighbour to the root.

    Args:
        skeleton: As of :func:`tree_parents`.

    Returns:
        (3, J, J) float64 of 0 and 1; row i is the receiving joint. Group 0: the joint itself, group
        1: its neighbour with fewer hops to the root (the parent), group 2: those with more hops
        (the children). Group 2 is the transpose of group 1.

    Raises:
        ValueError: not one rooted tree.
    """
    parents = tree_parents(skeleton)
    to_parent = np.zeros((len(parents), len(parents)))
    for child, parent in enumerate(parents):
        if parent != -1:
            to_parent[child, parent] = 1
    return np.stack([np.eye(len(parents)), to_parent, to_parent.T])


def normalized_adjacency(skeleton: SkeletonLike, norm: str = 'split') -> np.ndarray:
    """The three groups, scaled by degrees as ``D^-1/2 A D^-1/2``.

    Groups 1 and 2 are not symmetric, so "the degree matrix" of the paper can be read in several
    ways, and some degrees are 0 (the root has no parent, leaves have no children). Which one the
    authors used is not published. The degree of a row counts the neighbours that a joint receives
    from in that group, the degree of a column those that it sends to.

    ===============  ===========================================================================
    ``norm``         each group A_k becomes
    ===============  ===========================================================================
    'split'          row degree on the left, column degree on the right: no edge is lost, 1/sqrt(3)
                     between a joint with three children and those, else 1
    'row'            row degree on both sides, 0 for degree 0 (the formula taken literally): edges
                     are lost from the root to its children, and from leaves to their parents
    'column'         column degree on both sides, 0 for degree 0: edges are lost from the parents of
                     leaves to the leaves, and from children of the root to the root
    'row_one'        row degree on both sides, degrees of 0 counted as 1: no edge is lost
    'whole'          its part of the whole skeleton's matrix, self-loops included, normalised once
                     by its degree on both sides (there row and column degrees are equal)
    'whole_column'   the same with A D^-1, as ST-GCN and Cai et al. do
    ===============  ===========================================================================

    Args:
        skeleton: As of :func:`tree_parents`.
        norm: One of :data:`ADJACENCY_NORMS`.

    Returns:
        (3, J, J) float64, finite.

    Raises:
        ValueError: unknown norm, or not one rooted tree.
    """
    if norm not in ADJACENCY_NORMS:
        raise ValueError(f'adjacency norm: expected one of {ADJACENCY_NORMS}, found {norm!r}')
    groups = adjacency_groups(skeleton)
    if norm == 'whole_column':
        return groups / groups.sum((0, 1))  # self-loops: no degree is 0
    rows, columns = groups.sum(2), groups.sum(1)  # [3, J]
    if norm == 'row':
        columns = rows
    elif norm == 'column':
        rows = columns
    elif norm == 'row_one':
        rows = columns = np.maximum(rows, 1)
    elif norm == 'whole':
        rows = columns = groups.sum((0, 2))[None]
    return _inverse_root(rows)[:, :, None] * groups * _inverse_root(columns)[:, None, :]


def _inverse_root(degrees: np.ndarray) -> np.ndarray:
    """Degree ** -1/2, and 0 for degree 0."""
    return np.where(degrees > 0, np.maximum(degrees, 1) ** -0.5, 0)
