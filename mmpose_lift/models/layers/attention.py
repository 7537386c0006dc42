"""Multi-head self-attention, token-first or batch-first (Vaswani et al., NeurIPS 2017)."""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .cpu_dropout import attend_with_dropout
from .recompute import recompute

# Added to the score of a key that must not be attended to. Finite: where all keys are masked,
# float32 rounds all scores to this one value, and the attention is uniform instead of NaN.
MASKED_SCORE = -1e9

# Up to as many scores the fused kernel is the faster one on CPUs in bfloat16.
_FEW_SCORES = 2**14


def key_mask(allowed: Tensor) -> Tensor:
    """Additive attention mask that hides keys from every query and head.

    Args:
        allowed: (N, S) bool, False for hidden keys.

    Returns:
        (N, 1, 1, S) float32, 0 where allowed and -1e9 where hidden.
    """
    mask = torch.zeros(allowed.shape, dtype=torch.float32, device=allowed.device)
    return mask.masked_fill_(~allowed, MASKED_SCORE)[:, None, None]


def fused_attention_is_faster(device: torch.device, dtype: torch.dtype, num_scores: int) -> bool:
    """Whether ``scaled_dot_product_attention`` beats plain batched products (measured).

    One CPU thread, 8 heads. 243 tokens, 17 rows, width 64: fused 31 ms against 81 ms in float32,
    but 35 ms against 23 ms in bfloat16, where the plain products use the CPU's bfloat16
    instructions. They take a fixed time to get going, though, so that the fused kernel wins in
    bfloat16 as long as there is little to do. Time of plain over fused, widths 4 to 64:

    ====================  =========  ============  ============  ===========
    tokens                17         27            41            71
    1 row                 2.5 - 2.0  2.2 - 1.5     1.4 - 1.0     1.0 - 0.75
    4 rows                1.3 - 1.1  1.4 - 1.05    0.9 - 0.7     0.75 - 0.6
    8 rows                1.0 - 0.9  1.25 - 0.9    0.8 - 0.65    0.7 - 0.55
    32 rows               0.85 - 0.7 1.1 - 0.8     0.7 - 0.55    0.9 - 0.6
    ====================  =========  ============  ============  ===========

    Above 2**14 scores (one row of 8 heads: 45 tokens) the plain products win or, with 27 tokens,
    lose a little; with 243 tokens they win even for one row.

    Args:
        device: Of query, key and value.
        dtype: Of query, key and value.
        num_scores: N * H * L * S, attention scores in all.
    """
    if device.type != 'cpu' or dtype in (torch.float32, torch.float64):
        return True
    return dtype == torch.bfloat16 and num_scores <= _FEW_SCORES


def attend(query: Tensor, key: Tensor, value: Tensor, scale: float, dropout: float = 0.0,
           mask: Optional[Tensor] = None, record: Optional[list] = None) -> Tensor:
    """Softmax attention, by whichever of the equal forms is the fastest one here.

    Args:
        query: (N, H, L, D); views with any strides are fine.
        key: (N, H, S, D).
        value: (N, H, S, D).
        scale: Factor on the scores.
        dropout: Dropout rate on the attention weights (0 outside training).
        mask: Added to the scaled scores, broadcast to (N, H, L, S).
        record: List to which the attention weights (N, H, L, S) are appended, before dropout and
            without their graph.

    Returns:
        (N, H, L, D).
    """
    if mask is not None and mask.dtype != query.dtype:
        if query.dtype == torch.float16:
            # It cannot hold -1e9: the lowest finite value hides a key as well, -inf could give NaN.
            mask = mask.clamp(min=torch.finfo(torch.float16).min)
        mask = mask.to(query.dtype)
    if 0 < dropout < 1 and record is None and query.device.type == 'cpu':
        return attend_with_dropout(query, key, value, scale, dropout, mask)
    num_scores = query.shape[:-1].numel() * key.shape[-2]
    if record is None and fused_attention_is_faster(query.device, query.dtype, num_scores):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout,
                                              scale=scale)
    scores = (query * scale).contiguous() @ key.contiguous().transpose(-2, -1)
    weights = (scores if mask is None else scores + mask).softmax(dim=-1)
    if record is not None:
        record.append(weights.detach())
    return F.dropout(weights, dropout) @ value.contiguous()


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection (order q, k, v, each head-major).

    Args:
        dims: Channels C.
        num_heads: Heads H; C must be a multiple of it.
        qkv_bias: Bias on the q, k, v projection.
        qk_scale: Factor on the scores. Default: (C / H) ** -0.5.
        attn_drop_rate: Dropout on the attention weights.
        proj_drop_rate: Dropout on the output.
    """

    def __init__(self, dims: int, num_heads: int = 8, qkv_bias: bool = True,
                 qk_scale: Optional[float] = None, attn_drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0) -> None:
        super().__init__()
        if dims % num_heads:
            raise ValueError(f'{dims} channels cannot be split into {num_heads} heads: choose '
                             'embed_dims as a multiple of num_heads')
        self.num_heads = num_heads
        self.scale = (dims // num_heads) ** -0.5 if qk_scale is None else float(qk_scale)
        self.attn_drop_rate = attn_drop_rate
        self.qkv = nn.Linear(dims, 3 * dims, bias=qkv_bias)
        self.proj = nn.Linear(dims, dims)
        self.proj_drop = nn.Dropout(proj_drop_rate)

    def forward(self, x: Tensor, token_dim: int = 1, mask: Optional[Tensor] = None,
                record: Optional[list] = None) -> Tensor:
        """Attend along one of the two leading axes.

        Args:
            x: (N, L, C) with ``token_dim=1``, or (L, N, C) with ``token_dim=0``. Both layouts are
                read through views, so a caller need not permute its stream.
            token_dim: Axis of the tokens, 0 or 1; the other axis is a batch.
            mask: Additive mask, broadcast to (N, H, L, L); see :func:`key_mask`.
            record: List to which the attention weights (N, H, L, L) are appended.

        Returns:
            Tensor of the shape of ``x``.
        """
        return self.attend(self.qkv(x), token_dim, mask, record)

    def attend(self, qkv: Tensor, token_dim: int = 1, mask: Optional[Tensor] = None,
               record: Optional[list] = None) -> Tensor:
        """What follows the first projection.

        Args:
            qkv: (N, L, 3C) or (L, N, 3C).
            token_dim: As in :meth:`forward`.
            mask: As in :meth:`forward`.
            record: As in :meth:`forward`.
        """
        first, second, triple = qkv.shape
        heads, dims = self.num_heads, triple // 3
        dropout = self.attn_drop_rate if self.training else 0.0
        qkv = qkv.view(first, second, 3, heads, dims // heads)
        # [first, second, 3, H, D] -> [3, N, H, L, D]
        qkv = qkv.permute(2, 0, 3, 1, 4) if token_dim == 1 else qkv.permute(2, 1, 3, 0, 4)
        out = attend(*qkv.unbind(0), self.scale, dropout, mask, record)

        def project(out: Tensor) -> Tensor:
            # [N, H, L, D] -> [first, second, C]
            out = out.permute(0, 2, 1, 3) if token_dim == 1 else out.permute(2, 0, 1, 3)
            return self.proj(out.reshape(first, second, dims))

        return self.proj_drop(recompute(project, out))
