"""Masked heatmap modelling: hide a part of the input while a mesh network trains."""

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

__all__ = ['HeatmapMasking', 'check_ratio', 'random_subset']

_FORMS = ('joints', 'patches')
_FILLS = ('zero', 'learned')


@MODELS.register_module()
class HeatmapMasking(nn.Module):
    """Hide whole maps, or squares of all maps, so that the network learns how bodies hang together.

    MPT (arXiv 2211.13357) pre-trains with "masked heatmap modelling" without publishing what is
    masked; forms, ratio and fill are this project's choice [np]. The share that is hidden is drawn
    for each sample from U(0, ratio) and rounded down to a whole number of maps or squares, as METRO
    does with its queries. In evaluation nothing is hidden.

    Args:
        form: 'joints': whole maps; 'patches': squares at the same places in all maps.
        ratio: Largest share, in [0, 1].
        patch: Side of a square in pixels, for the form 'patches'.
        fill: What stands there instead: 'zero', or 'learned': one number per map, 0 at first.
        num_maps: Maps K; only the learned fill depends on it.

    Raises:
        ValueError: a ratio outside [0, 1], an unknown form or fill, a patch below one pixel.
    """

    def __init__(self, form: str = 'joints', ratio: float = 0.3, patch: int = 8,
                 fill: str = 'zero', num_maps: int = 17) -> None:
        super().__init__()
        for name, value, known in (('form', form, _FORMS), ('fill', fill, _FILLS)):
            if value not in known:
                raise ValueError(f'HeatmapMasking: expected {name} to be one of '
                                 f'{", ".join(known)}, found {value!r}')
        if patch < 1:
            raise ValueError(f'HeatmapMasking: expected patch of at least 1 pixel, found {patch}')
        self.form, self.patch = form, patch
        self.ratio = check_ratio('HeatmapMasking: ratio', ratio)
        # without anything hidden it would never get a gradient
        learned = fill == 'learned' and self.ratio > 0
        fill = nn.Parameter(torch.zeros(num_maps, 1, 1)) if learned else None
        self.register_parameter('fill', fill)

    def forward(self, heatmaps: Tensor) -> Tensor:
        """Hide parts of heatmaps (B, K, H, W) in training; return them as they are otherwise.

        Raises:
            ValueError: another number of maps than the learned fill has.
        """
        if not self.training or not self.ratio:
            return heatmaps
        if self.fill is not None and len(self.fill) != heatmaps.shape[1]:
            raise ValueError(f'HeatmapMasking: expected {len(self.fill)} maps (num_maps), found '
                             f'{heatmaps.shape[1]}')
        hidden = self._hidden(heatmaps)
        fill = heatmaps.new_zeros(()) if self.fill is None else self.fill.to(heatmaps.dtype)
        return torch.where(hidden, fill, heatmaps)

    def _hidden(self, heatmaps: Tensor) -> Tensor:
        """(B, K, 1, 1) or (B, 1, H, W) bool."""
        batch, maps, height, width = heatmaps.shape
        if self.form == 'joints':
            return random_subset(batch, maps, self.ratio, heatmaps.device)[:, :, None, None]
        rows, columns = (-(-side // self.patch) for side in (height, width))
        cells = random_subset(batch, rows * columns, self.ratio, heatmaps.device)
        pixels = cells.view(batch, 1, rows, columns)
        for axis in (2, 3):
            pixels = pixels.repeat_interleave(self.patch, axis)
        return pixels[..., :height, :width]


def random_subset(batch: int, count: int, ratio: float, device: torch.device) -> Tensor:
    """(batch, count) bool with floor(u * ratio * count) True in each row, u from U(0, 1).

    Which ones is uniform; both are drawn anew for every row.
    """
    number = (torch.rand(batch, 1, device=device) * ratio * count).floor()
    rank = torch.rand(batch, count, device=device).argsort(1).argsort(1)
    return rank < number


def check_ratio(name: str, ratio: float) -> float:
    """The ratio; ValueError where it is outside [0, 1]."""
    if not isinstance(ratio, (int, float)) or not 0 <= ratio <= 1:
        raise ValueError(f'{name}: expected a share between 0 and 1, found {ratio!r}')
    return ratio
