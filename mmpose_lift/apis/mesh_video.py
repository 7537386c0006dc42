"""From a video to the bodies of its people: detect, body in every box, track, join and place."""

from typing import Dict, Iterable, List, Optional, Sequence

import numpy as np

from ..io.frames import FrameSource
from ..io.video_poses import PersonTrack, VideoPoses
from .body_networks import Bodies, Estimates
from .body_tracks import BodyPoser, fill_bodies, one_shape, smooth_bodies
from .heatmap_source import HEATMAPS
from .mesh_predictor import MeshPredictor
from .people_2d import People, PeopleEstimator, check_boxes
from .post_processing import SMOOTHERS
from .progress import Stages
from .video_inferencer import FrameTracking, VideoInferencer

__all__ = ['MeshVideoInferencer']


class _Found(People):
    """People of a picture, with the ``estimates`` of their bodies."""
    estimates: Estimates


class MeshVideoInferencer(VideoInferencer):
    """Bodies of all people of a video, each over the whole time that it is seen.

    A body is estimated in the box of every detection, in its single frame; boxes are then tracked,
    and what a person's boxes gave becomes one sequence. Used for one video or pass of pictures.

    Args:
        predictor: The model of bodies.
        people: Detector, and 2D model if there is one; the predictor's own 2D model, if it has one.
        min_frames, max_gap, min_box_score, tracker: As :class:`VideoInferencer`.
        smooth: 'one-euro', 'savgol' or None.
        same_shape: Each person keeps the mean shape of its detections.
    """

    _work = 'bodies'

    def __init__(self, predictor: MeshPredictor, people: PeopleEstimator, min_frames: int = 3,
                 max_gap: float = 1.0, min_box_score: Optional[float] = None,
                 tracker: Optional[dict] = None, smooth: Optional[str] = None,
                 same_shape: bool = True) -> None:
        super().__init__(predictor, people, 0., min_frames, max_gap, min_box_score, tracker)
        self.smooth, self.same_shape = smooth, same_shape
        self._found: Dict[int, _Found] = {}  # by frame of a video
        self._latest: List[_Found] = []  # of the last pictures looked at

    def video(self, frames: FrameSource, bboxes: Optional[Sequence[np.ndarray]] = None,
              stages: Optional[Stages] = None) -> VideoPoses:
        """Bodies of a video.

        Args:
            frames: The video.
            bboxes: For each frame of the video the boxes (n, 4 or 5) to use instead of a detector.
            stages: Progress, timing and the wish to stop.

        Raises:
            MissingWeightsError, FileNotFoundError: See :meth:`MeshPredictor.check_runs`.
            ValueError: No frame could be read, too few boxes, or one outside the picture.
        """
        self.lifter.check_runs()
        stages = stages or Stages()
        bboxes = self._check(frames, bboxes)
        tracking = FrameTracking(self, frames, bboxes is not None, stages)

        def add(frame: int, people: _Found) -> None:
            tracking.add(frame, people)
            self._found[frame] = people

        read = self._find(frames, lambda index: True, bboxes, add, stages)
        return self._lift(frames, read, tracking, stages)

    def _check(self, frames: FrameSource, bboxes) -> Optional[List[np.ndarray]]:
        if frames.kind == 'webcam':
            raise ValueError(f'{frames.name}: models of bodies take videos and pictures, not '
                             'cameras; record the video first')
        if bboxes is None:
            return None
        bboxes = check_boxes(bboxes, image_size=frames.image_size)
        if frames.num_frames is not None and len(bboxes) < frames.num_frames:
            raise ValueError(f'bboxes: expected one array of boxes for each frame, found '
                             f'{len(bboxes)} for {frames.num_frames} frames')
        return bboxes

    def _people(self, images: Sequence[np.ndarray], boxes: Optional[Sequence[np.ndarray]],
                stages: Stages) -> List[_Found]:
        helped = self.people.name is not None and not self.lifter.sees_heatmaps
        if helped:  # by a 2D model that only the tracker needs
            people = super()._people(images, boxes, stages)
            boxes = [person.boxes for person in people]
        elif boxes is None:
            with stages.time('detector'):
                boxes = self.people.detect(images)
        with stages.time('bodies'):
            estimates = self.lifter.estimate(images, boxes)
        if not helped:
            people = [People(box[:, :4], box[:, 4], found.keypoints)
                      for box, found in zip(boxes, estimates)]
        self._latest = [_Found(*person) for person in people]
        for found, own in zip(self._latest, estimates):
            found.estimates = own
        return self._latest

    def _lift_tracks(self, tracks: List[PersonTrack], poses: VideoPoses, stages: Stages,
                     slow_stride: Optional[int] = None) -> None:
        """Join what was found in the boxes of each track, and put the tracks into the result."""
        found = self._found or {0: self._latest[0]} if tracks else {}  # a picture is frame 0
        camera = self.lifter.camera(poses.image_size)
        poses.tracks, poses.focal = [], float(camera[0, 0])
        poses.body_model = self.lifter.body_model
        poses.notes.update(self._notes(poses, found.values()))
        poser = BodyPoser(self.lifter.folded_joints, camera)
        with stages.stage('joining', sum(map(len, tracks))) as advance, stages.time('joining'):
            for track in tracks:
                time = (dict(fps=poses.fps) if poses.times is None
                        else dict(times=poses.times[track.frames]))
                poses.tracks.append(poser.track(track, self._join(track, found, time)))
                advance(len(track))

    def _join(self, track: PersonTrack, found: Dict[int, _Found], time: dict) -> Bodies:
        """Bodies of all frames of a track."""
        rows = np.flatnonzero(track.detected)
        seen = []
        for row in rows:
            people = found[track.first_frame + int(row)]
            # a body belongs to a box: the same box twice has the same body twice
            [place, *_] = np.flatnonzero((people.boxes == track.boxes[row]).all(axis=1))
            seen.append([values[place] for values in people.estimates.bodies])
        bodies = Bodies(*map(np.stack, zip(*seen)))
        if self.same_shape:
            bodies = one_shape(bodies)
        bodies = fill_bodies(bodies, rows, len(track))
        return bodies if self.smooth is None else smooth_bodies(bodies, self.smooth, **time)

    def _notes(self, poses: VideoPoses, found: Iterable[_Found]) -> Dict[str, str]:
        given = 'given' if self.lifter.focal else 'for an assumed field of view of 55 degrees'
        focal = self.lifter.camera(poses.image_size)[0, 0]
        notes = {'camera': f'focal length {focal:.6g} px {given}, principal point in the middle',
                 'root depth': self.lifter.root_depth}
        distances = [people.estimates.distances for people in found]
        if distances and np.isfinite(distance := np.concatenate(distances)).any():
            notes['body'] = ('fitted to the surface of the network, mean distance '
                             f'{1000 * distance.mean():.1f} mm')
        if self.lifter.sees_heatmaps:
            notes['heatmaps'] = HEATMAPS[self.lifter.source.heatmaps]
        if self.same_shape:
            notes['shape'] = 'the mean of each person'
        if self.smooth is not None:
            notes['smoothing'] = f'{SMOOTHERS[self.smooth][0]} of rotations and places'
        return notes
