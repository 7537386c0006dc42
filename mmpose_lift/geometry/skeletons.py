"""The one table of named skeletons; every joint map and flip list is derived from its names.

Indices are 0-based. The left leg comes first in some sources and the right leg in others, which is
the commonest mistake of the field: code never types an index list, it asks this module.
"""

from dataclasses import dataclass
from functools import cache

import torch

from .joint_weights import COUNTED_WEIGHT, WEIGHTS

__all__ = ['Skeleton', 'convert_keypoints', 'get_skeleton', 'joint_map', 'partial_joint_map',
           'skeleton_names']

# One word per joint: name[=common name][<parent]. Joints of two skeletons correspond when their
# common names are equal (`r_`/`l_` read as `right_`/`left_`), whatever each source calls them.
_JOINTS = {
    'h36m': """
        root=pelvis
        right_hip<root right_knee<right_hip right_foot=right_ankle<right_knee
        left_hip<root left_knee<left_hip left_foot=left_ankle<left_knee
        spine<root thorax=neck<spine neck_base=head<thorax head=head_top<neck_base
        left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
        right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow""",
    # Human3.6M without joint 9.
    'h36m_16': """
        root=pelvis
        right_hip<root right_knee<right_hip right_foot=right_ankle<right_knee
        left_hip<root left_knee<left_hip left_foot=left_ankle<left_knee
        spine<root thorax=neck<spine head=head_top<thorax
        left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
        right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow""",
    # Order of SPIN's and HybrIK's Human3.6M regressor: left leg first.
    'h36m_l_first': """
        root=pelvis
        left_hip<root left_knee<left_hip left_foot=left_ankle<left_knee
        right_hip<root right_knee<right_hip right_foot=right_ankle<right_knee
        spine<root thorax=neck<spine neck_base=head<thorax head=head_top<neck_base
        left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
        right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow""",
    # The 32 joints of the motion capture (parents as in VideoPose3D). The extra joints, of length
    # zero or on hands and feet, have no published names; those here say where they hang.
    'h36m_32': """
        root=pelvis
        right_hip<root right_knee<right_hip right_foot=right_ankle<right_knee
        right_toe_base<right_foot right_toe_end<right_toe_base
        left_hip<root left_knee<left_hip left_foot=left_ankle<left_knee
        left_toe_base<left_foot left_toe_end<left_toe_base
        spine_base<root spine<spine_base thorax=neck<spine neck_base=head<thorax
        head=head_top<neck_base
        left_collar<spine left_shoulder<left_collar left_elbow<left_shoulder
        left_wrist<left_elbow left_hand<left_wrist left_thumb<left_hand
        left_wrist_end<left_wrist left_hand_end<left_wrist_end
        right_collar<spine right_shoulder<right_collar right_elbow<right_shoulder
        right_wrist<right_elbow right_hand<right_wrist right_thumb<right_hand
        right_wrist_end<right_wrist right_hand_end<right_wrist_end""",
    # The custom order of Uplift and Upsample.
    'uplift_upsample': """
        r_ankle<r_knee r_knee<r_hip r_hip<pelvis l_hip<pelvis l_knee<l_hip l_ankle<l_knee
        pelvis neck<torso torso=spine<pelvis head<neck head_top<head
        r_wrist<r_elbow r_elbow<r_shoulder r_shoulder<neck
        l_shoulder<neck l_elbow<l_shoulder l_wrist<l_elbow""",
    # The tree is for drawing and noise only: COCO has no root joint.
    'coco': """
        nose left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye
        left_shoulder<left_ear right_shoulder<right_ear
        left_elbow<left_shoulder right_elbow<right_shoulder
        left_wrist<left_elbow right_wrist<right_elbow
        left_hip<left_shoulder right_hip<right_shoulder
        left_knee<left_hip right_knee<right_hip left_ankle<left_knee right_ankle<right_knee""",
    # Halpe's body and feet: COCO's 17 joints, then head top, neck, hip and toes.
    'halpe_26': """
        nose<neck left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye
        left_shoulder<neck right_shoulder<neck
        left_elbow<left_shoulder right_elbow<right_shoulder
        left_wrist<left_elbow right_wrist<right_elbow left_hip<hip right_hip<hip
        left_knee<left_hip right_knee<right_hip left_ankle<left_knee right_ankle<right_knee
        head=head_top<neck neck<hip hip=pelvis
        left_big_toe<left_ankle right_big_toe<right_ankle
        left_small_toe<left_ankle right_small_toe<right_ankle
        left_heel<left_ankle right_heel<right_ankle""",
    # Training annotation of MPI-INF-3DHP.
    'mpi_inf_3dhp_28': """
        spine3<spine2 spine4<spine3 spine2<spine spine<pelvis pelvis
        neck<spine4 head<neck head_top<head
        l_clavicle<neck l_shoulder<l_clavicle l_elbow<l_shoulder l_wrist<l_elbow l_hand<l_wrist
        r_clavicle<neck r_shoulder<r_clavicle r_elbow<r_shoulder r_wrist<r_elbow r_hand<r_wrist
        l_hip<pelvis l_knee<l_hip l_ankle<l_knee l_foot<l_ankle l_toe<l_foot
        r_hip<pelvis r_knee<r_hip r_ankle<r_knee r_foot<r_ankle r_toe<r_foot""",
    # Test annotation of MPI-INF-3DHP, P-STMO and MMPose. Head top hangs on the head (MMPose's
    # bones; the official table hangs it on the neck).
    'mpi_inf_3dhp': """
        head_top<head neck<spine
        right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
        left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
        right_hip<root right_knee<right_hip right_ankle<right_knee
        left_hip<root left_knee<left_hip left_ankle<left_knee
        root=pelvis spine<root head<neck""",
    'humaneva': """
        pelvis thorax=neck<pelvis
        left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
        right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow
        left_hip<pelvis left_knee<left_hip left_ankle<left_knee
        right_hip<pelvis right_knee<right_hip right_ankle<right_knee
        head=head_top<thorax""",
    # Joints of the body model; those defined differently elsewhere keep a common name of their own.
    'smpl': """
        pelvis left_hip=left_smpl_hip<pelvis right_hip=right_smpl_hip<pelvis
        spine1=smpl_spine1<pelvis
        left_knee<left_hip right_knee<right_hip spine2=smpl_spine2<spine1
        left_ankle<left_knee right_ankle<right_knee spine3=smpl_spine3<spine2
        left_foot=left_smpl_foot<left_ankle right_foot=right_smpl_foot<right_ankle
        neck<spine3 left_collar=left_smpl_collar<spine3 right_collar=right_smpl_collar<spine3
        head=smpl_head<neck
        left_shoulder<left_collar right_shoulder<right_collar
        left_elbow<left_shoulder right_elbow<right_shoulder
        left_wrist<left_elbow right_wrist<right_elbow
        left_hand=left_smpl_hand<left_wrist right_hand=right_smpl_hand<right_wrist""",
    # Evaluation order of LSP and 3DPW; two trees (legs, upper body), no root joint.
    'lsp_14': """
        r_ankle<r_knee r_knee<r_hip r_hip l_hip<r_hip l_knee<l_hip l_ankle<l_knee
        r_wrist<r_elbow r_elbow<r_shoulder r_shoulder<neck
        l_shoulder<neck l_elbow<l_shoulder l_wrist<l_elbow
        neck head=head_top<neck""",
}

