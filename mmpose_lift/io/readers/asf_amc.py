"""Acclaim skeleton and motion files (ASF/AMC) of the CMU database as H36M joints."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...geometry.rotations import euler_to_matrix
from ..pose_store import Sequence
from .kinematics import JointMotion, MotionFileError, h36m_joints, read_lines, read_numbers
from .recording import Clip, Recording, require_file

_INCH = 0.0254

# H36M joint -> bones whose ends it is the mean of. The bone called wrist is the palm.
ASF_NODES = {
    'root': ('lhipjoint', 'rhipjoint'),
    'spine': ('lowerback',),
    'thorax': ('thorax',),
    'neck_base': ('upperneck',),
    'head': ('head',),
    **{
        f'{side}_{joint}': (side[0] + bone,)
        for side in ('left', 'right')
        for joint, bone in (
            ('hip', 'hipjoint'),
            ('knee', 'femur'),
            ('foot', 'tibia'),
            ('shoulder', 'clavicle'),
            ('elbow', 'humerus'),
            ('wrist', 'radius'),
        )
    },
}


@dataclass
class _Bone:
    direction: np.ndarray = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: np.ndarray = field(default_factory=lambda: np.eye(3))
    dof: tuple[str, ...] = ()
    parent: str = ''


@dataclass
class AcclaimSkeleton:
    """An ASF file: bones by name (the first is 'root'), metres per length unit, angle unit."""

    bones: dict[str, _Bone]
    unit: float
    degrees: bool


def _turn(axes: str, angles: np.ndarray, degrees: bool) -> np.ndarray:
    """Matrices of angles (..., n) about fixed axes, the first axis turned first."""
    return euler_to_matrix(angles[..., ::-1], axes[::-1], degrees=degrees)


def parse_asf(path: str | Path) -> AcclaimSkeleton:
    """Parse an ASF skeleton.

    Raises:
        FileNotFoundError: no such file.
        MotionFileError: malformed or truncated file.
    """
    path = require_file(path, 'ASF skeleton')
    sections: dict[str, list[tuple[int, list[str]]]] = {}
    current = None
    number = 1
    for number, line in enumerate(read_lines(path), 1):
        words = line.split()
        if not words or line.startswith('#'):
            continue
        if words[0].startswith(':'):
            current = sections.setdefault(words[0][1:].lower(), [])
        elif current is None:
            raise MotionFileError(
                path, number, 'not an ASF file: expected a section such as :units'
            )
        else:
            current.append((number, words))
    for name in ('units', 'root', 'bonedata', 'hierarchy'):
        if name not in sections:
            raise MotionFileError(
                path, number, f'section :{name} is missing: not an ASF file, or truncated'
            )
    units = {words[0]: words[1] for _, words in sections['units'] if len(words) == 2}
    try:
        length = float(units['length'])
    except (KeyError, ValueError):
        raise MotionFileError(
            path, number, ':units must give the length, for example "length 0.45"'
        ) from None
    degrees = units.get('angle', 'deg') == 'deg'
    bones = {'root': _parse_root(path, sections['root'], degrees)}
    bones.update(_parse_bones(path, sections['bonedata'], degrees))
    _parse_tree(path, sections['hierarchy'], bones)
    return AcclaimSkeleton(bones, _INCH / length, degrees)


def _parse_root(path: Path, lines, degrees: bool) -> _Bone:
    bone = _Bone()
    for number, words in lines:
        if words[0] == 'order':
            bone.dof = tuple(word.lower() for word in words[1:])
        elif words[0] == 'orientation':
            bone.axis = _turn('xyz', np.array(read_numbers(path, number, words[1:])), degrees)
        elif words[0] == 'position' and any(read_numbers(path, number, words[1:])):
            raise MotionFileError(path, number, 'a root position other than 0 0 0 is not supported')
    if set(bone.dof) != {'tx', 'ty', 'tz', 'rx', 'ry', 'rz'}:
        raise MotionFileError(
            path,
            lines[0][0] if lines else 1,
            f':root needs "order" with TX TY TZ RX RY RZ, found {" ".join(bone.dof)!r}',
        )
    return bone


def _parse_bones(path: Path, lines, degrees: bool) -> dict[str, _Bone]:
    bones: dict[str, _Bone] = {}
    bone, name = None, ''
    for number, words in lines:
        key, values = words[0], words[1:]
        if key == 'begin':
            bone, name = _Bone(), ''
        elif bone is None:
            raise MotionFileError(path, number, f'expected "begin", found {key!r}')
        elif key == 'end':
            if not name or not bone.direction.any():
                raise MotionFileError(path, number, f'bone {name!r} has no name or no direction')
            bones[name], bone = bone, None
        elif key == 'name' and len(values) == 1:
            name = values[0]
        elif key == 'direction' and len(values) == 3:
            bone.direction = np.array(read_numbers(path, number, values))
        elif key == 'length' and len(values) == 1:
            bone.length = read_numbers(path, number, values)[0]
        elif key == 'axis' and len(values) == 4 and sorted(values[3].lower()) == ['x', 'y', 'z']:
            angles = np.array(read_numbers(path, number, values[:3]))
            bone.axis = _turn(values[3].lower(), angles, degrees)
        elif key == 'dof':
            bone.dof = tuple(value.lower() for value in values)
            if not set(bone.dof) <= {'rx', 'ry', 'rz'}:
                raise MotionFileError(
                    path,
                    number,
                    f'bone {name!r}: only rotations (rx ry rz) are '
                    f'supported, found {" ".join(values)!r}',
                )
        elif key in ('name', 'direction', 'length', 'axis'):
            raise MotionFileError(path, number, f'wrong values for {key!r}: {" ".join(values)!r}')
    if bone is not None:
        raise MotionFileError(
            path, lines[-1][0], 'the last bone has no "end": the file is truncated'
        )
    return bones


def _parse_tree(path: Path, lines, bones: dict[str, _Bone]) -> None:
    for number, words in lines:
        if words[0] in ('begin', 'end'):
            continue
        for name in words:
            if name not in bones:
                raise MotionFileError(path, number, f'bone {name!r} is not in :bonedata')
        for child in words[1:]:
            bones[child].parent = words[0]
    orphans = [name for name, bone in bones.items() if name != 'root' and not bone.parent]
    if orphans:
        raise MotionFileError(
            path,
            lines[-1][0] if lines else 1,
            f'bones without a parent in :hierarchy: {", ".join(orphans)}',
        )


def _in_order(bones: dict[str, _Bone]) -> list[str]:
    """Names with parents before children."""
    names = ['root']
    for name in names:
        names += [child for child, bone in bones.items() if bone.parent == name]
    return names


def parse_amc(path: str | Path, skeleton: AcclaimSkeleton, fps: float = 120) -> JointMotion:
    """Parse an AMC motion of ``skeleton``. Nodes of the result are the ends of the bones.

    A bone turns by C M C^-1, with C its axes in the rest pose and M its motion (first listed axis
    turned first).

    Args:
        path: File.
        skeleton: Of the same subject.
        fps: Recording rate; the format does not hold it (CMU: mostly 120, some subjects 60).

    Raises:
        FileNotFoundError: no such file.
        MotionFileError: malformed or truncated file, or one of another skeleton.
    """
    path = require_file(path, 'AMC motion')
    columns, frames, degrees = _parse_frames(path, skeleton)
    names = _in_order(skeleton.bones)
    values = np.array(frames)
    rotations = np.empty((len(values), len(names), 3, 3))
    positions = np.zeros((len(values), 3))
    for node, name in enumerate(names):
        bone = skeleton.bones[name]
        part = values[:, columns[name]]
        turns = [i for i, dof in enumerate(bone.dof) if dof[0] == 'r']
        for i, dof in enumerate(bone.dof):
            if dof[0] == 't':
                positions[:, 'xyz'.index(dof[1])] = part[:, i]
        motion = np.eye(3)
        if turns:
            motion = _turn(''.join(bone.dof[i][1] for i in turns), part[:, turns], degrees)
        rotations[:, node] = bone.axis @ motion @ bone.axis.T
    return _bone_ends(names, skeleton.bones, rotations, positions, fps)


def _bone_ends(names, bones, rotations, positions, fps) -> JointMotion:
    """Two nodes per bone: a joint that turns at its parent's end, and the end itself."""
    index = {name: i for i, name in enumerate(names)}
    nodes, parents, offsets, order = ['root'], [-1], [np.zeros(3)], [0]
    ends = {'root': 0}
    for name in names[1:]:
        bone = bones[name]
        nodes += [name + '.start', name]
        parents += [ends[bone.parent], len(nodes) - 2]
        offsets += [np.zeros(3), bone.direction * bone.length]
        order += [index[name], -1]
        ends[name] = len(nodes) - 1
    still = np.broadcast_to(np.eye(3), rotations[:, :1].shape)
    rotations = np.concatenate([rotations, still], axis=1)[:, order]
    return JointMotion(nodes, parents, np.array(offsets), rotations, positions, fps)


