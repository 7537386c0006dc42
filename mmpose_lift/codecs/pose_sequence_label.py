"""Between pixels and camera space, and what a lifting network sees and gives."""

from typing import Optional, Tuple

import numpy as np
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS

from ..geometry.cameras import normalize_screen


@KEYPOINT_CODECS.register_module()
class PoseSequenceLabel(BaseKeypointCodec):
    """Width-normalised 2D input and root-relative 3D target of a sequence, as in VideoPose3D.

    Every array may carry further leading axes (a batch of windows), ``...`` below.

    Args:
        num_keypoints: K, joints of the 2D input and the 3D target.
        root_index: Joint that becomes the origin of the target.
        with_score: Append the 2D score as a third input channel.
        flatten: Give the input as (..., K * C, T), the layout of MMPose's TCN.
    """

    auxiliary_encode_keys = {'lifting_target', 'lifting_target_visible', 'camera_param'}
    instance_mapping_table = dict(target_root='target_root')
    label_mapping_table = dict(
        lifting_target_label='lifting_target_label', lifting_target_weight='lifting_target_weight')

    def __init__(self, num_keypoints: int = 17, root_index: int = 0, with_score: bool = False,
                 flatten: bool = False):
        super().__init__()
        if not 0 <= root_index < num_keypoints:
            raise ValueError(f'root_index: expected 0 to {num_keypoints - 1}, found {root_index}')
        self.num_keypoints = num_keypoints
        self.root_index = root_index
        self.with_score = with_score
        self.flatten = flatten

    def encode(self,
               keypoints: np.ndarray,
               keypoints_visible: Optional[np.ndarray] = None,
               lifting_target: Optional[np.ndarray] = None,
               lifting_target_visible: Optional[np.ndarray] = None,
               camera_param: Optional[dict] = None) -> dict:
        """From pixels and camera-space metres to the network's input and target.

        Args:
            keypoints: (..., T, K, 2) pixels.
            keypoints_visible: (..., T, K) scores; needed with ``with_score``.
            lifting_target: (..., T', K, 3) camera space, metres; T' is T or 1. None at inference.
            lifting_target_visible: (..., T', K) 0 where the target is unknown.
            camera_param: ``w`` and ``h`` of the image in pixels, scalars or one per window.

        Returns:
            ``keypoint_labels`` (..., T, K, 2 or 3) float32 with x in [-1, 1] over the width; with a
            target also ``lifting_target_label`` (..., T', K, 3) root-relative metres,
            ``target_root`` (..., T', 3) and, where some joint is unknown,
            ``lifting_target_weight`` (..., T', K).

        Raises:
            ValueError: Wrong joint count, or no image size.
        """
        if keypoints.ndim < 3 or keypoints.shape[-2:] != (self.num_keypoints, 2):
            raise ValueError(f'keypoints: expected (..., T, {self.num_keypoints}, 2), found '
                             f'{keypoints.shape}; is the 2D data in the skeleton of the config?')
        if camera_param is None or 'w' not in camera_param or 'h' not in camera_param:
            raise ValueError('camera_param: the image width "w" and height "h" in pixels are '
                             f'needed to normalise 2D keypoints, found {camera_param}')
        # one size per window: an axis for its frames
        width, height = (np.asarray(camera_param[k], np.float32)[..., None] for k in ('w', 'h'))
        labels = normalize_screen(keypoints.astype(np.float32, copy=False), width, height)
        if self.with_score:
            if keypoints_visible is None:
                raise ValueError('keypoints_visible: needed because the codec has with_score=True')
            labels = np.concatenate(
                [labels, keypoints_visible[..., None].astype(np.float32)], axis=-1)
        if self.flatten:
            labels = np.moveaxis(labels.reshape(labels.shape[:-2] + (-1, )), -2, -1)
        encoded = dict(keypoint_labels=labels)
        if lifting_target is not None:
            if lifting_target.shape[-2:] != (self.num_keypoints, 3):
                raise ValueError(f'lifting_target: expected (..., T, {self.num_keypoints}, 3), '
                                 f'found {lifting_target.shape}')
            root = lifting_target[..., self.root_index, :]
            encoded['target_root'] = root.astype(np.float32)
            encoded['lifting_target_label'] = (lifting_target - root[..., None, :]).astype(
                np.float32)
            if lifting_target_visible is not None:
                weight = np.reshape(lifting_target_visible,
                                    lifting_target.shape[:-1]).astype(np.float32)
                if not (weight == 1).all():
                    encoded['lifting_target_weight'] = weight
        return encoded

    def decode(self,
               encoded: np.ndarray,
               target_root: Optional[np.ndarray] = None) -> Tuple[np.ndarray, np.ndarray]:
        """From the network's output to metres.

        Args:
            encoded: (..., T, K, 3) root-relative metres.
            target_root: (..., T, 3) camera-space root, metres; added where given.

        Returns:
            keypoints (..., T, K, 3) metres, root-relative or in camera space, and scores of ones
            (..., T, K): a lifting network gives no confidence.
        """
        keypoints = np.array(encoded, dtype=np.float32)
        if target_root is not None and np.size(target_root):  # MMPose's heads give an empty one
            keypoints += np.asarray(target_root)[..., None, :]
        return keypoints, np.ones(keypoints.shape[:-1], dtype=np.float32)
