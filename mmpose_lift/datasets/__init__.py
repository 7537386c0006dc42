from .detector_noise import DetectorNoise
from .key_frame_dataset import KeyFrameSequenceDataset
from .pose_sequence_dataset import PoseSequenceDataset

__all__ = ['DetectorNoise', 'KeyFrameSequenceDataset', 'PoseSequenceDataset']