def _parse_frames(path: Path, skeleton: AcclaimSkeleton):
    """Columns of each bone, one list of values per frame, and whether angles are degrees."""
    moving = {name: len(bone.dof) for name, bone in skeleton.bones.items() if bone.dof}
    columns, width = {name: slice(0, 0) for name in skeleton.bones}, 0
    for name, count in moving.items():
        columns[name] = slice(width, width + count)
        width += count
    degrees, frames, seen, number = skeleton.degrees, [], set(moving), 1
    for number, line in enumerate(read_lines(path), 1):
        words = line.split()
        if not words or line.startswith('#'):
            continue
        if words[0].startswith(':'):
            if words[0].upper() in (':DEGREES', ':RADIANS'):
                degrees = words[0].upper() == ':DEGREES'
        elif len(words) == 1 and words[0].isdigit():
            _check_complete(path, number, frames, moving, seen)
            if int(words[0]) != len(frames) + 1:
                raise MotionFileError(path, number, f'frame {words[0]}, expected {len(frames) + 1}')
            frames.append([0.0] * width)
            seen = set()
        elif not frames:
            raise MotionFileError(path, number, 'not an AMC file: expected the frame number 1')
        else:
            name, values = words[0], read_numbers(path, number, words[1:])
            if len(values) != moving.get(name, -1) or name in seen:
                raise MotionFileError(
                    path,
                    number,
                    f'bone {name!r} with {len(values)} values; the '
                    f'skeleton has {moving.get(name, "no such bone")}, once per '
                    'frame: motion of another skeleton?',
                )
            frames[-1][columns[name]] = values
            seen.add(name)
    _check_complete(path, number, frames, moving, seen)
    if not frames:
        raise MotionFileError(path, number, 'no frame: the file is truncated')
    return columns, frames, degrees


