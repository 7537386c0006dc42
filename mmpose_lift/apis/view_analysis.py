"""What the virtual cameras of mesh pre-training see of a body, and what a network makes of it."""

from copy import deepcopy
from typing import List, Optional, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS

from ..geometry.camera_ring import virtual_cameras
from ..geometry.cameras import CAMERA_SHAPES, Camera
from ..geometry.skeletons import get_skeleton
from ..geometry.torch_rotations import axis_angle_to_matrix
from ..models.body import BodyModel
from ..visualization.virtual_views import SeenBody
from .command_line import load_weights

__all__ = ['VirtualViews']

_PELVIS = get_skeleton('h36m').root_index


class VirtualViews:
    """Samples of a pre-training config through cameras of one's choice, without augmentation.

    Args:
        config: Config with a ``test_dataloader`` of
            :class:`~mmpose_lift.datasets.BodyMotionDataset` and a model with the
            :class:`~mmpose_lift.models.VirtualViewPreprocessor`.
        checkpoint: Weights of the config's model; None looks at the input only.
        device: Default: the best there is.

    Raises:
        ValueError: The config is none of pre-training, or the checkpoint none of its model.
    """

    def __init__(self, config: Config, checkpoint: Optional[str] = None,
                 device: Optional[str] = None) -> None:
        init_default_scope('mmpose')
        self.device = torch.device(device or get_device())
        preprocessor = MODELS.build(config.model.get('data_preprocessor'))
        if not hasattr(preprocessor, 'heatmap_size'):
            raise ValueError(
                f'config {config.filename!r}: virtual views need a config of mesh pre-training, '
                'whose model.data_preprocessor is a VirtualViewPreprocessor; found '
                f'{type(preprocessor).__name__}')
        self.model = None
        if checkpoint is not None:
            self.model = MODELS.build(config.model)
            load_weights(self.model, checkpoint)
            self.model.to(self.device).eval()
            preprocessor = self.model.data_preprocessor
        self.preprocessor = preprocessor.to(self.device)
        self.dataset = DATASETS.build(dict(config.test_dataloader.dataset, all_views=False))

    @property
    def body(self) -> BodyModel:
        """The body of the labels, on the device."""
        return self.preprocessor.body_model.body

    def name(self, sample: int) -> str:
        """File and frame of a sample."""
        return self.dataset[sample]['data_samples'].img_path

    @torch.no_grad()
    def see(self, sample: int, views: Union[int, str] = 8) -> List[SeenBody]:
        """One sample through several cameras.

        Args:
            sample: Its number in the test data set, each frame once.
            views: See :func:`~mmpose_lift.geometry.camera_ring.virtual_cameras`.

        Raises:
            ValueError: There is no such sample, or there are no such cameras.
        """
        if not 0 <= sample < len(self.dataset):
            raise ValueError(f'sample: expected 0 to {len(self.dataset) - 1} (frames of the test '
                             f'data set), found {sample}')
        found, cameras = self.dataset[sample], virtual_cameras(views)
        vertices = self._in_world(found['inputs'])
        batch = self.preprocessor(pseudo_collate([_through(found, camera) for camera in cameras]),
                                  training=False)
        seen = [SeenBody(camera, vertices, maps, data_sample.gt_instances.bboxes[0])
                for camera, maps, data_sample in zip(cameras, batch['inputs'].cpu().numpy(),
                                                     batch['data_samples'])]
        return seen if self.model is None else self._with_predictions(seen, batch)

    def _in_world(self, inputs: dict) -> np.ndarray:
        """(V, 3) world metres, the pelvis above the origin at its height in the file."""
        body = self.body
        pose, betas = (torch.as_tensor(inputs[name], device=self.device)[None]
                       for name in ('poses', 'betas'))
        vertices, _ = body(betas[:, :body.num_shapes], axis_angle_to_matrix(pose))
        pelvis = body.h36m_joints(vertices)[0, _PELVIS]
        above_origin = [-pelvis[0].item(), -pelvis[1].item(), inputs['trans'][2].item()]
        return vertices[0].cpu().numpy() + np.array(above_origin)

    def _with_predictions(self, seen: List[SeenBody], batch: dict) -> List[SeenBody]:
        samples = self.model(batch['inputs'], batch['data_samples'], mode='predict')
        completed = []
        for view, sample in zip(seen, samples):
            predicted = sample.pred_instances.vertices[0].cpu().numpy().astype(np.float64)
            true = view.camera.world_to_camera(view.vertices)
            pelvis = self.body.h36m_joints(torch.as_tensor(true, dtype=torch.float32,
                                                           device=self.device)[None])
            pelvis = pelvis[0, _PELVIS].cpu().numpy().astype(np.float64)
            error = 1000 * np.linalg.norm(predicted - (true - pelvis), axis=1).mean()
            completed.append(view._replace(predicted=predicted, pelvis=pelvis, error=error))
        return completed


def _through(found: dict, camera: Camera) -> dict:
    """A sample as another camera sees it."""
    arrays = {name: np.asarray(getattr(camera, name), np.float32) for name in CAMERA_SHAPES}
    sample = deepcopy(found['data_samples'])
    sample.set_metainfo(dict(camera=camera.name))
    return dict(inputs={**found['inputs'], **arrays}, data_samples=sample)
