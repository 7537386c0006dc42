from .mesh_transforms import (
    ChannelNoise,
    MeshAffine,
    MeshBBoxTransform,
    MeshRandomFlip,
    PackMeshInputs,
    RandomNoiseOcclusion,
)

__all__ = ['ChannelNoise', 'MeshAffine', 'MeshBBoxTransform', 'MeshRandomFlip',
           'PackMeshInputs', 'RandomNoiseOcclusion']
