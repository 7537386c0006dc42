"""A stand-in for a human body model: made by a procedure, from no scan and no licensed file.

It is **not** SMPL and says nothing about real bodies. It has SMPL's sizes, axes, joint tree and the
vertex numbers that others rely on (Loper et al., SIGGRAPH Asia 2015; skeletons of the field), so
that code for body models can be written, tested and shown without the licensed files.

The surface is made in ``stand_in_surface``; here it gets joints, skinning weights, blend shapes and
joint regressors. All sizes are [np]; nothing is fitted to data.
"""

from functools import cache
from typing import Dict, Tuple

import numpy as np
from scipy.sparse import coo_matrix, identity
from scipy.sparse.linalg import splu

from ...geometry.skeletons import get_skeleton
from .stand_in_surface import CROWN, LANDMARKS, adjacency, part_distances, template

__all__ = ['LANDMARKS', 'body_parts', 'mirror_vertices', 'stand_in_arrays',
           'stand_in_h36m_regressor']

_FLOOR = -1.16  # [np] y of the soles in the body's axes, near SMPL's; below, y is from the floor

# [np] Joints of the left half, metres: x to the left, y above the floor, z to the front.
_JOINTS = dict(
    pelvis=(0, 0.98, 0), left_hip=(0.095, 0.895, 0), spine1=(0, 1.05, -0.015),
    left_knee=(0.105, 0.49, 0.002), spine2=(0, 1.14, -0.015), left_ankle=(0.108, 0.083, -0.028),
    spine3=(0, 1.23, -0.012), left_foot=(0.118, 0.025, 0.085), neck=(0, 1.445, -0.022),
    left_collar=(0.07, 1.385, -0.015), head=(0, 1.54, 0.004), left_shoulder=(0.185, 1.405, -0.018),
    left_elbow=(0.455, 1.405, -0.022), left_wrist=(0.70, 1.405, -0.018),
    left_hand=(0.785, 1.40, -0.012))
# The bones that each part of the surface belongs to.
_PART_OF = dict(trunk='trunk', buttock='trunk', chest='trunk', shoulder_blade='trunk',
                trapezius='trunk', neck='trunk', jaw='head', cranium='head', nose_ridge='head',
                nose='head', chin='head', lips='head', ear='head', arm='arm', hand='arm',
                thumb_base='arm', thumb='arm', leg='leg', foot='foot')


def mirror_vertices() -> np.ndarray:
    """(6890,) index of the vertex at the mirrored place, x to -x, of the stand-in body at rest."""
    return template()[2].copy()


def _names() -> Tuple[str, ...]:
    return get_skeleton('smpl').joint_names


def _flip() -> np.ndarray:
    return np.array(get_skeleton('smpl').flip_indices)


def _joints() -> np.ndarray:
    """(24, 3) joints at rest, y from the floor."""
    sides = {f'right{name[4:]}': (-x, y, z) for name, (x, y, z) in _JOINTS.items()
             if name.startswith('left')}
    return np.array([{**_JOINTS, **sides}[name] for name in _names()])


