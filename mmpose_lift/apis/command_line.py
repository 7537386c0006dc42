"""What the command lines share: configs with typos caught, user errors in one line, checkpoints."""

import argparse
import difflib
import os
import os.path as osp
import sys
from contextlib import contextmanager
from inspect import signature
from typing import Iterator, Optional

from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

USER_ERRORS = (ValueError, OSError, KeyError, TypeError, ImportError, AssertionError)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the program with one line where what the user gave cannot be used.

    MMPOSE_LIFT_TRACEBACK=1 in the environment shows the whole traceback instead.
    """
    try:
        yield
    except USER_ERRORS as error:
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
    except (SyntaxError, NameError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f'config {path!r} does not parse: {type(error).__name__}: {error}') \
            from error
    if options:
        config.merge_from_dict(options)
    known = [name for name in signature(Runner.__init__).parameters if name != 'self']
    known += ['codec', 'auto_scale_lr', 'custom_imports', 'train_pipeline', 'val_pipeline',
              'test_pipeline', 'data_root', 'dataset_type', 'vis_backends', 'backend_args']
    for name in config:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
        if name not in known and close:
            raise ValueError(f'config {path!r}: unknown name {name!r}; did you mean {close[0]!r}?')
    return config


def check_weights(model: nn.Module, checkpoint: str) -> None:
    """Refuse a checkpoint that is not of this model; MMEngine would load what fits and go on.

    Args:
        model: The model, not wrapped for distributed training.
        checkpoint: File or address.

    Raises:
        FileNotFoundError: The file is absent.
        ValueError: Parameters of the model are missing from it or have another shape.
    """
    found = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    found = found.get('state_dict', found)
    found = {k.removeprefix('module.'): v for k, v in found.items()}
    expected = model.state_dict()
    missing = [k for k in expected
               if k not in found and not k.startswith('data_preprocessor.')]
    other = [k for k, v in expected.items()
             if k in found and tuple(getattr(found[k], 'shape', ())) != tuple(v.shape)]
    if not missing and not other:
        return
    detail = []
    if missing:
        detail.append(f'{len(missing)} of {len(expected)} parameters are missing (first: '
                      f'{missing[0]!r}; the file holds for example {next(iter(found), None)!r})')
    if other:
        detail.append(f'{len(other)} have another shape (first: {other[0]!r}, expected '
                      f'{tuple(expected[other[0]].shape)}, found {tuple(found[other[0]].shape)})')
    raise ValueError(f'checkpoint {checkpoint!r} is not of this model: {"; ".join(detail)}. '
                     'Use the config it was trained with, or convert it with '
                     'tools/convert_checkpoint.py')


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
