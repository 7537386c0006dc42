"""Lift one person's 2D keypoints while they come in, with a bounded look-ahead and memory."""

import copy
from collections import deque
from typing import Callable, Deque, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from .adaptive_stride import AdaptiveInputStride
from .clip_lifter import ClipLifter, ImageSize
from .keypoint_preparation import MIN_SCORE, prepare_keypoints
from .resampling import interpolate
from .stream_clock import EPS, KeySchedule, StreamClock

MAX_GAP = 1.0  # seconds [np], as long as PersonTracker remembers people
_FILL = 1.0  # seconds over which joints of low score are filled [np], as in whole clips


class Lifted(NamedTuple):
    """The pose of one frame.

    Attributes:
        frame: Number of the frame in the stream.
        pose: (J, 3) float32 metres, camera axes, relative to the root.
        keypoints: (J, 2 or 3) what was lifted: joints of low score filled, frames without keypoints
            interpolated from those around them, or held where nothing comes after.
    """
    frame: int
    pose: np.ndarray
    keypoints: np.ndarray


class Job(NamedTuple):
    """A window, or several of them that share their tokens, for the network.

    Attributes:
        inputs: (T, J, C) for models of windows, (m, L) rows of ``table`` for others.
        done: Takes the poses, (T, J, 3) or (m, J, 3), and gives the frames they are of.
        table: (passes, n, D) tokens of key-frames.
    """
    inputs: np.ndarray
    done: Callable[[np.ndarray], List[Lifted]]
    table: Optional[Tensor] = None


class LiftTrack:
    """What a stream remembers of one person: recent keypoints and the frames without a pose yet.

    Poses are computed by :func:`run_jobs`, so that people share forward passes.
    """

    def __init__(self, lifter: ClipLifter, clock: StreamClock, image_size: ImageSize,
                 max_gap: float = MAX_GAP, min_score: float = MIN_SCORE) -> None:
        self.lifter, self.image_size, self.min_score = lifter, image_size, min_score
        self.max_gap, self._step = max_gap * clock.rate, clock.step
        self._fill = max(1, round(_FILL * clock.fps))  # frames
        span = (lifter.window - 1) * lifter.output_stride
        self._history = max(span, _FILL * clock.rate) + (clock.delay + 1) * clock.step
        self._known: Deque[Tuple[float, np.ndarray]] = deque()
        self._pending: Deque[Tuple[int, float]] = deque()

    def add(self, frame: int, position: float, keypoints: Optional[np.ndarray]) -> List[Job]:
        """A frame, with checked keypoints (J, 2 or 3) or without.

        Returns:
            What is to be lifted before :meth:`jobs` is asked, because a long gap has ended.
        """
        if keypoints is None:
            if self._known and position - self._known[-1][0] <= self.max_gap + EPS:
                self._pending.append((frame, position))
            return []
        jobs = []
        if self._known and position - self._known[-1][0] > self.max_gap + self._step + EPS:
            jobs = self.flush()
            self._restart()
        self._known.append((position, keypoints))
        while len(self._known) > 1 and self._known[1][0] < position - self._history:
            self._known.popleft()
        self._pending.append((frame, position))
        self._see(position)
        return jobs

    def flush(self) -> List[Job]:
        """Jobs for all frames that wait, without waiting for more."""
        if not self._pending:
            return []
        last = self._pending[-1][1]
        return self._release(last, last)

    def jobs(self, limit: Optional[float], newest: float) -> List[Job]:
        """Jobs for the frames up to a position, None for none; ``newest``: of the last frame."""
        return [] if limit is None else self._release(limit, newest)

    def _restart(self) -> None:
        self._known.clear()

    def _see(self, position: float) -> None:
        """The newest of the known keypoints is at this position."""

    def _release(self, limit: float, newest: float) -> List[Job]:
        raise NotImplementedError

    def _take(self, limit: float) -> Tuple[List[int], np.ndarray]:
        """Numbers and positions of the waiting frames up to a position."""
        taken = []
        while self._pending and self._pending[0][1] <= limit + EPS:
            taken.append(self._pending.popleft())
        return [frame for frame, _ in taken], np.array([position for _, position in taken])

    def _filled(self) -> Tuple[np.ndarray, np.ndarray]:
        """(n,) positions and (n, J, 2 or 3) keypoints, joints of low score filled."""
        positions = np.array([position for position, _ in self._known])
        keypoints = np.array([keypoints for _, keypoints in self._known])
        if keypoints.shape[-1] == 3 and (keypoints[..., 2] < self.min_score).any():
            name = self.lifter.skeleton.name
            keypoints = prepare_keypoints(keypoints, name, name, self.min_score,
                                          self._fill).keypoints
        return positions, keypoints


