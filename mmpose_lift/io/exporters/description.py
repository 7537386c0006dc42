"""What every exported file says about its numbers, and the checks before anything is written."""

import json
from pathlib import Path
from typing import Iterator, List, Optional, Tuple, Union

import numpy as np

from ...geometry.skeletons import get_skeleton
from ...version import __version__
from ..atomic import atomic_write
from ..video_poses import PersonTrack, VideoPoses

# Shape of each array of a track after its n frames; K joints of the 2D model, J of the 3D model.
TRACK_ARRAYS = {'boxes': (4, ), 'box_scores': (), 'keypoints': ('K', 3), 'detected': (),
                'keypoints_2d': ('J', 3), 'keypoints_3d': ('J', 3), 'root_position': (3, )}
# The same for the body model of a track, S shape coefficients.
BODY_ARRAYS = {'betas': ('S', ), 'rotmats': (24, 3, 3), 'transl': (3, ), 'joints': (24, 3)}
OPTIONAL_ARRAYS = ('keypoints_2d', 'keypoints_3d', 'root_position')


def row_shape(poses: VideoPoses, name: str) -> Tuple[int, ...]:
    """Shape of one frame of an array of ``TRACK_ARRAYS``."""
    sizes = {'K': get_skeleton(poses.skeleton_2d).num_joints,
             'J': get_skeleton(poses.skeleton).num_joints}
    return tuple(sizes.get(size, size) for size in TRACK_ARRAYS[name])


def check_poses(poses: VideoPoses) -> None:
    """Raise ValueError where ``poses`` contradicts itself; the message names track and array."""
    if not 0 < poses.fps < np.inf:
        raise ValueError(f'fps: expected a positive number of frames per second, found {poses.fps}')
    if poses.times is not None and np.shape(poses.times) != (poses.num_frames, ):
        raise ValueError(f'times: expected one time for each of the {poses.num_frames} frames, '
                         f'found shape {np.shape(poses.times)}')
    ids = [track.track_id for track in poses.tracks]
    if len(set(ids)) < len(ids):
        raise ValueError(f'tracks: expected a track_id of its own for every person, found {ids}')
    for track in poses.tracks:
        where = f'track {track.track_id}'
        if len(track) == 0:
            raise ValueError(f'{where} has no frames; leave it out')
        if not 0 <= track.first_frame <= poses.num_frames - len(track):
            raise ValueError(f'{where}: frames {track.first_frame} to '
                             f'{track.first_frame + len(track) - 1} are not all among the '
                             f'{poses.num_frames} frames of the video')
        for name in TRACK_ARRAYS:
            array, expected = getattr(track, name), (len(track), ) + row_shape(poses, name)
            if (array is not None or name not in OPTIONAL_ARRAYS) and np.shape(array) != expected:
                raise ValueError(f'{where}: {name}: expected shape {expected} (skeletons '
                                 f'{poses.skeleton_2d!r} in 2D, {poses.skeleton!r} in 3D), found '
                                 f'{np.shape(array)}')
        if track.body is not None:
            _check_body(track, where)
        if track.keypoints_3d is not None and track.keypoints_2d is None:
            raise ValueError(f'{where}: keypoints_3d needs the keypoints_2d it was lifted from, '
                             'found None')


def _check_body(track: PersonTrack, where: str) -> None:
    for name, shape in BODY_ARRAYS.items():
        found = np.shape(getattr(track.body, name))
        expected = (len(track), *(found[-1:] if name == 'betas' else shape))
        if found != expected:
            raise ValueError(f'{where}: body.{name}: expected shape {(len(track), *shape)}, found '
                             f'{found}')


def lifted_keypoints(poses: VideoPoses, track: PersonTrack, format_name: str) -> np.ndarray:
    """(n, J, 3) float64 of a track.

    Raises:
        ValueError: The track has no 3D keypoints, or they are not finite.
    """
    if track.keypoints_3d is None:
        raise ValueError(f'track {track.track_id} of {poses.source} has no 3D keypoints, which '
                         f'{format_name} needs; lift it first, or export it as json or npz')
    points = np.asarray(track.keypoints_3d, np.float64)
    bad = ~np.isfinite(points).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f'track {track.track_id} of {poses.source}: {bad.sum()} frame(s) of '
                         'keypoints_3d are not finite (NaN or infinite), first frame '
                         f'{track.frames[bad][0]}; fill them first')
    return points


