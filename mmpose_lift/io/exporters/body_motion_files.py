"""Motion of bodies for other programs: parameters for SMPL tools, skeleton with its rotations."""

from pathlib import Path
from typing import List, Tuple, Union

import numpy as np

from ...geometry.rotations import matrix_to_quaternion, quaternion_to_matrix, slerp
from ...geometry.skeletons import get_skeleton
from ..atomic import atomic_write
from ..body_motion import BodyMotion, write_body_motion
from ..video_poses import CAMERA_FRAME, PersonTrack, VideoPoses
from .bvh import (
    END_SITE,
    SHORTEST_BONE,
    UNITS,
    Node,
    rest_direction,
    write_hierarchy,
    zxy_degrees,
)
from .description import check_poses, filled_spans, frame_times, write_description
from .upright import upright_axes, y_up_rotation

# y up, z towards the viewer, to z up, y away from the viewer
_Z_UP = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


def upright_body(poses: VideoPoses, track: PersonTrack, format_name: str, even: bool = True
                 ) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One shape and the motion of a body, y up (see ``exporters.upright``).

    The shape is the mean over the frames in which the person was detected. A different shape in
    every frame, which the inferencer gives on request only, moves the surface by what it varies.

    Args:
        even: Interpolate poses at uneven times to even ones.

    Returns:
        (S,) shape, (n, 24, 3, 3) rotations, the first relative to the axes; (n, 3) place of the
        root joint, metres.

    Raises:
        ValueError: No body, values that are not finite, or poses that were turned to other axes.
    """
    body = track.body
    if body is None:
        raise ValueError(f'track {track.track_id} of {poses.source} has no body, which '
                         f'{format_name} needs; use a model that gives one, for example '
                         'hybrik_transformer')
    if poses.frame != CAMERA_FRAME or poses.units != 'metre':
        raise ValueError(f'{format_name}: bodies are in camera axes and metres, and the poses of '
                         f'{poses.source} were changed ({poses.frame}, {poses.units}); write the '
                         'bodies before that')
    for name in ('betas', 'rotmats', 'transl', 'joints'):
        bad = ~np.isfinite(getattr(body, name)).reshape(len(track), -1).all(axis=1)
        if bad.any():
            raise ValueError(f'track {track.track_id} of {poses.source}: {bad.sum()} frame(s) of '
                             f'body.{name} are not finite, first frame {track.frames[bad][0]}')
    rotation = y_up_rotation(poses)
    betas = np.asarray(body.betas, np.float64)[_seen(track)].mean(axis=0)
    rotmats = np.array(body.rotmats, np.float64)
    rotmats[:, 0] = rotation @ rotmats[:, 0]
    root = np.asarray(body.joints, np.float64)[:, 0] @ rotation.T
    if even and poses.times is not None:
        rotmats, root = _at_even_times(rotmats, root, np.asarray(poses.times)[track.frames],
                                       poses.fps)
    return betas, rotmats, root


def _at_even_times(rotmats, root, times, fps):
    count = int(np.floor((times[-1] - times[0]) * fps + 1e-6)) + 1
    even = times[0] + np.arange(count) / fps
    after = np.clip(np.searchsorted(times, even, 'right'), 1, max(1, len(times) - 1))
    after = np.minimum(after, len(times) - 1)
    before = np.maximum(after - 1, 0)
    part = (even - times[before]) / np.maximum(times[after] - times[before], 1e-9)
    quaternions = matrix_to_quaternion(rotmats)
    turned = slerp(quaternions[before], quaternions[after], part[:, None])
    part = part[:, None]
    return quaternion_to_matrix(turned), (1 - part) * root[before] + part * root[after]


def write_smpl_npz(poses: VideoPoses, path: Union[str, Path], track: PersonTrack) -> List[Path]:
    """Write one person as AMASS does: what Blender's SMPL add-on and AMASS's tools read.

    World axes have z up, y away from the camera, x right; the origin is the camera. ``poses``
    (n, 72), ``betas`` (S,), ``trans`` (n, 3), ``mocap_framerate`` and ``fps``, ``gender``; see
    :func:`~mmpose_lift.io.body_motion.read_body_motion`. The body is neutral unless
    ``poses.body_model`` names another gender. Poses at uneven times are interpolated to even ones.

    Returns:
        The file and its description, ``<path>.json``.

    Raises:
        ValueError: As :func:`upright_body`.
    """
    path = Path(path)
    check_poses(poses)
    betas, rotmats, root = upright_body(poses, track, 'smpl')
    rotmats[:, 0] = _Z_UP @ rotmats[:, 0]
    # The model turns the body about its own root joint, whose place at rest stays in the result.
    rest = _mean_rest_root(track)
    source = poses.body_model
    gender = (source.get('gender') if isinstance(source, dict) else None) or 'neutral'
    file = source.get('path') if isinstance(source, dict) else source
    motion = BodyMotion.from_rotmats(
        rotmats, betas, root @ _Z_UP.T - rest, poses.fps, gender=gender,
        body_model='' if not isinstance(file, (str, Path)) else Path(file).stem,
        source=f'{poses.source}, person {track.track_id}, by {poses.model}')
    write_body_motion(path, motion)
    note = write_description(
        path, poses, frame='x right, y away from the camera, z up' + (
            '' if poses.up is not None else ' (of a level camera)') + '; origin at the camera',
        up=[0, 0, 1], track_id=int(track.track_id), first_frame=int(track.first_frame),
        num_frames=len(motion), filled_frames=filled_spans(track))
    return [path, note]


def _mean_rest_root(track: PersonTrack) -> np.ndarray:
    """(3,) the root joint of the mean shape at rest: joints are linear in the shape."""
    rest = np.asarray(track.body.joints, np.float64)[:, 0] - track.body.transl
    return rest[_seen(track)].mean(axis=0)


def _seen(track: PersonTrack):
    """Rows that say what shape a person has: where it was detected."""
    return track.detected if track.detected.any() else slice(None)


def write_body_bvh(poses: VideoPoses, path: Union[str, Path], track: PersonTrack,
                   units: str = 'centimetre') -> List[Path]:
    """Write the skeleton of a body with its own rotations, 24 joints in SMPL's tree.

    Axes and place are those of :func:`~.upright.y_up_rotation`, origin at the camera; offsets are
    the joints of the mean shape at rest (arms out, facing z). Rotation channels are Z X Y.

    Args:
        units: 'centimetre' or 'metre'.

    Returns:
        The file and its description, ``<path>.json``.

    Raises:
        ValueError: Unknown units, or as :func:`upright_body`.
    """
    path = Path(path)
    if units not in UNITS:
        raise ValueError(f'units: expected one of {", ".join(UNITS)}, found {units!r}')
    check_poses(poses)
    _, rotmats, root = upright_body(poses, track, 'bvh')
    nodes = body_nodes(rest_offsets(track))
    scale = UNITS[units]
    angles = np.unwrap(zxy_degrees(rotmats[:, [node.joint for node in nodes]]), period=360, axis=0)
    with atomic_write(path) as temporary, open(temporary, 'w', encoding='ascii') as file:
        file.write('HIERARCHY\n')
        write_hierarchy(file, nodes, scale)
        file.write(f'MOTION\nFrames: {len(root)}\nFrame Time: {1 / poses.fps:.8f}\n')
        np.savetxt(file, np.column_stack([root * scale, angles.reshape(len(root), -1)]),
                   fmt='%.5f')
    note = write_description(
        path, poses, units=units, frame=upright_axes(poses, track), up=[0, 1, 0],
        skeleton='smpl', joint_names=list(get_skeleton('smpl').joint_names),
        parents=list(get_skeleton('smpl').parents), track_id=int(track.track_id),
        first_frame=int(track.first_frame), num_frames=len(root),
        start_time=float(frame_times(poses)[track.first_frame]),
        filled_frames=filled_spans(track), rotation_order='Z X Y, degrees')
    return [path, note]


def rest_offsets(track: PersonTrack) -> np.ndarray:
    """(24, 3) metres from the parent joint to each joint of the mean shape at rest."""
    parents = get_skeleton('smpl').parents
    rotmats = np.asarray(track.body.rotmats, np.float64)[_seen(track)]
    joints = np.asarray(track.body.joints, np.float64)[_seen(track)]
    above = np.empty_like(rotmats)  # global rotation of each joint
    offsets = np.zeros((len(parents), 3))
    for joint, parent in enumerate(parents):
        above[:, joint] = rotmats[:, joint] if parent < 0 else above[:, parent] @ rotmats[:, joint]
        if parent >= 0:
            bone = joints[:, joint] - joints[:, parent]
            offsets[joint] = (bone[:, None] @ above[:, parent])[:, 0].mean(axis=0)
    return offsets


def body_nodes(offsets: np.ndarray) -> List[Node]:
    """The tree of SMPL with (24, 3) offsets, parents first and limbs one after the other."""
    skeleton = get_skeleton('smpl')
    nodes: List[Node] = []

    def add(joint: int, parent: int) -> None:
        children = [c for p, c in skeleton.bones if p == joint]
        length = np.linalg.norm(offsets[joint])
        end = None
        if not children:
            end = rest_direction(skeleton.common_names[joint]) * END_SITE * max(length,
                                                                                SHORTEST_BONE)
        nodes.append(Node(skeleton.joint_names[joint], parent, offsets[joint], joint, end=end))
        here = len(nodes) - 1
        for child in children:
            add(child, here)

    add(skeleton.root_index, -1)
    return nodes
