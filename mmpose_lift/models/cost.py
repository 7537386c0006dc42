"""Arithmetic of a forward pass, counted from the sizes of a network."""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from .layers.strided_transformer import strided_length

__all__ = ['AMPoseCost', 'Cost', 'ampose_cost', 'num_key_frames', 'uplift_upsample_cost']

# Operations per element of what is no matrix product, for the published convention.
_NORM = 7  # mean, centring, square, variance, division, scale, shift
_GELU = 5  # division, erf, addition, two products
_SOFTMAX = 5  # maximum, difference, exponential, sum, division


@dataclass(frozen=True)
class Cost:
    """Operations of one forward pass.

    Attributes:
        multiply_adds: Of linear layers, convolutions and attention products.
        elementwise: Operations of all the rest: biases, activations, norms, softmax, sums.
    """
    multiply_adds: int = 0
    elementwise: int = 0

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(self.multiply_adds + other.multiply_adds,
                    self.elementwise + other.elementwise)

    def __mul__(self, times: int) -> 'Cost':
        return Cost(self.multiply_adds * times, self.elementwise * times)

    @property
    def plain(self) -> int:
        """FLOPs as PyTorch's counter counts them: 2 per multiply-add, nothing else."""
        return 2 * self.multiply_adds

    @property
    def published(self) -> int:
        """FLOPs as TensorFlow's profiler counts them: 2 per multiply-add and the element-wise
        operations."""
        return self.plain + self.elementwise


def num_key_frames(num_tokens: int, tokens_per_key_frame: int, centred: bool = True) -> int:
    """Real frames in a window that has a key-frame every ``tokens_per_key_frame`` tokens.

    Args:
        num_tokens: L.
        tokens_per_key_frame: Input stride over output stride, s_in / s_out.
        centred: The middle token is a key-frame, as in evaluation; otherwise the first one is. The
            published FLOPs fit the latter: 36 and 18 of 71 tokens, where a centred window has 35
            and 17 [D].

    Raises:
        ValueError: fewer than 1 token, or a stride below 1.
    """
    if num_tokens < 1 or tokens_per_key_frame < 1:
        raise ValueError('num_tokens and tokens_per_key_frame must be at least 1, found '
                         f'{num_tokens} and {tokens_per_key_frame}')
    first = num_tokens // 2 % tokens_per_key_frame if centred else 0
    return len(range(first, num_tokens, tokens_per_key_frame))


def _linear(rows: int, inputs: int, outputs: int) -> Cost:
    return Cost(rows * inputs * outputs, rows * outputs)  # the bias is one addition


def _attention(tokens: int, dims: int, heads: int, masked: bool = False) -> Cost:
    """Norm, projections, two products and the residual sum of one sequence."""
    scores = heads * tokens**2
    cost = _linear(tokens, dims, 3 * dims) + _linear(tokens, dims, dims)
    return cost + Cost(2 * tokens**2 * dims,
                       scores * (1 + masked + _SOFTMAX) + tokens * dims * (_NORM + 1))


def _block(tokens: int, dims: int, heads: int, hidden: int, activation: int,
           masked: bool = False) -> Cost:
    cost = _attention(tokens, dims, heads, masked)
    cost += _linear(tokens, dims, hidden) + _linear(tokens, hidden, dims)
    return cost + Cost(0, tokens * (hidden * activation + dims * (_NORM + 1)))


def _strided_block(tokens: int, outputs: int, dims: int, heads: int, hidden: int,
                   masked: bool) -> Cost:
    """Position table, attention, point-wise layer, strided convolution of kernel 3."""
    cost = _attention(tokens, dims, heads, masked) + _linear(tokens, dims, hidden)
    cost += _linear(outputs, 3 * hidden, dims)
    return cost + Cost(0, tokens * (dims * (_NORM + 1) + hidden) + outputs * dims)


