"""Motion of one person as BVH, which Blender, MotionBuilder and others open.

Joint positions do not say how a bone is turned about itself. What they do say is used: bones of the
trunk are turned so that hips and shoulders fit best in the least-squares sense; a limb takes the
smallest swing from its parent that meets the next joint, and an upper arm or thigh is then turned
until the plane in which elbow or knee bend is that of the body.

BVH turns all children of a joint together, and those of predicted poses do not keep their angles.
So hips and shoulders hang on a helper joint each, at the place of root and thorax, and every bone
points exactly as predicted. Those of the thorax are, like the thorax, children of the bone below;
those of the root have an offset of zero, as in CMU's releases.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, TextIO, Union

import numpy as np

from ...geometry.rotations import axis_angle_to_matrix, quaternion_to_matrix
from ...geometry.skeletons import Skeleton, get_skeleton
from ..atomic import atomic_write
from ..video_poses import PersonTrack, VideoPoses
from .description import check_poses, filled_spans, frame_times, write_description
from .upright import upright_axes, upright_keypoints

UNITS = {'centimetre': 100.0, 'metre': 1.0}
SHORTEST_BONE = 1e-3  # metres; Blender makes up a direction for bones without length [np]
STRAIGHT = 0.2  # sine of the bend at which bending plane and least swing count alike [np]
CHUNK = 1024  # frames at a time, so that memory stays flat [np]
END_SITE = 0.25  # length of what follows the last joint, of the bone before [np]

# Axes about which these bend in the rest pose (arms out, palms down, facing z), so that bending is
# a positive turn: heels go back, hands go forward.
_HINGES = {'left_hip': (1, 0, 0), 'right_hip': (1, 0, 0),
           'left_smpl_hip': (1, 0, 0), 'right_smpl_hip': (1, 0, 0),
           'left_shoulder': (0, -1, 0), 'right_shoulder': (0, 1, 0)}
_SIDEWAYS = ('hip', 'shoulder', 'collar', 'clavicle', 'elbow', 'wrist', 'hand', 'thumb', 'eye')
_DOWN, _FORWARD = ('knee', 'ankle'), ('foot', 'toe', 'nose')


def rest_direction(common_name: str) -> np.ndarray:
    """(3,) where the bone that ends in a joint points in the rest pose: a T, facing z, y up."""
    side, _, part = common_name.partition('_')
    if side in ('left', 'right'):
        if any(word in part for word in _SIDEWAYS):
            return np.array([1.0 if side == 'left' else -1.0, 0, 0])
        if any(word in part for word in _DOWN):
            return np.array([0, -1.0, 0])
    if any(word in common_name for word in _FORWARD):
        return np.array([0, 0, 1.0])
    return np.array([0, 1.0, 0])


@dataclass
class Node:
    """A joint of the file, or a helper at the place of one.

    Attributes:
        parent: Node, -1 for the root.
        offset: (3,) from the parent in the rest pose, metres.
        joint: Joint of the skeleton at this place.
        aim: Joint that the rotation points at; None for the last of a limb.
        end: (3,) offset of the end site, metres.
    """
    name: str
    parent: int
    offset: np.ndarray
    joint: int
    aim: Optional[int] = None
    end: Optional[np.ndarray] = None
    helper: bool = False


def _children(skeleton: Skeleton) -> List[List[int]]:
    return [[c for p, c in skeleton.bones if p == joint] for joint in range(skeleton.num_joints)]


def skeleton_nodes(points: np.ndarray, skeleton: Skeleton) -> List[Node]:
    """Nodes of the file with the mean bone lengths of (F, J, 3) metres; parents come first.

    Raises:
        ValueError: A bone has no length.
    """
    bones = points - points[:, list(skeleton.parents)]
    lengths = np.linalg.norm(bones, axis=-1).mean(axis=0)
    for parent, child in skeleton.bones:
        if lengths[child] < SHORTEST_BONE:
            raise ValueError(
                f'BVH: the bone from {skeleton.joint_names[parent]} to '
                f'{skeleton.joint_names[child]} is {lengths[child] * 1000:.2f} mm long on average, '
                f'expected at least {SHORTEST_BONE * 1000:g} mm; are these poses in metres?')
    children = _children(skeleton)
    rest = np.stack([rest_direction(name) for name in skeleton.common_names])
    nodes: List[Node] = []

    def add(joint: int, parent: int, offset: np.ndarray) -> None:
        own, name = children[joint], skeleton.joint_names[joint]
        if not own:
            toes = any(word in skeleton.common_names[joint] for word in ('ankle', 'foot'))
            end = (np.array([0, 0, 1.0]) if toes else rest[joint]) * END_SITE * lengths[joint]
            nodes.append(Node(name, parent, offset, joint, end=end))
            return
        middle = [c for c in own if not skeleton.common_names[c].startswith(('left_', 'right_'))]
        aim = (middle or own)[0]
        here = len(nodes)
        nodes.append(Node(name, parent, offset, joint, aim))
        add(aim, here, rest[aim] * lengths[aim])
        for child in own:
            if child != aim:
                nodes.append(Node(f'{name}_to_{skeleton.joint_names[child]}',
                                   here if parent < 0 else parent, offset, joint, child,
                                   helper=True))
                add(child, len(nodes) - 1, rest[child] * lengths[child])

    add(skeleton.parents.index(-1), -1, np.zeros(3))
    return nodes


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(-1)


def _swing(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(F, 3, 3) smallest rotations between unit vectors (F, 3)."""
    cosine = 1 + _dot(source, target)
    # Opposite vectors: half a turn about any axis across.
    across = np.cross(source, np.eye(3)[np.abs(source).argmin(-1)])
    axis = np.where((cosine < 1e-12)[:, None], across, np.cross(source, target))
    return quaternion_to_matrix(np.concatenate([np.maximum(cosine, 0)[:, None], axis], axis=-1))


