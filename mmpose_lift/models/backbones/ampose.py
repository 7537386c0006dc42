"""AMPose, alternately mixed global-local attention (Lin et al., 2022, arXiv 2210.04216).

The authors published no code, and the paper leaves much open. What is not in it is marked [np]
below; those choices are arguments wherever two readings are plausible.
"""

from typing import Callable, Dict, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...geometry.skeleton_graph import normalized_adjacency, tree_parents
from ..layers import DropPath, GraphConvolution, Mlp, TransformerBlock, aggregation_matrix

GCN_DESIGNS = ('proposed', 'two_residual', 'transformer', 'convnext')
POS_EMBEDS = ('first', 'each', 'shared')
SCALES = ('head', 'full')
RESIDUALS = ('hidden', 'input')
NORMS: Dict[str, Callable[[int], nn.Module]] = {
    'batch': nn.BatchNorm1d, 'layer': lambda dims: nn.LayerNorm(dims, eps=1e-6)}
ACTIVATIONS = {'relu': nn.ReLU, 'gelu': nn.GELU}
_SKELETON_OF = {17: 'h36m', 16: 'h36m_16'}


def _per_token(norm: nn.Module, x: Tensor) -> Tensor:
    """Norm over the channels of (N, J, C); the statistics of batch norm are over all N * J."""
    return norm(x.flatten(0, 1)).view_as(x)


