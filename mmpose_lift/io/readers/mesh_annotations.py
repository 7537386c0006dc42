"""People in pictures with body labels, from the annotation files that HybrIK's users have.

A layout only says where its file keeps what (``mesh_layouts.py``); joining, units, boxes, cameras
and unusable labels are dealt with here, in arrays over all people of a file.
"""

import gc
import json
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ...geometry.skeletons import get_skeleton, partial_joint_map

__all__ = ['MeshAnnotations', 'read_mesh_annotations']

_MISSING = -998  # twist angles below are labels that are absent (the files have -999)
_DEPTHS = (0.1, 200.)  # [np] metres; a median outside of them is a file in other units


@dataclass
class MeshAnnotations:
    """Labels of N people, one row each; None where no person of the file has that label.

    Lengths are metres, joints are absolute in camera axes (x right, y down, z forward). Entries
    that are not valid are 0.

    Attributes:
        file: Where they were read.
        images: (N,) picture names as bytes, relative to the folder of the pictures.
        ids, image_ids: (N,) int64.
        sizes: (N, 2) width and height of the picture, pixels.
        boxes: (N, 4) x1, y1, x2, y2 in pixels, inside the picture.
        cameras: (N, 3, 3) intrinsic matrices.
        keypoints, keypoints_valid: (N, 24, 2) pixels and (N, 24), joints of 'smpl'; only where
            they do not follow from ``joints`` and ``cameras``.
        joints, joints_valid: (N, 24, 3) and (N, 24), joints of 'smpl'.
        h36m_joints, h36m_valid: (N, 17, 3) and (N, 17), joints of 'h36m'.
        betas, poses, body_valid: (N, 10), (N, 24, 3) axis-angle with the root in camera axes, (N,).
        twists, twists_valid: (N, 23, 2) cos, sin of joints 1 to 23, and (N, 23).
        roots, roots_valid: (N, 3) joint 0 of 'smpl', and (N,); joint 0 of ``joints`` where known.
        subjects, actions, genders: (N,) bytes, empty where unknown.
        notes: What was left out, and how often.
    """
    file: Path
    images: np.ndarray
    ids: np.ndarray
    image_ids: np.ndarray
    sizes: np.ndarray
    boxes: np.ndarray
    cameras: np.ndarray
    keypoints: Optional[np.ndarray] = None
    keypoints_valid: Optional[np.ndarray] = None
    joints: Optional[np.ndarray] = None
    joints_valid: Optional[np.ndarray] = None
    h36m_joints: Optional[np.ndarray] = None
    h36m_valid: Optional[np.ndarray] = None
    betas: Optional[np.ndarray] = None
    poses: Optional[np.ndarray] = None
    body_valid: Optional[np.ndarray] = None
    twists: Optional[np.ndarray] = None
    twists_valid: Optional[np.ndarray] = None
    roots: Optional[np.ndarray] = None
    roots_valid: Optional[np.ndarray] = None
    subjects: Optional[np.ndarray] = None
    actions: Optional[np.ndarray] = None
    genders: Optional[np.ndarray] = None
    notes: Tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, rows) -> 'MeshAnnotations':
        """The people of ``rows`` (indices or booleans)."""
        return MeshAnnotations(**{
            f.name: value[rows] if isinstance(value, np.ndarray) else value
            for f in fields(self) for value in [getattr(self, f.name)]})

    def note(self, text: str, count: int) -> None:
        if count:
            self.notes += (f'{self.file.name}: {count} {text}', )


