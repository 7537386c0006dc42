"""Transformer block that shortens its sequence (Strided Transformer: Li et al., TMM 2022)."""

from typing import Optional, Tuple

import torch.nn.functional as F
from torch import Tensor, nn

from .attention import SelfAttention
from .drop_path import DropPath
from .recompute import recompute

KERNEL_SIZE = 3


def strided_length(length: int, stride: int, padding: Tuple[int, int]) -> int:
    """Tokens that are left of ``length``; below 1 where the convolution does not fit."""
    return (length + sum(padding) - KERNEL_SIZE) // stride + 1


class StridedTransformerBlock(nn.Module):
    """x + attention(norm(x)), then the tokens under the centres of a strided convolution + branch.

    The branch is norm, linear layer, ReLU, convolution of width 3. Its windows start at
    ``-padding[0]`` and are ``stride`` apart; the residual keeps the token at the centre of each
    window (the public code writes this as cropping the unpadded ends and pooling with size 1).

    Args:
        dims: Channels C.
        num_heads: Attention heads.
        stride: Step of the convolution.
        padding: Zero tokens added on the left and on the right of the convolution, 0 or 1 each.
        mlp_ratio: Hidden width of the branch over C.
        qkv_bias: Bias on the q, k, v projection.
        drop_path_rate: Probability that a sample skips a branch in training.
        norm_eps: Epsilon of both norms.
    """

    def __init__(self, dims: int, num_heads: int, stride: int, padding: Tuple[int, int] = (1, 1),
                 mlp_ratio: float = 2.0, qkv_bias: bool = True, drop_path_rate: float = 0.0,
                 norm_eps: float = 1e-5) -> None:
        super().__init__()
        self.stride = stride
        self.padding = tuple(padding)
        hidden_dims = int(dims * mlp_ratio)
        self.norm1 = nn.LayerNorm(dims, eps=norm_eps)
        self.attn = SelfAttention(dims, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dims, eps=norm_eps)
        self.fc1 = nn.Linear(dims, hidden_dims)
        self.act = nn.ReLU()
        self.conv = nn.Conv1d(hidden_dims, dims, KERNEL_SIZE, stride)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, mask: Optional[Tensor] = None,
                record: Optional[list] = None) -> Tensor:
        """Transform and shorten.

        Args:
            x: (N, L, C).
            mask: Additive attention mask, broadcast to (N, heads, L, L).
            record: List to which the attention weights (N, heads, L, L) are appended.

        Returns:
            (N, L', C) with L' of :func:`strided_length`.
        """
        qkv = recompute(lambda x: self.attn.qkv(self.norm1(x)), x)
        x = x + self.drop_path(self.attn.attend(qkv, mask=mask, record=record))
        hidden = recompute(lambda x: self.fc1(self.norm2(x)), x)
        branch = recompute(self._convolve, hidden)
        centres = x[:, 1 - self.padding[0]::self.stride][:, :branch.shape[1]]
        return centres + self.drop_path(branch)

    def _convolve(self, hidden: Tensor) -> Tensor:
        """Activation and convolution, (N, L, hidden) -> (N, L', C)."""
        hidden = F.pad(self.act(hidden), (0, 0, *self.padding))
        return self.conv(hidden.transpose(1, 2)).transpose(1, 2)
