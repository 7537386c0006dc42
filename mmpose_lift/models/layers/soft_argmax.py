"""Deconvolutions and soft-argmax: coordinates as expectations over heatmaps.

Sun et al., "Integral human pose regression", ECCV 2018. HybrIK's head takes them over 64 x 64 x 64
cells per joint, RootNet's over 64 x 64.
"""

from typing import List, Tuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

METHODS = ('fused', 'published')


def deconvolutions(in_channels: int, channels: int = 256, count: int = 3) -> nn.Sequential:
    """4 x 4 transposed convolutions without bias, each doubling the size, with batch norm and ReLU.

    (B, in_channels, H, W) -> (B, channels, H * 2**count, W * 2**count).
    """
    layers: List[nn.Module] = []
    for i in range(count):
        layers += [nn.ConvTranspose2d(channels if i else in_channels, channels, 4, stride=2,
                                      padding=1, bias=False),
                   nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def soft_argmax(logits: Tensor, method: str = 'fused') -> Tensor:
    """Expected indices under the softmax over all cells of a heatmap.

    Args:
        logits: (B, K, H, W) or (B, K, D, H, W).
        method: 'published': softmax, normalisation and marginal sums, as in public codes, each a
            tensor of the size of the heatmaps that autograd keeps. 'fused': the same numbers from
            one pass over pieces of the heatmaps, and probabilities computed again in the backward
            pass: beside the logits and their gradient nothing of their size is ever held. It can be
            differentiated once.

    Returns:
        (B, K, 2) of x (0 to W - 1) and y, or (B, K, 3) of x, y and z; at least float32.

    Raises:
        ValueError: ``method`` or the number of axes is another.
    """
    if logits.ndim not in (4, 5):
        raise ValueError('soft_argmax: expected heatmaps (B, K, H, W) or (B, K, D, H, W), found '
                         f'{tuple(logits.shape)}')
    if method == 'fused':
        depth = logits.shape[2] if logits.ndim == 5 else 1
        volumes = logits.reshape(-1, depth, *logits.shape[-2:])  # [B, K, ...] -> [B*K, D, H, W]
        expected = _FusedSoftArgmax.apply(volumes)
        return expected.unflatten(0, logits.shape[:2])[..., :logits.ndim - 2]
    if method == 'published':
        return _published_soft_argmax(logits)
    raise ValueError(f'soft_argmax: expected one of {METHODS}, found {method!r}')


def _published_soft_argmax(logits: Tensor) -> Tensor:
    probabilities = logits.flatten(2).to(_wide(logits)).softmax(dim=2)
    probabilities = probabilities / probabilities.sum(dim=2, keepdim=True)
    probabilities = probabilities.unflatten(2, logits.shape[2:])
    axes = range(2, logits.ndim)
    marginals = [probabilities.sum([other for other in axes if other != axis])
                 for axis in reversed(axes)]
    return torch.stack([marginal @ _indices(marginal) for marginal in marginals], dim=-1)


class _FusedSoftArgmax(torch.autograd.Function):
    """(R, D, H, W) logits to (R, 3) expected indices along W, H and D, in pieces of the rows."""

    @staticmethod
    def forward(ctx, logits: Tensor) -> Tensor:
        log_sums, expected = zip(*(_expectation(piece) for piece in _pieces(logits)))
        expected = torch.cat(expected)
        ctx.save_for_backward(logits, torch.cat(log_sums), expected)
        return expected

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        logits, log_sums, expected = ctx.saved_tensors
        grad_logits = torch.empty_like(logits)
        rows = (_pieces(t, like=logits) for t in (grad_logits, logits, log_sums, expected, grad))
        for out, piece, log_sum, mean, weight in zip(*rows):
            # d mean_i / d logit = p (i - mean_i), summed over the three axes
            x, y, z = (weight[:, i:i + 1] * (torch.arange(size, device=grad.device) -
                                             mean[:, i:i + 1])
                       for i, size in enumerate(reversed(piece.shape[1:])))
            slopes = (z[:, :, None] + y[:, None])[..., None] + x[:, None, None]
            probabilities = (piece.to(mean.dtype) - log_sum[:, None, None, None]).exp_()
            out.copy_(probabilities.mul_(slopes))
        return grad_logits


def _expectation(logits: Tensor) -> Tuple[Tensor, Tensor]:
    """Logits (r, D, H, W) to the logarithms (r, ) of their sums and expected indices (r, 3)."""
    largest = logits.amax(dim=(1, 2, 3)).to(_wide(logits))
    masses = (logits.to(largest.dtype) - largest[:, None, None, None]).exp_()
    columns = _indices(masses)
    # one matrix product for the sums over x, plain and weighted by x: [r, D, H, W] -> [r, D, H, 2]
    sums, weighted = (masses @ torch.stack([torch.ones_like(columns), columns], dim=1)).unbind(-1)
    total = sums.sum(dim=(1, 2))
    rows, slices = sums.sum(dim=1), sums.sum(dim=2)
    expected = torch.stack([weighted.sum(dim=(1, 2)), rows @ _indices(rows),
                            slices @ _indices(slices)], dim=1) / total[:, None]
    return largest + total.log(), expected


def _pieces(rows: Tensor, like: Tensor = None) -> Tuple[Tensor, ...]:
    """Split rows so that a piece of ``like`` stays in the cache (CPU) or is one launch (GPU) [np].

    Args:
        rows: (R, ...).
        like: (R, D, H, W) heatmaps that decide the split; ``rows`` itself by default.
    """
    like = rows if like is None else like
    cells = 2**20 if like.device.type == 'cpu' else 2**26
    return rows.split(max(1, cells // like.shape[1:].numel()))


def _indices(values: Tensor) -> Tensor:
    return torch.arange(values.shape[-1], dtype=values.dtype, device=values.device)


def _wide(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
