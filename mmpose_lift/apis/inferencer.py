"""Inference: lifting of 2D keypoint sequences, and MMPose's inferencer with the plugin's models."""

import os.path as osp
from pathlib import Path
from typing import Iterator, Optional, Tuple, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmpose.apis import MMPoseInferencer as _MMPoseInferencer
from mmpose.registry import MODELS
from torch import nn

from ..compat.model_index import find_model, list_models
from ..datasets.key_frames import check_strides
from ..datasets.windows import evaluation_windows, window_frames
from ..evaluation.key_frames import fill_between
from ..geometry.skeletons import convert_keypoints
from ..io.keypoint_sequence import check_keypoints, read_keypoint_sequence, write_lifted_sequence
from ..models import SequencePoseLifter
from ..models.backbones import UpliftUpsampleTransformer
from ..models.backbones.ampose import AMPose, GraphBlock
from ..version import __version__
from .command_line import load_config, load_weights
from .key_frame_lifting import KeyFrameLifter

PRECISIONS = dict(float32=torch.float32, bfloat16=torch.bfloat16)
# A window of a single frame is little work: so many of them count as one of `batch_size`.
SINGLE_FRAMES_PER_WINDOW = 32


class MissingWeightsError(RuntimeError):
    """A model is used that has no trained weights."""


def missing_weights_message(model: str) -> str:
    return (f'model {model!r} has no published weights that can be fetched, so its output would be '
            'noise. Give weights= (pose3d_weights=): train them (tools/train.py CONFIG, see the '
            "README), or convert the authors' file (tools/convert_checkpoint.py). To run it with "
            'random weights all the same, for example to test the plumbing, give '
            'allow_random_weights=True')


def resolve_model(model: Union[str, Path, Config]) -> Tuple[Config, Optional[str], str]:
    """Config, published weights (or None) and name of an alias, a config file or a config.

    Raises:
        ValueError: No such alias or file; the aliases are listed.
    """
    if isinstance(model, Config):
        return model, None, osp.basename(model.filename or 'config')
    if osp.isfile(model):
        return load_config(str(model)), None, osp.splitext(osp.basename(model))[0]
    entry = find_model(str(model))
    if entry is None:
        known = sorted(alias for aliases in list_models().values() for alias in aliases)
        raise ValueError(f'model {str(model)!r} is neither a config file nor a known alias; '
                         f'aliases: {", ".join(known)}')
    return load_config(entry['Config']), entry.get('Weights'), str(model)


