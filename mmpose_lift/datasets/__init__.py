from .detector_noise import DetectorNoise
from .pose_sequence_dataset import PoseSequenceDataset

__all__ = ['DetectorNoise', 'PoseSequenceDataset']
