"""From a video to the 3D poses of its people: detect, track, convert, lift the whole sequences."""

from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from ..evaluation.key_frames import fill_between
from ..io.frames import FrameSource
from ..io.video_poses import PersonTrack, VideoPoses
from ..version import __version__
from .clip_lifter import ClipLifter
from .keypoint_preparation import prepare_keypoints
from .people_2d import People, PeopleEstimator, check_boxes, check_in_picture
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
        min_box_score: Score from which a box is a person. By default the tracker's three thresholds
            hold, with which weak boxes continue a track and start none; given boxes all count.
        tracker: Further arguments of :class:`~mmpose_lift.apis.tracking.PersonTracker`.
    """

    _work = '2D poses'  # what the progress bar says of the pass over the frames

    def __init__(self, lifter: Optional[ClipLifter], people: PeopleEstimator,
                 min_score: float = 0.3, min_frames: int = 3, max_gap: float = 1.0,
                 min_box_score: Optional[float] = None, tracker: Optional[dict] = None) -> None:
        self.lifter, self.people = lifter, people
        self.min_score, self.min_frames, self.max_gap = min_score, min_frames, max_gap
        self.min_box_score, self.tracker = min_box_score, dict(tracker or {})

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
            ValueError: No frame could be read, too few boxes, one outside the picture, or
                ``adaptive`` for a model that needs every frame.
        """
        self.lifter.check_runs()
        if adaptive and not self.lifter.sparse:
            raise ValueError(f'adaptive: model {self.lifter.name!r} needs 2D keypoints at every '
                             'frame; leave it out')
        stages = stages or Stages()
        bboxes = self._check(frames, bboxes)
        if not adaptive:
            tracking = FrameTracking(self, frames, bboxes is not None, stages)
            read = self._find(frames, self._wanted(frames.fps), bboxes, tracking.add, stages)
            return self._lift(frames, read, tracking, stages)
        found = {}

        def tracked() -> 'FrameTracking':
            tracking = FrameTracking(self, frames, bboxes is not None, stages)
            for frame in sorted(found):
                tracking.add(frame, found[frame])
            return tracking

        wide = self._wanted(frames.fps, self.lifter.slow_stride)
        read = self._find(frames, wide, bboxes, found.__setitem__, stages)
        poses = self._lift(frames, read, tracked(), stages)
        if not poses.tracks or stages.stopped:
            return poses
        more = self.lifter.adaptive_key_frames(
            [(track.first_frame, track.keypoints_3d) for track in poses.tracks], read.num_frames,
            frames.fps)
        more = set(np.setdiff1d(more, list(found)).tolist())
        looked = len(found)
        self._find(frames, more.__contains__, bboxes, found.__setitem__, stages, again=True)
        if len(found) > looked:
            poses = self._lift(frames, read, tracked(), stages, self.lifter.slow_stride)
        poses.complete &= not stages.stopped
        return poses

    def _check(self, frames: FrameSource, bboxes) -> Optional[List[np.ndarray]]:
        """Find out what does not fit before anything is read; boxes as (n, 5) each."""
        if frames.kind == 'webcam':
            raise ValueError(f'{frames.name}: a camera has no end; use a stream '
                             "(PoseLiftInferencer.stream, or MMPoseInferencer('webcam:0'))")
        if self.lifter is not None:
            prepare_keypoints(np.ones((1, self.people.num_keypoints, 3), np.float32),
                              self.people.convention, self.lifter.skeleton.name)
        if bboxes is None:
            return None
        if not self.people.topdown:
            raise ValueError(f'bboxes: the 2D model {self.people.name!r} finds people by itself '
                             'and takes no boxes; leave them out')
        bboxes = check_boxes(bboxes, image_size=frames.image_size)
        if frames.num_frames is not None and len(bboxes) < frames.num_frames:
            raise ValueError(f'bboxes: expected one array of boxes for each frame, found '
                             f'{len(bboxes)} for {frames.num_frames} frames')
        return bboxes

    def people_2d(self, frames: FrameSource, bboxes: Optional[Sequence[np.ndarray]] = None,
                  stages: Optional[Stages] = None) -> VideoPoses:
        """Find and track the people of a video, without lifting them; arguments as above."""
        stages = stages or Stages()
        bboxes = self._check(frames, bboxes)
        tracking = FrameTracking(self, frames, bboxes is not None, stages)
        read = self._find(frames, lambda index: True, bboxes, tracking.add, stages)
        poses = self._describe(frames, read, bboxes is not None)
        poses.tracks = tracking.finish(read.num_frames)
        return poses

    def pictures(self, frames: FrameSource, bboxes: Optional[Sequence[np.ndarray]] = None,
                 stages: Optional[Stages] = None
                 ) -> Iterator[Tuple[VideoPoses, np.ndarray]]:
        """Lift pictures that have nothing to do with each other: one result and picture for each.

        A model of many frames sees the same frame at all times: it works, but a model of single
        frames is faster and, trained for that, better.
        """
        self.lifter.check_runs()
        bboxes = self._check(frames, bboxes)
        stages = stages or Stages()
        with stages.stage('pictures', frames.num_frames) as advance:
            for index, image in frames.readable():
                if stages.stopped:
                    return
                advance(1)
                if image is None:
                    continue
                [people] = self._people([image], bboxes and _boxes_of(bboxes, [index], [image]),
                                         stages)
                tracks = [PersonTrack(number, 0, people.boxes[number, None],
                                      people.scores[number, None], people.keypoints[number, None],
                                      np.ones(1, bool)) for number in range(len(people.boxes))]
                size = (image.shape[1], image.shape[0])
                poses = self._describe(frames, _Read(1, size, True), bboxes is not None)
                path = frames.path_of(index)
                poses.source, poses.fps = str(path or f'{frames.name}[{index}]'), 1.
                self._lift_tracks(tracks, poses, stages)
                yield poses, image

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
              again: bool = False) -> Optional['_Read']:
        """Run detector and 2D model on the wanted frames, and hand on what they find.

        With ``again`` there are results already, and nothing has to be read.
        """
        batch: List[Tuple[int, np.ndarray]] = []
        num_frames, size = 0, None

        def flush() -> None:
            numbers, images = zip(*batch)
            boxes = None if bboxes is None else _boxes_of(bboxes, numbers, images)
            for number, people in zip(numbers, self._people(images, boxes, stages)):
                add(number, people)
            batch.clear()

        with stages.stage('fast motion' if again else self._work, frames.num_frames) as advance:
            reader = frames.readable(wanted)
            while not stages.stopped:
                with stages.time('decode'):
                    index, image = next(reader, (None, None))
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
        if again:
            return None
        if num_frames == 0:
            reason = 'stopped before the first frame was read' if stages.stopped else 'no frames'
            raise ValueError(f'{frames.name}: {reason}')
        size = size or frames.image_size
        if size is None:
            raise ValueError(f'{frames.name}: none of {num_frames} pictures could be read')
        return _Read(num_frames, size, not stages.stopped and frames.truncated is None)

    def _people(self, images: Sequence[np.ndarray], boxes: Optional[Sequence[np.ndarray]],
                stages: Stages) -> List[People]:
        if not self.people.topdown:
            with stages.time('2D network'):
                return self.people(images)
        if boxes is None:
            with stages.time('detector'):
                boxes = self.people.detect(images)
        with stages.time('2D network'):
            keypoints = self.people.estimate(images, [box[:, :4] for box in boxes])
        return [People(box[:, :4], box[:, 4], k) for box, k in zip(boxes, keypoints)]

    def _lift(self, frames: FrameSource, read: '_Read', tracking: 'FrameTracking', stages: Stages,
              slow_stride: Optional[int] = None) -> VideoPoses:
        with stages.time('tracking'):
            tracks = tracking.finish(read.num_frames)
        poses = self._describe(frames, read, tracking.given_boxes)
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
                track.keypoints_2d[_missed(looked - looked[0], apart), :, 2] = 0
        with stages.stage('lifting', sum(map(len, tracks))) as advance, stages.time('lifting'):
            for group in self._groups(tracks):
                times = poses.times
                lifted = self.lifter.lift_people_at(
                    [t.keypoints_2d for t in group], poses.image_size,
                    times=None if times is None else [times[t.frames] for t in group],
                    fps=poses.fps if times is None else None,
                    known=[t.detected for t in group] if self.lifter.sparse else None,
                    slow_stride=slow_stride)
                for track, keypoints in zip(group, lifted):
                    track.keypoints_3d = keypoints
                    advance(len(track))
        poses.tracks = tracks

    def _groups(self, tracks: List[PersonTrack]) -> Iterator[List[PersonTrack]]:
        """Tracks that together fill a batch of windows; long ones alone, so that progress shows."""
        group, full = [], self.lifter.batch_size * self.lifter.window
        for track in tracks:
            group.append(track)
            if sum(map(len, group)) >= full:
                yield group
                group = []
        if group:
            yield group

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
        if self.lifter is not None and self.lifter.random_weights:
            poses.notes['weights'] = 'random: the result means nothing'
        return poses


