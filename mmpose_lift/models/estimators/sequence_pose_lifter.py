"""MMPose's pose lifter for networks that map a window of frames to a window of frames."""

from typing import Any, List, Optional, Union

from mmengine.structures import InstanceData
from mmpose.models.pose_estimators import PoseLifter
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor

from ...geometry.skeletons import get_skeleton
from ..heads.lifting_head import mirror_poses

Config = Optional[dict]
TEST_OPTIONS = {'flip_test', 'flip_indices', 'output_keypoint_indices', 'zero_root'}


@MODELS.register_module()
class SequencePoseLifter(PoseLifter):
    """Lift windows of 2D keypoints (B, T, K, 2) to root-relative 3D joints (B, T, K, 3).

    What MMPose's :class:`PoseLifter` does not do: the flip test on screen-normalised coordinates
    (its own mirrors pixel-like coordinates), batches that come as one data sample (B windows read
    at once by :class:`PoseSequenceDataset`), and single target frames cut from whole windows.

    Args:
        backbone: Config; (B, T, K, C_in) -> features.
        neck: Config or None.
        head: Config of a head like :class:`LiftingHead`.
        train_cfg: Passed to the head.
        test_cfg: ``flip_test=True`` averages the prediction with that of the mirrored input;
            ``zero_root=True`` puts the predicted root at the origin, leaving the other joints where
            they are; the whole dict is passed to the head. Unknown options are refused.
        skeleton: Joint order; it gives the flip indices where a sample's metainfo has none.
        data_preprocessor: Default: :class:`LiftingDataPreprocessor`.
        init_cfg: MMEngine initialisation.
        metainfo: As in MMPose.
    """

    def __init__(self, backbone: dict, neck: Config = None, head: Config = None,
                 train_cfg: Config = None, test_cfg: Config = None, skeleton: str = 'h36m',
                 data_preprocessor: Config = None, init_cfg: Optional[Union[dict, list]] = None,
                 metainfo: Config = None) -> None:
        data_preprocessor = data_preprocessor or dict(type='LiftingDataPreprocessor')
        if isinstance(data_preprocessor, dict):
            # MMEngine would look in its own registry, which finds ours only where a scope is set.
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(
            backbone=backbone, neck=neck, head=head, train_cfg=train_cfg, test_cfg=test_cfg,
            data_preprocessor=data_preprocessor, init_cfg=init_cfg, metainfo=metainfo)
        unknown = set(self.test_cfg) - TEST_OPTIONS
        if unknown:
            raise ValueError(f'test_cfg: unknown options {sorted(unknown)}, known are '
                             f'{sorted(TEST_OPTIONS)}')
        self.skeleton = get_skeleton(skeleton)
        if self.with_head and hasattr(self.head, 'causal'):
            self.head.causal = self.causal

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Features of (B, T, K, C_in) keypoints, computed in the precision of the weights.

        Raises:
            ValueError: not a batch of windows.
        """
        if inputs.ndim != 4:
            raise ValueError('SequencePoseLifter: expected inputs (B, T, K, C), found '
                             f'{tuple(inputs.shape)}; add a batch axis to a single window')
        return super().extract_feat(inputs.to(next(self.backbone.parameters()).dtype))

    def predict(self, inputs: Tensor,
                data_samples: Optional[List[PoseDataSample]]) -> List[PoseDataSample]:
        """Predict 3D poses.

        Args:
            inputs: (B, T, K, C) keypoints, screen-normalised, x first.
            data_samples: None, B samples, or one sample whose labels are (B, T', K, 3).

        Returns:
            The samples (B new ones for None) with ``pred_instances.keypoints`` (T', K, 3), or
            (B, T', K, 3) in the one-sample form: root-relative camera-frame metres.
            A target of one frame gives that frame only, see :class:`LiftingHead`.
        """
        test_cfg = dict(self.test_cfg)
        feats = self.extract_feat(inputs)
        if test_cfg.get('flip_test', False):
            flip_indices = self._flip_indices(data_samples)
            # Two passes rather than one of twice the batch: half the memory and no slower.
            feats = [feats, self.extract_feat(mirror_poses(inputs, flip_indices))]
            test_cfg['flip_indices'] = flip_indices
        predictions = self.predict_instances(inputs, feats, data_samples, test_cfg)
        if test_cfg.get('zero_root', False):
            self._zero_root(predictions, test_cfg)
        if data_samples is None:
            data_samples = [PoseDataSample() for _ in predictions]
        if len(predictions) != len(data_samples):
            raise ValueError(f'SequencePoseLifter: {len(data_samples)} data samples for a batch of '
                             f'{len(predictions)} windows')
        for sample, prediction in zip(data_samples, predictions):
            sample.pred_instances = prediction
        return data_samples

    def predict_instances(self, inputs: Tensor, feats: Any,
                          data_samples: Optional[List[PoseDataSample]],
                          test_cfg: dict) -> List[InstanceData]:
        """The head's predictions, one per sample; ``feats`` as :meth:`LiftingHead.predict` wants.

        Estimators that work on the head's poses override this.
        """
        return self.head.predict(feats, data_samples, test_cfg=test_cfg)

    def _zero_root(self, predictions: List[InstanceData], test_cfg: dict) -> None:
        kept = test_cfg.get('output_keypoint_indices')
        kept = list(range(self.skeleton.num_joints)) if kept is None else list(kept)
        if self.skeleton.root_index in kept:
            for prediction in predictions:
                prediction.keypoints[..., kept.index(self.skeleton.root_index), :] = 0

    def _flip_indices(self, data_samples: Optional[List[PoseDataSample]]) -> List[int]:
        metainfo = data_samples[0].metainfo if data_samples else {}
        return list(metainfo.get('flip_indices', self.skeleton.flip_indices))
