"""Uplift and Upsample, 3D poses from sparse 2D poses (Einfalt et al., WACV 2023, arXiv 2210.06110).

Every token is a frame. Frames with a 2D pose (key-frames) get their token from a spatial
transformer over the joints, the others share one learned upsampling token.
"""

from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..layers import SelfAttention, StridedTransformerBlock, TransformerBlock, key_mask
from ..layers.strided_transformer import strided_length

Features = Tuple[Optional[Tensor], Tensor]


def linear_rates(rate: float, depth: int) -> List[float]:
    """``depth`` drop path rates that rise linearly from 0 to ``rate``; one block gets 0."""
    return [rate * i / max(depth - 1, 1) for i in range(depth)]


def init_like_keras(module: nn.Module) -> None:
    """Glorot uniform weights and zero bias for linear layers and convolutions.

    The fused q, k, v projection is three layers of the public code: each third for itself.
    """
    fused = {layer.qkv for layer in module.modules() if isinstance(layer, SelfAttention)}
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d)):
            for part in layer.weight.detach().chunk(3 if layer in fused else 1):
                nn.init.xavier_uniform_(part)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def learned_table(*shape: int) -> nn.Parameter:
    """Position table or token: normal, standard deviation 0.02, truncated at two of them."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02, a=-0.04, b=0.04))


@MODELS.register_module()
class UpliftUpsampleTransformer(BaseModule):
    """Spatial transformer per key-frame, temporal transformer over all frames, strided transformer
    that reduces them to the centre frame.

    Deferred upsampling token attention: in the first blocks over frames upsampling tokens ask the
    key-frames but are not asked. With ``temporal_depth=0`` the first strided block is that block.

    Frames without a 2D pose are left out of the spatial transformer, in training too (the public
    code computes and discards them, with equal results). Where a window has no key-frame at all the
    masked attention is uniform, so the output is finite but says nothing.

    Ablations of the paper's table 3: ``spatial_depth=0`` (a frame's coordinates go straight into
    ``pose_embed`` [np]), ``temporal_depth=0`` (no tokens for a sequence head), ``strides=()`` (the
    centre is the middle token of the temporal transformer).

    Args:
        num_tokens: Frames L of a window, ``num_tokens // 2`` is the centre.
        num_keypoints: Joints J.
        in_channels: Coordinates per joint, without the key-frame flag.
        spatial_dims: Channels of a joint.
        temporal_dims: Channels D of a frame.
        spatial_depth: Blocks over the joints of a frame.
        temporal_depth: Blocks over the frames.
        strides: One strided block each; together they must leave one token.
        paddings: (left, right) of each strided block, 0 or 1. None: (1, 1) for all.
        num_heads: Attention heads in all blocks.
        mlp_ratio: Hidden width of the MLPs over their channels.
        qkv_bias: Bias on the q, k, v projections.
        first_upsample_attention_block: Index of the first block over frames in which upsampling
            tokens are keys; 0 switches deferred attention off.
        drop_path_rate: Of the last spatial, temporal and strided block, or one for all three;
            rates rise from 0 within each part.
        upsample_token: Without it every frame must be a key-frame.
        token_mask_rate: Probability that a token is set to 0 in training, key-frame or not, before
            the position table is added; never the centre's [np]. 0 in all published configs.
        learned_mask_token: A learned vector instead of 0 for those.
        init_cfg: MMEngine initialisation. Default: that of the public code, see
            :func:`init_like_keras` and :func:`learned_table`.

    Raises:
        ValueError: the strided part does not leave one token, or an option is out of range.
    """

    causal = False

    def __init__(self, num_tokens: int = 71, num_keypoints: int = 17, in_channels: int = 2,
                 spatial_dims: int = 32, temporal_dims: int = 384, spatial_depth: int = 4,
                 temporal_depth: int = 4, strides: Sequence[int] = (3, 10, 3),
                 paddings: Optional[Sequence[Tuple[int, int]]] = ((0, 0), (0, 0), (0, 0)),
                 num_heads: int = 8, mlp_ratio: float = 2.0, qkv_bias: bool = True,
                 first_upsample_attention_block: int = 1,
                 drop_path_rate: Union[float, Sequence[float]] = (0.1, 0.1, 0.0),
                 upsample_token: bool = True, token_mask_rate: float = 0.0,
                 learned_mask_token: bool = False,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg)
        paddings = [(1, 1)] * len(strides) if paddings is None else [tuple(p) for p in paddings]
        lengths = check_strides(num_tokens, strides, paddings)
        rates = check_options(
            spatial_depth, temporal_depth, len(strides), first_upsample_attention_block,
            drop_path_rate, token_mask_rate, learned_mask_token)
        self.num_tokens = num_tokens
        self.num_keypoints = num_keypoints
        self.in_channels = in_channels
        self.temporal_dims = temporal_dims
        self.first_upsample_attention_block = first_upsample_attention_block
        self.token_mask_rate = token_mask_rate
        common = dict(num_heads=num_heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, norm_eps=1e-5)

        frame_dims = num_keypoints * (spatial_dims if spatial_depth else in_channels)
        if spatial_depth:
            self.joint_embed = nn.Linear(in_channels, spatial_dims)
            self.spatial_pe = learned_table(num_keypoints, spatial_dims)
            self.spatial_norm = nn.LayerNorm(spatial_dims, eps=1e-6)
        self.spatial_blocks = nn.ModuleList(
            TransformerBlock(spatial_dims, drop_path_rate=rate, **common)
            for rate in linear_rates(rates[0], spatial_depth))
        self.pose_embed = nn.Linear(frame_dims, temporal_dims)

        self.upsample_token = learned_table(temporal_dims) if upsample_token else None
        self.mask_token = learned_table(temporal_dims) if learned_mask_token else None
        self.temporal_pe = learned_table(num_tokens, temporal_dims)
        self.temporal_blocks = nn.ModuleList(
            TransformerBlock(temporal_dims, drop_path_rate=rate, activation=nn.ReLU, **common)
            for rate in linear_rates(rates[1], temporal_depth))

        self.strided_pe = nn.ParameterList(learned_table(n, temporal_dims) for n in lengths[:-1])
        self.strided_blocks = nn.ModuleList(
            StridedTransformerBlock(temporal_dims, stride=stride, padding=padding,
                                    drop_path_rate=rate, **common)
            for stride, padding, rate in zip(strides, paddings,
                                             linear_rates(rates[2], len(strides))))
        init_like_keras(self)

    def forward(self, x: Tensor, return_attention: bool = False
                ) -> Union[Features, Tuple[Optional[Tensor], Tensor, Dict[str, Tensor]]]:
        """Encode a batch of windows.

        Args:
            x: (B, L, J, in_channels + 1) 2D keypoints, width-normalised to [-1, 1], and as the last
                channel the key-frame flag, 1 or 0, the same for all joints of a frame. Coordinates
                of frames with flag 0 have no effect.
            return_attention: Also return the attention weights (slower).

        Returns:
            tokens (B, L, D) of the temporal transformer (None with ``temporal_depth=0``) and centre
            (B, D). With ``return_attention`` also a dict of ``spatial_i`` (key-frames of the batch,
            H, J, J), ``temporal_i`` and ``strided_i`` (B, H, queries, keys).

        Raises:
            ValueError: another shape, or flags that are not 0 or 1 or differ between joints.
        """
        key_frames = self._key_frames(x)
        batch, frames = key_frames.shape
        index = key_frames.flatten().nonzero().squeeze(1)
        poses = x[..., :-1].flatten(0, 1)  # [B, L, J, 2] -> [B*L, J, 2]
        attention = {} if return_attention else None
        if len(index) == batch * frames:
            tokens = self.pose_tokens(poses, attention)
        else:
            real = self.pose_tokens(poses[index], attention)
            tokens = real.new_zeros(batch * frames, real.shape[-1]).index_copy(0, index, real)
        features = self.from_tokens(tokens.unflatten(0, (batch, frames)), key_frames, attention)
        return features if attention is None else (*features, attention)

    def pose_tokens(self, poses: Tensor, attention: Optional[dict] = None) -> Tensor:
        """Tokens of frames that have a 2D pose.

        Args:
            poses: (N, J, in_channels) 2D keypoints as in :meth:`forward`, N may be 0.
            attention: Dict that takes up ``spatial_i`` (N, H, J, J).

        Returns:
            (N, D), before the temporal position table.

        Raises:
            ValueError: another shape.
        """
        expected = (self.num_keypoints, self.in_channels)
        if poses.ndim != 3 or tuple(poses.shape[1:]) != expected:
            raise ValueError(f'UpliftUpsampleTransformer: expected poses (N, {expected[0]}, '
                             f'{expected[1]}), found {tuple(poses.shape)}')
        if self.spatial_blocks:
            poses = self.joint_embed(poses) + self.spatial_pe
            for i, block in enumerate(self.spatial_blocks):
                poses = run_block(block, poses, f'spatial_{i}', attention)
            poses = self.spatial_norm(poses)
        return self.pose_embed(poses.flatten(1))  # [N, J, C] -> [N, J*C] -> [N, D]

    def from_tokens(self, tokens: Tensor, key_frames: Tensor,
                    attention: Optional[dict] = None) -> Features:
        """Temporal and strided transformer.

        Args:
            tokens: (B, L, D) of :meth:`pose_tokens`; rows that are no key-frames have no effect.
            key_frames: (B, L) bool.
            attention: Dict that takes up ``temporal_i`` and ``strided_i`` (B, H, queries, keys).

        Returns:
            tokens (B, L, D), or None with ``temporal_depth=0``, and centre (B, D).

        Raises:
            ValueError: another shape or dtype, or a missing frame where there is no
                ``upsample_token``.
        """
        self._check_tokens(tokens, key_frames)
        everywhere = bool(key_frames.all())
        if self.upsample_token is not None:
            # Also where nothing is missing: distributed training wants a gradient in every step.
            tokens = torch.where(key_frames[..., None], tokens, self.upsample_token)
        elif not everywhere:
            raise ValueError('UpliftUpsampleTransformer: built with upsample_token=False it needs '
                             f'a 2D pose in every frame, found {int((~key_frames).sum())} of '
                             f'{key_frames.numel()} frames without one. Use an input stride equal '
                             'to the output stride, or a model with upsample_token=True')
        x = self._mask_tokens(tokens) + self.temporal_pe
        mask = None if everywhere else key_mask(key_frames)
        deferred = self.first_upsample_attention_block
        for i, block in enumerate(self.temporal_blocks):
            x = run_block(block, x, f'temporal_{i}', attention, mask if i < deferred else None)
        sequence = x if self.temporal_blocks else None
        if not self.strided_blocks:
            return sequence, x[:, self.num_tokens // 2]
        for i, (block, table) in enumerate(zip(self.strided_blocks, self.strided_pe)):
            first = i == 0 and sequence is None and deferred > 0
            x = run_block(block, x + table, f'strided_{i}', attention, mask if first else None)
        return sequence, x[:, 0]

    def _mask_tokens(self, tokens: Tensor) -> Tensor:
        """Random tokens replaced in training, never the centre."""
        if not self.training or self.token_mask_rate == 0:
            return tokens
        masked = torch.rand(tokens.shape[:2], device=tokens.device) < self.token_mask_rate
        masked[:, self.num_tokens // 2] = False
        substitute = tokens.new_zeros(()) if self.mask_token is None else self.mask_token
        return torch.where(masked[..., None], substitute, tokens)

    def _key_frames(self, x: Tensor) -> Tensor:
        """Key-frames (B, L) of an input, which is checked."""
        expected = (self.num_tokens, self.num_keypoints, self.in_channels + 1)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ValueError(
                f'UpliftUpsampleTransformer: expected input (B, L, J, {expected[2]}) with '
                f'L={expected[0]} frames and J={expected[1]} joints, the last channel the '
                f'key-frame flag, found {tuple(x.shape)}. Read windows with '
                'KeyFrameSequenceDataset, or build the model with matching num_tokens, '
                'num_keypoints and in_channels')
        flags = x[..., -1]
        key_frames = flags[..., 0] == 1
        if not torch.equal(flags, key_frames[..., None].to(flags.dtype).expand_as(flags)):
            raise ValueError('UpliftUpsampleTransformer: the last input channel is the key-frame '
                             'flag and must be 1 or 0, the same for all joints of a frame; found '
                             f'values {flags.unique()[:8].tolist()}')
        return key_frames

    def _check_tokens(self, tokens: Tensor, key_frames: Tensor) -> None:
        expected = (self.num_tokens, self.temporal_dims)
        if tokens.ndim != 3 or tuple(tokens.shape[1:]) != expected:
            raise ValueError(f'UpliftUpsampleTransformer: expected tokens (B, {expected[0]}, '
                             f'{expected[1]}), found {tuple(tokens.shape)}')
        if key_frames.shape != tokens.shape[:2] or key_frames.dtype != torch.bool:
            raise ValueError('UpliftUpsampleTransformer: expected key_frames '
                             f'{tuple(tokens.shape[:2])} torch.bool, found '
                             f'{tuple(key_frames.shape)} {key_frames.dtype}')


def run_block(block: nn.Module, x: Tensor, name: str, attention: Optional[dict],
              mask: Optional[Tensor] = None) -> Tensor:
    """A block's output; its attention weights go into the dict where there is one."""
    record = None if attention is None else []
    x = block(x, mask=mask, record=record)
    if record:
        attention[name] = record[0]
    return x


