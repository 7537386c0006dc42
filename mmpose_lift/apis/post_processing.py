"""What is done with the people of a video after lifting: smoothing, scale, trajectory, ground.

Each function returns a new :class:`~mmpose_lift.io.video_poses.VideoPoses` and leaves its argument
as it is; ``frame``, ``up`` and ``notes`` say what was done. The usual order is smooth, set_scale,
add_trajectory, to_ground. smooth may come anywhere; set_scale by height also after add_trajectory
and make_absolute; what needs camera axes (add_trajectory, make_absolute) can not follow to_ground.
"""

import inspect
from dataclasses import replace
from typing import Dict, Optional, Sequence, Union

import numpy as np

from ..geometry.body_scale import scale_factor, scale_to_bone_lengths
from ..geometry.ground import estimate_up, find_ground, ground_rotation, stand_on_floor
from ..geometry.smoothing import OneEuroFilter, one_euro, savitzky_golay
from ..geometry.trajectory import fit_trajectory, focal_from_fov
from ..io.video_poses import (
    ABSOLUTE_CAMERA_FRAME,
    CAMERA_FRAME,
    GROUND_FRAME,
    PersonTrack,
    VideoPoses,
)

__all__ = ['add_trajectory', 'make_absolute', 'set_scale', 'smooth', 'to_ground']

# method: its name, the filter, and whose arguments its options are
SMOOTHERS = {'one-euro': ('One-Euro', one_euro, OneEuroFilter),
              'savgol': ('Savitzky-Golay', savitzky_golay, savitzky_golay)}
_NOT_OPTIONS = ('points', 'fps', 'times')


def smooth(poses: VideoPoses, method: str = 'one-euro', **options: float) -> VideoPoses:
    """Smooth 3D poses over time, and trajectories where there are any.

    Args:
        poses: Lifted people, in any frame.
        method: 'one-euro' (causal) or 'savgol' (no lag).
        options: Of :class:`~mmpose_lift.geometry.smoothing.OneEuroFilter` (min_cutoff, beta,
            d_cutoff) or :func:`~mmpose_lift.geometry.smoothing.savitzky_golay` (seconds, order).

    Raises:
        ValueError: Unknown method or option, a value out of range, or people without 3D poses.
    """
    if method not in SMOOTHERS:
        raise ValueError(f'method: expected one of {", ".join(SMOOTHERS)}, found {method!r}')
    name, function, source = SMOOTHERS[method]
    values = {key: parameter.default for key, parameter
              in inspect.signature(source).parameters.items() if key not in _NOT_OPTIONS}
    unknown = sorted(set(options) - set(values))
    if unknown:
        raise ValueError(f'smoothing by {method} has no option {unknown[0]!r}; it has '
                         f'{", ".join(values)}')
    values.update(options)

    def one(track: PersonTrack) -> PersonTrack:
        time = (dict(fps=poses.fps) if poses.times is None
                else dict(times=np.asarray(poses.times)[track.frames]))
        root = track.root_position
        return replace(track, keypoints_3d=function(track.keypoints_3d, **time, **values),
                       root_position=None if root is None else function(root, **time, **values))

    note = ', '.join([name, *(f'{key} {value:g}' for key, value in values.items())])
    if 'smoothing' in poses.notes:
        note = f'{poses.notes["smoothing"]}; {note}'
    return _changed(poses, [one(track) for track in _lifted(poses)], 'smoothing', note)


