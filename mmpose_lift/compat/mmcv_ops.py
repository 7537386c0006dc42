"""Make ``mmcv.ops`` importable without a compiled mmcv.

MMCV 2.1.0 has no wheel with compiled ops on the Python package index; MMPose 1.3.2 and MMDetection
3.3.0 import ``mmcv.ops``, and with it ``mmcv._ext``, at import time. Normally ``requirements.txt``
has put the stand-in beside mmcv-lite; this module covers an installation without it.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

STAND_IN = Path(__file__).parent / 'stand_ins' / 'mmcv_ops' / 'mmcv' / '_ext.py'


def install() -> None:
    """Load the stand-in as ``mmcv._ext`` where Python finds no such module.

    Raises:
        ImportError: Neither mmcv-lite nor mmcv is installed, or the stand-in's file is missing.
    """
    if importlib.util.find_spec('mmcv') is None:
        raise ImportError(
            'mmpose_lift needs mmcv and found none: pip install mmcv-lite==2.1.0 (no compiler '
            'needed), or mmcv==2.1.0 if you want its compiled ops')
    if 'mmcv._ext' in sys.modules or importlib.util.find_spec('mmcv._ext') is not None:
        return
    if not STAND_IN.is_file():
        raise ImportError(f'the installation of mmpose_lift is incomplete: {STAND_IN} is missing; '
                          'install it again')
    spec = importlib.util.spec_from_file_location('mmcv._ext', STAND_IN)
    module = importlib.util.module_from_spec(spec)
    sys.modules['mmcv._ext'] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules['mmcv._ext']
        raise
    importlib.import_module('mmcv')._ext = module
