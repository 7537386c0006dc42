"""What a loaded model of body meshes says of people, whatever it predicts: bodies of SMPL."""

from abc import ABC, abstractmethod
from functools import cached_property
from typing import List, NamedTuple, Optional

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from ..models.backbones import HeatmapInput
from ..models.body import BodyModel
from ..models.body.surface_fitting import fit_surface
from ..models.heads import BaseMeshHead, MPTHead
from .heatmap_source import HeatmapSource

__all__ = ['Bodies', 'BodyNetwork', 'Estimates', 'HeatmapSurfaces', 'KinematicBodies',
           'SurfaceBodies', 'body_network']

MIN_DEPTH = 0.05  # metres before the camera at which nearer joints are projected [np]


class Bodies(NamedTuple):
    """The bodies of the n boxes of one picture.

    Attributes:
        betas: (n, S) float32 shape coefficients.
        rotmats: (n, 24, 3, 3) float32 rotations relative to the parents, the first relative to the
            camera.
        roots: (n, 3) float32 metres, camera axes, joint 0.
        keypoints: (n, 24, 3) float32 x, y in pixels and score, skeleton 'smpl'.
    """
    betas: np.ndarray
    rotmats: np.ndarray
    roots: np.ndarray
    keypoints: np.ndarray


class Estimates(NamedTuple):
    """What was found in the n boxes of one picture.

    Attributes:
        bodies: The bodies.
        distances: (n,) float32 mean distance in metres between the surface of the network and the
            body that was fitted to it; NaN for networks that give bodies.
        keypoints: (n, K, 3) float32 x, y in pixels and score: those of the network's own 2D model
            in its order; without one those of the bodies.
    """
    bodies: Bodies
    distances: np.ndarray
    keypoints: np.ndarray


class BodyNetwork(ABC):
    """A model with its weights, for boxes of pictures.

    Args:
        loaded: As ``mesh_predictor`` loads it: ``name``, ``model``, ``predict(items)``.

    Attributes:
        root_depth: What says how far away people are.
        source: The 2D model whose heatmaps the network sees, None where it sees pictures.
    """

    root_depth: str
    source: Optional[HeatmapSource] = None

    def __init__(self, loaded) -> None:
        self.loaded, self.model = loaded, loaded.model

    @property
    def body(self) -> BodyModel:
        """The body, read at the first use."""
        return self.model.head.body_model.body

    def check_runs(self) -> None:
        """Find out before any work whether body and 2D model are there."""
        self.body.require_h36m_regressor()
        _ = self.source

    def none(self) -> Estimates:
        """Nobody."""
        body = self.body
        shapes = ((body.num_shapes, ), (body.num_joints, 3, 3), (3, ), (body.num_joints, 3))
        bodies = Bodies(*(np.empty((0, *shape), np.float32) for shape in shapes))
        count = body.num_joints if self.source is None else self.source.num_keypoints
        return Estimates(bodies, np.empty(0, np.float32), np.empty((0, count, 3), np.float32))

    def require_finite(self, *columns: np.ndarray) -> None:
        if not all(np.isfinite(column).all() for column in columns):
            raise ValueError(f'model {self.loaded.name!r} gives NaN or infinite values; is its '
                             'checkpoint of a training that diverged?')

    @abstractmethod
    def __call__(self, items: List[dict]) -> Estimates:
        """The people of a batch of n boxes.

        Args:
            items: n dicts: ``img`` (H, W, 3) BGR, ``bbox`` (1, 4), ``bbox_score`` (1,),
                ``camera_matrix`` (3, 3).

        Raises:
            ValueError: The model gives numbers that are not finite.
        """


class KinematicBodies(BodyNetwork):
    """Heads that give joints and twists, and bodies by inverse kinematics (HybrIK and the like).

    Args:
        loaded: The model.
        root_depth: 'bones', 'box', or the name of the RootNet.
        root_net: That RootNet, loaded, or None.
    """

    def __init__(self, loaded, root_depth: str, root_net=None) -> None:
        super().__init__(loaded)
        self.root_depth, self.root_net = root_depth, root_net
        self.model.test_cfg['root_depth'] = 'given' if root_net else root_depth
        self.model.test_cfg['vertices'] = False  # they are made where they are asked for

    def __call__(self, items: List[dict]) -> Estimates:
        if self.root_net is not None:
            roots = self.root_net.predict(items)
            items = [dict(item, root=as_array(sample.pred_instances.root)[0])
                     for item, sample in zip(items, roots)]
        found = [sample.pred_instances for sample in self.loaded.predict(items)]
        keypoints = np.concatenate([column(found, 'keypoints'),
                                    column(found, 'keypoint_scores')[..., None]], axis=-1)
        bodies = Bodies(*(column(found, name) for name in ('betas', 'rotmats', 'root')), keypoints)
        self.require_finite(*bodies)
        return Estimates(bodies, np.full(len(items), np.nan, np.float32), keypoints)


