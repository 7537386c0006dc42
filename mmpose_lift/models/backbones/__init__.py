"""Backbones, one paper per file."""

from .ampose import AMPose
from .heatmap_input import HeatmapInput
from .mesh_transformer import MeshTransformer
from .mixste import MixSTE
from .uplift_upsample import UpliftUpsampleTransformer

__all__ = ['AMPose', 'HeatmapInput', 'MeshTransformer', 'MixSTE', 'UpliftUpsampleTransformer']
