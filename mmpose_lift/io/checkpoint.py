"""Authors' published checkpoints to the state dicts of this package, and writing them safely."""

import os
import re
from collections import OrderedDict
from pathlib import Path
from typing import Callable, Dict, Mapping, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from .atomic import atomic_write
from .checkpoint_checks import check_shapes, raise_foreign
from .hybrik_checkpoint import convert_hybrik_transformer
from .metro_checkpoint import convert_metro
from .uplift_upsample_checkpoint import convert_uplift_upsample

Source = Union[str, Path, Mapping]
SUFFIXES = ('.pth', '.safetensors')


def convert_checkpoint(system: str, source: Source) -> 'OrderedDict[str, Tensor]':
    """State dict under this package's names from a checkpoint under its authors' names.

    Args:
        system: One of the keys of ``SYSTEMS``: ``'mixste'``, ``'uplift_upsample'``,
            ``'hybrik_transformer'``, ``'metro'``.
        source: ``.bin``, ``.pth``, ``.pt``, ``.h5``, ``.npz`` or ``.safetensors`` file, or a dict
            of arrays under the original keys. The state dict may sit under ``model_pos``,
            ``state_dict`` or ``model``; prefixes ``module.``, ``sd/`` and ``w/`` and the suffix
            ``:0`` are ignored.

    Returns:
        Float32 tensors. With backbone keys present, ``backbone.*``, ``neck.*`` where the model has
        a neck, and ``head.*``, which load with ``strict=True`` into the model of the matching
        config; otherwise only ``head.*``, whose part after the dot loads strictly into
        ``model.head``. Joints are in H36M-17 order: models of Uplift and Upsample on 17 joints are
        permuted into it from their authors' order. Body model data (``smpl.*``) are left out.

    Raises:
        ValueError: unknown system; keys are missing, unexpected or of wrong shape (named); the
            checkpoint belongs to another model.
        FileNotFoundError: no such file.
        TypeError: ``source`` is neither a path nor a mapping.
    """
    if system not in SYSTEMS:
        raise ValueError(f'unknown system {system!r}: choose one of {", ".join(sorted(SYSTEMS))}')
    arrays, where = _read(source)
    return SYSTEMS[system](_original_keys(arrays, where), where)


def save_checkpoint(state_dict: Mapping[str, Tensor], path: Union[str, Path], **meta) -> None:
    """Write a state dict so that a killed process leaves no half file.

    Args:
        state_dict: Tensors by name.
        path: ``.pth`` (``{'meta': ..., 'state_dict': ...}``, as MMEngine reads it) or
            ``.safetensors`` (meta as strings).
        **meta: Plain values that describe the weights.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f'{path}: expected a name ending in {" or ".join(SUFFIXES)}')
    tensors = OrderedDict((key, value.contiguous()) for key, value in state_dict.items())
    with atomic_write(path) as temporary:
        if path.suffix == '.pth':
            torch.save(dict(meta=dict(meta), state_dict=tensors), temporary)
        else:
            from safetensors.torch import save_file
            save_file(dict(tensors), temporary, {key: str(value) for key, value in meta.items()})


def _read(source: Source) -> Tuple[Mapping, str]:
    """Content of a source and a name for it in messages."""
    if isinstance(source, Mapping):
        return source, 'the given dict'
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError('source must be the path of a checkpoint file or a dict of arrays, found '
                        f'{type(source).__name__}')
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such checkpoint file')
    if path.suffix == '.npz':
        from .restricted_pickle import load_npz
        content = load_npz(path)
    elif path.suffix == '.safetensors':
        content = _load_safetensors(path)
    elif path.suffix in ('.h5', '.hdf5'):
        from .keras_weights import load_keras_weights
        content = load_keras_weights(path)
    else:
        # reads checkpoints of a training, too, which can then be told that they need no conversion
        from ..compat.checkpoint_loading import load_checkpoint_file
        content = load_checkpoint_file(str(path))
    if not isinstance(content, Mapping):
        raise ValueError(f'{path}: expected a dict of arrays, found {type(content).__name__}; it '
                         'is not a checkpoint')
    return content, str(path)


def _load_safetensors(path: Path) -> Mapping:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f'{path}: not a readable .safetensors file ({error}); it may be '
                         'truncated, download it again') from error


def _original_keys(content: Mapping, where: str) -> Dict[str, Tensor]:
    """Float32 tensors under the authors' own key names."""
    for name in ('model_pos', 'state_dict', 'model'):
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    for prefix in ('sd/', 'w/'):  # a file that holds other arrays beside the weights
        if any(str(key).startswith(prefix) for key in content):
            content = {key: value for key, value in content.items()
                       if str(key).startswith(prefix)}
    tensors = {}
    for key, value in content.items():
        key = re.sub(r'^(sd/|w/|module\.)+', '', str(key))
        key = re.sub(r':0$', '', key)
        numbers = isinstance(value, Tensor) or (
            isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in 'biuf')
        if not numbers:
            found = getattr(value, 'dtype', type(value).__name__)
            raise ValueError(f'{where}: expected arrays of numbers, found {found} under '
                             f'{key!r}; pass the state dict itself, or a file whose state dict is '
                             "under 'model_pos', 'state_dict' or 'model'")
        tensor = value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(
            np.array(value))
        tensors[key] = tensor.float()
    if not tensors:
        raise ValueError(f'{where}: holds no arrays')
    return tensors


