"""Turn 17 recorded joints into rotations of a body model, so that the body moves as recorded.

Positions do not say everything that a body does: turns of head, hands, feet and of straight limbs
about themselves are guessed. Good for drawing a body that moves like the recording; it is not an
estimate of what the recorded person's body did.
"""

from typing import Optional, Tuple

import numpy as np
import torch

from ...geometry.rotations import matrix_to_quaternion, quaternion_to_matrix, slerp
from ...geometry.skeletons import get_skeleton
from .body_model import BodyModel

__all__ = ['fit_pose']

# [np] How far a limb must be bent (sine of the angle) before the plane in which it bends counts as
# much as the plane that is usual for its direction.
_BENT = 0.2
# [np] The elbow's axis for one direction of the left upper arm, in the axes of the chest (x left, y
# up, z forward; rounded mean over CMU train). For other directions it takes the shortest turn from
# there; opposite to it, up and back behind the neck, no arm can point.
_UPPER_ARM, _ELBOW_AXIS = np.array([0.3, -0.8, 0.5]), np.array([-0.94, -0.33, 0.04])


def fit_pose(body: BodyModel, joints, betas=None) -> Tuple[np.ndarray, np.ndarray]:
    """Pose a body so that its bones point along recorded ones; every frame for itself.

    The pelvis is turned by least squares to the hips and the lower spine, the chest to the upper
    spine and the shoulders; the vertebrae between share the difference. From there every bone takes
    the shortest turn to its recorded direction; what both shoulders share in height is the body's
    own. Thighs and upper arms also turn about themselves, so that knee and elbow bend in their
    recorded plane the way knees and elbows do; where they are nearly straight, the plane usual for
    that direction takes over. Hands follow the forearms and feet the shanks. Bone lengths stay
    those of the body.

    Args:
        body: Body with SMPL's 24 joints and axes (T-pose, y up, facing +z).
        joints: (T, 17, 3) joints of the ``h36m`` skeleton, metres, in any right-handed frame.
        betas: (S,) shape of the body; zeros by default.

    Returns:
        (T, 24, 3, 3) float32 rotations, the first into the frame of ``joints``, and (T, 3) float32
        metres to add to the vertices and joints that the body gives, so that the middle of its
        hips is at the middle of the recorded ones.

    Raises:
        ValueError: wrong shapes, values that are not finite, or bones of no length.
    """
    recorded = _check(body, joints)
    rest = _rest(body, betas)
    bones = {}

    def bone(start: str, end: str) -> np.ndarray:
        vector = recorded[end] - recorded[start]
        length = np.linalg.norm(vector, axis=-1)
        if not (length > 1e-6).all():
            raise ValueError(f'joints: {start} and {end} coincide in frame '
                             f'{int(length.argmin())}, so the bone has no direction; leave such '
                             'frames out')
        return vector / length[:, None]

    across = bone('right_hip', 'left_hip')
    lower = bone('root', 'spine')
    mid_hip = (rest['left_hip'] + rest['right_hip']) / 2
    pelvis = _align([(rest['left_hip'] - rest['right_hip'], across, 1),
                     (rest['spine2'] - mid_hip, lower, 1)])
    # The spine point hangs on the first vertebra above the pelvis.
    length = np.linalg.norm(rest['spine2'] - mid_hip)
    target = pelvis @ (mid_hip - rest['spine1']) + length * lower
    bones['pelvis'] = pelvis
    bones['spine1'] = _swing(pelvis @ (rest['spine2'] - rest['spine1']), target) @ pelvis
    upper = bone('spine', 'thorax')
    chest = _align([(rest['neck'] - rest['spine2'], upper, 2),
                    (rest['left_shoulder'] - rest['right_shoulder'],
                     bone('right_shoulder', 'left_shoulder'), 1)])
    half = _halfway(bones['spine1'], chest)
    current = half @ (rest['spine3'] - rest['spine2']) + chest @ (rest['neck'] - rest['spine3'])
    correction = _swing(current, upper)
    bones['spine2'], bones['spine3'] = correction @ half, correction @ chest
    chest = bones['spine3']

    bones['neck'] = _swing(chest @ (rest['head'] - rest['neck']),
                           bone('thorax', 'neck_base')) @ chest
    bones['head'] = _swing(bones['neck'] @ (rest['head_top'] - rest['head']),
                           bone('neck_base', 'head')) @ bones['neck']
    to_shoulder = _shoulders(rest, bone, chest)
    for side in ('left', 'right'):
        _fit_arm(bones, rest, bone, chest, to_shoulder[side], side)
        _fit_leg(bones, rest, bone, pelvis, side)

    names, parents = get_skeleton('smpl').joint_names, get_skeleton('smpl').parents
    rotations = np.stack([bones[name] for name in names], 1)
    rotmats = rotations.copy()
    rotmats[:, 1:] = rotations[:, list(parents[1:])].swapaxes(-1, -2) @ rotations[:, 1:]
    placed = rest['pelvis'] + pelvis @ (mid_hip - rest['pelvis'])
    translation = (recorded['left_hip'] + recorded['right_hip']) / 2 - placed
    return rotmats.astype(np.float32), translation.astype(np.float32)


def _check(body: BodyModel, joints) -> dict:
    skeleton = get_skeleton('h36m')
    joints = np.asarray(joints, dtype=np.float64)
    if joints.ndim != 3 or joints.shape[1:] != (skeleton.num_joints, 3):
        raise ValueError(f'joints: expected shape (T, {skeleton.num_joints}, 3) in the order of '
                         f"the 'h36m' skeleton, found {joints.shape}")
    if not np.isfinite(joints).all():
        frame = int((~np.isfinite(joints)).any((1, 2)).argmax())
        raise ValueError(f'joints: frame {frame} has values that are not finite; interpolate or '
                         'leave out such frames')
    if body.parents != tuple(get_skeleton('smpl').parents):
        raise ValueError('body: expected the 24 joints and parents of the smpl skeleton, found '
                         f'parents {body.parents}')
    return {name: joints[:, i] for i, name in enumerate(skeleton.joint_names)}


