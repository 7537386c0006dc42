"""Stochastic depth: drop a residual branch for whole samples (Huang et al., ECCV 2016)."""

import torch
from torch import Tensor, nn


def drop_path(x: Tensor, drop_prob: float, sample_dim: int = 0) -> Tensor:
    """Set the branch of randomly chosen samples to zero and scale the others by 1 / keep.

    Args:
        x: Output of a residual branch, any shape.
        drop_prob: Probability in [0, 1) that a sample is dropped.
        sample_dim: Axis along which samples are told apart; the mask has one value per index of it.

    Returns:
        Tensor of the shape and dtype of ``x``, with the expectation of ``x``.
    """
    if drop_prob == 0.0:
        return x
    shape = [1] * x.ndim
    shape[sample_dim] = x.shape[sample_dim]
    keep = 1.0 - drop_prob
    mask = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(keep).div_(keep)
    return x * mask


class DropPath(nn.Module):
    """Module form of :func:`drop_path`; does nothing in evaluation mode.

    Args:
        drop_prob: Probability in [0, 1) that a sample is dropped.
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= drop_prob < 1.0:
            raise ValueError(f'drop_prob must be in [0, 1), got {drop_prob}')
        self.drop_prob = float(drop_prob)

    def forward(self, x: Tensor, sample_dim: int = 0) -> Tensor:
        return drop_path(x, self.drop_prob, sample_dim) if self.training else x

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:g}'
