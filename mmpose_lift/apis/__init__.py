from .adaptive_stride import AdaptiveInputStride, lift_adaptively
from .clip_lifter import ClipLifter, MissingWeightsError
from .inferencer import PoseLiftInferencer
from .key_frame_lifting import KeyFrameLifter
from .mesh_inferencer import MeshInferencer
from .mesh_predictor import Bodies, MeshPredictor
from .mmpose_inferencer import MMPoseInferencer
from .people_2d import People, PeopleEstimator
from .progress import ShownStages, Stages
from .stream import LiftStream, PeopleStream
from .tracking import PersonTracker, TrackCollector
from .video_inferencer import VideoInferencer

__all__ = ['AdaptiveInputStride', 'Bodies', 'ClipLifter', 'KeyFrameLifter', 'LiftStream',
           'MMPoseInferencer', 'MeshInferencer', 'MeshPredictor', 'MissingWeightsError', 'People',
           'PeopleEstimator', 'PeopleStream', 'PersonTracker', 'PoseLiftInferencer', 'ShownStages',
           'Stages', 'TrackCollector', 'VideoInferencer', 'lift_adaptively']
