"""What the command lines share: configs with typos caught, user errors in one line, checkpoints."""

import argparse
import atexit
import difflib
import json
import os
import os.path as osp
import sys
import warnings
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Iterator, Optional, Union

import torch
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader, Runner, find_latest_checkpoint
from mmpose.registry import OPTIMIZERS, PARAM_SCHEDULERS
from torch import nn

USER_ERRORS = (ValueError, OSError, KeyError, TypeError, ImportError, AssertionError)


@contextmanager
def one_line_errors(errors: tuple = USER_ERRORS) -> Iterator[None]:
    """End the program with one line where what the user gave cannot be used.

    MMPOSE_LIFT_TRACEBACK=1 in the environment shows the whole traceback instead.

    Args:
        errors: Exceptions that say something about what was given.
    """
    try:
        yield
    except errors as error:
        if os.environ.get('MMPOSE_LIFT_TRACEBACK') == '1':
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.exit(f'error: {text}')


def load_config(path: str, options: Optional[dict] = None) -> Config:
    """Read a config and merge ``--cfg-options`` into it.

    Args:
        path: Config file.
        options: Dotted names and values to override.

    Raises:
        FileNotFoundError: The file is absent.
        ValueError: It does not parse, or a top-level name looks like a misspelt runner argument
            (MMEngine would ignore it without a word).
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'config {path!r}: no such file')
    try:
        config = Config.fromfile(path)
    except Exception as error:  # a config is Python code of the user: it may raise anything
        raise ValueError(f'config {path!r} cannot be read: {type(error).__name__}: {error}') \
            from error
    known = [name for name in signature(Runner.__init__).parameters if name != 'self']
    known += ['codec', 'auto_scale_lr', 'custom_imports', 'train_pipeline', 'val_pipeline',
              'test_pipeline', 'data_root', 'dataset_type', 'vis_backends', 'backend_args']
    for option in options or {}:
        name = option.split('.')[0]
        if name not in config and name not in known:
            raise ValueError(f'--cfg-options {option}: {path} has no {name!r}, so nothing would '
                             f'read it; it has {sorted(config)}')
    if options:
        config.merge_from_dict(options)
    for name in config:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
        if name not in known and close:
            raise ValueError(f'config {path!r}: unknown name {name!r}; did you mean {close[0]!r}?')
    return config


def leave_distributed() -> None:
    """End this process, where it is one of several, when all of them have come here.

    gloo's threads can still hold tensors that Python knows of, and DistributedDataParallel keeps
    the process group alive after it was destroyed. Such a thread that lets go of a tensor while
    the interpreter winds down aborts the process ("terminate called without an active
    exception"), so it is left without winding down, once everything that was written is out.
    Without process group nothing happens.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()  # what others have left to the end: workers, open logs
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def plain_messages() -> None:
    """Warnings in one line each, and nothing of what MMEngine logs while it builds models."""
    warnings.showwarning = lambda text, *_: print(f'warning: {text}', file=sys.stderr)
    MMLogger.get_current_instance().setLevel('ERROR')


def read_boxes(path: Union[str, Path]) -> list:
    """The boxes of each frame from a .json file: [[[x1, y1, x2, y2], ...], ...].

    Raises:
        FileNotFoundError: No such file.
        ValueError: No valid JSON, or no list.
    """
    try:
        boxes = json.loads(Path(path).read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'--bboxes {path}: no valid JSON: {error}') from error
    if not isinstance(boxes, list):
        raise ValueError(f'--bboxes {path}: expected a list with the boxes of each frame, '
                         f'[[[x1, y1, x2, y2], ...], ...], found {type(boxes).__name__}')
    return boxes


def latest_checkpoint(work_dir: str) -> str:
    """The checkpoint that a run in ``work_dir`` goes on from.

    MMEngine notes its name in a file of its own after writing it; a run killed in between has the
    checkpoint without the note, so the newest one counts where the note is missing.

    Raises:
        FileNotFoundError: There is none.
    """
    path = find_latest_checkpoint(work_dir) if osp.isdir(work_dir) else None
    if path is not None and osp.isfile(path):
        return path
    found = [p for kind in ('epoch', 'iter') for p in Path(work_dir).glob(f'{kind}_*.pth')]
    if not found:
        raise FileNotFoundError(f'--resume: there is no checkpoint in {work_dir}; leave it out to '
                                'start, or name the folder with --work-dir')
    return str(max(found, key=lambda p: p.stat().st_mtime))


def check_training(config: Config) -> None:
    """Refuse an unknown optimiser or schedule, which MMEngine would report without its name.

    Raises:
        ValueError: No optimiser is given, or the registry has no such type; similar ones are
            listed.
    """
    if not config.get('optim_wrapper'):
        raise ValueError(f'config {config.filename!r} has no optim_wrapper: it can be tested, not '
                         'trained')
    schedules = config.get('param_scheduler') or []
    parts = [(OPTIMIZERS, 'optim_wrapper.optimizer', config.optim_wrapper.get('optimizer'))]
    parts += [(PARAM_SCHEDULERS, f'param_scheduler.{i}', schedule) for i, schedule in enumerate(
        schedules if isinstance(schedules, (list, tuple)) else [schedules])]
    for registry, where, part in parts:
        name = part.get('type') if isinstance(part, dict) else None
        if isinstance(name, str) and registry.get(name) is None:
            known = [*registry.module_dict, *registry.parent.module_dict]
            close = difflib.get_close_matches(name, known, n=3)
            raise ValueError(f'{where}.type: there is no {name!r}; similar: {close}')


def load_weights(model: nn.Module, checkpoint: str) -> dict:
    """Load a checkpoint and refuse one of another model; MMEngine would load what fits and go on.

    Args:
        model: The model, not wrapped for distributed training.
        checkpoint: File or address.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError: The file is absent.
        ValueError: It lacks parameters of the model, has others, has other shapes, or holds values
            that are not finite.
    """
    content = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    found = content.get('state_dict', content) if isinstance(content, dict) else content
    if not isinstance(found, dict):
        raise ValueError(f'checkpoint {checkpoint!r}: expected a dict of parameters, found '
                         f'{type(found).__name__}')
    found = {str(k).removeprefix('module.'): v for k, v in found.items()
             if isinstance(v, torch.Tensor)}
    broken = [k for k, v in found.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise ValueError(f'checkpoint {checkpoint!r}: {len(broken)} parameters hold NaN or '
                         f'infinite values (first: {broken[0]!r}); the training diverged or the '
                         'file is damaged')
    try:
        missing, surplus = model.load_state_dict(found, strict=False)
        problems = []
    except RuntimeError as error:  # shapes; PyTorch lists them below a headline
        missing, surplus = [], []
        problems = [line.strip() for line in str(error).splitlines()[1:2]]
    for names, what in ((missing, 'are missing from it'), (surplus, 'are not of the model')):
        names = [k for k in names if not k.startswith('data_preprocessor.')]
        if names:
            problems.append(f'{len(names)} parameters {what} (first: {names[0]!r})')
    if problems:
        raise ValueError(f'checkpoint {checkpoint!r} is not of this model: {"; ".join(problems)}. '
                         'Use the config it was trained with, or convert it with '
                         'tools/convert_checkpoint.py')
    return content


def runner_arguments(description: str) -> argparse.ArgumentParser:
    """Options that training and testing share, as in MMPose's own tools."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints; default: '
                        'work_dirs/<name of the config>')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE',
                        help='override settings of the config, for example model.backbone.depth=4')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
                        help='how distributed processes are started')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help='set by the launcher')
    return parser


def prepare_config(args: argparse.Namespace) -> Config:
    """Config of a run from the options of :func:`runner_arguments`."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    config = load_config(args.config, args.cfg_options)
    config.launcher = args.launcher
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    elif config.get('work_dir') is None:
        config.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    if get_device() == 'cpu':  # NCCL needs GPUs, and MMEngine would place the model on one
        config.setdefault('env_cfg', {}).setdefault('dist_cfg', {})['backend'] = 'gloo'
        config.setdefault('model_wrapper_cfg',
                          dict(type='MMDistributedDataParallel', device_ids=None))
    return config