class PoseLiftInferencer:
    """Lift the 2D keypoints of whole clips to 3D.

    A model that sees key-frames only (Uplift and Upsample) needs 2D keypoints at every
    ``input_stride``-th frame and gives all frames, see :class:`KeyFrameLifter`; every other model
    needs them at all frames. Joints come out in the model's own order (its ``skeleton``), which is
    that of Human3.6M for most models here; input in other orders is converted by the joints' names.

    Nothing is trained here, so batch norms of AMPose are folded into its weights after loading.

    Args:
        pose3d: Alias ('mixste_h36m'), config file, or config.
        weights: Checkpoint file or address. Defaults to the published weights, where there are any.
        device: 'cpu', 'cuda', ... Defaults to the best there is.
        flip_test: Average with the mirrored input. Defaults to what the config says.
        batch_size: Windows per forward pass; 32 times as many where a window is a single frame.
        allow_random_weights: Run without trained weights.
        pose3d_weights: The same as ``weights``, the name it has in MMPose's inferencer.
        input_stride: Frames between key-frames at the model's frame rate, for models that see
            key-frames only. Defaults to the smallest that the config tests.
        precision: 'float32', or 'bfloat16' for about half the time on CPUs and GPUs that have it;
            what that costs in accuracy is in the README of the model's configs.

    Raises:
        ValueError: Unknown model or precision, a skeleton of other joints than the head's, a
            checkpoint of another model, or an input stride for a model without key-frames.
        FileNotFoundError: No such checkpoint.

    Without weights the inferencer constructs, and the first call raises
    :class:`MissingWeightsError`.
    """

    def __init__(self, pose3d: Union[str, Path, Config] = 'mixste_h36m',
                 weights: Optional[str] = None, device: Optional[str] = None,
                 flip_test: Optional[bool] = None, batch_size: int = 16,
                 allow_random_weights: bool = False, pose3d_weights: Optional[str] = None,
                 input_stride: Optional[int] = None, precision: str = 'float32'):
        if batch_size < 1:
            raise ValueError(f'batch_size: expected at least 1, found {batch_size}')
        if precision not in PRECISIONS:
            raise ValueError(f'precision: expected one of {tuple(PRECISIONS)}, found {precision!r}')
        init_default_scope('mmpose')
        config, published, self.name = resolve_model(pose3d)
        weights = _one_of(weights, pose3d_weights) or published
        self.batch_size = batch_size
        self._runs = weights is not None or allow_random_weights
        self.model = MODELS.build(config.model)
        if not isinstance(self.model, SequencePoseLifter):
            raise ValueError(f'model {self.name!r} is a {type(self.model).__name__}, and this '
                             'inferencer lifts windows with a SequencePoseLifter; use '
                             'MMPoseInferencer for others')
        self.skeleton = self.model.skeleton
        if self.model.head.num_keypoints != self.skeleton.num_joints:
            raise ValueError(f'model {self.name!r}: its skeleton {self.skeleton.name!r} has '
                             f'{self.skeleton.num_joints} joints, but its head gives '
                             f'{self.model.head.num_keypoints}; set model.skeleton in the config')
        self.model.test_cfg.pop('output_keypoint_indices', None)  # the result has all joints
        if flip_test is not None:
            self.model.test_cfg['flip_test'] = flip_test
        dataset = config.test_dataloader.dataset
        self.window = int(dataset.seq_len)
        self._per_pass = batch_size * (SINGLE_FRAMES_PER_WINDOW if self.window == 1 else 1)
        self._sparse = None
        if isinstance(self.model.backbone, UpliftUpsampleTransformer):
            self._sparse = KeyFrameLifter(self.model, self.window, dataset.seq_step, batch_size)
            self._rate = float(dataset.get('fps', 50))
            self._stride_given = input_stride is not None
            self.input_stride = int(np.min(dataset.input_strides) if input_stride is None else
                                    input_stride)
            check_strides(self.input_stride, dataset.seq_step)
        elif input_stride is not None:
            raise ValueError(f'input_stride: model {self.name!r} needs 2D keypoints at every '
                             'frame; leave it out')
        if weights is not None:
            load_weights(self.model, str(weights))
        _fold_batch_norm(self.model.eval())
        try:
            self.model.to(device or get_device(), PRECISIONS[precision])
        except RuntimeError as error:
            raise ValueError(f'device {device!r}: {str(error).splitlines()[0]}') from error

    def __call__(self, keypoints: Union[str, Path, np.ndarray],
                 image_size: Optional[Tuple[int, int]] = None, skeleton: Optional[str] = None,
                 fps: Optional[float] = None, out_file: Optional[Union[str, Path]] = None,
                 key_frames: Optional[np.ndarray] = None) -> dict:
        """Lift one person through one clip of any length.

        The clip is cut into windows of the model's length, the last one aligned to its end; frames
        that two windows cover are taken from the one where they have more context. A clip shorter
        than a window is padded with its last frame. A model that sees key-frames only lifts one
        window around every s_out-th frame and interpolates the frames between.

        Args:
            keypoints: (T, K, 2) pixels or (T, K, 3) with a score, or a file (see
                :func:`~mmpose_lift.io.keypoint_sequence.read_keypoint_sequence`).
            image_size: (width, height) in pixels. Defaults to what the file says.
            skeleton: Joint order of ``keypoints``, for example 'h36m' or 'coco'. Defaults to what
                the file says, else the model's.
            fps: Frames per second, carried into the result. Defaults to what the file says. A
                model that sees key-frames only wants a multiple of its own rate, 50 for
                Human3.6M's; None takes the clip as recorded at that rate.
            out_file: Write the result to this .npz or .json file.
            key_frames: (T,) bool, for models that see key-frames only: the frames that have 2D
                keypoints. Defaults to every ``input_stride``-th one, or, where that was not given
                and some frames hold nothing but NaN, to all other frames. Frames that are not
                key-frames may hold NaN; in the result they are interpolated.

        Returns:
            dict with ``keypoints_3d`` (T, K, 3) float32 and ``keypoints_2d`` (T, K, 2 or 3),
            pixels and score, in the model's joint order ``joint_names``, and what they mean:
            ``units``, ``frame``, ``parents``, ``skeleton``, ``fps``, ``image_size``, ``model``,
            ``version``; also ``key_frames``, their numbers, from a model that sees only these.

        Raises:
            MissingWeightsError: The model has no trained weights.
            ValueError: Wrong joint count or shape, a joint order that lacks joints of the model's,
                no image size, NaN, an empty clip, a frame rate that the model cannot take, or
                key-frames where it has none.
        """
        if not self._runs:
            raise MissingWeightsError(missing_weights_message(self.name))
        where = 'keypoints'
        if isinstance(keypoints, (str, Path)):
            where = f'keypoint file {keypoints}'
            clip = read_keypoint_sequence(keypoints)
            keypoints = clip.keypoints
            image_size, fps = image_size or clip.image_size, fps or clip.fps
            skeleton = skeleton or clip.skeleton
            if clip.needs_skeleton and skeleton is None:
                raise ValueError(f'{where}: the file does not say in which order its joints are; '
                                 "name it: skeleton='coco' or 'h36m' (--skeleton)")
        skeleton = skeleton or self.skeleton.name
        image_size = _check_image_size(image_size, where)
        if fps is not None and not (isinstance(fps, (int, float)) and 0 < fps < np.inf):
            raise ValueError(f'fps: expected a positive number, found {fps!r}')
        chosen = None
        if self._sparse is not None:
            keypoints, chosen = self._key_frames(keypoints, key_frames, fps, where)
        elif key_frames is not None:
            raise ValueError(f'key_frames: model {self.name!r} needs 2D keypoints at every frame; '
                             'leave it out')
        keypoints = check_keypoints(keypoints, skeleton, where)
        keypoints = convert_keypoints(keypoints, skeleton, self.skeleton.name,
                                      has_score=keypoints.shape[-1] == 3)
        lifted = dict(
            keypoints_3d=(self.lift(keypoints, image_size) if chosen is None else
                          self._lift_sparse(keypoints, image_size, chosen, fps)),
            keypoints_2d=keypoints,
            joint_names=list(self.skeleton.joint_names),
            parents=list(self.skeleton.parents),
            skeleton=self.skeleton.name,
            units='metre',
            frame='camera axes (x right, y down, z forward), relative to the root joint',
            fps=fps,
            image_size=list(image_size),
            model=self.name,
            version=f'mmpose_lift {__version__}')
        if chosen is not None:
            lifted['key_frames'] = np.flatnonzero(chosen).tolist()
        if out_file is not None:
            write_lifted_sequence(out_file, lifted)
        return lifted

    def _rate_factor(self, fps: Optional[float]) -> int:
        factor = 1 if fps is None else round(fps / self._rate)
        if fps is not None and (factor < 1 or abs(fps - factor * self._rate) > 1e-3 * self._rate):
            raise ValueError(f'fps: model {self.name!r} takes multiples of {self._rate:g} frames '
                             f'per second, found {fps:g}; resample the keypoints, or give '
                             f'fps={self._rate:g} (--fps {self._rate:g}) to lift them as they are')
        return factor

    def _key_frames(self, keypoints: np.ndarray, key_frames, fps: Optional[float], where: str):
        """The clip with frames that have no 2D pose interpolated, and the key-frames (T,)."""
        keypoints = np.asarray(keypoints)
        frames = len(np.atleast_1d(keypoints))
        missing = np.zeros(frames, bool)
        if keypoints.ndim == 3 and keypoints.dtype.kind == 'f':
            missing = np.isnan(keypoints[..., :2]).all(axis=(1, 2))
        if key_frames is not None:
            chosen = np.asarray(key_frames)
            if chosen.shape != (frames, ) or chosen.dtype != bool or not chosen.any():
                raise ValueError(f'key_frames: expected {frames} flags (bool), one for each frame '
                                 f'and at least one of them set, found {chosen.dtype} '
                                 f'{chosen.shape} with {int(np.count_nonzero(chosen))} set')
        elif missing.any() and not missing.all() and not self._stride_given:
            chosen = ~missing
        else:
            chosen = np.arange(frames) % (self.input_stride * self._rate_factor(fps)) == 0
        if key_frames is not None or missing.any():
            kept = np.flatnonzero(chosen)
            bad = kept[~np.isfinite(keypoints[kept]).reshape(len(kept), -1).all(axis=1)]
            if len(bad):
                raise ValueError(f'{where}: {len(bad)} of {len(kept)} key-frames hold NaN or '
                                 f'infinite values (first: frame {bad[0]}); detect 2D keypoints '
                                 'there, or leave these frames out of key_frames')
            keypoints = fill_between(keypoints[kept].astype(np.float32), kept, frames)
        return keypoints, chosen

    def _lift_sparse(self, keypoints: np.ndarray, image_size: Tuple[int, int], chosen: np.ndarray,
                     fps: Optional[float]) -> np.ndarray:
        rate = self._rate_factor(fps)
        regular = np.arange(len(chosen)) % (self.input_stride * rate) == 0
        key_frames = self.input_stride if np.array_equal(chosen, regular) else chosen
        return self._sparse.lift(keypoints[..., :2], image_size, key_frames, rate)

    @torch.inference_mode()
    def lift(self, keypoints: np.ndarray, image_size: Tuple[int, int]) -> np.ndarray:
        """(T, K, 2 or 3) pixels (and score) in the model's joint order to (T, K, 3) metres."""
        if self._sparse is not None:
            return self._lift_sparse(keypoints, image_size,
                                     np.arange(len(keypoints)) % self.input_stride == 0, None)
        frames, window = len(keypoints), self.window
        score = keypoints[..., 2] if keypoints.shape[-1] == 3 else None
        labels = self.model.head.decoder.encode(
            keypoints[..., :2], score,
            camera_param=dict(w=image_size[0], h=image_size[1]))['keypoint_labels']
        starts, counted = evaluation_windows(frames, window, 'unique')
        index = window_frames(starts, window, np.full(len(starts), frames))
        lifted = np.empty(keypoints.shape[:-1] + (3, ), np.float32)
        device = next(self.model.parameters()).device
        for first in range(0, len(starts), self._per_pass):
            rows = slice(first, first + self._per_pass)
            inputs = torch.from_numpy(labels[index[rows]]).to(device)
            samples = self.model.predict(inputs, None)
            for sample, at, (a, b) in zip(samples, index[rows], counted[rows]):
                lifted[at[a:b]] = np.asarray(sample.pred_instances.keypoints)[a:b]
        if not np.isfinite(lifted).all():
            raise ValueError(f'model {self.name!r} gives NaN or infinite joints for this clip; are '
                             'the keypoints pixels of an image of the given size?')
        return lifted


