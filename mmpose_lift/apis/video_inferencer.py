"""From a video to the 3D poses of its people: detect, track, convert, lift the whole sequences."""

import warnings
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..evaluation.key_frames import fill_between
from ..io.frames import FrameSource, UnreadableFrameError
from ..io.video_poses import PersonTrack, VideoPoses
from ..version import __version__
from .clip_lifter import ClipLifter
from .keypoint_preparation import prepare_keypoints
from .people_2d import People, PeopleEstimator
from .progress import Stages
from .tracking import PersonTracker, TrackCollector

VERSION = f'mmpose_lift {__version__}'


class VideoInferencer:
    """Lift all people of a video, each over the whole time that they are seen.

    Nothing is kept from one call to the next. Of the video only a batch of frames is in memory at a
    time; what grows are the tracks, some hundred bytes per person and frame.

    Args:
        lifter: The 3D model; None for :meth:`people_2d` alone.
        people: Detector and 2D model.
        min_score: 2D joints of a lower score are interpolated from frames before and after [np].
        min_frames: Tracks with fewer detections are dropped [np].
        max_gap: Seconds without a detection that are filled; after longer ones the person comes
            back as a new one [np].
        tracker: Arguments of :class:`~mmpose_lift.apis.tracking.PersonTracker`.
    """

    def __init__(self, lifter: Optional[ClipLifter], people: PeopleEstimator,
                 min_score: float = 0.3, min_frames: int = 3, max_gap: float = 1.0,
                 tracker: Optional[dict] = None) -> None:
        self.lifter, self.people = lifter, people
        self.min_score, self.min_frames, self.max_gap = min_score, min_frames, max_gap
        self.tracker = dict(tracker or {})

    def video(self, frames: FrameSource, bboxes: Optional[Sequence[np.ndarray]] = None,
              adaptive: bool = False, stages: Optional[Stages] = None) -> VideoPoses:
        """Lift a video.

        A model that sees key-frames only has the detector and the 2D model run on these alone. A
        picture of the video that cannot be read is told in a warning, and is a frame in which
        nobody was detected.

        Args:
            frames: The video.
            bboxes: For each frame of the video the boxes (n, 4 or 5) to use instead of a detector.
            adaptive: For such models: run with the wide stride first, then detect and lift again
                with more key-frames where people move fast.
            stages: Progress, timing and the wish to stop.

        Raises:
            MissingWeightsError: The 3D model has no weights.
            ValueError: No frame could be read, too few boxes, ``adaptive`` for a model that needs
                every frame.
        """
        self.lifter.check_runs()
        if adaptive and not self.lifter.sparse:
            raise ValueError(f'adaptive: model {self.lifter.name!r} needs 2D keypoints at every '
                             'frame; leave it out')
        stages = stages or Stages()
        if not adaptive:
            tracks = _Tracking(self, frames.fps, stages)
            read = self._find(frames, self._wanted(frames.fps), bboxes, tracks.add, stages)
            return self._lift(frames, read, tracks, stages, bboxes is not None)
        found = {}
        wide = self._wanted(frames.fps, self.lifter.slow_stride)
        read = self._find(frames, wide, bboxes, found.__setitem__, stages)
        poses = self._lift(frames, read, self._track(found, frames.fps, stages), stages,
                           bboxes is not None)
        if not poses.tracks or stages.stopped:
            return poses
        more = self.lifter.adaptive_key_frames(
            [(track.first_frame, track.keypoints_3d) for track in poses.tracks], read.num_frames,
            frames.fps)
        more = set(np.setdiff1d(more, list(found)).tolist())
        if not more:
            return poses
        again = self._find(frames, more.__contains__, bboxes, found.__setitem__, stages,
                           'fast motion')
        read = read._replace(complete=read.complete and again.complete)
        return self._lift(frames, read, self._track(found, frames.fps, stages), stages,
                          bboxes is not None, self.lifter.slow_stride)

    def people_2d(self, frames: FrameSource, bboxes: Optional[Sequence[np.ndarray]] = None,
                  stages: Optional[Stages] = None) -> VideoPoses:
        """Find and track the people of a video, without lifting them; arguments as above."""
        stages = stages or Stages()
        tracking = _Tracking(self, frames.fps, stages)
        read = self._find(frames, lambda index: True, bboxes, tracking.add, stages)
        poses = self._describe(frames, read, bboxes is not None)
        poses.tracks = tracking.collector.finish(read.num_frames)
        return poses

    def pictures(self, frames: FrameSource, bboxes: Optional[Sequence[np.ndarray]] = None,
                 stages: Optional[Stages] = None
                 ) -> Iterator[Tuple[VideoPoses, np.ndarray]]:
        """Lift pictures that have nothing to do with each other: one result and picture for each.

        A model of many frames sees the same frame at all times: it works, but a model of single
        frames is faster and, trained for that, better.
        """
        self.lifter.check_runs()
        stages = stages or Stages()
        with stages.stage('pictures', frames.num_frames) as advance:
            reader = iter(frames)
            while not stages.stopped:
                index, image = _next_readable(reader)
                if index is None:
                    return
                boxes = None if bboxes is None else _boxes_of(bboxes, [index])
                [people] = self._people([image], boxes, stages)
                tracks = [PersonTrack(number, 0, people.boxes[number, None],
                                      people.scores[number, None], people.keypoints[number, None],
                                      np.ones(1, bool)) for number in range(len(people.boxes))]
                size = (image.shape[1], image.shape[0])
                poses = self._describe(frames, _Read(1, size, True), bboxes is not None)
                path = frames.path_of(index)
                poses.source, poses.fps = str(path or f'{frames.name}[{index}]'), 1.
                self._lift_tracks(tracks, poses, stages)
                yield poses, image
                advance(1)

    def _wanted(self, fps: float, stride: Optional[int] = None) -> Callable[[int], bool]:
        """Whether a frame of the video needs 2D keypoints."""
        if not self.lifter.sparse:
            return lambda index: True
        known = np.zeros(0, bool)

        def wanted(index: int) -> bool:
            nonlocal known
            if index >= len(known):
                known = np.zeros(2 * index + 1000, bool)
                known[self.lifter.key_frame_numbers(len(known), fps, stride)] = True
            return bool(known[index])

        return wanted

    def _find(self, frames: FrameSource, wanted: Callable[[int], bool], bboxes,
              add: Callable[[int, People], None], stages: Stages,
              name: str = '2D poses') -> '_Read':
        """Run detector and 2D model on the wanted frames, and hand on what they find."""
        batch: List[Tuple[int, np.ndarray]] = []
        num_frames, size = 0, None

        def flush() -> None:
            numbers, images = zip(*batch)
            boxes = None if bboxes is None else _boxes_of(bboxes, numbers)
            for number, people in zip(numbers, self._people(images, boxes, stages)):
                add(number, people)
            batch.clear()

        with stages.stage(name, frames.num_frames) as advance:
            reader = iter(frames.select(wanted))
            while not stages.stopped:
                with stages.time('decode'):
                    index, image = _next_readable(reader)
                if index is None:
                    break
                if image is not None:
                    size = (image.shape[1], image.shape[0])
                    batch.append((index, image))
                if len(batch) == self.people.batch_size:
                    flush()
                num_frames = index + 1
                advance(1)
            if batch:
                flush()
        if size is None and not stages.stopped:
            raise ValueError(f'{frames.name}: no frame could be read')
        if size is None:
            raise ValueError(f'{frames.name}: stopped before the first frame was read')
        return _Read(num_frames, size, not stages.stopped and frames.truncated is None)

    def _people(self, images: Sequence[np.ndarray], boxes, stages: Stages) -> List[People]:
        if not self.people.topdown:
            with stages.time('2D network'):
                return self.people(images, boxes)
        if boxes is None:
            with stages.time('detector'):
                boxes = self.people.detect(images)
        with stages.time('2D network'):
            return self.people(images, boxes)

    def _track(self, found: dict, fps: float, stages: Stages) -> '_Tracking':
        tracking = _Tracking(self, fps, stages)
        for frame in sorted(found):
            tracking.add(frame, found[frame])
        return tracking

    def _lift(self, frames: FrameSource, read: '_Read', tracking: '_Tracking', stages: Stages,
              given_boxes: bool, slow_stride: Optional[int] = None) -> VideoPoses:
        with stages.time('tracking'):
            tracks = tracking.collector.finish(read.num_frames)
        poses = self._describe(frames, read, given_boxes)
        self._lift_tracks(tracks, poses, stages, slow_stride)
        return poses

    def _lift_tracks(self, tracks: List[PersonTrack], poses: VideoPoses, stages: Stages,
                     slow_stride: Optional[int] = None) -> None:
        """Convert and lift the tracks, and put them into the result."""
        with stages.time('conversion'):
            for track in tracks:
                looked = np.flatnonzero(track.detected) if self.lifter.sparse else track.frames
                apart = np.median(np.diff(looked)) if len(looked) > 1 else 1  # frames
                keypoints = track.keypoints[looked - looked[0]]
                prepared = prepare_keypoints(
                    keypoints, poses.skeleton_2d, poses.skeleton, self.min_score,
                    max_gap=max(1, round(self.max_gap * poses.fps / apart))).keypoints
                track.keypoints_2d = fill_between(prepared, looked - looked[0], len(track))
        with stages.stage('lifting', len(tracks)) as advance, stages.time('lifting'):
            times = poses.times
            lifted = self.lifter.lift_people_at(
                [t.keypoints_2d for t in tracks], poses.image_size,
                times=None if times is None else [times[t.frames] for t in tracks],
                fps=poses.fps if times is None else None,
                known=[t.detected for t in tracks] if self.lifter.sparse else None,
                slow_stride=slow_stride)
            advance(len(tracks))
        for track, keypoints in zip(tracks, lifted):
            track.keypoints_3d = keypoints
        poses.tracks = tracks

    def _describe(self, frames: FrameSource, read: '_Read', given_boxes: bool) -> VideoPoses:
        """The result, without its people."""
        poses = VideoPoses(
            frames.name, frames.mean_fps, read.image_size, read.num_frames, self.people.convention,
            self.people.convention if self.lifter is None else self.lifter.skeleton.name,
            model='' if self.lifter is None else self.lifter.name, model_2d=self.people.name,
            detector='given boxes' if given_boxes else self.people.detector, version=VERSION,
            complete=read.complete)
        if frames.times is not None:
            poses.times = np.asarray(frames.times)[:read.num_frames]
        return poses


