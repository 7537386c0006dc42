"""Poses of a video as a rerun recording: 2D over the pictures beside 3D, on two time lines."""

from pathlib import Path
from typing import Iterable, Iterator, Optional, Tuple, Union

import cv2
import numpy as np

from ...geometry.skeletons import Skeleton, get_skeleton
from ..atomic import atomic_write
from ..video_poses import CAMERA_FRAME, PersonTrack, VideoPoses
from .description import check_poses, describe, description_text, frame_times, lifted_keypoints
from .upright import y_up_rotation

# Rerun 0.23 and later call NumPy 2 functions, which MMPose's other packages do not allow; pyarrow
# 22 is not tested with NumPy 1.
RERUN_VERSION = '0.22'
MISSING_RERUN = ('rerun recordings need the package rerun-sdk 0.22: '
                 'pip install "rerun-sdk>=0.22,<0.23" "pyarrow<22"')
JPEG_QUALITY = 80  # [np]
CHUNK = 512  # rows sent together [np]
MEAN_HEIGHT = 1.7  # metres, of a person who fills the box [np]
# RGB, palette of Okabe and Ito; people take them in turn.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0),
           (86, 180, 233))
FILLED_BOX = (150, 150, 150)


def write_rerun(poses: VideoPoses, path: Union[str, Path],
                frames: Optional[Iterable[Tuple[int, Optional[np.ndarray]]]] = None) -> Path:
    """Write a recording for the rerun viewer (``rerun FILE.rrd``).

    Time lines are ``frame``, the number in the video, and ``time`` in seconds. Each person has a
    colour, joints have names, and bones are drawn: ``picture/person_<id>`` holds the 2D keypoints
    (those that were lifted, else the 2D model's) with the box, which is grey where the person was
    not detected, and ``world/people/person_<id>`` the 3D ones in the axes of ``poses``, shown with
    the vertical up. People whose place in the room is unknown stand beside each other as their
    boxes do on average. ``description`` says what the numbers mean. Rows are written in chunks and
    pictures one by one, so memory stays flat.

    Args:
        path: Name that ends in .rrd.
        frames: (number, image) of each frame in order, as a ``FrameSource`` gives them, images
            (H, W, 3) BGR or (H, W) grey uint8, stored as JPEG, or None for a frame without picture.
            Without frames 2D stands on an empty page; more frames than ``poses`` has are not read.

    Raises:
        ImportError: The package is missing, or is not the version that fits NumPy 1.
        ValueError: Frames missing or of another size than ``poses.image_size``, another suffix, or
            poses that are not finite.
    """
    rr = import_rerun()
    path = Path(path)
    if path.suffix.lower() != '.rrd':
        raise ValueError(f'{path}: expected a name that ends in .rrd')
    check_poses(poses)
    times = frame_times(poses)
    with atomic_write(path) as temporary:
        recording = rr.new_recording('mmpose_lift')
        try:
            recording.save(temporary, default_blueprint=_blueprint(poses))
            recording.log('world', rr.ViewCoordinates.RIGHT_HAND_Y_UP, static=True, strict=True)
            if any(track.keypoints_3d is not None for track in poses.tracks):
                recording.log('world/people', rr.Transform3D(mat3x3=y_up_rotation(poses)),
                              static=True, strict=True)
            for number, track in enumerate(poses.tracks):
                _Person(rr, recording, poses, track, number, times).write()
            pictures = 0 if frames is None else _pictures(rr, recording, poses, frames, times)
            text = description_text(dict(describe(poses), pictures=pictures))
            recording.log('description', rr.TextDocument(f'```json\n{text}```',
                                                         media_type='text/markdown'),
                          static=True, strict=True)
            recording.flush(blocking=True)
        finally:
            recording.disconnect()
    return path


def import_rerun():
    """The package ``rerun``.

    Raises:
        ImportError: It is missing, does not load, or is not the version that fits NumPy 1.
    """
    try:
        import rerun
    except ImportError as error:
        raise ImportError(f'{MISSING_RERUN} ({error})') from error
    version = getattr(rerun, '__version__', 'another package of the name rerun')
    if not version.startswith(f'{RERUN_VERSION}.'):
        raise ImportError(f'{MISSING_RERUN} (found {version})')
    return rerun


def _blueprint(poses: VideoPoses):
    import rerun.blueprint as rrb
    width, height = poses.image_size
    return rrb.Blueprint(
        rrb.Horizontal(
            rrb.Spatial2DView(origin='picture', name='2D', visual_bounds=rrb.VisualBounds2D(
                x_range=[0, width], y_range=[0, height])),
            rrb.Tabs(rrb.Spatial3DView(origin='world', name='3D'),
                     rrb.TextDocumentView(origin='description', name='About'))),
        rrb.TimePanel(state='collapsed'), rrb.SelectionPanel(state='collapsed'),
        rrb.BlueprintPanel(state='collapsed'))


def _set_time(recording, frame: int, time: float) -> None:
    recording.set_time_sequence('frame', frame)
    recording.set_time_seconds('time', time)