def _fold_batch_norm(model: SequencePoseLifter) -> None:
    """Fold the batch norms of AMPose's graph blocks, in the designs where they follow a linear map.

    The other designs keep theirs, if they have any, and other backbones have none.
    """
    backbone = model.backbone
    if isinstance(backbone, AMPose) and all(
            isinstance(block, GraphBlock) and isinstance(block.norm1, nn.BatchNorm1d)
            for block in backbone.gcn_blocks):
        backbone.fold_batch_norm()


def _one_of(weights: Optional[str], pose3d_weights: Optional[str]) -> Optional[str]:
    if weights is not None and pose3d_weights is not None:
        raise ValueError('weights and pose3d_weights are two names of one argument; give one')
    return weights if weights is not None else pose3d_weights


def _check_image_size(image_size, where: str) -> Tuple[int, int]:
    try:
        width, height = (int(x) for x in image_size)
    except (TypeError, ValueError):
        width = height = 0
    if min(width, height) <= 0:
        raise ValueError(f'{where}: the image size (width, height) in pixels is needed to '
                         f'normalise 2D keypoints, found {image_size!r}')
    return width, height


class MMPoseInferencer(_MMPoseInferencer):
    """MMPose's inferencer, whose ``pose3d`` is also an alias, a config file or a config of ours.

    Args:
        pose2d, pose2d_weights, pose3d, pose3d_weights: As in MMPose.
        *args: Further arguments in MMPose's order.
        weights: The same as ``pose3d_weights``.
        allow_random_weights: Run a 3D model that has no trained weights.
        **kwargs: As in MMPose.

    Raises:
        ValueError: Unknown model, or a checkpoint of another model.

    A 3D model of this package without weights constructs, and the first call raises
    :class:`MissingWeightsError`.
    """

    def __init__(self, pose2d=None, pose2d_weights: Optional[str] = None,
                 pose3d: Optional[Union[str, Path, Config]] = None,
                 pose3d_weights: Optional[str] = None, *args, weights: Optional[str] = None,
                 allow_random_weights: bool = False, **kwargs):
        self._refusal = None
        pose3d_weights = _one_of(weights, pose3d_weights)
        pose3d = str(pose3d) if isinstance(pose3d, Path) else pose3d
        super().__init__(pose2d, pose2d_weights, pose3d, pose3d_weights, *args, **kwargs)
        if pose3d is None:
            return
        named = isinstance(pose3d, str) and not osp.isfile(pose3d)
        entry = find_model(pose3d) if named else None
        if pose3d_weights is not None:
            load_weights(self.inferencer.model, pose3d_weights)
        elif not allow_random_weights and not (named and (entry is None or entry.get('Weights'))):
            self._refusal = missing_weights_message(pose3d if named else 'given as a config')

    def __call__(self, *args, **kwargs) -> Iterator[dict]:
        """As :class:`mmpose.apis.MMPoseInferencer`; a generator of one dict per image or frame."""
        if self._refusal is not None:
            raise MissingWeightsError(self._refusal)
        return super().__call__(*args, **kwargs)
