"""Complete annotation files of body meshes from the parameters of the bodies in them."""

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np
import torch

from ..geometry.rotations import axis_angle_to_matrix
from ..geometry.skeletons import joint_map
from ..io.atomic import atomic_write
from ..io.readers.mesh_annotations import Records, join_records, load_json
from ..io.readers.threedpw import read_3dpw_sequence
from ..models.body.body_model import BodyModel
from ..models.body.inverse_kinematics import LEAF_JOINTS, twists_from_rotmats

__all__ = ['LabelReport', 'complete_file', 'complete_labels', 'convert_3dpw']

_BATCH = 128  # [np] bodies at a time
_NO_TWIST = -999.  # angle of a twist that is no label
_BOX_MARGIN = 0.15  # [np] of the size of a box around joints, to each side: joints are inside


@dataclass(frozen=True)
class _Layout:
    """Where a layout keeps parameters and joints, and its unit."""
    betas: Tuple[str, ...]
    poses: Tuple[str, ...]
    joints: str
    camera: Tuple[str, str]  # focal lengths and principal point, in cam_param
    per_metre: float
    digits: int


_LAYOUTS = {
    'h36m': _Layout(('betas', ), ('thetas', ), 'smpl_joints', ('f', 'c'), 1000, 3),
    '3dpw': _Layout(('smpl_param', 'shape'), ('smpl_param', 'pose'), 'smpl_joint_cam',
                    ('focal', 'princpt'), 1, 6),
}


@dataclass
class LabelReport:
    """What :func:`complete_labels` did.

    Attributes:
        people: Annotations in the file.
        completed: Those with parameters, which now have all labels.
        residual: Mean distance in metres between the joints that were in the file and those of the
            bodies; None where the file had none. More than some millimetres says that the
            parameters are of another body model or gender.
    """
    people: int = 0
    completed: int = 0
    residual: Optional[float] = None

    def __str__(self) -> str:
        text = f'{self.completed:,} of {self.people:,} annotations completed'
        if self.completed < self.people:
            text += ' (the others have no shape, pose or root position)'
        if self.residual is not None:
            text += (f'; the joints of the file are {1000 * self.residual:.1f} mm from those of '
                     'the bodies on average')
        return text


def complete_file(path: Union[str, Path], out: Union[str, Path], layout: str,
                  bodies: Mapping[str, BodyModel], replace: bool = False) -> LabelReport:
    """Read an annotation file, complete its labels and write it; see :func:`complete_labels`."""
    content = load_json(path)
    report = complete_labels(content, path, layout, bodies, replace)
    _write(content, out)
    return report


def complete_labels(content: Dict[str, Any], name: Union[str, Path], layout: str,
                    bodies: Mapping[str, BodyModel], replace: bool = False) -> LabelReport:
    """Add to annotations what follows from shape, pose and the place of the root joint.

    Added are the 24 joints (``smpl_joints`` or ``smpl_joint_cam``), ``h36m_joints``,
    ``root_coord``, ``angle_twist`` (-999 for joints without child) and, where there is none,
    ``bbox`` around the whole body. The root joint is at ``root_coord`` or, without it, where the
    first of the joints in the file is. Annotations without parameters stay as they are.

    Args:
        content: Of the annotation file; changed in place.
        name: The file, for messages.
        layout: 'h36m' or '3dpw'.
        bodies: Body models by gender; 'neutral' for annotations that say none.
        replace: Replace labels that are there already, instead of keeping them.

    Raises:
        ValueError: Another layout, a gender without body model, a body model without regressor of
            the 17 joints, or content of another form.
    """
    if layout not in _LAYOUTS:
        raise ValueError(f'layout: expected one of {", ".join(_LAYOUTS)}, found {layout!r}')
    records, fields = join_records(name, content), _LAYOUTS[layout]
    betas = records.array(*fields.betas, shape=(10, ), required=False)
    poses = records.array(*fields.poses, shape=(24, 3), required=False)
    report, roots = LabelReport(len(records)), _roots(records, fields)
    if betas is None or poses is None or roots is None:
        raise ValueError(f'{name}: expected annotations with {".".join(fields.betas)}, '
                         f'{".".join(fields.poses)} and root_coord or {fields.joints}, found none; '
                         f'is the layout {layout!r}?')
    known = np.isfinite(np.concatenate([betas, poses.reshape(-1, 72), roots], 1)).all(1)
    genders = np.array([gender or 'neutral' for gender in
                        records.values('smpl_param', 'gender', required=False)])
    distances = []
    for rows in _batches(records, known, genders, bodies):
        body = bodies[genders[rows[0]]]
        distances += _complete(records, rows, body, fields, replace, betas[rows], poses[rows],
                               roots[rows])
        report.completed += len(rows)
    if distances:
        report.residual = float(np.mean(distances))
    return report


