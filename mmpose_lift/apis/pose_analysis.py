"""Predictions of a lifting model beside the ground truth, for chosen frames of a test clip."""

from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS
from torch import nn

from ..datasets.key_frame_dataset import KeyFrameSequenceDataset
from ..datasets.pose_sequence_dataset import PoseSequenceDataset
from ..datasets.windows import target_frame
from .analysis import find_clip
from .command_line import load_weights

WORST_APART = 25


class FramePoses(NamedTuple):
    """Some frames of a clip, in the arguments' order of
    :func:`~mmpose_lift.visualization.analysis_plots.plot_poses`."""
    frames: np.ndarray  # (n,) numbers in the clip
    keypoints: np.ndarray  # (n, K, 2) 2D input, pixels
    poses: np.ndarray  # (n, K, 3) prediction, root-relative camera-frame metres
    truth: np.ndarray  # (n, K, 3) likewise, NaN where a joint is unknown
    errors: np.ndarray  # (n,) MPJPE of the known joints in mm, NaN where all are unknown


def load_model(config: Config, checkpoint: str, device: Optional[str] = None) -> nn.Module:
    """The model of a config with the weights of a checkpoint, in evaluation mode.

    Raises:
        ValueError: A checkpoint of another model.
        FileNotFoundError: No such checkpoint.
    """
    init_default_scope('mmpose')
    model = MODELS.build(config.model)
    load_weights(model, checkpoint)
    return model.to(device or get_device()).eval()