def uplift_upsample_cost(num_real_frames: int, num_tokens: int = 71,
                         strides: Sequence[int] = (3, 10, 3),
                         paddings: Optional[Sequence[Tuple[int, int]]] = ((0, 0), ) * 3,
                         num_keypoints: int = 17, spatial_dims: int = 32,
                         temporal_dims: int = 384, spatial_depth: int = 4,
                         temporal_depth: int = 4, num_heads: int = 8, mlp_ratio: float = 2.0,
                         first_upsample_attention_block: int = 1,
                         sequence_head: bool = False) -> Cost:
    """Cost of one window through Uplift and Upsample, centre output only unless told otherwise.

    Every layer is counted for every token that it is defined on, the spatial part for the real
    frames only. An implementation that leaves out results nobody uses needs less.

    Args:
        num_real_frames: Tokens with a 2D pose, 0 ... ``num_tokens``; see :func:`num_key_frames`.
        num_tokens, strides, paddings, num_keypoints, spatial_dims, temporal_dims, spatial_depth,
            temporal_depth, num_heads, mlp_ratio, first_upsample_attention_block: As of
            :class:`UpliftUpsampleTransformer`.
        sequence_head: Add the head that gives a pose for every token, which training needs.

    Raises:
        ValueError: more real frames than tokens; strides and paddings of different length; a
            strided block that has fewer than 3 elements left to convolve.
    """
    if not 0 <= num_real_frames <= num_tokens:
        raise ValueError(f'num_real_frames must be 0 to {num_tokens} (num_tokens), found '
                         f'{num_real_frames}')
    paddings = [(1, 1)] * len(strides) if paddings is None else list(paddings)
    if len(paddings) != len(strides):
        raise ValueError(f'one padding per stride is needed, found {len(paddings)} paddings for '
                         f'{len(strides)} strides')
    joints = num_keypoints
    cost = Cost()
    if spatial_depth:
        cost += _linear(joints, 2, spatial_dims) + Cost(0, joints * spatial_dims * (1 + _NORM))
        cost += _block(joints, spatial_dims, num_heads, int(mlp_ratio * spatial_dims),
                       _GELU) * spatial_depth
    cost += _linear(1, joints * (spatial_dims if spatial_depth else 2), temporal_dims)
    cost *= num_real_frames

    hidden, length = int(mlp_ratio * temporal_dims), num_tokens
    cost += Cost(0, length * temporal_dims)  # position table
    for i in range(temporal_depth):
        cost += _block(length, temporal_dims, num_heads, hidden, 1,
                       i < first_upsample_attention_block)
    for i, (stride, padding) in enumerate(zip(strides, paddings)):
        outputs = strided_length(length, stride, padding)
        if outputs < 1:
            raise ValueError(f'strided block {i} gets {length} elements, padded by '
                             f'{tuple(padding)}: too few for its convolution of width 3; change '
                             'num_tokens, strides or paddings')
        masked = temporal_depth + i < first_upsample_attention_block
        cost += _strided_block(length, outputs, temporal_dims, num_heads, hidden, masked)
        cost += Cost(0, length * temporal_dims)  # position table
        length = outputs
    poses = 1 + (num_tokens if sequence_head else 0)
    return cost + _linear(poses, temporal_dims, 3 * joints)


@dataclass(frozen=True)
class AMPoseCost:
    """Operations of one pose through AMPose.

    Attributes:
        linear: Multiply-adds of linear layers and of the linear maps of graph convolutions.
        attention: Multiply-adds of the two attention products.
        aggregation: Multiply-adds of summing neighbours, as dense products.
        batch_norm: Operations of batch norms, a factor and an addend per element.
    """
    linear: int
    attention: int
    aggregation: int
    batch_norm: int

    @property
    def multiply_adds(self) -> int:
        """Of all matrix products; PyTorch's counter gives twice that."""
        return self.linear + self.attention + self.aggregation

    @property
    def published(self) -> int:
        """What the paper calls FLOPs [D]: one per multiply-add, without attention products and sums
        over neighbours, and what batch norms do."""
        return self.linear + self.batch_norm


def ampose_cost(num_keypoints: int = 17, in_channels: int = 2, embed_dims: int = 512,
                depth: int = 5, mlp_ratio: float = 2.0, gcn_design: str = 'proposed',
                gcn_norm: Optional[str] = None) -> AMPoseCost:
    """Cost of one pose through AMPose and its head; arguments as of :class:`AMPose`.

    Raises:
        ValueError: unknown design.
    """
    graph_convolutions = dict(proposed=2, two_residual=2, transformer=1, convnext=1)
    if gcn_design not in graph_convolutions:
        raise ValueError(f'unknown gcn_design {gcn_design!r}, choose one of '
                         f'{tuple(graph_convolutions)}')
    joints, dims, convolutions = num_keypoints, embed_dims, graph_convolutions[gcn_design]
    weights = 4 * dims**2 + 2 * dims * int(dims * mlp_ratio) + convolutions * 3 * dims**2
    if convolutions == 1:
        weights += 2 * dims**2  # MLP of hidden width C
        gcn_norm = gcn_norm or 'layer'
    norms = 1 if gcn_design == 'convnext' else 2
    return AMPoseCost(
        linear=joints * (in_channels * dims + depth * weights + dims * 3),
        attention=depth * 2 * joints**2 * dims,
        aggregation=depth * convolutions * 3 * joints**2 * dims,
        batch_norm=0 if gcn_norm == 'layer' else depth * norms * 2 * joints * dims)
