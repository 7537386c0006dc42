"""Inference of body meshes: SMPL's parameters of the people in videos and pictures."""

from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.config import Config

from ..io.video_poses import VideoPoses
from .inferencer import VIDEO_BBOX_THR, VIDEO_NMS_THR, one_of, opened_frames
from .mesh_predictor import MeshPredictor
from .mesh_video import MeshVideoInferencer
from .people_2d import PeopleEstimator
from .people_detector import PeopleDetector
from .post_processing import SMOOTHERS
from .progress import Stages

__all__ = ['MeshInferencer']


class MeshInferencer:
    """Bodies of the people in videos and pictures.

    * ``inferencer.video('walk.mp4')``: find and track everybody in a video.
    * ``inferencer.pictures('folder')``: the same for pictures that are no video.

    The result is that of the lifters (:class:`~mmpose_lift.io.video_poses.VideoPoses`): the 17
    joints of Human3.6M relative to their pelvis and its place before the camera, and in
    ``track.body`` the parameters and 24 joints of the body. Surfaces are made where they are asked
    for: ``BodySurface(poses).vertices(track)``, or the writers of ``mmpose_lift.io.exporters``
    ('smpl', 'gltf', 'obj', 'bvh'). Nothing is carried from one call to the next.

    Args:
        pose3d: Alias ('hybrik_transformer_mix', 'mpt_mix'), config file, or config.
        weights: Checkpoint file or address. Defaults to the published weights, where there are any.
        device: 'cpu', 'cuda', ... Defaults to the best there is.
        flip_test: Average with the mirrored picture. Defaults to what the config says.
        batch_size: Boxes per forward pass.
        allow_random_weights: Run without trained weights.
        pose3d_weights: The same as ``weights``.
        pose2d: A 2D model (see :class:`PeopleEstimator`) whose joints help the tracker; or such an
            object. None: the joints of the bodies do that. For an MPT that was only pre-trained
            (``mpt_pretrain``) the 2D model whose heatmaps it sees, see
            :class:`~mmpose_lift.apis.heatmap_source.HeatmapSource`; the default is an HRNet of
            MMPose with published weights.
        pose2d_weights, det_model, det_weights, det_cat_ids, scope: 2D model and detector, see
            :class:`PeopleEstimator`; built when a picture is to be looked at without given boxes.
        body_model, root_depth, root_weights, focal: See :class:`MeshPredictor`.
        heatmaps: For such an MPT: 'network' (default), or 'drawn' at the keypoints of a 2D model
            without heatmaps.

    Attributes:
        predictor: The :class:`MeshPredictor` behind it.

    Raises:
        ValueError: Unknown model, one that gives no bodies, a checkpoint of another model, or an
            option out of range.
        FileNotFoundError: No such checkpoint.

    Without weights, or without the file of its body model, the inferencer constructs, and the first
    call raises :class:`MissingWeightsError` or FileNotFoundError.
    """

    def __init__(self, pose3d: Union[str, Path, Config] = 'hybrik_transformer_mix',
                 weights: Optional[str] = None, device: Optional[str] = None,
                 flip_test: Optional[bool] = None, batch_size: int = 16,
                 allow_random_weights: bool = False, pose3d_weights: Optional[str] = None,
                 pose2d: Union[None, str, PeopleEstimator] = None,
                 pose2d_weights: Optional[str] = None, det_model: Optional[str] = None,
                 det_weights: Optional[str] = None, det_cat_ids=0, scope: str = 'mmpose',
                 body_model: Any = None, root_depth: Union[None, str, Path, Config] = None,
                 root_weights: Optional[str] = None, focal: Optional[float] = None,
                 heatmaps: Optional[str] = None) -> None:
        self._people = None if pose2d is None or isinstance(pose2d, str) else pose2d
        self._detection = dict(det_model=det_model, det_weights=det_weights,
                               det_cat_ids=det_cat_ids, device=device,
                               allow_random_weights=allow_random_weights)
        self._pose2d = dict(pose2d=pose2d, pose2d_weights=pose2d_weights, scope=scope)
        self.predictor = MeshPredictor(
            pose3d, one_of(weights, pose3d_weights), device, flip_test, batch_size,
            allow_random_weights, body_model, root_depth, root_weights, focal)
        if self.predictor.sees_heatmaps:
            if self._people is not None:
                raise ValueError(f'pose2d: model {self.predictor.name!r} sees the heatmaps of a 2D '
                                 f'model; give its name or config, found a {type(pose2d).__name__}')
            options = dict(self._pose2d, heatmaps=heatmaps)
            self.predictor.use_2d_model(**self._detection, **{
                name: value for name, value in options.items() if value is not None})
        elif heatmaps is not None:
            self.predictor.use_2d_model(heatmaps=heatmaps)  # says that it has none
        self.name, self.model = self.predictor.name, self.predictor.model
        self.skeleton = self.predictor.skeleton

    @property
    def people(self) -> PeopleEstimator:
        """Detector, and 2D model where there is one, built at the first use."""
        if self.predictor.sees_heatmaps:
            return self.predictor.source
        if self._people is None:
            self._people = (PeopleDetector(**self._detection) if self._pose2d['pose2d'] is None
                            else PeopleEstimator(**self._pose2d, **self._detection))
        return self._people

    def check_runs(self) -> None:
        """Raise what the first call would: no weights, or no body model."""
        self.predictor.check_runs()

    def video(self, source, *, fps: Optional[float] = None,
              bboxes: Optional[Sequence[np.ndarray]] = None, min_frames: int = 3,
              max_gap: float = 1., tracker: Optional[dict] = None,
              bbox_thr: Optional[float] = None, nms_thr: Optional[float] = None,
              batch_size: Optional[int] = None, smooth: Optional[str] = None,
              same_shape: bool = True, focal: Optional[float] = None,
              stages: Optional[Stages] = None) -> VideoPoses:
        """The bodies of a video.

        In frames between detections of a person rotations go along the shortest arc and places
        along a line; ``detected`` says so.

        Args:
            source, fps, bboxes, min_frames, max_gap, tracker, bbox_thr, nms_thr, stages: See
                :meth:`PoseLiftInferencer.video`.
            batch_size: Pictures per pass of the detector.
            smooth: 'one-euro' or 'savgol', of rotations and places.
            same_shape: Each person keeps the mean shape of its detections; else every frame has its
                own.
            focal: Focal length in pixels, instead of the inferencer's.

        Raises:
            MissingWeightsError, FileNotFoundError: See :meth:`check_runs`.
            OSError, ValueError: A source that cannot be read, or options that do not fit.
        """
        predictor = self._predictor(focal)
        if smooth is not None and smooth not in SMOOTHERS:
            raise ValueError(f'smooth: expected one of {", ".join(SMOOTHERS)}, found {smooth!r}')
        with opened_frames(source, fps) as frames:  # before a detector is fetched
            people = self.people.with_options(
                batch_size, VIDEO_BBOX_THR if bbox_thr is None else bbox_thr,
                nms_thr or VIDEO_NMS_THR)
            return MeshVideoInferencer(predictor, people, min_frames, max_gap, bbox_thr, tracker,
                                       smooth, same_shape).video(frames, bboxes, stages)

    def pictures(self, source, *, bboxes: Optional[Sequence[np.ndarray]] = None,
                 bbox_thr: Optional[float] = None, nms_thr: Optional[float] = None,
                 batch_size: Optional[int] = None, focal: Optional[float] = None,
                 stages: Optional[Stages] = None) -> Iterator[Tuple[VideoPoses, np.ndarray]]:
        """The bodies in pictures that have nothing to do with each other.

        Args:
            source: Picture file, folder, list or array; or a FrameSource.
            bboxes, bbox_thr, nms_thr, batch_size, focal, stages: As for :meth:`video`.

        Yields:
            The bodies of each picture (a video of one frame), and the picture (H, W, 3) BGR.
        """
        predictor = self._predictor(focal)
        with opened_frames(source, stills=True) as frames:
            people = self.people.with_options(batch_size, bbox_thr, nms_thr)
            yield from MeshVideoInferencer(predictor, people).pictures(frames, bboxes, stages)

    def _predictor(self, focal: Optional[float]) -> MeshPredictor:
        predictor = self.predictor if focal is None else self.predictor.with_focal(focal)
        predictor.check_runs()
        return predictor
