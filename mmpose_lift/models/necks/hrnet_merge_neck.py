"""HRNet's classification-style merging of its branches, as a neck (Wang et al., TPAMI 2020)."""

from typing import Sequence, Tuple

from mmengine.model import BaseModule
from mmpose.models.backbones.resnet import Bottleneck
from mmpose.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class HRNetMergeNeck(BaseModule):
    """The branches of an HRNet become one coarse feature map.

    Every branch is widened by a bottleneck; from the finest on, the sum so far is halved in size
    and added to the next branch; a 1x1 convolution gives the output. Module names are those of the
    public classification networks, so that their weights fit. The backbone must return all its
    branches: ``extra['stage4']['multiscale_output'] = True``.

    Args:
        in_channels: Channels of the branches, finest first; HRNet-W48's by default.
        widths: Inner channels of each branch's bottleneck, which gives four times as many.
        out_channels: Channels of the output.
        init_cfg: As in MMEngine. Default: HRNet's.
    """

    def __init__(self, in_channels: Sequence[int] = (48, 96, 192, 384),
                 widths: Sequence[int] = (32, 64, 128, 256), out_channels: int = 2048,
                 init_cfg=(dict(type='Normal', std=0.001, layer='Conv2d'),
                           dict(type='Constant', val=1, layer='BatchNorm2d'))) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        if len(in_channels) != len(widths):
            raise ValueError('HRNetMergeNeck: expected one width per branch, found in_channels='
                             f'{tuple(in_channels)} and widths={tuple(widths)}')
        self.in_channels = tuple(in_channels)
        wide = [4 * width for width in widths]
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(fine, coarse, downsample=nn.Sequential(
                nn.Conv2d(fine, coarse, 1, bias=False), nn.BatchNorm2d(coarse))))
            for fine, coarse in zip(in_channels, wide))
        self.downsamp_modules = nn.ModuleList(
            _conv(fine, coarse, 3, stride=2) for fine, coarse in zip(wide, wide[1:]))
        self.final_feat_layer = _conv(wide[-1], out_channels, 1)

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor]:
        """Merge the branches.

        Args:
            feats: (B, C_i, H / 2**i, W / 2**i) for each branch i, finest first.

        Returns:
            One feature map (B, out_channels, h, w) of the size of the coarsest branch.

        Raises:
            ValueError: Number or channels of the branches are others.
        """
        found = tuple(x.shape[1] for x in feats)
        if found != self.in_channels:
            raise ValueError(
                f'HRNetMergeNeck: expected branches of {self.in_channels} channels, found {found}; '
                "set extra['stage4']['multiscale_output']=True in the HRNet backbone, and "
                "in_channels to its stage4's num_channels")
        merged = self.incre_modules[0](feats[0])
        for x, widen, halve in zip(feats[1:], self.incre_modules[1:], self.downsamp_modules):
            merged = widen(x) + halve(merged)
        return (self.final_feat_layer(merged), )


def _conv(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2),
                         nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
