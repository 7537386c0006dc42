"""The size of a person: bone lengths, standing height, and poses scaled to either.

A lifter gives metres of the people that it was trained on. A single view can not tell a small
person nearby from a tall one farther away, so the true size has to come from outside.
"""

from typing import Sequence, Union

import numpy as np

from .skeletons import Skeleton, get_skeleton

__all__ = ['SOLE_OVER_LEG', 'bone_lengths', 'leg_length', 'mean_bone_lengths', 'scale_factor',
           'scale_to_bone_lengths', 'scale_to_height', 'sole_offset', 'standing_height']

# Height of the ankle joint above the floor over thigh plus shank: 0.039 over 0.245 + 0.246 of the
# stature (Drillis and Contini 1966, as tabulated by Winter, Biomechanics and Motor Control).
SOLE_OVER_LEG = 0.039 / (0.245 + 0.246)

SkeletonLike = Union[str, Skeleton]


def check_poses(poses: np.ndarray, skeleton: SkeletonLike, what: str = 'poses') -> np.ndarray:
    """Poses as a floating-point array (T, J, 3) of at least one frame.

    Raises:
        ValueError: Wrong shape or number of joints, no frame, or values that are not finite.
    """
    poses, skeleton = np.asarray(poses), get_skeleton(skeleton)
    if poses.ndim != 3 or poses.shape[1:] != (skeleton.num_joints, 3) or not len(poses):
        raise ValueError(f'{what}: expected at least one frame (T, {skeleton.num_joints}, 3) in '
                         f'the order of skeleton {skeleton.name!r}, found {poses.shape}')
    if poses.dtype.kind != 'f':
        poses = poses.astype(np.float64)
    bad = ~np.isfinite(poses).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f'{what}: frame {int(bad.argmax())} holds NaN or infinite values; leave '
                         'such frames out')
    return poses


def bone_lengths(poses: np.ndarray, skeleton: SkeletonLike) -> np.ndarray:
    """(T, J, 3) poses to (T, B) lengths in the unit of the poses, in the order of its ``bones``."""
    poses = check_poses(poses, skeleton)
    parents, children = np.transpose(get_skeleton(skeleton).bones)
    return np.linalg.norm(poses[:, children] - poses[:, parents], axis=-1)


def mean_bone_lengths(poses: np.ndarray, skeleton: SkeletonLike) -> np.ndarray:
    """(T, J, 3) poses to (B,) mean lengths over the frames, in the order of ``skeleton.bones``."""
    return bone_lengths(poses, skeleton).mean(axis=0)


def _median_distance(poses, a, b) -> float:
    return float(np.median(np.linalg.norm(a - b, axis=-1)))


def leg_length(poses: np.ndarray, skeleton: SkeletonLike) -> float:
    """Thigh plus shank, the medians over the frames and the mean of both legs.

    Raises:
        ValueError: Wrong poses, or a skeleton without knees or ankles.
    """
    poses, skeleton = check_poses(poses, skeleton), get_skeleton(skeleton)
    hips = 'smpl_hip' if 'left_smpl_hip' in skeleton.common_names else 'hip'
    return sum(_median_distance(poses, *(poses[:, skeleton.index(f'{side}_{joint}')]
                                         for joint in bone))
               for side in ('left', 'right') for bone in ((hips, 'knee'), ('knee', 'ankle'))) / 2


def sole_offset(poses: np.ndarray, skeleton: SkeletonLike) -> float:
    """Height of the ankle joints over the floor when standing: :data:`SOLE_OVER_LEG` of the leg."""
    return SOLE_OVER_LEG * leg_length(poses, skeleton)


