"""Lift whole clips of any length and frame rate: model, weights, windows, stitching, resampling."""

import os.path as osp
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import Tensor, nn

from ..compat.model_index import find_model, lifting_aliases, mesh_aliases
from ..datasets.key_frames import check_strides
from ..datasets.windows import check_overlap, cross_fade_windows, window_frames
from ..evaluation.key_frames import fill_between
from ..io.keypoint_sequence import check_keypoints
from ..models import SequencePoseLifter
from ..models.backbones import UpliftUpsampleTransformer
from ..models.backbones.ampose import AMPose, GraphBlock
from ..models.heads.lifting_head import mirror_poses
from .adaptive_stride import AdaptiveInputStride
from .command_line import load_config, load_weights
from .key_frame_lifting import KeyFrameLifter
from .onnx_backend import OnnxKeyFrameLifter, OnnxNetwork
from .resampling import (
    check_fps,
    even_rate,
    frame_times,
    from_model_grid,
    interpolate,
    model_grid,
    nearest_frames,
    nearest_tokens,
    rate_factor,
)

PRECISIONS = dict(float32=torch.float32, bfloat16=torch.bfloat16)
BACKENDS = ('torch', 'onnx')
# A window of a single frame is little work: so many of them count as one of `batch_size`.
SINGLE_FRAMES_PER_WINDOW = 32
# Of the data sets whose stores do not name a rate in the config; others have Human3.6M's 50.
FRAME_RATES = dict(humaneva=60.)
DEFAULT_FRAME_RATE = 50.

ImageSize = Tuple[int, int]


class MissingWeightsError(RuntimeError):
    """A model is used that has no trained weights."""


def missing_weights_message(model: str) -> str:
    return (f'model {model!r} has no published weights that can be fetched, so its output would be '
            'noise. Give weights= (pose3d_weights=): train them (tools/train.py CONFIG, see the '
            "README), or convert the authors' file (tools/convert_checkpoint.py). To run it with "
            'random weights all the same, for example to test the plumbing, give '
            'allow_random_weights=True')


def choose_backend(backend: Optional[str], weights: Optional[str], device: Optional[str],
                   precision: str) -> str:
    """The backend asked for, or the one of the weights: 'onnx' for .onnx files, else 'torch'.

    Raises:
        ValueError: No such backend, or weights, device or precision that it does not take.
    """
    exported = str(weights).lower().endswith('.onnx')
    backend = backend or ('onnx' if exported else 'torch')
    if backend not in BACKENDS:
        raise ValueError(f'backend: expected one of {BACKENDS}, found {backend!r}')
    if exported != (backend == 'onnx'):
        wanted = ('an .onnx file; write it with tools/export_onnx.py' if backend == 'onnx' else
                  "a checkpoint; .onnx files are for backend 'onnx'")
        raise ValueError(f'weights: backend {backend!r} needs {wanted}; found {weights!r}')
    if backend == 'onnx' and (device not in (None, 'cpu') or precision != 'float32'):
        raise ValueError("backend 'onnx' runs on the CPU in float32; leave device and precision "
                         f'out, found device {device!r} and precision {precision!r}')
    return backend


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
        raise ValueError(f'model {str(model)!r} is neither a config file nor a known alias; '
                         f'aliases: {", ".join(lifting_aliases() + mesh_aliases())}')
    return load_config(entry['Config']), entry.get('Weights'), str(model)


