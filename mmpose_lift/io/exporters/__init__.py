"""Files for the poses of a video: JSON, npz, CSV, TRC, BVH, rerun recordings, SMPL, glTF, OBJ."""

from importlib import import_module

_MODULES = {
    'FORMATS': 'export',
    'write_video_poses': 'export',
    'read_npz': 'arrays',
    'write_npz': 'arrays',
    'write_body_bvh': 'body_motion_files',
    'write_bvh': 'bvh',
    'predictions_of_frame': 'json_file',
    'read_json': 'json_file',
    'write_json': 'json_file',
    'write_gltf': 'surface_files',
    'write_obj': 'surface_files',
    'write_rerun': 'rerun_recording',
    'write_smpl_npz': 'body_motion_files',
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
