"""Checkpoints of Uplift and Upsample's public TensorFlow code to this package's names."""

import re
from collections import OrderedDict, defaultdict
from typing import Dict, List, Mapping, Tuple

import torch
from torch import Tensor

from ..geometry.skeletons import joint_map
from .checkpoint_checks import check_shapes, raise_foreign

SYSTEM = 'Uplift and Upsample'
_VARIABLES = {'kernel': 'weight', 'bias': 'bias', 'gamma': 'weight', 'beta': 'bias'}
# Top-level layer -> our module (two variables) or parameter (one variable).
_LAYERS = {
    'keypoint_embedding': 'backbone.joint_embed',
    'spatial_norm': 'backbone.spatial_norm',
    'spatial_to_temporal_fc': 'backbone.pose_embed',
    'temporal_fc': 'head.sequence_head',
    'strided_temporal_fc': 'head.center_head',
}
_TABLES = {
    'spatial_pe': ('positional_encoding_weights', 'backbone.spatial_pe'),
    'temporal_pe': ('positional_encoding_weights', 'backbone.temporal_pe'),
    'strided_input_token_layer': ('learnable_masked_token', 'backbone.upsample_token'),
}
_STRIDED_TABLE = 'strided_temporal_pe_{}/positional_encoding_weights'
_BLOCKS = {
    'spatial': ('spatial_block', 'backbone.spatial_blocks'),
    'temporal': ('temporal_block', 'backbone.temporal_blocks'),
    'strided': ('strided_temporal_block', 'backbone.strided_blocks'),
}
# Sub-layers of a block by kind, in creation order. q, k and v are of equal shape: order decides.
_TRANSFORMER = {'layer_normalization': ('norm1', 'norm2'),
                'dense': ('q', 'k', 'v', 'attn.proj', 'mlp.fc1', 'mlp.fc2')}
_STRIDED = {'layer_normalization': ('norm1', 'norm2'), 'dense': ('q', 'k', 'v', 'attn.proj'),
            'conv1d': ('fc1', 'conv')}


def convert_uplift_upsample(tensors: Dict[str, Tensor],
                            where: str) -> 'OrderedDict[str, Tensor]':
    """State dict of ``SequencePoseLifter`` with ``UpliftUpsampleTransformer`` and its head.

    Args:
        tensors: Keras variables, named ``spatial_block_1/mha_7/dense_36/kernel``. Sub-layers are
            taken in the order of their automatic numbers, which may start anywhere.
        where: Name of the source for messages.

    Returns:
        ``backbone.*`` and ``head.*``; only ``head.*`` where the source holds nothing but the two
        output layers. Models of 17 joints come out in H36M order, all others as they are.

    Raises:
        ValueError: tensors are missing, unexpected or of wrong shape (named as in the source).
            Layers that no released configuration has (batch normalisation in front of the heads, a
            learned token for masking) are unexpected, a model without the upsampling token or
            without one of its three transformers is incomplete.
    """
    heads = ('temporal_fc/', 'strided_temporal_fc/')
    known = tuple(f'{layer}/' for layer in (*_LAYERS, *_TABLES)) + tuple(
        f'{layer}_1/' for layer, _ in _BLOCKS.values())
    if not any(key.startswith(known) for key in tensors):
        raise_foreign(SYSTEM, tensors, where)
    only_heads = all(key.startswith(heads) for key in tensors)

    names, problems = _our_names(tensors, only_heads)
    counted = {key for group, _ in problems for key in group}
    checked = {key: tensor for key, tensor in tensors.items() if key not in counted}
    check_shapes(_shapes(names, checked), checked, SYSTEM, where, [text for _, text in problems])
    state = {ours: _from_keras(key, tensors[key])
             for key, ours in sorted(names.items(), key=lambda item: item[1].startswith('head.'))}
    return _to_h36m(_fuse_qkv(state))


def _our_names(tensors: Mapping[str, Tensor],
               only_heads: bool) -> Tuple[Dict[str, str], List[Tuple[List[str], str]]]:
    """Key of the source -> our name, for every key that a complete model has; and problems.

    Each problem is a list of keys, whose place in the model is uncertain, and a sentence.
    """
    names, problems = {}, []
    for layer, ours in _LAYERS.items():
        if only_heads and not ours.startswith('head.'):
            continue
        for variable in (('gamma', 'beta') if 'norm' in layer else ('kernel', 'bias')):
            names[f'{layer}/{variable}'] = f'{ours}.{_VARIABLES[variable]}'
    if only_heads:
        return names, problems
    for layer, (variable, ours) in _TABLES.items():
        names[f'{layer}/{variable}'] = ours
    for kind, (layer, ours) in _BLOCKS.items():
        found = [re.match(rf'{layer}_(\d+)/', key) for key in tensors]
        depth = max((int(match[1]) for match in found if match), default=1)
        for i in range(depth):
            block = f'{layer}_{i + 1}'
            slots = _STRIDED if kind == 'strided' else _TRANSFORMER
            for sub_kind, targets in slots.items():
                _name_sub_layers(tensors, block, f'{ours}.{i}', sub_kind, targets, names, problems)
            if kind == 'strided':
                names[_STRIDED_TABLE.format(i + 1)] = f'backbone.strided_pe.{i}'
    # A model built with qkv_bias=False has no such bias anywhere.
    biases = {key for key, ours in names.items() if re.search(r'\.[qkv]\.bias$', ours)}
    if not biases & tensors.keys():
        names = {key: ours for key, ours in names.items() if key not in biases}
    return names, problems


