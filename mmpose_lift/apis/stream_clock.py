"""When the frames of a stream come, which of them need 2D keypoints, and which are due."""

from collections import deque
from typing import Deque, Optional

import numpy as np

from .clip_lifter import ClipLifter
from .resampling import check_fps, rate_factor

EPS = 1e-6  # of a model frame, so that rounding errors of times decide nothing


class StreamClock:
    """Where the frames of a stream lie in time, and up to which frame poses are due.

    Positions count frames at the model's rate from the first frame of the stream on.

    Args:
        lifter: The model.
        fps: Frames per second of the stream; the rate to expect where times are given.
        look_ahead: Frames that a pose waits for.
        hop: Frames between two runs of the network.

    Attributes:
        rate: Model frames per second; for models of single frames ``fps``.
        step: Model frames from one frame to the next.
        delay: Frames after which the pose of a frame is there at the latest.
        frame, position: Of the newest frame; -1 and -inf before the first one.

    Raises:
        ValueError: A rate that is not positive, or more look-ahead than the model can see.
    """

    def __init__(self, lifter: ClipLifter, fps: float, look_ahead: int = 0, hop: int = 1) -> None:
        self.fps = check_fps(fps)
        self.rate = lifter.fps or self.fps
        factor = rate_factor(self.fps, self.rate)
        self.step = 1 / factor if factor else self.rate / self.fps
        most = int((lifter.window - 1) * lifter.output_stride / self.step + EPS)
        for name, value, least in (('look_ahead', look_ahead, 0), ('hop', hop, 1)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(f'{name}: expected a whole number of frames, {least} or more, '
                                 f'found {value!r}')
        if look_ahead + hop - 1 > most:
            raise ValueError(f'look_ahead: a window of model {lifter.name!r} spans {most + 1} '
                             f'frames at {self.fps:g} per second, so look_ahead + hop - 1 can be '
                             f'at most {most}, found {look_ahead} + {hop} - 1')
        self.look_ahead, self.hop = int(look_ahead), int(hop)
        self.token = lifter.output_stride if lifter.sparse else None  # in model frames
        self.delay = self.look_ahead + self.hop - 1
        if self.token is not None:
            self.hop_tokens = max(1, int(np.ceil(self.hop * self.step / self.token - EPS)))
            apart = self.hop_tokens * self.token / self.step  # frames
            whole = abs(apart - round(apart)) < EPS
            self.delay = self.look_ahead + (round(apart) - 1 if whole else int(np.ceil(apart)))
        self.reset()

    def reset(self) -> None:
        """Start a new sequence."""
        self.frame, self.position = -1, -np.inf
        self._first_time: Optional[float] = None
        self._last_token = -1
        self._recent: Deque[float] = deque(maxlen=self.look_ahead + 1)  # positions

    @property
    def seconds(self) -> float:
        """Time of the newest frame: as given, or since the first frame."""
        return self.position / self.rate + (self._first_time or 0)

    def at(self, time: Optional[float] = None) -> float:
        """Position of the next frame.

        Raises:
            ValueError: A time that does not increase, or only some frames have one.
        """
        if self.frame >= 0 and (time is None) != (self._first_time is None):
            raise ValueError('time: give it for all frames of a stream or for none, found '
                             f'{time!r} for frame {self.frame + 1}')
        if time is None:
            return (self.frame + 1) * self.step
        position = 0. if self.frame < 0 else (time - self._first_time) * self.rate
        if not self.position < position < np.inf or not np.isfinite(time):
            raise ValueError(f'time: expected more than {self.seconds:g} s, the time of the frame '
                             f'before, found {time!r}; call reset() for another sequence')
        return position

    def tick(self, time: Optional[float] = None) -> Optional[float]:
        """A frame has come.

        Args:
            time: Its time in seconds; for all frames of the stream or for none.

        Returns:
            The position up to which poses are due now, None if none are.

        Raises:
            ValueError: As :meth:`at`.
        """
        self.position = self.at(time)
        if self.frame < 0 and time is not None:
            self._first_time = float(time)
        self.frame += 1
        self._recent.append(self.position)
        if len(self._recent) <= self.look_ahead:
            return None
        if self.token is None:
            return self._recent[0] if (self.frame - self.look_ahead + 1) % self.hop == 0 else None
        token = int(np.floor(self._recent[0] / self.token + EPS))
        if token - self._last_token < self.hop_tokens:
            return None
        self._last_token = token
        return token * self.token


class KeySchedule:
    """Which frames of a stream need 2D keypoints, for models that see key-frames only.

    Key-frames are those nearest to the multiples of the stride, as
    :meth:`ClipLifter.key_frame_numbers` has them.

    Args:
        stride: Model frames between key-frames; can be changed at any time.
        step: Model frames from one frame to the next.
    """

    def __init__(self, stride: int, step: float) -> None:
        self.stride, self._half = stride, step / 2
        self.reset()

    def reset(self) -> None:
        self._served: Optional[int] = None

    def needs(self, position: float) -> bool:
        """Whether the frame at this position is a key-frame."""
        wanted = 0 if self._served is None else (self._served // self.stride + 1) * self.stride
        return position + self._half > wanted + EPS

    def serve(self, position: float) -> None:
        """The frame at this position was the key-frame."""
        self._served = int(np.floor((position + self._half - EPS) / self.stride)) * self.stride
