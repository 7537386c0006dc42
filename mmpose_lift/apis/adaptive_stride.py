"""Spend 2D detections where people move fast (Uplift and Upsample, WACV 2023, supplement).

The supplement [P] gives the rule: key-frames are s_in = 20 frames apart; when the velocity of the
estimated 3D poses exceeds a threshold, 5 frames apart, until it has stayed below the threshold for
a while. The model stays the same, only the mask changes. Not published, and chosen here: how long
"a while" is, where key-frames lie after a switch (on multiples of the active stride), and what
happens to frames already passed (online: nothing; offline: a second pass refines them).
"""

from typing import Callable, Optional, Tuple

import numpy as np

from ..evaluation.velocity import root_relative_velocity
from .key_frame_lifting import KeyFrameLifter

MODES = ('online', 'offline')


class AdaptiveInputStride:
    """When to detect 2D poses often: threshold on the 3D velocity, with hysteresis.

    All frame counts are frames of the clip (at another rate than 50 scale them with it).

    Args:
        slow: Frames between key-frames by default.
        fast: Frames between key-frames during fast motion.
        threshold: Root-relative velocity in m/s (mean over the joints) above which motion is fast.
        hold: Frames that the velocity must have stayed at or below the threshold before the slow
            stride returns [np].
        fps: Frame rate.
        output_stride: s_out, frames between two estimated poses; both strides are multiples of it.
        root_index: Root joint.

    Attributes:
        stride: The active stride.

    Raises:
        ValueError: Strides that are no multiples of ``output_stride`` or not ``fast`` < ``slow``,
            a threshold or rate that is not positive, a negative ``hold``.
    """

    def __init__(self, slow: int = 20, fast: int = 5, threshold: float = 0.5, hold: int = 50,
                 fps: float = 50, output_stride: int = 5, root_index: int = 0) -> None:
        if output_stride < 1 or slow % output_stride or fast % output_stride or fast < 1:
            raise ValueError('slow, fast: expected multiples of the output stride '
                             f'{output_stride}, found {slow} and {fast}')
        if not fast < slow:
            raise ValueError(f'fast: expected fewer frames than slow={slow}, found {fast}')
        for name, value in (('threshold', threshold), ('fps', fps)):
            if not 0 < value < np.inf:
                raise ValueError(f'{name}: expected a positive number, found {value}')
        if hold < 0:
            raise ValueError(f'hold: expected 0 frames or more, found {hold}')
        self.slow, self.fast = int(slow), int(fast)
        self.threshold, self.hold, self.fps = float(threshold), int(hold), float(fps)
        self.output_stride, self.root_index = int(output_stride), int(root_index)
        self.reset()

    def reset(self) -> None:
        """Start a new clip: slow."""
        self.stride = self.slow
        self._last_fast: Optional[int] = None

    def next_key_frame(self, frame: int) -> int:
        """First frame behind ``frame`` that needs 2D keypoints, a multiple of the active stride."""
        return (frame // self.stride + 1) * self.stride

    def update(self, poses: np.ndarray, first_frame: int) -> int:
        """Judge the motion of newly estimated poses.

        Args:
            poses: (n, K, 3) metres at frames first_frame, first_frame + s_out, ...; n - 1
                velocities come from them, so the first is the last one of the previous call,
                estimated again (poses estimated at different times differ and would look like
                motion).
            first_frame: Frame number of the first pose.

        Returns:
            The stride that is active from now on.

        Raises:
            ValueError: Poses that are not finite.
        """
        for i, velocity in enumerate(self.velocities(poses), start=1):
            frame = first_frame + i * self.output_stride
            if velocity > self.threshold:
                self.stride, self._last_fast = self.fast, frame
            elif self.stride == self.fast and frame - self._last_fast >= self.hold:
                self.stride = self.slow
        return self.stride

    def velocities(self, poses: np.ndarray) -> np.ndarray:
        """(n - 1,) m/s between n poses (n, K, 3) that are s_out frames apart."""
        if not np.isfinite(poses).all():
            raise ValueError('poses: NaN or infinite joints have no velocity')
        if len(poses) < 2:
            return np.empty(0)
        return root_relative_velocity(poses, self.fps / self.output_stride, self.root_index)[1:]

    def select_offline(self, poses: np.ndarray, num_frames: int) -> np.ndarray:
        """Key-frames of a recorded clip, from the poses of a first pass with the slow stride.

        Frames around fast motion get the fast stride: ``hold`` frames after it as online, and
        one slow stride before it, because motion between two slow key-frames is only seen at the
        second one.

        Args:
            poses: (G, K, 3) metres at frames 0, s_out, 2 s_out, ... of the clip.
            num_frames: F, frames of the clip.

        Returns:
            (F,) bool; the slow key-frames are among them.

        Raises:
            ValueError: Other than one pose per s_out frames, or poses that are not finite.
        """
        expected = -(-num_frames // self.output_stride)
        if len(poses) != expected:
            raise ValueError(f'poses: expected {expected}, one every {self.output_stride} of '
                             f'{num_frames} frames, found {len(poses)}')
        moving = np.flatnonzero(self.velocities(poses) > self.threshold) + 1
        frames = np.arange(num_frames)
        change = np.zeros(num_frames + 1, int)  # +1 where a fast span starts, -1 behind its end
        np.add.at(change, np.maximum(moving * self.output_stride - self.slow, 0), 1)
        np.add.at(change, np.minimum(moving * self.output_stride + self.hold + 1, num_frames), -1)
        fast = change[:-1].cumsum() > 0
        return (frames % self.slow == 0) | (fast & (frames % self.fast == 0))


def lift_adaptively(lifter: KeyFrameLifter, detect: Callable[[np.ndarray], np.ndarray],
                    num_frames: int, image_size: Tuple[int, int], policy: AdaptiveInputStride,
                    mode: str = 'online', look_ahead: int = 0
                    ) -> Tuple[np.ndarray, np.ndarray]:
    """Lift a clip and detect 2D poses only where the policy asks for them.

    * ``online``: frames come one after the other and decisions look at nothing behind the newest
      key-frame. When a key-frame t has come, the poses from the last judged frame to t -
      ``look_ahead`` are estimated as if the clip ended at t, and the policy picks the next
      key-frame. Frames already passed are not revisited. So fast motion is noticed at the first
      key-frame behind its start (at most ``slow`` frames later), plus ``look_ahead``.
    * ``offline``: one pass with the slow stride, then a second one with the frames around fast
      motion filled in (:meth:`AdaptiveInputStride.select_offline`).

    In both modes the returned poses see the whole clip: half a window (L // 2 * s_out frames) of
    further delay where they are needed at once. Where the slow stride is active, a pose is lifted
    from the slow stride's key-frames only, even if its window reaches into a fast span: training
    shows one stride per window, and a mixture costs more than the further key-frames give [np].

    Args:
        lifter: The lifter; its clips' output stride must be that of the policy.
        detect: Frame numbers (n,) to their keypoints (n, K, 2) in pixels. Each frame is asked for
            at most once; online, frame by frame in ascending order.
        num_frames: F, frames of the clip.
        image_size: (width, height) in pixels.
        policy: Reset at the start.
        mode: 'online' or 'offline'.
        look_ahead: Online: frames between a judged pose and the newest key-frame, which give it
            context and delay the decision. Multiple of the output stride.

    Returns:
        poses (F, K, 3) float32, root-relative metres, and key_frames (F,) bool, the frames that
        were asked for.

    Raises:
        ValueError: Unknown mode, an empty clip, strides that do not fit together, or keypoints of
            the wrong shape.
    """
    if mode not in MODES:
        raise ValueError(f'mode: expected one of {MODES}, found {mode!r}')
    if num_frames < 1:
        raise ValueError(f'num_frames: a clip needs at least 1 frame, found {num_frames}')
    step = policy.output_stride
    if step % lifter.seq_step:
        raise ValueError(f'policy: its output stride of {step} frames must be the {lifter.seq_step}'
                         ' frames of the lifter, or a multiple where the frame rate is a multiple '
                         'of 50')
    if look_ahead < 0 or look_ahead % step:
        raise ValueError(f'look_ahead: expected a multiple of the output stride {step}, found '
                         f'{look_ahead}')
    policy.reset()
    clip, seen = lifter.start(image_size, step // lifter.seq_step), {}

    def look(frames: np.ndarray) -> np.ndarray:
        keypoints = detect(frames)
        seen.update(zip(frames.tolist(), keypoints))
        return keypoints

    if mode == 'online':
        _watch(clip, look, num_frames, policy, look_ahead)
    else:
        slow = np.arange(0, num_frames, policy.slow)
        clip.add(slow, look(slow))
        first_pass = clip.poses(np.arange(0, num_frames, step), num_frames, policy.slow)
        chosen = policy.select_offline(first_pass, num_frames)
        more = np.setdiff1d(np.flatnonzero(chosen), slow)
        if len(more):
            look(more)
    frames = np.array(sorted(seen))
    chosen = np.isin(np.arange(num_frames), frames)

    def lift(frames: np.ndarray, stride: Optional[int] = None) -> np.ndarray:
        clip = lifter.start(image_size, step // lifter.seq_step)
        clip.add(frames, np.stack([seen[frame] for frame in frames.tolist()]))
        return clip.lift(num_frames, stride)

    gaps = np.diff(frames)
    gaps = np.append(gaps, gaps[-1:] if len(gaps) else policy.slow)  # behind the last key-frame
    dense = (gaps < policy.slow)[np.searchsorted(frames, np.arange(num_frames), 'right') - 1]
    on_slow_grid = frames[frames % policy.slow == 0]
    if not dense.any():
        return lift(frames, policy.slow), chosen
    if dense.all() or policy.slow % policy.fast:  # then the slow grid is not complete
        return lift(frames), chosen
    return np.where(dense[:, None, None], lift(frames), lift(on_slow_grid, policy.slow)), chosen


def _watch(clip, detect, num_frames: int, policy: AdaptiveInputStride, look_ahead: int) -> None:
    """Add the key-frames that an online policy chooses."""
    frame = judged = 0
    while frame < num_frames:
        clip.add([frame], detect(np.array([frame])))
        until = frame - look_ahead
        if until > judged:
            grid = np.arange(judged, until + 1, policy.output_stride)
            policy.update(clip.poses(grid, frame + 1), judged)
            judged = until
        frame = policy.next_key_frame(frame)
