"""Files for the poses of a video: JSON, npz, CSV, TRC, BVH and rerun recordings."""

from importlib import import_module

_MODULES = {
    'FORMATS': 'export',
    'write_video_poses': 'export',
    'read_npz': 'arrays',
    'write_npz': 'arrays',
    'write_bvh': 'bvh',
    'predictions_of_frame': 'json_file',
    'read_json': 'json_file',
    'write_json': 'json_file',
    'write_rerun': 'rerun_recording',
    'write_csv': 'tables',
    'write_trc': 'tables',
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__():
    return __all__
