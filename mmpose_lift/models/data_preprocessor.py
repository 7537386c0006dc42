"""Batches of keypoint sequences for lifting models."""

from typing import List

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample


@MODELS.register_module()
class LiftingDataPreprocessor(BaseDataPreprocessor):
    """Move a batch to the model's device and make its inputs one float32 tensor.

    Two forms come in: a list of B windows (T, K, C), each with its own data sample (MMPose's usual
    form), or a list of one batch (B, T, K, C) with one data sample whose instances are the windows
    (what :class:`PoseSequenceDataset` reads in one go).

    Args:
        split_batches: Give the model one data sample per window also in the second form, as
            MMPose's own heads expect.
        non_blocking: Copy to the device without waiting.
    """

    def __init__(self, split_batches: bool = False, non_blocking: bool = False):
        super().__init__(non_blocking)
        self.split_batches = split_batches

    def forward(self, data: dict, training: bool = False) -> dict:
        """
        Args:
            data: ``inputs``: list of tensors as above, or a tensor; ``data_samples``: list or None.

        Returns:
            dict with ``inputs`` (B, T, K, C) float32 and ``data_samples``.
        """
        data = self.cast_data(data)
        inputs, samples = data['inputs'], data.get('data_samples')
        if not isinstance(inputs, torch.Tensor):
            shapes = {tuple(x.shape) for x in inputs}
            if len(shapes) > 1:
                raise ValueError(f'inputs: all windows of a batch need one shape, found {shapes}')
            batched = len(inputs) == 1 and (inputs[0].ndim == 4 or _is_batch(samples))
            inputs = inputs[0] if batched else torch.stack(list(inputs))
        if self.split_batches and _is_batch(samples):
            samples = split_batch(samples[0])
        return dict(inputs=inputs.float(), data_samples=samples)


def _is_batch(samples) -> bool:
    if not samples or len(samples) != 1 or 'gt_instance_labels' not in samples[0]:
        return False
    label = samples[0].gt_instance_labels.get('lifting_target_label')
    return label is not None and label.ndim == 4


def split_batch(batch: PoseDataSample) -> List[PoseDataSample]:
    """One data sample per window of a sample that holds B windows.

    Labels lose their batch axis, and weights of one are added where no joint is unknown. Entries of
    the metainfo that have one value per window are split, others (``flip_indices``) are shared.
    """
    labels = dict(batch.gt_instance_labels.items())
    count = len(labels['lifting_target_label'])
    labels.setdefault('lifting_target_weight',
                      torch.ones_like(labels['lifting_target_label'][..., 0]))
    per_window = {'sequence', 'start', 'counted', 'action', 'subject', 'flip'}
    samples = []
    for i in range(count):
        meta = {k: v[i] if k in per_window else v for k, v in batch.metainfo.items()
                if k != 'camera_param'}
        if 'camera_param' in batch.metainfo:
            meta['camera_param'] = {k: v[i] for k, v in batch.metainfo['camera_param'].items()}
        sample = PoseDataSample(metainfo=meta)
        sample.gt_instance_labels = InstanceData(**{k: v[i] for k, v in labels.items()})
        samples.append(sample)
    return samples
