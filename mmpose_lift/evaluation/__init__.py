"""Pose metrics: pure functions and the registered metrics around them."""

from .key_frame_metric import KeyFrameLiftingMetric
from .lifting_metric import LiftingMetric
from .mesh_metric import MeshMetric
from .mpi_inf_3dhp import MPIINF3DHPMetric
from .root_metric import RootMetric

__all__ = ['KeyFrameLiftingMetric', 'LiftingMetric', 'MPIINF3DHPMetric', 'MeshMetric', 'RootMetric']
