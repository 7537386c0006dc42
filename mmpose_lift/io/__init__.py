"""What comes from or goes to disk. Names are imported when they are first used."""

from importlib import import_module

_MODULES = {
    'PoseStore': 'pose_store',
    'PoseStoreWriter': 'pose_store',
    'Sequence': 'pose_store',
    'write_store': 'pose_store',
    'UnsafePickleError': 'restricted_pickle',
    'load_npy': 'restricted_pickle',
    'load_npz': 'restricted_pickle',
    'restricted_load': 'restricted_pickle',
    'atomic_directory': 'atomic',
    'atomic_write': 'atomic',
    'convert_checkpoint': 'checkpoint',
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__():
    return __all__
