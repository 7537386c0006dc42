"""Weights of a MixSTE for another skeleton or window length, to fine-tune from."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..geometry.skeletons import get_skeleton, joint_map
from .checkpoint import convert_checkpoint

SPATIAL, TEMPORAL = 'backbone.spatial_pos_embed', 'backbone.temporal_pos_embed'
TABLES = ('joints', 'frames')


def adapt_mixste(state_dict: Mapping[str, Tensor], source: str, target: str,
                 num_frames: int | None = None,
                 reset: Iterable[str] = ()) -> 'OrderedDict[str, Tensor]':
    """Position tables of a MixSTE for the joints of another skeleton and for shorter windows.

    All other weights are shared by joints and frames and are taken over as they are. Which ones the
    paper kept when it went from the 17 joints of Human3.6M to the 15 of HumanEva is [np].

    Args:
        state_dict: ``backbone.*`` and ``head.*`` of this package, in the joint order of ``source``.
        source: Skeleton of the weights, for example 'h36m'.
        target: Skeleton they are for, for example 'humaneva'. Rows of the spatial table (1, J, C)
            go by the joints' names.
        num_frames: T of the new model. The middle T rows of the temporal table (1, T, C) are kept,
            so that neighbouring frames stay neighbours. Defaults to the T of the weights.
        reset: 'joints', 'frames' or both: the whole spatial or temporal table starts at zero, as in
            a model from scratch.

    Returns:
        A new state dict that loads with ``strict=True`` into the model of the new sizes.

    Raises:
        ValueError: no MixSTE of this package or not in the joint order of ``source``; ``source``
            lacks a joint of ``target``; ``num_frames`` is longer than the table; unknown ``reset``.
    """
    reset = {reset} if isinstance(reset, str) else set(reset)
    if reset - set(TABLES):
        raise ValueError(f'reset: expected some of {TABLES}, found {sorted(reset)}')
    joints = get_skeleton(source).num_joints
    for key in (SPATIAL, TEMPORAL):
        if getattr(state_dict.get(key), 'ndim', 0) != 3:
            raise ValueError(f'expected the weights of a MixSTE, with a table {key} (1, rows, C); '
                             f'found {len(state_dict)} entries without it; convert a checkpoint of '
                             "the authors with convert_checkpoint('mixste', ...) first")
    spatial, temporal = state_dict[SPATIAL], state_dict[TEMPORAL]
    if spatial.shape[1] != joints:
        raise ValueError(f'{SPATIAL}: expected {joints} rows for skeleton {source!r}, found '
                         f'{spatial.shape[1]}; name the skeleton that the weights were trained on')
    result = OrderedDict(state_dict)
    if 'joints' in reset:
        result[SPATIAL] = spatial.new_zeros(1, get_skeleton(target).num_joints, spatial.shape[2])
    elif source != target:
        result[SPATIAL] = spatial[:, list(joint_map(source, target))]
    result[TEMPORAL] = _frame_rows(temporal, num_frames, 'frames' in reset)
    return result


def _frame_rows(table: Tensor, num_frames: int | None, reset: bool) -> Tensor:
    length = table.shape[1]
    wanted = length if num_frames is None else num_frames
    if wanted < 1 or (wanted > length and not reset):
        raise ValueError(f'num_frames: expected 1 to {length}, the rows of {TEMPORAL}, found '
                         f"{wanted}; a longer table can only start at zero (reset='frames')")
    if reset:
        return table.new_zeros(1, wanted, table.shape[2])
    first = (length - wanted) // 2
    return table[:, first:first + wanted].clone()


def load_mixste(path: str | Path) -> 'OrderedDict[str, Tensor]':
    """Weights of a MixSTE under this package's names, of a training here or of the authors.

    Raises:
        FileNotFoundError: no such file.
        UnsafePickleError: it asks for more than tensors and containers.
        ValueError: it is no MixSTE, or damaged.
    """
    from ..compat.checkpoint_loading import load_checkpoint_file
    if os.path.splitext(path)[1] not in ('.pth', '.pt', '.bin', '.safetensors'):
        return convert_checkpoint('mixste', path)
    content = load_checkpoint_file(str(path))
    state = content.get('state_dict', content) if isinstance(content, dict) else {}
    if SPATIAL in state:
        return OrderedDict((k, v) for k, v in state.items() if isinstance(v, torch.Tensor))
    return convert_checkpoint('mixste', path)