def _check_complete(path: Path, number: int, frames: list, moving: dict, seen: set) -> None:
    missing = sorted(set(moving) - seen)
    if missing:
        raise MotionFileError(
            path,
            number,
            f'frame {len(frames)} lacks {", ".join(missing)}: the '
            'file is truncated, or belongs to another skeleton',
        )


def amc_keypoints(
    path: str | Path, skeleton: AcclaimSkeleton, fps: float = 50, source_fps: float = 120
) -> np.ndarray:
    """The 17 Human3.6M joints of a CMU AMC file.

    Args:
        path: AMC file.
        skeleton: From ``parse_asf`` of the same subject.
        fps: Frame rate to resample to.
        source_fps: Recording rate.

    Returns:
        (F, 17, 3) float32 world metres, z up.

    Raises:
        FileNotFoundError, MotionFileError: as ``parse_amc``.
        ValueError: the skeleton has other bones than CMU's.
    """
    missing = sorted({bone for bones in ASF_NODES.values() for bone in bones} - set(skeleton.bones))
    if missing:
        raise ValueError(
            f'{path}: its skeleton has no bone {", ".join(missing)}; only the bone names '
            'of the CMU database are known'
        )
    motion = parse_amc(path, skeleton, source_fps)
    return h36m_joints(motion.resample(fps), ASF_NODES, skeleton.unit)


def read_asf_amc(
    asf: str | Path,
    amcs: Iterable[str | Path],
    fps: float = 50,
    source_fps: float = 120,
) -> Recording:
    """CMU files ``<subject>.asf`` and ``<subject>_<trial>.amc`` as a world-space recording.

    Args:
        asf: Skeleton of one subject.
        amcs: Motions of that subject.
        fps, source_fps: As ``amc_keypoints``.
    """
    skeleton = parse_asf(asf)
    amcs = [require_file(path, 'AMC motion') for path in amcs]
    subject = Path(asf).stem.lstrip('0') or Path(asf).stem
    clips = (
        Clip(
            Sequence(subject, '', path.stem, '', fps, 0, 0),
            amc_keypoints(path, skeleton, fps, source_fps),
        )
        for path in amcs
    )
    return Recording(
        clips, len(amcs), source='CMU motion capture, ASF/AMC (mocap.cs.cmu.edu)', frame='world'
    )