def _name_sub_layers(tensors: Mapping[str, Tensor], block: str, ours: str, kind: str,
                     targets: Tuple[str, ...], names: Dict[str, str],
                     problems: List[Tuple[List[str], str]]) -> None:
    """Name the sub-layers of one kind in one block, in the order of their numbers."""
    groups = defaultdict(list)  # (number, path) -> keys
    for key in tensors:
        match = re.match(rf'({block}/(?:.+/)?{kind}(?:_(\d+))?)/[^/]+$', key)
        if match:
            groups[int(match[2] or 0), match[1]].append(key)
    paths = [path for _, path in sorted(groups)]
    if len(paths) != len(targets):
        found = ', '.join(path[len(block) + 1:] for path in paths) or 'none'
        problems.append(([key for keys in groups.values() for key in keys],
                         f'{block}: expected {len(targets)} sub-layers {kind!r}, found {found}'))
        return
    variables = ('gamma', 'beta') if kind == 'layer_normalization' else ('kernel', 'bias')
    for path, target in zip(paths, targets):
        for variable in variables:
            names[f'{path}/{variable}'] = f'{ours}.{target}.{_VARIABLES[variable]}'


def _shapes(names: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Dict[str, tuple]:
    """Shapes of a complete model in the layout of the source, sizes as the present tensors show."""
    keys = {ours: key for key, ours in names.items()}

    def size(default: int, *places: Tuple[str, int]) -> int:
        """The first of the places (our name, axis) that exists."""
        for ours, axis in places:
            shape = tensors[keys[ours]].shape if keys.get(ours) in tensors else ()
            if len(shape) > axis:
                return shape[axis]
        return default

    small = size(32, ('backbone.spatial_pe', 1), ('backbone.joint_embed.weight', 1),
                 ('backbone.spatial_norm.weight', 0))
    large = size(384, ('backbone.temporal_pe', 1), ('backbone.upsample_token', 0),
                 ('backbone.pose_embed.weight', 1), ('head.center_head.weight', 0),
                 ('head.sequence_head.weight', 0))
    outputs = size(51, ('head.center_head.weight', 1), ('head.sequence_head.weight', 1),
                   ('head.center_head.bias', 0), ('head.sequence_head.bias', 0))
    joints = size(outputs // 3, ('backbone.spatial_pe', 0))
    tokens = size(71, ('backbone.temporal_pe', 0), ('backbone.strided_pe.0', 0))
    hidden = {'spatial': size(2 * small, ('backbone.spatial_blocks.0.mlp.fc1.weight', 1)),
              'temporal': size(2 * large, ('backbone.temporal_blocks.0.mlp.fc1.weight', 1)),
              'strided': size(2 * large, ('backbone.strided_blocks.0.fc1.weight', 2))}
    fixed = {
        'backbone.joint_embed': (2, small), 'backbone.spatial_norm': (small, ),
        'backbone.spatial_pe': (joints, small), 'backbone.pose_embed': (joints * small, large),
        'backbone.temporal_pe': (tokens, large), 'backbone.upsample_token': (large, ),
        'head.sequence_head': (large, 3 * joints), 'head.center_head': (large, 3 * joints)}

    shapes = {}
    for key, ours in names.items():
        module = re.sub(r'\.(weight|bias)$', '', ours)
        block = re.match(r'backbone\.(\w+)_blocks\.\d+\.(.+)$', module)
        if module in fixed:
            shape = fixed[module]
        elif block:
            kind, part = block.groups()
            width, wide = small if kind == 'spatial' else large, hidden[kind]
            shape = {'norm1': (width, ), 'norm2': (width, ), 'mlp.fc1': (width, wide),
                     'mlp.fc2': (wide, width), 'fc1': (1, width, wide),
                     'conv': (3, wide, width)}.get(part, (width, width))
        else:  # how far a strided block shortens the sequence is not written in the file
            length = tensors[key].shape[:1] if key in tensors else ()
            shape = (length[0] if length else tokens, large)
        shapes[key] = shape[-1:] if ours.endswith('.bias') else shape
    return shapes


def _from_keras(key: str, tensor: Tensor) -> Tensor:
    """The array in PyTorch's layout."""
    if not key.endswith('/kernel'):
        return tensor
    if tensor.ndim == 2:
        return tensor.t().contiguous()  # (in, out) -> (out, in)
    if tensor.shape[0] == 1:
        return tensor[0].t().contiguous()  # a convolution of width 1 is a linear layer here
    return tensor.permute(2, 1, 0).contiguous()  # (kernel, in, out) -> (out, in, kernel)


def _fuse_qkv(state: Mapping[str, Tensor]) -> 'OrderedDict[str, Tensor]':
    """Put q, k and v into one layer each, in this order."""
    fused = OrderedDict()
    for name, tensor in state.items():
        match = re.match(r'(.+)\.([qkv])\.(weight|bias)$', name)
        if not match:
            fused[name] = tensor
        elif match[2] == 'q':
            block, _, variable = match.groups()
            fused[f'{block}.attn.qkv.{variable}'] = torch.cat(
                [state[f'{block}.{part}.{variable}'] for part in 'qkv'])
    return fused


def _to_h36m(state: 'OrderedDict[str, Tensor]') -> 'OrderedDict[str, Tensor]':
    """Permute a model of 17 joints from its authors' joint order into that of Human3.6M."""
    order = list(joint_map('uplift_upsample', 'h36m'))
    joints = state['head.center_head.bias'].shape[0] // 3
    if joints != len(order):
        return state
    for name, tensor in state.items():
        if name.startswith('head.'):  # outputs: joint-major groups of x, y, z
            state[name] = tensor.unflatten(0, (joints, 3))[order].flatten(0, 1)
        elif name == 'backbone.spatial_pe':
            state[name] = tensor[order]
        elif name == 'backbone.pose_embed.weight':  # inputs: joint-major groups of channels
            state[name] = tensor.unflatten(1, (joints, -1))[:, order].flatten(1)
    return state
