"""Read pickles, object arrays and torch checkpoints without running what they contain.

A pickle is a program: it may name any function of any installed package and call it. Here a name is
looked up in one table (``ALLOWED_GLOBALS``) and anything else is refused by name.
"""

import io
import os
import pickle
import re
import threading
import warnings
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Dict, Iterator, Mapping, Optional, Sequence, Union

import numpy as np

from .pickle_shells import ALLOWED_GLOBALS, Finisher, Shell, UnsafePickleError

__all__ = ['ALLOWED_GLOBALS', 'Shell', 'UNSAFE_LOAD_VARIABLE', 'UnsafePickleError', 'load_npy',
           'load_npz', 'load_torch', 'restricted_load']

PathOrFile = Union[str, Path, BinaryIO]

UNSAFE_LOAD_VARIABLE = 'MMPOSE_LIFT_UNSAFE_LOAD'


class _RestrictedUnpickler(pickle._Unpickler):
    """Python's own unpickler (the one written in Python: its BUILD step can be narrowed)."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, allowed: Mapping[str, Any]) -> None:
        super().__init__(file, encoding='latin1')  # Python 2 strings, raw array bytes among them
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if self.proto < 3:  # names of Python 2
            if (module, name) in pickle._compat_pickle.NAME_MAPPING:
                module, name = pickle._compat_pickle.NAME_MAPPING[(module, name)]
            module = pickle._compat_pickle.IMPORT_MAPPING.get(module, module)
        full_name = f'{module}.{name}'
        if full_name not in self._allowed:
            raise UnsafePickleError(full_name)
        return self._allowed[full_name]

    def get_extension(self, code: int) -> Any:
        raise UnsafePickleError(f'copyreg extension {code}')

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafePickleError(f'persistent object {pid!r}')

    def load_build(self) -> None:
        state = self.stack.pop()
        instance = self.stack[-1]
        if isinstance(instance, Shell):
            instance.__setstate__(state)
        elif type(instance) is OrderedDict and isinstance(state, dict):
            instance.__dict__.update(state)
        else:
            # the general rule would set any attribute of anything, the table's functions included
            raise UnsafePickleError(f'state for an object of type {type(instance).__name__}')

    dispatch[pickle.BUILD[0]] = load_build


def restricted_load(source: PathOrFile, *, name: Optional[str] = None,
                    extra_globals: Optional[Mapping[str, Any]] = None) -> Any:
    """Load a pickle of containers, numpy arrays, scalars and random states, running none of it.

    Pickles of Python 2 are read too; their strings are taken as latin-1.

    Args:
        source: Path, or a binary file open at the pickle.
        name: What to call the source in an error message.
        extra_globals: More entries for the table: ``'module.name'`` to a :class:`Shell` subclass.

    Raises:
        FileNotFoundError: There is no such file.
        UnsafePickleError: The pickle asks for anything that is not in the table.
        ValueError: The pickle is damaged, or the file is no pickle.
    """
    with _open(source) as (file, file_name):
        name = name or file_name
        try:
            unpickler = _RestrictedUnpickler(file, {**ALLOWED_GLOBALS, **(extra_globals or {})})
            return Finisher()(unpickler.load())
        except UnsafePickleError as error:
            raise UnsafePickleError(
                f'{name}: refused, because it asks for {error}, which is not among the harmless '
                'types (Python containers, numpy arrays, scalars and random states). Nothing of '
                'it was run. Convert the file where you trust it to plain arrays (.npz without '
                'object arrays) and use that') from None
        except Exception as error:  # damaged bytes can end in any exception
            raise _unreadable(name, 'pickle', error) from error


def load_npy(source: PathOrFile, *, name: Optional[str] = None,
             extra_globals: Optional[Mapping[str, Any]] = None) -> np.ndarray:
    """Load a ``.npy`` file; an object array goes through :func:`restricted_load`.

    Args:
        source: Path or binary file.
        name, extra_globals: As for :func:`restricted_load`.

    Raises:
        FileNotFoundError, UnsafePickleError, ValueError: As :func:`restricted_load`.
    """
    with _open(source) as (file, file_name):
        name = name or file_name
        try:
            start = io.BytesIO(file.read(8))
            version = np.lib.format.read_magic(start)
            # the header's length is in 2 bytes in version 1, in 4 later
            start = start.getvalue() + file.read(2 if version[0] == 1 else 4)
            start += file.read(int.from_bytes(start[8:], 'little'))
            header = io.BytesIO(start)
            np.lib.format.read_magic(header)
            read_header = (np.lib.format.read_array_header_1_0 if version[0] == 1
                           else np.lib.format.read_array_header_2_0)
            _, _, dtype = read_header(header)
            if not dtype.hasobject:
                return np.lib.format.read_array(_Joined(start, file), allow_pickle=False)
        except Exception as error:
            raise _unreadable(name, '.npy array', error) from error
        array = restricted_load(file, name=name, extra_globals=extra_globals)
        if not isinstance(array, np.ndarray):
            raise ValueError(f'{name}: expected an object array, found {type(array).__name__}')
        return array


def load_npz(path: Union[str, Path], keys: Optional[Sequence[str]] = None, *,
             extra_globals: Optional[Mapping[str, Any]] = None) -> Dict[str, np.ndarray]:
    """Load the arrays of a ``.npz`` file; object arrays go through :func:`restricted_load`.

    Args:
        path: The file.
        keys: Load these arrays only.
        extra_globals: As for :func:`restricted_load`.

    Returns:
        Arrays by name. A dict that was saved into the file is a 0-d object array: use ``.item()``.

    Raises:
        FileNotFoundError, UnsafePickleError, ValueError: As :func:`restricted_load`.
        KeyError: An array of ``keys`` is not in the file.
    """
    with _open(path) as (file, name):
        try:
            archive = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise _unreadable(name, '.npz archive', error) from error
        with archive:
            members = {member.removesuffix('.npy'): member for member in archive.namelist()}
            missing = [key for key in keys or () if key not in members]
            if missing:
                raise KeyError(f'{name}: no array {missing[0]!r}; it holds {sorted(members)}')
            arrays = {}
            for key in members if keys is None else keys:
                with archive.open(members[key]) as member:
                    arrays[key] = load_npy(member, name=f'{name}[{key!r}]',
                                           extra_globals=extra_globals)
            return arrays


def load_torch(source: PathOrFile, map_location: Any = 'cpu', *, name: Optional[str] = None,
               extra_globals: Optional[Mapping[str, Any]] = None) -> Any:
    """Load what ``torch.save`` wrote (zip or the older form), running none of it.

    ``torch.load(weights_only=True)`` with the table of harmless types. The environment variable
    ``MMPOSE_LIFT_UNSAFE_LOAD=1`` is the explicit opt-in for files that hold more: they are loaded
    with the full pickle machinery, and the code in them runs with the user's rights.

    Args:
        source: Path or binary file.
        map_location: As for ``torch.load``.
        name, extra_globals: As for :func:`restricted_load`.

    Raises:
        FileNotFoundError, UnsafePickleError, ValueError: As :func:`restricted_load`.
    """
    import torch

    with _open(source) as (file, file_name):
        name = name or file_name
        if os.environ.get(UNSAFE_LOAD_VARIABLE) == '1':
            warnings.warn(f'{UNSAFE_LOAD_VARIABLE}=1: loading {name} without any protection. Code '
                          'in this file runs with your rights: only for files you made or trust')
            return torch.load(file, map_location=map_location, weights_only=False)
        try:
            with _safe_globals({**ALLOWED_GLOBALS, **(extra_globals or {})}):
                return Finisher()(torch.load(file, map_location=map_location, weights_only=True))
        except Exception as error:  # damaged bytes can end in any exception
            refused = _refused_by_torch(error)
            if refused is None:
                raise _unreadable(name, 'torch checkpoint', error) from error
            raise UnsafePickleError(
                f'{name}: refused, because it asks for {refused}, which is not among the harmless '
                'types (tensors, Python containers, numpy arrays and random states). Nothing of it '
                f'was run. If you made this file or trust its source, set {UNSAFE_LOAD_VARIABLE}=1 '
                'for one run, at the risk that code in the file runs with your rights, and save '
                'the weights again as a plain state dict or .safetensors') from None


_TORCH_LOCK = threading.RLock()


@contextmanager
def _safe_globals(allowed: Mapping[str, Any]) -> Iterator[None]:
    """Torch's list is one global set: add only what is missing, and one thread at a time."""
    from torch.serialization import get_safe_globals, safe_globals

    with _TORCH_LOCK:
        present = set(get_safe_globals())
        entries = {(value, full_name) for full_name, value in allowed.items()}
        with safe_globals(list(entries - present)):
            yield


