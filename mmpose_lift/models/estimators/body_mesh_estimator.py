"""MMPose's top-down estimator for heads that predict in image pixels and metres."""

from typing import List, Optional

from mmengine.structures import InstanceData
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample


@MODELS.register_module()
class BodyMeshEstimator(TopdownPoseEstimator):
    """Body meshes, or root positions, from crops of people.

    The head reads camera and crop from the metainfo of the data samples (``trans_inv``,
    ``intrinsic_inv``, ``depth_factor``, ``root``, see :class:`BaseMeshHead`) and predicts
    ``keypoints`` in image pixels, so that the rotation of a crop is undone as well; MMPose's own
    estimator would take them for crop pixels.

    Mode 'tensor' gives what the head regresses, before any geometry.

    Args:
        backbone: Config; :class:`HeatmapInput` where the input is heatmaps (MPT's pre-training).
        neck: Config or None.
        head: Config of :class:`HybrIKTransformerHead`, :class:`HybrIKHead`, :class:`MPTHead` or the
            like.
        train_cfg: Passed to the head.
        test_cfg: ``flip_test=True`` averages what is regressed with that of the mirrored image;
            the whole dict is passed to the head: ``root_depth``, ``vertices``.
        data_preprocessor: Config, usually MMPose's ``PoseDataPreprocessor``;
            :class:`VirtualViewPreprocessor` for MPT's pre-training. Released HybrIK weights want
            the public code's constants, RGB with mean 0.406, 0.457, 0.480 and standard deviation
            0.225, 0.224, 0.229 of 255, in this order.
        init_cfg: MMEngine initialisation.
        metainfo: As in MMPose.
    """

    def add_pred_to_datasample(self, batch_pred_instances: List[InstanceData],
                               batch_pred_fields: Optional[list],
                               batch_data_samples: List[PoseDataSample]) -> List[PoseDataSample]:
        """Put the predictions, and the boxes they were made from, into the samples."""
        for prediction, sample in zip(batch_pred_instances, batch_data_samples):
            if 'gt_instances' in sample:
                for key in ('bboxes', 'bbox_scores'):
                    if key in sample.gt_instances:
                        prediction.set_field(sample.gt_instances[key], key)
            prediction.keypoints_visible = prediction.keypoint_scores
            sample.pred_instances = prediction
        return batch_data_samples
