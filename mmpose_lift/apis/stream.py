"""Lift the people of a live video: frames in, 3D poses out, with bounded look-ahead and memory."""

from collections import deque
from typing import Deque, Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from ..geometry.joint_conventions import to_lifter
from ..geometry.smoothing import OneEuroFilter
from .adaptive_stride import AdaptiveInputStride
from .clip_lifter import ClipLifter, ImageSize
from .keypoint_preparation import MIN_SCORE
from .lift_stream import (
    Job,
    Lifted,
    LiftStream,
    LiftTrack,
    check_options,
    make_policy,
    make_tokens,
    make_track,
    run_jobs,
)
from .people_2d import PeopleEstimator
from .stream_clock import EPS, KeySchedule, StreamClock
from .tracking import PersonTracker

__all__ = ['LiftStream', 'PeopleStream', 'StreamedFrame', 'StreamedPerson']

HOLD = 0.2  # seconds [np]
MIN_DETECTIONS = 2  # as PersonTracker confirms people


class StreamedPerson(NamedTuple):
    """One person in one frame.

    Attributes:
        track_id: Number of the person, unique in the stream.
        box: (4,) x1, y1, x2, y2 in pixels.
        keypoints: (K, 3) x, y in pixels and score, in the 2D model's order.
        keypoints_2d: (J, 3) what was lifted, in the 3D model's order; low scores filled.
        keypoints_3d: (J, 3) float32 metres, camera axes, relative to the root.
        detected: False where the detector did not look or did not find the person; box and joints
            then come from the frames around and have scores of 0.
        score: Of the box.
    """
    track_id: int
    box: np.ndarray
    keypoints: np.ndarray
    keypoints_2d: np.ndarray
    keypoints_3d: np.ndarray
    detected: bool
    score: float


class StreamedFrame(NamedTuple):
    """One frame of the stream.

    Attributes:
        index: Number of the frame, from 0.
        time: Seconds, as given or ``index / fps``.
        people: By ``track_id``.
        look_ahead: How many frames after this one had come when it was lifted.
        image: The frame, where the stream keeps images.
    """
    index: int
    time: float
    people: List[StreamedPerson]
    look_ahead: int
    image: Optional[np.ndarray] = None