_FINGERS = ('thumb', 'forefinger', 'middle_finger', 'ring_finger', 'pinky_finger')
# Points of the face (68, as in 300-W) that mirror each other: the list read backwards. The first
# half is on the person's right, in the two lists that start with the lower lip on the left.
_FACE_RIGHT_FIRST = ([*range(17)], [*range(17, 27)], [*range(31, 36)], [*range(36, 40),
                     *range(42, 46)], [41, 40, 47, 46], [*range(48, 55)], [*range(60, 65)])
_FACE_LEFT_FIRST = ([*range(55, 60)], [65, 66, 67])


def _face_and_hands() -> str:
    """68 points of the face and 21 of each hand, shared by COCO-WholeBody and Halpe.

    In the tree a point of the face hangs on its neighbour that is nearer to the middle of the face,
    and the innermost ones on the nose: for drawing only.
    """
    face = {i: f'face-{i}<' + ('nose' if i == 30 else f'face-{i + 1}') for i in range(27, 31)}
    for sides, lists in ((('right', 'left'), _FACE_RIGHT_FIRST),
                         (('left', 'right'), _FACE_LEFT_FIRST)):
        for points in lists:
            for k, i in enumerate(points):
                across = len(points) - 1 - k
                parent = 'nose'
                if abs(k - across) > 1:
                    parent = f'face-{points[k + 1 if k < across else k - 1]}'
                pair = min(i, points[across])
                shared = '' if k == across else f'={sides[k > across]}_face-{pair}'
                face[i] = f'face-{i}{shared}<{parent}'
    hands = [f'{side}_hand_root<{side}_wrist ' + ' '.join(
        f'{side}_{finger}{i}<{side}_' + (f'{finger}{i - 1}' if i > 1 else 'hand_root')
        for finger in _FINGERS for i in range(1, 5)) for side in ('left', 'right')]
    return ' '.join([face[i] for i in range(68)] + hands)