_MIXSTE_RENAMES = (
    (r'^Spatial_patch_to_embedding\.', 'backbone.joint_embed.'),
    (r'^Spatial_pos_embed$', 'backbone.spatial_pos_embed'),
    (r'^Temporal_pos_embed$', 'backbone.temporal_pos_embed'),
    (r'^STEblocks\.', 'backbone.spatial_blocks.'),
    (r'^TTEblocks\.', 'backbone.temporal_blocks.'),
    (r'^Spatial_norm\.', 'backbone.spatial_norm.'),
    (r'^Temporal_norm\.', 'backbone.temporal_norm.'),
    (r'^head\.0\.', 'head.norm.'),
    (r'^head\.1\.', 'head.fc.'),
)


def _mixste_shapes(tensors: Mapping[str, Tensor]) -> Dict[str, tuple]:
    """Shapes of a complete MixSTE with the sizes that the present tensors show."""
    shapes = {}

    def size(key: str, axis: int, default: int) -> int:
        shape = tensors[key].shape if key in tensors else ()
        return shape[axis] if len(shape) > axis else default

    def pair(name: str, outputs: int, *inputs: int) -> None:
        shapes[f'{name}.weight'] = (outputs, *inputs)
        shapes[f'{name}.bias'] = (outputs, )

    # Which keys tell the width, best first: with the head missing the rest must still fit.
    for key, axis in (('backbone.joint_embed.weight', 0), ('backbone.spatial_norm.weight', 0),
                      ('head.norm.weight', 0), ('head.fc.weight', 1)):
        width = size(key, axis, 0)
        if width:
            break
    else:
        width = 512
    pair('head.norm', width)
    pair('head.fc', size('head.fc.weight', 0, 3), width)
    if not any(key.startswith('backbone.') for key in tensors):
        return shapes
    pair('backbone.joint_embed', width, size('backbone.joint_embed.weight', 1, 2))
    for name, default in (('spatial', 17), ('temporal', 243)):
        key = f'backbone.{name}_pos_embed'
        shapes[key] = (1, size(key, 1, default), width)
        pair(f'backbone.{name}_norm', width)
    numbers = [re.match(r'backbone\.(?:spatial|temporal)_blocks\.(\d+)\.', k) for k in tensors]
    depth = 1 + max((int(n[1]) for n in numbers if n), default=0)
    hidden = size('backbone.spatial_blocks.0.mlp.fc1.weight', 0, 2 * width)
    # A model built with qkv_bias=False has no such bias anywhere.
    qkv_bias = any(key.endswith('attn.qkv.bias') for key in tensors)
    for kind in ('spatial', 'temporal'):
        for i in range(depth):
            block = f'backbone.{kind}_blocks.{i}'
            pair(f'{block}.norm1', width)
            pair(f'{block}.attn.qkv', 3 * width, width)
            if not qkv_bias:
                del shapes[f'{block}.attn.qkv.bias']
            pair(f'{block}.attn.proj', width, width)
            pair(f'{block}.norm2', width)
            pair(f'{block}.mlp.fc1', hidden, width)
            pair(f'{block}.mlp.fc2', width, hidden)
    return shapes


def _rename_mixste(key: str) -> str:
    """Our name of a key; the key itself where the table has none."""
    for pattern, name in _MIXSTE_RENAMES:
        new, count = re.subn(pattern, name, key)
        if count:
            return new
    return key


def _convert_mixste(tensors: Dict[str, Tensor], where: str) -> 'OrderedDict[str, Tensor]':
    renamed = {_rename_mixste(key): tensor for key, tensor in tensors.items()}
    # Other models share a key or two (PoseFormer most): a MixSTE has its own blocks or only a head.
    has_blocks = any(key.startswith(('STEblocks.', 'TTEblocks.')) for key in tensors)
    only_head = all(key.startswith(('head.0.', 'head.1.')) for key in tensors)
    if not has_blocks and not only_head:
        raise_foreign('MixSTE', tensors, where)
    shapes = _mixste_shapes(renamed)
    check_shapes(shapes, renamed, 'MixSTE', where)
    return OrderedDict((key, renamed[key]) for key in shapes)


# One function per system: (tensors under the original keys, name of the source) -> state dict.
SYSTEMS: Dict[str, Callable] = {'mixste': _convert_mixste,
                                'uplift_upsample': convert_uplift_upsample,
                                'hybrik_transformer': convert_hybrik_transformer,
                                'metro': convert_metro}