def set_scale(poses: VideoPoses, height: Union[None, float, Dict[int, float]] = None,
              bone_lengths: Union[None, Sequence[float], Dict[int, Sequence[float]]] = None
              ) -> VideoPoses:
    """Give people their true size: exactly one of standing height and bone lengths.

    A trajectory and absolute poses are scaled with the body, about the camera, so that everything
    stays where it is in the image.

    Args:
        poses: Lifted people.
        height: Metres, see :func:`~mmpose_lift.geometry.body_scale.standing_height`, one for all or
            by track_id; who is not named stays as they are.
        bone_lengths: (B,) metres in the order of the skeleton's ``bones``, one for all or by
            track_id. Only for poses in camera axes relative to the root, without a trajectory.

    Raises:
        ValueError: Not exactly one of both, unknown track_id, a value out of range, people without
            3D poses, or a frame where a person can not be scaled any more.
    """
    if (height is None) == (bone_lengths is None):
        raise ValueError('set_scale: expected one of height and bone_lengths, found '
                         f'{"neither" if height is None else "both"}')
    tracks = _lifted(poses)
    placed = any(track.root_position is not None for track in tracks)
    if height is not None and poses.frame == GROUND_FRAME and placed:
        raise ValueError('set_scale: people who stand on a common ground can not be scaled about '
                         'the camera any more; call set_scale before to_ground')
    if bone_lengths is not None and (poses.frame != CAMERA_FRAME or placed):
        raise ValueError('set_scale: bone_lengths need poses relative to the root without a '
                         f'trajectory, found {poses.frame!r} '
                         f'{"with" if placed else "without"} one; set them before add_trajectory '
                         'and to_ground')
    wanted = _by_track(tracks, *(('height', height) if bone_lengths is None
                                 else ('bone_lengths', bone_lengths)))
    changed, notes = [], []
    for track in tracks:
        if track.track_id not in wanted:
            changed.append(track)
            continue
        value, body, root = wanted[track.track_id], track.keypoints_3d, track.root_position
        if height is None:
            body = scale_to_bone_lengths(body, value, poses.skeleton)
            notes.append(f'track {track.track_id} to given bone lengths')
        else:
            factor = scale_factor(body, value, poses.skeleton)
            body = body * body.dtype.type(factor)
            root = None if root is None else root * factor
            notes.append(f'track {track.track_id} to {value:g} m (factor {factor:.4g})')
        changed.append(replace(track, keypoints_3d=body, root_position=root))
    return _changed(poses, changed, 'scale', ', '.join(notes))


def add_trajectory(poses: VideoPoses, focal: Union[None, float, Sequence[float]] = None,
                   center: Optional[Sequence[float]] = None, smoothness: float = 1.0) -> VideoPoses:
    """Fill ``root_position`` of every person by least-squares reprojection.

    ``keypoints_3d`` stays relative to the root (:func:`make_absolute` adds the two). Distances are
    in proportion to the size of the person (:func:`set_scale`) and to the focal length. Frames of
    uneven times count as evenly spaced.

    Args:
        poses: Lifted people in camera axes, relative to the root, with ``keypoints_2d``.
        focal: Pixels, one or (x, y); by default that of a field of view of 55 degrees,
            :func:`~mmpose_lift.geometry.trajectory.focal_from_fov`.
        center: Principal point in pixels; by default the middle of the image.
        smoothness: See :func:`~mmpose_lift.geometry.trajectory.fit_trajectory`.

    Raises:
        ValueError: Another frame, people without 2D or 3D poses, or wrong intrinsics.
    """
    if poses.frame != CAMERA_FRAME:
        raise ValueError(f'add_trajectory: expected poses in {CAMERA_FRAME}, found '
                         f'{poses.frame!r}; call it before make_absolute and to_ground')
    tracks = _lifted(poses)
    for track in tracks:
        if track.keypoints_2d is None:
            raise ValueError(f'track {track.track_id} has no 2D keypoints in the joints of the '
                             '3D model, keypoints_2d, which the trajectory is fitted to')
    known = 'given' if focal is not None else 'for an assumed field of view of 55 degrees'
    focal = focal_from_fov(poses.image_size) if focal is None else focal
    center = np.divide(poses.image_size, 2) if center is None else center
    changed = [replace(track, root_position=fit_trajectory(
        track.keypoints_3d, track.keypoints_2d[..., :2], track.keypoints_2d[..., 2], focal, center,
        poses.fps, smoothness)) for track in tracks]
    size, middle = (' x '.join(f'{v:.6g}' for v in np.ravel(a)) for a in (focal, center))
    return _changed(poses, changed, 'trajectory',
                    f'least-squares reprojection, focal length {size} px {known}, principal point '
                    f'{middle} px, smoothness {smoothness:g}')


