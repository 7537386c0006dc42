"""Loss of RootNet (Moon et al., "Camera distance-aware top-down approach", ICCV 2019)."""

from typing import Dict

from mmpose.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class RootNetLoss(nn.Module):
    """Mean of the absolute errors of x and y, in heatmap cells, and of the depth, in millimetres.

    A sample without a visible root counts 0 in all three, one without a depth label in the depth;
    both count in the mean over the batch, as in the public code.

    Args:
        depth_scale: Cells per unit of depth: 1000 makes millimetres of metres.
        loss_weight: Factor on both terms.
    """

    def __init__(self, depth_scale: float = 1000.0, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.depth_scale = depth_scale
        self.loss_weight = loss_weight

    def forward(self, xy: Tensor, depth: Tensor, target_xy: Tensor, target_depth: Tensor,
                visible: Tensor, has_depth: Tensor) -> Dict[str, Tensor]:
        """Both terms; their sum is the published loss.

        Args:
            xy, target_xy: (B, 2) heatmap cells.
            depth, target_depth: (B,) metres.
            visible: (B,) weight of the sample.
            has_depth: (B,) weight of its depth.

        Returns:
            dict with the scalars ``loss_root_xy`` and ``loss_root_depth``.
        """
        # A missing label may be NaN: multiplied by 0 it would still spoil the gradient.
        target_xy = target_xy.where(visible[:, None] > 0, xy.detach())
        target_depth = target_depth.where(has_depth > 0, depth.detach())
        off = (xy - target_xy).abs().sum(dim=1) * visible
        far = (depth - target_depth).abs() * visible * has_depth
        factor = self.loss_weight / 3
        return dict(loss_root_xy=factor * off.mean(),
                    loss_root_depth=factor * self.depth_scale * far.mean())
