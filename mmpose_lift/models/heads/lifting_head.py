"""Heads of sequence lifters: features to 3D joints, for whole windows or one target frame."""

from abc import abstractmethod
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.models.heads import BaseHead
from mmpose.registry import KEYPOINT_CODECS, MODELS
from torch import Tensor, nn

Config = Optional[dict]


def mirror_poses(poses: Tensor, flip_indices: Sequence[int]) -> Tensor:
    """Mirror left and right: first coordinate negated, left and right joints swapped.

    Args:
        poses: (..., K, D) with x first; x = 0 is the mirror plane (screen-normalised 2D or
            root-relative 3D). Further columns (y, z, a score) are kept.
        flip_indices: K indices of each joint's counterpart.

    Returns:
        (..., K, D), a new tensor.
    """
    if len(flip_indices) != poses.shape[-2]:
        raise ValueError(f'flip_indices: expected one index for each of the {poses.shape[-2]} '
                         f'joints, found {len(flip_indices)}')
    mirrored = poses[..., list(flip_indices), :]  # indexing copies
    mirrored[..., 0] *= -1
    return mirrored


def stack_labels(data_samples: Optional[list], key: str,
                 field: str = 'gt_instance_labels') -> Optional[Tensor]:
    """One tensor (B, T', ...) of a label, from either form of a batch.

    Args:
        data_samples: None, B samples with labels (T', ...), or one sample that holds the labels of
            a whole batch (B, T', ...).
        key: Name in ``field``.
        field: Part of the data samples.

    Returns:
        Tensor, or None where there are no samples or no such label.
    """
    if not data_samples:
        return None
    labels = [s.get(field).get(key) if field in s else None for s in data_samples]
    if any(label is None for label in labels):
        return None
    if len(labels) == 1 and is_batched(data_samples):
        return torch.as_tensor(labels[0])
    return torch.stack([torch.as_tensor(label) for label in labels])


def is_batched(data_samples: list) -> bool:
    """Whether the only sample holds a whole batch: its 3D target is (B, T', K, 3)."""
    if len(data_samples) != 1 or 'gt_instance_labels' not in data_samples[0]:
        return False
    target = data_samples[0].gt_instance_labels.get('lifting_target_label')
    return target is not None and target.ndim == 4


