"""Light convolutions from heatmaps to the grid of features that a mesh transformer reads."""

from typing import Sequence

from torch import Tensor, nn

__all__ = ['HeatmapStem']


class HeatmapStem(nn.Sequential):
    """Patches, then 3 x 3 convolutions of stride 2, down to a small square grid.

    Own design [np]: MPT (arXiv 2211.13357) does not say how its transformer reads heatmaps. The
    first convolution takes patches without overlap, so that nearly all later work is done on small
    maps; each further one halves the grid. All have batch norm and ReLU. Patches are as large as
    the size of the maps wants: 8, 4 and 2 pixels for 224, 112 and 56 pixels and three widths, and
    with one width the stem is a patch embedding.

    Args:
        in_channels: Number of heatmaps K.
        channels: Widths of the convolutions; the last one is the width of the grid.
        input_size: Side of the heatmaps in pixels.
        grid_size: Side of the grid.

    Raises:
        ValueError: patches of a whole number of pixels do not lead from one size to the other.
    """

    def __init__(self, in_channels: int, channels: Sequence[int] = (64, 128, 1024),
                 input_size: int = 112, grid_size: int = 7) -> None:
        cells = grid_size * 2 ** (len(channels) - 1) if channels else 0
        if not cells or input_size < cells or input_size % cells:
            raise ValueError(
                f'HeatmapStem: expected input_size to be a multiple of {cells or grid_size}, the '
                f'grid of {grid_size} doubled for each width but the first, found maps of '
                f'{input_size} pixels and {len(channels)} channels; maps of 56, 112 and 224 pixels '
                'suit the grid of 7 with up to 4, 5 and 6 widths')
        patch = input_size // cells
        layers = []
        for i, width in enumerate(channels):
            layers += [nn.Conv2d(channels[i - 1], width, 3, stride=2, padding=1, bias=False) if i
                       else nn.Conv2d(in_channels, width, patch, stride=patch, bias=False),
                       nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        super().__init__(*layers)
        self.out_channels = channels[-1]
        self.in_channels, self.input_size, self.grid_size = in_channels, input_size, grid_size

    def forward(self, heatmaps: Tensor) -> Tensor:
        """Map heatmaps to features.

        Args:
            heatmaps: (B, K, S, S).

        Returns:
            (B, channels[-1], grid_size, grid_size).

        Raises:
            ValueError: heatmaps of another size or number.
        """
        expected = (self.in_channels, self.input_size, self.input_size)
        if heatmaps.dim() != 4 or tuple(heatmaps.shape[1:]) != expected:
            raise ValueError(
                f'HeatmapStem: expected heatmaps (B, {", ".join(map(str, expected))}), found '
                f'{tuple(heatmaps.shape)}; set in_channels and input_size to the maps, or resize '
                'them')
        return super().forward(heatmaps)
