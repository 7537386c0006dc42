"""Where the annotation files of each data set keep what (HybrIK's layouts, and COCO's)."""

import re
from typing import Dict, Optional, Sequence

import numpy as np

from ...geometry.skeletons import get_skeleton, partial_joint_map
from .mesh_annotations import (
    MeshAnnotations,
    Records,
    body_columns,
    common_columns,
    joint_columns,
    pinhole,
    twist_columns,
    valid_columns,
)

__all__ = ['READERS']

_H36M_CLIP = re.compile(r's_(\d+)_act_(\d+)_subact_(\d+)_ca_(\d+)')
# Names of act_02 to act_16 in the files made by Moon's Human3.6M tools.
_H36M_ACTIONS = ('Directions', 'Discussion', 'Eating', 'Greeting', 'Phoning', 'Posing',
                 'Purchases', 'Sitting', 'SittingDown', 'Smoking', 'Photo', 'Waiting', 'Walking',
                 'WalkDog', 'WalkTogether')
# Clips whose recorded positions are off: left out by all who use these files.
_H36M_BAD_CLIPS = ('s_09_act_05_subact_02', 's_09_act_10_subact_02', 's_09_act_13_subact_01')


def _h36m(records: Records, subjects: Optional[Sequence[str]] = None,
          cameras: Optional[Sequence[int]] = None, interval: int = 1) -> MeshAnnotations:
    """Human3.6M, and pictures without a clip in their name, in millimetres.

    ``cam_param`` {f, c}, ``bbox``, ``h36m_joints`` (17, left leg first), ``smpl_joints`` (24 or
    29), ``betas``, ``thetas``, ``root_coord``, ``angle_twist`` {angle, cos, sin}; labels of the
    body may be absent. Three clips of S9 with wrong positions are always left out.

    Args:
        subjects: For example ['S9', 'S11']. Defaults to all.
        cameras: Numbers 1 to 4 of the cameras ("ca_01" is 1). Defaults to all.
        interval: Keep every n-th annotation (20 for the usual test list).
    """
    if interval < 1:
        raise ValueError(f'interval: expected at least 1, found {interval}')
    clips = [_H36M_CLIP.search(p.get('file_name') or '') for p in records.pictures]
    bad = [row for row, clip in enumerate(clips)
           if clip and clip[0].rpartition('_ca_')[0] in _H36M_BAD_CLIPS]
    keep = sorted(set(range(0, len(clips), interval)) - set(bad))
    wanted = [i for i in keep
              if (subjects is None or (clips[i] and f'S{int(clips[i][1])}' in subjects))
              and (cameras is None or (clips[i] and int(clips[i][4]) in cameras))]
    if not wanted:
        raise ValueError(f'{records.file}: nobody left with subjects={subjects}, '
                         f'cameras={cameras}, interval={interval}; the picture names tell both, '
                         f'for example {records.pictures[0].get("file_name")}')
    records, clips = records.select(wanted), [clips[i] for i in wanted]
    millimetre = 1e-3
    columns = common_columns(
        records, records.values('file_name'),
        pinhole(*(records.array('cam_param', key, shape=(2, )) for key in 'fc')))
    columns.update(joint_columns(records, records.array('smpl_joints', shape=(24, 3), more=True,
                                                        required=False),
                                 'joints', 'smpl', millimetre))
    columns.update(joint_columns(records, records.array('h36m_joints', shape=(17, 3),
                                                        required=False),
                                 'h36m_joints', 'h36m_l_first', millimetre))
    columns.update(body_columns(records.array('betas', shape=(10, ), required=False),
                                records.array('thetas', shape=(24, 3), required=False)))
    columns.update(twist_columns(records))
    roots = records.array('root_coord', shape=(3, ), required=False)
    if roots is not None:
        columns.update(valid_columns('roots', roots * np.float32(millimetre)))
    people = MeshAnnotations(
        **columns,
        subjects=_names(f'S{int(clip[1])}' if clip else '' for clip in clips),
        actions=_names(_h36m_action(clip) if clip else '' for clip in clips))
    people.note('people left out: clips whose recorded positions are known to be wrong', len(bad))
    return people


def _h36m_action(clip: re.Match) -> str:
    number = int(clip[2]) - 2
    return _H36M_ACTIONS[number] if 0 <= number < len(_H36M_ACTIONS) else f'act_{clip[2]}'