class Records:
    """Annotations of a file, each beside the record of its picture.

    Attributes:
        file: The json file.
        annotations, pictures: lists of dicts of the same length.
    """

    def __init__(self, file: Path, annotations: List[dict], pictures: List[dict]):
        self.file, self.annotations, self.pictures = file, annotations, pictures

    def __len__(self) -> int:
        return len(self.annotations)

    def select(self, rows: Sequence[int]) -> 'Records':
        return Records(self.file, [self.annotations[i] for i in rows],
                       [self.pictures[i] for i in rows])

    def where(self, row: int) -> str:
        """How to name a row in messages."""
        return (f'{self.file}: annotation {self.annotations[row].get("id", row)} '
                f'({self.pictures[row].get("file_name")})')

    def values(self, *keys: str, required: bool = True) -> list:
        """What each annotation, or else its picture, has under the keys; None where absent."""
        found = []
        for row, (annotation, picture) in enumerate(zip(self.annotations, self.pictures)):
            value: Any = annotation if keys[0] in annotation else picture
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            if value is None and required:
                raise ValueError(f'{self.where(row)} has no {".".join(keys)}; expected one in '
                                 'each annotation of this layout')
            found.append(value)
        return found

    def array(self, *keys: str, shape: Tuple[int, ...], required: bool = True,
              more: bool = False) -> Optional[np.ndarray]:
        """(N, *shape) float32 of what is under the keys, NaN where it is absent.

        Args:
            required: Absence is an error; else None is returned where no annotation has it.
            more: Longer values are cut to the first of ``shape``.
        """
        values, size = self.values(*keys, required=required), int(np.prod(shape))
        have = [row for row, value in enumerate(values) if value is not None]
        if not have:
            return None
        result = np.full((len(values), size), np.nan, np.float32)
        try:
            numbers = np.array([values[row] for row in have], np.float32).reshape(len(have), -1)
            if numbers.shape[1] < size or (numbers.shape[1] > size and not more):
                raise ValueError
            result[have] = numbers[:, :size]
        except (ValueError, TypeError):  # not all alike: one by one, to take it or to name it
            for row in have:
                result[row] = self._numbers(row, values[row], keys, size, more)
        return result.reshape((len(values), ) + shape)

    def _numbers(self, row: int, value, keys, size: int, more: bool) -> np.ndarray:
        try:
            numbers = np.asarray(value, np.float32).reshape(-1)
        except (ValueError, TypeError):
            numbers = np.zeros(0)
        if len(numbers) < size or (len(numbers) > size and not more):
            raise ValueError(f'{self.where(row)}: expected {size} numbers in {".".join(keys)}, '
                             f'found {len(numbers)}')
        return numbers[:size]


def read_mesh_annotations(path: Union[str, Path], layout: str, **options) -> MeshAnnotations:
    """Read the annotation file of a data set.

    Args:
        path: json file, ``{images: [...], annotations: [...]}``; annotations belong to the picture
            of their ``image_id`` or, where they have none, of their position.
        layout: 'h36m', 'mpi_inf_3dhp', '3dpw' or 'coco', see ``mesh_layouts``.
        options: Of the layout.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Unknown layout or option; a file that is no json, lacks a field or has another
            form, has no camera or one that is none, or is not in the units of the layout; no
            usable person.
    """
    from .mesh_layouts import READERS
    if layout not in READERS:
        raise ValueError(f'layout: expected one of {", ".join(READERS)}, found {layout!r}')
    known = list(signature(READERS[layout]).parameters)[1:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f'layout {layout!r} has no option {", ".join(unknown)}; '
                         f'its options: {", ".join(known) or "none"}')
    records = join_records(path, load_json(path))
    return _usable(READERS[layout](records, **options))


