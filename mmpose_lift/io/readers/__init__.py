"""Readers: every public layout of motion data becomes a ``Recording``, which writes a pose
store."""

from importlib import import_module

_MODULES = {
    'Clip': 'recording',
    'Recording': 'recording',
    'AMASS_SPLITS': 'amass',
    'read_amass': 'amass',
    'read_asf_amc': 'asf_amc',
    'read_bvh': 'bvh',
    'read_humaneva': 'humaneva',
    'read_mmpose_3dhp': 'mpi_inf_3dhp_frames',
    'read_mmpose_h36m': 'mmpose_h36m',
    'read_mocap_npz': 'mocap_npz',
    'read_pstmo_3dhp': 'mpi_inf_3dhp',
    'read_spin_3dhp': 'mpi_inf_3dhp_frames',
    'read_videopose3d_h36m': 'videopose3d_h36m',
}

__all__ = sorted(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)


def __dir__():
    return __all__
