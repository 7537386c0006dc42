"""Graph convolution with one weight matrix per group of neighbours (Yan et al., AAAI 2018)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def aggregation_matrix(adjacency: Tensor) -> Tensor:
    """Rows of all groups of a joint next to each other, so that one product gathers them all.

    Args:
        adjacency: (K, J, J), row = receiving joint.

    Returns:
        (J*K, J); row ``i * K + k`` is row i of group k.
    """
    return adjacency.transpose(0, 1).flatten(0, 1)


class GraphConvolution(nn.Module):
    """``sum_k A_k X Theta_k + bias``: neighbours are summed per group, each group has its weights.

    The adjacency matrices come already normalised and are not learned. Neighbours are summed before
    the linear maps: one small product with all groups, then one matrix product of depth K * C. The
    usual form, a 1x1 convolution to K * C channels followed by the sum over neighbours, computes
    the same and moves K times the channels twice.

    Weights start as those of a linear layer of ``K * C`` inputs. [np]

    Args:
        in_dims: Channels C of the input.
        out_dims: Channels D of the output.
        num_groups: Groups K of neighbours.
        bias: One vector added after the sum over groups. [np]

    Attributes:
        theta: (K, C, D) weights.
        bias: (D,) or None.
    """

    def __init__(self, in_dims: int, out_dims: int, num_groups: int = 3,
                 bias: bool = True) -> None:
        super().__init__()
        bound = 1 / math.sqrt(num_groups * in_dims)
        # In memory [D, K, C], as linear layers keep their weights: a fifth faster for one pose.
        weight = torch.empty(out_dims, num_groups, in_dims).uniform_(-bound, bound)
        self.theta = nn.Parameter(weight.permute(1, 2, 0))
        self.bias = nn.Parameter(torch.empty(out_dims).uniform_(-bound, bound)) if bias else None

    def forward(self, x: Tensor, aggregation: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: (N, J, C).
            aggregation: (J*K, J) of :func:`aggregation_matrix`.

        Returns:
            (N, J, D).

        Raises:
            ValueError: joints, channels or groups do not fit.
        """
        groups, in_dims, out_dims = self.theta.shape
        if x.ndim != 3 or x.shape[2] != in_dims or aggregation.shape != (
                groups * x.shape[1], x.shape[1]):
            raise ValueError(
                f'GraphConvolution: expected features (N, J, {in_dims}) and an aggregation matrix '
                f'({groups}*J, J), found {tuple(x.shape)} and {tuple(aggregation.shape)}; make it '
                f'with aggregation_matrix from an adjacency ({groups}, J, J) of the same joints')
        rows, joints, _ = x.shape
        gathered = aggregation.expand(rows, -1, -1) @ x  # [N, J*K, J] @ [N, J, C] -> [N, J*K, C]
        gathered = gathered.reshape(rows * joints, groups * in_dims)
        weight = self.theta.permute(2, 0, 1).flatten(1)  # [K, C, D] -> [D, K*C], a view
        return F.linear(gathered, weight, self.bias).view(rows, joints, out_dims)

    def extra_repr(self) -> str:
        groups, in_dims, out_dims = self.theta.shape
        return f'{in_dims}, {out_dims}, num_groups={groups}, bias={self.bias is not None}'
