"""What a network has to beat: the mean mesh of the training samples as the prediction for all."""

from functools import cached_property
from typing import Dict, Iterator, List, NamedTuple, Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, METRICS, MODELS
from mmpose.structures import PoseDataSample

from ..evaluation.aggregation import to_array
from ..evaluation.mesh_metric import MeshMetric
from ..geometry.skeletons import get_skeleton
from ..models.body import BodyModel

__all__ = ['AXES', 'MeanMesh', 'MeanMeshBaseline']

_PELVIS = get_skeleton('h36m').root_index
_BATCH_SIZE = 64
_FACING = np.diag([1., -1., -1.]).astype(np.float32)  # y up and facing +z to y down and facing -z
AXES = ('camera', 'body')


class MeanMesh(NamedTuple):
    """A mesh relative to its regressed pelvis; metres, camera axes."""
    vertices: torch.Tensor  # (V, 3)
    joints: torch.Tensor  # (17, 3), 'h36m'
    num_samples: int  # bodies that it is the mean of


class MeanMeshBaseline:
    """The mean mesh of a config's training samples, and its scores on the test set.

    The vertices of the labelled bodies, each relative to its regressed pelvis, are averaged; the
    result is one constant for all samples. Samples are those that the model would get, after
    pipeline and data preprocessor (not in training mode), with the labels ``gt_betas`` and
    ``gt_rotmats``, which the metric uses too.

    Args:
        config: Config with ``train_dataloader``, ``test_dataloader``, a ``test_evaluator`` of
            :class:`~mmpose_lift.evaluation.MeshMetric` and ``model.data_preprocessor``.
        device: Where bodies are posed; default: the best there is.
        seed: Of what data sets draw at random (cameras, augmentation).

    Raises:
        ValueError: The config has no such part.
    """

    def __init__(self, config: Config, device: Optional[str] = None, seed: int = 0) -> None:
        init_default_scope('mmpose')
        for name in ('train_dataloader', 'test_dataloader', 'test_evaluator'):
            if config.get(name) is None:
                raise ValueError(f'config {config.filename!r} has no {name}; expected a config of '
                                 'body meshes that trains and tests')
        evaluators = config.test_evaluator
        evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
        metrics = [METRICS.build(evaluator) for evaluator in evaluators]
        self.metrics: List[MeshMetric] = [m for m in metrics if isinstance(m, MeshMetric)]
        if not self.metrics:
            raise ValueError(f'config {config.filename!r}: expected a MeshMetric in '
                             'test_evaluator, found '
                             f'{", ".join(type(m).__name__ for m in metrics)}')
        self.config, self.seed = config, seed
        self.device = torch.device(device or get_device())
        self.preprocessor = MODELS.build(config.model.data_preprocessor).to(self.device)

    @cached_property
    def _train_set(self):
        return DATASETS.build(self.config.train_dataloader.dataset)

    @cached_property
    def _test_set(self):
        return DATASETS.build(self.config.test_dataloader.dataset)

    @property
    def body(self) -> BodyModel:
        """The body of the labels, on the device."""
        return self.metrics[0].bodies[''].on(torch.empty(0, device=self.device))

    @torch.no_grad()
    def mean_mesh(self, num_samples: int = 2000, axes: str = 'camera') -> MeanMesh:
        """The mean over samples at equal steps through the training set.

        Args:
            num_samples: How many are read; all where the set has fewer. Those without labelled body
                do not count.
            axes: 'camera': as bodies are seen. Where they turn every way, its limbs and shoulders
                shrink to the vertical, and no alignment brings them back. 'body': every body first
                turned to the camera, upright; the mean pose, and the one to beat by metrics after
                alignment.

        Raises:
            ValueError: ``num_samples`` below 1, other ``axes``, or no sample has a labelled body.
        """
        if axes not in AXES:
            raise ValueError(f'axes: expected one of {", ".join(AXES)}, found {axes!r}')
        if num_samples < 1:
            raise ValueError(f'num_samples: expected at least 1, found {num_samples}')
        set_random_seed(self.seed)
        dataset = self._train_set
        rows = np.linspace(0, len(dataset) - 1, min(num_samples, len(dataset))).round().astype(int)
        body, total, count = self.body, 0., 0
        facing = torch.tensor(_FACING, device=self.device)
        for samples in self._batches(dataset, rows):
            labels = [sample.gt_instances for sample in samples if 'gt_instances' in sample]
            labels = [found for found in labels if 'gt_betas' in found
                      and to_array(found.get('gt_body_valid', True)).all()]
            if not labels:
                continue
            betas, rotmats = (
                torch.as_tensor(np.concatenate([to_array(found[name]) for found in labels]),
                                dtype=torch.float32, device=self.device)
                for name in ('gt_betas', 'gt_rotmats'))
            if axes == 'body':
                rotmats[:, 0] = facing
            vertices, _ = body(betas, rotmats)
            vertices = vertices - body.h36m_joints(vertices)[:, _PELVIS, None]
            total, count = total + vertices.double().sum(0), count + len(vertices)
        if not count:
            raise ValueError(f'train_dataloader.dataset: none of {len(rows)} samples has a body '
                             'label (gt_betas, gt_rotmats, gt_body_valid in gt_instances); the '
                             'mean mesh needs a data set that has')
        mean = (total / count).float()
        return MeanMesh(mean.cpu(), body.h36m_joints(mean[None])[0].cpu(), count)

    @torch.no_grad()
    def score(self, mean: MeanMesh) -> Dict[str, float]:
        """The metric's keys on the whole test set with ``mean`` as every prediction."""
        set_random_seed(self.seed)
        dataset = self._test_set
        for metric in self.metrics:
            metric.dataset_meta = dataset.metainfo
        prediction = InstanceData(vertices=mean.vertices[None], h36m_joints=mean.joints[None])
        for samples in self._batches(dataset, np.arange(len(dataset))):
            for sample in samples:
                sample.pred_instances = prediction
            for metric in self.metrics:
                metric.process(None, [sample.to_dict() for sample in samples])
        scores: Dict[str, float] = {}
        for metric in self.metrics:
            scores.update(metric.evaluate(len(dataset)))
        return scores

    def _batches(self, dataset, rows: np.ndarray) -> Iterator[List[PoseDataSample]]:
        """Data samples as the model gets them."""
        for start in range(0, len(rows), _BATCH_SIZE):
            batch = pseudo_collate([dataset[int(row)] for row in rows[start:start + _BATCH_SIZE]])
            yield self.preprocessor(batch, training=False)['data_samples']
