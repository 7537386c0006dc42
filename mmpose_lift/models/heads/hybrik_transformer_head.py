"""Head of HybrIK-Transformer: tokens of the body ask an image's feature map (arXiv 2302.04774).

Facts from the paper (Oreshkin, "3D Human Pose and Shape Estimation via HybrIK-Transformer", 2023)
and the numbers of its public code (boreshkinai/hybrik-transformer, MIT licence).
"""

from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...geometry.skeletons import get_skeleton
from ..layers.attention import attend
from ..layers.unbiased_layer_norm import UnbiasedLayerNorm
from .mesh_head import MEAN_SHAPE, BaseMeshHead

_NUM_JOINTS = get_skeleton('smpl').num_joints
_NUM_TWISTS = _NUM_JOINTS - 1
_NUM_LEAVES = _NUM_JOINTS - len({p for p in get_skeleton('smpl').parents if p >= 0})
_NUM_TYPES = 10  # rows of the table in the public code, of which four are used


class CrossAttention(nn.Module):
    """Multi-head attention with separate projections of query, key and value.

    Args:
        dims: Width C of all tokens, a multiple of ``num_heads``.
        num_heads: Heads.
    """

    def __init__(self, dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v, self.o = (nn.Linear(dims, dims) for _ in range(4))

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        """(B, L, C) queries looking at (B, S, C) tokens: (B, L, C)."""
        q, k, v = (linear(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                   for linear, x in ((self.q, query), (self.k, source), (self.v, source)))
        out = attend(q, k, v, q.shape[-1] ** -0.5)  # [B, H, L, D]
        return self.o(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Linear layers, each followed by a leaky ReLU, then dropout, residual and norm."""

    def __init__(self, dims: int, hidden_dims: int, num_layers: int, drop_rate: float) -> None:
        super().__init__()
        widths = [dims, *[hidden_dims] * (num_layers - 1), dims]
        self.fcs = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))
        self.drop = nn.Dropout(drop_rate)
        self.norm = UnbiasedLayerNorm(dims)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for fc in self.fcs:
            out = F.leaky_relu(fc(out), 0.01, inplace=True)
        return self.norm(self.drop(out) + x)


class EncoderDecoderBlock(nn.Module):
    """One step of the image tokens, then one of the body tokens, which look at the result.

    Args:
        dims: Width C of the tokens.
        hidden_dims: Width inside the feed-forward parts.
        num_layers: Linear layers of a feed-forward part.
        num_heads: Attention heads.
        drop_rate: Dropout after attention and feed-forward.
    """

    def __init__(self, dims: int, hidden_dims: int, num_layers: int, num_heads: int,
                 drop_rate: float) -> None:
        super().__init__()
        self.src_attn, self.tgt_attn, self.cross_attn = (
            CrossAttention(dims, num_heads) for _ in range(3))
        self.src_norm, self.tgt_norm, self.cross_norm = (UnbiasedLayerNorm(dims) for _ in range(3))
        self.src_ffn = FeedForward(dims, hidden_dims, num_layers, drop_rate)
        self.tgt_ffn = FeedForward(dims, hidden_dims, num_layers, drop_rate)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, src: Tensor, tgt: Tensor) -> Tuple[Tensor, Tensor]:
        """Image tokens (B, S, C) and body tokens (B, L, C) to the same."""
        src = self._add(src, self.src_attn(src, src), self.src_norm)
        src = self.src_ffn(src)
        tgt = self._add(tgt, self.tgt_attn(tgt, tgt), self.tgt_norm)
        tgt = self._add(tgt, self.cross_attn(tgt, src), self.cross_norm)
        return src, self.tgt_ffn(tgt)

    def _add(self, x: Tensor, attended: Tensor, norm: nn.Module) -> Tensor:
        # Unlike in most transformers a ReLU follows the norm of every attention.
        return F.relu(norm(self.drop(attended) + x), inplace=True)


@MODELS.register_module()
class HybrIKTransformerHead(BaseMeshHead):
    """Queries for joints, twists, leaf rotations and shape, decoded from a feature map.

    Args:
        in_channels: Channels C of the feature map, even; also the width of queries and decoders.
        feat_size: Side of the feature map, or (width, height).
        d_model: Width of the transformer.
        layer_width: Width inside its feed-forward parts.
        num_blocks: Encoder-decoder blocks.
        num_layers: Linear layers of a feed-forward part.
        num_heads: Attention heads.
        body_model: See :class:`BaseMeshHead`.
        leaf_tokens: Regress the rotations of the five leaf joints, as the public code does. False:
            the 48 queries of the paper's text; leaf joints do not turn.
        drop_rate: Dropout in the transformer.
        min_patch_ratio: While training, a random number of image tokens between this share and all
            is kept, the same number but other tokens for every sample. 1: all.
        loss: Config of the loss.
        input_size: See :class:`BaseMeshHead`.
        compat_joint23: See :class:`BaseMeshHead`. The default here is that of the public code, so
            that released weights mean what they should; False for a training of one's own.
        mean_shape: See :class:`BaseMeshHead`.
        decoder: See :class:`BaseMeshHead`.
        init_cfg: MMEngine initialisation.
    """

    def __init__(self, in_channels: int, feat_size: Union[int, Sequence[int]] = 8,
                 d_model: int = 512, layer_width: int = 512, num_blocks: int = 6,
                 num_layers: int = 3, num_heads: int = 8, body_model: Any = 'stand_in',
                 leaf_tokens: bool = True, drop_rate: float = 0.1, min_patch_ratio: float = 0.2,
                 loss: dict = dict(type='HybrIKLoss'),  # noqa: B006
                 input_size: Union[int, Sequence[int]] = 256, compat_joint23: bool = True,
                 mean_shape: Sequence[float] = MEAN_SHAPE, decoder: Optional[dict] = None,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(body_model, loss, input_size, compat_joint23, mean_shape, decoder,
                         init_cfg)
        if in_channels % 2:
            raise ValueError(f'in_channels: expected an even number, found {in_channels}; half of '
                             'the channels are the position in x, half that in y')
        if d_model % num_heads:
            raise ValueError(f'd_model={d_model} cannot be split into {num_heads} heads: choose a '
                             'multiple of num_heads')
        if not 0 < min_patch_ratio <= 1:
            raise ValueError(f'min_patch_ratio: expected a share in (0, 1], found '
                             f'{min_patch_ratio}')
        self.in_channels = in_channels
        self.feat_size = (feat_size, feat_size) if isinstance(feat_size, int) else tuple(feat_size)
        self.min_patch_ratio = min_patch_ratio
        self.num_leaves = _NUM_LEAVES if leaf_tokens else 0
        width, height = self.feat_size
        self.row_embed = nn.Embedding(height, in_channels // 2)
        self.col_embed = nn.Embedding(width, in_channels // 2)
        for table in (self.row_embed, self.col_embed):
            nn.init.uniform_(table.weight)
        self.joint_embeddings = nn.Parameter(
            torch.randn(_NUM_JOINTS + self.num_leaves, in_channels))
        self.type_embeddings = nn.Parameter(torch.randn(_NUM_TYPES, in_channels))
        self.src_proj = nn.Linear(in_channels, d_model)
        self.tgt_proj = nn.Linear(in_channels, d_model)
        self.blocks = nn.ModuleList(
            EncoderDecoderBlock(d_model, layer_width, num_layers, num_heads, drop_rate)
            for _ in range(num_blocks))
        self.out_proj = nn.Linear(d_model, in_channels)
        self.dec_joint = nn.Linear(in_channels, 3)
        self.dec_twist = nn.Linear(in_channels, 2)
        if leaf_tokens:
            self.dec_leaf = nn.Linear(in_channels, 4)
        self.dec_shape = nn.Linear(in_channels, self.num_betas)

    def position(self) -> Tensor:
        """(C, H, W) learned position: x in the first half of the channels, y in the second."""
        width, height = self.feat_size
        columns = self.col_embed.weight.T[:, None].expand(-1, height, -1)
        rows = self.row_embed.weight.T[:, :, None].expand(-1, -1, width)
        return torch.cat([columns, rows])

    def queries(self) -> Tensor:
        """(L, C) tokens of joints, twists, leaves and shape (24, 23, 5 and 1 of them)."""
        joints, (joint, twist, leaf, shape) = self.joint_embeddings, self.type_embeddings[:4]
        # Twist k belongs to joint k + 1, but shares the row of joint k.
        return torch.cat([joints[:_NUM_JOINTS] + joint, joints[:_NUM_TWISTS] + twist,
                          joints[_NUM_JOINTS:] + leaf, shape[None]])

    def transform(self, src: Tensor, tgt: Tensor) -> Tensor:
        """The transformer: image tokens (B, S, C) and queries (B, L, C) to (B, L, C)."""
        src, tgt = self.src_proj(src), self.tgt_proj(tgt)
        for block in self.blocks:
            src, tgt = block(src, tgt)
        return self.out_proj(tgt)

    def regress(self, feats: Union[Tensor, Sequence[Tensor]]) -> Dict[str, Optional[Tensor]]:
        """See :meth:`BaseMeshHead.regress`.

        Args:
            feats: (B, C, H, W) feature map, or several, of which the last one counts.

        Raises:
            ValueError: the map has another size than the head was built for.
        """
        feats = feats if isinstance(feats, Tensor) else feats[-1]
        width, height = self.feat_size
        if tuple(feats.shape[1:]) != (self.in_channels, height, width):
            raise ValueError(
                f'HybrIKTransformerHead: expected features (B, {self.in_channels}, {height}, '
                f'{width}), found {tuple(feats.shape)}. Set in_channels to the channels of the '
                'backbone or neck and feat_size to its map (1/32 of the input for a ResNet)')
        src = (feats + self.position()).flatten(2).transpose(1, 2)  # [B, H*W, C]
        if self.training:
            src = self._sample_patches(src)
        tgt = self.queries().expand(len(src), -1, -1)
        joints, twists, leaves, shape = self.transform(src, tgt).split(
            [_NUM_JOINTS, _NUM_TWISTS, self.num_leaves, 1], dim=1)
        return dict(
            pred_uvd_jts=self.dec_joint(joints), pred_phi=self.dec_twist(twists),
            pred_leaf=self.dec_leaf(leaves) if self.num_leaves else None,
            pred_delta_shape=self.dec_shape(shape[:, 0]),
            maxvals=joints.new_ones(joints.shape[:2] + (1, )))

    def _sample_patches(self, src: Tensor) -> Tensor:
        """(B, S, C) tokens to (B, n, C): n random ones of each sample, n random too."""
        batch, patches, channels = src.shape
        lowest = max(1, int(patches * self.min_patch_ratio))
        count = int(torch.randint(lowest, patches + 1, ()))
        chosen = torch.rand(batch, patches, device=src.device).argsort(1)[:, :count]
        return src.gather(1, chosen[..., None].expand(-1, -1, channels))
