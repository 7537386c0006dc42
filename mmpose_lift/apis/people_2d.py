"""People in pictures: boxes and 2D keypoints by MMDetection's and MMPose's models, in batches."""

import copy
import warnings
from contextlib import contextmanager
from pathlib import Path
from reprlib import repr as short_repr
from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple
from urllib.error import URLError

import numpy as np
import torch
from mmengine.config import Config
from mmpose.apis.inferencers import Pose2DInferencer
from mmpose.evaluation.functional import nms

from ..geometry.joint_conventions import convention_of


class People(NamedTuple):
    """The n people of one picture.

    Attributes:
        boxes: (n, 4) float32 x1, y1, x2, y2 in pixels.
        scores: (n,) float32 of the detector, 1 for given boxes.
        keypoints: (n, K, 3) float32 x, y in pixels and score.
    """
    boxes: np.ndarray
    scores: np.ndarray
    keypoints: np.ndarray


class Pose2D(Pose2DInferencer):
    """MMPose's inferencer without its detector, which is fetched when a picture needs it."""

    def _init_detector(self, **arguments) -> None:
        self._detector_arguments = arguments

    def build_detector(self) -> None:
        if not hasattr(self, 'detector'):
            super()._init_detector(**self._detector_arguments)


class PeopleEstimator:
    """Find people and their 2D keypoints in a batch of pictures.

    Models are named and fetched as by MMPose's inferencer; the detector is built when a call gives
    no boxes. MMPose's inferencer takes the whole picture where nobody was detected; here nobody is
    nobody.

    Args:
        pose2d: MMPose's alias ('human', ...), model name or config, or 'rendered_human' of this
            package.
        pose2d_weights: Checkpoint. Defaults to the published one.
        det_model: MMDetection's model name or config, or 'whole_image'. Defaults to what MMPose
            uses for the kind of 2D model.
        det_weights, det_cat_ids: Its checkpoint and the classes that count as people.
        device: 'cpu', 'cuda', ... Defaults to the best there is.
        scope: Registry scope of the 2D model.
        batch_size: People per forward pass of the 2D model, and pictures per pass of the detector.
        bbox_thr: Boxes of a lower score are dropped.
        nms_thr: Of two boxes that overlap more (IoU) the weaker one is dropped.
        allow_random_weights: Run a config without a checkpoint.

    Raises:
        ValueError: A config without a checkpoint, a 2D model whose joints are not mapped to those
            of the 3D models, or an option out of range.
        ConnectionError: Published weights that cannot be fetched.
    """

    def __init__(self, pose2d: str = 'human', pose2d_weights: Optional[str] = None,
                 det_model: Optional[str] = None, det_weights: Optional[str] = None,
                 det_cat_ids=None, device: Optional[str] = None, scope: str = 'mmpose',
                 batch_size: int = 16, bbox_thr: float = 0.3, nms_thr: float = 0.3,
                 allow_random_weights: bool = False) -> None:
        check_options(batch_size, bbox_thr, nms_thr)
        det_cat_ids = 0 if det_cat_ids is None else det_cat_ids
        if not allow_random_weights:
            check_weights('pose2d', pose2d, 'pose2d_weights', pose2d_weights)
            check_weights('det_model', det_model, 'det_weights', det_weights)
        with _fetching(f'pose2d={pose2d!r}', 'pose2d_weights'), warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'The metainfo config file')  # found in MMPose's own
            self._pose2d = Pose2D(pose2d, pose2d_weights, device, scope, det_model, det_weights,
                                   det_cat_ids)
        self.batch_size, self.bbox_thr, self.nms_thr = batch_size, bbox_thr, nms_thr
        self.name = Path(pose2d).stem if Path(pose2d).is_file() else str(pose2d)
        self.convention = convention_of(self._pose2d.model.dataset_meta)
        self.topdown = self._pose2d.cfg.data_mode == 'topdown'
        self.detector = name_of_detector(det_model) if self.topdown else self.name

    def with_options(self, batch_size: Optional[int] = None, bbox_thr: Optional[float] = None,
                     nms_thr: Optional[float] = None) -> 'PeopleEstimator':
        """The same models with other options; None keeps an option."""
        check_options(*(1 if x is None else x for x in (batch_size, bbox_thr, nms_thr)))
        other = copy.copy(self)
        for name, value in dict(batch_size=batch_size, bbox_thr=bbox_thr, nms_thr=nms_thr).items():
            if value is not None:
                setattr(other, name, value)
        return other

    @property
    def num_keypoints(self) -> int:
        return int(self._pose2d.model.dataset_meta['num_keypoints'])

    def __call__(self, images: Sequence[np.ndarray],
                 boxes: Optional[Sequence[np.ndarray]] = None) -> List[People]:
        """Find the people of each picture.

        Args:
            images: (H, W, 3) uint8 BGR each, of any sizes.
            boxes: For each picture (n, 4) x1, y1, x2, y2 or (n, 5) with a score, in pixels, to use
                instead of the detector's.

        Raises:
            ValueError: Boxes that are not such arrays or show nothing of their picture, or a model
                that takes no boxes.
        """
        if not self.topdown:
            if boxes is not None:
                raise ValueError(f'bboxes: the 2D model {self.name!r} finds people by itself and '
                                 'takes no boxes; leave them out')
            return self._one_stage(images)
        if boxes is None:
            found = self.detect(images)
        else:
            found = check_boxes(boxes, 'picture')
            for number, (own, image) in enumerate(zip(found, images)):
                check_in_picture(own, image.shape[1::-1], f'bboxes: picture {number}')
        keypoints = self.estimate(images, [b[:, :4] for b in found])
        return [People(b[:, :4], b[:, 4], k) for b, k in zip(found, keypoints)]

    def detect(self, images: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Boxes (n, 5) x1, y1, x2, y2, score of the people in each picture, best first.

        What a detector puts wholly outside its picture is left out.
        """
        with _fetching(f'det_model: {self.detector}', 'det_weights',
                       " or boxes (bboxes=, --bboxes), or det_model='whole_image'"):
            self._pose2d.build_detector()
        detector = self._pose2d.detector
        if detector is None:  # whole_image
            return [np.array([[0, 0, image.shape[1], image.shape[0], 1]], np.float32)
                    for image in images]
        results = []
        for first in range(0, len(images), self.batch_size):
            batch = list(images[first:first + self.batch_size])
            results += detector(batch, batch_size=len(batch),
                                return_datasamples=True)['predictions']
        return [self._people_boxes(result.pred_instances.cpu().numpy(), image.shape[1::-1])
                for result, image in zip(results, images)]

    def _people_boxes(self, found, image_size: Tuple[int, int]) -> np.ndarray:
        people = np.isin(found.labels, self._pose2d.det_cat_ids) & (found.scores > self.bbox_thr)
        people &= in_picture(found.bboxes, image_size)  # and not cut to nothing by its border
        boxes = np.concatenate([found.bboxes, found.scores[:, None]], axis=1)[people]
        return boxes[nms(boxes, self.nms_thr)].astype(np.float32) if len(boxes) else np.empty(
            (0, 5), np.float32)

    @torch.inference_mode()
    def estimate(self, images: Sequence[np.ndarray],
                 boxes: Sequence[np.ndarray]) -> List[np.ndarray]:
        """Keypoints (n, K, 3) of the boxes (n, 4) of each picture."""
        owner = np.repeat(np.arange(len(images)), [len(b) for b in boxes])
        flat = np.concatenate([np.empty((0, 4), np.float32), *boxes])
        keypoints = np.empty((len(flat), self.num_keypoints, 3), np.float32)
        for first in range(0, len(flat), self.batch_size):
            rows = range(first, min(first + self.batch_size, len(flat)))
            samples = self._predict([
                dict(img=images[owner[row]], bbox=flat[row][None],
                     bbox_score=np.ones(1, np.float32)) for row in rows])
            for row, sample in zip(rows, samples):
                found = sample.pred_instances
                keypoints[row] = _with_scores(found.keypoints, found.keypoint_scores)[0]
        return np.split(keypoints, np.cumsum([len(b) for b in boxes])[:-1])

    @torch.inference_mode()
    def _one_stage(self, images: Sequence[np.ndarray]) -> List[People]:
        people = []
        for first in range(0, len(images), self.batch_size):
            batch = images[first:first + self.batch_size]
            samples = self._predict([dict(img=image) for image in batch])
            for image, sample in zip(batch, samples):
                found = sample.pred_instances
                keypoints = _with_scores(found.keypoints, found.keypoint_scores)
                boxes = (np.asarray(found.bboxes) if 'bboxes' in found else np.concatenate(
                    [keypoints[..., :2].min(1), keypoints[..., :2].max(1)], axis=-1))
                scores = np.asarray(found.bbox_scores if 'bbox_scores' in found else
                                    keypoints[..., 2].mean(1))
                kept = (scores > self.bbox_thr) & in_picture(boxes, image.shape[1::-1])
                people.append(People(boxes[kept].astype(np.float32),
                                     scores[kept].astype(np.float32), keypoints[kept]))
        return people

    def _predict(self, items: List[dict]) -> list:
        model, pipeline = self._pose2d.model, self._pose2d.pipeline
        prepared = [pipeline(dict(item, img_path=f'{number}.jpg', **model.dataset_meta))
                    for number, item in enumerate(items)]
        return model.test_step(self._pose2d.collate_fn(prepared))


@contextmanager
def _fetching(model: str, argument: str, otherwise: str = '') -> Iterator[None]:
    """Say what to do where published weights cannot be fetched."""
    try:
        yield
    except URLError as error:
        raise ConnectionError(
            f'{model}: its published weights are not here and cannot be fetched ({error.reason}); '
            f'give a checkpoint ({argument}=, --{argument.replace("_", "-")}){otherwise}, or try '
            'again with a network') from error


def _with_scores(keypoints, scores) -> np.ndarray:
    """(n, K, 3) float32 of (n, K, 2) and (n, K)."""
    return np.concatenate([np.asarray(keypoints)[..., :2], np.asarray(scores)[..., None]],
                          axis=-1).astype(np.float32)


def in_picture(boxes: np.ndarray, image_size: Tuple[int, int]) -> np.ndarray:
    """Which boxes show something of their picture, however far they reach out of it.

    Args:
        boxes: (n, 4 or more) x1, y1, x2, y2 in pixels.
        image_size: (width, height) in pixels.

    Returns:
        (n,) bool; False also where the area is not finite.
    """
    low, high = boxes[:, :2], boxes[:, 2:4]
    with np.errstate(over='ignore', invalid='ignore'):
        finite = np.isfinite((high - low).prod(axis=1))
    return finite & (np.minimum(high, image_size) > np.maximum(low, 0)).all(axis=1)


def check_in_picture(boxes: np.ndarray, image_size: Tuple[int, int], where: str) -> None:
    """Raise ValueError where a given box shows nothing of its picture, see :func:`in_picture`."""
    outside = ~in_picture(boxes, image_size)
    if outside.any():
        raise ValueError(f'{where}: expected boxes that show something of the picture of '
                         f'{"x".join(map(str, image_size))} pixels, found '
                         f'{boxes[outside][0, :4].tolist()}; are they for another size of it?')


def check_boxes(bboxes: Sequence, what: str = 'frame',
                image_size: Optional[Tuple[int, int]] = None) -> List[np.ndarray]:
    """Given boxes as (n, 5) float32 each, with a score of 1 where none is given.

    Args:
        bboxes: For each picture (n, 4) x1, y1, x2, y2 or (n, 5) with a score, in pixels.
        what: What the numbers in messages count.
        image_size: (width, height) of all pictures, where it is known: each box has to show
            something of its picture.

    Raises:
        ValueError: Boxes that are not such arrays, or one wholly outside the picture.
    """
    checked = []
    for number, boxes in enumerate(bboxes):
        where = f'bboxes: {what} {number}'
        checked.append(_check_boxes(boxes, where))
        if image_size is not None:
            check_in_picture(checked[-1], image_size, where)
    return checked


def _check_boxes(boxes, where: str) -> np.ndarray:
    try:
        array = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError):
        array = np.full((1, 0), np.nan)
    if array.size == 0 and array.shape != (1, 0):
        return np.empty((0, 5), np.float32)
    if array.ndim != 2 or array.shape[1] not in (4, 5) or not np.isfinite(array).all():
        raise ValueError(f'{where}: expected finite boxes (n, 4) x1, y1, x2, y2 or (n, 5) with a '
                         f'score, found {short_repr(boxes)}')
    empty = (array[:, 2:4] <= array[:, :2]).any(axis=1)
    if empty.any():
        raise ValueError(f'{where}: expected x1, y1, x2, y2 with x1 < x2 and y1 < y2, found '
                         f'{array[empty][0, :4].tolist()}; are they x, y, width, height?')
    return array if array.shape[1] == 5 else np.pad(array, [(0, 0), (0, 1)], constant_values=1)


def name_of_detector(det_model) -> str:
    """What the result calls a detector."""
    return ('whole_image' if det_model in ('whole_image', 'whole-image')
            else str(det_model or 'the default of MMPose'))


def check_weights(name: str, model, option: str, weights: Optional[str]) -> None:
    """Refuse a config (file) that comes without weights; names of models have published ones."""
    config = isinstance(model, Config) or model is not None and Path(model).is_file()
    if config and weights is None:
        raise ValueError(f'{name}={model!r}: a config without weights, whose output would be '
                         f'noise; give {option}= (--{option.replace("_", "-")}), or the name of a '
                         'model with published ones')


def check_options(batch_size: int, bbox_thr: float, nms_thr: float) -> None:
    if batch_size < 1:
        raise ValueError(f'batch_size: expected at least 1, found {batch_size}')
    for name, value in (('bbox_thr', bbox_thr), ('nms_thr', nms_thr)):
        if not 0 <= value <= 1:
            raise ValueError(f'{name}: expected 0 to 1, found {value}')