class BaseLiftingHead(BaseHead):
    """What the heads of lifting models share: the flip test, the decoder and both batch forms.

    A subclass maps features to outputs (:meth:`forward`), says which poses of them it reports
    (:meth:`reported_poses`) and which input and target frames these belong to
    (:meth:`reported_keypoints`, :meth:`reported_targets`), and computes its losses from outputs
    (:meth:`output_losses`). An estimator that works on reported poses (refinement) needs no more.

    Args:
        num_keypoints: Joints K.
        loss: Config of the loss.
        decoder: Config of the codec that turns poses into metres; None if they are metres.
        init_cfg: MMEngine initialisation.
    """

    def __init__(self, num_keypoints: int, loss: dict, decoder: Config = None,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg)
        self.num_keypoints = num_keypoints
        self.loss_module = MODELS.build(loss)
        self.decoder = None if decoder is None else KEYPOINT_CODECS.build(decoder)

    @abstractmethod
    def reported_poses(self, outputs: Any, num_target_frames: Optional[int] = None) -> Tensor:
        """The poses (B, T', K, 3) among the outputs that a prediction consists of.

        Args:
            outputs: What :meth:`forward` gives.
            num_target_frames: Frames of the target; None where there is no target.
        """

    @abstractmethod
    def reported_keypoints(self, inputs: Tensor, num_target_frames: Optional[int] = None
                           ) -> Tuple[Tensor, Optional[Tensor]]:
        """The 2D keypoints from which the reported poses were lifted.

        Args:
            inputs: (B, L, K, C) input of the model, screen-normalised x and y first.
            num_target_frames: As for :meth:`reported_poses`.

        Returns:
            (B, T', K, 2) keypoints, and (B, T') bool, False where a frame has none (None: all do).
        """

    @abstractmethod
    def reported_targets(self, targets: Tensor, training: bool) -> Tensor:
        """What labels (B, S, ...) say about the reported poses: (B, T', ...).

        Args:
            targets: One row per target frame: poses, weights or roots.
            training: Whether they are labels of training or of test; data sets may choose other
                target frames there.
        """

    @abstractmethod
    def output_losses(self, outputs: Any, batch_data_samples: list) -> dict:
        """Losses of the outputs of :meth:`forward`."""

    def lift(self, feats: Any, num_target_frames: Optional[int] = None) -> Tensor:
        """Features to reported poses (B, T', K, 3); heads with more outputs may skip the others."""
        return self.reported_poses(self.forward(feats), num_target_frames)

    def loss(self, feats: Any, batch_data_samples: list, train_cfg: Config = None) -> dict:
        """Losses of a batch, see :meth:`output_losses`. ``train_cfg`` is not used."""
        return self.output_losses(self.forward(feats), batch_data_samples)

    def predict_poses(self, feats: Any, batch_data_samples: Optional[list] = None,
                      test_cfg: Config = None) -> Tensor:
        """Reported poses (B, T', K, 3) of a batch, before the decoder.

        Arguments as for :meth:`predict`.
        """
        target = stack_labels(batch_data_samples, 'lifting_target_label')
        count = None if target is None else target.shape[1]
        if not isinstance(feats, list):
            return self.lift(feats, count)
        flip_indices = (test_cfg or {}).get('flip_indices')
        if flip_indices is None:
            flip_indices = batch_data_samples[0].metainfo['flip_indices']
        poses, mirrored = (self.lift(x, count) for x in feats)
        return (poses + mirror_poses(mirrored, flip_indices)) * 0.5

    def pack_poses(self, poses: Tensor, batch_data_samples: Optional[list] = None,
                   test_cfg: Config = None) -> List[InstanceData]:
        """Decode reported poses (B, T', K, 3); arguments and result as in :meth:`predict`."""
        keypoints, scores = self.decode(poses)
        keep = (test_cfg or {}).get('output_keypoint_indices')
        if keep is not None:
            keypoints, scores = keypoints[..., keep, :], scores[..., keep]
        if batch_data_samples and is_batched(batch_data_samples):
            return [InstanceData(keypoints=keypoints, keypoint_scores=scores)]
        return [InstanceData(keypoints=k, keypoint_scores=s) for k, s in zip(keypoints, scores)]

    def predict(self, feats: Any, batch_data_samples: Optional[list] = None,
                test_cfg: Config = None) -> List[InstanceData]:
        """Decoded poses of a batch.

        Args:
            feats: Input of :meth:`forward`, or a list [features, features of the mirrored input]
                for the flip test.
            batch_data_samples: None or either batch form. Their targets may decide which frames
                are kept, see :meth:`reported_poses`.
            test_cfg: ``flip_indices`` for the flip test (default: those of the first sample);
                ``output_keypoint_indices`` keeps only these joints.

        Returns:
            One ``InstanceData`` per sample (B of them where there are no samples): ``keypoints``
            (T', K, 3), or (B, T', K, 3) for a sample that holds a batch, root-relative
            camera-frame metres as numpy arrays, and ``keypoint_scores`` of shape [:-1].
        """
        poses = self.predict_poses(feats, batch_data_samples, test_cfg)
        return self.pack_poses(poses, batch_data_samples, test_cfg)

    def decode(self, batch_outputs: Tensor) -> Tuple[np.ndarray, np.ndarray]:
        """Poses (B, T, K, 3) to keypoints (B, T, K, 3) in metres and scores (B, T, K)."""
        outputs = batch_outputs.detach().float().cpu().numpy()
        if self.decoder is None:
            return outputs, np.ones(outputs.shape[:-1], dtype=np.float32)
        return self.decoder.decode(outputs)