def _twist(axis: np.ndarray, pairs: list) -> np.ndarray:
    """(F, 3, 3) rotations about unit axes (F, 3) that bring each first (F, 3) to its second.

    Least squares in closed form; the parts along the axis do not count.
    """
    sine = sum(_dot(axis, np.cross(source, target)) for source, target in pairs)
    cosine = sum(_dot(source, target) - _dot(axis, source) * _dot(axis, target)
                 for source, target in pairs)
    return axis_angle_to_matrix(axis * np.arctan2(sine, cosine)[:, None])


def _solve_rotations(nodes: List[Node], skeleton: Skeleton, points: np.ndarray) -> np.ndarray:
    """(F, N, 3, 3) global rotations of the nodes for joint positions (F, J, 3)."""
    bones = points - points[:, list(skeleton.parents)]
    length = np.linalg.norm(bones, axis=-1, keepdims=True)
    directions = bones / np.maximum(length, 1e-6)
    rest = np.stack([rest_direction(name) for name in skeleton.common_names])
    children = _children(skeleton)
    rotations = np.empty((len(points), len(nodes), 3, 3))
    for i, node in enumerate(nodes):
        above = rotations[:, node.parent] if node.parent >= 0 else np.eye(3)[None]
        above = np.broadcast_to(above, (len(points), 3, 3))
        rotations[:, i] = above
        if node.aim is None:
            continue
        start = above @ rest[node.aim]
        target = np.where(length[:, node.aim] > 1e-6, directions[:, node.aim], start)
        turned = _swing(start, target) @ above
        following = children[node.aim]
        places = (node.aim, node.joint) if node.parent < 0 else (node.aim, )
        carried = [other.aim for other in nodes if other.helper and other.joint in places]
        pairs = [(turned @ rest[joint], directions[:, joint]) for joint in carried]
        hinge = _HINGES.get(skeleton.common_names[node.joint])
        if hinge is not None and len(following) == 1:
            axis = turned @ np.array(hinge, np.float64)
            bend = np.cross(target, directions[:, following[0]])
            pairs.append((axis, bend + STRAIGHT * axis))
        rotations[:, i] = _twist(target, pairs) @ turned if pairs else turned
    return rotations


def _positions(nodes: List[Node], rotations: np.ndarray, root: np.ndarray) -> np.ndarray:
    """(F, N, 3) forward kinematics."""
    positions = np.empty(rotations.shape[:2] + (3, ))
    for i, node in enumerate(nodes):
        positions[:, i] = root if node.parent < 0 else (
            positions[:, node.parent] + rotations[:, node.parent] @ node.offset)
    return positions


def zxy_degrees(local: np.ndarray) -> np.ndarray:
    """(..., 3) degrees a, b, c of (..., 3, 3) rotations Rz(a) Rx(b) Ry(c)."""
    cosine = np.hypot(local[..., 0, 1], local[..., 1, 1])
    x = np.arctan2(local[..., 2, 1], cosine)
    locked = cosine < 1e-9  # only the sum of the other two is defined
    z = np.where(locked, np.arctan2(local[..., 1, 0], local[..., 0, 0]),
                 np.arctan2(-local[..., 0, 1], local[..., 1, 1]))
    y = np.where(locked, 0, np.arctan2(-local[..., 2, 0], local[..., 2, 2]))
    return np.rad2deg(np.stack([z, x, y], axis=-1))


def _relative(nodes: List[Node], rotations: np.ndarray) -> np.ndarray:
    """(F, N, 3, 3) rotations of the nodes against their parents, from the global ones."""
    above = rotations[:, [max(node.parent, 0) for node in nodes]]
    local = np.swapaxes(above, -1, -2) @ rotations
    local[:, 0] = rotations[:, 0]
    return local


