"""Fixtures shared by all tests."""

import os
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')  # tiny inputs: threads only cost

import numpy as np  # noqa: E402
import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get('MMPOSE_LIFT_SHARED', ROOT.parent / 'shared'))


@pytest.fixture(scope='session', autouse=True)
def _own_cache(tmp_path_factory):
    """Coarse meshes are cached in a folder of the tests, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
        yield


@pytest.fixture(scope='session')
def root_dir() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Reference numbers, real motion and MMPose's test files; never part of the project."""
    if not (SHARED / 'reference').is_dir():
        pytest.skip(f'no reference files: the folder {SHARED.name!r} beside the checkout is absent '
                    '(set MMPOSE_LIFT_SHARED to point to it)')
    return SHARED


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