class _WindowTrack(LiftTrack):
    """For models that see all frames of a window, and for models of single frames."""

    def _release(self, limit: float, newest: float) -> List[Job]:
        """The window ends with the newest frame, or starts with the oldest frame that waits."""
        jobs = []
        length = self.lifter.window
        positions = keypoints = None
        while self._pending and self._pending[0][1] <= limit + EPS:
            if positions is None:
                positions, keypoints = self._filled()
            end = min(newest, self._pending[0][1] + length - 1)
            frames, at = self._take(min(limit, end))
            window = interpolate(keypoints, positions, end - np.arange(length - 1, -1, -1.))
            shown = interpolate(keypoints, positions, at)
            jobs.append(Job(self.lifter.normalise(window, self.image_size),
                            _Readout(frames, at - (end - length + 1), shown)))
        return jobs


class _Readout(NamedTuple):
    """Frames of a window."""
    frames: List[int]
    at: np.ndarray  # where in the window
    keypoints: np.ndarray

    def __call__(self, poses: np.ndarray) -> List[Lifted]:
        nearest = np.rint(self.at).astype(int)
        if np.abs(self.at - nearest).max() < EPS:
            poses = poses[nearest]
        else:
            poses = interpolate(poses, np.arange(len(poses)), self.at, cubic=True)
        return [Lifted(*one) for one in zip(self.frames, poses, self.keypoints)]