def _rest(body: BodyModel, betas: Optional[np.ndarray]) -> dict:
    """Joints of the shaped body at rest by name, (3,) each, and the top of its head."""
    betas = torch.zeros(body.num_shapes) if betas is None else torch.as_tensor(
        np.asarray(betas, dtype=np.float32))
    with torch.no_grad():
        _, joints = body(betas[None].to(body.template),
                         torch.eye(3).to(body.template).expand(1, 24, 3, 3))
    rest = dict(zip(get_skeleton('smpl').joint_names, joints[0].double().cpu().numpy()))
    # For the direction of the head the size of the head does not matter: the stand-in's will do.
    return dict(rest, head_top=rest['head'] + [0, 0.175, -0.009])


def _fit_arm(bones, rest, bone, chest, to_shoulder, side):
    shoulder, elbow, wrist = (f'{side}_{n}' for n in ('shoulder', 'elbow', 'wrist'))
    collar = f'{side}_collar'
    bones[collar] = _swing(chest @ (rest[shoulder] - rest[collar]),
                           chest @ (rest['neck'] - rest[collar]) + to_shoulder) @ chest
    mirror = np.array([1 if side == 'left' else -1, 1, 1])
    # a mirrored axis of rotation keeps x and changes the sign of the rest
    usual = _swing(bones[collar] @ (_UPPER_ARM * mirror), bone(shoulder, elbow)) @ bones[collar]
    usual = usual @ (_ELBOW_AXIS * mirror * mirror[0])
    palm_down = np.array([0, -mirror[0], 0])  # at rest the elbow brings the forearm forward
    _fit_limb(bones, usual, palm_down, (shoulder, elbow), rest[elbow] - rest[shoulder],
              rest[wrist] - rest[elbow], bone(shoulder, elbow), bone(elbow, wrist))
    bones[wrist] = bones[f'{side}_hand'] = bones[elbow]


def _shoulders(rest, bone, chest) -> dict:
    """(T, 3) metres from the base of the neck to each shoulder.

    Recordings put the thorax joint up to 10 cm higher or lower beside the shoulders. What both
    sides share in height is therefore the body's own.
    """
    inside = {}
    for side in ('left', 'right'):
        length = np.linalg.norm(rest[f'{side}_shoulder'] - rest['neck'])
        inside[side] = length * (bone('thorax', f'{side}_shoulder')[:, None] @ chest)[:, 0]
    lift = rest['left_shoulder'][1] - rest['neck'][1] - (
        inside['left'][:, 1] + inside['right'][:, 1]) / 2
    for vector in inside.values():
        vector[:, 1] += lift
    return {side: (chest @ vector[..., None])[..., 0] for side, vector in inside.items()}


def _fit_leg(bones, rest, bone, pelvis, side):
    hip, knee, ankle = (f'{side}_{n}' for n in ('hip', 'knee', 'ankle'))
    foot = f'{side}_foot'
    hinge = np.array([1, 0, 0])  # the knee brings the shank backward
    usual = _swing(pelvis @ (rest[knee] - rest[hip]), bone(hip, knee)) @ pelvis @ hinge
    _fit_limb(bones, usual, hinge, (hip, knee), rest[knee] - rest[hip], rest[ankle] - rest[knee],
              bone(hip, knee), bone(knee, foot))
    bones[ankle] = bones[foot] = bones[knee]


def _fit_limb(bones, usual, hinge, names, first_rest, second_rest, first, second):
    """Rotations of the two bones of a limb.

    Args:
        usual: (T, 3) axis of the middle joint where the limb is straight.
        hinge: (3,) axis of the middle joint at rest, positive when it bends.
        names: of the first and the second bone.
        first_rest, second_rest: (3,) bones at rest.
        first, second: (T, 3) recorded directions.
    """
    axis = np.cross(first, second) + _BENT * usual
    upper = _frame(first, axis) @ _frame(_unit(first_rest), hinge).T
    bones[names[0]] = upper
    bones[names[1]] = _swing(upper @ second_rest, second) @ upper


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-12)


def _frame(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(..., 3, 3) right-handed axes as columns: ``first``, and ``second`` made perpendicular."""
    second = _unit(second - (second * first).sum(-1, keepdims=True) * first)
    return np.stack([first, second, np.cross(first, second)], -1)


def _swing(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(T, 3, 3) shortest rotations that turn the directions (T, 3) ``start`` to ``end``."""
    start, end = _unit(start), _unit(end)
    axis = np.cross(start, end)
    # w = 1 + cos and xyz = axis * sin are twice the quaternion of half the angle, times cos of it
    quaternion = np.concatenate([1 + (start * end).sum(-1, keepdims=True), axis], -1)
    opposite = quaternion[:, 0] < 1e-9
    if opposite.any():  # any axis across will do
        helper = np.eye(3)[np.abs(start[opposite]).argmin(-1)]
        quaternion[opposite, 1:] = np.cross(start[opposite], helper)
    return quaternion_to_matrix(quaternion)


def _align(pairs) -> np.ndarray:
    """(T, 3, 3) least-squares rotations (Kabsch) of rest vectors (3,) to directions (T, 3)."""
    moment = sum(weight * end[:, :, None] * _unit(start) for start, end, weight in pairs)
    u, _, vt = np.linalg.svd(moment)
    u[..., -1] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt


def _halfway(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return quaternion_to_matrix(slerp(matrix_to_quaternion(first), matrix_to_quaternion(second),
                                      0.5))
