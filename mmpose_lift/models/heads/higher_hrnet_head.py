"""Head of HigherHRNet (Cheng et al., CVPR 2020), with which MMPose 0.x found people bottom-up."""

from typing import Optional, Sequence, Tuple, Union

import torch
from mmpose.models.backbones.resnet import BasicBlock
from mmpose.models.heads import HeatmapHead
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..layers.resize_maps import resize_maps


@MODELS.register_module()
class HigherHRNetHead(HeatmapHead):
    """Heatmaps at half the resolution of the picture, from features at a quarter of it.

    A 1x1 convolution gives heatmaps and associative embeddings ("tags") at 1/4; features and both
    of them go through a deconvolution and residual blocks, from which a second 1x1 convolution
    makes heatmaps at 1/2. The heatmaps of both resolutions are averaged.

    Module names are those of MMPose 0.x, which published the networks for COCO
    (``higher_hrnet32_coco_512x512-8ae85183_20200713.pth``,
    ``higher_hrnet48_coco_512x512-60fedcbc_20200712.pth``; ``keypoint_head.*`` there), so these
    weights fit. They were trained to find all people of a picture; here the network sees one person
    in a crop and the tags, which tell people apart, only feed the second stage. Trained as a model
    of its own it is a top-down network with the loss of ``HeatmapHead`` on the averaged maps, which
    is not how the published weights were made.

    Args:
        in_channels: C of the finest branch of the HRNet, 32 or 48.
        num_keypoints: K.
        num_blocks: Residual blocks after the deconvolution.
        loss: Of the averaged heatmaps.
        decoder: Codec of (size / 2) heatmaps; needed to predict keypoints.
        init_cfg: MMEngine initialisation. Default: that of ``HeatmapHead``.
    """

    def __init__(self, in_channels: int, num_keypoints: int = 17, num_blocks: int = 4,
                 loss: Optional[dict] = None, decoder: Optional[dict] = None,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(
            in_channels, num_keypoints, deconv_out_channels=None, final_layer=None,
            loss=loss or dict(type='KeypointMSELoss', use_target_weight=True), decoder=decoder,
            init_cfg=init_cfg)
        with_tags = 2 * num_keypoints
        self.final_layers = nn.ModuleList([nn.Conv2d(in_channels, with_tags, 1),
                                           nn.Conv2d(in_channels, num_keypoints, 1)])
        self.deconv_layers = nn.ModuleList([nn.Sequential(
            nn.Sequential(
                nn.ConvTranspose2d(in_channels + with_tags, in_channels, 4, stride=2, padding=1,
                                   bias=False),
                nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)),
            *(nn.Sequential(BasicBlock(in_channels, in_channels)) for _ in range(num_blocks)))])

    def scales(self, feats: Sequence[Tensor]) -> Tuple[Tensor, Tensor]:
        """Heatmaps and tags at 1/4, heatmaps at 1/2.

        Args:
            feats: Feature maps of the backbone, the first one (B, C, h, w) is used.

        Returns:
            (B, 2 K, h, w), the heatmaps first, and (B, K, 2 h, 2 w).
        """
        low = self.final_layers[0](feats[0])
        high = self.deconv_layers[0](torch.cat([feats[0], low], 1))
        return low, self.final_layers[1](high)

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Mean of the heatmaps of both resolutions.

        Args:
            feats: As for :meth:`scales`.

        Returns:
            (B, K, 2 h, 2 w) heatmaps.
        """
        low, high = self.scales(feats)
        return (resize_maps(low[:, :self.out_channels], *high.shape[-2:]) + high) / 2
