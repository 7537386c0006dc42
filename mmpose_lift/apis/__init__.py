from .adaptive_stride import AdaptiveInputStride, lift_adaptively
from .inferencer import MissingWeightsError, MMPoseInferencer, PoseLiftInferencer
from .key_frame_lifting import KeyFrameLifter

__all__ = ['AdaptiveInputStride', 'KeyFrameLifter', 'MMPoseInferencer', 'MissingWeightsError',
           'PoseLiftInferencer', 'lift_adaptively']
