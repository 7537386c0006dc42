"""Make MMEngine load checkpoints under torch >= 2.6 without running what they contain.

Upstream: MMEngine 0.10.7 calls ``torch.load`` without ``weights_only``. Since torch 2.6 that means
``True``, and its own checkpoints (numpy arrays in ``meta``, ``HistoryBuffer``, and ``getattr``, by
which every ``HistoryBuffer`` finds its statistics methods again) and MMPose's published ones are
refused; before 2.6 it meant that any downloaded file could run code. MMEngine's main branch passes
``weights_only=False``. Here every way in ends in ``mmpose_lift.io.restricted_pickle.load_torch``,
``getattr`` is answered by a name that nobody calls, and our own checkpoints are written without
it. ``.safetensors`` files load too.

The config text that a checkpoint carries is Python code as well, which MMEngine executes on resume
and in inferencers that get weights but no config. Text that is more than assignments of plain
values is left out.
"""

import ast
import io
import os
import warnings
from typing import Any, Callable, Dict, Union

import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer
from mmengine.optim import _ParamScheduler
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from ..io.restricted_pickle import Shell, UnsafePickleError, load_torch

__all__ = ['install', 'load_checkpoint_file']


class _HistoryBuffer(Shell):
    """``mmengine.logging.HistoryBuffer``: two arrays and a length, nothing that is called."""

    def __init__(self) -> None:
        self.state: Dict[str, Any] = {}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.state = state

    def resolve(self, finish: Callable[[Any], Any]) -> HistoryBuffer:
        return HistoryBuffer(finish(self.state['_log_history']),
                             finish(self.state['_count_history']), self.state['max_length'])


def _method_name(owner: type, name: str) -> str:
    """Answers ``getattr`` in a file: methods of two classes by name only, anything else never."""
    if owner not in (_HistoryBuffer, _OneCycle) or not isinstance(name, str):
        raise UnsafePickleError('builtins.getattr')
    return name


class _OneCycle(Shell):
    """MMEngine's one-cycle schedule, which a checkpoint names only to find its annealing function.

    The function is left out of the state: the schedule that is built for a run has its own.
    """


def _plain_dict(items: Any = ()) -> dict:
    """``mmengine.config.ConfigDict`` in a checkpoint's meta becomes a dict."""
    return dict(items)


_MMENGINE_GLOBALS = {
    'mmengine.logging.history_buffer.HistoryBuffer': _HistoryBuffer,
    'mmengine.config.config.ConfigDict': _plain_dict,
    'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler': _OneCycle,
    'builtins.getattr': _method_name,
}


def load_checkpoint_file(
        path: str, map_location: Union[str, torch.device, Callable, dict, None] = None,
) -> Dict[str, Any]:
    """Load a local checkpoint (MMEngine, MMPose, plain state dict, ``.safetensors``) safely.

    Args:
        path: The file.
        map_location: As for ``torch.load``.

    Returns:
        What was saved; of a ``.safetensors`` file ``dict(state_dict=..., meta=...)``.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafePickleError: It asks for more than tensors, containers, numpy values and MMEngine's
            history buffers. The message names what, and the explicit opt-in.
        ValueError: It is damaged or no checkpoint.
    """
    path = os.path.expanduser(str(path))
    if not os.path.isfile(path):
        raise FileNotFoundError(f'checkpoint {path} can not be found: check the path')
    if path.endswith('.safetensors'):
        return _load_safetensors(path, map_location)
    return _load_torch(path, map_location, path)


def _load_torch(source: Any, map_location: Any, name: str) -> Any:
    checkpoint = load_torch(source, map_location, name=name, extra_globals=_MMENGINE_GLOBALS)
    if isinstance(checkpoint, dict):
        _drop_code(checkpoint, name)
        _drop_functions(checkpoint.get('param_schedulers'))
    return checkpoint


def _drop_functions(schedulers: Any) -> None:
    """Remove the names that stand for the functions of schedules, see :class:`_OneCycle`."""
    if isinstance(schedulers, dict):
        schedulers = [state for states in schedulers.values() for state in states]
    for state in schedulers or []:
        if isinstance(state, dict):
            state.pop('anneal_func', None)