class ClipLifter:
    """A lifting model with its weights, for clips of one or several people.

    Models of windows lift overlapping windows that are cross-faded, models of single frames big
    batches, and models that see key-frames only (Uplift and Upsample) a window around every
    s_out-th frame, see :class:`KeyFrameLifter`. Windows of several people share forward passes.

    Args:
        pose3d: Alias ('mixste_h36m'), config file, or config.
        weights: Checkpoint file or address, or an .onnx file that ``tools/export_onnx.py`` wrote.
            Defaults to the published weights, where there are any.
        device: 'cpu', 'cuda', ... Defaults to the best there is.
        flip_test: Average with the mirrored input. Defaults to what the config says.
        batch_size: Windows per forward pass; 32 times as many where a window is a single frame.
        allow_random_weights: Run without trained weights.
        input_stride: Frames between key-frames at the model's frame rate, for models that see
            key-frames only. Defaults to the smallest that the config tests.
        precision: 'float32', or 'bfloat16' for about half the time on CPUs and GPUs that have it;
            what that costs in accuracy is in the README of the model's configs.
        overlap: Share of a window that its neighbour shows too, 0 or more and below 1. Half of it
            takes twice the time of 0, where windows follow each other.
        backend: 'torch', or 'onnx' for ONNX Runtime on the CPU in float32; ``weights`` are an .onnx
            file then. Defaults to what the name of the weights says.

    Attributes:
        name: Alias or name of the config.
        model: The network; with backend 'onnx' without its weights (they are on device 'meta').
        skeleton: Its joints.
        window: Frames (tokens) that it sees at once.
        fps: Frame rate at which it was trained; None for models of single frames. It is the
            config's ``test_dataloader.dataset.fps`` over the step between frames of a window; where
            the config has none, 60 for HumanEva's joints and 50 for others.
        sparse: Whether it sees key-frames only.
        input_stride, output_stride: Frames between key-frames and between lifted frames, at
            ``fps``; 1 for models that see all frames.
        slow_stride: The largest input stride that the config tests, for adaptive key-frames.
        key_frame_lifter: The :class:`KeyFrameLifter` of a model that sees key-frames only.
        random_weights: Whether it has no weights.
        runs: Whether it has weights, or is meant to run without.
        backend: 'torch' or 'onnx'.

    Raises:
        ValueError: Unknown model, precision or backend, a skeleton of other joints than the head's,
            a model that needs more than keypoints, a checkpoint of another model, an input stride
            for a model without key-frames, or weights, precision or device that do not go with
            the backend.
        FileNotFoundError: No such checkpoint.
        ImportError: Backend 'onnx' without the package onnxruntime.

    Without weights the object constructs, and lifting raises :class:`MissingWeightsError`.
    """

    def __init__(self, pose3d: Union[str, Path, Config] = 'mixste_h36m',
                 weights: Optional[str] = None, device: Optional[str] = None,
                 flip_test: Optional[bool] = None, batch_size: int = 16,
                 allow_random_weights: bool = False, input_stride: Optional[int] = None,
                 precision: str = 'float32', overlap: float = 0.5,
                 backend: Optional[str] = None) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size: expected at least 1, found {batch_size}')
        if precision not in PRECISIONS:
            raise ValueError(f'precision: expected one of {tuple(PRECISIONS)}, found {precision!r}')
        check_overlap(overlap)
        init_default_scope('mmpose')
        config, published, self.name = resolve_model(pose3d)
        weights = weights or published
        self.backend = choose_backend(backend, weights, device, precision)
        self.batch_size, self.overlap = batch_size, overlap
        self.random_weights = weights is None
        self.runs = weights is not None or allow_random_weights
        self.model = self._build(config.model)
        self.skeleton = self.model.skeleton
        if flip_test is not None:
            self.model.test_cfg['flip_test'] = flip_test
        self._set_rates(config.test_dataloader.dataset, input_stride)
        self._onnx: Optional[OnnxNetwork] = None
        if self.backend == 'onnx':
            self._use_onnx(str(weights))
            return
        if weights is not None:
            load_weights(self.model, str(weights))
        _fold_batch_norm(self.model.eval())
        try:
            self.model.to(device or get_device(), PRECISIONS[precision])
        except RuntimeError as error:
            raise ValueError(f'device {device!r}: {str(error).splitlines()[0]}') from error

    def _build(self, config: dict) -> SequencePoseLifter:
        model = MODELS.build(config)
        if not isinstance(model, SequencePoseLifter):
            raise ValueError(f'model {self.name!r} is a {type(model).__name__}, and clips are '
                             'lifted with a SequencePoseLifter; use MMPoseInferencer for others')
        if type(model).predict_instances is not SequencePoseLifter.predict_instances:
            raise ValueError(f'model {self.name!r} is a {type(model).__name__}, which needs more '
                             'than 2D keypoints (the camera); give its first stage')
        if model.head.num_keypoints != model.skeleton.num_joints:
            raise ValueError(f'model {self.name!r}: its skeleton {model.skeleton.name!r} has '
                             f'{model.skeleton.num_joints} joints, but its head gives '
                             f'{model.head.num_keypoints}; set model.skeleton in the config')
        return model

    def _set_rates(self, dataset: dict, input_stride: Optional[int]) -> None:
        """Window, frame rate and strides from the config's test data set."""
        self.window = int(dataset['seq_len'])
        self.sparse = isinstance(self.model.backbone, UpliftUpsampleTransformer)
        self.input_stride = self.output_stride = self.slow_stride = 1
        rate = float(dataset.get('fps') or FRAME_RATES.get(self.skeleton.name, DEFAULT_FRAME_RATE))
        step = int(dataset.get('seq_step', 1))
        self.fps: Optional[float] = None
        if self.sparse:
            self.fps, self.output_stride = rate, step
            tested = np.atleast_1d(dataset['input_strides'])
            self.input_stride = int(tested.min() if input_stride is None else input_stride)
            self.slow_stride = int(tested.max())
            check_strides(self.input_stride, step)
            self.key_frame_lifter = KeyFrameLifter(self.model, self.window, step, self.batch_size)
        elif input_stride is not None:
            raise ValueError(f'input_stride: model {self.name!r} needs 2D keypoints at every '
                             'frame; leave it out')
        elif self.window > 1:
            self.fps = rate / step

    def _use_onnx(self, path: str) -> None:
        self._onnx = OnnxNetwork(path, self)
        self.model.eval().to('meta')  # no memory, and whoever would run it gets an error
        if self.sparse:
            self.key_frame_lifter = OnnxKeyFrameLifter(
                self._onnx, self.model, self.window, self.output_stride, self.batch_size)

    def check_runs(self) -> None:
        """Raise MissingWeightsError where the model has no weights."""
        if not self.runs:
            raise MissingWeightsError(missing_weights_message(self.name))

    @torch.inference_mode()
    def forward(self, inputs: Tensor) -> np.ndarray:
        """Run the network, flip test included, on windows.

        Args:
            inputs: (B, T, J, C) screen-normalised keypoints as the model wants them.

        Returns:
            (B, T, J, 3) float32 root-relative metres; T is 1 for models that see key-frames only
            (whose clips :class:`KeyFrameLifter` lifts faster: it shares tokens between windows).
        """
        model, mirrored = self.model, list(self.skeleton.flip_indices)
        poses = self._network(inputs)
        if model.test_cfg.get('flip_test', False):
            found = self._network(mirror_poses(inputs, mirrored))
            poses = (poses + mirror_poses(found, mirrored)) * 0.5
        poses = model.head.decode(poses)[0]
        if model.test_cfg.get('zero_root', False):
            poses[..., self.skeleton.root_index, :] = 0
        return poses

    def _network(self, inputs: Tensor) -> Tensor:
        """(B, T, J, C) to poses (B, T, J, 3) as the head gives them, on either backend."""
        if self._onnx is not None:
            return self._onnx(inputs)
        inputs = inputs.to(next(self.model.parameters()).device)
        return self.model.head.lift(self.model.extract_feat(inputs))

    def lift(self, keypoints: np.ndarray, image_size: ImageSize,
             key_frames: Optional[np.ndarray] = None) -> np.ndarray:
        """:meth:`lift_people` for one person: (T, J, 2 or 3) to (T, J, 3)."""
        masks = None if key_frames is None else [key_frames]
        return self.lift_people([keypoints], image_size, masks)[0]

    def lift_people(self, people: Sequence[np.ndarray], image_size: ImageSize,
                    key_frames: Optional[Sequence[np.ndarray]] = None) -> List[np.ndarray]:
        """Lift people over clips at the model's frame rate.

        Args:
            people: (T_i, J, 2) pixels or (T_i, J, 3) with a score, in the model's joint order.
            image_size: (width, height) in pixels.
            key_frames: For models that see key-frames only, (T_i,) bool: the frames whose keypoints
                are read, multiples of ``output_stride``. Defaults to every ``input_stride``-th one.

        Returns:
            For each person (T_i, J, 3) float32 metres, camera axes, relative to the root.

        Raises:
            MissingWeightsError: The model has no trained weights.
            ValueError: Wrong shapes, no frames, NaN, poses that are not finite, or key-frames for
                a model without, of a wrong shape, off the output grid, or none.
        """
        self.check_runs()
        if not self.sparse:
            if key_frames is not None:
                raise ValueError(f'key_frames: model {self.name!r} needs 2D keypoints at every '
                                 'frame; leave it out')
            return self._lift_windows(people, image_size)
        if key_frames is None:
            key_frames = [np.arange(len(k)) % self.input_stride == 0 for k in people]
        return self._lift_key_frames([_KeyFrames(np.asarray(k), np.asarray(mask)) for k, mask in
                                      _pairs(people, key_frames, 'key_frames')], image_size)

    def lift_at(self, keypoints: np.ndarray, image_size: ImageSize,
                times: Optional[np.ndarray] = None, fps: Optional[float] = None,
                known: Optional[np.ndarray] = None) -> np.ndarray:
        """:meth:`lift_people_at` for one person: (T, J, 2 or 3) to (T, J, 3)."""
        return self.lift_people_at([keypoints], image_size, None if times is None else [times], fps,
                                   None if known is None else [known])[0]

    def lift_people_at(self, people: Sequence[np.ndarray], image_size: ImageSize,
                       times: Optional[Sequence[np.ndarray]] = None, fps: Optional[float] = None,
                       known: Optional[Sequence[np.ndarray]] = None,
                       slow_stride: Optional[int] = None) -> List[np.ndarray]:
        """Lift people over clips of any frame rate, also of frames at uneven times.

        Models of single frames take all frames as they are. For others the keypoints are
        interpolated to the model's frame rate, and the lifted poses to the times of the frames;
        rates within 0.1 % of the model's count as equal. A model that sees key-frames only is used
        with longer strides at a multiple of its rate; at another rate each key-frame becomes the
        token nearest in time, at most half a frame away if it is one of
        :meth:`key_frame_numbers`.

        Args:
            people: (T_i, J, 2) pixels or (T_i, J, 3) with a score, in the model's joint order.
            image_size: (width, height) in pixels.
            times: (T_i,) ascending seconds of each person's frames.
            fps: Their rate, where they are evenly spaced.
            known: (T_i,) bool, the frames with keypoints to read. Other frames may hold anything; a
                model that needs them gets interpolated ones. Defaults to all frames, and to
                :meth:`key_frame_numbers` for models that see key-frames only.
            slow_stride: For key-frames that are close around fast motion and this many frames (at
                the model's rate) apart elsewhere, :meth:`adaptive_key_frames`: elsewhere poses are
                lifted from the widely spaced key-frames alone, as :func:`lift_adaptively` does.

        Returns:
            For each person (T_i, J, 3) float32 metres, camera axes, relative to the root.

        Raises:
            MissingWeightsError, ValueError: As for :meth:`lift_people`; also no rate and no times,
                times that do not ascend, or too few frames for a model of windows.
        """
        self.check_runs()
        if known is not None:
            known = [check_mask(mask, len(k), 'known')
                     for k, mask in _pairs(people, known, 'known')]
        if times is not None:
            times = [t for _, t in _pairs(people, times, 'times')]
        clocks = [frame_times(len(k), fps, None if times is None else times[i])
                  for i, k in enumerate(people)]
        if self.sparse:
            rate = fps if times is None else None
            return self._lift_sparse_at(people, image_size, clocks, rate, known, slow_stride)
        if known is not None:
            people = [interpolate(np.asarray(k, np.float32)[mask], clock[mask], clock)
                      for k, clock, mask in zip(people, clocks, known)]
        people = [check_keypoints(k, self.skeleton.name) for k in people]
        grids = [self._grid(clock, fps if times is None else even_rate(clock)) for clock in clocks]
        lifted = self._lift_windows([k if grid is None else interpolate(k, clock, grid)
                                     for k, clock, grid in zip(people, clocks, grids)], image_size)
        return [poses if grid is None else from_model_grid(poses, grid, clock)
                for poses, clock, grid in zip(lifted, clocks, grids)]

    def _grid(self, clock: np.ndarray, fps: Optional[float]) -> Optional[np.ndarray]:
        """Times at the model's rate, or None where the frames are taken as they are."""
        if self.fps is None or len(clock) < 2:
            return None
        if fps is not None and rate_factor(fps, self.fps) == 1:
            return None
        return model_grid(clock, self.fps)

    def key_frame_numbers(self, num_frames: int, fps: Optional[float] = None,
                          stride: Optional[int] = None) -> np.ndarray:
        """Frames of a video whose 2D keypoints are needed.

        Args:
            num_frames: F, frames of the video. Those of a longer one start with the same.
            fps: Its frame rate. None: that of the model.
            stride: Frames between key-frames at the model's rate, a multiple of ``output_stride``.
                Defaults to ``input_stride``.

        Returns:
            (n,) ascending frame numbers: all, or for models that see key-frames only those nearest
            to the times 0, stride / rate, 2 stride / rate, ...
        """
        if not self.sparse:
            return np.arange(num_frames)
        stride = self.input_stride if stride is None else stride
        check_strides(stride, self.output_stride)
        apart = stride * self._frames_per_model_frame(fps)
        return nearest_frames(np.arange(0, num_frames, apart), num_frames)

    def usable_key_frames(self, known: np.ndarray, fps: Optional[float] = None) -> np.ndarray:
        """Which frames with keypoints a model that sees key-frames only can read.

        Args:
            known: (T,) bool, frames with keypoints.
            fps: Their frame rate. None: that of the model.

        Returns:
            (T,) bool. At a multiple of the model's rate the same; at other rates, where several
            frames are nearest to the same token, only the closest of them.

        Raises:
            ValueError: Wrong shape, no frame, or, at a multiple of the model's rate, a frame that
                is no multiple of the output stride.
        """
        known = check_mask(known, len(known), 'key_frames')
        factor = 1 if fps is None else rate_factor(check_fps(fps), self.fps)
        if factor is None:
            clock = frame_times(len(known), fps)
            usable = np.zeros(len(known), bool)
            usable[nearest_tokens(clock, known, self.output_stride / self.fps)[0]] = True
            return usable
        step = self.output_stride * factor
        off = np.flatnonzero(known)[np.flatnonzero(known) % step != 0]
        if len(off):
            raise ValueError(f'key_frames: frame {off[0]} lies off the output grid; key-frames '
                             f'must be multiples of {step} frames')
        return known

    def adaptive_key_frames(self, people: Sequence[Tuple[int, np.ndarray]], num_frames: int,
                            fps: Optional[float] = None,
                            policy: Optional[AdaptiveInputStride] = None) -> np.ndarray:
        """Frames of a video whose 2D keypoints are needed, more of them where somebody moves fast.

        Args:
            people: First frame in the video and (n, J, 3) poses in metres of each person, lifted
                with the slow stride.
            num_frames: F, frames of the video.
            fps: Its frame rate. None: that of the model.
            policy: What fast motion is; in frames at the model's rate. By default key-frames are
                ``slow_stride`` apart, and ``input_stride`` where people move fast.

        Returns:
            (n,) ascending frame numbers, those of ``key_frame_numbers(F, fps, policy.slow)`` among
            them.

        Raises:
            ValueError: The model needs every frame, or a policy of another output stride.
        """
        if not self.sparse:
            raise ValueError(f'model {self.name!r} needs 2D keypoints at every frame; adaptive '
                             'key-frames are for models that see key-frames only')
        policy = policy or AdaptiveInputStride(
            self.slow_stride, self.input_stride, fps=self.fps, output_stride=self.output_stride,
            root_index=self.skeleton.root_index)
        if policy.output_stride != self.output_stride:
            raise ValueError(f'policy: expected output stride {self.output_stride} as the model '
                             f'has, found {policy.output_stride}')
        ratio = self._frames_per_model_frame(fps)
        positions = np.arange(0, num_frames, ratio)  # model frames, in frames of the video
        chosen = np.arange(len(positions)) % policy.slow == 0
        for first, poses in people:  # standing still before they come and after they leave
            poses = interpolate(poses, np.arange(first, first + len(poses)),
                                positions[::policy.output_stride])
            chosen |= policy.select_offline(poses, len(positions))
        return nearest_frames(positions[chosen], num_frames)

    def _frames_per_model_frame(self, fps: Optional[float]) -> Union[int, float]:
        if fps is None:
            return 1
        return rate_factor(check_fps(fps), self.fps) or fps / self.fps

    def _lift_windows(self, people: Sequence[np.ndarray],
                      image_size: ImageSize) -> List[np.ndarray]:
        labels, index, plans, row = [], [], [], 0
        for keypoints in people:
            keypoints = check_keypoints(keypoints, self.skeleton.name)
            labels.append(self.normalise(keypoints, image_size))
            starts, weights = cross_fade_windows(len(keypoints), self.window, self.overlap)
            index.append(row + window_frames(starts, self.window, len(keypoints)))
            plans.append((starts, weights))
            row += len(keypoints)
        if not people:
            return []
        poses = self._forward_windows(np.concatenate(labels), np.concatenate(index))
        ends = np.cumsum([len(starts) for starts, _ in plans])[:-1]
        return [stitch_windows(part, starts, weights, len(keypoints)) for part, (starts, weights),
                keypoints in zip(np.split(poses, ends), plans, people)]

    def normalise(self, keypoints: np.ndarray, image_size: ImageSize) -> np.ndarray:
        """(T, J, 2 or 3) pixels to the (T, J, C) that the network sees."""
        score = keypoints[..., 2] if keypoints.shape[-1] == 3 else None
        return self.model.head.decoder.encode(
            keypoints[..., :2], score,
            camera_param=dict(w=image_size[0], h=image_size[1]))['keypoint_labels']

    def _forward_windows(self, labels: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(N, J, C) frames and (n, T) rows of them to (n, T, J, 3) poses."""
        per_pass = self.batch_size * (SINGLE_FRAMES_PER_WINDOW if self.window == 1 else 1)
        # one array from the start: small results between large buffers would fragment memory
        poses = np.empty(index.shape + (self.skeleton.num_joints, 3), np.float32)
        for i in range(0, len(index), per_pass):
            rows = slice(i, i + per_pass)
            poses[rows] = self.forward(torch.from_numpy(labels[index[rows]]))
        self.check_finite(poses)
        return poses

    def check_finite(self, poses: np.ndarray) -> None:
        """Raise a ValueError where lifted poses, of any shape, hold NaN or infinite values."""
        if not np.isfinite(poses).all():
            raise ValueError(f'model {self.name!r} gives NaN or infinite joints for this clip; are '
                             'the keypoints pixels of an image of the given size?')

    def _lift_sparse_at(self, people: Sequence[np.ndarray], image_size: ImageSize,
                        clocks: Sequence[np.ndarray], fps: Optional[float],
                        known: Optional[Sequence[np.ndarray]],
                        slow_stride: Optional[int]) -> List[np.ndarray]:
        """As :meth:`lift_people_at`; ``fps`` is None where the times are uneven."""
        clips, grids = [], []
        for i, (keypoints, clock) in enumerate(zip(people, clocks)):
            keypoints = np.asarray(keypoints)
            rate = even_rate(clock) if fps is None else fps
            factor = None if rate is None else rate_factor(rate, self.fps)
            mask = self._default_mask(clock, rate) if known is None else known[i]
            on_grid = factor and not (np.flatnonzero(mask) % (self.output_stride * factor)).any()
            clips.append(_KeyFrames(keypoints, mask, factor) if on_grid else
                         self._on_tokens(keypoints, mask, clock))
            grids.append(None if on_grid else np.arange(len(clips[-1].mask)) / self.fps)
        lifted = self._lift_mixed(clips, image_size, slow_stride)
        return [poses if grid is None else interpolate(poses, grid, clock)
                for poses, grid, clock in zip(lifted, grids, clocks)]

    def _default_mask(self, clock: np.ndarray, fps: Optional[float]) -> np.ndarray:
        """(T,) bool, the frames nearest to every input stride; ``fps`` is None for uneven times."""
        mask = np.zeros(len(clock), bool)
        if fps is not None:
            mask[self.key_frame_numbers(len(clock), fps)] = True
        else:
            apart = self.input_stride / self.fps
            wanted = np.arange(0, clock[-1] + 1e-6 * apart, apart)
            mask[np.searchsorted((clock[1:] + clock[:-1]) / 2, wanted, 'right')] = True
        return mask

    def _on_tokens(self, keypoints: np.ndarray, mask: np.ndarray,
                   clock: np.ndarray) -> '_KeyFrames':
        """A clip at the model's rate, with each key-frame on the token nearest in time."""
        frames, tokens = nearest_tokens(clock, mask, self.output_stride / self.fps)
        at = tokens * self.output_stride
        count = max(len(model_grid(clock, self.fps)), at[-1] + 1)
        on_grid = np.full((count, *keypoints.shape[1:]), np.nan, np.float32)
        on_grid[at] = keypoints[frames]
        chosen = np.zeros(count, bool)
        chosen[at] = True
        return _KeyFrames(on_grid, chosen)

    def _lift_mixed(self, clips: Sequence['_KeyFrames'], image_size: ImageSize,
                    slow_stride: Optional[int]) -> List[np.ndarray]:
        """Lift clips whose key-frames may be close in some parts and ``slow_stride`` elsewhere."""
        parts = [clip.slow_part(slow_stride) for clip in clips]
        found = self._lift_key_frames(
            [*clips, *(part[0] for part in parts if part is not None)], image_size)
        slow = iter(found[len(clips):])
        return [poses if part is None else np.where(part[1][:, None, None], next(slow), poses)
                for poses, part in zip(found, parts)]

    @torch.inference_mode()
    def _lift_key_frames(self, clips: Sequence['_KeyFrames'],
                         image_size: ImageSize) -> List[np.ndarray]:
        if not clips:
            return []
        tables, rows, seen, first = [], [], [], 0
        for keypoints, mask, rate in clips:
            joints = self.skeleton.num_joints
            if keypoints.ndim != 3 or keypoints.shape[1] != joints or keypoints.shape[2] not in (
                    2, 3) or not len(keypoints):
                raise ValueError(f'keypoints: expected at least one frame of shape (T, {joints}, 2 '
                                 f'or 3), found {keypoints.shape}')
            check_mask(mask, len(keypoints), 'key_frames')
            clip = self.key_frame_lifter.start(image_size, rate)
            frames = np.flatnonzero(mask)
            clip.add(frames, keypoints[frames, :, :2])
            stride = self.input_stride * rate
            regular = np.array_equal(mask, np.arange(len(mask)) % stride == 0)
            grid = np.arange(0, len(keypoints), clip.step)
            table, window = clip.windows(grid, len(keypoints), stride if regular else None)
            lifted = (window >= 0).any(axis=1)  # others are too far from any key-frame
            tables.append(table)
            rows.append(np.where(window >= 0, window + first, -1)[lifted])
            seen.append(grid[lifted])
            first += len(frames)
        poses = self.key_frame_lifter.predict_centres(torch.cat(tables, dim=1),
                                                       np.concatenate(rows))
        self.check_finite(poses)
        ends = np.cumsum([len(frames) for frames in seen])[:-1]
        return [fill_between(part, frames, len(clip.keypoints))
                for part, frames, clip in zip(np.split(poses, ends), seen, clips)]


class _KeyFrames(NamedTuple):
    """A clip at ``rate`` times the model's frame rate, of which key-frames are read."""
    keypoints: np.ndarray  # (T, J, 2 or 3)
    mask: np.ndarray  # (T,) bool
    rate: int = 1

    def slow_part(self, slow_stride: Optional[int]
                  ) -> Optional[Tuple['_KeyFrames', np.ndarray]]:
        """The clip with widely spaced key-frames only, and (T,) where these are all there is.

        None where the key-frames are not mixed.
        """
        keys = np.flatnonzero(self.mask)
        if slow_stride is None or len(keys) < 2:
            return None
        slow = slow_stride * self.rate
        gaps = np.diff(keys)
        wide = gaps >= slow
        if wide.all() or not wide.any():
            return None
        frames = np.arange(len(self.mask))
        phase = np.bincount(keys[:-1][wide] % slow).argmax()
        behind = np.append(wide, wide[-1])  # the last key-frame
        place = np.searchsorted(keys, frames, 'right') - 1
        return self._replace(mask=self.mask & (frames % slow == phase)), behind[place.clip(min=0)]


def stitch_windows(poses: np.ndarray, starts: np.ndarray, weights: np.ndarray,
                   num_frames: int) -> np.ndarray:
    """Join the poses of windows, see :func:`~mmpose_lift.datasets.windows.cross_fade_windows`.

    Args:
        poses: (n, T, J, 3).
        starts: (n,) first frames, 0 or more.
        weights: (n, T) that sum to 1 at each frame.
        num_frames: F.

    Returns:
        (F, J, 3) float32.
    """
    if poses.shape[1] == 1:
        return poses[:, 0]
    stitched = np.zeros((num_frames, *poses.shape[2:]), np.float32)
    weighted = poses * weights[..., None, None]
    for window, start in zip(weighted, starts):
        span = stitched[start:start + len(window)]
        span += window[:len(span)]
    return stitched


def check_mask(mask: np.ndarray, num_frames: int, name: str) -> np.ndarray:
    """Flags of ``num_frames`` frames as an array; ValueError where they are none, or all False."""
    mask = np.asarray(mask)
    if mask.shape != (num_frames, ) or mask.dtype != bool or not mask.any():
        raise ValueError(f'{name}: expected {num_frames} flags (bool), one for each frame and at '
                         f'least one of them set, found {mask.dtype} {mask.shape} with '
                         f'{int(np.count_nonzero(mask))} set')
    return mask


def _pairs(people: Sequence, others: Sequence, name: str) -> zip:
    """Pair each person with what is given about them."""
    if len(others) != len(people):
        raise ValueError(f'{name}: expected one array for each of the {len(people)} people, found '
                         f'{len(others)}')
    return zip(people, others)


def _fold_batch_norm(model: SequencePoseLifter) -> None:
    """Fold the batch norms of AMPose's graph blocks, in the designs where they follow a linear map.

    The other designs keep theirs, if they have any, and other backbones have none.
    """
    backbone = model.backbone
    if isinstance(backbone, AMPose) and all(
            isinstance(block, GraphBlock) and isinstance(block.norm1, nn.BatchNorm1d)
            for block in backbone.gcn_blocks):
        backbone.fold_batch_norm()