def join_records(path: Union[str, Path], content: Any) -> Records:
    """Annotations of an annotation file, each with the record of its picture.

    Args:
        path: The file, for messages.
        content: Of the file.

    Raises:
        ValueError: It is no such content, or an annotation has no picture.
    """
    path = Path(path)
    parts = [content.get(key) if isinstance(content, dict) else None
             for key in ('images', 'annotations')]
    if not all(isinstance(part, list) for part in parts):
        raise ValueError(f'{path}: expected {{"images": [...], "annotations": [...]}}, found '
                         f'{sorted(content) if isinstance(content, dict) else "no object"}; is '
                         'this the annotation file?')
    images, annotations = parts
    if not annotations:
        raise ValueError(f'{path}: no annotations')
    if all('image_id' in annotation for annotation in annotations):
        by_id = {image.get('id'): image for image in images}
        pictures = [by_id.get(annotation['image_id']) for annotation in annotations]
        if None in pictures:
            row = pictures.index(None)
            raise ValueError(f'{path}: annotation {annotations[row].get("id", row)} is of image '
                             f'{annotations[row]["image_id"]}, which is not in "images"')
    elif len(images) == len(annotations):
        pictures = images
    else:
        raise ValueError(f'{path}: {len(images)} images and {len(annotations)} annotations without '
                         'image_id; expected image_id in all, or as many of one as of the other')
    return Records(path, annotations, pictures)


