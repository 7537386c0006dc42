"""Heatmaps as they are, where an estimator wants a backbone."""

from typing import Tuple

from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor


@MODELS.register_module()
class HeatmapInput(BaseModule):
    """Pass heatmaps on to the head; it has no weights.

    MPT (arXiv 2211.13357) pre-trains its transformer on drawn heatmaps. With this in the place of
    the 2D network, the estimator, the head and the names of their weights are those of fine-tuning.

    Args:
        channels: Number of maps K: 17 heatmaps in COCO order, or 1 body mask.
        size: Side S of the maps in pixels.
        init_cfg: As in MMEngine.
    """

    def __init__(self, channels: int = 17, size: int = 112, init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.channels, self.size = channels, size

    def forward(self, heatmaps: Tensor) -> Tuple[Tensor]:
        """(B, K, S, S) -> the same in a tuple.

        Raises:
            ValueError: maps of another number or size.
        """
        expected = (self.channels, self.size, self.size)
        if heatmaps.dim() != 4 or tuple(heatmaps.shape[1:]) != expected:
            raise ValueError(f'HeatmapInput: expected maps (B, {", ".join(map(str, expected))}), '
                             f'found {tuple(heatmaps.shape)}; a model that was only pre-trained '
                             'takes heatmaps of a 2D network (COCO joints), resized, not images')
        return (heatmaps, )
