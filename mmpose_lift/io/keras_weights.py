"""Read the HDF5 files that Keras 2 writes with ``save_weights`` and ``save``."""

import re
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Union

import numpy as np

if TYPE_CHECKING:
    import h5py


def load_keras_weights(path: Union[str, Path]) -> 'OrderedDict[str, np.ndarray]':
    """Weights of a Keras HDF5 file in creation order; nothing in the file is run.

    Keras numbers the sub-layers of a process, so the numbers start anywhere, and only the order of
    the attribute ``weight_names`` counts. Here sub-layers are numbered anew: in each top-level
    layer, and for each kind, from 0 in that order (Keras leaves out the number 0).

    Args:
        path: Weight file, or a file of a whole model, of which the weights are read.

    Returns:
        Arrays under ``layer/[sub-layer/...]variable:0``, as
        ``spatial_block_1/mha/dense_1/kernel:0``.

    Raises:
        ValueError: no HDF5 file, a damaged one, or one without Keras' attributes.
    """
    import h5py
    try:
        with h5py.File(path, 'r') as file:
            root = file
            if 'layer_names' not in _attribute_names(file) and 'model_weights' in file:
                root = file['model_weights']  # Model.save: weights beside the optimizer's state
            if 'layer_names' not in _attribute_names(root):
                raise ValueError(f"{path}: an HDF5 file without the attribute 'layer_names', so no "
                                 'weights written by Keras 2 (Model.save_weights); its groups are '
                                 f'{", ".join(sorted(file)[:6]) or "none"}')
            weights = OrderedDict()
            for layer in _names(root, 'layer_names'):
                weights.update(_layer_weights(root, layer, path))
    except (OSError, RuntimeError) as error:
        raise ValueError(f'{path}: not a readable HDF5 file ({error}); it may be truncated, '
                         'download it again') from error
    return weights


def _layer_weights(root: 'h5py.Group', layer: str, path: Union[str, Path]) -> Dict:
    if layer not in root:
        raise ValueError(f'{path}: layer {layer!r} is listed but not in the file; it is damaged, '
                         'download it again')
    group = root[layer]
    names = _names(group, 'weight_names')
    weights = {}
    for name, key in zip(names, _renumbered(layer, names)):
        item = group.get(name)
        if not hasattr(item, 'dtype'):
            raise ValueError(f'{path}: weight {name!r} is listed but not in the file; it is '
                             'damaged, download it again')
        weights[key] = np.asarray(item)
    return weights


def _renumbered(layer: str, names: List[str]) -> List[str]:
    """The names below the layer, without outer scopes, sub-layers of each kind counted from 0."""
    numbers = defaultdict(dict)
    keys = []
    for name in names:
        # names normally repeat the layer, maybe inside the scope of a model
        parts = name[name.rfind(f'/{layer}/') + 1:].split('/')
        if parts[0] == layer:
            parts = parts[1:]
        key = [layer]
        for depth, part in enumerate(parts[:-1]):
            kind = re.sub(r'_\d+$', '', part)
            known = numbers[kind]
            number = known.setdefault('/'.join(parts[:depth + 1]), len(known))
            key.append(f'{kind}_{number}' if number else kind)
        keys.append('/'.join(key + parts[-1:]))
    return keys


def _attribute_names(group: 'h5py.Group') -> set:
    """Names of the attributes; long ones, which Keras splits, without the number of the part."""
    return {re.sub(r'\d+$', '', name) for name in group.attrs}


def _names(group: 'h5py.Group', attribute: str) -> List[str]:
    """The text list of an attribute, which Keras splits into numbered parts above 64 KiB."""
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    while f'{attribute}{len(parts)}' in group.attrs:
        parts.append(group.attrs[f'{attribute}{len(parts)}'])
    return [name.decode('utf-8') if isinstance(name, bytes) else str(name)
            for part in parts for name in part]
