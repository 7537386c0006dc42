"""The registered metric of models that lift sparse 2D input (Uplift and Upsample, WACV 2023)."""

from collections import defaultdict
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

from ..geometry.skeletons import get_skeleton
from .aggregation import (
    POSE_ERRORS,
    action_means,
    action_word,
    check_names,
    labels_of,
    to_array,
)
from .key_frames import fill_between
from .velocity import root_relative_velocity

_NEEDED = ('s_in', 's_in_frames', 'start', 'sequence')


class _Windows(NamedTuple):
    """What is kept of a batch of windows: arrays, since there may be a million windows."""
    clips: List[tuple]  # of data set, subject, action, number, mirrored, frame rate (0: unknown)
    index: np.ndarray  # (B, 6) int64: row of `clips`, start, counted frames [a, b), s_in (twice)
    pred: np.ndarray  # (B, K, 3) float32
    target: np.ndarray  # (B, S, K, 3) float32
    valid: Optional[np.ndarray]  # (B, S, K) bool, None: all counted joints are


class _Clip(NamedTuple):
    """A clip at one input stride, put together from its windows."""
    name: str
    action: str
    s_in: int
    s_in_frames: int
    fps: float
    frames: np.ndarray  # (F,) frame numbers, ascending
    predicted: np.ndarray  # (F,) bool: not interpolated
    pred: np.ndarray  # (F, K, 3), interpolated
    target: np.ndarray  # (F, K, 3)
    valid: np.ndarray  # (F, K) bool


class FrameErrors(NamedTuple):
    """Error and motion of every scored frame of one input stride, clip after clip."""
    error: np.ndarray  # (N,) MPJPE in mm, NaN where no joint is valid
    velocity: np.ndarray  # (N,) ground truth, m/s, NaN where the frame before is unknown


