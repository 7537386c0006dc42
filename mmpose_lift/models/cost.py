"""Arithmetic of a forward pass and parameters, counted from the sizes of a network."""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

from .layers.strided_transformer import strided_length

__all__ = ['AMPoseCost', 'Cost', 'MetroParameters', 'ampose_cost', 'metro_parameters',
           'num_key_frames', 'uplift_upsample_cost']

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


@dataclass(frozen=True)
class MetroParameters:
    """Parameters of METRO behind its image backbone.

    Attributes:
        transformer: Of the three blocks, all in use.
        unused: Of what the public code builds with BERT and never calls: in each block tables of
            words, positions and segments with their norm, and a pooler. This package has none.
        upsampling: Of each linear layer over the vertex axis, the coarser first.
        image_tokens: Of the convolution that makes a token of the grid for each query.
        camera: Of the three linear layers.
    """
    transformer: int
    unused: int
    upsampling: Tuple[int, ...]
    image_tokens: int
    camera: int

    @property
    def as_built(self) -> int:
        """Of the transformer in the public code, the figure that papers print."""
        return self.transformer + self.unused

    @property
    def network(self) -> int:
        """Of all that follows the backbone in the public code, unused ones included."""
        return self.as_built + sum(self.upsampling) + self.image_tokens + self.camera


def metro_parameters(input_dims: Sequence[int] = (2051, 512, 128),
                     hidden_dims: Sequence[int] = (1024, 256, 128),
                     output_dims: Sequence[int] = (512, 128, 3),
                     intermediate_dims: Sequence[int] = (3072, 3072, 3072), num_layers: int = 4,
                     max_tokens: int = 512, sizes: Sequence[int] = (6890, 1723, 431),
                     num_joints: int = 14, num_pixels: int = 49, cam_dims: int = 250,
                     num_words: int = 30522) -> MetroParameters:
    """Parameters of METRO, or of MPT's transformer with a last hidden width of 64.

    Args:
        input_dims, hidden_dims, output_dims, intermediate_dims, num_layers, max_tokens: As of
            :class:`MeshTransformer`.
        sizes: Vertices of the meshes, the full one first.
        num_joints: Joint tokens.
        num_pixels: Cells of the grid.
        cam_dims: Hidden width of the camera's layers.
        num_words: Rows of the unused word table, BERT's vocabulary.
    """
    used = unused = 0
    for inputs, dims, outputs, hidden in zip(input_dims, hidden_dims, output_dims,
                                             intermediate_dims):
        norm = 2 * dims
        layer = (4 * _weights(dims, dims) + _weights(dims, hidden) + _weights(hidden, dims) +
                 2 * norm)
        used += (_weights(inputs, dims) + max_tokens * dims + num_layers * layer +
                 _weights(dims, outputs) + _weights(inputs, outputs))
        unused += (num_words + max_tokens + 2) * dims + norm + _weights(dims, dims)
    coarse = sizes[-1]
    return MetroParameters(
        used, unused, tuple(_weights(*pair) for pair in zip(sizes[:0:-1], sizes[-2::-1])),
        _weights(num_pixels, num_joints + coarse),
        _weights(3, 1) + _weights(coarse, cam_dims) + _weights(cam_dims, 3))


def _weights(inputs: int, outputs: int) -> int:
    """Of a linear layer with a bias."""
    return (inputs + 1) * outputs
