"""Self-attention over the places of a feature map, as TransPose has it (Yang et al., ICCV 2021)."""

from typing import Sequence, Tuple

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..layers import TransformerBlock


@MODELS.register_module()
class AttentionNeck(BaseModule):
    """Let every place of a feature map see the whole person.

    Few convolutions see a part of a body each, which is not enough to tell left from right: that
    depends on where the person faces. One learned vector per place is added first.

    Args:
        in_channels: C.
        feat_size: (width, height) of the feature map.
        depth: Transformer blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLPs over C.
        init_cfg: As in MMEngine.
    """

    def __init__(self, in_channels: int, feat_size: Tuple[int, int], depth: int = 2,
                 num_heads: int = 4, mlp_ratio: float = 2., init_cfg=None) -> None:
        super().__init__(init_cfg)
        self.feat_size = tuple(feat_size)
        self.position = nn.Parameter(torch.empty(feat_size[0] * feat_size[1], in_channels))
        nn.init.trunc_normal_(self.position, std=0.02)
        self.blocks = nn.ModuleList(
            TransformerBlock(in_channels, num_heads, mlp_ratio) for _ in range(depth))

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor]:
        """Attend over the last of the feature maps.

        Args:
            feats: Feature maps, the last one (B, C, H, W).

        Returns:
            One feature map (B, C, H, W).

        Raises:
            ValueError: The map has another size than ``feat_size``.
        """
        x = feats[-1]
        height, width = x.shape[2:]
        if (width, height) != self.feat_size:
            raise ValueError(f'AttentionNeck: expected feature maps of {self.feat_size} (width, '
                             f'height), found {(width, height)}; change the input size or '
                             'feat_size')
        tokens = x.flatten(2).transpose(1, 2) + self.position  # [B, C, H, W] -> [B, H*W, C]
        for block in self.blocks:
            tokens = block(tokens)
        return (tokens.transpose(1, 2).unflatten(2, (height, width)), )