@METRICS.register_module()
class KeyFrameLiftingMetric(BaseMetric):
    """Errors over all frames and over the key-frames, for each input stride.

    A window predicts the pose of frame ``start`` of its clip and carries the ground truth of the
    frames ``start`` to ``start + S - 1``. Windows are grouped by input stride and clip; per clip
    the predictions are interpolated linearly to all frames that have ground truth, the last one is
    copied to the frames after it, and every frame counts once. A window that comes twice (padding
    of a distributed sampler) counts once. Where targets have one frame (validation), nothing is
    interpolated and any subset of frames can be scored.

    Keys, for s_in = 10: ``MPJPE/s_in=10``, all frames; ``MPJPE/s_in=10/key``, frames whose number
    is a multiple of s_in, as predicted, left out where there are none. As in
    :class:`LiftingMetric` these are unweighted means over the actions where the data set has
    actions, else means over frames; ``<key>/<action>`` and ``<key>/frame_mean`` are always what
    they say. Millimetres; PCK and AUC in percent.

    Samples need the metainfo ``sequence`` (number of the clip), ``start``, ``s_in`` (frames
    at the data set's rate) and ``s_in_frames`` (frames of the clip); ``counted`` [a, b), the target
    frames that exist (default: all), ``dataset_name``, ``subject``, ``action``, ``flip`` and
    ``fps`` (frame rate of the clip, for velocities) are used where present.

    Args:
        names: any of MPJPE, N-MPJPE, P-MPJPE, PCK (150 mm), AUC (0 to 150 mm).
        root_align: subtract the predicted root from the prediction and the root of the ground
            truth from the ground truth first [C].
        skeleton: where the root joint is looked up.
        collect_device, prefix: as in MMEngine.

    Raises:
        ValueError: unknown name.
    """

    default_prefix = ''  # the keys are the contract; None would warn about a missing prefix

    def __init__(self,
                 names: Sequence[str] = ('MPJPE', 'N-MPJPE', 'P-MPJPE'),
                 root_align: bool = True,
                 skeleton: str = 'h36m',
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.names = check_names('KeyFrameLiftingMetric', names, tuple(POSE_ERRORS))
        self.root_align = root_align
        self.root_index = get_skeleton(skeleton).root_index

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Keep predictions and ground truth of one batch, about 1.3 kB per window for S = 5.

        Args:
            data_batch: not used.
            data_samples: dicts with ``pred_instances.keypoints`` (1, K, 3), or (B, 1, K, 3) for a
                sample that holds a batch of windows; ``gt_instance_labels.lifting_target_label``
                (S, K, 3) or (B, S, K, 3), optionally ``lifting_target_weight`` (..., K), 0 =
                invalid joint; and the metainfo, with a leading B in the batched form.

        Raises:
            ValueError: shapes do not fit, metainfo is absent, or a prediction is not finite.
        """
        groups = defaultdict(list)
        for sample in data_samples:
            windows = _unpack(sample)
            groups[windows.target.shape[1:]].append(windows)
        # One result per batch on every rank: MMEngine's collection cuts all to the fewest.
        self.results.append([_joined(group) for group in groups.values()])

    def compute_metrics(self, results: List[list]) -> dict:
        """Clips, then actions, then the averages.

        Raises:
            ValueError: nothing to average, or frames of a clip that no window covers.
        """
        totals = {}  # [stride][key of the metric][action] = sum and weight
        for clip in self._clips(results):
            of_stride = totals.setdefault(clip.s_in, defaultdict(
                lambda: defaultdict(lambda: np.zeros(2))))
            key = clip.predicted & (clip.frames % clip.s_in_frames == 0)
            for name in self.names:
                errors = self._errors(clip, POSE_ERRORS[name])
                for suffix, used in (('', slice(None)), ('/key', key)):
                    of_stride[f'{name}/s_in={clip.s_in}{suffix}'][clip.action] += (
                        errors[used].sum(), clip.valid[used].sum())
        out = {}
        for s_in in sorted(totals):
            for key, per_action in totals[s_in].items():
                per_action = {a: (s, n) for a, (s, n) in per_action.items() if n > 0}
                if per_action:
                    out.update(action_means(key, per_action))
                elif not key.endswith('/key'):
                    raise ValueError(f'KeyFrameLiftingMetric: nothing to compute {key} from; no '
                                     'joint is valid')
        if not out:
            raise ValueError('KeyFrameLiftingMetric: no window was scored')
        return out

    def per_frame(self, results: Optional[List[list]] = None) -> Dict[int, FrameErrors]:
        """Error and ground-truth velocity of each frame, interpolated frames included.

        Call it before ``evaluate``, which forgets the results.

        Args:
            results: What :meth:`process` kept. Default: all of this process.

        Returns:
            For each s_in the arrays ``error`` and ``velocity``, what
            :func:`~mmpose_lift.evaluation.velocity.velocity_bins` takes.
        """
        found = defaultdict(list)
        for clip in self._clips(self.results if results is None else results):
            count = clip.valid.sum(1)
            total = self._errors(clip, POSE_ERRORS['MPJPE']).sum(1)
            error = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
            if not clip.fps > 0:
                raise ValueError(f'KeyFrameLiftingMetric, clip {clip.name}: velocities need the '
                                 "frame rate; add 'fps' to the meta_keys of PackPoseInputs")
            velocity = root_relative_velocity(clip.target, clip.fps, self.root_index)
            whole = clip.valid.all(1)
            follows = (np.diff(clip.frames) == 1) & whole[1:] & whole[:-1]
            velocity[1:][~follows] = np.nan
            found[clip.s_in].append((error, velocity))
        return {s_in: FrameErrors(*(np.concatenate(x) for x in zip(*parts)))
                for s_in, parts in sorted(found.items())}

    def _errors(self, clip: _Clip, function) -> np.ndarray:
        """(F, K) errors of a clip, 0 where the joint is not valid."""
        pred, target = clip.pred, clip.target
        if self.root_align:
            pred, target = (x - x[:, self.root_index, None] for x in (pred, target))
        try:
            return function(pred, target, clip.valid)
        except ValueError as e:
            raise ValueError(f'KeyFrameLiftingMetric, clip {clip.name}: {e}') from e

    @staticmethod
    def _clips(results: List[list]) -> Iterator[_Clip]:
        """The clips of every input stride, strides in ascending order."""
        # MMEngine's collection rebuilds named tuples as plain ones.
        chunks = [_Windows(*chunk) for batch in results for chunk in batch]
        groups = defaultdict(dict)  # [stride, clip][start] = chunk, row
        for chunk in chunks:
            for row, (clip, start, *_, s_in, _) in enumerate(chunk.index.tolist()):
                groups[s_in, chunk.clips[clip]].setdefault(start, (chunk, row))
        for s_in, clip in sorted(groups):
            yield _assemble(s_in, clip, groups[s_in, clip])


def _assemble(s_in: int, clip: tuple, windows: dict) -> _Clip:
    """One clip from its windows {start: (chunk, row)}."""
    dataset, subject, action, number, mirrored, fps = clip
    name = ' '.join(filter(None, [dataset, subject, action, f'(number {number})',
                                  mirrored and 'mirrored']))
    starts = np.array(sorted(windows))
    rows = [windows[start] for start in starts.tolist()]
    spans = np.array([chunk.index[row, 2:4] for chunk, row in rows])
    frames = np.concatenate([start + np.arange(*span) for start, span in zip(starts, spans)])
    target = [chunk.target[row, slice(*span)] for (chunk, row), span in zip(rows, spans)]
    valid = [np.ones(t.shape[:-1], bool) if chunk.valid is None else chunk.valid[row, slice(*span)]
             for (chunk, row), span, t in zip(rows, spans, target)]
    frames, first = np.unique(frames, return_index=True)
    gaps = np.flatnonzero(np.diff(frames) > 1)
    if len(gaps) and (spans[:, 1] - spans[:, 0]).max() > 1:
        before, after = frames[gaps[0]:gaps[0] + 2]
        raise ValueError(
            f'KeyFrameLiftingMetric, clip {name}, s_in={s_in}: no window covers the frames '
            f'{before + 1} to {after - 1} ({len(gaps)} such gaps). The targets of the windows must '
            'reach from one predicted frame to the next; were all windows of the clip scored?')
    pred = np.stack([chunk.pred[row] for chunk, row in rows])
    s_in_frames = int(rows[0][0].index[rows[0][1], 5])
    return _Clip(name, action_word(action), s_in, s_in_frames, fps, frames,
                 np.isin(frames, starts), fill_between(pred, starts, frames),
                 np.concatenate(target)[first], np.concatenate(valid)[first])


def _joined(group: List[_Windows]) -> _Windows:
    """One record of several with targets of equal shape."""
    if len(group) == 1:
        return group[0]
    clips = sorted({clip for windows in group for clip in windows.clips})
    number = {clip: i for i, clip in enumerate(clips)}
    index = np.concatenate([windows.index for windows in group])
    index[:, 0] = np.concatenate(
        [[number[windows.clips[i]] for i in windows.index[:, 0]] for windows in group])
    valid = None
    if any(windows.valid is not None for windows in group):
        valid = np.concatenate([np.ones(w.target.shape[:-1], bool) if w.valid is None else w.valid
                                for w in group])
    return _Windows(clips, index, np.concatenate([w.pred for w in group]),
                    np.concatenate([w.target for w in group]), valid)


def _unpack(sample: dict) -> _Windows:
    """The windows of one sample, copied: what the loader gives may lie in shared memory."""
    labels = labels_of(sample, 'KeyFrameLiftingMetric')
    pred = to_array(sample['pred_instances']['keypoints'])
    target = to_array(labels['lifting_target_label'])
    weight = labels.get('lifting_target_weight')
    weight = None if weight is None else to_array(weight)
    if target.ndim not in (3, 4) or target.shape[-1] != 3 or pred.shape != (
            *target.shape[:-3], 1, *target.shape[-2:]):
        raise ValueError(
            'KeyFrameLiftingMetric: expected a prediction (1, K, 3) and a target (S, K, 3), or (B, '
            f'1, K, 3) and (B, S, K, 3) for a batch, found {pred.shape} and {target.shape}')
    if weight is not None and weight.shape != target.shape[:-1]:
        raise ValueError(f'KeyFrameLiftingMetric: lifting_target_weight must have shape '
                         f'{target.shape[:-1]}, one value per joint, found {weight.shape}')
    batched = target.ndim == 4
    if not batched:
        pred, target = pred[None], target[None]
        weight = None if weight is None else weight[None]
    clips, index = _origin(sample, batched, len(target), target.shape[1])
    finite = np.isfinite(pred).all((1, 2, 3))
    if not finite.all():
        clip, start = index[int(np.flatnonzero(~finite)[0]), :2]
        raise ValueError(f'KeyFrameLiftingMetric: {(~finite).sum()} predictions are not finite, '
                         f'the first at frame {start} of clip {clips[clip][1:4]}. Training '
                         'diverged, or the checkpoint is damaged')
    frame = np.arange(target.shape[1])
    counted = (frame >= index[:, 2, None]) & (frame < index[:, 3, None])
    valid = None
    if weight is not None and not (weight[counted] != 0).all():
        valid = weight != 0
    return _Windows(clips, index, np.array(pred[:, 0], np.float32), np.array(target, np.float32),
                    valid)


def _origin(sample: dict, batched: bool, size: int, frames: int):
    """Clips and `index` of the ``size`` windows of a sample, see :class:`_Windows`."""
    missing = [key for key in _NEEDED if sample.get(key) is None]
    if missing:
        raise ValueError(f'KeyFrameLiftingMetric: no {", ".join(missing)} in the metainfo of a '
                         'data sample; use a KeyFrameSequenceDataset and name them in meta_keys of '
                         'PackPoseInputs')

    def column(key, default):
        value = sample.get(key)
        if value is None:
            return [default] * size
        return list(value) if batched else [value]

    numbers = np.array([column(key, None) for key in ('start', 's_in', 's_in_frames')]).astype(int)
    spans = np.array([np.asarray(span) for span in column('counted', (0, frames))]).reshape(-1, 2)
    bad = (spans[:, 0] < 0) | (spans[:, 1] > frames) | (spans[:, 0] >= spans[:, 1])
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(f'KeyFrameLiftingMetric: counted frames {spans[i].tolist()} of the window '
                         f'at frame {numbers[0, i]} are none, or do not lie in its target of '
                         f'{frames} frames')
    if (numbers[1:] < 1).any():
        raise ValueError('KeyFrameLiftingMetric: s_in and s_in_frames must be at least 1 frame, '
                         f'found {numbers[1:].min()}')
    dataset = str(sample.get('dataset_name', ''))  # keeps clips of joined data sets apart
    clips = [(dataset, str(subject), str(action), int(number), bool(flip), float(fps))
             for subject, action, number, flip, fps in zip(
                 column('subject', ''), column('action', ''), column('sequence', None),
                 column('flip', False), column('fps', 0))]
    unique = sorted(set(clips))
    row = {clip: i for i, clip in enumerate(unique)}
    clip = [row[c] for c in clips]
    return unique, np.column_stack([clip, numbers[0], spans, *numbers[1:]]).astype(np.int64)
