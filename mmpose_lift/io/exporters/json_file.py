"""Poses of a video as JSON in the shape of MMPose's results, and back."""

import json
from pathlib import Path
from typing import List, Union

import numpy as np
import torch

from ...geometry.rotations import axis_angle_to_matrix
from ...geometry.skeletons import get_skeleton
from ...geometry.torch_rotations import matrix_to_axis_angle
from ..atomic import atomic_write
from ..video_poses import BodyTrack, PersonTrack, VideoPoses
from .description import check_poses, describe, described_poses, people_by_frame, row_shape

# Digits after the point [np]: a micrometre, a thousandth of a pixel; files of full precision would
# be twice as large.
METRE_DIGITS, PIXEL_DIGITS, SCORE_DIGITS = 6, 3, 4

FIELDS = dict(
    keypoints='joint_names, x y z, see units and frame; 2D keypoints of joint_names_2d, x y in '
              'pixels, where dimensions is 2',
    keypoint_scores='score of each of keypoints, from the 2D model',
    bbox='x1 y1 x2 y2, pixels',
    bbox_score='score of the detector, 0 where the frame was filled',
    detected='false where the 2D keypoints were interpolated between detections',
    keypoints_2d='joint_names, x y in pixels: what was lifted',
    keypoints_2d_scores='score of each of keypoints_2d',
    pose2d_keypoints='joint_names_2d, x y in pixels: what the 2D model found',
    pose2d_keypoint_scores='score of each of pose2d_keypoints',
    root_position='x y z of the root joint, metres, camera axes, origin at the camera',
    betas='shape coefficients of the body model',
    poses='axis times angle of the 24 joints of the body model relative to their parents, radians; '
          'the first turns the body about its root joint into camera axes',
    transl='x y z, metres: what the body model gives plus this is in camera axes, origin at the '
           'camera',
    joints='x y z of the 24 joints of the body model, metres, camera axes, origin at the camera')


def predictions_of_frame(poses: VideoPoses, frame: int) -> List[dict]:
    """The people of one frame, as MMPose's inferencer gives them, with more keys.

    Args:
        frame: Number of the frame in the video.

    Returns:
        One dict per person with MMPose's ``keypoints`` (J, 3), ``keypoint_scores`` (J,), ``bbox``
        (1, 4) and ``bbox_score``, and ``track_id``, ``detected`` and further ones, see ``FIELDS``,
        all of plain lists and numbers. Before lifting ``keypoints`` is (K, 2), the 2D model's.
        Values are rounded (see ``METRE_DIGITS``); those that are not finite are None.
    """
    lifted = _is_lifted(poses)
    return [_instance(poses, track, row, lifted) for track, row in poses.people_at(frame)]


def _is_lifted(poses: VideoPoses) -> bool:
    return any(track.keypoints_3d is not None for track in poses.tracks)


def _instance(poses: VideoPoses, track: PersonTrack, row: int, lifted: bool) -> dict:
    found = track.keypoints[row]
    person = dict(keypoints=_plain(found[:, :2], PIXEL_DIGITS),
                  keypoint_scores=_plain(found[:, 2], SCORE_DIGITS),
                  bbox=[_plain(track.boxes[row], PIXEL_DIGITS)],
                  bbox_score=_plain(track.box_scores[row], SCORE_DIGITS),
                  track_id=int(track.track_id), detected=bool(track.detected[row]))
    if lifted:
        person['pose2d_keypoints'] = person['keypoints']
        person['pose2d_keypoint_scores'] = person['keypoint_scores']
        # A track without 3D among others keeps the shape that readers count on.
        unknown = np.full(row_shape(poses, 'keypoints_3d'), np.nan)
        points, source = track.keypoints_3d, track.keypoints_2d
        person['keypoints'] = _plain(unknown if points is None else points[row], METRE_DIGITS)
        person['keypoint_scores'] = _plain(unknown[:, 2] if source is None else source[row, :, 2],
                                           SCORE_DIGITS)
    if track.keypoints_2d is not None:
        person['keypoints_2d'] = _plain(track.keypoints_2d[row, :, :2], PIXEL_DIGITS)
        person['keypoints_2d_scores'] = _plain(track.keypoints_2d[row, :, 2], SCORE_DIGITS)
    if track.root_position is not None:
        person['root_position'] = _plain(track.root_position[row], METRE_DIGITS)
    if track.body is not None:
        poses = matrix_to_axis_angle(torch.as_tensor(track.body.rotmats[row], dtype=torch.float64))
        for name, values in (('betas', track.body.betas[row]), ('poses', poses.numpy().ravel()),
                             ('transl', track.body.transl[row]),
                             ('joints', track.body.joints[row])):
            person[name] = _plain(values, METRE_DIGITS)
    return person