def check_strides(num_tokens: int, strides: Sequence[int],
                  paddings: Sequence[Tuple[int, int]]) -> List[int]:
    """Sequence lengths before each strided block and after the last.

    Raises:
        ValueError: the counts differ, a value is out of range, or not exactly one token is left.
    """
    name = 'UpliftUpsampleTransformer'
    if len(strides) != len(paddings):
        raise ValueError(f'{name}: expected one (left, right) padding for each of the '
                         f'{len(strides)} strides, found {len(paddings)}; paddings=None means '
                         '(1, 1) for all')
    lengths = [num_tokens]
    for stride, padding in zip(strides, paddings):
        if stride < 1 or len(padding) != 2 or not set(padding) <= {0, 1}:
            raise ValueError(f'{name}: expected strides of at least 1 and paddings (left, right) '
                             f'of 0 or 1, found stride {stride} with padding {padding}')
        lengths.append(strided_length(lengths[-1], stride, padding))
    if strides and (lengths[-1] != 1 or min(lengths) < 1):
        raise ValueError(f'{name}: strides {tuple(strides)} with paddings {tuple(paddings)} turn '
                         f'{num_tokens} tokens into {lengths[1:]}; the last length must be 1. '
                         'Change num_tokens, strides or paddings')
    return lengths