def make_absolute(poses: VideoPoses) -> VideoPoses:
    """Put the poses to their place in camera space: ``keypoints_3d`` plus ``root_position``.

    Raises:
        ValueError: People without a trajectory or without 3D poses, or poses in ground axes.
    """
    tracks = _lifted(poses)
    if poses.frame == ABSOLUTE_CAMERA_FRAME:
        return replace(poses)
    if poses.frame != CAMERA_FRAME:
        raise ValueError(f'make_absolute: expected poses in {CAMERA_FRAME}, found {poses.frame!r}; '
                         'call it before to_ground')
    for track in tracks:
        if track.root_position is None:
            raise ValueError(f'track {track.track_id} has no trajectory; call add_trajectory first')
    moved = [replace(track, keypoints_3d=(track.keypoints_3d + track.root_position[:, None])
                     .astype(track.keypoints_3d.dtype)) for track in tracks]
    return replace(poses, tracks=moved, frame=ABSOLUTE_CAMERA_FRAME)


def to_ground(poses: VideoPoses, up: Optional[Sequence[float]] = None) -> VideoPoses:
    """Turn the poses to ground axes: z up, floor at z = 0, y away from the camera.

    With trajectories all people share one floor, under the feet of them all, whose origin is below
    the root of whoever comes first (:func:`~mmpose_lift.geometry.ground.find_ground`). Without,
    everyone stands with the root above the origin on a floor of their own
    (:func:`~mmpose_lift.geometry.ground.stand_on_floor`). Takes a camera that does not move.
    ``root_position`` stays in camera axes.

    Args:
        poses: Lifted people in camera axes, with trajectories for all of them or for none.
        up: (3,) the vertical in camera axes, for example (0, -1, 0) for a level camera; by default
            ``poses.up``, and where that is None estimated from the people.

    Raises:
        ValueError: Poses in ground axes already, people without 3D poses or only some of them with
            a trajectory, or no vertical.
    """
    if poses.frame == GROUND_FRAME:
        raise ValueError('to_ground: the poses are in ground axes already')
    up = poses.up if up is None else up
    known = 'given vertical' if up is not None else 'vertical estimated from the people'
    tracks = _lifted(poses)
    if poses.frame == ABSOLUTE_CAMERA_FRAME or any(t.root_position is not None for t in tracks):
        tracks = make_absolute(poses).tracks
        first_to_come = sorted(tracks, key=lambda track: track.first_frame)
        apply = (find_ground([track.keypoints_3d for track in first_to_come], poses.skeleton,
                             up).apply if tracks else None)
        note = f'{known}, one floor for all people'
    else:
        if tracks and up is None:
            up = estimate_up(np.concatenate([t.keypoints_3d for t in tracks]), poses.skeleton)

        def apply(points):
            return stand_on_floor(points @ ground_rotation(up).T, poses.skeleton, poses.fps)
        note = f'{known}, every person above the origin on a floor of their own'
    tracks = [replace(track, keypoints_3d=apply(track.keypoints_3d)
                      .astype(track.keypoints_3d.dtype)) for track in tracks]
    return replace(_changed(poses, tracks, 'ground', note), frame=GROUND_FRAME, up=(0.0, 0.0, 1.0))


def _lifted(poses: VideoPoses):
    for track in poses.tracks:
        if track.keypoints_3d is None:
            raise ValueError(f'track {track.track_id} has no 3D poses; lift the video first')
    return poses.tracks


def _by_track(tracks, name, value) -> dict:
    """One value for all, or values by track_id, as a dict by track_id."""
    known = [track.track_id for track in tracks]
    if not isinstance(value, dict):
        return dict.fromkeys(known, value)
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f'{name}: no person has track_id {unknown[0]!r}; the video has '
                         f'{", ".join(map(str, known)) or "none"}')
    return value


def _changed(poses, tracks, note, text) -> VideoPoses:
    return replace(poses, tracks=tracks, notes={**poses.notes, note: text})