class PeopleStream:
    """Detect, track and lift people while frames come in.

    Every frame comes back once, in order, when ``look_ahead`` more have come, with the people in
    it; see :class:`LiftStream` for what look-ahead and ``hop`` mean. People are lifted together:
    one forward pass of the 3D model per frame (or ``hop`` frames), however many they are. Memory
    is bounded by the people in the picture. Streams do not know of each other and may share models.

    A person is shown from the second detection on, and its first frame, too, if that has not gone
    out yet; detected again within the tracker's ``max_lost`` it is the same person.

    Args:
        lifter: The 3D model.
        people: Detector and 2D model. With a 3D model that sees key-frames only they run on these.
        fps: Frames per second; where times are given, the rate to expect.
        look_ahead, hop, min_score, adaptive: As for :class:`LiftStream`. With ``adaptive``, one
            fast person gets key-frames for all.
        smooth: Arguments of :class:`OneEuroFilter` for the 3D poses, {} for its defaults; None for
            no smoothing.
        tracker: Arguments of :class:`PersonTracker`.
        hold: Seconds for which a person is shown, with the last pose, who was not found and, within
            the look-ahead, is not found again.
        keep_images: Give each frame back with its result, ``delay`` frames are in memory then.

    Attributes:
        look_ahead: Frames.
        delay: Frames after which a frame is there at the latest.

    Raises:
        MissingWeightsError: The 3D model has no trained weights.
        ValueError: An option out of range, see :class:`LiftStream`.
    """

    def __init__(self, lifter: ClipLifter, people: PeopleEstimator, fps: float, look_ahead: int = 0,
                 hop: int = 1, smooth: Optional[dict] = None, tracker: Optional[dict] = None,
                 min_score: float = MIN_SCORE, hold: float = HOLD, keep_images: bool = False,
                 adaptive: Union[bool, AdaptiveInputStride] = False) -> None:
        if not 0 <= hold < np.inf:
            raise ValueError(f'hold: expected 0 seconds or more, found {hold!r}')
        self.lifter, self.people = lifter, people
        self._clock = StreamClock(lifter, fps, look_ahead, hop)
        self.fps, self.look_ahead = self._clock.fps, self._clock.look_ahead
        self.delay = self._clock.delay
        self._tracker = PersonTracker(fps=fps, **(tracker or {}))
        check_options(lifter, self._tracker.max_lost, min_score)
        self._adaptive = adaptive
        policy = make_policy(lifter, adaptive)
        self._base_stride = lifter.input_stride if policy is None else policy.slow
        self._schedule = KeySchedule(self._base_stride, self._clock.step)
        self.min_score, self.hold, self.keep_images = min_score, hold, keep_images
        self._smooth = smooth
        self._smoother()  # refuses wrong arguments
        self.reset()

    def _smoother(self) -> Optional[OneEuroFilter]:
        return None if self._smooth is None else OneEuroFilter(**self._smooth)

    def reset(self) -> None:
        """Forget everything, for another video."""
        self._clock.reset()
        self._schedule.reset()
        self._schedule.stride = self._base_stride
        self._tracker.reset()
        self._tracks: Dict[int, _Person] = {}
        self._waiting: Deque[_Frame] = deque()
        self._image_size: Optional[ImageSize] = None
        self._tracker_frame = -1

    def needs_detection(self, time: Optional[float] = None) -> bool:
        """Whether the detector will run on the next frame, at this time if frames have times."""
        return not self.lifter.sparse or self._schedule.needs(self._clock.at(time))

    def add(self, image: np.ndarray, time: Optional[float] = None,
            boxes: Optional[np.ndarray] = None) -> List[StreamedFrame]:
        """The next frame.

        Args:
            image: (H, W, 3) uint8 BGR, of the same size in all frames.
            time: Seconds, more than that of the frame before; for all frames or for none. Frames
                that were dropped show as a jump.
            boxes: (n, 4) x1, y1, x2, y2 or (n, 5) with a score, in pixels, to use instead of the
                detector's; (0, 4) for nobody. Not read where :meth:`needs_detection` says so.

        Returns:
            Frames that have become due, in order.

        Raises:
            ValueError: No such picture, one of another size, a time that does not increase, or
                wrong boxes.
        """
        # what can fail comes before the first change, so that a refused frame leaves no trace
        size = self._checked_size(image)
        clock = self._clock
        position = clock.at(time)
        look = not self.lifter.sparse or self._schedule.needs(position)
        found = self.people([image], None if boxes is None else [boxes])[0] if look else None
        limit = clock.tick(time)
        self._image_size = size
        self._waiting.append(_Frame(clock.frame, clock.seconds, clock.position,
                                    image if self.keep_images else None))
        seen = {} if found is None else self._identify(found, time is not None)
        jobs = []
        for number in sorted({*self._tracks, *seen}):
            if number not in self._tracks:
                self._tracks[number] = self._new_person()
            person = self._tracks[number]
            person.update(clock.frame, seen.get(number), looked=look)
            converted = None if number not in seen else to_lifter(
                seen[number].keypoints, self.people.convention, self.lifter.skeleton)
            jobs += [(person, job) for job in
                     person.track.add(clock.frame, clock.position, converted)]
        if self.lifter.sparse:
            make_tokens(self.lifter, [p.track for p in self._tracks.values()], self._image_size)
        for person in self._tracks.values():
            jobs += [(person, job) for job in person.track.jobs(limit, clock.position)]
        self._run(jobs)
        if look:
            self._forget()
        return [] if limit is None else self._give(limit)

    def finish(self) -> List[StreamedFrame]:
        """The frames that are left; then the stream is as new."""
        self._run([(person, job) for person in self._tracks.values()
                   for job in person.track.flush()])
        frames = self._give(np.inf)
        self.reset()
        return frames

    def _checked_size(self, image: np.ndarray) -> ImageSize:
        if not isinstance(image, np.ndarray) or image.ndim != 3 or image.shape[2] != 3 or (
                image.dtype != np.uint8 or not image.size):
            found = (f'{image.dtype} {image.shape}' if isinstance(image, np.ndarray) else
                     type(image).__name__)
            raise ValueError(f'frame {self._clock.frame + 1}: expected a picture (H, W, 3) uint8 '
                             f'BGR, found {found}')
        size = (image.shape[1], image.shape[0])
        if self._image_size not in (None, size):
            raise ValueError(f'frame {self._clock.frame + 1}: expected {self._image_size[0]} x '
                             f'{self._image_size[1]} pixels as in the frames before, found '
                             f'{size[0]} x {size[1]}; resize it, or call reset() for another video')
        return size

    def _identify(self, found, timed: bool) -> Dict[int, '_Detection']:
        """Who is who in the newest frame."""
        clock = self._clock
        self._schedule.serve(clock.position)
        number = round(clock.position / clock.step) if timed else clock.frame
        self._tracker_frame = max(self._tracker_frame + 1, number)
        ids = self._tracker.update(self._tracker_frame, *found)
        return {int(track_id): _Detection(clock.frame, *one)
                for track_id, *one in zip(ids, *found) if track_id >= 0}

    def _new_person(self) -> '_Person':
        track = make_track(self.lifter, self._clock, self._image_size, self._tracker.max_lost,
                           self.min_score, make_policy(self.lifter, self._adaptive))
        return _Person(track, self._smoother())

    def _run(self, jobs: List[Tuple['_Person', Job]]) -> None:
        for (person, _), found in zip(jobs, run_jobs(self.lifter, [job for _, job in jobs])):
            person.lifted.extend(found)

    def _forget(self) -> None:
        """Let people go whom the tracker has forgotten and whose frames are out."""
        known = set(self._tracker.tracked_ids.tolist())
        for number, person in list(self._tracks.items()):
            just_seen = person.missed_at is None
            if number not in known and not just_seen and (
                    person.detections < MIN_DETECTIONS or not self._is_awaited(person)):
                del self._tracks[number]
        if self._adaptive:
            self._schedule.stride = min((p.track.stride for p in self._tracks.values()),
                                        default=self._base_stride)

    def _is_awaited(self, person: '_Person') -> bool:
        return self._waiting[0].index <= person.observed[-1].frame + self.hold * self.fps

    def _give(self, limit: float) -> List[StreamedFrame]:
        frames = []
        while self._waiting and self._waiting[0].position <= limit + EPS:
            frame = self._waiting.popleft()
            people = [person.show(number, frame, self.hold)
                      for number, person in sorted(self._tracks.items())]
            frames.append(StreamedFrame(
                frame.index, frame.time, [one for one in people if one is not None],
                self._clock.frame - frame.index, frame.image))
        return frames


