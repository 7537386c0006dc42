"""Lift whole clips from sparse key-frames (Uplift and Upsample, WACV 2023)."""

from typing import Optional, Sequence, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ..datasets.key_frames import check_strides
from ..evaluation.key_frames import fill_between
from ..geometry.cameras import normalize_screen
from ..models import SequencePoseLifter
from ..models.backbones import UpliftUpsampleTransformer
from ..models.heads.lifting_head import mirror_poses

_POSES_PER_BATCH = 1024  # frames of one pass through the spatial transformer


class KeyFrameLifter:
    """Lift clips of any length from 2D keypoints at key-frames only.

    A window of L tokens, s_out frames apart, gives the pose of its middle frame. Windows are
    centred on every s_out-th frame of the clip (frames 0, s_out, 2 s_out, ...); the poses of the
    frames in between are interpolated linearly and those after the last one copy it [C]. A frame
    whose window sees no key-frame at all is interpolated, too [np]. The pose token of a key-frame
    is computed once per clip and shared by all windows that see it.

    Tokens outside the clip copy its first or its last frame *on the s_out grid* [C]. A copy counts
    as given only where the key-frame pattern goes on and the copied frame is itself a key-frame:
    a 2D detector runs on nothing else. The public code also takes copies of other frames ([np]
    choice; :class:`~mmpose_lift.datasets.KeyFrameSequenceDataset` can do either).

    Args:
        model: Lifter with an :class:`UpliftUpsampleTransformer`; put into evaluation mode, used in
            the precision and on the device of its weights. Its ``test_cfg`` says
            whether predictions are averaged with those of the mirrored input.
        seq_len: L, tokens of a window: ``num_tokens`` of the backbone.
        seq_step: s_out, frames between two tokens at 50 frames per second.
        batch_size: Windows per forward pass.

    Raises:
        ValueError: Another kind of model, other number of tokens, or a size below 1.
    """

    def __init__(self, model: SequencePoseLifter, seq_len: int, seq_step: int,
                 batch_size: int = 32) -> None:
        backbone = getattr(model, 'backbone', None)
        if not isinstance(backbone, UpliftUpsampleTransformer):
            raise ValueError('KeyFrameLifter: expected a model with an UpliftUpsampleTransformer, '
                             f'found {type(backbone).__name__}; use PoseLiftInferencer for others')
        if type(model).predict_instances is not SequencePoseLifter.predict_instances:
            raise ValueError(f'KeyFrameLifter: {type(model).__name__} does more than lifting with '
                             'backbone and head; give its first stage, a SequencePoseLifter')
        if seq_len != backbone.num_tokens:
            raise ValueError(f'seq_len: the backbone has {backbone.num_tokens} tokens, found '
                             f'{seq_len}')
        for name, value in (('seq_step', seq_step), ('batch_size', batch_size)):
            if value < 1:
                raise ValueError(f'{name}: expected at least 1, found {value}')
        self.model = model.eval()
        self.seq_len = int(seq_len)
        self.seq_step = int(seq_step)
        self.batch_size = int(batch_size)

    @property
    def root_index(self) -> int:
        """Root joint of the model's skeleton."""
        return self.model.skeleton.root_index

    def lift(self, keypoints: np.ndarray, image_size: Tuple[int, int],
             key_frames: Union[int, np.ndarray], rate: int = 1) -> np.ndarray:
        """Lift one person through one clip.

        Args:
            keypoints: (F, K, 2) pixels, joints in the model's order. Only key-frames are read;
                other frames may hold anything, for example NaN.
            image_size: (width, height) in pixels.
            key_frames: s_in, so that frames 0, s_in, 2 s_in, ... are key-frames (in frames at
                50 per second, like s_out), or (F,) bool.
            rate: Frame rate over 50; s_out and s_in are multiplied by it [C].

        Returns:
            (F, K, 3) float32 metres relative to the root, camera axes, all joints.

        Raises:
            ValueError: Wrong shapes, a key-frame off the s_out grid, no key-frame, or keypoints or
                poses that are not finite.
        """
        keypoints = np.asarray(keypoints)
        joints = self.model.backbone.num_keypoints
        if keypoints.ndim != 3 or keypoints.shape[1:] != (joints, 2) or not len(keypoints):
            raise ValueError(f'keypoints: expected at least one frame of shape (F, {joints}, 2), '
                             f'found {keypoints.shape}')
        clip = self.start(image_size, rate)
        if isinstance(key_frames, (int, np.integer)) and not isinstance(key_frames, bool):
            check_strides(int(key_frames), self.seq_step)
            stride = int(key_frames) * rate
            frames = np.arange(0, len(keypoints), stride)
        else:
            mask = np.asarray(key_frames)
            if mask.shape != (len(keypoints), ) or mask.dtype != bool:
                raise ValueError('key_frames: expected an input stride or one bool for each of the '
                                 f'{len(keypoints)} frames, found {mask.dtype} {mask.shape}')
            frames, stride = np.flatnonzero(mask), None
        clip.add(frames, keypoints[frames])
        return clip.lift(len(keypoints), stride)

    def start(self, image_size: Tuple[int, int], rate: int = 1) -> 'KeyFrameClip':
        """A clip without key-frames yet, for callers that get them one after the other."""
        return KeyFrameClip(self, image_size, rate)

    @torch.inference_mode()
    def pose_tokens(self, keypoints: np.ndarray, image_size: Tuple[int, int]) -> Tensor:
        """(n, K, 2) pixels to tokens (passes, n, D); the second pass is of the mirrored poses."""
        weight = next(self.model.backbone.parameters())
        poses = normalize_screen(keypoints.astype(np.float32, copy=False), *image_size)
        poses = torch.from_numpy(poses).to(weight.device, weight.dtype)
        passes = [poses]
        if self.model.test_cfg.get('flip_test', False):
            passes.append(mirror_poses(poses, self.model.skeleton.flip_indices))
        return torch.stack([
            torch.cat([self.model.backbone.pose_tokens(x) for x in p.split(_POSES_PER_BATCH)])
            for p in passes])

    @torch.inference_mode()
    def predict_centres(self, table: Tensor, rows: np.ndarray) -> np.ndarray:
        """Poses of the middle frames of windows.

        Args:
            table: (passes, n, D) tokens of the key-frames.
            rows: (m, L) row of the table for each token of each window, -1 where there is none.

        Returns:
            (m, K, 3) float32 root-relative metres.
        """
        backbone, head = self.model.backbone, self.model.head
        poses = []
        for batch in torch.from_numpy(rows).to(table.device).split(self.batch_size):
            given = batch >= 0
            found = []
            for tokens in table:
                # rows of -1 read any token; the backbone puts its upsampling token there
                _, centre = backbone.from_tokens(tokens[batch.clamp(min=0)], given)
                found.append(head.predict_center((None, centre)))
            if len(found) == 2:
                found = [(found[0] + mirror_poses(found[1], self.model.skeleton.flip_indices)) / 2]
            poses.append(head.decode(found[0])[0])
        return np.concatenate(poses)


