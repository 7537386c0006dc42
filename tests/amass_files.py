"""A stand-in for AMASS, SMPL+H and DMPL: random but valid numbers in exactly their layouts."""

import numpy as np

VERTICES, JOINTS = 60, 52
UNUSED = 15  # vertices at the end that the regressor does not look at
LEFT, RIGHT = (1, 2, 3, 11, 12, 13), (4, 5, 6, 14, 15, 16)  # rows of SPIN's regressor


def make_body(seed: int) -> dict:
    """Arrays of an SMPL+H file; x of the surface is positive for the first half of each kind."""
    rng = np.random.default_rng(seed)
    template = rng.uniform(-0.8, 0.8, (VERTICES, 3))
    template[:, 0] = np.abs(template[:, 0]) * np.where(np.arange(VERTICES) % 2, -1, 1)
    parents = np.array([2**32 - 1] + [rng.integers(max(0, i - 6), i) for i in range(1, JOINTS)])
    weights = np.where(rng.uniform(size=(VERTICES, JOINTS)) < 0.1, rng.uniform(size=1), 0)
    weights[np.arange(VERTICES), rng.integers(0, JOINTS, VERTICES)] += 0.3
    joints = np.where(rng.uniform(size=(JOINTS, VERTICES)) < 0.1, 1, 1e-3)
    return dict(
        v_template=template,
        shapedirs=rng.normal(size=(VERTICES, 3, 16)) * 0.02,
        posedirs=rng.normal(size=(VERTICES, 3, 9 * (JOINTS - 1))) * 0.002,
        J_regressor=joints / joints.sum(1, keepdims=True),
        weights=weights / weights.sum(1, keepdims=True),
        kintree_table=np.stack([parents, np.arange(JOINTS)]).astype(np.uint32),
        f=rng.integers(0, VERTICES, (100, 3)).astype(np.uint32),
    )


def make_regressor() -> np.ndarray:
    """(17, 60) in the order of SPIN: left joints from vertices with x > 0, right ones x < 0."""
    rng = np.random.default_rng(99)
    regressor = np.zeros((17, VERTICES))
    for row in range(17):
        first, step = (0, 2) if row in LEFT else (1, 2) if row in RIGHT else (0, 1)
        picked = rng.choice(np.arange(first, VERTICES - UNUSED, step), 4, replace=False)
        regressor[row, picked] = rng.dirichlet(np.ones(4))
    return regressor


def make_motion(frames=24, rate=120.0, gender='male', seed=0, **changes) -> dict:
    """Arrays of one AMASS file, smooth in time; ``changes`` replace arrays or, None, remove."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] / rate
    sway = np.sin(2 * np.pi * time * rng.uniform(0.3, 2, 156) + rng.uniform(0, 6, 156))
    arrays = dict(
        poses=sway * rng.uniform(0, 0.8, 156),
        betas=rng.normal(size=16),
        dmpls=sway[:, :8],
        trans=np.cumsum(rng.normal(size=(frames, 3)) / rate, axis=0) + (0, 0, 1),
        gender=None if gender is None else np.array(gender),
        mocap_framerate=np.array(rate),
    )
    arrays.update(changes)
    return {name: array for name, array in arrays.items() if array is not None}


def save_motion(root, name: str, **arrays) -> None:
    """``name`` like 'CMU/01/01_01_poses'; keywords as of ``make_motion``."""
    path = root / f'{name}.npz'
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **make_motion(**arrays))


def save_bodies(folder) -> None:
    """``smplh/<gender>/model.npz``, ``dmpls/<gender>/model.npz``, ``J_regressor_h36m.npy``."""
    for seed, gender in enumerate(('male', 'female')):
        (folder / 'smplh' / gender).mkdir(parents=True)
        (folder / 'dmpls' / gender).mkdir(parents=True)
        np.savez(folder / 'smplh' / gender / 'model.npz', **make_body(seed))
        eigvec = np.random.default_rng(50 + seed).normal(size=(VERTICES, 3, 10)) * 0.01
        np.savez(folder / 'dmpls' / gender / 'model.npz', eigvec=eigvec)
    np.save(folder / 'J_regressor_h36m.npy', make_regressor())