def standing_height(poses: np.ndarray, skeleton: SkeletonLike) -> float:
    """Height of the person when standing upright, whatever the poses show.

    The sum of the median lengths of head (top of the head to neck), trunk (neck over the spine
    joint, where there is one, to the middle of the hips), thigh and shank, and of the sole offset
    [np]. As tall as the skeleton is: where a data set puts its head top below the crown (the tip of
    the head bone of CMU's skeleton lies about 10 cm below), the sum is too small by that, and the
    slight bends of a standing body make it about 2 % too large.

    Args:
        poses: (T, J, 3) metres, absolute or root-relative, any axes.
        skeleton: Order of the joints; needs a head top, neck, hips, knees and ankles.

    Raises:
        ValueError: Wrong poses, or a joint that the skeleton lacks.
    """
    poses, skeleton = check_poses(poses, skeleton), get_skeleton(skeleton)
    top, neck, left, right = (poses[:, skeleton.index(name)]
                              for name in ('head_top', 'neck', 'left_hip', 'right_hip'))
    trunk = [neck, (left + right) / 2]
    if 'spine' in skeleton.common_names:
        trunk.insert(1, poses[:, skeleton.index('spine')])
    chain = [top, *trunk]
    return (sum(_median_distance(poses, a, b) for a, b in zip(chain, chain[1:]))
            + leg_length(poses, skeleton) * (1 + SOLE_OVER_LEG))


def scale_factor(poses: np.ndarray, height: float, skeleton: SkeletonLike) -> float:
    """``height`` over :func:`standing_height`; arguments as for :func:`scale_to_height`."""
    if not 0.3 <= height <= 3:
        raise ValueError(f'height: expected the standing height in metres, 0.3 to 3, found '
                         f'{height!r}')
    found = standing_height(poses, skeleton)
    if not found > 0:
        raise ValueError('poses: all joints coincide, so the person has no height to scale')
    return height / found


def scale_to_height(poses: np.ndarray, height: float, skeleton: SkeletonLike) -> np.ndarray:
    """Scale a person to a standing height.

    Everything is scaled about the origin. For root-relative poses that is the root; for poses in
    camera space it is the camera, so that the person stays where it is in the image.

    Args:
        poses: (T, J, 3), one person.
        height: Metres.
        skeleton: See :func:`standing_height`.

    Returns:
        (T, J, 3) of the dtype of ``poses``.

    Raises:
        ValueError: A height that is not that of a person in metres, or poses without extent.
    """
    poses = check_poses(poses, skeleton)
    return poses * poses.dtype.type(scale_factor(poses, height, skeleton))


def scale_to_bone_lengths(poses: np.ndarray, lengths: Sequence[float],
                          skeleton: SkeletonLike) -> np.ndarray:
    """Give every bone a fixed length; directions and the root's position are kept.

    Args:
        poses: (T, J, 3), one person.
        lengths: (B,) metres in the order of ``skeleton.bones``, for example
            :func:`mean_bone_lengths` of these poses (bones stop changing their lengths) or of other
            poses of the person.
        skeleton: Order of the joints.

    Returns:
        (T, J, 3) of the dtype of ``poses``.

    Raises:
        ValueError: Wrong shapes, lengths that are not positive, or a bone of length zero, which has
            no direction. (A length of 0 is allowed for bones that are to have none.)
    """
    poses, skeleton = check_poses(poses, skeleton), get_skeleton(skeleton)
    lengths = np.asarray(lengths, dtype=np.float64)
    if lengths.shape != (len(skeleton.bones), ):
        raise ValueError(f'lengths: skeleton {skeleton.name!r} has {len(skeleton.bones)} bones, '
                         f'found shape {lengths.shape}')
    if not (np.isfinite(lengths) & (lengths >= 0)).all():
        raise ValueError('lengths: expected metres of at least 0, found '
                         f'{lengths[~(np.isfinite(lengths) & (lengths >= 0))][0]}')
    found = bone_lengths(poses, skeleton)
    lost = (found == 0) & (lengths > 0)
    if lost.any():
        frame, bone = np.argwhere(lost)[0]
        names = [skeleton.joint_names[joint] for joint in skeleton.bones[bone]]
        raise ValueError(f'poses: the bone {names[0]}-{names[1]} has length zero in frame {frame}, '
                         'so its direction is unknown')
    scale = lengths / np.where(found == 0, 1, found)  # (T, B)
    result = poses.astype(np.float64)
    done = {joint for joint, parent in enumerate(skeleton.parents) if parent < 0}
    while len(done) < skeleton.num_joints:
        for bone, (parent, child) in enumerate(skeleton.bones):
            if parent in done and child not in done:
                result[:, child] = result[:, parent] + scale[:, bone, None] * (
                    poses[:, child] - poses[:, parent])
                done.add(child)
    return result.astype(poses.dtype)