def _bone_of(vertices: np.ndarray) -> np.ndarray:
    """(V,) the joint whose bone a vertex of the left half belongs to, without any blending."""
    distances = part_distances(vertices)
    nearest = np.stack(list(distances.values())).argmin(0)
    part = np.array([_PART_OF[name] for name in distances])[nearest]
    x, y, z = vertices.T
    joint = dict(zip(_names(), _joints()))

    def along(values, *steps):
        """First name, or the name of the last threshold that a value has reached."""
        name = np.full(len(values), steps[0], dtype='U16')
        for start, bone in steps[1:]:
            name[values >= start] = bone
        return name

    bones = dict(
        trunk=along(y, 'pelvis', *((joint[n][1], n)
                                   for n in ('spine1', 'spine2', 'spine3', 'neck'))),
        head=np.full(len(x), 'head'),
        arm=along(x, 'left_collar', *((joint[f'left_{n}'][0], f'left_{n}')
                                      for n in ('shoulder', 'elbow', 'wrist', 'hand'))),
        leg=along(-y, 'pelvis', (-joint['left_hip'][1], 'left_hip'),
                  *((-joint[f'left_{n}'][1], f'left_{n}') for n in ('knee', 'ankle'))),
        foot=along(z, 'left_ankle', (joint['left_foot'][2], 'left_foot')))
    name = np.choose([list(bones).index(p) for p in part], list(bones.values()))
    clavicle = (part == 'trunk') & (y > 1.31) & (x > 0.06) & (y < joint['neck'][1] + 0.01)
    name[clavicle] = np.where(x[clavicle] < joint['left_shoulder'][0] - 0.02, 'left_collar',
                              'left_shoulder')
    name[(name == 'neck') & (y > joint['head'][1])] = 'head'
    return np.array([_names().index(n) for n in name])


def _skinning_weights(vertices, faces, mirror) -> np.ndarray:
    """(V, 24): bones spread over the surface by diffusion [np: about 3 cm], at most four kept."""
    weights = np.zeros((len(vertices), 24))
    left = vertices[:, 0] >= 0
    weights[left, _bone_of(vertices[left])] = 1
    weights[mirror[left]] += weights[left][:, _flip()]
    weights /= weights.sum(1, keepdims=True)
    edges = adjacency(faces, len(vertices)).tocoo()
    length = np.linalg.norm(vertices[edges.row] - vertices[edges.col], axis=1)
    edges.data = (np.median(length) / length)**2
    laplacian = coo_matrix((np.asarray(edges.sum(1))[:, 0], (np.arange(len(vertices)),) * 2),
                           edges.shape) - edges
    step = splu((identity(len(vertices)) + 0.5 * laplacian).tocsc())
    for _ in range(4):
        weights = step.solve(weights)
    # subtracting the fifth largest keeps the weights continuous where the four change
    weights = np.maximum(weights - np.sort(weights, 1)[:, [-5]], 0)
    weights[weights < 1e-3] = 0
    weights /= weights.sum(1, keepdims=True)
    return (weights + weights[mirror][:, _flip()]) / 2


def _row(target, vertices, weights, bone, count) -> np.ndarray:
    """Weights of vertices near a joint whose mean is the joint, at rest and in every pose.

    Skinning moves vertex v by the bone itself and, with share a_k, by a neighbouring bone k that
    turns about a pivot on both. The mean then stays on the bone where sum w a_k (v - pivot) = 0.
    The weights are those nearest to a Gaussian of the distance that satisfy these equations (in
    decimetres, for the sake of the numbers).

    Args:
        target: (3,) joint.
        bone: number of the bone that carries it.
        count: of vertices, at least.
    """
    parents, joints = get_skeleton('smpl').parents, _joints()
    pivots = {k: joints[k] for k in range(24) if parents[k] == bone}
    if parents[bone] >= 0:
        pivots[parents[bone]] = joints[bone]
    others = [k for k in range(24) if k != bone and k not in pivots]
    distance = np.linalg.norm(vertices - target, axis=1) + weights[:, others].sum(1)
    radius = np.sort(distance)[count] * (1 + 1e-6)
    near = np.flatnonzero(distance <= radius)
    prior = np.exp(-2 * (distance[near] / radius)**2)
    prior /= prior.sum()
    conditions = [np.ones(len(near)), *(vertices[near] - target).T * 10]
    for k in np.flatnonzero(prior @ weights[near] > 0.003):
        if k in pivots:
            conditions += list((weights[near, k, None] * (vertices[near] - pivots[k])).T * 10)
        elif k != bone:  # turns about a point elsewhere: must not count at all
            conditions += list(weights[near, k] * conditions[i] for i in range(4))
    conditions = np.stack(conditions)
    wanted = np.zeros(len(conditions))
    wanted[0] = 1
    # rcond leaves out what only huge weights could satisfy
    solution = np.linalg.lstsq((conditions * prior) @ conditions.T, wanted - conditions @ prior,
                               rcond=1e-5)[0]
    row = np.zeros(len(vertices))
    row[near] = prior * (1 + solution @ conditions)
    return row / row.sum()