def load_json(path: Union[str, Path]) -> Any:
    """Content of a json file.

    Raises:
        FileNotFoundError, ValueError: Absent, or no json; the file is named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such annotation file; check ann_file and data_root')
    # millions of lists and no garbage: looking for some takes as long again as reading them
    collecting = gc.isenabled()
    gc.disable()
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f'{path}: no json, so the file is damaged, incomplete or of another '
                         f'format ({error})') from None
    finally:
        if collecting:
            gc.enable()


def common_columns(records: Records, images: Sequence[str], cameras: np.ndarray) -> Dict[str, Any]:
    """What every layout has, as arguments of :class:`MeshAnnotations`.

    Args:
        images: N names of pictures.
        cameras: (N, 3, 3), NaN where a file leaves it out.

    Raises:
        ValueError: No box or size of the picture, or no usable camera.
    """
    focal = cameras[:, [0, 1], [0, 1]]
    bad = np.flatnonzero(~np.isfinite(cameras).all((1, 2)) | ~(focal > 0).all(1))
    if len(bad):
        raise ValueError(f'{records.where(bad[0])}: expected a camera with positive focal lengths '
                         f'in pixels, found focal lengths {focal[bad[0]].tolist()}; the camera is '
                         'needed to bring image and depth together')
    sizes = np.stack([records.array(key, shape=()) for key in ('width', 'height')], -1)
    boxes = records.array('bbox', shape=(4, ))
    boxes[:, 2:] += boxes[:, :2]
    boxes = np.clip(boxes, 0, np.tile(sizes - 1, 2))  # NaN stays
    return dict(
        file=records.file,
        images=np.array([name.encode() for name in images]),
        ids=np.array([a.get('id', row) for row, a in enumerate(records.annotations)], np.int64),
        image_ids=np.array([p.get('id', row) for row, p in enumerate(records.pictures)], np.int64),
        sizes=sizes.astype(np.int32),
        boxes=boxes,
        cameras=cameras)


def pinhole(focal: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """(N, 3, 3) float32 intrinsic matrices from (N, 2) focal lengths and principal points."""
    cameras = np.zeros((len(focal), 3, 3), np.float32)
    cameras[:, [0, 1], [0, 1]] = focal
    cameras[:, :2, 2] = centre
    cameras[:, 2, 2] = 1
    return cameras


def joint_columns(records: Records, points: Optional[np.ndarray], name: str, source: str,
                  metres: float) -> Dict[str, np.ndarray]:
    """Joints and which of them are numbers, as arguments of :class:`MeshAnnotations`.

    Args:
        points: (N, K, 3) of skeleton ``source``, or None; joints it lacks are not valid.
        name: 'joints' ('smpl') or 'h36m_joints' ('h36m').
        metres: Of one unit of ``points``.

    Raises:
        ValueError: The depths are not those of people in that unit.
    """
    if points is None:
        return {}
    skeleton = get_skeleton({'joints': 'smpl', 'h36m_joints': 'h36m'}[name])
    points, given = np.full((len(points), skeleton.num_joints, 3), np.nan, np.float32), points
    for src, dst in partial_joint_map(source, skeleton.name):
        points[:, dst] = given[:, src] * np.float32(metres)
    depths = points[..., 2][np.isfinite(points).all(-1)]
    if len(depths) and not _DEPTHS[0] < np.median(depths) < _DEPTHS[1]:
        raise ValueError(
            f'{records.file}: {name} have a median depth of {np.median(depths):.4g} m when read in '
            f'{"millimetres" if metres < 1 else "metres"}; expected absolute joints in camera axes '
            'in that unit')
    return valid_columns(name, points)


def valid_columns(name: str, points: np.ndarray) -> Dict[str, np.ndarray]:
    """``{name: points with 0 for what is no number, <name>_valid: which are numbers}``."""
    valid = np.isfinite(points).all(-1)
    return {name: np.where(valid[..., None], points, np.float32(0)),
            f'{name.removesuffix("_joints")}_valid': valid}


def body_columns(betas: Optional[np.ndarray], poses: Optional[np.ndarray]) -> Dict[str, np.ndarray]:
    """(N, 10) shapes and (N, 24, 3) poses, valid where all of both are numbers."""
    if betas is None or poses is None:
        return {}
    valid = np.isfinite(betas).all(1) & np.isfinite(poses).all((1, 2))
    return dict(betas=np.where(valid[:, None], betas, np.float32(0)),
                poses=np.where(valid[:, None, None], poses, np.float32(0)), body_valid=valid)


def twist_columns(records: Records) -> Dict[str, np.ndarray]:
    """``angle_twist`` of the annotations; an angle of -999 says that there is no label."""
    parts = [records.array('angle_twist', key, shape=(23, ), required=False)
             for key in ('cos', 'sin', 'angle')]
    if any(part is None for part in parts):
        return {}
    twists = np.stack(parts[:2], -1)
    valid = np.isfinite(twists).all(-1) & (parts[2] > _MISSING)
    # an absent label has any cos and sin, and a twist of length 0 is no direction
    valid &= np.square(twists).sum(-1) > 1e-6
    return dict(twists=np.where(valid[..., None], twists, np.float32(0)), twists_valid=valid)


def _usable(people: MeshAnnotations) -> MeshAnnotations:
    """Drop people who cannot be learned from or evaluated on, and say how many.

    Raises:
        ValueError: Nobody is left.
    """
    if people.joints is not None and people.joints_valid[:, 0].any():
        known = people.joints_valid[:, 0]
        roots = np.zeros((len(people), 3), np.float32) if people.roots is None else people.roots
        valid = known if people.roots is None else known | people.roots_valid
        people.roots = np.where(known[:, None], people.joints[:, 0], roots)
        people.roots_valid = valid
    for valid in (people.joints_valid, people.h36m_valid):
        if valid is not None:  # joints that nobody has are not in this data set
            people.note('people with joints that are no numbers: these have weight 0',
                        int((~valid[:, valid.any(0)]).any(1).sum()))
    with np.errstate(invalid='ignore'):
        boxed = (people.boxes[:, 2:] > people.boxes[:, :2]).all(1)
    people.note('people left out: their box is outside of the picture, empty or no number',
                int((~boxed).sum()))
    labelled = np.zeros(len(people), bool)
    for valid in (people.joints_valid, people.keypoints_valid, people.h36m_valid):
        if valid is not None:
            labelled |= valid.any(1)
    if people.body_valid is not None:
        labelled |= people.body_valid
    people.note('people left out: no joint of them is labelled', int((boxed & ~labelled).sum()))
    keep = boxed & labelled
    if not keep.any():
        raise ValueError(f'{people.file}: nobody left of {len(people)} annotations '
                         f'({"; ".join(people.notes) or "all filtered out"})')
    return people if keep.all() else people.select(keep)