class GraphBlock(nn.Module):
    """Two graph convolutions, each with norm and activation: the proposed and two-residual designs.

    ``h = act(norm(conv(x)))`` (plus x with ``first_residual``), then ``h + act(norm(conv(h)))``.

    Args:
        dims: Channels C.
        norm: Makes a norm of C channels.
        activation: Makes an activation.
        first_residual: Residual around the first convolution, too.
        residual_from: The second residual adds h (``'hidden'``) or x (``'input'``).
        drop_rate: Dropout after the activations.
        drop_path_rate: Probability that a sample skips a branch that has a residual.
    """

    def __init__(self, dims: int, norm: Callable[[int], nn.Module],
                 activation: Callable[[], nn.Module], first_residual: bool = False,
                 residual_from: str = 'hidden', drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.conv1 = GraphConvolution(dims, dims)
        self.norm1 = norm(dims)
        self.conv2 = GraphConvolution(dims, dims)
        self.norm2 = norm(dims)
        self.act = activation()
        self.drop = nn.Dropout(drop_rate)
        self.drop_path = DropPath(drop_path_rate)
        self.first_residual = first_residual
        self.residual_from = residual_from

    def forward(self, x: Tensor, aggregation: Tensor) -> Tensor:
        """(N, J, C) and the (3J, J) matrix of :func:`aggregation_matrix` to (N, J, C)."""
        hidden = self.drop(self.act(_per_token(self.norm1, self.conv1(x, aggregation))))
        if self.first_residual:
            hidden = x + self.drop_path(hidden)
        branch = self.drop(self.act(_per_token(self.norm2, self.conv2(hidden, aggregation))))
        return (hidden if self.residual_from == 'hidden' else x) + self.drop_path(branch)

    @torch.no_grad()
    def fold_batch_norm(self) -> None:
        """Put the batch norms, as they act in evaluation, into the weights before them."""
        for i in (1, 2):
            conv, norm = getattr(self, f'conv{i}'), getattr(self, f'norm{i}')
            if not isinstance(norm, nn.BatchNorm1d):
                raise ValueError(f'AMPose: expected batch norm after the graph convolutions, found '
                                 f'{type(norm).__name__}; there is nothing (left) to fold')
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            conv.theta *= factor
            conv.bias.copy_((conv.bias - norm.running_mean) * factor + norm.bias)
            setattr(self, f'norm{i}', nn.Identity())


class GraphMlpBlock(nn.Module):
    """One graph convolution and an MLP of hidden width C: the Transformer and ConvNeXt designs.

    Transformer: ``x + conv(norm(x))``, then ``x + mlp(norm(x))``. ConvNeXt:
    ``x + mlp(norm(conv(x)))``, without layer scale [np].

    Args:
        dims: Channels C.
        norm: Makes a norm of C channels.
        activation: Makes the activation of the MLP.
        layout: ``'transformer'`` or ``'convnext'``.
        drop_rate: Dropout in the MLP, and after the convolution of the Transformer design.
        drop_path_rate: Probability that a sample skips a branch.
    """

    def __init__(self, dims: int, norm: Callable[[int], nn.Module],
                 activation: Callable[[], nn.Module], layout: str, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.norm1 = norm(dims)
        self.conv1 = GraphConvolution(dims, dims)
        if layout == 'transformer':
            self.drop = nn.Dropout(drop_rate)
            self.norm2 = norm(dims)
        self.mlp = Mlp(dims, dims, drop_rate, activation)  # ratio 1 fits the published counts [D]
        self.drop_path = DropPath(drop_path_rate)
        self.layout = layout

    def forward(self, x: Tensor, aggregation: Tensor) -> Tensor:
        """(N, J, C) and the (3J, J) matrix of :func:`aggregation_matrix` to (N, J, C)."""
        if self.layout == 'convnext':
            branch = _per_token(self.norm1, self.conv1(x, aggregation))
        else:
            branch = self.conv1(_per_token(self.norm1, x), aggregation)
            x = x + self.drop_path(self.drop(branch))
            branch = _per_token(self.norm2, x)
        return x + self.drop_path(self.mlp(branch))


@MODELS.register_module()
class AMPose(BaseModule):
    """Alternate attention over all joints of a frame and graph convolutions over their neighbours.

    Frames know nothing of each other: a window (B, T) is a batch of B * T poses. Only the batch
    norm of the graph convolutions couples them, through its statistics, and only in training.

    The normalised adjacency matrix is the buffer ``adjacency`` (3, J, J). It follows from
    ``skeleton`` and ``adjacency_norm`` and is no part of checkpoints.

    Args:
        num_keypoints: Joints J.
        in_channels: Input coordinates per joint.
        embed_dims: Channels C.
        depth: Pairs of a transformer encoder and a graph convolution block.
        num_heads: Attention heads. [np]
        mlp_ratio: Hidden width of the encoders' MLPs over C. [np], 2 fits the published size.
        gcn_design: ``'proposed'``, ``'two_residual'``, ``'transformer'`` or ``'convnext'``, the
            rows of table 5; see :class:`GraphBlock` and :class:`GraphMlpBlock`.
        adjacency_norm: How the degree matrices are read, see
            :func:`~mmpose_lift.geometry.skeleton_graph.normalized_adjacency`. [np]
        drop_rate: Dropout after the embedding, in the encoders and in the graph blocks. [np]
        attn_drop_rate: Dropout on attention weights. [np]
        drop_path_rate: Drop path rate of the last pair; pair i of ``depth`` has
            ``i / (depth - 1)`` of it. [np]
        skeleton: Name of the joint order or J parent indices, rooted at the mid hip. Default: the
            Human3.6M order of 17 or 16 joints.
        pos_embed: The position table is added before the first encoder only (``'first'``), before
            each one from a table of its own (``'each'``), or before each one from the same table
            (``'shared'``). The paper's formula has it in every encoder, whether shared is [np].
        scale: Attention scores are divided by the root of the head width (``'head'``) or of C
            (``'full'``, the paper's single-head formula taken literally).
        qkv_bias: Bias on the q, k, v projections. [np]
        gcn_norm: ``'batch'`` or ``'layer'`` in the graph blocks. Default: batch norm for the first
            two designs, as in ST-GCN, layer norm for the layouts that have it. [np]
        gcn_act: ``'relu'`` or ``'gelu'`` in the graph blocks. Default: ReLU for the first two
            designs, GELU for the others. [np]
        residual_from: Where the residual of the second convolution of ``'proposed'`` starts, at its
            own input (``'hidden'``) or at that of the block (``'input'``). [np]
        init_cfg: MMEngine initialisation. Default: PyTorch's own for all layers, position tables
            normal with standard deviation 0.02. [np]

    Raises:
        ValueError: an unknown option, one without effect, ``embed_dims`` no multiple of
            ``num_heads``, or a skeleton that is no tree of ``num_keypoints`` joints.
    """

    causal = False

    def __init__(self, num_keypoints: int = 17, in_channels: int = 2, embed_dims: int = 512,
                 depth: int = 5, num_heads: int = 8, mlp_ratio: float = 2.0,
                 gcn_design: str = 'proposed', adjacency_norm: str = 'split',
                 drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 skeleton: Union[None, str, Sequence[int]] = None, pos_embed: str = 'first',
                 scale: str = 'head', qkv_bias: bool = True, gcn_norm: Optional[str] = None,
                 gcn_act: Optional[str] = None, residual_from: str = 'hidden',
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg)
        plain = gcn_design in ('proposed', 'two_residual')
        gcn_norm = gcn_norm or ('batch' if plain else 'layer')
        gcn_act = gcn_act or ('relu' if plain else 'gelu')
        for name, value, known in (('gcn_design', gcn_design, GCN_DESIGNS),
                                   ('pos_embed', pos_embed, POS_EMBEDS), ('scale', scale, SCALES),
                                   ('gcn_norm', gcn_norm, tuple(NORMS)),
                                   ('gcn_act', gcn_act, tuple(ACTIVATIONS)),
                                   ('residual_from', residual_from, RESIDUALS)):
            if value not in known:
                raise ValueError(f'AMPose: unknown {name} {value!r}, choose one of {known}')
        if residual_from != 'hidden' and gcn_design != 'proposed':
            raise ValueError(f'AMPose: residual_from={residual_from!r} has no effect on gcn_design='
                             f'{gcn_design!r}; it belongs to the proposed design')
        for name, value in (('num_keypoints', num_keypoints), ('in_channels', in_channels),
                            ('embed_dims', embed_dims), ('depth', depth),
                            ('num_heads', num_heads)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'AMPose: {name} must be a whole number of at least 1, got '
                                 f'{value!r}')
        if not mlp_ratio * embed_dims >= 1:
            raise ValueError(f'AMPose: mlp_ratio must leave at least one hidden channel of '
                             f'{embed_dims}, got {mlp_ratio!r}')
        self.num_keypoints = num_keypoints
        self.in_channels = in_channels
        self.pos_embed_kind = pos_embed

        self.joint_embed = nn.Linear(in_channels, embed_dims)
        tables = depth if pos_embed == 'each' else 1
        self.pos_embed = nn.Parameter(torch.empty(tables, num_keypoints, embed_dims))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.pos_drop = nn.Dropout(drop_rate)
        rates = [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
        self.encoders = nn.ModuleList(
            TransformerBlock(embed_dims, num_heads, mlp_ratio, qkv_bias,
                             embed_dims ** -0.5 if scale == 'full' else None, drop_rate,
                             attn_drop_rate, rate) for rate in rates)
        common = dict(dims=embed_dims, norm=NORMS[gcn_norm], activation=ACTIVATIONS[gcn_act],
                      drop_rate=drop_rate)
        self.gcn_blocks = nn.ModuleList(
            GraphBlock(first_residual=gcn_design == 'two_residual', residual_from=residual_from,
                       drop_path_rate=rate, **common) if plain else
            GraphMlpBlock(layout=gcn_design, drop_path_rate=rate, **common) for rate in rates)
        parents = _parents(skeleton, num_keypoints)
        self.register_buffer('adjacency', torch.from_numpy(
            normalized_adjacency(parents, adjacency_norm)).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch of windows.

        Args:
            x: (B, T, J, in_channels) 2D keypoints, width-normalised to [-1, 1].

        Returns:
            (B, T, J, C) joint features.

        Raises:
            ValueError: J or the channels differ from what the model was built for.
        """
        expected = (self.num_keypoints, self.in_channels)
        if x.ndim != 4 or tuple(x.shape[2:]) != expected:
            raise ValueError(f'AMPose: expected input (B, T, J, {expected[1]}) with '
                             f'J={expected[0]} joints, found {tuple(x.shape)}. Convert the '
                             'keypoints to the skeleton of the model, or build it with matching '
                             'num_keypoints, skeleton and in_channels')
        batch_shape = x.shape[:2]
        aggregation = aggregation_matrix(self.adjacency)
        x = self.joint_embed(x.flatten(0, 1))  # [B, T, J, 2] -> [B*T, J, C]
        for i, (encoder, gcn_block) in enumerate(zip(self.encoders, self.gcn_blocks)):
            x = gcn_block(encoder(self._add_positions(i, x)), aggregation)
        return x.unflatten(0, batch_shape)

    def fold_batch_norm(self) -> None:
        """Put the batch norms of the graph blocks into their weights, for inference only.

        Outputs stay the same but for rounding. The model can no longer be trained, and its
        ``state_dict`` has no batch norms any more: load the weights before.

        Raises:
            ValueError: another design than the first two, no batch norm, or it is folded already.
            RuntimeError: the model is in training mode, where batch norm does something else.
        """
        if self.training:
            raise RuntimeError('AMPose: fold_batch_norm needs the model in evaluation mode; call '
                               'eval() first')
        for block in self.gcn_blocks:
            if not isinstance(block, GraphBlock):
                raise ValueError('AMPose: fold_batch_norm needs gcn_design proposed or '
                                 f'two_residual, found a {block.layout} layout')
            block.fold_batch_norm()

    def _add_positions(self, i: int, x: Tensor) -> Tensor:
        """Position table of encoder ``i``, if it has one; dropout follows it."""
        if i > 0 and self.pos_embed_kind == 'first':
            return x
        return self.pos_drop(x + self.pos_embed[i if self.pos_embed_kind == 'each' else 0])


def _parents(skeleton: Union[None, str, Sequence[int]], num_keypoints: int) -> Tuple[int, ...]:
    """Parents of the skeleton, or of the Human3.6M order of that many joints for None."""
    if skeleton is None:
        if num_keypoints not in _SKELETON_OF:
            raise ValueError(f'AMPose: no default skeleton of {num_keypoints} joints, only of '
                             f'{sorted(_SKELETON_OF)}; pass skeleton= a name or a list of parents')
        skeleton = _SKELETON_OF[num_keypoints]
    parents = tree_parents(skeleton)
    if len(parents) != num_keypoints:
        raise ValueError(f'AMPose: skeleton {skeleton!r} has {len(parents)} joints, but '
                         f'num_keypoints={num_keypoints}; make them agree')
    return parents
