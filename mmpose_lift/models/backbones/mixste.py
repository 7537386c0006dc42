"""MixSTE, a mixed spatio-temporal encoder (Zhang et al., CVPR 2022, arXiv 2203.00859)."""

from typing import Optional, Union

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..layers import TransformerBlock

VARIANTS = ('alternating', 'separate')


@MODELS.register_module()
class MixSTE(BaseModule):
    """Alternate attention over the joints of a frame and over the frames of a joint.

    The first spatial block sees a position table of the joints, the first temporal block one of the
    frames; both tables start at zero and later blocks get none. ``spatial_norm`` and
    ``temporal_norm`` exist once each and act on the residual stream after every block of their
    kind.

    The stream is kept as (J, B, T, C): seen as (J, B*T, C) it is token-first for spatial blocks and
    seen as (J*B, T, C) batch-first for temporal ones, so nothing is permuted between blocks.

    Args:
        num_frames: Frames T of a window. The temporal position table makes a model length-specific.
        num_keypoints: Joints J.
        in_channels: Input coordinates per joint.
        embed_dims: Channels C.
        depth: Number of pairs of a spatial and a temporal block.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLPs over C.
        qkv_bias: Bias on the q, k, v projections.
        qk_scale: Factor on the attention scores. Default: head width ** -0.5.
        drop_rate: Dropout after embeddings, projections and in the MLPs. The public code uses 0,
            the paper's text 0.1.
        attn_drop_rate: Dropout on attention weights.
        drop_path_rate: Drop path rate of the last pair; pair i of ``depth`` has
            ``i / (depth - 1)`` of it.
        with_cp: Recompute each block in the backward pass instead of storing it: about a third of
            the memory for about a third more time.
        variant: ``'alternating'`` (the paper's model) or ``'separate'`` (ablation of the public
            code: all spatial blocks, then all temporal ones; temporal block 0 runs twice there,
            first with the position table and then again as the first of the loop).
        init_cfg: MMEngine initialisation. Default: PyTorch's own for all layers.

    Raises:
        ValueError: unknown ``variant``, or ``embed_dims`` is not a multiple of ``num_heads``.
    """

    causal = False

    def __init__(self, num_frames: int = 243, num_keypoints: int = 17, in_channels: int = 2,
                 embed_dims: int = 512, depth: int = 8, num_heads: int = 8,
                 mlp_ratio: float = 2.0, qkv_bias: bool = True,
                 qk_scale: Optional[float] = None, drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.1,
                 with_cp: bool = False, variant: str = 'alternating',
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg)
        if variant not in VARIANTS:
            raise ValueError(f'MixSTE: unknown variant {variant!r}, choose one of {VARIANTS}')
        if depth < 1:
            raise ValueError(f'MixSTE: depth must be at least 1, got {depth}')
        self.num_frames = num_frames
        self.num_keypoints = num_keypoints
        self.in_channels = in_channels
        self.with_cp = with_cp
        self.variant = variant

        self.joint_embed = nn.Linear(in_channels, embed_dims)
        self.spatial_pos_embed = nn.Parameter(torch.zeros(1, num_keypoints, embed_dims))
        self.temporal_pos_embed = nn.Parameter(torch.zeros(1, num_frames, embed_dims))
        self.pos_drop = nn.Dropout(drop_rate)

        def blocks() -> nn.ModuleList:
            return nn.ModuleList(
                TransformerBlock(embed_dims, num_heads, mlp_ratio, qkv_bias, qk_scale, drop_rate,
                                 attn_drop_rate, drop_path_rate * i / max(depth - 1, 1))
                for i in range(depth))

        self.spatial_blocks = blocks()
        self.temporal_blocks = blocks()
        self.spatial_norm = nn.LayerNorm(embed_dims, eps=1e-6)
        self.temporal_norm = nn.LayerNorm(embed_dims, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of windows.

        Args:
            x: (B, T, J, in_channels) 2D keypoints, width-normalised to [-1, 1].

        Returns:
            (B, T, J, C) joint features, a view of a joint-first tensor.

        Raises:
            ValueError: T, J or the channels differ from what the model was built for.
        """
        self._check_input(x)
        batch, frames, joints, _ = x.shape
        x = self.joint_embed(x.permute(2, 0, 1, 3).reshape(joints, batch * frames, -1))
        x = self.pos_drop(x + self.spatial_pos_embed.transpose(0, 1))  # [J, B*T, C] + [J, 1, C]

        x = self._spatial(0, x)
        if self.variant == 'separate':
            for i in range(1, len(self.spatial_blocks)):
                x = self._spatial(i, x)
        x = x.view(joints * batch, frames, -1)
        x = self.pos_drop(x + self.temporal_pos_embed)  # [J*B, T, C] + [1, T, C]
        x = self._temporal(0, x)
        for i in range(len(self.temporal_blocks)):
            if self.variant == 'separate':
                x = self._temporal(i, x)
            elif i > 0:
                x = self._spatial(i, x.view(joints, batch * frames, -1))
                x = self._temporal(i, x.view(joints * batch, frames, -1))
        return x.view(joints, batch, frames, -1).permute(1, 2, 0, 3)  # [B, T, J, C]

    def _spatial(self, i: int, x: Tensor) -> Tensor:
        """Spatial block ``i`` and the shared norm on (J, B*T, C)."""
        return self._run(self.spatial_blocks[i], self.spatial_norm, x, 0)

    def _temporal(self, i: int, x: Tensor) -> Tensor:
        """Temporal block ``i`` and the shared norm on (J*B, T, C)."""
        return self._run(self.temporal_blocks[i], self.temporal_norm, x, 1)

    def _run(self, block: nn.Module, norm: nn.Module, x: Tensor, token_dim: int) -> Tensor:
        def step(x: Tensor) -> Tensor:
            return norm(block(x, token_dim))

        if self.with_cp and self.training and torch.is_grad_enabled():
            return checkpoint(step, x, use_reentrant=False)
        return step(x)

    def _check_input(self, x: Tensor) -> None:
        expected = (self.num_frames, self.num_keypoints, self.in_channels)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ValueError(
                f'MixSTE: expected input (B, T, J, {self.in_channels}) with T={self.num_frames} '
                f'frames and J={self.num_keypoints} joints, found {tuple(x.shape)}. Cut the clip '
                f'into windows of {self.num_frames} frames (the data set and the inferencer do '
                'that), or build the model with matching num_frames, num_keypoints and in_channels')
