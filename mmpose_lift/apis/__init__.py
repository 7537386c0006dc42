from .inferencer import MissingWeightsError, MMPoseInferencer, PoseLiftInferencer

__all__ = ['MMPoseInferencer', 'MissingWeightsError', 'PoseLiftInferencer']