def _plain(values: np.ndarray, digits: int):
    values = np.round(np.asarray(values, np.float64), digits)
    finite = np.isfinite(values)
    return (values if finite.all() else np.where(finite, values, None)).tolist()


def write_json(poses: VideoPoses, path: Union[str, Path]) -> Path:
    """Write ``{"meta_info": ..., "instance_info": [{"frame_id", "instances"}, ...]}``.

    The layout is that of MMPose's own result files, one line per frame, frames without people
    included; ``instances`` are those of :func:`predictions_of_frame`, and ``meta_info`` says what
    they mean. Frames are written one by one, so memory stays flat.

    Raises:
        ValueError: Arrays of a track do not fit together.
    """
    check_poses(poses)
    path, lifted = Path(path), _is_lifted(poses)
    skeleton = get_skeleton(poses.skeleton if lifted else poses.skeleton_2d)
    meta = dict(
        dataset_name=skeleton.name, num_keypoints=skeleton.num_joints,
        keypoint_id2name=dict(enumerate(skeleton.joint_names)), skeleton_links=skeleton.bones,
        dimensions=3 if lifted else 2, **describe(poses), fields=FIELDS)
    with atomic_write(path) as temporary, open(temporary, 'w', encoding='utf-8') as file:
        file.write(f'{{"meta_info": {json.dumps(meta)},\n"instance_info": [')
        for frame, people in enumerate(people_by_frame(poses)):
            record = dict(frame_id=frame)
            if poses.times is not None:
                record['time'] = float(poses.times[frame])
            record['instances'] = [_instance(poses, *person, lifted) for person in people]
            file.write((',\n' if frame else '\n') + json.dumps(record, allow_nan=False))
        file.write('\n]}\n')
    return path


def read_json(path: Union[str, Path]) -> VideoPoses:
    """Read what :func:`write_json` wrote; arrays are float32, null is NaN.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not JSON, not written by :func:`write_json`, or frames of a person that do not
            follow each other.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file (poses of a video)')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path}: not valid JSON: {error}') from error
    if not isinstance(content, dict) or not {'meta_info', 'instance_info'} <= set(content):
        raise ValueError(f'{path}: expected "meta_info" and "instance_info" as write_json writes '
                         'them, found another layout')
    people, times = {}, []
    for record in content['instance_info']:
        times.append(record.get('time'))
        for person in record['instances']:
            people.setdefault(person['track_id'], []).append((record['frame_id'], person))
    meta = content['meta_info']
    tracks = [_track(number, rows, meta.get('dimensions') == 3, path)
              for number, rows in people.items()]
    uneven = bool(times) and times[0] is not None
    return described_poses(meta, tracks, np.array(times, np.float64) if uneven else None, str(path))


def _track(number: int, rows: list, lifted: bool, path: Path) -> PersonTrack:
    frames = np.array([frame for frame, _ in rows])
    gaps = np.flatnonzero(np.diff(frames) != 1)
    if len(gaps):
        raise ValueError(f'{path}: track {number}: expected consecutive frames, found frame '
                         f'{frames[gaps[0] + 1]} after {frames[gaps[0]]}')
    people = [person for _, person in rows]

    def array(name: str) -> np.ndarray:
        if name not in people[0]:
            return None
        return np.array([person[name] for person in people], np.float32)

    def scored(points: str, scores: str) -> np.ndarray:
        if points not in people[0]:
            return None
        return np.concatenate([array(points), array(scores)[..., None]], axis=-1)

    body = None
    if 'betas' in people[0]:
        rotmats = axis_angle_to_matrix(array('poses').reshape(len(people), -1, 3))
        body = BodyTrack(array('betas'), rotmats, array('transl'), array('joints'))
    prefix = 'pose2d_' if lifted else ''
    points = array('keypoints') if lifted else None
    return PersonTrack(
        number, int(frames[0]), array('bbox')[:, 0], array('bbox_score'),
        scored(f'{prefix}keypoints', f'{prefix}keypoint_scores'),
        np.array([person['detected'] for person in people]),
        scored('keypoints_2d', 'keypoints_2d_scores'),
        None if points is None or np.isnan(points).all() else points, array('root_position'),
        body)
