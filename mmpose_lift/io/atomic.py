"""Write files and folders so that a killed process leaves the old or the new one, never a half."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Union


@contextmanager
def atomic_write(path: Union[str, Path]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds.

    The temporary name keeps the suffix of ``path`` (writers choose the format by it) and starts
    with a dot. It is removed when the block raises.

    Args:
        path: File to write. Its folder is created.

    Raises:
        OSError: The folder cannot be made, or nothing can be written into it.
    """
    path = Path(path)
    with _folder_for(path):
        handle, name = tempfile.mkstemp(
            prefix=f'.{path.stem}.', suffix=f'.partial{path.suffix}', dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; keep the user's own default
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: Union[str, Path], overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` when the block succeeds.

    Args:
        path: Folder to create.
        overwrite: Replace an existing folder.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
        OSError: As :func:`atomic_write`.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f'{path} exists already: remove it, choose another name, or ask to '
                              'overwrite it')
    with _folder_for(path):
        temporary = Path(tempfile.mkdtemp(
            prefix=f'.{path.name}.', suffix='.partial', dir=path.parent))
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f'.{path.name}.', suffix='.old', dir=path.parent))
            path.replace(old / path.name)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _folder_for(path: Path) -> Iterator[None]:
    """Make the folder of ``path``; errors there and in the block say that this is the output."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise type(error)(f'output {path}: its folder cannot be made or written to '
                          f'({error.strerror}: {error.filename}); choose another') from None