def _mpi_inf_3dhp(records: Records) -> MeshAnnotations:
    """MPI-INF-3DHP in millimetres: no body shape, pose or twists.

    ``cam_param.intrinsic_param``, ``bbox``, ``keypoints_cam``: 28 joints (training), of which 12
    are joints of SMPL, or 17 (test). ``activity_id`` of the test set is the action; the subject is
    the folder of the picture.
    """
    matrices = np.stack([_matrix(records, row, value) for row, value in
                         enumerate(records.values('cam_param', 'intrinsic_param'))])
    names = records.values('file_name')
    columns = common_columns(records, names, matrices)
    counts = {np.size(value) // 3 for value in records.values('keypoints_cam')}
    if counts not in ({28}, {17}):
        raise ValueError(f'{records.file}: expected keypoints_cam of 28 joints (training) or 17 '
                         f'(test), found {sorted(counts)}')
    source = {28: 'mpi_inf_3dhp_28', 17: 'mpi_inf_3dhp'}[counts.pop()]
    points = records.array('keypoints_cam', shape=(get_skeleton(source).num_joints, 3))
    for name in ('joints', 'h36m_joints'):
        columns.update(joint_columns(records, points, name, source, 1e-3))
    activities = records.values('activity_id', required=False)
    return MeshAnnotations(
        **columns,
        subjects=_names(name.split('/')[0] if '/' in name else '' for name in names),
        actions=_names('' if a is None else f'activity{a}' for a in activities))


def _matrix(records: Records, row: int, value) -> np.ndarray:
    """(3, 3) of a 3 x 3, 3 x 4 or 4 x 4 matrix, nested or flat."""
    numbers = np.asarray(value, np.float32).reshape(-1)
    shape = {9: (3, 3), 12: (3, 4), 16: (4, 4)}.get(numbers.size)
    if shape is None:
        raise ValueError(f'{records.where(row)}: expected a 3 x 3, 3 x 4 or 4 x 4 matrix in '
                         f'cam_param.intrinsic_param, found {numbers.size} numbers')
    return numbers.reshape(shape)[:3, :3]


def _3dpw(records: Records) -> MeshAnnotations:
    """3DPW in metres.

    ``sequence``, ``file_name``, ``cam_param`` {focal, princpt}, ``bbox``, ``smpl_param`` {shape,
    pose, and in our files gender}, ``h36m_joints``, ``smpl_joint_cam``; ``smpl_joint_img`` is not
    needed, it follows from the camera. The picture is ``<sequence>/<file_name>``.
    """
    sequences, names = records.values('sequence'), records.values('file_name')
    columns = common_columns(
        records, [f'{sequence}/{name}' for sequence, name in zip(sequences, names)],
        pinhole(*(records.array('cam_param', key, shape=(2, )) for key in ('focal', 'princpt'))))
    columns.update(joint_columns(records, records.array('smpl_joint_cam', shape=(24, 3), more=True,
                                                        required=False), 'joints', 'smpl', 1))
    columns.update(joint_columns(records, records.array('h36m_joints', shape=(17, 3),
                                                        required=False),
                                 'h36m_joints', 'h36m_l_first', 1))
    columns.update(body_columns(*(records.array('smpl_param', key, shape=shape, required=False)
                                  for key, shape in (('shape', (10, )), ('pose', (24, 3))))))
    columns.update(twist_columns(records))
    genders = records.values('smpl_param', 'gender', required=False)
    return MeshAnnotations(**columns, subjects=_names(sequences),
                           genders=_names(gender or '' for gender in genders))


def _coco(records: Records, focal: Optional[float] = None,
          mid_hip: bool = False) -> MeshAnnotations:
    """COCO's person keypoints: 10 joints of SMPL in the image, nothing in 3D.

    Nothing is known of the cameras: the principal point is the middle of the picture. Crowds and
    people without any of the 10 joints are left out.

    Args:
        focal: Focal length in pixels. Defaults to the longer side of the picture, a field of view
            of 53 degrees along it [np].
        mid_hip: Take the middle of both hips, where they are labelled, for joint 0 (for RootNet).
    """
    rows = [row for row, a in enumerate(records.annotations)
            if not a.get('iscrowd') and a.get('num_keypoints', 1)]
    everyone, records = len(records), records.select(rows)
    if not rows:
        raise ValueError(f'{records.file}: no person with keypoints; is this the keypoint '
                         'annotation (person_keypoints_*.json)?')
    sizes = np.stack([records.array(key, shape=()) for key in ('width', 'height')], -1)
    lengths = np.full_like(sizes, focal) if focal else sizes.max(1, keepdims=True).repeat(2, 1)
    columns = common_columns(records, records.values('file_name'), pinhole(lengths, sizes / 2))
    keypoints = records.array('keypoints', shape=(17, 3))
    points = np.full((len(records), 24, 2), np.nan, np.float32)
    for src, dst in partial_joint_map('coco', 'smpl'):
        points[:, dst] = np.where(keypoints[:, src, 2:] > 0, keypoints[:, src, :2], np.nan)
    if mid_hip:
        hips = keypoints[:, [get_skeleton('coco').index(f'{side}_hip')
                             for side in ('left', 'right')]]
        points[:, 0] = np.where((hips[..., 2:] > 0).all(1), hips[..., :2].mean(1), np.nan)
    columns.update(valid_columns('keypoints', points))
    people = MeshAnnotations(**columns)
    people.note('people left out: crowds, or no keypoint labelled', everyone - len(rows))
    return people


def _names(names) -> np.ndarray:
    return np.array([name.encode() for name in names])


READERS: Dict = {'h36m': _h36m, 'mpi_inf_3dhp': _mpi_inf_3dhp, '3dpw': _3dpw, 'coco': _coco}
