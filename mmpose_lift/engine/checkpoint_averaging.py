"""The mean of the weights of several checkpoints of one training."""

import re
from pathlib import Path
from typing import Dict, List, Sequence, Tuple, Union

import torch
from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import Tensor

from ..io.checkpoint import save_checkpoint
from ..io.checkpoint_checks import check_shapes, name_some

__all__ = ['AverageCheckpointsHook', 'average_checkpoints']

Source = Union[str, Path]


def average_checkpoints(paths: Sequence[Source], out: Source) -> Path:
    """Write the mean of every tensor of the ``state_dict`` of some checkpoints.

    Tensors of floating-point type are added in float64 and keep their type. Those of integers
    (``num_batches_tracked`` of batch norm) become the mean, rounded down; those of truth values
    must be equal. The result has the ``meta`` of the last checkpoint and nothing that only resuming
    needs.

    Args:
        paths: ``.pth`` or ``.safetensors``, at least one.
        out: ``.pth`` or ``.safetensors``.

    Returns:
        ``out``.

    Raises:
        FileNotFoundError: A checkpoint is not there.
        ValueError: None is given, one twice, a file is no checkpoint, a tensor is not finite, names
            or shapes of tensors differ (named), or ``out`` ends in something else.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        raise ValueError('no checkpoint to average was given')
    _check_distinct(paths)
    sums: Dict[str, Tensor] = {}
    for path in paths:
        checkpoint, state = _load(path)
        if not sums:
            types = {key: value.dtype for key, value in state.items()}
            shapes = {key: tuple(value.shape) for key, value in state.items()}
        check_shapes(shapes, state, f'the others ({paths[0].name})', str(path))
        for key, value in state.items():
            sums[key] = _added(sums.get(key), value, key, path)
    average = {key: _divided(total, len(paths), types[key]) for key, total in sums.items()}
    meta = checkpoint.get('meta')
    meta = dict(meta) if isinstance(meta, dict) else {}
    meta.update(averaged_from=[path.name for path in paths])
    save_checkpoint(average, out, **meta)
    return Path(out)


def _check_distinct(paths: Sequence[Path]) -> None:
    """A checkpoint that counts twice makes another mean than the one that was meant."""
    seen: Dict[Path, Path] = {}
    for path in paths:
        other = seen.setdefault(path.resolve(), path)
        if other is not path:
            raise ValueError(f'{path}: given twice' + (f' (it is {other})' if other != path else '')
                             + '; expected different checkpoints, each counts once')


def _load(path: Path) -> Tuple[dict, Dict[str, Tensor]]:
    """A checkpoint, and the finite tensors of its ``state_dict``."""
    from ..compat.checkpoint_loading import load_checkpoint_file
    none = f'{path}: not a checkpoint of tools/train.py: '
    try:
        checkpoint = load_checkpoint_file(str(path))
    except ValueError as error:
        raise type(error)(none + str(error).removeprefix(f'{path}: ')) from None
    state = checkpoint.get('state_dict') if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict) or not state or not all(
            isinstance(value, Tensor) for value in state.values()):
        found = name_some(checkpoint) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise ValueError(f"{none}expected tensors under 'state_dict', found {found}")
    for key, value in state.items():
        if not value.isfinite().all():
            raise ValueError(f'{path}: {key} holds NaN or infinite values, which would be in the '
                             'mean; the training diverged: leave this checkpoint out')
    return checkpoint, state


def _added(total, value: Tensor, key: str, path: Path) -> Tensor:
    if value.dtype == torch.bool:
        if total is not None and not torch.equal(total, value):
            raise ValueError(f'{path}: {key} has other truth values than the checkpoints before, '
                             'which have no mean; are all of one training?')
        return value
    value = value.to(torch.float64 if value.is_floating_point() else value.dtype)
    return value.clone() if total is None else total.add_(value)


def _divided(total: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    if dtype == torch.bool:
        return total
    rounding = None if dtype.is_floating_point else 'floor'
    return torch.div(total, count, rounding_mode=rounding).to(dtype)


@HOOKS.register_module()
class AverageCheckpointsHook(Hook):
    """Average the last checkpoints when training ends (HybrIK-Transformer: the last ten).

    It takes what MMEngine's ``CheckpointHook`` wrote up to then, ``epoch_*.pth`` or
    ``iter_*.pth``, also of the run that was resumed, and writes ``<name>`` beside them.

    Args:
        last: How many; where training wrote fewer, all of them, with a warning in the log.
        name: Of the file, ending in .pth or .safetensors.

    Raises:
        ValueError: ``last`` below 1; at the start of a training that keeps fewer checkpoints.
    """

    priority = 'LOWEST'

    def __init__(self, last: int = 10, name: str = 'averaged.pth'):
        if last < 1:
            raise ValueError(f'AverageCheckpointsHook: last must be at least 1, found {last}')
        self.last, self.name = last, name

    def before_train(self, runner: Runner) -> None:
        """Look before the work is done whether there will be checkpoints to average."""
        kept = _checkpoint_hook(runner).max_keep_ckpts
        if 0 < kept < self.last:
            raise ValueError(f'AverageCheckpointsHook: the last {self.last} checkpoints are to be '
                             f'averaged, but max_keep_ckpts={kept} of default_hooks.checkpoint '
                             f'deletes them before; set it to {self.last} or -1')

    @master_only
    def after_train(self, runner: Runner) -> None:
        """Write the average."""
        hook = _checkpoint_hook(runner)
        paths = _written(Path(hook.out_dir), hook.by_epoch,
                         runner.epoch if hook.by_epoch else runner.iter)[-self.last:]
        if not paths:
            raise ValueError(f'AverageCheckpointsHook: training wrote no checkpoint to '
                             f'{hook.out_dir}; set interval of default_hooks.checkpoint')
        if len(paths) < self.last:
            runner.logger.warning(f'AverageCheckpointsHook: {len(paths)} checkpoints instead of '
                                  f'{self.last} were written and are averaged')
        out = average_checkpoints(paths, Path(hook.out_dir) / self.name)
        runner.logger.info(f'{out}: mean of {", ".join(path.name for path in paths)}')


def _checkpoint_hook(runner: Runner) -> CheckpointHook:
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            return hook
    raise ValueError('AverageCheckpointsHook needs the CheckpointHook, which default_hooks of the '
                     'config has switched off')


def _written(folder: Path, by_epoch: bool, until: int) -> List[Path]:
    """Checkpoints up to epoch or iteration ``until``, oldest first."""
    pattern = re.compile(r'epoch_(\d+)\.pth' if by_epoch else r'iter_(\d+)\.pth')
    found = [(int(match[1]), path) for path in folder.iterdir()
             if (match := pattern.fullmatch(path.name))]
    return [path for number, path in sorted(found) if number <= until]
