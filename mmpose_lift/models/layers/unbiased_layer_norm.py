"""Layer normalisation by the unbiased standard deviation."""

import torch
from torch import Tensor, nn

__all__ = ['UnbiasedLayerNorm']


class UnbiasedLayerNorm(nn.Module):
    """y = weight * (x - mean) / (std + eps) + bias, with std from n - 1 values.

    The library's norm divides by sqrt(variance + eps) with the biased variance; at width 512 that
    is 0.1 % off, which released weights feel. Here the library's fused kernel does the work and one
    factor per row corrects it. The output is that of the formula, up to rounding; the gradient
    takes the factor as a constant, which is wrong by no more than eps / std (1e-6 where std is 1).

    Args:
        dims: Width n of the last axis.
        eps: Added to the standard deviation.
    """

    def __init__(self, dims: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dims))
        self.bias = nn.Parameter(torch.zeros(dims))

    def forward(self, x: Tensor) -> Tensor:
        """(..., n) to (..., n), float32 or more also where ``x`` is shorter."""
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.float()
        dims, eps = x.shape[-1], self.eps
        # The kernel's eps bounds its factor, so that the correction is exact at any std.
        out, _, rate = torch.native_layer_norm(x, (dims, ), self.weight, None, eps * eps)
        variance = (rate ** -2 - eps * eps).clamp(min=0)
        std = (variance * (dims / (dims - 1))).sqrt()
        return torch.addcmul(self.bias, out, 1 / (rate * (std + eps)))

    def extra_repr(self) -> str:
        return f'{len(self.weight)}, eps={self.eps}'