class _Read(NamedTuple):
    """What was read of a video."""
    num_frames: int
    image_size: Tuple[int, int]
    complete: bool


class FrameTracking:
    """Tracker and tracks of one video."""

    def __init__(self, inferencer: VideoInferencer, frames: FrameSource, given_boxes: bool,
                 stages: Stages) -> None:
        least = 0. if given_boxes and inferencer.min_box_score is None else inferencer.min_box_score
        scores = {} if least is None else dict(low_score=least, high_score=least, new_score=least)
        self._tracker = PersonTracker(
            **{'fps': frames.fps, 'max_lost': inferencer.max_gap, **scores, **inferencer.tracker})
        self._stages, self.given_boxes = stages, given_boxes
        self._collector = TrackCollector(
            inferencer.people.num_keypoints, fps=frames.fps, max_gap_seconds=inferencer.max_gap,
            min_frames=min(inferencer.min_frames, frames.num_frames or inferencer.min_frames))

    def add(self, frame: int, people: People) -> None:
        """Add the people of a frame; frames come in ascending order."""
        with self._stages.time('tracking'):
            ids = self._tracker.update(frame, *people)
            self._collector.add(frame, ids, *people)

    def finish(self, num_frames: int) -> List[PersonTrack]:
        """The tracks; what was collected is let go of, for they hold a copy."""
        tracks = self._collector.finish(num_frames)
        del self._collector
        return tracks


def _missed(looked: np.ndarray, apart: float) -> np.ndarray:
    """Frames that lie where the detector looked and did not find the person.

    Args:
        looked: (n,) ascending frames with a detection.
        apart: Their usual distance; frames of such a gap were not looked at.
    """
    gaps = np.flatnonzero(np.diff(looked) > 1.5 * apart)
    return np.concatenate([np.empty(0, np.int64),
                           *(np.arange(looked[i] + 1, looked[i + 1]) for i in gaps)])


def _boxes_of(bboxes: Sequence[np.ndarray], numbers: Sequence[int],
              images: Sequence[np.ndarray]) -> list:
    if max(numbers) >= len(bboxes):
        raise ValueError(f'bboxes: expected one array of boxes for each frame, found '
                         f'{len(bboxes)} and a frame number {max(numbers)}')
    for number, image in zip(numbers, images):  # whose sizes were perhaps not known before
        check_in_picture(bboxes[number], image.shape[1::-1], f'bboxes: frame {number}')
    return [bboxes[number] for number in numbers]