_TORCH_REFUSALS = (
    re.compile(r'Unsupported global: GLOBAL (\S+) was not'),
    re.compile(r'unsupported GLOBAL (\S+) whose module'),
    re.compile(r'call reduce for unrecognized function (.*)'),
    re.compile(r'Can only (?:create new object for|build) .* but got (.*)'),
    re.compile(r'(TorchScript archives|the legacy \.tar format)'),
    re.compile(r'Only persistent_load of (storage) is allowed'),
)


def _refused_by_torch(error: Exception) -> Optional[str]:
    """What torch (or a shell) refused, or None where the file is merely unreadable."""
    if isinstance(error, UnsafePickleError):
        return str(error)
    if isinstance(error, (pickle.UnpicklingError, RuntimeError)):
        for pattern in _TORCH_REFUSALS:
            match = pattern.search(str(error))
            if match:
                return match.group(1)
    return None


class _Joined(io.RawIOBase):
    """The bytes that were read ahead, followed by the rest of a file (which may not seek)."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = io.BytesIO(start), rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._start.read(size)
        return data if data else self._rest.read(size)


def _unreadable(name: str, kind: str, error: Exception) -> ValueError:
    reason = (str(error).splitlines() or [''])[-1]
    return ValueError(f'{name}: not a readable {kind}, so the file is damaged, incomplete or of '
                      f'another format ({type(error).__name__}: {reason}). Get it again and '
                      'compare its size with the source')


@contextmanager
def _open(source: PathOrFile) -> Iterator[tuple]:
    """Yield the open file and its name for messages."""
    if hasattr(source, 'read'):
        yield source, str(getattr(source, 'name', 'the given file object'))
        return
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist or is no file: check the path')
    with path.open('rb') as file:
        yield file, str(path)