def _drop_code(checkpoint: Dict[str, Any], name: str) -> None:
    """Remove config texts that would do more than assign values when MMEngine executes them."""
    hub = checkpoint.get('message_hub')
    meta = checkpoint.get('meta')
    runtime_info = hub.get('runtime_info') if isinstance(hub, dict) else None
    for holder, key in ((meta, 'cfg'), (meta, 'config'), (runtime_info, 'cfg')):
        if isinstance(holder, dict) and key in holder and not _is_plain_config(holder[key]):
            del holder[key]
            warnings.warn(f'{name}: the config text {key!r} in this checkpoint holds code, so it '
                          'is left out. Weights and states are loaded; give the config as a file')


_CONFIG_NODES = (ast.Module, ast.Assign, ast.Name, ast.Store, ast.Load, ast.Constant, ast.Dict,
                 ast.List, ast.Tuple, ast.Set, ast.UnaryOp, ast.USub, ast.UAdd, ast.keyword)


def _is_plain_config(text: Any) -> bool:
    """Whether ``text`` only assigns literals and ``dict(...)``, as MMEngine dumps configs."""
    if not isinstance(text, str) or '{{' in text:  # MMEngine replaces {{ }} before it executes
        return False
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not (isinstance(node.func, ast.Name) and node.func.id in ('dict', 'float')):
                return False
        elif not isinstance(node, _CONFIG_NODES):
            return False
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and (
                node.id.startswith('_') or node.id in ('dict', 'float')):
            return False  # _base_ names files to execute
    return True


def _load_safetensors(path: str, map_location: Any) -> Dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        with safe_open(path, framework='pt') as file:
            tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}
            meta = dict(file.metadata() or {})
    except SafetensorError as error:
        raise ValueError(f'{path}: not a readable .safetensors file, so it is damaged, incomplete '
                         f'or of another format ({error}). Get it again and compare its size with '
                         'the source') from error
    return dict(state_dict=tensors, meta=meta)


def load_from_local(filename: str, map_location: Any = None) -> Dict[str, Any]:
    """The loader of plain paths (MMEngine prints the name after ``load_from_``)."""
    return load_checkpoint_file(filename, map_location)


def load_from_ceph(filename: str, map_location: Any = None, backend: str = 'petrel') -> Any:
    """The loader of ``s3://`` and ``petrel://``."""
    data = get_file_backend(filename, backend_args={'backend': backend}).get(filename)
    return _load_torch(io.BytesIO(data), map_location, filename)


def load_from_openmmlab(filename: str, map_location: Any = None) -> Any:
    """The loader of ``open-mmlab://`` and ``openmmlab://`` names."""
    name = filename.split('://', 1)[1]
    name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    address = mmengine_checkpoint.get_external_models()[name]
    if address.startswith(('http://', 'https://')):
        return mmengine_checkpoint.load_from_http(address, map_location=map_location)
    return load_checkpoint_file(
        os.path.join(mmengine_checkpoint._get_mmengine_home(), address), map_location)


def _load_url(url: str, model_dir: Any = None, map_location: Any = None, progress: bool = True,
              check_hash: bool = False, file_name: Any = None) -> Any:
    """``load_url`` as ``load_from_http`` calls it: the same cache, the safe loader.

    Everything that ends in a download (http, torchvision, modelzoo, mmcls) goes through it.
    """
    from urllib.parse import urlparse

    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, file_name or os.path.basename(urlparse(url).path))
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        match = torch.hub.HASH_REGEX.search(os.path.basename(path)) if check_hash else None
        torch.hub.download_url_to_file(url, path, match.group(1) if match else None, progress)
    return load_checkpoint_file(path, map_location)


def _history_buffer_state(self: HistoryBuffer) -> Dict[str, Any]:
    """State without the methods: a file that names none loads with the plain safe loader."""
    return {key: value for key, value in self.__dict__.items() if key != 'statistics_methods'}


def _scheduler_state(self: _ParamScheduler) -> Dict[str, Any]:
    """State without the optimizer and without functions, for the same reason."""
    return {key: value for key, value in self.__dict__.items()
            if key != 'optimizer' and not callable(value)}


def install() -> None:
    """Replace MMEngine's checkpoint loaders; a second call changes nothing."""
    for prefixes, loader in (
            ('', load_from_local),
            ([r'(\S+\:)?s3://', r'(\S+\:)?petrel://'], load_from_ceph),
            (['open-mmlab://', 'openmmlab://'], load_from_openmmlab)):
        CheckpointLoader.register_scheme(prefixes, loader, force=True)
    mmengine_checkpoint.load_url = _load_url
    HistoryBuffer.__getstate__ = _history_buffer_state
    _ParamScheduler.state_dict = _scheduler_state