def check_options(spatial_depth: int, temporal_depth: int, strided_depth: int, deferred: int,
                  drop_path_rate: Union[float, Sequence[float]], token_mask_rate: float,
                  learned_mask_token: bool) -> Tuple[float, ...]:
    """The three drop path rates (spatial, temporal, strided), after a look at the options.

    Raises:
        ValueError: an option is out of range or has no effect.
    """
    name = 'UpliftUpsampleTransformer'
    if min(spatial_depth, temporal_depth) < 0 or temporal_depth + strided_depth < 1:
        raise ValueError(f'{name}: found spatial_depth={spatial_depth}, temporal_depth='
                         f'{temporal_depth} and {strided_depth} strides; depths must not be '
                         'negative, and frames need a temporal or a strided block')
    most = temporal_depth or 1  # without temporal blocks only the first strided one has all tokens
    if not 0 <= deferred <= most:
        raise ValueError(f'{name}: first_upsample_attention_block must be in 0 to {most} with '
                         f'temporal_depth={temporal_depth}, got {deferred}')
    if not 0 <= token_mask_rate < 1 or (learned_mask_token and token_mask_rate == 0):
        raise ValueError(f'{name}: token_mask_rate must be in [0, 1), and above 0 with '
                         f'learned_mask_token=True, got {token_mask_rate}')
    rates = (drop_path_rate, ) * 3 if isinstance(drop_path_rate, (int, float)) else tuple(
        drop_path_rate)
    if len(rates) != 3:
        raise ValueError(f'{name}: drop_path_rate must be one number or three (spatial, temporal, '
                         f'strided), got {drop_path_rate}')
    return rates