class _Frame(NamedTuple):
    """A frame that waits for its poses."""
    index: int
    time: float
    position: float
    image: Optional[np.ndarray]


class _Detection(NamedTuple):
    """A person in one frame."""
    frame: int
    box: np.ndarray  # (4,)
    score: float
    keypoints: np.ndarray  # (K, 3)


class _Person:
    """What the stream knows about a person."""

    def __init__(self, track: LiftTrack, smoother: Optional[OneEuroFilter]) -> None:
        self.track, self.smoother = track, smoother
        self.lifted: Deque[Lifted] = deque()
        self.observed: Deque[_Detection] = deque()  # the last one shown, and later ones
        self.detections = 0
        self.missed_at: Optional[int] = None  # first look after the last detection
        self._last_time: Optional[float] = None  # of the last detection shown
        self._hidden = False  # lost for too long, until detected again

    def update(self, frame: int, detection: Optional[_Detection], looked: bool) -> None:
        """The newest frame, with or without the person, or one that the detector skipped."""
        if detection is not None:
            self.observed.append(detection)
            self.detections += 1
            self.missed_at = None
        elif looked and self.missed_at is None:
            self.missed_at = frame

    def show(self, number: int, frame: _Frame, hold: float) -> Optional[StreamedPerson]:
        """The person in a frame, later than the one asked for before; None if not there."""
        while self.lifted and self.lifted[0].frame < frame.index:
            self.lifted.popleft()
        while len(self.observed) > 1 and self.observed[1].frame <= frame.index:
            self.observed.popleft()
        last = self.observed[0]
        if last.frame == frame.index:
            self._last_time, self._hidden = frame.time, False
        if not self.lifted or self.lifted[0].frame != frame.index or last.frame > frame.index:
            return None
        _, pose, lifted = self.lifted.popleft()
        if self.smoother is not None:
            pose = self.smoother(pose, frame.time).astype(np.float32)
        lost = (len(self.observed) == 1 and self.missed_at is not None
                and frame.index >= self.missed_at)
        self._hidden |= lost and frame.time - self._last_time > hold + 1e-9
        if self._hidden or self.detections < MIN_DETECTIONS:
            return None
        if last.frame == frame.index:
            return StreamedPerson(number, last.box, last.keypoints, lifted, pose, True,
                                  float(last.score))
        box, keypoints = self._between(frame.index)
        lifted[:, 2] = 0
        return StreamedPerson(number, box, keypoints, lifted, pose, False, 0.)

    def _between(self, frame: int) -> Tuple[np.ndarray, np.ndarray]:
        """Box and keypoints of a frame without detection; the last ones if none comes after."""
        last, after = self.observed[0], self.observed[min(1, len(self.observed) - 1)]
        share = np.float32((frame - last.frame) / max(after.frame - last.frame, 1))
        keypoints = last.keypoints + (after.keypoints - last.keypoints) * share
        keypoints[:, 2] = 0
        return last.box + (after.box - last.box) * share, keypoints