class _Person:
    """One track: what does not change first, then rows in chunks, then the end."""

    def __init__(self, rr, recording, poses: VideoPoses, track: PersonTrack, number: int,
                 times: np.ndarray):
        self.rr, self.recording, self.poses, self.track = rr, recording, poses, track
        self.times = times
        self.name = f'person {track.track_id}'
        self.colour = COLOURS[number % len(COLOURS)]
        self.picture = f'picture/person_{track.track_id}'
        self.world = f'world/people/person_{track.track_id}'

    def write(self) -> None:
        rr, track = self.rr, self.track
        converted = track.keypoints_2d is not None
        flat = (track.keypoints_2d if converted else track.keypoints)[..., :2]
        skeleton = get_skeleton(self.poses.skeleton if converted else self.poses.skeleton_2d)
        self._skeleton(self.picture, skeleton, rr.Points2D)
        self._columns(self.picture, flat, rr.Points2D)
        self._boxes()
        if track.keypoints_3d is not None:
            points = lifted_keypoints(self.poses, track, 'rerun')
            if self.poses.frame == CAMERA_FRAME:
                if track.root_position is not None:
                    points = points + track.root_position[:, None]
                else:
                    self._log(self.world, rr.Transform3D(translation=self._place()))
            self._skeleton(self.world, get_skeleton(self.poses.skeleton), rr.Points3D)
            self._columns(self.world, points, rr.Points3D)
        end = track.first_frame + len(track)
        if end < self.poses.num_frames:
            _set_time(self.recording, end, self.times[end])
            for entity in (self.picture, self.world):
                self.recording.log(entity, rr.Clear(recursive=True), strict=True)

    def _log(self, entity: str, what) -> None:
        self.recording.log(entity, what, static=True, strict=True)

    def _skeleton(self, entity: str, skeleton: Skeleton, points) -> None:
        rr = self.rr
        self._log(entity, rr.AnnotationContext([rr.ClassDescription(
            info=rr.AnnotationInfo(id=1, label=self.name, color=self.colour),
            keypoint_annotations=[rr.AnnotationInfo(id=i, label=name, color=self.colour)
                                  for i, name in enumerate(skeleton.joint_names)],
            keypoint_connections=list(skeleton.bones))]))
        self._log(entity, points.from_fields(class_ids=[1], show_labels=False,
                                             keypoint_ids=list(range(skeleton.num_joints))))

    def _columns(self, entity: str, points: np.ndarray, archetype) -> None:
        joints, width = points.shape[1:]
        for rows in self._chunks():
            columns = archetype.columns(
                positions=points[rows].reshape(-1, width).astype(np.float32))
            self._send(entity, rows, columns.partition([joints] * (rows.stop - rows.start)))

    def _boxes(self) -> None:
        rr, track, entity = self.rr, self.track, f'{self.picture}/box'
        self._log(entity, rr.Boxes2D.from_fields(labels=[self.name]))
        for rows in self._chunks():
            low, high = track.boxes[rows, :2], track.boxes[rows, 2:]
            colours = [self.colour if found else FILLED_BOX for found in track.detected[rows]]
            self._send(entity, rows, [
                *rr.Boxes2D.columns(centers=(low + high) / 2, half_sizes=(high - low) / 2,
                                    colors=colours),
                *rr.AnyValues.columns(detected=track.detected[rows],
                                      box_score=track.box_scores[rows])])

    def _chunks(self) -> Iterator[slice]:
        for first in range(0, len(self.track), CHUNK):
            yield slice(first, min(first + CHUNK, len(self.track)))

    def _send(self, entity: str, rows: slice, columns) -> None:
        frames = self.track.frames[rows]
        self.rr.send_columns(
            entity, [self.rr.TimeSequenceColumn('frame', frames),
                     self.rr.TimeSecondsColumn('time', self.times[frames])],
            columns, recording=self.recording, strict=True)

    def _place(self) -> list:
        """Metres to the right of the middle of the picture, were the person 1.7 m tall."""
        x1, y1, x2, y2 = self.track.boxes.mean(axis=0)
        middle = (x1 + x2 - self.poses.image_size[0]) / 2
        return [float(middle * MEAN_HEIGHT / max(y2 - y1, 1)), 0, 0]


def _pictures(rr, recording, poses: VideoPoses,
              frames: Iterable[Tuple[int, Optional[np.ndarray]]], times: np.ndarray) -> int:
    """Write the pictures one by one and count them."""
    pictures, shown = 0, False
    frames = iter(frames)
    for frame in range(poses.num_frames):
        pair = next(frames, (None, None))
        if isinstance(pair, np.ndarray):
            raise ValueError('frames: expected pairs (number, image), found an array; '
                             'enumerate(pictures) gives such pairs')
        number, image = pair
        if number != frame:
            found = 'no more' if number is None else f'number {number}'
            raise ValueError(f'frames: expected frame {frame} of {poses.num_frames}, found '
                             f'{found}; give those the poses were made from')
        if image is not None:
            what = rr.EncodedImage(contents=_jpeg(image, poses, frame), media_type='image/jpeg')
        elif shown:  # the viewer would go on showing the picture before
            what = rr.Clear(recursive=False)
        else:
            continue
        _set_time(recording, frame, times[frame])
        recording.log('picture/image', what, strict=True)
        shown = image is not None
        pictures += shown
    return pictures


def _jpeg(image: np.ndarray, poses: VideoPoses, frame: int) -> bytes:
    size = (image.shape[1], image.shape[0]) if image.ndim in (2, 3) else None
    if size != tuple(poses.image_size) or image.dtype != np.uint8:
        raise ValueError(f'frame {frame}: expected a uint8 picture of width and height '
                         f'{tuple(poses.image_size)}, found {image.dtype} of shape {image.shape}; '
                         'give the pictures the poses were found in')
    return cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
