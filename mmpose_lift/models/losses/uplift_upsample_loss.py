"""Loss of Uplift and Upsample (Einfalt et al., WACV 2023)."""

from typing import Dict, Optional

from mmpose.registry import MODELS
from torch import Tensor, nn

from .sequence_loss import weighted_position_error


@MODELS.register_module()
class UpliftUpsampleLoss(nn.Module):
    """Mean distance of the centre frame + mean distance of the whole sequence, each with a factor.

    The target is root-relative, the prediction is compared as it is. Every frame counts, whether
    or not it had a 2D pose, also those that repeat the edge of a clip.

    Args:
        center_weight: Factor of the centre frame.
        sequence_weight: Factor of the sequence.
    """

    def __init__(self, center_weight: float = 0.5, sequence_weight: float = 0.5) -> None:
        super().__init__()
        self.center_weight = center_weight
        self.sequence_weight = sequence_weight

    def forward(self, sequence: Optional[Tensor], center: Tensor, target: Tensor,
                mask: Optional[Tensor] = None) -> Dict[str, Tensor]:
        """Both terms.

        Args:
            sequence: (B, L, K, 3) prediction for every frame, metres, or None: only the centre
                counts then, with its own factor [np].
            center: (B, K, 3) prediction for frame ``L // 2``, metres.
            target: (B, L, K, 3) root-relative camera-frame metres; without a sequence also of the
                centre frame alone, (B, 1, K, 3).
            mask: (B, L, K) weights of the target, 0 where it is unknown, or None.

        Returns:
            dict of scalars in metres: ``loss_center`` and ``loss_sequence`` with their factors,
            their sum is to be minimised; ``mpjpe`` of the centre frame, detached, for the log.

        Raises:
            ValueError: shapes differ.
        """
        self._check(sequence, center, target, mask)
        middle = target.shape[1] // 2
        one = center.new_ones(())
        error = weighted_position_error(center[:, None], target[:, middle:middle + 1], one,
                                        None if mask is None else mask[:, middle:middle + 1])
        losses = dict(loss_center=self.center_weight * error)
        if sequence is not None:
            losses['loss_sequence'] = self.sequence_weight * weighted_position_error(
                sequence, target, one, mask)
        losses['mpjpe'] = error.detach()
        return losses

    def _check(self, sequence: Optional[Tensor], center: Tensor, target: Tensor,
               mask: Optional[Tensor]) -> None:
        if target.ndim != 4 or center.shape != target[:, 0].shape or target.shape[-1] != 3:
            raise ValueError('UpliftUpsampleLoss: expected a target (B, L, K, 3) for the centre '
                             f'prediction {tuple(center.shape)}, found {tuple(target.shape)}')
        if sequence is not None and sequence.shape != target.shape:
            raise ValueError(f'UpliftUpsampleLoss: sequence prediction {tuple(sequence.shape)} and '
                             f'target {tuple(target.shape)} differ in shape; the training target '
                             'holds all frames of the window')
        if mask is not None and mask.shape != target.shape[:-1]:
            raise ValueError(f'UpliftUpsampleLoss: expected a mask {tuple(target.shape[:-1])}, '
                             f'found {tuple(mask.shape)}')