_JOINTS['halpe'] = _JOINTS['halpe_26'] + ' ' + _face_and_hands()
_JOINTS['coco_wholebody'] = _JOINTS['coco'] + """
        left_big_toe<left_ankle left_small_toe<left_ankle left_heel<left_ankle
        right_big_toe<right_ankle right_small_toe<right_ankle right_heel<right_ankle
        """ + _face_and_hands()


@dataclass(frozen=True)
class Skeleton:
    """Joints of one convention.

    Attributes:
        name: key of :func:`get_skeleton`.
        joint_names: K names in order, as the source calls them.
        parents: K parent indices; -1 where a tree starts.
        common_names: K names under which joints of different skeletons are matched.
    """
    name: str
    joint_names: tuple
    parents: tuple
    common_names: tuple

    @property
    def num_joints(self) -> int:
        return len(self.joint_names)

    @property
    def root_index(self) -> int:
        """Index of the pelvis. ValueError where the skeleton has none (COCO, LSP-14)."""
        if not self.has_root:
            raise ValueError(f'skeleton {self.name!r} has no root (pelvis) joint; convert the '
                             "keypoints to one that has, for example 'h36m', with "
                             'convert_keypoints')
        return self.common_names.index('pelvis')

    @property
    def has_root(self) -> bool:
        return 'pelvis' in self.common_names

    @property
    def flip_pairs(self) -> tuple:
        """((left, right), ...) in the order of the left joints."""
        return tuple((left, self.common_names.index('right' + name[4:]))
                     for left, name in enumerate(self.common_names) if name.startswith('left_'))

    @property
    def flip_indices(self) -> tuple:
        """`mirrored = pose[flip_indices]` (and x negated) is the pose of the mirrored person."""
        indices = list(range(self.num_joints))
        for left, right in self.flip_pairs:
            indices[left], indices[right] = right, left
        return tuple(indices)

    @property
    def left_joints(self) -> tuple:
        return tuple(left for left, _ in self.flip_pairs)

    @property
    def right_joints(self) -> tuple:
        return tuple(sorted(right for _, right in self.flip_pairs))

    @property
    def bones(self) -> tuple:
        """((parent, child), ...) in the order of the children."""
        return tuple((p, child) for child, p in enumerate(self.parents) if p >= 0)

    @property
    def symmetric_bones(self) -> tuple:
        """((left bone, right bone), ...), each bone (parent, child)."""
        flip = self.flip_indices
        return tuple(((parent, child), (flip[parent], flip[child]))
                     for parent, child in self.bones
                     if child in self.left_joints and self.parents[flip[child]] == flip[parent])

    @property
    def hops(self) -> tuple:
        """K numbers of bones between the joint and the root."""
        distance = {self.root_index: 0}
        while len(distance) < self.num_joints:
            for parent, child in self.bones:
                if parent in distance:
                    distance[child] = distance[parent] + 1
                elif child in distance:
                    distance[parent] = distance[child] + 1
        return tuple(distance[i] for i in range(self.num_joints))

    def index(self, name: str) -> int:
        """Index of a joint by its own or its common name."""
        for names in (self.joint_names, self.common_names):
            if name in names:
                return names.index(name)
        raise ValueError(f'skeleton {self.name!r} has no joint {name!r}; it has '
                         f'{", ".join(self.joint_names)}')


def _parse(name: str) -> Skeleton:
    joints, common, parents = [], [], []
    for word in _JOINTS[name].split():
        own, _, parent = word.partition('<')
        own, _, shared = own.partition('=')
        shared = shared or own
        if shared[:2] in ('l_', 'r_'):
            shared = {'l': 'left', 'r': 'right'}[shared[0]] + shared[1:]
        joints.append(own)
        common.append(shared)
        parents.append(parent)
    return Skeleton(name, tuple(joints), tuple(joints.index(p) if p else -1 for p in parents),
                    tuple(common))


_SKELETONS = {name: _parse(name) for name in _JOINTS}


def skeleton_names() -> tuple:
    """Names :func:`get_skeleton` knows."""
    return tuple(_SKELETONS)


