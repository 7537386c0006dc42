"""Poses of a video as tables: CSV for spreadsheets and pandas, TRC for OpenSim."""

from pathlib import Path
from typing import List, Union

import numpy as np

from ..atomic import atomic_write
from ..video_poses import PersonTrack, VideoPoses
from .description import (
    check_poses,
    filled_spans,
    frame_times,
    lifted_keypoints,
    people_by_frame,
    write_description,
)
from .upright import upright_axes, upright_keypoints

MILLIMETRES = 1000.0
TIME_DIGITS = 6


def write_csv(poses: VideoPoses, path: Union[str, Path]) -> List[Path]:
    """Write one row per frame and person, ordered by frame.

    Columns are ``frame`` (number in the video), ``time`` (seconds), ``track_id``, ``detected`` (0
    where the 2D keypoints were interpolated between detections), then ``<joint>_x``, ``_y``,
    ``_z`` in the units and axes of ``poses``, and ``root_position_x``, ``_y``, ``_z`` where any
    person has one. Cells of a person who was not lifted are empty. ``<path>.json`` says what the
    numbers mean.

    Returns:
        The files written: the table and its description.

    Raises:
        ValueError: No person has 3D keypoints, or some are not finite.
    """
    path = Path(path)
    check_poses(poses)
    lifted = [track for track in poses.tracks if track.keypoints_3d is not None]
    if poses.tracks and not lifted:
        raise ValueError(f'{path}: no person of {poses.source} has 3D keypoints, which CSV needs; '
                         'lift them first, or export them as json or npz')
    for track in lifted:
        lifted_keypoints(poses, track, 'CSV')
    roots = any(track.root_position is not None for track in poses.tracks)
    names = [*poses.joint_names, *(['root_position'] if roots else [])]
    columns = [f'{name}_{axis}' for name in names for axis in 'xyz']
    joint_row = ',%.6f' * (3 * len(poses.joint_names))
    times = frame_times(poses)
    with atomic_write(path) as temporary, open(temporary, 'w', encoding='utf-8') as file:
        file.write(','.join(['frame', 'time', 'track_id', 'detected', *columns]) + '\n')
        for frame, people in enumerate(people_by_frame(poses)):
            for track, row in people:
                file.write(f'{frame},{times[frame]:.{TIME_DIGITS}f},{track.track_id},'
                           f'{int(track.detected[row])}')
                file.write(_cells(joint_row, track.keypoints_3d, row))
                if roots:
                    file.write(_cells(',%.6f' * 3, track.root_position, row))
                file.write('\n')
    note = write_description(path, poses, columns=dict(
        time='second', detected='0 where 2D was interpolated between detections',
        root_position='metre, camera axes, origin at the camera'))
    return [path, note]


def _cells(row_format: str, array, row: int) -> str:
    if array is None:
        return ',' * row_format.count(',')
    return row_format % tuple(array[row].ravel().tolist())


def write_trc(poses: VideoPoses, path: Union[str, Path], track: PersonTrack) -> List[Path]:
    """Write the joints of one person as markers of an OpenSim TRC file.

    Millimetres, y up, x right, z towards the viewer, see ``exporters.upright``; joints are as
    lifted, bones change their length. Frames are counted from 1; ``Time`` is that of the video.
    ``<path>.json`` says what the numbers mean and which frames of the video these are.

    Returns:
        The files written: the markers and their description.

    Raises:
        ValueError: No finite 3D keypoints, or unknown units or axes.
    """
    path = Path(path)
    check_poses(poses)
    points = upright_keypoints(poses, track, 'TRC') * MILLIMETRES
    names, count = poses.joint_names, len(points)
    markers = '\t\t\t'.join(names)
    axes = '\t'.join(f'{axis}{i}' for i in range(1, len(names) + 1) for axis in 'XYZ')
    header = ('DataRate', 'CameraRate', 'NumFrames', 'NumMarkers', 'Units', 'OrigDataRate',
              'OrigDataStartFrame', 'OrigNumFrames')
    rate = f'{poses.fps:.6g}'
    values = (rate, rate, str(count), str(len(names)), 'mm', rate, '1', str(count))
    with atomic_write(path) as temporary, open(temporary, 'w', encoding='ascii') as file:
        file.write(f'PathFileType\t4\t(X/Y/Z)\t{path.name}\n' + '\t'.join(header) + '\n'
                   + '\t'.join(values) + f'\nFrame#\tTime\t{markers}\t\t\n\t\t{axes}\n\n')
        rows = np.column_stack([np.arange(1, count + 1), frame_times(poses)[track.frames],
                                points.reshape(count, -1)])
        np.savetxt(file, rows, delimiter='\t',
                   fmt=['%d', f'%.{TIME_DIGITS}f'] + ['%.3f'] * (points[0].size))
    note = write_description(
        path, poses, units='millimetre', frame=upright_axes(poses, track), up=[0, 1, 0],
        track_id=int(track.track_id), first_frame=int(track.first_frame), num_frames=count,
        filled_frames=filled_spans(track))
    return [path, note]