class _Read(NamedTuple):
    """What was read of a video."""
    num_frames: int
    image_size: Tuple[int, int]
    complete: bool


class _Tracking:
    """Tracker and tracks of one video."""

    def __init__(self, inferencer: VideoInferencer, fps: float, stages: Stages) -> None:
        self._tracker = PersonTracker(fps=fps, **inferencer.tracker)
        self._stages = stages
        self.collector = TrackCollector(
            inferencer.people.num_keypoints, fps=fps, max_gap_seconds=inferencer.max_gap,
            min_frames=inferencer.min_frames)

    def add(self, frame: int, people: People) -> None:
        """Add the people of a frame; frames come in ascending order."""
        with self._stages.time('tracking'):
            ids = self._tracker.update(frame, *people)
            self.collector.add(frame, ids, *people)


def _next_readable(reader: Iterator) -> Tuple[Optional[int], Optional[np.ndarray]]:
    """Number and picture of the next frame that can be read; (None, None) at the end."""
    while True:
        try:
            return next(reader, (None, None))
        except UnreadableFrameError as error:
            warnings.warn(f'{error}; it is left out', stacklevel=2)


def _boxes_of(bboxes: Sequence[np.ndarray], numbers: Sequence[int]) -> list:
    if max(numbers) >= len(bboxes):
        raise ValueError(f'bboxes: expected one array of boxes for each frame, found '
                         f'{len(bboxes)} and a frame number {max(numbers)}')
    return [bboxes[number] for number in numbers]
