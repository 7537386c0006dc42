"""Surfaces of bodies for other programs: one animated glTF file, or an OBJ file per frame.

glTF 2.0 (Khronos) has the body as it is defined: the shaped surface, a skin with SMPL's joints and
weights, and the pose blend shapes as morph targets whose weights are the entries of the rotations
minus 1. Viewers apply morph targets before the skin, as SMPL does, so that the animation is exact
at every frame, and a frame takes one kilobyte; a morph target per frame would take 80.
"""

import json
import struct
from pathlib import Path
from typing import Any, List, Optional, Union

import numpy as np

from ...geometry.rotations import matrix_to_quaternion
from ...geometry.skeletons import get_skeleton
from ..atomic import atomic_directory, atomic_write
from ..body_surface import BodySurface
from ..video_poses import CAMERA_FRAME, PersonTrack, VideoPoses
from .body_motion_files import upright_body
from .description import check_poses, describe, description_text, frame_times, people_by_frame
from .rerun_recording import COLOURS
from .upright import upright_axes, y_up_rotation

_FLOAT, _UINT32, _UINT16 = 5126, 5125, 5123
_TYPES = {1: 'SCALAR', 3: 'VEC3', 4: 'VEC4', 16: 'MAT4'}
_VERTICES, _INDICES = 34962, 34963  # buffer targets
_LINEAR, _STEP = 'LINEAR', 'STEP'


def write_gltf(poses: VideoPoses, path: Union[str, Path], body_model: Any = None,
               pose_blend_shapes: bool = True) -> Path:
    """Write all bodies of a video as one animated ``.glb`` file.

    Metres, x right, y up, z towards the viewer, origin at the camera; people are hidden in frames
    that they are not in. Each has the mean shape of its frames, see
    :func:`~.body_motion_files.upright_body`.

    Args:
        body_model: See :class:`~mmpose_lift.io.body_surface.BodySurface`.
        pose_blend_shapes: With SMPL's 207 pose blend shapes (17 MB for 6,890 vertices, shared by
            all people). Without them the skin alone moves the surface: a small file for every
            viewer, elbows and knees lose some volume.

    Raises:
        FileNotFoundError: The body model's file is not there.
        ValueError: The path does not end in .glb, nobody has a body, or as :func:`upright_body`.
    """
    path = Path(path)
    if path.suffix.lower() != '.glb':
        raise ValueError(f'{path}: expected a name that ends in .glb')
    tracks = _with_bodies(poses, path)
    file = _Gltf(poses, BodySurface(poses, body_model), pose_blend_shapes)
    for track in tracks:
        file.add(track)
    with atomic_write(path) as temporary, open(temporary, 'wb') as target:
        file.write(target)
    return path


def _with_bodies(poses: VideoPoses, path: Path) -> List[PersonTrack]:
    check_poses(poses)
    tracks = [track for track in poses.tracks if track.body is not None]
    if not tracks:
        raise ValueError(f'{path}: nobody in {poses.source} has a body, which this format needs; '
                         'use a model that gives one, for example hybrik_transformer')
    return tracks


