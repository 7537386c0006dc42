"""Bodies of people in boxes of pictures: model, weights, camera, depth of the root, batches."""

import copy
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from ..geometry.skeletons import get_skeleton
from ..geometry.trajectory import focal_from_fov
from ..models.backbones import HeatmapInput
from ..models.body import BodyModel, FoldedJoints
from ..models.estimators import BodyMeshEstimator
from ..models.heads import RootNetHead
from .body_networks import Bodies, Estimates, HeatmapSurfaces, body_network
from .clip_lifter import MissingWeightsError, missing_weights_message, resolve_model
from .command_line import load_weights
from .heatmap_source import HeatmapSource

__all__ = ['Bodies', 'MeshPredictor']

ROOT_DEPTHS = ('bones', 'box')


class MeshPredictor:
    """A model of body meshes with its weights, for boxes of pictures.

    An MPT that was only pre-trained sees the heatmaps of a 2D model, see :meth:`use_2d_model`.

    Cameras are pinholes with the principal point in the middle of the picture. The distance of a
    person is in proportion to the focal length; what is seen of pose and shape hardly depends on
    it.

    Args:
        pose3d: Alias ('hybrik_transformer_mix', 'mpt_mix'), config file, or config.
        weights: Checkpoint file or address. Defaults to the published weights, where there are any.
        device: 'cpu', 'cuda', ... Defaults to the best there is.
        flip_test: Average with the mirrored picture. Defaults to what the config says.
        batch_size: Boxes per forward pass.
        allow_random_weights: Run without trained weights.
        body_model: The body, as ``LazyBodyModel`` takes it, instead of the config's: a file,
            'stand_in', a dict, a ``BodyModel``. For a file, what the config says of its own and
            this does not (gender, number of betas) goes on to hold; the config's regressor only
            where the file has none.
        root_depth: How far away people are: 'bones' (default: where the joints seen have the bone
            lengths of the body), 'box' (where the crop would be 2 m wide), or a RootNet: its alias,
            config file or config, with ``root_weights``. Not for MPT, whose own weak-perspective
            camera says it.
        root_weights: Checkpoint of the RootNet.
        focal: Focal length in pixels. Default: that of a field of view of 55 degrees over the
            longer side of the picture, see
            :func:`~mmpose_lift.geometry.trajectory.focal_from_fov`.

    Attributes:
        name: Alias or name of the config.
        model: The estimator.
        skeleton: Joints of the poses, Human3.6M's 17.
        body_model: The source of its body.
        root_depth: What says how far away people are.
        random_weights: Whether the model, or its RootNet, runs untrained.
        runs: Whether it has weights, or is meant to run without.

    Raises:
        ValueError: Unknown model, one that gives no bodies, a checkpoint of another model, a number
            out of range.
        FileNotFoundError: No such checkpoint.
    """

    sparse = False  # every frame is looked at

    def __init__(self, pose3d: Union[str, Path, Config], weights: Optional[str] = None,
                 device: Optional[str] = None, flip_test: Optional[bool] = None,
                 batch_size: int = 16, allow_random_weights: bool = False, body_model: Any = None,
                 root_depth: Union[None, str, Path, Config] = None,
                 root_weights: Optional[str] = None, focal: Optional[float] = None) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size: expected at least 1, found {batch_size}')
        init_default_scope('mmpose')
        self.batch_size, self.focal = batch_size, _checked_focal(focal)
        self.skeleton = get_skeleton('h36m')
        self._loaded = _load(pose3d, weights, device, flip_test, allow_random_weights, body_model)
        self.name, self.model, self.runs = (self._loaded.name, self._loaded.model,
                                            self._loaded.runs)
        self.random_weights = self._loaded.random_weights
        root_net = None
        if root_depth not in (None, *ROOT_DEPTHS):
            root_net = _load(root_depth, root_weights, device, flip_test, allow_random_weights)
            root_depth = root_net.name
            if not isinstance(root_net.model.head, RootNetHead):
                raise ValueError(f'root_depth: expected one of {", ".join(ROOT_DEPTHS)} or a '
                                 f'RootNet, found the model {root_depth!r}')
            self.runs &= root_net.runs
            self.random_weights |= root_net.random_weights
        elif root_weights is not None:
            raise ValueError(f'root_weights: root_depth={root_depth!r} has no weights; give the '
                             'RootNet they are of')
        self._network = body_network(self._loaded, root_depth, root_net)
        self.root_depth = self._network.root_depth
        self.body_model = _plain(self._loaded.head['body_model'])

    @property
    def body(self) -> BodyModel:
        """The body, read at the first use.

        Raises:
            FileNotFoundError: Its file is not there; the message says where to get it.
        """
        return self._network.body

    @property
    def sees_heatmaps(self) -> bool:
        """Whether its input are the heatmaps of a 2D model."""
        return isinstance(self._network, HeatmapSurfaces)

    def use_2d_model(self, **options) -> None:
        """Choose the 2D model of a model that sees heatmaps; without it, its default holds.

        Args:
            **options: Of :class:`~mmpose_lift.apis.heatmap_source.HeatmapSource`: ``pose2d``,
                ``pose2d_weights``, ``heatmaps``, and those of its detector. Size, margin and sigma
                are those of the training.

        Raises:
            ValueError: A model that sees pictures.
        """
        if not self.sees_heatmaps:
            raise ValueError(f'model {self.name!r} sees pictures, not heatmaps; leave the options '
                             f'of heatmaps out ({", ".join(options)})')
        self._network.use_2d_model(**options)

    @property
    def source(self) -> Optional[HeatmapSource]:
        """That 2D model, built at the first use; None where the model sees pictures."""
        return self._network.source

    @cached_property
    def folded_joints(self) -> FoldedJoints:
        """The 17 joints of that body without its surface."""
        return FoldedJoints(self.body)

    def check_runs(self) -> None:
        """Find out before any work whether there is something to run.

        Raises:
            MissingWeightsError: The model, or its RootNet, has no weights.
            FileNotFoundError: The body model's file is not there.
            ValueError, ConnectionError: The 2D model of a model that sees heatmaps, see
                :class:`HeatmapSource`.
        """
        if not self.runs:
            raise MissingWeightsError(missing_weights_message(self.name))
        self._network.check_runs()

    def with_focal(self, focal: float) -> 'MeshPredictor':
        """The same models with another focal length, pixels."""
        other = copy.copy(self)
        other.focal = _checked_focal(focal)
        return other

    def camera(self, image_size: Tuple[int, int]) -> np.ndarray:
        """(3, 3) float32 camera matrix for pictures of that width and height."""
        focal = focal_from_fov(image_size) if self.focal is None else self.focal
        width, height = image_size
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)

    def __call__(self, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> List[Bodies]:
        """The bodies in boxes of pictures; see :meth:`estimate`."""
        return [found.bodies for found in self.estimate(images, boxes)]

    @torch.inference_mode()
    def estimate(self, images: Sequence[np.ndarray],
                 boxes: Sequence[np.ndarray]) -> List[Estimates]:
        """What is found in boxes of pictures.

        Args:
            images: (H, W, 3) uint8 BGR each, of any sizes.
            boxes: (n, 4 or more) x1, y1, x2, y2 in pixels for each picture.

        Returns:
            Bodies, and what else is known of them, for each picture.

        Raises:
            MissingWeightsError, FileNotFoundError: As :meth:`check_runs`.
            ValueError: The model gives numbers that are not finite.
        """
        self.check_runs()
        items = [dict(img=image, bbox=np.asarray(box, np.float32)[None, :4],
                      bbox_score=np.ones(1, np.float32),
                      camera_matrix=self.camera((image.shape[1], image.shape[0])))
                 for image, own in zip(images, boxes) for box in own]
        found = [self._network.none()] + [self._network(items[first:first + self.batch_size])
                                          for first in range(0, len(items), self.batch_size)]
        bodies, distances, keypoints = zip(*found)
        columns = [np.concatenate(column) for column in (*zip(*bodies), distances, keypoints)]
        ends = np.cumsum([len(own) for own in boxes], dtype=int)
        pictures = zip(*(np.split(column, ends)[:-1] for column in columns))
        return [Estimates(Bodies(*rows[:4]), *rows[4:]) for rows in pictures]


def _load(pose3d, weights: Optional[str], device: Optional[str], flip_test: Optional[bool],
          allow_random_weights: bool, body_model: Any = None) -> '_Loaded':
    config, published, name = resolve_model(pose3d)
    weights = weights or published
    settings = copy.deepcopy(config.model)  # the config is the caller's
    if body_model is not None:
        settings.head.body_model = _body_source(settings.head.get('body_model'), body_model)
    model = MODELS.build(settings)
    if not isinstance(model, BodyMeshEstimator):
        raise ValueError(f'model {name!r} is a {type(model).__name__}, and bodies come from a '
                         'BodyMeshEstimator; use MMPoseInferencer for others')
    if flip_test is not None:
        model.test_cfg['flip_test'] = flip_test
    if weights is not None:
        load_weights(model, str(weights))
    try:
        model.eval().to(device or get_device())
    except RuntimeError as error:
        raise ValueError(f'device {device!r}: {str(error).splitlines()[0]}') from error
    pipeline = None if isinstance(model.backbone, HeatmapInput) else _test_pipeline(config, name)
    return _Loaded(name, model, pipeline, weights is None,
                   weights is not None or allow_random_weights, settings.head)


def _body_source(configured: Any, given: Any) -> Any:
    """The body given; a file with what the config says of its own and is not said anew."""
    old, new = _file_settings(configured), _file_settings(given)
    if old is None or new is None:
        return given
    if 'h36m_regressor' in new or 'path' in new and _holds_regressor(new['path']):
        old = {name: value for name, value in old.items()
               if name not in ('h36m_regressor', 'regressor_skeleton')}
    return {**old, **new}


def _file_settings(source: Any) -> Optional[dict]:
    """Arguments of ``BodyModel.from_file``; None where the source is no file."""
    if isinstance(source, (str, Path)) and source != 'stand_in':
        return dict(path=source)
    return dict(source) if isinstance(source, dict) and 'v_template' not in source else None


def _holds_regressor(path: Union[str, Path]) -> bool:
    try:
        with zipfile.ZipFile(Path(path).expanduser()) as file:
            return 'J_regressor_h36m.npy' in file.namelist()
    except (OSError, zipfile.BadZipFile):  # a .pkl, which has none, or what its first use reports
        return False


class _Loaded(NamedTuple):
    name: str
    model: BodyMeshEstimator
    pipeline: Optional[Compose]  # None where the input are heatmaps
    random_weights: bool
    runs: bool
    head: dict  # its settings

    def predict(self, items: List[dict]) -> List[PoseDataSample]:
        prepared = [self.pipeline(dict(item, img_path=f'{number}.jpg'))
                    for number, item in enumerate(items)]
        return self.model.test_step(pseudo_collate(prepared))


def _test_pipeline(config: Config, name: str) -> Compose:
    """The config's own pipeline of the test, without labels."""
    pipeline = config.get('test_pipeline')
    if pipeline is None:
        pipeline = config.get('test_dataloader', {}).get('dataset', {}).get('pipeline')
    if pipeline is None:
        raise ValueError(f'config {name!r}: neither test_pipeline nor test_dataloader.dataset.'
                         'pipeline says how a picture becomes the input of the model')
    return Compose([step for step in pipeline if step['type'] != 'GenerateTarget'])


def _checked_focal(focal: Optional[float]) -> Optional[float]:
    if focal is not None and not 0 < focal < np.inf:
        raise ValueError(f'focal: expected a positive number of pixels, found {focal!r}')
    return focal


def _plain(source):
    """Without MMEngine's kind of dict."""
    return source.to_dict() if isinstance(source, ConfigDict) else source
