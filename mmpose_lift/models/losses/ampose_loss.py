"""Loss of AMPose (Lin et al., 2022, arXiv 2210.04216)."""

from typing import Dict, Optional

from mmpose.registry import MODELS
from torch import Tensor, nn

from .sequence_loss import weighted_position_error


@MODELS.register_module()
class AMPoseLoss(nn.Module):
    """Mean over joints of the squared distance between prediction and target.

    Squares are summed over x, y, z and averaged over joints, frames and the batch. The root counts
    like every joint: its target is 0.

    Args:
        loss_weight: Factor on the loss. Squared metres are small (30 mm: 9e-4); Adam is scale-free.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor,
                mask: Optional[Tensor] = None) -> Dict[str, Tensor]:
        """Squared error.

        Args:
            pred: (B, T, K, 3) root-relative camera-frame metres.
            target: (B, T, K, 3) like ``pred``.
            mask: (B, T, K) weights of the target, 0 where it is unknown, or None. The mean is over
                the joints of the whole batch, weighted by it.

        Returns:
            dict with ``loss_pose3d``, squared metres times ``loss_weight``.

        Raises:
            ValueError: shapes differ.
        """
        if pred.ndim != 4 or pred.shape[-1] != 3 or target.shape != pred.shape:
            raise ValueError('AMPoseLoss: expected a prediction and a target (B, T, K, 3) of the '
                             f'same shape, found {tuple(pred.shape)} and {tuple(target.shape)}')
        if mask is not None and mask.shape != pred.shape[:-1]:
            raise ValueError(f'AMPoseLoss: expected a mask {tuple(pred.shape[:-1])}, found '
                             f'{tuple(mask.shape)}')
        error = weighted_position_error(pred, target, pred.new_ones(()), mask, squared=True)
        return dict(loss_pose3d=self.loss_weight * error)
