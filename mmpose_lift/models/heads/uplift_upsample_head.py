"""Head of Uplift and Upsample: 3D joints of all frames for training, of the centre for results."""

from typing import Optional, Tuple, Union

from mmpose.registry import MODELS
from torch import Tensor, nn

from .lifting_head import BaseLiftingHead, stack_labels

Config = Optional[dict]
Features = Tuple[Optional[Tensor], Tensor]


def output_norm(dims: int) -> nn.BatchNorm1d:
    """Batch norm with Keras' defaults (epsilon 1e-3, running averages keep 0.99) [np]."""
    return nn.BatchNorm1d(dims, eps=1e-3, momentum=0.01)


@MODELS.register_module()
class UpliftUpsampleHead(BaseLiftingHead):
    """One linear layer for the tokens of all frames and one for the centre frame.

    Reported poses are the centre's; the sequence is only trained.

    Args:
        in_channels: Channels D of the features.
        num_keypoints: Joints K.
        loss: Config of a loss called as ``loss(sequence, center, target, mask)``, which returns a
            dict of scalars.
        decoder: Config of the codec that turns outputs into metres; None if they are metres.
        batch_norm: Batch norm over the frames of the batch before each linear layer. Off in all
            published configs.
        with_sequence: Predict the sequence, which takes a backbone with a temporal transformer.
        init_cfg: MMEngine initialisation. Default: Glorot uniform weights, zero bias (Keras).
    """

    def __init__(self, in_channels: int, num_keypoints: int,
                 loss: dict = dict(type='UpliftUpsampleLoss'),  # noqa: B006
                 decoder: Config = None, batch_norm: bool = False, with_sequence: bool = True,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(num_keypoints, loss, decoder, init_cfg)
        self.in_channels = in_channels
        self.center_head = nn.Linear(in_channels, 3 * num_keypoints)
        self.center_norm = output_norm(in_channels) if batch_norm else None
        self.sequence_head = nn.Linear(in_channels, 3 * num_keypoints) if with_sequence else None
        self.sequence_norm = output_norm(in_channels) if batch_norm and with_sequence else None
        for layer in (self.center_head, self.sequence_head):
            if layer is not None:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, feats: Features) -> Features:
        """3D joints of all frames and of the centre frame.

        Args:
            feats: tokens (B, L, D), or None without a sequence head, and centre (B, D).

        Returns:
            sequence (B, L, K, 3), or None without a sequence head, and centre (B, K, 3):
            root-relative camera-frame metres, the root only nearly at the origin.

        Raises:
            ValueError: another shape, or no tokens for the sequence head.
        """
        tokens, _ = feats
        center = self.predict_center(feats)
        if self.sequence_head is None:
            return None, center
        if tokens is None:
            raise ValueError('UpliftUpsampleHead: the backbone gives no tokens for the sequence '
                             '(temporal_depth=0); build the head with with_sequence=False')
        self._check(tokens, '(B, L, D)', 3)
        if self.sequence_norm is not None:
            # [B, L, D] -> [B, D, L]: the statistics run over windows and frames
            tokens = self.sequence_norm(tokens.transpose(1, 2)).transpose(1, 2)
        return self.sequence_head(tokens).unflatten(-1, (self.num_keypoints, 3)), center

    def lift(self, feats: Features, num_target_frames: Optional[int] = None) -> Tensor:
        """The centre (B, 1, K, 3) of :meth:`forward`, without computing the sequence."""
        return self.predict_center(feats)[:, None]

    def predict_center(self, feats: Features) -> Tensor:
        """The centre (B, K, 3) of :meth:`forward` alone."""
        center = feats[1]
        self._check(center, '(B, D)', 2)
        if self.center_norm is not None:
            center = self.center_norm(center)
        return self.center_head(center).unflatten(-1, (self.num_keypoints, 3))

    def reported_poses(self, outputs: Features, num_target_frames: Optional[int] = None) -> Tensor:
        """The centre (B, 1, K, 3), whatever the number of target frames."""
        return outputs[1][:, None]

    def reported_keypoints(self, inputs: Tensor, num_target_frames: Optional[int] = None
                           ) -> Tuple[Tensor, Tensor]:
        """x and y of the centre frame (B, 1, K, 2), and its key-frame flag (B, 1)."""
        middle = inputs.shape[1] // 2
        center = inputs[:, middle:middle + 1]
        return center[..., :2], center[..., 0, -1] == 1

    def reported_targets(self, targets: Tensor, training: bool) -> Tensor:
        """The centre's row (B, 1, ...): the middle of training labels, which hold the window, and
        the first of test labels, which hold the frames up to the next evaluated centre."""
        index = targets.shape[1] // 2 if training else 0
        return targets[:, index:index + 1]

    def output_losses(self, outputs: Features, batch_data_samples: list) -> dict:
        """Losses of a batch.

        Args:
            outputs: What :meth:`forward` gives.
            batch_data_samples: Samples with ``lifting_target_label`` (L, K, 3) of all frames of the
                window, root-relative metres, or one sample with that of the batch (B, L, K, 3);
                ``lifting_target_weight`` (L, K) where joints are unknown.

        Returns:
            The dict of the loss.

        Raises:
            ValueError: there is no target, or its shape does not fit the prediction.
        """
        sequence, center = outputs
        target = stack_labels(batch_data_samples, 'lifting_target_label')
        if target is None:
            raise ValueError('UpliftUpsampleHead: the data samples carry no '
                             'gt_instance_labels.lifting_target_label; training needs a data set '
                             'with 3D targets and a codec that encodes them')
        mask = stack_labels(batch_data_samples, 'lifting_target_weight')
        # under autocast the head gives bfloat16; losses need more
        center = center.to(target.dtype)
        sequence = None if sequence is None else sequence.to(target.dtype)
        return self.loss_module(sequence, center, target, mask)

    def _check(self, feats: Tensor, layout: str, ndim: int) -> None:
        if feats.ndim != ndim or feats.shape[-1] != self.in_channels:
            raise ValueError(
                f'UpliftUpsampleHead: expected features {layout} with D={self.in_channels}, found '
                f"{tuple(feats.shape)}. Set the head's in_channels to the backbone's temporal_dims")