class TestPredictions:
    """Predictions of a model on single frames of a config's test data set.

    The windows are those of the data set. Where several hold a frame (``windows='paper'`` or
    overlapping ones), it is taken from the one that shows most frames on both sides of it; copies
    of a frame that pad a window are not taken.

    Args:
        config: Config whose ``test_dataloader`` reads a :class:`PoseSequenceDataset`.
        model: Its model, in evaluation mode.

    Raises:
        ValueError: Another data set, or what the data set raises.
    """

    __test__ = False  # not for pytest

    def __init__(self, config: Config, model: nn.Module) -> None:
        init_default_scope('mmpose')
        options = config.test_dataloader.dataset.to_dict()
        kind = DATASETS.get(options['type'])
        if kind is KeyFrameSequenceDataset:
            raise ValueError('test_dataloader.dataset: this model sees key-frames only; draw its '
                             'predictions with the subject keyframes (tools/analyze.py keyframes)')
        if kind is not PoseSequenceDataset:
            raise ValueError('test_dataloader.dataset: expected a PoseSequenceDataset, found '
                             f'{options["type"]}; convert the data with tools/prepare_data.py')
        options['flip'] = None
        self._dataset = DATASETS.build(options)
        self._model = model
        self._batch_size = int(config.test_dataloader.get('batch_size', 1))
        self.clips = self._dataset.clips
        self.skeleton = self._dataset.skeleton.name

    @property
    def names(self) -> List[str]:
        return [clip.name for clip in self.clips]

    def find(self, which: str) -> int:
        """Number of a clip, see :func:`~mmpose_lift.apis.analysis.find_clip`."""
        return find_clip(self.names, which)

    def evenly_spaced(self, clip: int, count: int) -> np.ndarray:
        """(count,) frames over the whole clip, all frames of a shorter one."""
        _check_count(count)
        last = self.clips[clip].num_frames - 1
        return np.unique(np.linspace(0, last, count).round().astype(int))

    def worst(self, clip: int, count: int, apart: int = WORST_APART) -> FramePoses:
        """The frames with the largest errors of a clip, the worst one first.

        Args:
            clip: Number of the clip.
            count: How many, fewer in a short clip.
            apart: Frames between two of them at least, so that they show different moments.

        Raises:
            ValueError: Less than one frame wanted, or no frame of the clip has ground truth.
        """
        _check_count(count)
        if apart < 1:
            raise ValueError(f'apart: expected at least 1 frame, found {apart}')
        found = self.read(clip, np.arange(self.clips[clip].num_frames))
        errors, chosen = found.errors.copy(), []
        while len(chosen) < count and not np.isnan(errors).all():
            chosen.append(int(np.nanargmax(errors)))
            errors[max(chosen[-1] - apart + 1, 0):chosen[-1] + apart] = np.nan
        if not chosen:
            raise ValueError(f'clip {self.clips[clip].name}: no frame has ground truth, so none is '
                             'the worst; choose frames by their numbers')
        return FramePoses(*(array[chosen] for array in found))

    @torch.inference_mode()
    def read(self, clip: int, frames: Sequence[int]) -> FramePoses:
        """Predict some frames of a clip through the model's ``test_step``.

        Args:
            clip: Number of the clip.
            frames: (n,) frame numbers in any order.

        Raises:
            ValueError: No frames or frames outside the clip, or a prediction that is not finite or
                of another shape than the target.
        """
        frames = np.asarray(frames, int)
        last = self.clips[clip].num_frames - 1
        if frames.ndim != 1 or not len(frames) or frames.min() < 0 or frames.max() > last:
            raise ValueError(f'frames: expected numbers from 0 to {last} (clip '
                             f'{self.clips[clip].name}), found {frames.tolist()[:8]}')
        windows, positions = (table[frames] for table in self._whereabouts(clip))
        joints = self._dataset.skeleton.num_joints
        keypoints = np.empty((len(frames), joints, 2), np.float32)
        poses = np.empty((len(frames), joints, 3), np.float32)
        truth = np.empty_like(poses)
        needed = np.unique(windows)
        for first in range(0, len(needed), self._batch_size):
            batch = needed[first:first + self._batch_size]
            seen, predicted, target = self._predict(batch)
            mine = np.flatnonzero(np.isin(windows, batch))
            row, at = np.searchsorted(batch, windows[mine]), positions[mine]
            keypoints[mine] = seen[row, at]
            if target.shape[1] == 1:  # the one target of a window
                at = np.zeros_like(at)
            poses[mine], truth[mine] = predicted[row, at], target[row, at]
        if not np.isfinite(poses).all():
            raise ValueError(f'clip {self.clips[clip].name}: the model gives NaN or infinite '
                             'joints; was the checkpoint trained with this config?')
        errors = 1000 * np.linalg.norm(poses.astype(np.float64) - truth, axis=-1)
        known = np.isfinite(errors)
        sums = np.where(known, errors, 0).sum(-1)
        means = np.where(known.any(-1), sums / np.maximum(known.sum(-1), 1), np.nan)
        return FramePoses(frames, keypoints, poses, truth, means)

    def _whereabouts(self, clip: int) -> Tuple[np.ndarray, np.ndarray]:
        """(F,) window of the data set and (F,) position in it from which each frame is taken."""
        data, length = self._dataset, self._dataset.seq_len
        windows = np.flatnonzero(data._clip == clip)
        phase, start, step = data._phase[windows], data._start[windows], data._clip_step[clip]
        frames = self.clips[clip].num_frames
        sub_frames = -(-(frames - phase) // step)  # of the interleaved clip
        position = np.arange(length)
        inside = start[:, None] + position
        counts = (inside >= 0) & (inside < sub_frames[:, None])
        if data.windows == 'frames':
            counts &= position == target_frame(length, data.causal)
        else:
            first, last = data._counted[windows].T
            counts &= (position >= first[:, None]) & (position < last[:, None])
        row, at = np.nonzero(counts)
        # most context last, and the earlier of two equal windows: what is written last remains
        order = np.lexsort((-row, np.minimum(at, length - 1 - at)))
        row, at = row[order], at[order]
        table = np.full((2, frames), -1)
        table[:, inside[row, at] * step + phase[row]] = windows[row], at
        return table[0], table[1]

    def _predict(self, windows: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """2D (B, T, K, 2) pixels, prediction and target (B, T', K, 3) of windows (B,)."""
        batched = self._dataset.batched
        items, seen = [], []
        for numbers in [windows] if batched else windows:
            item = self._dataset.read(np.asarray(numbers))
            keypoints = item['keypoints']
            for transform in self._dataset.pipeline.transforms:
                item = transform(item)
                keypoints = item.get('keypoints', keypoints)  # the packed sample has them no more
            items.append(item)
            seen.append(keypoints if batched else keypoints[None])
        predicted, target = [], []
        for sample in self._model.test_step(pseudo_collate(items)):
            labels = sample.gt_instance_labels
            truth = _array(labels.lifting_target_label).copy()
            pose = _array(sample.pred_instances.keypoints)
            if pose.shape != truth.shape:
                raise ValueError(f'the model predicts {pose.shape} where the target of the test '
                                 f'data set is {truth.shape}; a picture needs all its joints and '
                                 'frames (test_cfg.output_keypoint_indices, windows)')
            if 'lifting_target_weight' in labels:
                truth[_array(labels.lifting_target_weight) == 0] = np.nan
            shape = (-1, *truth.shape[-3:])
            predicted.append(pose.reshape(shape))
            target.append(truth.reshape(shape))
        return np.concatenate(seen), np.concatenate(predicted), np.concatenate(target)


def _array(values) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f'count: expected at least 1 frame, found {count}')
