"""BVH motion of the CMU database (MotionBuilder-style and Daz-friendly releases) as H36M joints."""

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from pathlib import Path

import numpy as np

from ...geometry.rotations import euler_to_matrix
from ..pose_store import Sequence
from .kinematics import (
    CMU_UNIT,
    JointMotion,
    MotionFileError,
    h36m_joints,
    read_lines,
    read_numbers,
)
from .recording import Clip, Recording, require_file

_SIDES = (('left', 'Left', 'l'), ('right', 'Right', 'r'))

# H36M joint -> nodes whose mean it is. Bone ends of the original ASF are starts of BVH joints.
MOTIONBUILDER_NODES = {
    'root': ('LeftUpLeg', 'RightUpLeg'),
    'spine': ('Spine',),
    'thorax': ('Neck',),
    'neck_base': ('Head',),
    'head': ('Head.end',),
    **{
        f'{side}_{joint}': (name + node,)
        for side, name, _ in _SIDES
        for joint, node in (
            ('hip', 'UpLeg'),
            ('knee', 'Leg'),
            ('foot', 'Foot'),
            ('shoulder', 'Arm'),
            ('elbow', 'ForeArm'),
            ('wrist', 'Hand'),
        )
    },
}

# The Daz figure has no end of the head: the middle of the eyes stands for it [np].
DAZ_NODES = {
    'root': ('lThigh', 'rThigh'),
    'spine': ('chest',),
    'thorax': ('neck',),
    'neck_base': ('head',),
    'head': ('leftEye', 'rightEye'),
    **{
        f'{side}_{joint}': (letter + node,)
        for side, _, letter in _SIDES
        for joint, node in (
            ('hip', 'Thigh'),
            ('knee', 'Shin'),
            ('foot', 'Foot'),
            ('shoulder', 'Shldr'),
            ('elbow', 'ForeArm'),
            ('wrist', 'Hand'),
        )
    },
}

_LOST_THORAX = ('Neck', 'LeftShoulder', 'RightShoulder')


def parse_bvh(path: str | Path) -> JointMotion:
    """Parse a BVH file; end sites become nodes named ``<joint>.end``.

    Channels are applied in the order they are listed (``Zrotation Yrotation Xrotation`` is Rz Ry
    Rx); position channels are read at the root only.

    Raises:
        FileNotFoundError: no such file.
        MotionFileError: malformed header, wrong channel count, truncated motion.
    """
    path = require_file(path, 'BVH motion')
    lines = [(i, line.split()) for i, line in enumerate(read_lines(path), 1) if line.strip()]
    names, parents, offsets, channels, rest = _parse_hierarchy(path, lines)
    fps, values = _parse_motion(path, rest, sum(len(c) for c in channels))
    rotations = np.broadcast_to(np.eye(3), (len(values), len(names), 3, 3)).copy()
    positions = np.zeros((len(values), 3)) + offsets[0]
    column = 0
    for node, names_of_channels in enumerate(channels):
        turns, angles = '', []
        for channel in names_of_channels:
            axis = channel[0].lower()
            if channel.endswith('rotation'):
                turns += axis
                angles.append(values[:, column])
            elif node == 0:
                positions[:, 'xyz'.index(axis)] += values[:, column]
            column += 1
        if turns:
            rotations[:, node] = euler_to_matrix(np.stack(angles, -1), turns, degrees=True)
    return JointMotion(names, parents, np.array(offsets), rotations, positions, fps)


def _parse_hierarchy(path: Path, lines: list[tuple[int, list[str]]]):
    """Node names, parents, offsets, channels, and the lines from MOTION on."""
    if not lines or lines[0][1] != ['HIERARCHY']:
        raise MotionFileError(
            path, lines[0][0] if lines else 1, 'not a BVH file: it must begin with HIERARCHY'
        )
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float] | None] = []
    channels: list[list[str]] = []
    open_nodes: list[int] = []
    for position, (number, words) in enumerate(lines[1:], 1):
        key = words[0]
        if key in ('ROOT', 'JOINT') and len(words) == 2 or words == ['End', 'Site']:
            if (key == 'ROOT') == bool(names) or key != 'ROOT' and not open_nodes:
                raise MotionFileError(path, number, f'{key} is not allowed here')
            parents.append(open_nodes[-1] if open_nodes else -1)
            names.append(names[open_nodes[-1]] + '.end' if key == 'End' else words[1])
            offsets.append(None)
            channels.append([])
        elif key == '{' and names and offsets[-1] is None:
            open_nodes.append(len(names) - 1)
        elif key == '}' and open_nodes:
            if offsets[open_nodes.pop()] is None:
                raise MotionFileError(path, number, 'a joint ends without OFFSET')
        elif key == 'OFFSET' and open_nodes and len(words) == 4:
            offsets[open_nodes[-1]] = read_numbers(path, number, words[1:])
        elif key == 'CHANNELS' and open_nodes:
            channels[open_nodes[-1]] = _parse_channels(path, number, words)
        elif key == 'MOTION' and names and not open_nodes:
            return names, parents, offsets, channels, lines[position:]
        else:
            raise MotionFileError(
                path, number, f'unexpected {" ".join(words)[:60]!r} in the hierarchy'
            )
    raise MotionFileError(path, lines[-1][0], 'the file ends before MOTION: it is truncated')


