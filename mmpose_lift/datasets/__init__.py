from . import transforms
from .body_mesh_dataset import BodyMeshDataset
from .body_motion_dataset import BodyMotionDataset
from .detector_noise import DetectorNoise
from .key_frame_dataset import KeyFrameSequenceDataset
from .mixed_dataset import MixedDataset
from .pose_sequence_dataset import PoseSequenceDataset
from .rendered_mesh_dataset import RenderedMeshDataset
from .transforms import *  # noqa: F401,F403

__all__ = ['BodyMeshDataset', 'BodyMotionDataset', 'DetectorNoise', 'KeyFrameSequenceDataset',
           'MixedDataset', 'PoseSequenceDataset', 'RenderedMeshDataset', *transforms.__all__]