def get_skeleton(name: str) -> Skeleton:
    """The skeleton of that name.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if isinstance(name, Skeleton):
        return name
    if name not in _SKELETONS:
        raise ValueError(f'unknown skeleton {name!r}; choose one of {", ".join(_SKELETONS)}')
    return _SKELETONS[name]


def partial_joint_map(src: str, dst: str) -> tuple:
    """((src index, dst index), ...) of the joints both skeletons have, in the order of `dst`."""
    src, dst = get_skeleton(src), get_skeleton(dst)
    return tuple((src.common_names.index(name), i) for i, name in enumerate(dst.common_names)
                 if name in src.common_names)


def joint_map(src: str, dst: str) -> tuple:
    """Indices with `pose_dst[i] = pose_src[joint_map(src, dst)[i]]`, matched by name.

    Raises:
        ValueError: unknown skeleton, or `src` lacks a joint of `dst` (named in the message).
    """
    pairs = partial_joint_map(src, dst)
    src, dst = get_skeleton(src), get_skeleton(dst)
    if len(pairs) < dst.num_joints:
        found = {i for _, i in pairs}
        missing = [name for i, name in enumerate(dst.joint_names) if i not in found]
        raise ValueError(f'skeleton {src.name!r} has no joint for {", ".join(missing)} of '
                         f'{dst.name!r}; use partial_joint_map for the joints both have')
    return tuple(i for i, _ in pairs)


@cache
def _plan(src: str, dst: str) -> tuple:
    """For each joint of `dst` its index in `src`, and the joints that are combined instead.

    The latter as (joint, source joints, weights, source joints that count for the score); their
    index is that of any source joint.
    """
    src, dst = get_skeleton(src), get_skeleton(dst)
    has_coco = set(_SKELETONS['coco'].common_names) <= set(src.common_names)
    index, combined = [], []
    for joint, name in enumerate(dst.common_names):
        parts = ((name, 1.0),)
        if has_coco and name not in src.common_names and name in WEIGHTS:
            parts = WEIGHTS[name].parts
        if not all(part in src.common_names for part, _ in parts):
            joint_map(src, dst)  # raises with the missing joints
        sources = [src.common_names.index(part) for part, _ in parts]
        index.append(sources[0])
        if len(parts) > 1:
            weights = [weight for _, weight in parts]
            counted = [i for i, weight in zip(sources, weights) if abs(weight) > COUNTED_WEIGHT]
            combined.append((joint, sources, weights, counted))
    return index, combined


def convert_keypoints(keypoints, src: str, dst: str, has_score: bool = False):
    """Turn keypoints of one skeleton into those of another.

    Joints are matched by name. One that COCO, or a skeleton that contains it, lacks is a fixed
    combination of COCO's joints where ``joint_weights.WEIGHTS`` has one: an approximation, defined
    in the image only.

    Args:
        keypoints: (..., K_src, D) array or tensor.
        has_score: the last of D = 3 columns is a score; that of a combined joint is the minimum
            of its parts with a weight above ``joint_weights.COUNTED_WEIGHT``.

    Returns:
        (..., K_dst, D), same type and dtype.

    Raises:
        ValueError: unknown skeleton, missing joint, wrong number of joints or columns.
    """
    src_skeleton, dst_skeleton = get_skeleton(src), get_skeleton(dst)
    shape = tuple(keypoints.shape)
    if len(shape) < 2 or shape[-2] != src_skeleton.num_joints:
        raise ValueError(f'keypoints of skeleton {src_skeleton.name!r} must have shape '
                         f'(..., {src_skeleton.num_joints}, D), found {shape}; check the joint '
                         'order of the source')
    if has_score and shape[-1] != 3:
        raise ValueError(f'has_score=True needs columns x, y, score; found shape {shape}')
    index, combined = _plan(src_skeleton.name, dst_skeleton.name)
    converted = keypoints[..., index, :]
    if combined and shape[-1] != 2 and not has_score:
        raise ValueError(f'{src!r} to {dst!r} is defined for 2D keypoints (..., x, y), found shape '
                         f'{shape}; pass has_score=True if the third column is a score')
    for joint, parts, weights, counted in combined:
        converted[..., joint, :2] = sum(
            weight * keypoints[..., part, :2] for part, weight in zip(parts, weights))
        if has_score:
            score = keypoints[..., counted, 2]
            converted[..., joint, 2] = (score.amin(-1) if isinstance(score, torch.Tensor) else
                                        score.min(-1))
    return converted