def _parse_channels(path: Path, number: int, words: list[str]) -> list[str]:
    known = {axis + kind for axis in 'XYZ' for kind in ('position', 'rotation')}
    if (
        len(words) < 2
        or not words[1].isdigit()
        or len(words) - 2 != int(words[1])
        or not set(words[2:]) <= known
    ):
        raise MotionFileError(
            path,
            number,
            'expected CHANNELS, their number and their names '
            f'(Xposition ... Zrotation), found {" ".join(words)!r}',
        )
    return words[2:]


def _parse_motion(path: Path, lines: list[tuple[int, list[str]]], width: int):
    """Frames per second and (F, width) channel values."""
    header = [words for _, words in lines[1:3]]
    if (
        len(header) < 2
        or header[0][0] != 'Frames:'
        or header[1][:2] != ['Frame', 'Time:']
        or len(header[0]) != 2
        or len(header[1]) != 3
        or not header[0][1].isdigit()
    ):
        raise MotionFileError(
            path, lines[0][0], 'MOTION must be followed by "Frames: n" and "Frame Time: seconds"'
        )
    count, step = int(header[0][1]), read_numbers(path, lines[2][0], header[1][2:])[0]
    if count == 0 or step <= 0:
        raise MotionFileError(
            path, lines[1][0], f'{count} frames of {step} s; expected more than 0'
        )
    rows = []
    for number, words in lines[3:]:
        if len(words) != width:
            raise MotionFileError(
                path,
                number,
                f'frame {len(rows)} has {len(words)} values, expected {width} (one per channel)',
            )
        rows.append(read_numbers(path, number, words))
    if len(rows) != count:
        raise MotionFileError(
            path,
            lines[-1][0],
            f'{len(rows)} frames, expected {count}: the file is truncated or its header is wrong',
        )
    fps = 1 / step
    # 0.0083333 s is meant to be 120 Hz.
    return (round(fps) if abs(fps - round(fps)) < 1e-3 * fps else fps), np.array(rows)


def bvh_keypoints(
    path: str | Path,
    fps: float = 50,
    source_fps: float | None = None,
    keep_first_frame: bool = False,
) -> np.ndarray:
    """The 17 Human3.6M joints of a CMU BVH file.

    MotionBuilder-style files (joints Hips, LowerBack, ...) lost the thorax bone; it is put back as
    a vertical bone as long as the offset of Spine1. Daz-friendly files (joints hip, abdomen, ...)
    hold motion retargeted to one stylised figure, in centimetres: real motion, not measured
    positions.

    Args:
        path: File.
        fps: Frame rate to resample to.
        source_fps: Recording rate where the header is wrong (CMU subjects 60 and 61: 60).
        keep_first_frame: The first frame of both releases is a T-pose that was not recorded; it is
            removed unless this is set.

    Returns:
        (F, 17, 3) float32 world metres, z up.

    Raises:
        FileNotFoundError, MotionFileError: as ``parse_bvh``.
        ValueError: joint names of neither release, or no frame left.
    """
    motion = parse_bvh(path)
    if {'Hips', 'LowerBack', 'Spine1'} <= set(motion.names):
        nodes, unit = MOTIONBUILDER_NODES, CMU_UNIT
        length = np.linalg.norm(motion.offsets[motion.names.index('Spine1')])
        for name in set(_LOST_THORAX) & set(motion.names):
            node = motion.names.index(name)
            if not motion.offsets[node].any():
                motion.offsets[node] = (0, length, 0)
    else:
        nodes, unit = DAZ_NODES, 0.01
    missing = sorted({name for names in nodes.values() for name in names} - set(motion.names))
    if missing:
        raise ValueError(
            f'{path}: joints {", ".join(missing)} are missing; known are the joint names '
            'of the MotionBuilder-style (Hips, LowerBack, ...) and the Daz-friendly (hip, '
            f'abdomen, ...) CMU releases; found {", ".join(motion.names[:8])}, ...'
        )
    if not keep_first_frame:
        motion.rotations, motion.positions = motion.rotations[1:], motion.positions[1:]
    if len(motion.positions) == 0:
        raise ValueError(f'{path}: no frame is left after the T-pose; keep_first_frame keeps it')
    motion.fps = source_fps or motion.fps
    return h36m_joints(motion.resample(fps), nodes, unit)


def read_bvh(
    paths: Iterable[str | Path],
    fps: float = 50,
    source_fps: float | None = None,
    keep_first_frame: bool = False,
) -> Recording:
    """CMU BVH files named ``<subject>_<trial>.bvh`` as a world-space recording.

    Args:
        paths: Files.
        fps, source_fps, keep_first_frame: As ``bvh_keypoints``.
    """
    paths = [require_file(path, 'BVH motion') for path in paths]
    return Recording(
        _clips(paths, fps, source_fps, keep_first_frame),
        len(paths),
        source='CMU motion capture, BVH (mocap.cs.cmu.edu, cgspeed.com)',
        frame='world',
    )


def _clips(paths: Seq[Path], fps, source_fps, keep_first_frame):
    for path in paths:
        subject = path.stem.split('_')[0].lstrip('0') or path.stem
        yield Clip(
            Sequence(subject, '', path.stem, '', fps, 0, 0),
            bvh_keypoints(path, fps, source_fps, keep_first_frame),
        )