class KeyFrameClip:
    """The key-frames of one clip that are known so far, as tokens; made by a KeyFrameLifter.

    Args:
        lifter: Model and sizes.
        image_size: (width, height) in pixels.
        rate: Frame rate of the clip over 50.

    Raises:
        ValueError: An image size or a rate that is not positive.
    """

    def __init__(self, lifter: KeyFrameLifter, image_size: Tuple[int, int], rate: int = 1) -> None:
        if len(image_size) != 2 or not min(image_size) > 0:
            raise ValueError('image_size: expected width and height in pixels, found '
                             f'{tuple(image_size)}')
        if rate < 1 or rate != int(rate):
            raise ValueError('rate: expected the frame rate over 50 as a whole number of at least '
                             f'1, found {rate}; resample the clip to 50 frames per second')
        self._lifter = lifter
        self._image_size = image_size
        self._table: Optional[Tensor] = None
        self.step = lifter.seq_step * int(rate)
        self.key_frames = np.empty(0, np.int64)

    def add(self, frames: Sequence[int], keypoints: np.ndarray) -> None:
        """Add key-frames behind those there are.

        Args:
            frames: (n,) frame numbers, ascending, multiples of s_out.
            keypoints: (n, K, 2) pixels.

        Raises:
            ValueError: Frames off the grid or not ascending, wrong shape, or keypoints that are
                not finite.
        """
        frames, keypoints = np.asarray(frames, np.int64), np.asarray(keypoints)
        joints = self._lifter.model.backbone.num_keypoints
        if keypoints.shape != (len(frames), joints, 2):
            raise ValueError(f'keypoints: expected ({len(frames)}, {joints}, 2) for {len(frames)} '
                             f'key-frames, found {keypoints.shape}')
        if not len(frames):
            return
        off = frames[frames % self.step != 0]
        if len(off):
            raise ValueError(f'key_frames: frame {off[0]} lies off the output grid; key-frames '
                             f'must be multiples of {self.step} frames')
        joined = np.concatenate([self.key_frames, frames])
        if joined[0] < 0 or not (np.diff(joined) > 0).all():
            raise ValueError('key_frames: expected ascending frame numbers from 0 on, found '
                             f'{frames[:5].tolist()} after {self.key_frames[-1:].tolist()}')
        bad = ~np.isfinite(keypoints).all(axis=(1, 2))
        if bad.any():
            raise ValueError(f'keypoints: key-frame {frames[bad][0]} holds NaN or infinite '
                             'values; take it out of the key-frames')
        tokens = self._lifter.pose_tokens(keypoints, self._image_size)
        self._table = tokens if self._table is None else torch.cat([self._table, tokens], dim=1)
        self.key_frames = joined

    def poses(self, frames: Sequence[int], num_frames: int,
              stride: Optional[int] = None) -> np.ndarray:
        """Poses of some frames of the s_out grid, from the key-frames before ``num_frames``.

        Args:
            frames: (m,) multiples of s_out below ``num_frames``.
            num_frames: The clip is taken to end there, so that key-frames behind it are not seen.
            stride: Frames between key-frames, by which copies outside the clip count as given. By
                default the distance of the two outermost key-frames at that end [np]; with a
                single key-frame no copy counts.

        Returns:
            (m, K, 3) float32 root-relative metres.

        Raises:
            ValueError: Frames outside the clip or off the grid, no key-frame, or a prediction that
                is not finite.
        """
        table, rows = self.windows(frames, num_frames, stride)
        poses = self._lifter.predict_centres(table, rows)
        if not np.isfinite(poses).all():
            raise ValueError('the model gives NaN or infinite joints for this clip; are the '
                             'keypoints pixels of an image of the given size?')
        return poses

    def windows(self, frames: Sequence[int], num_frames: int,
                stride: Optional[int] = None) -> Tuple[Tensor, np.ndarray]:
        """What the windows around some frames consist of; arguments as for :meth:`poses`.

        Returns:
            Tokens of the key-frames (passes, n, D), and (m, L) which of them each token of a window
            is, -1 where there is none.
        """
        frames = np.asarray(frames, np.int64)
        if len(frames) and (frames.min() < 0 or frames.max() >= num_frames
                            or (frames % self.step).any()):
            wrong = frames[(frames < 0) | (frames >= num_frames) | (frames % self.step != 0)][0]
            raise ValueError(f'frame {wrong}: expected a multiple of {self.step} (s_out) from 0 to '
                             f'{num_frames - 1}, the last frame of the clip')
        layout = self._layout(num_frames, stride)
        rows = np.lib.stride_tricks.sliding_window_view(layout, self._lifter.seq_len)
        return self._table, rows[frames // self.step]  # indexing copies

    def lift(self, num_frames: int, stride: Optional[int] = None) -> np.ndarray:
        """Poses of all frames; arguments as for :meth:`poses`.

        Frames off the s_out grid are interpolated, and so are those whose window sees no key-frame,
        because the nearest one is more than half a window away: there the model knows nothing.

        Returns:
            (num_frames, K, 3).
        """
        grid = np.arange(0, num_frames, self.step)
        seen = grid[(self.windows(grid, num_frames, stride)[1] >= 0).any(axis=1)]
        return fill_between(self.poses(seen, num_frames, stride), seen, num_frames)

    def _layout(self, num_frames: int, stride: Optional[int]) -> np.ndarray:
        """(L - 1 + G,) table rows of the G grid frames and of L - 1 copies around them, or -1."""
        keys = self.key_frames[self.key_frames < num_frames] // self.step
        if not len(keys):
            raise ValueError('key_frames: there is no key-frame in the clip, so nothing to lift; '
                             'mark at least one frame')
        count, half = -(-num_frames // self.step), self._lifter.seq_len // 2
        tail = self._lifter.seq_len - 1 - half
        layout = np.full(half + count + tail, -1, np.int64)
        layout[half + keys] = np.arange(len(keys))
        apart = np.diff(keys)
        if stride is not None:
            first = last = stride // self.step
        else:
            first, last = (int(apart[0]), int(apart[-1])) if len(apart) else (half + tail + 1, ) * 2
        if keys[0] == 0:  # positions -first, -2 first, ... copy frame 0
            layout[:half][::-1][first - 1::first] = 0
        if keys[-1] == count - 1:
            layout[half + count:][last - 1::last] = len(keys) - 1
        return layout