def write_bvh(poses: VideoPoses, path: Union[str, Path], track: PersonTrack,
              units: str = 'centimetre') -> List[Path]:
    """Write the motion of one person.

    Axes are y up, x right, z towards the viewer, see ``exporters.upright``: where the person is in
    the room is in the root's position channels as far as it is known. Bones have the person's mean
    lengths and point exactly as in ``poses``. The rest pose is a T that faces z; rotation channels
    are in the order Z X Y. A BVH file has an even frame rate: poses at uneven times are
    interpolated to it. As the format has no room for it, ``<path>.json`` says what the numbers
    mean, and how far joints moved because bones no longer change their length.

    A person with a body model gets that one's skeleton and rotations instead, see
    :func:`~.body_motion_files.write_body_bvh`.

    Args:
        poses: Skeleton with one root.
        track: The person.
        units: Of positions and offsets, 'centimetre' (usual for BVH) or 'metre'.

    Returns:
        The files written: the motion and its description.

    Raises:
        ValueError: No finite 3D keypoints, a skeleton that is not one tree, a bone without length,
            or unknown units or axes.
    """
    if track.body is not None:
        from .body_motion_files import write_body_bvh  # which builds on this module
        return write_body_bvh(poses, path, track, units)
    path = Path(path)
    if units not in UNITS:
        raise ValueError(f'units: expected one of {", ".join(UNITS)}, found {units!r}')
    check_poses(poses)
    skeleton = get_skeleton(poses.skeleton)
    if skeleton.parents.count(-1) != 1:
        raise ValueError(f'{path}: BVH needs a skeleton of one tree, and {skeleton.name!r} has '
                         f'{skeleton.parents.count(-1)}; convert the joints first')
    points = upright_keypoints(poses, track, 'BVH')
    if poses.times is not None:
        points = _at_even_times(points, np.asarray(poses.times)[track.frames], poses.fps)
    nodes = skeleton_nodes(points, skeleton)
    scale, moved = UNITS[units], []
    with atomic_write(path) as temporary, open(temporary, 'w', encoding='ascii') as file:
        file.write('HIERARCHY\n')
        write_hierarchy(file, nodes, scale)
        file.write(f'MOTION\nFrames: {len(points)}\nFrame Time: {1 / poses.fps:.8f}\n')
        angles = np.zeros((1, len(nodes), 3))
        for first in range(0, len(points), CHUNK):
            rows = points[first:first + CHUNK]
            rotations = _solve_rotations(nodes, skeleton, rows)
            # from the last angles of the chunk before, so that no angle jumps by a turn
            degrees = zxy_degrees(_relative(nodes, rotations))
            angles = np.unwrap(np.concatenate([angles[-1:], degrees]), period=360, axis=0)[1:]
            root = rows[:, nodes[0].joint]
            np.savetxt(file, np.column_stack([root * scale, angles.reshape(len(rows), -1)]),
                       fmt='%.5f')
            joints = _positions(nodes, rotations, root)[:, _joint_nodes(nodes)]
            moved.append(np.linalg.norm(joints - rows, axis=-1))
    moved = np.concatenate(moved)
    note = write_description(
        path, poses, units=units, frame=upright_axes(poses, track), up=[0, 1, 0],
        track_id=int(track.track_id), first_frame=int(track.first_frame), num_frames=len(points),
        start_time=float(frame_times(poses)[track.first_frame]),
        filled_frames=filled_spans(track), rotation_order='Z X Y, degrees',
        constant_bone_lengths_moved_joints_mm=dict(
            mean=round(float(moved.mean()) * 1000, 2), max=round(float(moved.max()) * 1000, 2)))
    return [path, note]


def _joint_nodes(nodes: List[Node]) -> List[int]:
    """Number of the node of each joint."""
    return sorted((i for i, node in enumerate(nodes) if not node.helper),
                  key=lambda i: nodes[i].joint)


def _at_even_times(points: np.ndarray, times: np.ndarray, fps: float) -> np.ndarray:
    count = int(np.floor((times[-1] - times[0]) * fps + 1e-6)) + 1
    even = times[0] + np.arange(count) / fps
    flat = points.reshape(len(points), -1)
    return np.stack([np.interp(even, times, column) for column in flat.T],
                    axis=-1).reshape((count, ) + points.shape[1:])


def write_hierarchy(file: TextIO, nodes: List[Node], scale: float, i: int = 0,
                    indent: str = '') -> None:
    """Write the nodes, limb after limb in the order of the list, offsets times ``scale``."""
    node = nodes[i]
    turns = 'Zrotation Xrotation Yrotation'
    channels = f'3 {turns}' if node.parent >= 0 else f'6 Xposition Yposition Zposition {turns}'
    file.write(f'{indent}{"JOINT" if node.parent >= 0 else "ROOT"} {node.name}\n{indent}{{\n'
               f'{indent}  OFFSET {_vector(node.offset * scale)}\n'
               f'{indent}  CHANNELS {channels}\n')
    for child, other in enumerate(nodes):
        if other.parent == i:
            write_hierarchy(file, nodes, scale, child, indent + '  ')
    if node.end is not None:
        file.write(f'{indent}  End Site\n{indent}  {{\n'
                   f'{indent}    OFFSET {_vector(node.end * scale)}\n{indent}  }}\n')
    file.write(f'{indent}}}\n')


def _vector(values: np.ndarray) -> str:
    return ' '.join(f'{value:.5f}' for value in values)
