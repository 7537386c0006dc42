from .adaptive_stride import AdaptiveInputStride, lift_adaptively
from .clip_lifter import ClipLifter, MissingWeightsError
from .inferencer import PoseLiftInferencer
from .key_frame_lifting import KeyFrameLifter
from .mmpose_inferencer import MMPoseInferencer
from .people_2d import People, PeopleEstimator
from .progress import ShownStages, Stages
from .stream import LiftStream, PeopleStream
from .tracking import PersonTracker, TrackCollector
from .video_inferencer import VideoInferencer

__all__ = ['AdaptiveInputStride', 'ClipLifter', 'KeyFrameLifter', 'LiftStream', 'MMPoseInferencer',
           'MissingWeightsError', 'People', 'PeopleEstimator', 'PeopleStream', 'PersonTracker',
           'PoseLiftInferencer', 'ShownStages', 'Stages', 'TrackCollector', 'VideoInferencer',
           'lift_adaptively']
