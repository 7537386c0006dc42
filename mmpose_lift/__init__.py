"""3D human pose lifting and body meshes for MMPose: importing it registers every component."""

from .compat import install as _install
from .version import __version__

_install()

from . import codecs, datasets, engine, evaluation, models  # noqa: E402,F401  (registration)

__all__ = ['__version__']
