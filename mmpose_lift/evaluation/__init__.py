"""Pose metrics: pure functions and the registered metrics around them."""

from .key_frame_metric import KeyFrameLiftingMetric
from .lifting_metric import LiftingMetric
from .mpi_inf_3dhp import MPIINF3DHPMetric

__all__ = ['KeyFrameLiftingMetric', 'LiftingMetric', 'MPIINF3DHPMetric']