def convert_3dpw(folder: Union[str, Path], out: Union[str, Path],
                 bodies: Optional[Mapping[str, BodyModel]] = None,
                 min_keypoints: int = 6) -> LabelReport:
    """Write the sequence files of a split of 3DPW as one annotation file in HybrIK's layout.

    Args:
        folder: ``sequenceFiles/<split>``, or one .pkl file.
        out: json file to write.
        bodies: Body models 'male' and 'female'. Without them there are no joints of Human3.6M and
            no twists, and boxes are those around the joints, 15 % larger to each side [np].
        min_keypoints: As for :func:`~mmpose_lift.io.readers.threedpw.read_3dpw_sequence`.

    Raises:
        FileNotFoundError: No such folder, or no .pkl file in it.
        UnsafePickleError, ValueError: As for ``read_3dpw_sequence``.
    """
    folder = Path(folder)
    files = [folder] if folder.is_file() else sorted(folder.glob('*.pkl'))
    if not files:
        raise FileNotFoundError(f'{folder}: no sequence file (*.pkl); expected '
                                'sequenceFiles/train, validation or test of 3DPW')
    content: Dict[str, List[dict]] = dict(images=[], annotations=[])
    numbers = count()
    for file in files:
        sequence = read_3dpw_sequence(file, min_keypoints)
        ids = {image['id']: len(content['images']) + i
               for i, image in enumerate(sequence['images'])}
        for image in sequence['images']:
            image['id'] = ids[image['id']]
        for annotation in sequence['annotations']:
            annotation.update(id=next(numbers), image_id=ids[annotation['image_id']])
        for key, records in sequence.items():
            content[key] += records
    if bodies:
        report = complete_labels(content, folder, '3dpw', bodies)
    else:
        report = LabelReport(len(content['annotations']))
        for annotation, image in _with_images(content):
            annotation['bbox'] = _box(np.array(annotation['smpl_joint_img'])[:, :2], image,
                                      _BOX_MARGIN)
    _write(content, out)
    return report


def _roots(records: Records, fields: _Layout) -> Optional[np.ndarray]:
    """(N, 3) root joints in metres, NaN where unknown."""
    roots = records.array('root_coord', shape=(3, ), required=False)
    joints = records.array(fields.joints, shape=(24, 3), required=False, more=True)
    if roots is None and joints is None:
        return None
    if joints is not None:
        roots = joints[:, 0] if roots is None else np.where(np.isfinite(roots), roots, joints[:, 0])
    return roots / np.float32(fields.per_metre)


def _batches(records: Records, known: np.ndarray, genders: np.ndarray,
             bodies: Mapping[str, BodyModel]) -> Iterator[np.ndarray]:
    """Rows of people with parameters and of one gender."""
    for gender in np.unique(genders[known]):
        rows = np.flatnonzero(known & (genders == gender))
        if gender not in bodies:
            raise ValueError(f'{records.where(rows[0])}: the body is {gender}, but body models are '
                             f'given for {", ".join(bodies) or "no gender"}; give that one too')
        bodies[gender].require_h36m_regressor()
        for first in range(0, len(rows), _BATCH):
            yield rows[first:first + _BATCH]


@torch.no_grad()
def _complete(records: Records, rows: np.ndarray, body: BodyModel, fields: _Layout, replace: bool,
              betas: np.ndarray, poses: np.ndarray, roots: np.ndarray) -> List[float]:
    """Labels of some people; the distances of joints that were there from the body's, metres."""
    shapes = torch.from_numpy(betas[:, :body.num_shapes])
    rotmats = torch.from_numpy(axis_angle_to_matrix(poses).astype(np.float32))
    vertices, joints = body(shapes, rotmats)
    move = torch.from_numpy(roots)[:, None] - joints[:, :1]
    order = list(joint_map('h36m', 'h36m_l_first'))
    h36m = (body.h36m_joints(vertices)[:, order] + move).numpy()
    vertices, joints = (vertices + move).numpy(), (joints + move).numpy()
    twists = twists_from_rotmats(body, shapes, rotmats).numpy()
    angles = np.arctan2(twists[..., 1], twists[..., 0])
    angles[:, np.array(LEAF_JOINTS) - 1] = _NO_TWIST
    scale, distances = fields.per_metre, []

    def numbers(array, digits):
        return np.round(array.astype(np.float64), digits).tolist()

    for i, row in enumerate(rows):
        annotation, image = records.annotations[row], records.pictures[row]
        if annotation.get(fields.joints) is not None:
            old = np.asarray(annotation[fields.joints], np.float32).reshape(-1, 3)[:24] / scale
            distances.append(float(np.linalg.norm(old - joints[i], axis=-1).mean()))
        labels = {
            fields.joints: numbers(joints[i] * scale, fields.digits),
            'h36m_joints': numbers(h36m[i] * scale, fields.digits),
            'root_coord': numbers(roots[i] * scale, fields.digits),
            'angle_twist': dict(angle=numbers(angles[i], 6), cos=numbers(twists[i, :, 0], 6),
                                sin=numbers(twists[i, :, 1], 6)),
        }
        for key, value in labels.items():
            if replace or annotation.get(key) is None:
                annotation[key] = value
        if annotation.get('bbox') is None:
            camera = annotation.get('cam_param') or image.get('cam_param') or {}
            if any(key not in camera for key in fields.camera):
                raise ValueError(f'{records.where(row)} has neither bbox nor '
                                 f'cam_param.{fields.camera[0]} and .{fields.camera[1]} to make it')
            focal, centre = (np.array(camera[key]) for key in fields.camera)
            annotation['bbox'] = _box(vertices[i, :, :2] / vertices[i, :, 2:] * focal + centre,
                                      image, 0)
    return distances


def _with_images(content: dict) -> Iterator[Tuple[dict, dict]]:
    records = join_records('3DPW', content)
    return zip(records.annotations, records.pictures)


def _box(pixels: np.ndarray, image: dict, margin: float) -> List[float]:
    """x, y, width and height around pixels (P, 2), cut at the picture."""
    low, high = pixels.min(0), pixels.max(0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    low, high = (np.clip(corner, 0, [image['width'] - 1, image['height'] - 1])
                 for corner in (low, high))
    return np.round([*low, *(high - low)], 2).tolist()


def _write(content: dict, out: Union[str, Path]) -> None:
    with atomic_write(out) as temporary:
        temporary.write_text(json.dumps(content), encoding='utf-8')
