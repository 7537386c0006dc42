"""Input of networks that see 2D poses at some frames of a window only."""

from typing import Optional

import numpy as np
from mmpose.registry import KEYPOINT_CODECS

from .pose_sequence_label import PoseSequenceLabel


@KEYPOINT_CODECS.register_module()
class KeyFrameSequenceLabel(PoseSequenceLabel):
    """As :class:`PoseSequenceLabel`, with the key-frame flag as third channel of the input.

    2D poses of other frames are set to zero: a network must not see them.

    Args:
        num_keypoints: K.
        root_index: Joint that becomes the origin of the target.
    """

    auxiliary_encode_keys = PoseSequenceLabel.auxiliary_encode_keys | {'key_frames'}

    def __init__(self, num_keypoints: int = 17, root_index: int = 0):
        super().__init__(num_keypoints, root_index)

    def encode(self,
               keypoints: np.ndarray,
               keypoints_visible: Optional[np.ndarray] = None,
               lifting_target: Optional[np.ndarray] = None,
               lifting_target_visible: Optional[np.ndarray] = None,
               camera_param: Optional[dict] = None,
               key_frames: Optional[np.ndarray] = None) -> dict:
        """From pixels and camera-space metres to the network's input and target.

        Args:
            keypoints, keypoints_visible, lifting_target, lifting_target_visible, camera_param: As
                in :class:`PoseSequenceLabel`, except that the number of target frames is free.
            key_frames: (..., T) bool. None: all are, as where MMPose's own inferencer gives a
                detection for every frame.

        Returns:
            As :class:`PoseSequenceLabel`, with ``keypoint_labels`` (..., T, K, 3): x, y, flag.

        Raises:
            ValueError: ``key_frames`` does not fit the keypoints, or what
                :class:`PoseSequenceLabel` raises.
        """
        encoded = super().encode(keypoints, keypoints_visible, lifting_target,
                                 lifting_target_visible, camera_param)
        if key_frames is None:
            key_frames = np.ones(keypoints.shape[:-2], bool)
        key_frames = np.asarray(key_frames, bool)
        if key_frames.shape != keypoints.shape[:-2]:
            raise ValueError(f'key_frames: expected {keypoints.shape[:-2]}, one flag per frame, '
                             f'found {key_frames.shape}')
        flag = np.broadcast_to(key_frames[..., None, None], keypoints.shape[:-1] + (1, ))
        xy = np.where(flag, encoded['keypoint_labels'], np.float32(0))
        encoded['keypoint_labels'] = np.concatenate([xy, flag.astype(np.float32)], axis=-1)
        return encoded
