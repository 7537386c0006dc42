from .pose_sequence_label import PoseSequenceLabel

__all__ = ['PoseSequenceLabel']
