from .body_mesh_label import BodyMeshLabel
from .key_frame_sequence_label import KeyFrameSequenceLabel
from .mpt_mesh_label import MPTMeshLabel
from .pose_sequence_label import PoseSequenceLabel

__all__ = ['BodyMeshLabel', 'KeyFrameSequenceLabel', 'MPTMeshLabel', 'PoseSequenceLabel']