class _Gltf:
    """A glTF document and its binary buffer."""

    def __init__(self, poses: VideoPoses, surface: BodySurface, blend_shapes: bool):
        self.poses, self.surface = poses, surface
        self.times = frame_times(poses)
        self.parts: List[bytes] = []
        self.length = 0
        self.json = dict(
            asset=dict(version='2.0', generator='mmpose_lift', extras=describe(poses)),
            scene=0, scenes=[dict(nodes=[])], nodes=[], meshes=[], skins=[], materials=[],
            animations=[dict(name=poses.source, channels=[], samplers=[])],
            accessors=[], bufferViews=[])
        body = surface.body
        self.shapes = body.num_shapes
        directions = body.blend_shapes.cpu().numpy().transpose(1, 2, 0)  # [S + 207, V, 3]
        self.template = body.template.cpu().numpy().T
        self.shape_directions, pose = directions[:self.shapes], directions[self.shapes:]
        self.indices = self._accessor(surface.faces.reshape(-1, 1).astype(np.uint32), _INDICES)
        self.skin = self._skin(body.weights.cpu().numpy().T)
        self.used = np.flatnonzero(np.abs(pose).max(axis=(1, 2)) > 0) if blend_shapes else []
        self.targets = [dict(POSITION=self._accessor(pose[i], _VERTICES)) for i in self.used]

    def _skin(self, weights: np.ndarray) -> dict:
        """Attributes for (V, J) weights: the joints of each vertex in fours, heaviest first."""
        count = int((weights > 0).sum(axis=1).max())
        joints = np.argsort(-weights, axis=1, kind='stable')[:, :-(-count // 4) * 4]
        kept = np.take_along_axis(weights, joints, axis=1)
        kept = kept / kept.sum(axis=1, keepdims=True)
        joints = np.where(kept > 0, joints, 0).astype(np.uint16)
        attributes = {}
        for number in range(joints.shape[1] // 4):
            four = slice(4 * number, 4 * number + 4)
            attributes[f'JOINTS_{number}'] = self._accessor(joints[:, four], _VERTICES)
            attributes[f'WEIGHTS_{number}'] = self._accessor(kept[:, four].astype(np.float32),
                                                             _VERTICES)
        return attributes

    def _accessor(self, array: np.ndarray, target: Optional[int] = None) -> int:
        """Number of an accessor with the rows of (n, c) float32, uint32 or uint16."""
        kinds = {'f': _FLOAT, 'I': _UINT32, 'H': _UINT16}
        kind = kinds['f' if array.dtype.kind == 'f' else array.dtype.char]
        array = np.ascontiguousarray(array, np.float32 if kind == _FLOAT else array.dtype)
        view = dict(buffer=0, byteOffset=self.length, byteLength=array.nbytes)
        if target is not None:
            view['target'] = target
        padding = -array.nbytes % 4
        self.parts.append(array.tobytes() + bytes(padding))
        self.length += array.nbytes + padding
        self.json['bufferViews'].append(view)
        self.json['accessors'].append(dict(
            bufferView=len(self.json['bufferViews']) - 1, componentType=kind, count=len(array),
            type=_TYPES[array.shape[1]], min=array.min(axis=0).tolist(),
            max=array.max(axis=0).tolist()))
        return len(self.json['accessors']) - 1

    def add(self, track: PersonTrack) -> None:
        """Add a person: mesh, skin, joints and their motion."""
        betas, rotmats, root = upright_body(self.poses, track, 'gltf', even=False)
        name, skeleton = f'person_{track.track_id}', get_skeleton('smpl')
        rest = self._rest_joints(betas)
        first = len(self.json['nodes'])
        for joint, parent in enumerate(skeleton.parents):
            node = dict(name=f'{name}_{skeleton.joint_names[joint]}',
                        translation=(rest[joint] - (rest[parent] if parent >= 0 else 0)).tolist())
            children = [first + c for p, c in skeleton.bones if p == joint]
            self.json['nodes'].append({**node, 'children': children} if children else node)
        inverse = np.tile(np.eye(4, dtype=np.float32), (len(rest), 1, 1))
        inverse[:, 3, :3] = -rest  # columns first
        self.json['skins'].append(dict(
            inverseBindMatrices=self._accessor(inverse.reshape(-1, 16)), skeleton=first,
            joints=[first + joint for joint in range(len(rest))]))
        body = dict(name=name, mesh=self._mesh(name, track.track_id, betas),
                    skin=len(self.json['skins']) - 1)
        self.json['nodes'].append(body)
        self.json['scenes'][0]['nodes'] += [first, first + len(rest)]

        times = self._accessor(self.times[track.frames][:, None].astype(np.float32))
        self._animate(first, 'translation', times, root)
        turned = matrix_to_quaternion(rotmats)[..., [1, 2, 3, 0]]
        for joint in range(len(rest)):
            self._animate(first + joint, 'rotation', times, turned[:, joint])
        if len(self.used):
            entries = (rotmats[:, 1:] - np.eye(3)).reshape(len(rotmats), -1)[:, self.used]
            self._animate(first + len(rest), 'weights', times, entries.reshape(-1, 1))
        self._hide(first, track)

    def _rest_joints(self, betas: np.ndarray) -> np.ndarray:
        body = self.surface.body
        return body.rest_joints(body.template.new_tensor(betas)[None])[0].cpu().numpy()

    def _mesh(self, name: str, number: int, betas: np.ndarray) -> int:
        from ...rendering.scene import vertex_normals
        shaped = self.template + np.tensordot(betas.astype(np.float32), self.shape_directions, 1)
        colour = np.array(COLOURS[number % len(COLOURS)]) / 255
        self.json['materials'].append(dict(name=name, pbrMetallicRoughness=dict(
            baseColorFactor=[*(colour**2.2).round(4).tolist(), 1.0], metallicFactor=0.0,
            roughnessFactor=0.8)))
        primitive = dict(
            attributes=dict(POSITION=self._accessor(shaped, _VERTICES),
                            NORMAL=self._accessor(vertex_normals(shaped, self.surface.faces),
                                                  _VERTICES), **self.skin),
            indices=self.indices, material=len(self.json['materials']) - 1)
        mesh = dict(name=name, primitives=[primitive])
        if len(self.used):
            primitive['targets'] = self.targets
            mesh['weights'] = [0.0] * len(self.used)
        self.json['meshes'].append(mesh)
        return len(self.json['meshes']) - 1

    def _animate(self, node: int, what: str, times: int, values: np.ndarray,
                 interpolation: str = _LINEAR) -> None:
        animation = self.json['animations'][0]
        animation['samplers'].append(dict(input=times, output=self._accessor(
            values.astype(np.float32)), interpolation=interpolation))
        animation['channels'].append(dict(sampler=len(animation['samplers']) - 1,
                                          target=dict(node=node, path=what)))

    def _hide(self, node: int, track: PersonTrack) -> None:
        """Shrink a person to a point in the frames of the video before and after its own."""
        first, end = int(track.frames[0]), int(track.frames[-1]) + 1
        steps = [(0, 0.0)] * (first > 0) + [(first, 1.0)] + [(end, 0.0)] * (end < len(self.times))
        if len(steps) == 1:
            return
        frames, scales = zip(*steps)
        times = self._accessor(self.times[list(frames)][:, None].astype(np.float32))
        self._animate(node, 'scale', times, np.repeat(np.array(scales)[:, None], 3, axis=1), _STEP)

    def write(self, target) -> None:
        self.json['buffers'] = [dict(byteLength=self.length)]
        text = json.dumps(self.json).encode()
        text += b' ' * (-len(text) % 4)
        target.write(struct.pack('<4sII', b'glTF', 2, 12 + 8 + len(text) + 8 + self.length))
        target.write(struct.pack('<I4s', len(text), b'JSON') + text)
        target.write(struct.pack('<I4s', self.length, b'BIN\0'))
        for part in self.parts:
            target.write(part)


def write_obj(poses: VideoPoses, folder: Union[str, Path], body_model: Any = None) -> Path:
    """Write a folder with one ``frame_<number>.obj`` per frame, a group for each person.

    Metres, x right, y up, z towards the viewer, origin at the camera; surfaces exactly as in
    ``poses``. Vertices keep their numbers in all frames with the same people. ``poses.json`` in the
    folder says what the numbers mean.

    Args:
        folder: An older one is replaced.
        body_model: See :class:`~mmpose_lift.io.body_surface.BodySurface`.

    Raises:
        FileNotFoundError: The body model's file is not there.
        ValueError: Nobody has a body, or poses that were turned to other axes.
    """
    folder = Path(folder)
    tracks = _with_bodies(poses, folder)
    if poses.frame != CAMERA_FRAME:
        raise ValueError(f'{folder}: bodies are in camera axes, and the poses of {poses.source} '
                         f'were changed ({poses.frame}); write the bodies before that')
    surface, rotation = BodySurface(poses, body_model), y_up_rotation(poses)
    digits = max(6, len(str(poses.num_frames)))
    count = surface.body.num_vertices
    vertex_lines, face_lines = 'v %.5f %.5f %.5f\n' * count, 'f %d %d %d\n' * len(surface.faces)
    with atomic_directory(folder, overwrite=True) as temporary:
        note = {**describe(poses), 'up': [0, 1, 0], 'frame': upright_axes(poses, tracks[0])}
        (temporary / 'poses.json').write_text(description_text(note), encoding='utf-8')
        for frame, people in enumerate(people_by_frame(poses)):
            text, first = f'# frame {frame} of {poses.source}, metres, y up\n', 1
            for track, row in people:
                if track.body is None:
                    continue
                points = surface.frame(track, row) @ rotation.T
                text += (f'o person_{track.track_id}\n{vertex_lines % tuple(points.ravel())}'
                         f'{face_lines % tuple((surface.faces + first).ravel())}')
                first += count
            (temporary / f'frame_{frame:0{digits}d}.obj').write_text(text, encoding='utf-8')
    return folder
