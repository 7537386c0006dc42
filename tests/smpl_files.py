"""A stand-in for the SMPL files: random but valid numbers in exactly their layouts."""

import pickle
import sys
from types import ModuleType

import numpy as np
from scipy.sparse import csc_matrix

from mmpose_lift.geometry.skeletons import get_skeleton

VERTICES = 60


def make_smpl(seed: int = 0, betas: int = 12) -> dict:
    """Arrays under the keys of the official files; even vertices have x > 0, odd ones x < 0."""
    rng = np.random.default_rng(seed)
    skeleton = get_skeleton('smpl')
    template = rng.uniform(-0.8, 0.8, (VERTICES, 3))
    template[:, 0] = np.abs(template[:, 0]) * np.where(np.arange(VERTICES) % 2, -1, 1)
    weights = rng.uniform(size=(VERTICES, 24)) * (rng.uniform(size=(VERTICES, 24)) < 0.15)
    weights[np.arange(VERTICES), rng.integers(0, 24, VERTICES)] += 0.3
    parents = np.array(skeleton.parents)
    parents[0] = 2**32 - 1
    return dict(
        v_template=template,
        shapedirs=rng.normal(size=(VERTICES, 3, betas)) * 0.02,
        posedirs=rng.normal(size=(VERTICES, 3, 207)) * 0.002,
        J_regressor=make_regressor(skeleton, seed),
        weights=weights / weights.sum(1, keepdims=True),
        kintree_table=np.stack([parents, np.arange(24)]).astype(np.uint32),
        f=rng.integers(0, VERTICES, (100, 3)).astype(np.uint32))


def make_regressor(skeleton='h36m_l_first', seed: int = 0) -> np.ndarray:
    """(K, 60): left joints from vertices with x > 0, right ones from those with x < 0."""
    rng = np.random.default_rng(seed)
    skeleton = get_skeleton(skeleton)
    regressor = np.zeros((skeleton.num_joints, VERTICES))
    for row in range(skeleton.num_joints):
        side = [row in skeleton.left_joints, row in skeleton.right_joints]
        picked = rng.choice(np.arange(side[1], VERTICES, 1 + any(side)), 5, replace=False)
        regressor[row, picked] = rng.dirichlet(np.ones(5))
    return regressor


def fake_class(name: str, monkeypatch) -> type:
    """An empty class that is pickled under a dotted name, to write files as old packages did."""
    module, _, name = name.rpartition('.')
    kind = type(name, (), {'__module__': module})
    parts = module.split('.')
    for count in range(1, len(parts) + 1):
        package = '.'.join(parts[:count])
        if package not in sys.modules or package == module:
            monkeypatch.setitem(sys.modules, package, ModuleType(package))
    setattr(sys.modules[module], name, kind)
    return kind


def fake(kind: type, **state):
    instance = kind()
    instance.__dict__.update(state)
    return instance


def save_official(path, arrays: dict, monkeypatch, protocol: int = 2, **extra) -> None:
    """The layout of the official pickles: chumpy variables, a sparse regressor, other entries."""
    with monkeypatch.context() as patch:
        ch = fake_class('chumpy.ch.Ch', patch)
        select = fake_class('chumpy.reordering.Select', patch)
        sparse = fake_class('scipy.sparse.csc.csc_matrix', patch)
        matrix = csc_matrix(arrays['J_regressor'])
        order = np.random.default_rng(0).permutation(arrays['posedirs'].size)
        shuffled = np.empty(arrays['posedirs'].size)
        shuffled[order] = arrays['posedirs'].ravel()
        status = dict(_dirty_vars=set(), _itr=None, _status='new', _depends_on_deps={})
        content = dict(
            arrays, J=np.zeros((24, 3)), bs_style='lbs', bs_type='lrotmin',
            v_template=fake(ch, x=arrays['v_template'], **status),
            shapedirs=fake(ch, x=np.asfortranarray(arrays['shapedirs']), **status),
            posedirs=fake(select, a=fake(ch, x=shuffled, **status), idxs=order,
                          preferred_shape=arrays['posedirs'].shape, **status),
            J_regressor=fake(sparse, _shape=matrix.shape, data=matrix.data, maxprint=50,
                             indices=matrix.indices, indptr=matrix.indptr),
            **extra)
        path.write_bytes(pickle.dumps(content, protocol))