def _joint_regressor(vertices, weights, mirror) -> np.ndarray:
    rows = np.stack([_row(joint, vertices, weights, bone, 160 if joint[0] == 0 else 64)
                     for bone, joint in enumerate(_joints())])
    return (rows + rows[_flip()][:, mirror]) / 2


def _vertex_normals(vertices, faces) -> np.ndarray:
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    normals = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(normals, corner, np.cross(b - a, c - a))
    return normals / np.linalg.norm(normals, axis=-1, keepdims=True)


def _smoothstep(x, start, end):
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * (3 - 2 * t)


def _shape_directions(vertices, normals, weights, rng) -> np.ndarray:
    """(V, 3, 10) metres per unit: stature, girth, legs, arms, shoulders, hips, belly, head, trunk,
    limbs; each with a little smooth seeded variation. Plausible at |beta| <= 2 [np]."""
    x, y, z = vertices.T
    side = np.sign(x) * _smoothstep(np.abs(x), 0, 0.09)
    head, neck = (weights[:, _names().index(n)] for n in ('head', 'neck'))
    arm = weights[:, [i for i, n in enumerate(_names())
                      if n.split('_')[-1] in ('shoulder', 'elbow', 'wrist', 'hand')]].sum(1)
    leg = weights[:, [i for i, n in enumerate(_names())
                      if n.split('_')[-1] in ('hip', 'knee', 'ankle', 'foot')]].sum(1)
    extremity = _smoothstep(np.abs(x), 0.62, 0.75) + _smoothstep(-y, -0.15, -0.05) + head
    trunk = 1 - np.clip(arm + leg + head + neck, 0, 1)
    zero = np.zeros_like(x)
    below, above = 0.90 - y, y - 0.98
    reach = np.clip((np.abs(x) - 0.185) / 0.515, 0, 1)
    around = np.exp(-((y - 1.08) / 0.11)**2 / 2) * trunk
    directions = [
        0.037 * (vertices - [0, 0.98, 0]),
        normals * (0.004 + 0.010 * trunk + 0.003 * leg - 0.003 * extremity)[:, None],
        np.stack([zero, -0.020 * np.clip(below / 0.82, 0, 1), zero], 1),
        np.stack([0.015 * np.sign(x) * reach * arm, zero, zero], 1),
        np.stack([0.010 * side * _smoothstep(y, 1.15, 1.38) * (1 - head - neck), zero, zero], 1),
        np.stack([0.009 * side * (1 - _smoothstep(y, 0.92, 1.12)), zero, zero], 1),
        np.stack([0.007 * side, zero, 0.020 * _smoothstep(z, -0.06, 0.10) - 0.003], 1)
        * around[:, None],
        0.035 * (vertices - [0, 1.53, 0]) * head[:, None],
        np.stack([zero, 0.015 * np.clip(above / 0.45, 0, 1), zero], 1),
        normals * (0.0045 * (arm + leg) - 0.004 * extremity)[:, None],
    ]
    folded = np.stack([np.abs(x), y, z], 1)
    for direction in directions:
        waves, phases = rng.normal(0, 6, (4, 3)), rng.uniform(0, 2 * np.pi, 4)
        direction += 0.0006 * normals * np.cos(folded @ waves.T + phases).sum(1)[:, None]
    return np.stack(directions, -1)