class _KeyFrameTrack(LiftTrack):
    """For models that see key-frames only.

    Tokens lie at the multiples of the output stride. Windows are those of :class:`KeyFrameClip` for
    a clip that ends with the newest frame; frames between two tokens are interpolated.
    """

    def __init__(self, lifter: ClipLifter, clock: StreamClock, image_size: ImageSize,
                 max_gap: float = MAX_GAP, min_score: float = MIN_SCORE,
                 policy: Optional[AdaptiveInputStride] = None) -> None:
        super().__init__(lifter, clock, image_size, max_gap, min_score)
        self._half = lifter.window // 2
        # behind half a window without keypoints there is nothing to lift from
        self.max_gap = min(self.max_gap, self._half * lifter.output_stride)
        self._late = int(clock.look_ahead * clock.step / lifter.output_stride + EPS)  # tokens
        self.policy = policy
        if self.max_gap < self.stride:
            raise ValueError(f'max_gap: key-frames of model {lifter.name!r} are '
                             f'{self.stride / lifter.fps:g} s apart, and a gap of at most '
                             f'{self.max_gap / lifter.fps:g} s is bridged; expected more')
        self._restart()

    @property
    def stride(self) -> int:
        """Model frames between key-frames, at present."""
        return self.lifter.input_stride if self.policy is None else self.policy.stride

    def _restart(self) -> None:
        super()._restart()
        self._start: Optional[int] = None  # first token of the sequence
        self._keys: List[int] = []
        self._slow: List[bool] = []  # which of them the slow stride has, too
        self._table: Optional[Tensor] = None  # tokens of all keys but the fresh one
        self._fresh: Optional[np.ndarray] = None
        self._next = 0  # token
        self._last: List[Tuple[int, np.ndarray]] = []  # the token lifted last, and its pose
        self._judged: Optional[int] = None
        self._unjudged = False
        if self.policy is not None:
            self.policy.reset()

    def _token(self, position: float) -> int:
        return int(np.floor(position / self.lifter.output_stride + EPS))

    def _see(self, position: float) -> None:
        token = int(np.floor(position / self.lifter.output_stride + 0.5))
        if self._keys and token <= self._keys[-1]:
            return  # two key-frames at the same token: the first one stays
        if self._start is None:
            self._start = self._next = self._judged = token
        self._keys.append(token)
        slow = self.lifter.slow_stride if self.policy is None else self.policy.slow
        self._slow.append(token * self.lifter.output_stride % slow == 0)
        self._fresh = self._filled()[1][-1, :, :2]
        self._unjudged = self.policy is not None

    def take_fresh(self) -> Optional[np.ndarray]:
        """Keypoints (J, 2) of a new key-frame, whose token goes to :meth:`put_token`."""
        fresh, self._fresh = self._fresh, None
        return fresh

    def put_token(self, token: Tensor) -> None:
        """(passes, 1, D); forget those that no window will see any more."""
        table = token if self._table is None else torch.cat([self._table, token], dim=1)
        oldest = self._next if self.policy is None else min(self._next, self._judged)
        oldest -= self._half
        drop = min(int(np.searchsorted(self._keys, oldest)), len(self._keys) - 1)
        self._keys, self._slow = self._keys[drop:], self._slow[drop:]
        self._table = table[:, drop:]

    def jobs(self, limit: Optional[float], newest: float) -> List[Job]:
        jobs = super().jobs(limit, newest)
        if self._unjudged:
            self._unjudged = False
            first, last = self._judged, self._token(newest) - self._late
            if last > first:
                self._judged = last
                rows = self._layout(range(first, last + 1), newest, np.array(self._keys),
                                    np.arange(len(self._keys)))
                jobs.append(Job(rows, lambda poses: self._judge(poses, first), self._table))
        return jobs

    def _judge(self, poses: np.ndarray, first: int) -> List[Lifted]:
        self.policy.update(poses, first * self.lifter.output_stride)
        return []

    def _release(self, limit: float, newest: float) -> List[Job]:
        frames, positions = self._take(limit)
        if not frames:
            return []
        wanted = int(np.ceil(positions[-1] / self.lifter.output_stride - EPS))
        last = min(wanted, self._token(limit), self._keys[-1] + self._half)
        tokens = range(self._next, max(last, self._start) + 1)
        self._next = max(self._next, tokens.stop)
        known_at, keypoints = self._filled()
        shown = interpolate(keypoints, known_at, positions)
        before = self._last  # a list of this sequence, also when another one has begun

        def done(poses: np.ndarray) -> List[Lifted]:
            known = [*before, *zip(tokens, poses)]
            before[:] = known[-1:]
            at = np.array([token for token, _ in known]) * float(self.lifter.output_stride)
            found = interpolate(np.stack([pose for _, pose in known]), at, positions)
            return [Lifted(*one) for one in zip(frames, found, shown)]

        return [Job(self._windows(tokens, newest), done, self._table)]

    def _windows(self, tokens: range, newest: float) -> np.ndarray:
        """(m, L) rows of the table for windows around tokens; -1 where there is nothing."""
        keys, rows, policy = np.array(self._keys), np.arange(len(self._keys)), self.policy
        if policy is None:
            return self._layout(tokens, newest, keys, rows, self.lifter.input_stride)
        # as in lift_adaptively: where the slow stride is active, windows are of that stride alone
        if policy.stride == policy.slow and policy.slow % policy.fast == 0:
            slow = np.array(self._slow)
            windows = self._layout(tokens, newest, keys[slow], rows[slow], policy.slow)
            if (windows >= 0).any(axis=1).all():
                return windows
        return self._layout(tokens, newest, keys, rows)

    def _layout(self, tokens: range, newest: float, keys: np.ndarray, rows: np.ndarray,
                stride: Optional[int] = None) -> np.ndarray:
        """As :meth:`KeyFrameClip.windows`; by default copies are as far apart as the keys there."""
        length = self.lifter.window
        if not tokens:
            return np.empty((0, length), np.int64)
        low = tokens.start - self._half
        layout = np.full(len(tokens) + length - 1, -1, np.int64)
        high = low + len(layout)
        inside = (keys >= low) & (keys < high)
        layout[keys[inside] - low] = rows[inside]
        apart = np.diff(keys)
        if stride is not None and len(keys):
            apart = [stride // self.lifter.output_stride]
        if len(apart) and keys[0] == self._start:  # copies of the first frame before it
            layout[np.arange(keys[0] - apart[0], low - 1, -apart[0]) - low] = rows[0]
        if len(apart) and keys[-1] >= self._token(newest):  # copies of the newest behind it
            layout[np.arange(keys[-1] + apart[-1], high, apart[-1]) - low] = rows[-1]
        return np.lib.stride_tricks.sliding_window_view(layout, length).copy()


def make_track(lifter: ClipLifter, clock: StreamClock, image_size: ImageSize, max_gap: float,
               min_score: float, policy: Optional[AdaptiveInputStride] = None) -> LiftTrack:
    """The track that a model needs; ``policy``, for models of key-frames, is its own from then."""
    if lifter.sparse:
        return _KeyFrameTrack(lifter, clock, image_size, max_gap, min_score, policy)
    return _WindowTrack(lifter, clock, image_size, max_gap, min_score)


def run_jobs(lifter: ClipLifter, jobs: Sequence[Job]) -> List[List[Lifted]]:
    """Run the network on all jobs at once.

    Returns:
        For each job the frames it gives.

    Raises:
        ValueError: Poses that are not finite.
    """
    if not jobs:
        return []
    if lifter.sparse:
        counts = [len(job.inputs) for job in jobs]
        first = np.cumsum([0] + [job.table.shape[1] for job in jobs])
        rows = np.concatenate([np.where(job.inputs >= 0, job.inputs + offset, -1)
                               for job, offset in zip(jobs, first)])
        poses = lifter.key_frame_lifter.predict_centres(
            torch.cat([job.table for job in jobs], dim=1), rows) if len(rows) else np.empty(
                (0, lifter.skeleton.num_joints, 3), np.float32)
        found = np.split(poses, np.cumsum(counts)[:-1])
    else:
        inputs = torch.from_numpy(np.stack([job.inputs for job in jobs]))
        found = poses = np.concatenate(
            [lifter.forward(part) for part in inputs.split(lifter.batch_size)])
    lifter.check_finite(poses)
    return [job.done(part) for job, part in zip(jobs, found)]


def make_tokens(lifter: ClipLifter, tracks: Iterable[LiftTrack], image_size: ImageSize) -> None:
    """Turn the new key-frames of some tracks into tokens, all at once."""
    fresh = [(track, keypoints) for track in tracks
             if (keypoints := track.take_fresh()) is not None]
    if fresh:
        tokens = lifter.key_frame_lifter.pose_tokens(np.stack([k for _, k in fresh]), image_size)
        for (track, _), token in zip(fresh, tokens.split(1, dim=1)):
            track.put_token(token)


def make_policy(lifter: ClipLifter, adaptive: Union[bool, AdaptiveInputStride]
                ) -> Optional[AdaptiveInputStride]:
    """A policy from the argument ``adaptive`` of the streams.

    Raises:
        ValueError: The model needs every frame, or a policy of another output stride.
    """
    if not adaptive:
        return None
    if not lifter.sparse:
        raise ValueError(f'adaptive: model {lifter.name!r} needs 2D keypoints at every frame; '
                         'leave it out')
    if adaptive is True:
        return AdaptiveInputStride(
            lifter.slow_stride, lifter.input_stride, fps=lifter.fps,
            output_stride=lifter.output_stride, root_index=lifter.skeleton.root_index)
    if adaptive.output_stride != lifter.output_stride:
        raise ValueError(f'adaptive: expected output stride {lifter.output_stride} as the model '
                         f'has, found {adaptive.output_stride}')
    policy = copy.copy(adaptive)
    policy.reset()
    return policy


def check_options(lifter: ClipLifter, max_gap: float, min_score: float) -> None:
    """Raise where a stream cannot be built with these."""
    lifter.check_runs()
    if not 0 <= max_gap < np.inf:
        raise ValueError(f'max_gap: expected 0 seconds or more, found {max_gap!r}')
    if not 0 <= min_score <= 1:
        raise ValueError(f'min_score: expected 0 to 1, found {min_score!r}')


class LiftStream:
    """Lift one person whose 2D keypoints come frame by frame.

    The pose of a frame comes when ``look_ahead`` more frames have come. It is read from the window
    of the model's T frames that ends with the newest frame; before the first frame the window
    repeats it. So without look-ahead the pose is that of the window's last frame, and more look-
    ahead than half a window takes away more at the start than it gives at the end.
    Models of single frames give every pose at once. Models that see key-frames only give a pose at
    every s_out-th frame, from a window around it in which what has not come yet is missing, and
    frames between are interpolated: the frames up to the next such frame come with it.

    Frames of another rate than the model's, and at uneven times, are resampled inside the window.
    Memory is that of one window, however long the stream is.

    Args:
        lifter: The model with its weights.
        image_size: (width, height) in pixels.
        fps: Frames per second of the stream. Where times are given, the rate to expect.
        look_ahead: Frames of the stream, 0 to the span of a window (T - 1 at the model's rate).
        hop: The network runs once per so many frames and gives their poses together. For models
            that see key-frames only, rounded up to a multiple of s_out.
        max_gap: Seconds without keypoints that are bridged; after longer ones the stream starts
            anew. For models that see key-frames only at most half a window.
        min_score: Joints of a lower score are interpolated from other frames of the window, where
            keypoints come with scores; 0 takes them as they are.
        adaptive: For models that see key-frames only: True for more key-frames in fast motion, or a
            policy, see :class:`AdaptiveInputStride` (in frames at the model's rate).

    Attributes:
        look_ahead: Frames.
        delay: Frames after which a pose is there at the latest.

    Raises:
        MissingWeightsError: The model has no trained weights.
        ValueError: An image size or rate that is not positive, more look-ahead than a window has,
            or an adaptive stride for a model that needs every frame.
    """

    def __init__(self, lifter: ClipLifter, image_size: ImageSize, fps: float, look_ahead: int = 0,
                 hop: int = 1, max_gap: float = MAX_GAP, min_score: float = MIN_SCORE,
                 adaptive: Union[bool, AdaptiveInputStride] = False) -> None:
        check_options(lifter, max_gap, min_score)
        if len(image_size) != 2 or not min(image_size) > 0:
            raise ValueError('image_size: expected width and height in pixels, found '
                             f'{tuple(image_size)}')
        self.lifter, self.image_size = lifter, tuple(image_size)
        self._clock = StreamClock(lifter, fps, look_ahead, hop)
        self.look_ahead, self.delay = self._clock.look_ahead, self._clock.delay
        policy = make_policy(lifter, adaptive)
        self._options = (max_gap, min_score, policy)
        self._track = make_track(lifter, self._clock, self.image_size, *self._options)
        self._schedule: Optional[KeySchedule] = None
        if lifter.sparse:
            self._schedule = KeySchedule(self._track.stride, self._clock.step)
        self._shape: Optional[Tuple[int, ...]] = None

    def reset(self) -> None:
        """Forget everything, for another sequence."""
        self._clock.reset()
        self._track = make_track(self.lifter, self._clock, self.image_size, *self._options)
        if self._schedule is not None:
            self._schedule.reset()
            self._schedule.stride = self._track.stride
        self._shape = None

    def needs_keypoints(self, time: Optional[float] = None) -> bool:
        """Whether the 2D keypoints of the next frame, at this time if frames have times, are read.

        Always, except for models that see key-frames only.
        """
        return self._schedule is None or self._schedule.needs(self._clock.at(time))

    def add(self, keypoints: Optional[np.ndarray] = None,
            time: Optional[float] = None) -> List[Tuple[int, np.ndarray]]:
        """The next frame.

        Args:
            keypoints: (J, 2) pixels or (J, 3) with a score, in the model's joint order; None where
                there are none. Not read where :meth:`needs_keypoints` says so.
            time: Seconds, more than that of the frame before; for all frames or for none. Frames
                that were dropped show as a jump.

        Returns:
            (number of the frame, counted from 0 by calls, and pose (J, 3) float32 metres, camera
            axes, relative to the root) for frames whose pose has become due, in order. Frames
            before the first keypoints and later than ``max_gap`` behind the last ones have no pose
            and are left out.

        Raises:
            ValueError: Wrong shape, keypoints that are not finite, or a time that does not
                increase.
        """
        needed = self.needs_keypoints(time)
        if keypoints is not None:
            keypoints = self._check(keypoints) if needed else None
        limit = self._clock.tick(time)
        clock = self._clock
        if self._schedule is not None and needed:
            self._schedule.serve(clock.position)
        jobs = self._track.add(clock.frame, clock.position, keypoints)
        if self._schedule is not None:
            make_tokens(self.lifter, [self._track], self.image_size)
        jobs += self._track.jobs(limit, clock.position)
        return self._run(jobs)

    def finish(self) -> List[Tuple[int, np.ndarray]]:
        """The poses that are left, of the newest frames; then the stream is as new."""
        found = self._run(self._track.flush())
        self.reset()
        return found

    def _run(self, jobs: List[Job]) -> List[Tuple[int, np.ndarray]]:
        found = [(one.frame, one.pose) for part in run_jobs(self.lifter, jobs) for one in part]
        if self._schedule is not None:
            self._schedule.stride = self._track.stride
        return found

    def _check(self, keypoints: np.ndarray) -> np.ndarray:
        keypoints = np.array(keypoints, np.float32)
        joints = self.lifter.skeleton.num_joints
        if keypoints.shape not in ((joints, 2), (joints, 3)) or self._shape not in (
                None, keypoints.shape):
            expected = self._shape or f'({joints}, 2 or 3)'
            raise ValueError(f'keypoints: expected {expected} in the joints of '
                             f'{self.lifter.skeleton.name!r}, found {keypoints.shape}')
        if not np.isfinite(keypoints).all():
            raise ValueError(f'keypoints: frame {self._clock.frame + 1} holds NaN or infinite '
                             'values; give None for a frame without keypoints, and joints that '
                             'were not seen a score of 0')
        self._shape = keypoints.shape
        return keypoints
