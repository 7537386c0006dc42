"""The progressive transformer of METRO, Graphormer and MPT: tokens in, joints and vertices out.

METRO: Lin et al., CVPR 2021, arXiv 2012.09760, section 3.1 (three encoders, each narrower than the
one before); MPT: Lin et al., WACV 2024, arXiv 2211.13357, supplement (widths, no graph
convolution). Layers are BERT's (Devlin et al., NAACL 2019).
"""

from typing import Sequence

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..layers import Dropout, Mlp, SelfAttention, recompute

NORM_EPS = 1e-12
INIT_STD = 0.02


@MODELS.register_module()
class MeshTransformer(BaseModule):
    """Blocks of BERT layers that narrow the tokens step by step to coordinates.

    Args:
        input_dims: Token width in front of each block.
        hidden_dims: Width inside each block. MPT's by default; METRO's last one is 128.
        output_dims: Token width behind each block; the last one is 3, coordinates in metres.
        intermediate_dims: Hidden width of each block's MLPs. METRO's by default; Graphormer's are
            twice ``hidden_dims``, MPT's are not published.
        num_layers: BERT layers of each block.
        num_heads: Attention heads of each layer.
        max_tokens: Rows of the position tables, at least the number of tokens N.
        drop_rate: Dropout after the embedding and at the end of both branches of a layer.
        attn_drop_rate: Dropout on attention weights.
        init_cfg: As in MMEngine. Default: normal with standard deviation 0.02, biases zero.

    Raises:
        ValueError: different numbers of blocks, a block that does not give what the next one takes,
            or a hidden width that is no multiple of ``num_heads``.
    """

    def __init__(self, input_dims: Sequence[int] = (2051, 512, 128),
                 hidden_dims: Sequence[int] = (1024, 256, 64),
                 output_dims: Sequence[int] = (512, 128, 3),
                 intermediate_dims: Sequence[int] = (3072, 3072, 3072), num_layers: int = 4,
                 num_heads: int = 4, max_tokens: int = 512, drop_rate: float = 0.1,
                 attn_drop_rate: float = 0.1, init_cfg=None) -> None:
        super().__init__(init_cfg)
        widths = dict(input_dims=tuple(input_dims), hidden_dims=tuple(hidden_dims),
                      output_dims=tuple(output_dims), intermediate_dims=tuple(intermediate_dims))
        if len({len(dims) for dims in widths.values()}) > 1 or not hidden_dims:
            raise ValueError('MeshTransformer: expected one width per block in each of '
                             f'{", ".join(widths)}, found {widths}')
        if widths['input_dims'][1:] != widths['output_dims'][:-1]:
            raise ValueError('MeshTransformer: each block takes what the one before gives, so '
                             'input_dims[1:] must equal output_dims[:-1]; found '
                             f'{widths["input_dims"][1:]} and {widths["output_dims"][:-1]}')
        for name, value in dict(num_layers=num_layers, max_tokens=max_tokens).items():
            if value < 1:
                raise ValueError(f'MeshTransformer: expected {name} of at least 1, found {value}')
        if any(width % num_heads for width in hidden_dims):
            raise ValueError(f'MeshTransformer: expected hidden_dims that are multiples of '
                             f'num_heads={num_heads}, found {tuple(hidden_dims)}')
        self.blocks = nn.ModuleList(
            MeshTransformerBlock(*dims, num_layers, num_heads, max_tokens, drop_rate,
                                 attn_drop_rate) for dims in zip(*widths.values()))

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn tokens into points.

        Args:
            tokens: (B, N, input_dims[0]).

        Returns:
            (B, N, output_dims[-1]).

        Raises:
            ValueError: more tokens than ``max_tokens``, or of another width.
        """
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


class MeshTransformerBlock(nn.Module):
    """Linear embedding with a position table, BERT layers, linear output; plus a linear shortcut.

    Args:
        input_dims: Token width in front.
        hidden_dims: Width C inside.
        output_dims: Token width behind.
        intermediate_dims: Hidden width of the MLPs.
        num_layers, num_heads, max_tokens, drop_rate, attn_drop_rate: As of
            :class:`MeshTransformer`.
    """

    def __init__(self, input_dims: int, hidden_dims: int, output_dims: int,
                 intermediate_dims: int, num_layers: int = 4, num_heads: int = 4,
                 max_tokens: int = 512, drop_rate: float = 0.1,
                 attn_drop_rate: float = 0.1) -> None:
        super().__init__()
        self.in_proj = nn.Linear(input_dims, hidden_dims)
        self.pos_embed = nn.Parameter(torch.empty(max_tokens, hidden_dims))
        self.drop = Dropout(drop_rate)
        self.layers = nn.ModuleList(
            BertLayer(hidden_dims, num_heads, intermediate_dims, drop_rate, attn_drop_rate)
            for _ in range(num_layers))
        self.out_proj = nn.Linear(hidden_dims, output_dims)
        self.residual_proj = nn.Linear(input_dims, output_dims)
        nn.init.normal_(self.pos_embed, std=INIT_STD)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=INIT_STD)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, input_dims) -> (B, N, output_dims)."""
        count, width = tokens.shape[1:]
        if count > len(self.pos_embed):
            raise ValueError(f'MeshTransformer: {count} tokens, but the position table has '
                             f'{len(self.pos_embed)} rows: set max_tokens={count} or more, or use '
                             'a coarser mesh')
        if width != self.in_proj.in_features:
            raise ValueError(f'MeshTransformer: expected tokens of width '
                             f'{self.in_proj.in_features} (input_dims), found {width}')
        # float32 under autocast, and so is all that the norms see: layer outputs are added to it
        x = self.drop(self.in_proj(tokens) + self.pos_embed[:count])
        for layer in self.layers:
            x = layer(x)
        return self.out_proj(x) + self.residual_proj(tokens)


class BertLayer(nn.Module):
    """norm(x + attention(x)), then norm(x + MLP(x)): the norms follow the sums, unlike in ViT.

    Args:
        dims: Channels C.
        num_heads: Attention heads.
        hidden_dims: Hidden width of the MLP, with exact (erf) GELU.
        drop_rate: Dropout at the end of both branches; there is none inside the MLP.
        attn_drop_rate: Dropout on the attention weights.
    """

    def __init__(self, dims: int, num_heads: int, hidden_dims: int, drop_rate: float = 0.1,
                 attn_drop_rate: float = 0.1) -> None:
        super().__init__()
        self.attn = SelfAttention(dims, num_heads, attn_drop_rate=attn_drop_rate)
        self.norm1 = nn.LayerNorm(dims, eps=NORM_EPS)
        self.mlp = Mlp(dims, hidden_dims)
        self.norm2 = nn.LayerNorm(dims, eps=NORM_EPS)
        self.drop = Dropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        x = self.norm1(x + self.drop(self.attn(x)))
        hidden = self.mlp.fc1(x)
        # the activation is made again in the backward pass, which costs less than keeping it
        return self.norm2(x + self.drop(recompute(self.mlp.project, hidden)))