@MODELS.register_module()
class LiftingHead(BaseLiftingHead):
    """Layer norm, if wanted, and one linear layer per joint and frame.

    Args:
        in_channels: Channels C of the features.
        num_keypoints: Joints K, checked against the features.
        out_channels: Coordinates per joint.
        loss: Config of a loss called as ``loss(pred, target, mask)`` on (B, T, K, 3), which returns
            a dict of scalars.
        decoder: Config of the codec that turns outputs into metres; None if they are metres.
        norm_eps: Epsilon of the norm. MixSTE's head uses 1e-5, unlike its blocks.
        causal: Where one frame of a window is wanted, it is the last (the centre otherwise).
        norm: Without it (AMPose) the linear layer gets the features as they are.
        init_cfg: MMEngine initialisation. Default: PyTorch's own.
    """

    def __init__(self, in_channels: int, num_keypoints: int, out_channels: int = 3,
                 loss: dict = dict(type='MixSTELoss'), decoder: Config = None,  # noqa: B006
                 norm_eps: float = 1e-5, causal: bool = False, norm: bool = True,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(num_keypoints, loss, decoder, init_cfg)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.causal = causal
        self.norm = nn.LayerNorm(in_channels, eps=norm_eps) if norm else nn.Identity()
        self.fc = nn.Linear(in_channels, out_channels)

    def forward(self, feats: Tensor) -> Tensor:
        """(B, T, K, C) features to (B, T, K, out_channels) coordinates.

        Raises:
            ValueError: K or C differs from what the head was built for.
        """
        if feats.ndim != 4 or tuple(feats.shape[2:]) != (self.num_keypoints, self.in_channels):
            raise ValueError(
                f'LiftingHead: expected features (B, T, {self.num_keypoints}, {self.in_channels}), '
                f'found {tuple(feats.shape)}. Set in_channels and num_keypoints of the head to '
                "the backbone's width and joints")
        return self.fc(self.norm(feats))

    def target_frames(self, pred: Tensor, num_target_frames: int) -> Tensor:
        """Keep the frames that a target of ``num_target_frames`` frames speaks about.

        Args:
            pred: (B, T, ...).
            num_target_frames: T keeps all, 1 keeps the centre (the last if ``causal``).

        Raises:
            ValueError: any other number.
        """
        frames = pred.shape[1]
        if num_target_frames == frames:
            return pred
        if num_target_frames == 1:
            index = frames - 1 if self.causal else frames // 2
            return pred[:, index:index + 1]
        raise ValueError(f'lifting_target_label has {num_target_frames} frames; a model that '
                         f'predicts {frames} frames needs a target of {frames} frames or of one')

    def reported_poses(self, outputs: Tensor, num_target_frames: Optional[int] = None) -> Tensor:
        """All frames (B, T, K, 3), or those of :meth:`target_frames` where there is a target."""
        return outputs if num_target_frames is None else (
            self.target_frames(outputs, num_target_frames))

    def reported_keypoints(self, inputs: Tensor, num_target_frames: Optional[int] = None
                           ) -> Tuple[Tensor, None]:
        """The first two channels of the same frames; every frame has 2D keypoints."""
        return self.reported_poses(inputs, num_target_frames)[..., :2], None

    def reported_targets(self, targets: Tensor, training: bool) -> Tensor:
        """All of them: poses are reported for the target's frames."""
        return targets

    def output_losses(self, outputs: Tensor, batch_data_samples: list) -> dict:
        """Losses of a batch.

        Args:
            outputs: (B, T, K, 3).
            batch_data_samples: Samples with ``lifting_target_label`` in either batch form (see
                :func:`stack_labels`), and ``lifting_target_weight`` where joints are unknown.

        Returns:
            The dict of the loss, and ``mpjpe`` in metres for the log.

        Raises:
            ValueError: there is no target, or its shape does not fit the prediction.
        """
        target = stack_labels(batch_data_samples, 'lifting_target_label')
        if target is None:
            raise ValueError('LiftingHead: the data samples carry no '
                             'gt_instance_labels.lifting_target_label; training needs a data set '
                             'with 3D targets and a codec that encodes them')
        pred = self.target_frames(outputs, target.shape[1])
        pred = pred.to(target.dtype)  # under autocast the head gives bfloat16; losses need more
        mask = stack_labels(batch_data_samples, 'lifting_target_weight')
        losses = self.loss_module(pred, target, mask)
        with torch.no_grad():
            error = torch.linalg.vector_norm(pred - target, dim=-1)
            losses['mpjpe'] = error.mean() if mask is None else (
                (error * mask).sum() / mask.sum().clamp(min=1e-6))
        return losses
