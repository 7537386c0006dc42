"""The boxes of people in pictures, where no 2D model is needed."""

from typing import Optional

from mmengine.config import Config

from .people_2d import (
    PeopleEstimator,
    Pose2D,
    check_options,
    check_weights,
    name_of_detector,
)

__all__ = ['PeopleDetector']


class _Detector(Pose2D):
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
        check_options(batch_size, bbox_thr, nms_thr)
        if not allow_random_weights:
            check_weights('det_model', det_model, 'det_weights', det_weights)
        self._pose2d = _Detector(
            det_model=det_model, det_weights=det_weights,
            det_cat_ids=0 if det_cat_ids is None else det_cat_ids, device=device)
        self.batch_size, self.bbox_thr, self.nms_thr = batch_size, bbox_thr, nms_thr
        self.detector = name_of_detector(det_model)