class SurfaceBodies(BodyNetwork):
    """Heads that give vertices (MPT), to which a body is fitted.

    The body stands where the weak-perspective camera of the network puts the surface. Its 24
    joints in the picture are projections; a network that sees pictures gives them no scores, and
    they have 1.
    """

    root_depth = 'weak-perspective camera of the network'

    def __call__(self, items: List[dict]) -> Estimates:
        found = [sample.pred_instances for sample in self.loaded.predict(items)]
        return self._fitted(found, items, np.ones(len(items), np.float32))

    def _fitted(self, found: List[InstanceData], items: List[dict], scores: np.ndarray,
                keypoints: Optional[np.ndarray] = None) -> Estimates:
        body, surfaces = self.body, [column(found, name) for name in ('vertices', 'transl')]
        self.require_finite(*surfaces)
        vertices, transl = (torch.as_tensor(values).to(body.template.device)
                            for values in surfaces)
        fit = fit_surface(body, vertices)
        rest = body.rest_joints(fit.betas)
        _, joints = body.chain(fit.rotmats, rest)
        joints = as_array(joints + (fit.transl + transl)[:, None])
        cameras = np.stack([item['camera_matrix'] for item in items])
        rays = joints / np.maximum(joints[..., 2:], MIN_DEPTH)
        pixels = (rays @ cameras.swapaxes(1, 2))[..., :2]
        scores = np.broadcast_to(scores[:, None, None], (*pixels.shape[:2], 1))
        projected = np.concatenate([pixels, scores], axis=-1).astype(np.float32)
        bodies = Bodies(as_array(fit.betas), as_array(fit.rotmats), joints[:, 0], projected)
        return Estimates(bodies, as_array(fit.error),
                         projected if keypoints is None else keypoints)


class HeatmapSurfaces(SurfaceBodies):
    """An MPT that was only pre-trained: it sees the heatmaps of a 2D model.

    The score of a person's joints is the mean score of its 2D joints.

    Raises:
        ValueError: A model that sees body masks.
    """

    def __init__(self, loaded) -> None:
        super().__init__(loaded)
        if self.model.backbone.channels == 1:
            raise ValueError(f'model {loaded.name!r} sees body masks, and 2D models give heatmaps; '
                             'use a model that was trained with heatmaps')
        self._options: dict = {}

    def use_2d_model(self, **options) -> None:
        """Arguments of :class:`HeatmapSource`; size, margin and sigma are those of the training."""
        self._options = options
        self.__dict__.pop('source', None)

    @cached_property
    def source(self) -> HeatmapSource:
        """The 2D model, built at the first use; errors as of :class:`HeatmapSource`."""
        views = self.model.data_preprocessor
        return HeatmapSource(**self._options, size=self.model.backbone.size,
                             margin=float(np.mean(views.margin)),
                             sigma=float(np.mean(views.sigma)))

    def __call__(self, items: List[dict]) -> Estimates:
        boxes = np.concatenate([item['bbox'] for item in items])
        views = self.source.views([item['img'] for item in items], boxes)
        size = (self.source.size, self.source.size)
        samples = [PoseDataSample(
            metainfo=dict(trans_inv=trans_inv, input_size=size,
                          intrinsic_inv=np.linalg.inv(item['camera_matrix']).astype(np.float32)),
            gt_instances=InstanceData(bboxes=item['bbox'], bbox_scores=item['bbox_score']))
            for item, trans_inv in zip(items, views.trans_inv)]
        found = self.model.test_step(dict(inputs=views.maps, data_samples=samples))
        scores = views.keypoints[..., 2].mean(axis=1).clip(0, 1)
        return self._fitted([sample.pred_instances for sample in found], items, scores,
                            views.keypoints)


def body_network(loaded, root_depth: Optional[str], root_net) -> BodyNetwork:
    """The network of a loaded model, by its kind.

    Args:
        loaded: The model.
        root_depth: 'bones', 'box', or the name of the RootNet; None for 'bones'.
        root_net: The RootNet, loaded, or None.

    Raises:
        ValueError: A model without bodies, or a rule of depth for one that has its own.
    """
    head = loaded.model.head
    if isinstance(head, BaseMeshHead):
        return KinematicBodies(loaded, root_depth or 'bones', root_net)
    if not isinstance(head, MPTHead):
        raise ValueError(f'model {loaded.name!r} gives no bodies (its head is a '
                         f'{type(head).__name__}); use hybrik_transformer_mix or the like')
    if root_depth is not None:
        raise ValueError(f'root_depth: model {loaded.name!r} has a weak-perspective camera of its '
                         f'own, which says how far away people are; leave {root_depth!r} out')
    sees_maps = isinstance(loaded.model.backbone, HeatmapInput)
    return HeatmapSurfaces(loaded) if sees_maps else SurfaceBodies(loaded)


def column(found: List[InstanceData], name: str) -> np.ndarray:
    """(n, ...) float32 of a field of n predictions."""
    return np.concatenate([as_array(getattr(person, name)) for person in found])


def as_array(values) -> np.ndarray:
    """float32 array of a tensor or an array."""
    values = values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    return values.astype(np.float32)
