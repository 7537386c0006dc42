"""The registered metric of sequence lifting models (evaluation protocol of MixSTE, CVPR 2022)."""

from collections import defaultdict
from itertools import chain
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

from ..geometry.skeletons import get_skeleton
from .aggregation import (
    MM,
    POSE_ERRORS,
    action_means,
    action_word,
    check_names,
    labels_of,
    to_array,
)
from .functional import velocity_errors


class _Window(NamedTuple):
    """What is kept of one window; small, since there may be one window per frame."""
    clip: Optional[tuple]  # None: a clip of its own
    start: int
    action: str
    sums: np.ndarray  # valid joints, velocities, their sum (m), then the sums of the metrics
    edges: np.ndarray  # (2, K, 3) or (1, K, 3) float32: pred - gt of first and last counted frame


@METRICS.register_module()
class LiftingMetric(BaseMetric):
    """MPJPE, P-MPJPE, N-MPJPE (mm), MPJVE (mm per frame), PCK and AUC (%) of sequence models.

    Windows are grouped into clips (metainfo `sequence`, `start`) and only the frames of the range
    `counted` take part, so the data set decides whether frames seen by two windows count twice, as
    in the papers, or once. A window that comes twice (padding of a distributed sampler) counts
    once. Per clip the metrics are means over frames; clips are weighted by their frames.

    Keys: the plain `<key>` is the unweighted mean over the actions where the data set has actions,
    else the mean over frames; `<key>/<action>` and `<key>/frame_mean` are always what they say.
    The action is the text before the first space or underscore ("Walking 1" is Walking).

    Poses are root-relative metres. The prediction is not moved to its own root (public code of
    MixSTE) unless `root_align` is set. Samples without `sequence`, `start` and `counted` (other
    data sets) are each a clip of their own.

    Args:
        names: any of MPJPE, P-MPJPE, N-MPJPE, MPJVE, PCK (150 mm), AUC (0 to 150 mm).
        velocity: 'clip': the counted frames of all windows of a clip are joined in window order
            and differenced, jumps between windows included (published numbers); 'window':
            differences inside windows only.
        root_align: subtract the root joint from prediction and target first.
        skeleton: where the root joint is looked up.
        collect_device, prefix: as in MMEngine.

    Raises:
        ValueError: unknown option.
    """

    default_prefix = ''  # the keys are the contract; None would warn about a missing prefix

    def __init__(self,
                 names: Sequence[str] = ('MPJPE', 'P-MPJPE', 'N-MPJPE', 'MPJVE'),
                 velocity: str = 'clip',
                 root_align: bool = False,
                 skeleton: str = 'h36m',
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        names = check_names('LiftingMetric', names, (*POSE_ERRORS, 'MPJVE'))
        if velocity not in ('clip', 'window'):
            raise ValueError("LiftingMetric: velocity must be 'clip' or 'window', found "
                             f'{velocity!r}')
        self.names = names
        self.velocity = velocity
        self.root_align = root_align
        self.root_index = get_skeleton(skeleton).root_index
        self._error_names = [m for m in names if m != 'MPJVE']
        self._clips = {}  # shares one tuple between the windows of a clip

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Score one batch.

        Args:
            data_batch: not used.
            data_samples: dicts with `pred_instances.keypoints` (T', K, 3), or (B, T', K, 3) for a
                sample that holds a batch of windows; `gt_instance_labels.lifting_target_label` of
                the same shape, optionally `lifting_target_weight` (..., K), 0 = invalid joint; and
                the metainfo, with a leading B in the batched form.

        Raises:
            ValueError: shapes differ, or a pose is not finite.
        """
        groups = defaultdict(list)
        for sample in data_samples:
            unpacked = _unpack(sample)
            groups[unpacked[0].shape[1:]].append(unpacked)
        for group in groups.values():
            poses = [np.concatenate(parts) for parts in list(zip(*group))[:3]]
            infos = list(chain.from_iterable(infos for *_, infos in group))
            self._score(*poses, infos)

    def _score(self, pred, gt, valid, infos: List[dict]) -> None:
        """Add windows (B, T', K, 3), (B, T', K, 3), (B, T', K) to the results."""
        frames = pred.shape[1]
        first, last = counted_frames(infos, frames)
        time = np.arange(frames)
        counted = (time >= first[:, None]) & (time < last[:, None])
        weight = (valid != 0) & counted[..., None]
        if self.root_align:
            pred, gt = (x - x[:, :, self.root_index, None] for x in (pred, gt))
        try:
            errors = [POSE_ERRORS[name](pred, gt, weight) for name in self._error_names]
            steps = velocity_errors(pred, gt, weight) if frames > 1 else np.zeros((len(pred), 0, 1))
        except ValueError as e:
            names = ', '.join(str(info['name']) for info in infos[:3])
            raise ValueError(f'LiftingMetric, windows {names}{", ..." * (len(infos) > 3)}: {e}. A '
                             'prediction that is not finite means that training diverged or the '
                             'checkpoint is damaged') from e
        both = weight[:, 1:] & weight[:, :-1]
        sums = np.stack([weight.sum((1, 2)), both.sum((1, 2)), steps.sum((1, 2))]
                        + [e.sum((1, 2)) for e in errors], axis=1)
        edges = self._edges(pred, gt, weight, first, last)
        for i, info in enumerate(infos):
            if last[i] > first[i]:
                clip = info['clip'] and self._clips.setdefault(info['clip'], info['clip'])
                self.results.append(
                    _Window(clip, info['start'], info['action'], sums[i], edges[i]))

    def _edges(self, pred, gt, weight, first, last):
        if 'MPJVE' not in self.names or self.velocity == 'window':
            return np.empty((len(pred), 0, 0, 3), np.float32)
        rows, last = np.arange(len(pred))[:, None], np.maximum(last - 1, 0)
        single = bool((first == last).all())
        frames = first[:, None] if single else np.stack([first, last], axis=1)
        frames = np.minimum(frames, pred.shape[1] - 1)
        edges = (pred[rows, frames].astype(np.float64) - gt[rows, frames]).astype(np.float32)
        edges[~weight[rows, frames]] = np.nan
        return edges

    def compute_metrics(self, results: List[_Window]) -> dict:
        """Clips, then actions, then the averages.

        Raises:
            ValueError: nothing to average, or MPJVE is asked for and no clip has two frames.
        """
        clips = {}
        # MMEngine's collection rebuilds named tuples as plain ones.
        for number, window in enumerate(_Window(*result) for result in results):
            key = (number, ) if window.clip is None else window.clip
            clips.setdefault(key, {}).setdefault(window.start, window)
        totals = defaultdict(lambda: defaultdict(lambda: np.zeros(2)))  # [sum, weight]
        for windows in clips.values():
            windows = [windows[start] for start in sorted(windows)]
            action = action_word(windows[0].action)
            sums = np.sum([w.sums for w in windows], axis=0)
            for i, name in enumerate(self._error_names):
                totals[name][action] += sums[3 + i], sums[0]
            if 'MPJVE' in self.names:
                value = self._clip_velocity(windows, *sums[1:3])
                if value is not None:
                    totals['MPJVE'][action] += value * sums[0], sums[0]
        return self._summary(totals)

    def _clip_velocity(self, windows: List[_Window], count, total) -> Optional[float]:
        """MPJVE of a clip in mm per frame, None where it has no velocity."""
        if self.velocity == 'clip' and len(windows) > 1:
            before = np.stack([w.edges[-1] for w in windows[:-1]]).astype(np.float64)
            after = np.stack([w.edges[0] for w in windows[1:]]).astype(np.float64)
            jumps = np.linalg.norm(after - before, axis=-1)
            known = np.isfinite(jumps)
            count, total = count + known.sum(), total + jumps[known].sum()
        return total / count * MM if count else None

    def _summary(self, totals: dict) -> dict:
        out = {}
        for name in self.names:
            per_action = {a: (s, n) for a, (s, n) in totals[name].items() if n > 0}
            if not per_action:
                raise ValueError(
                    f'LiftingMetric: nothing to compute {name} from; ' + (
                        'no clip has two frames with a valid joint in a row, remove MPJVE from '
                        "metrics or use velocity='clip'" if name == 'MPJVE' else
                        'no window was scored or no joint is valid'))
            out.update(action_means(name, per_action))
        return out


def _unpack(sample: dict):
    """Prediction, target (B, T', K, 3), validity (B, T', K) and B window infos of one sample."""
    labels = labels_of(sample, 'LiftingMetric')
    pred = to_array(sample['pred_instances']['keypoints'])
    gt = to_array(labels['lifting_target_label'])
    batched = gt.ndim == 4
    if pred.shape != gt.shape or gt.ndim not in (3, 4) or gt.shape[-1] != 3:
        raise ValueError("LiftingMetric: prediction and target must both be (T', K, 3), or "
                         f"(B, T', K, 3) for a batch, found {pred.shape} and {gt.shape}")
    valid = labels.get('lifting_target_weight')
    valid = np.ones(gt.shape[:-1], bool) if valid is None else to_array(valid)
    if valid.shape != gt.shape[:-1]:
        raise ValueError(f'LiftingMetric: lifting_target_weight must have shape {gt.shape[:-1]}, '
                         f'one value per joint, found {valid.shape}')
    if batched:
        return pred, gt, valid, [_info(sample, i) for i in range(len(gt))]
    return pred[None], gt[None], valid[None], [_info(sample)]


def _info(sample: dict, row: Optional[int] = None) -> dict:
    """Which clip and frames a window belongs to; `row` of the batched form."""
    def get(key, default):
        value = sample.get(key)
        if value is None:
            return default
        return value if row is None else value[row]

    sequence, start, counted = (get(key, None) for key in ('sequence', 'start', 'counted'))
    subject, action = str(get('subject', '')), str(get('action', ''))
    clip = None
    if sequence is not None and start is not None:
        # The data set's name keeps clips of joined data sets apart.
        dataset = sample.get('dataset_name', '')
        clip = (str(dataset), subject, action, int(sequence))
    name = '(no clip named)' if clip is None else (
        f'at frame {int(start)} of clip {int(sequence)} {subject} {action}'.strip())
    return dict(clip=clip, start=0 if clip is None else int(start), action=action, name=name,
                counted=counted)


def counted_frames(infos: List[dict], frames: int):
    """(B,) first and (B,) last + 1 counted frame of windows with targets of ``frames`` frames.

    Raises:
        ValueError: a range does not lie in the target.
    """
    spans = np.array([(0, frames) if info['counted'] is None else np.asarray(info['counted'])
                      for info in infos]).reshape(-1, 2)
    bad = (spans[:, 0] < 0) | (spans[:, 1] > frames) | (spans[:, 0] > spans[:, 1])
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        raise ValueError(f'LiftingMetric, window {infos[i]["name"]}: counted frames '
                         f'{spans[i].tolist()} do not lie in a target of {frames} frames')
    return spans[:, 0], spans[:, 1]
