"""The boxes of people in pictures, where no 2D model is needed."""

from pathlib import Path
from typing import Optional

from mmengine.config import Config

from .people_2d import PeopleEstimator, _check_options, _Pose2D

__all__ = ['PeopleDetector']


class _Detector(_Pose2D):
    """What MMPose's inferencer knows of detectors, without its 2D model."""

    def __init__(self, **arguments) -> None:
        self.cfg = Config(dict(dataset_type='CocoDataset'))  # by which MMPose chooses a detector
        self._init_detector(**arguments)


class PeopleDetector(PeopleEstimator):
    """Find people for a body model, whose own joints in the picture do instead of a 2D model's.

    Args:
        det_model: MMDetection's model name or config, or 'whole_image'. Default: MMPose's for
            people.
        det_weights, det_cat_ids, device, batch_size, bbox_thr, nms_thr, allow_random_weights: As
            for :class:`PeopleEstimator`.

    Raises:
        ValueError: A config without a checkpoint, or an option out of range.
    """

    name, convention, topdown, num_keypoints = None, 'smpl', True, 24

    def __init__(self, det_model: Optional[str] = None, det_weights: Optional[str] = None,
                 det_cat_ids=None, device: Optional[str] = None, batch_size: int = 16,
                 bbox_thr: float = 0.3, nms_thr: float = 0.3,
                 allow_random_weights: bool = False) -> None:
        _check_options(batch_size, bbox_thr, nms_thr)
        if (det_model is not None and Path(det_model).is_file() and det_weights is None
                and not allow_random_weights):
            raise ValueError(f'det_model={det_model!r}: a config without weights, whose output '
                             'would be noise; give det_weights= (--det-weights), or the name of a '
                             'model with published ones')
        self._pose2d = _Detector(
            det_model=det_model, det_weights=det_weights,
            det_cat_ids=0 if det_cat_ids is None else det_cat_ids, device=device)
        self.batch_size, self.bbox_thr, self.nms_thr = batch_size, bbox_thr, nms_thr
        self.detector = ('whole_image' if det_model in ('whole_image', 'whole-image')
                         else str(det_model or 'the default of MMPose'))
