"""Windows in which only key-frames carry a 2D pose (Uplift and Upsample, WACV 2023)."""

from typing import Optional, Sequence, Union

import numpy as np
from mmpose.registry import DATASETS

from .key_frames import (
    check_strides,
    grid_window,
    key_frame_mask,
    random_shifts,
    token_offsets,
)
from .pose_sequence_dataset import PoseSequenceDataset

MASKS = ('random', 'centre', 'clip')


@DATASETS.register_module()
class KeyFrameSequenceDataset(PoseSequenceDataset):
    """Windows of L tokens, s_out frames apart, with a 2D pose on every s_in-th frame only.

    Any frame of a clip can be the centre. Tokens outside the clip repeat the first or last frame of
    the token grid. Strides are in frames at ``fps``; clips recorded at a multiple of it use the
    same strides in seconds.

    ``masks`` says where the key-frames are and what the target is:

    * ``'random'``, training: s_in is drawn per window, and the key-frame grid, which starts at the
      centre, is shifted at random. Target: all L tokens.
    * ``'centre'``, validation: the centre is a key-frame. Target: the centre.
    * ``'clip'``, test: key-frames are the frames of the clip whose number is a multiple of s_in.
      Target: the frames from the centre up to the next centre, so that all frames of the clip can
      be compared with predictions interpolated between the centres.

    For the last two every window comes once per s_in, in the order of ``input_strides``.

    Args:
        stores: As in :class:`PoseSequenceDataset`.
        input_strides: s_in, one or several, each a multiple of s_out.
        seq_len: L, tokens of a window.
        seq_step: s_out.
        masks: See above.
        pairs: Give every window twice, as it is and mirrored right after it, with the same
            key-frames and camera (within-batch augmentation); a batch has twice as many windows as
            numbers are asked for.
        strict: Copies of an edge frame that is not a key-frame itself carry no pose. Off by
            default: published numbers let a copy count where its position is on the key-frame
            grid, which can show a pose at the end of a clip that a detector would not have seen.
        center_step: Frames between the centres, at ``fps``. Defaults to 1. For ``masks='clip'``
            it defaults to s_out and must be a multiple of it: windows between the frames of the
            token grid have no key-frame, and their prediction would mean nothing.
        learned_upsampling: For ``masks='clip'``: False predicts key-frames only, and all frames
            between them are interpolated.
        fps: Frame rate that strides speak of; rates of clips must be multiples of it.
        causal: Not available; here because MMPose's inferencer reads it.
        **kwargs: ``keypoints_2d``, ``flip`` (``'copies'``: all windows, then all mirrored ones),
            ``subjects``, ``actions``, ``cameras_per_clip``, ``camera_seed``, ``pipeline``, ... of
            :class:`PoseSequenceDataset`.

    Raises:
        ValueError: Unknown option, an input stride that is no multiple of s_out, or what
            :class:`PoseSequenceDataset` raises.
    """

    def __init__(self,
                 stores: Union[str, dict, Sequence[Union[str, dict]]],
                 input_strides: Union[int, Sequence[int]],
                 seq_len: int = 71,
                 seq_step: int = 5,
                 masks: str = 'random',
                 pairs: bool = False,
                 strict: bool = False,
                 center_step: Optional[int] = None,
                 learned_upsampling: bool = True,
                 fps: float = 50.,
                 causal: bool = False,
                 **kwargs):
        if masks not in MASKS:
            raise ValueError(f'masks: expected one of {MASKS}, found {masks!r}')
        self.input_strides = _strides(input_strides)
        for stride in self.input_strides:
            check_strides(int(stride), seq_step)
        for name in ('windows', 'interval'):
            if name in kwargs:
                raise ValueError(f'{name}: not an option here; masks says which windows are read')
        if causal:
            raise ValueError('causal: windows of this data set are centred, no causal form exists')
        if pairs and (kwargs.get('flip') or not kwargs.get('batched', True)):
            raise ValueError('pairs: needs batched reading, and flip must be None, since every '
                             'window comes with its mirror image already')
        if not learned_upsampling and masks != 'clip':
            raise ValueError("learned_upsampling=False only says how a test (masks='clip') goes")
        multiple = seq_step if masks == 'clip' else 1
        if center_step is not None and (center_step < 1 or center_step % multiple):
            raise ValueError(f'center_step: expected a multiple of {multiple} for masks={masks!r}, '
                             f'found {center_step}')
        self.masks = masks
        self.pairs = pairs
        self.strict = strict
        self.center_step = center_step
        self.learned_upsampling = learned_upsampling
        super().__init__(stores, seq_len=seq_len, seq_step=seq_step, fps=fps, windows='frames',
                         **kwargs)

    def _lay_out_windows(self) -> None:
        step = self.center_step or (self.seq_step if self.masks == 'clip' else 1)
        strides = [0] if self.masks == 'random' else self.input_strides
        clip, center, stride, span = [], [], [], []
        for s_in in strides:
            gap = int(s_in) if not self.learned_upsampling else step
            for i, (frames, rate) in enumerate(
                    zip(self._clip_frames, self._clip_step // self.seq_step)):
                centers = np.arange(0, frames, gap * rate)
                center.append(centers.astype(np.int32))
                clip.append(np.full(len(centers), i, np.int32))
                stride.append(np.full(len(centers), s_in, np.int32))
                span.append(np.minimum(gap * rate, frames - centers).astype(np.int32))
        self._clip, self._center = np.concatenate(clip), np.concatenate(center)
        self._stride, self._span = np.concatenate(stride), np.concatenate(span)

    def __len__(self) -> int:
        return len(self._clip) * (2 if self.flip == 'copies' else 1)

    def read(self, indices: np.ndarray) -> dict:
        """The windows with the given numbers, before the pipeline.

        Args:
            indices: (B,) window numbers, or () for one window without batch axis. ``pairs`` gives
                2 B windows, window 2 i + 1 the mirror image of window 2 i.

        Returns:
            As :meth:`PoseSequenceDataset.read`, with ``key_frames`` (B, L) bool, ``s_in`` (B,)
            frames at the data set's ``fps``, ``s_in_frames`` (B,) frames of the clip, ``fps`` (B,)
            frame rate of the clip, ``frame_index`` (B, L),
            ``start`` (B,) the centre, ``lifting_target`` (B, S, K, 3) from the frame ``start`` on
            (``masks='clip'``), of the centre (S = 1) or of all tokens, and ``counted`` (B, 2) the
            target frames [0, n) that exist.
        """
        one, indices = self._numbers(indices)
        if self.pairs and one:
            raise ValueError('pairs: windows come in pairs; read them by batches')
        window, flipped = indices % len(self._clip), indices >= len(self._clip)
        if self.flip == 'random':
            flipped = np.random.random(len(indices)) < 0.5
        clip = self._clip[window]
        s_in, camera = self._stride[window].astype(np.int64), self._draw_cameras(clip)
        shift = np.zeros(len(window), np.int64)
        if self.masks == 'random':
            generator = np.random.default_rng(np.random.randint(2**31))
            s_in = generator.choice(self.input_strides, len(window))
            shift = random_shifts(s_in // self.seq_step, generator)
        if self.pairs:
            window, clip, s_in, shift, camera = (
                np.repeat(x, 2) for x in (window, clip, s_in, shift, camera))
            flipped = np.arange(len(window)) % 2 == 1
        frames, key_frames, s_in_frames = self._tokens(window, s_in, shift)
        item = self._poses(window, frames, camera, flipped)
        item.update(key_frames=key_frames, s_in=s_in, s_in_frames=s_in_frames,
                    fps=self.fps * s_in_frames / s_in)
        return self._finish(item, one, indices)

    def _tokens(self, window: np.ndarray, s_in: np.ndarray, shift: np.ndarray):
        """Frames (B, L) of the clip, which of them are key-frames, and s_in in frames (B,)."""
        clip, center = self._clip[window], self._center[window].astype(np.int64)
        step = self._clip_step[clip]
        frames, _ = grid_window(center, self.seq_len, step, self._clip_frames[clip])
        s_in_frames = s_in * (step // self.seq_step)
        zero = center if self.masks == 'clip' else shift * step  # frame number of the centre
        position = zero[:, None] + token_offsets(self.seq_len, 1) * step[:, None]
        key_frames = key_frame_mask(position, s_in_frames)
        if self.strict:
            key_frames &= key_frame_mask(zero[:, None] + frames - center[:, None], s_in_frames)
        return frames, key_frames, s_in_frames

    def _poses(self, window: np.ndarray, frames: np.ndarray, camera: np.ndarray,
               flipped: np.ndarray) -> dict:
        """Keypoints of the tokens and targets of the windows, and where they come from."""
        clip, center = self._clip[window], self._center[window].astype(np.int64)
        tokens, counted = frames.shape[1], self._span[window]
        if self.masks == 'clip':
            wanted = center[:, None] + np.arange(self._span.max())
            wanted = np.minimum(wanted, self._clip_frames[clip][:, None] - 1)
        elif self.masks == 'centre':
            wanted, counted = center[:, None], np.ones_like(counted)
        else:
            wanted, counted = frames, np.full_like(counted, tokens)
        extra = wanted if self.masks == 'clip' else wanted[:, :0]
        (keypoints, score, target, valid), camera_param = self._gather(
            clip, np.concatenate([frames, extra], axis=1), camera, flipped)
        if self.masks == 'clip':
            target, valid = target[:, tokens:], valid[:, tokens:]
            valid = valid * (np.arange(wanted.shape[1]) < counted[:, None])
        elif self.masks == 'centre':
            middle = slice(tokens // 2, tokens // 2 + 1)
            target, valid = target[:, middle], valid[:, middle]
        return dict(
            keypoints=keypoints[:, :tokens],
            keypoints_visible=score[:, :tokens],
            lifting_target=target,
            lifting_target_visible=np.repeat(valid[..., None], target.shape[-2], axis=-1),
            camera_param=camera_param,
            sequence=clip.astype(np.int64),
            frame_index=frames,
            start=center,
            counted=np.stack([np.zeros_like(counted), counted], axis=1),
            flip=flipped,
            action=[self.clips[c].action for c in clip],
            subject=[self.clips[c].subject for c in clip])


def _strides(strides) -> np.ndarray:
    """(n,) input strides, each once."""
    values = np.atleast_1d(np.asarray(strides))
    if values.ndim != 1 or values.dtype.kind not in 'iu' or len(set(values.tolist())) < max(
            len(values), 1):
        raise ValueError('input_strides: expected a whole number of frames, or a list of '
                         f'different ones, found {strides!r}')
    return values.astype(np.int64)