def describe(poses: VideoPoses) -> dict:
    """What the numbers of ``poses`` mean, as plain values for JSON."""
    return dict(
        source=str(poses.source), fps=float(poses.fps),
        image_size=[int(size) for size in poses.image_size], num_frames=int(poses.num_frames),
        skeleton=poses.skeleton, joint_names=list(poses.joint_names), parents=list(poses.parents),
        skeleton_2d=poses.skeleton_2d,
        joint_names_2d=list(get_skeleton(poses.skeleton_2d).joint_names),
        units=poses.units, units_2d='pixel', frame=poses.frame,
        up=None if poses.up is None else [float(value) for value in poses.up],
        model=poses.model, model_2d=poses.model_2d, detector=poses.detector,
        version=poses.version, notes=dict(poses.notes), complete=bool(poses.complete),
        focal=None if poses.focal is None else float(poses.focal),
        body_model=_named_body(poses.body_model),
        written_by=f'mmpose_lift {__version__}')


def _named_body(source) -> Union[None, str, dict]:
    """A body model as JSON; None for one that has no name or file."""
    if isinstance(source, (str, Path)):
        return str(source)
    if isinstance(source, dict) and 'path' in source:
        return {name: str(value) if isinstance(value, Path) else value
                for name, value in source.items()}
    return None


def described_poses(description: dict, tracks: List[PersonTrack],
                    times: Optional[np.ndarray], where: str) -> VideoPoses:
    """The inverse of :func:`describe`; ``where`` names the file in errors."""
    names = ('source', 'fps', 'num_frames', 'skeleton_2d', 'skeleton', 'frame', 'units', 'model',
             'model_2d', 'detector', 'version', 'notes', 'complete')
    missing = [name for name in (*names, 'image_size', 'up') if name not in description]
    if missing:
        raise ValueError(f'{where}: not written by mmpose_lift, it does not say '
                         f'{", ".join(missing)}')
    up = description['up']
    poses = VideoPoses(image_size=tuple(description['image_size']), tracks=tracks, times=times,
                       up=None if up is None else tuple(up), focal=description.get('focal'),
                       body_model=description.get('body_model'),
                       **{name: description[name] for name in names})
    try:
        check_poses(poses)
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
    return poses


def write_description(path: Path, poses: VideoPoses, **contents) -> Path:
    """Write ``<path>.json``, for formats that have no room for it; returns its path.

    Args:
        contents: What differs in the file from ``poses``: its own units, axes, frames.
    """
    target = path.with_name(path.name + '.json')
    with atomic_write(target) as temporary:
        temporary.write_text(
            description_text(dict(file=path.name, **{**describe(poses), **contents})),
            encoding='utf-8')
    return target


def description_text(description: dict) -> str:
    """JSON with one entry per line."""
    lines = (f'  {json.dumps(name)}: {json.dumps(value)}' for name, value in description.items())
    return '{\n' + ',\n'.join(lines) + '\n}\n'


def frame_times(poses: VideoPoses) -> np.ndarray:
    """(num_frames,) seconds from the start of the video."""
    if poses.times is not None:
        return np.asarray(poses.times, np.float64)
    return np.arange(poses.num_frames) / poses.fps


def people_by_frame(poses: VideoPoses) -> Iterator[List[Tuple[PersonTrack, int]]]:
    """``poses.people_at`` of each frame in turn, without asking every track at every frame."""
    waiting = sorted(poses.tracks, key=lambda track: track.first_frame, reverse=True)
    present: List[PersonTrack] = []
    for frame in range(poses.num_frames):
        present = [track for track in present if track.row(frame) is not None]
        while waiting and waiting[-1].first_frame <= frame:
            present.append(waiting.pop())
        yield [(track, frame - track.first_frame) for track in present]


def filled_spans(track: PersonTrack) -> List[List[int]]:
    """[[first, last], ...] frames of the video in which the person was not detected."""
    edges = np.flatnonzero(np.diff(np.concatenate([[1], track.detected, [1]]).astype(int)))
    return [[track.first_frame + int(first), track.first_frame + int(end) - 1]
            for first, end in zip(edges[::2], edges[1::2])]
