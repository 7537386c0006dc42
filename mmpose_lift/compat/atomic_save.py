"""Make MMEngine's checkpoints survive a kill at any moment.

Upstream: MMEngine 0.10.7 writes a checkpoint straight to its final name, ``last_checkpoint`` too,
and with ``max_keep_ckpts`` (or ``save_best``) deletes the old file before the new one is written. A
kill in between leaves a damaged ``epoch_N.pth``, or no checkpoint at all. Here local files are
written to a temporary name and renamed, and old ones are deleted last. Remote storage is left as
it is.
"""

import builtins
import functools
import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Set, TextIO, Tuple, Union

import mmengine.runner
import torch
from mmengine.fileio import FileClient, LocalBackend, get_file_backend
from mmengine.hooks import CheckpointHook, checkpoint_hook
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import runner as mmengine_runner

from ..io.atomic import atomic_write

try:
    import fcntl
except ImportError:  # Windows: leftovers are deleted without asking whether their writer lives
    fcntl = None

__all__ = ['install', 'remove_leftovers']

_LEFTOVER = re.compile(r'\..+\.[a-z0-9_]{8}\.partial(\.pth)?')
_cleaned: Set[Path] = set()
_original_save = mmengine_checkpoint.save_checkpoint


def remove_leftovers(folder: Path) -> List[Path]:
    """Delete the temporary files that a killed run left in ``folder``.

    A file that another living process is writing is locked and stays.

    Returns:
        What was deleted.
    """
    removed = []
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name) and path.is_file() and not _is_locked(path):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _is_locked(path: Path) -> bool:
    if fcntl is None:
        return False
    with path.open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


@contextmanager
def _locked(path: Path) -> Iterator[Any]:
    """The open file, locked until it is closed (a killed process loses its locks)."""
    with path.open('wb') as file:
        if fcntl is not None:
            with suppress(OSError):  # some network file systems have no locks: save without one
                fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _is_local(filename: str, file_client_args: Optional[dict],
              backend_args: Optional[dict]) -> bool:
    if filename.startswith('pavi://'):
        return False
    if file_client_args is not None:
        return isinstance(FileClient.infer_client(file_client_args, filename).client, LocalBackend)
    return isinstance(get_file_backend(filename, backend_args=backend_args), LocalBackend)


@functools.wraps(_original_save)
def save_checkpoint(checkpoint: dict, filename: Union[str, Path],
                    file_client_args: Optional[dict] = None,
                    backend_args: Optional[dict] = None) -> None:
    filename = str(filename)
    if (file_client_args is not None and backend_args is not None
            or not _is_local(filename, file_client_args, backend_args)):
        _original_save(checkpoint, filename, file_client_args, backend_args)
        return
    folder = Path(filename).resolve().parent
    if folder not in _cleaned and folder.is_dir():
        remove_leftovers(folder)
    _cleaned.add(folder)
    with atomic_write(filename) as temporary, _locked(temporary) as file:
        torch.save(checkpoint, file)
        file.flush()
        os.fsync(file.fileno())  # a rename that outlives a power cut must not point to no data


@contextmanager
def _open_atomically(path: str, mode: str = 'r', **kwargs: Any) -> Iterator[TextIO]:
    """``open`` for the module of CheckpointHook, whose one use of it writes ``last_checkpoint``."""
    if mode != 'w':
        with builtins.open(path, mode, **kwargs) as file:
            yield file
        return
    with atomic_write(path) as temporary, builtins.open(temporary, mode, **kwargs) as file:
        yield file


class _DeletesLater:
    """A file backend that notes what is to be deleted."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.noted: List[Tuple[Callable[[str], None], str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self.noted.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.noted.append((self._backend.rmtree, path))


def _delete_last(method: Callable) -> Callable:
    """CheckpointHook's saving ``method`` with its deletions put after its writing."""

    @functools.wraps(method)
    def wrapper(self: CheckpointHook, *args: Any, **kwargs: Any) -> None:
        backend = self.file_backend
        self.file_backend = later = _DeletesLater(backend)
        try:
            method(self, *args, **kwargs)
        finally:
            self.file_backend = backend
        kept = {str(path) for path in (self.last_ckpt, getattr(self, 'best_ckpt_path', None),
                                       *getattr(self, 'best_ckpt_path_dict', {}).values())}
        for delete, path in later.noted:
            if path not in kept:
                delete(path)

    wrapper._deletes_last = True
    return wrapper


def install() -> None:
    """Replace MMEngine's saving functions; a second call changes nothing."""
    for module in (mmengine_checkpoint, mmengine_runner, mmengine.runner):
        module.save_checkpoint = save_checkpoint
    checkpoint_hook.open = _open_atomically
    for name in ('_save_checkpoint_with_step', '_save_best_checkpoint'):
        method = getattr(CheckpointHook, name)
        if not hasattr(method, '_deletes_last'):
            setattr(CheckpointHook, name, _delete_last(method))