def _pose_directions(vertices, normals, mirror, rng) -> np.ndarray:
    """(V, 3, 207) millimetres of swelling near a joint that turns, mirrored between the sides."""
    joints, sign = _joints(), np.outer([-1, 1, 1], [-1, 1, 1])  # of an entry of R under mirroring
    flip = _flip()
    result = np.zeros((len(vertices), 3, 23, 3, 3))
    for j in range(1, 24):
        if flip[j] < j:
            continue
        size = rng.normal(0, 0.002, (3, 3))
        bump = np.exp(-((vertices - joints[j])**2).sum(1) / (2 * 0.05**2))[:, None, None]
        if flip[j] == j:  # turns to the side swell one side and sink the other
            bump = np.where(sign < 0, bump * vertices[:, :1, None] / 0.1, bump)
        result[:, :, j - 1] = normals[:, :, None, None] * (size * bump)[:, None]
        if flip[j] != j:
            result[:, :, flip[j] - 1] = (
                sign * result[mirror, :, j - 1] * np.array([-1, 1, 1])[:, None, None])
    return result.reshape(len(vertices), 3, 207)


@cache
def _arrays(seed: int) -> Dict[str, np.ndarray]:
    vertices, faces, mirror = template()
    weights = _skinning_weights(vertices, faces, mirror)
    normals = _vertex_normals(vertices, faces)
    normals = (normals + normals[mirror] * [-1, 1, 1]) / 2
    rng = np.random.default_rng(seed)
    arrays = dict(
        v_template=(vertices + [0, _FLOOR, 0]).astype(np.float32),
        shapedirs=_shape_directions(vertices, normals, weights, rng).astype(np.float32),
        posedirs=_pose_directions(vertices, normals, mirror, rng).astype(np.float32),
        J_regressor=_joint_regressor(vertices, weights, mirror).astype(np.float32),
        lbs_weights=weights.astype(np.float32),
        parents=np.array(get_skeleton('smpl').parents, dtype=np.int64),
        faces=faces.astype(np.int64))
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def stand_in_arrays(seed: int = 0) -> Dict[str, np.ndarray]:
    """Arrays of the stand-in body (not SMPL, not a real person), of SMPL's sizes and conventions.

    Metres; y up, facing +z, the body's left at +x; rest pose is the T-pose, mirror symmetric.

    Args:
        seed: Of the small random parts of ``shapedirs`` and ``posedirs``; the rest is the same.

    Returns:
        Read-only arrays, made once per seed: ``v_template`` (6890, 3), ``shapedirs`` (6890, 3, 10)
        metres per unit, ``posedirs`` (6890, 3, 207) metres per entry of R - 1 of joints 1 to 23,
        ``J_regressor`` (24, 6890), ``lbs_weights`` (6890, 24), ``parents`` (24,), ``faces``
        (13776, 3) counterclockwise from outside. The surface is closed, of genus 0.
    """
    return dict(_arrays(seed))


def body_parts() -> np.ndarray:
    """(6890,) joint with the largest skinning weight at each vertex of the stand-in body."""
    return _arrays(0)['lbs_weights'].argmax(1)


@cache
def _h36m_regressor() -> np.ndarray:
    arrays = _arrays(0)
    rows = dict(zip(_names(), arrays['J_regressor']))
    vertices, _, mirror = template()
    crown = _row(np.array(CROWN), vertices, arrays['lbs_weights'], _names().index('head'), 12)
    rows.update(pelvis=(rows['left_hip'] + rows['right_hip']) / 2, spine=rows['spine2'],
                head_top=(crown + crown[mirror]) / 2)
    regressor = np.stack([rows[name] for name in get_skeleton('h36m').common_names])
    regressor = regressor.astype(np.float32)
    regressor.setflags(write=False)
    return regressor


def stand_in_h36m_regressor() -> np.ndarray:
    """Joints of the ``h36m`` skeleton from the surface of the stand-in body, (17, 6890).

    Root = middle of the hips; spine, thorax and neck_base = the body's spine2 (half-way up the
    lumbar back), neck (base of the neck) and head joints, 9 cm apart; head = top of the head.
    """
    return _h36m_regressor()
