"""Inference: 3D poses of people in videos and pictures, and of given 2D keypoint sequences."""

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.config import Config

from ..evaluation.key_frames import fill_between
from ..geometry.skeletons import convert_keypoints
from ..io.frames import FrameSource, open_frames
from ..io.keypoint_sequence import (
    SUFFIXES,
    check_keypoints,
    read_keypoint_sequence,
    write_lifted_sequence,
)
from ..io.video_poses import VideoPoses
from ..version import __version__
from . import post_processing
from .clip_lifter import ClipLifter, check_mask
from .people_2d import PeopleEstimator
from .progress import Stages
from .resampling import check_fps
from .stream import PeopleStream
from .video_inferencer import VideoInferencer

# With a tracker behind it: it makes use of weak boxes, and of both boxes of two people who pass.
VIDEO_BBOX_THR, VIDEO_NMS_THR = 0.1, 0.6


class PoseLiftInferencer:
    """3D poses of the people in a video, or of one person whose 2D keypoints are given.

    * ``inferencer.video('walk.mp4')``: detect, track and lift everybody in a video.
    * ``inferencer.pictures('folder')``: the same for pictures that are no video.
    * ``inferencer.stream(fps=30)``: frames in, poses out, live.
    * ``inferencer(keypoints, image_size)``: lift given 2D keypoints.

    Nothing is carried from one call to the next. A model that sees key-frames only (Uplift and
    Upsample) needs 2D keypoints at every ``input_stride``-th frame and gives all frames, see
    :class:`KeyFrameLifter`; every other model needs them at all frames. Joints come out in the
    model's own order (its ``skeleton``), which is that of Human3.6M for most models here; input in
    other orders is converted, see docs/joints.md.

    Nothing is trained here, so batch norms of AMPose are folded into its weights after loading.

    Args:
        pose3d: Alias ('mixste_h36m'), config file, or config.
        weights: Checkpoint file or address, or an .onnx file of tools/export_onnx.py. Defaults to
            the published weights, where there are any.
        device: 'cpu', 'cuda', ... Defaults to the best there is.
        flip_test: Average with the mirrored input. Defaults to what the config says.
        batch_size: Windows per forward pass; 32 times as many where a window is a single frame.
        allow_random_weights: Run without trained weights.
        pose3d_weights: The same as ``weights``, the name it has in MMPose's inferencer.
        input_stride: Frames between key-frames at the model's frame rate, for models that see
            key-frames only. Defaults to the smallest that the config tests.
        precision: 'float32', or 'bfloat16' for about half the time on CPUs and GPUs that have it;
            what that costs in accuracy is in the README of the model's configs.
        overlap: Share of a window that its neighbour shows too; the two are cross-faded. 0 takes
            half the time of 0.5.
        pose2d, pose2d_weights, det_model, det_weights, det_cat_ids, scope: 2D model and detector,
            see :class:`PeopleEstimator`; built when pictures are to be looked at. ``pose2d`` can
            also be such an object, or one of your own with its methods.
        backend: 'torch' or 'onnx'. Defaults to what the weights are.

    Attributes:
        lifter: The :class:`ClipLifter` behind it.

    Raises:
        ValueError: Unknown model or precision, a skeleton of other joints than the head's, a
            checkpoint of another model, an input stride for a model without key-frames, or an
            overlap that is not in [0, 1).
        FileNotFoundError: No such checkpoint.

    Without weights the inferencer constructs, and the first call raises
    :class:`MissingWeightsError`.
    """

    def __init__(self, pose3d: Union[str, Path, Config] = 'mixste_h36m',
                 weights: Optional[str] = None, device: Optional[str] = None,
                 flip_test: Optional[bool] = None, batch_size: int = 16,
                 allow_random_weights: bool = False, pose3d_weights: Optional[str] = None,
                 input_stride: Optional[int] = None, precision: str = 'float32',
                 overlap: float = 0.5, pose2d: Union[str, PeopleEstimator] = 'human',
                 pose2d_weights: Optional[str] = None, det_model: Optional[str] = None,
                 det_weights: Optional[str] = None, det_cat_ids=0, scope: str = 'mmpose',
                 backend: Optional[str] = None) -> None:
        self._stride_given = input_stride is not None
        self._people = None if isinstance(pose2d, str) else pose2d
        self._arguments_2d = dict(
            pose2d=pose2d, pose2d_weights=pose2d_weights, det_model=det_model,
            det_weights=det_weights, det_cat_ids=det_cat_ids, device=device, scope=scope,
            allow_random_weights=allow_random_weights)
        self.lifter = ClipLifter(pose3d, one_of(weights, pose3d_weights), device, flip_test,
                                 batch_size, allow_random_weights, input_stride, precision, overlap,
                                 backend)
        self.name, self.model = self.lifter.name, self.lifter.model
        self.skeleton = self.lifter.skeleton

    @property
    def people(self) -> PeopleEstimator:
        """Detector and 2D model, built at the first use."""
        if self._people is None:
            self._people = PeopleEstimator(**self._arguments_2d)
        return self._people

    def video(self, source, *, fps: Optional[float] = None,
              bboxes: Optional[Sequence[np.ndarray]] = None, adaptive: bool = False,
              min_score: float = 0.3, min_frames: int = 3, max_gap: float = 1.,
              tracker: Optional[dict] = None, bbox_thr: Optional[float] = None,
              nms_thr: Optional[float] = None, batch_size: Optional[int] = None,
              smooth: Optional[str] = None, height: Union[None, float, dict] = None,
              trajectory: bool = False, focal: Optional[float] = None, ground: bool = False,
              stages: Optional[Stages] = None) -> VideoPoses:
        """Find, track and lift the people of a video, each over the whole time it is seen.

        Args:
            source: Video file; folder, list or array of frames of one video, with ``fps``; or a
                :class:`~mmpose_lift.io.frames.FrameSource`.
            fps: Frames per second; defaults to what the file says.
            bboxes, adaptive: See :meth:`VideoInferencer.video`.
            min_score, min_frames, max_gap, tracker: See :class:`VideoInferencer`.
            bbox_thr: Score from which a box is a person. By default boxes down to 0.1 are looked
                at, and the tracker decides: weak ones continue a track and start none.
            nms_thr: Of two boxes that overlap more (IoU) the weaker one is dropped; 0.6 by default,
                because at MMPose's 0.3 one of two people who pass each other disappears [np].
            batch_size: See :class:`PeopleEstimator`.
            smooth: 'one-euro' or 'savgol'.
            height: Standing height in metres, of everybody or by track_id.
            trajectory: Estimate where people are, by reprojection; ``focal`` in pixels, by default
                that of a usual field of view.
            ground: Turn to axes with z up and the floor at z = 0.
            stages: Progress, timing and the wish to stop.

        Returns:
            VideoPoses: the people, and what their numbers mean.

        Raises:
            MissingWeightsError: The 3D model has no trained weights.
            OSError, ValueError: A source that cannot be read, or options that do not fit.
        """
        self.lifter.check_runs()
        stages = stages or Stages()
        after = dict(smooth=smooth, height=height, trajectory=trajectory, focal=focal,
                     ground=ground)
        _check_after(**after)
        with opened_frames(source, fps) as frames:  # before any model is fetched
            people = self.people.with_options(batch_size, VIDEO_BBOX_THR if bbox_thr is None else
                                              bbox_thr, nms_thr or VIDEO_NMS_THR)
            poses = VideoInferencer(self.lifter, people, min_score, min_frames, max_gap, bbox_thr,
                                    tracker).video(frames, bboxes, adaptive, stages)
        with stages.time('after lifting'):
            return after_lifting(poses, **after)

    def pictures(self, source, *, bboxes: Optional[Sequence[np.ndarray]] = None,
                 min_score: float = 0.3, bbox_thr: Optional[float] = None,
                 nms_thr: Optional[float] = None, batch_size: Optional[int] = None,
                 stages: Optional[Stages] = None) -> Iterator[Tuple[VideoPoses, np.ndarray]]:
        """Lift the people of pictures that have nothing to do with each other.

        Args:
            source: Picture file, folder, list or array; or a FrameSource.
            bboxes, min_score, bbox_thr, nms_thr, batch_size, stages: As for :meth:`video`.

        Yields:
            The poses of each picture (a video of one frame), and the picture (H, W, 3) BGR.
        """
        self.lifter.check_runs()
        with opened_frames(source, stills=True) as frames:
            people = self.people.with_options(batch_size, bbox_thr, nms_thr)
            yield from VideoInferencer(self.lifter, people, min_score).pictures(
                frames, bboxes, stages)

    def stream(self, fps: float, look_ahead: int = 0, *, bbox_thr: Optional[float] = None,
               nms_thr: Optional[float] = None, **options) -> PeopleStream:
        """A live stream: see :class:`PeopleStream` for its options and what it gives."""
        self.lifter.check_runs()
        people = self.people.with_options(
            None, VIDEO_BBOX_THR if bbox_thr is None else bbox_thr, nms_thr or VIDEO_NMS_THR)
        if bbox_thr is not None:
            options['tracker'] = dict(low_score=bbox_thr, high_score=bbox_thr, new_score=bbox_thr,
                                      **options.get('tracker') or {})
        return PeopleStream(self.lifter, people, fps, look_ahead, **options)

    def __call__(self, keypoints, image_size: Optional[Tuple[int, int]] = None,
                 skeleton: Optional[str] = None, fps: Optional[float] = None,
                 out_file: Optional[Union[str, Path]] = None,
                 key_frames: Optional[np.ndarray] = None) -> Union[dict, VideoPoses]:
        """Lift one person, given as 2D keypoints, through one clip of any length.

        The clip is cut into windows of the model's length that overlap and are cross-faded. A clip
        shorter than a window is padded with its last frame. A model that sees key-frames only lifts
        one window around every s_out-th frame and interpolates the frames between. A clip of
        another frame rate than the model's is resampled, and its poses are those of its own frames.

        Args:
            keypoints: (T, K, 2) pixels or (T, K, 3) with a score, or a file (see
                :func:`~mmpose_lift.io.keypoint_sequence.read_keypoint_sequence`). A file of another
                kind, or an array of bytes, is taken for a video: see :meth:`video`.
            image_size: (width, height) in pixels. Defaults to what the file says.
            skeleton: Joint order of ``keypoints``, for example 'h36m' or 'coco'. Defaults to what
                the file says, else the model's.
            fps: Frames per second. Defaults to what the file says; None takes the clip as recorded
                at the model's rate, 50 for Human3.6M's.
            out_file: Write the result to this .npz or .json file.
            key_frames: (T,) bool, for models that see key-frames only: the frames that have 2D
                keypoints. At multiples of the model's rate they are multiples of s_out; at other
                rates each is taken for the nearest such time, and of several for the same one only
                the closest counts. Defaults to the frames nearest to every ``input_stride``, or,
                where that was not given and some frames hold nothing but NaN, to all other frames.
                Frames that are not key-frames may hold NaN; in the result they are interpolated.

        Returns:
            dict with ``keypoints_3d`` (T, K, 3) float32 and ``keypoints_2d`` (T, K, 2 or 3),
            pixels and score, in the model's joint order ``joint_names``, and what they mean:
            ``units``, ``frame``, ``parents``, ``skeleton``, ``fps``, ``image_size``, ``model``,
            ``version``; also ``key_frames``, their numbers, from a model that sees only these.

        Raises:
            MissingWeightsError: The model has no trained weights.
            ValueError: Wrong joint count or shape, a joint order that lacks joints of the model's,
                no image size, NaN, an empty clip, a frame rate that is not positive or far below
                the model's, or key-frames where it has none.
        """
        self.lifter.check_runs()
        only = dict(image_size=image_size, skeleton=skeleton, out_file=out_file,
                    key_frames=key_frames)
        given = [name for name, value in only.items() if value is not None]
        if _holds_frames(keypoints) and not (given and isinstance(keypoints, (str, Path))):
            if given:
                raise ValueError(f'{given[0]}: only for 2D keypoints, and this is a video; use '
                                 'video() and the writers of mmpose_lift.io.exporters')
            return self.video(keypoints, fps=fps)
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
        if fps is not None:
            check_fps(fps)
        chosen = None
        if self.lifter.sparse:
            keypoints, chosen = self._key_frames(keypoints, key_frames, fps, where)
        elif key_frames is not None:
            raise ValueError(f'key_frames: model {self.name!r} needs 2D keypoints at every frame; '
                             'leave it out')
        keypoints = check_keypoints(keypoints, skeleton, where)
        keypoints = convert_keypoints(keypoints, skeleton, self.skeleton.name,
                                      has_score=keypoints.shape[-1] == 3)
        lifted = dict(
            keypoints_3d=(self.lifter.lift(keypoints, image_size, chosen) if fps is None else
                          self.lifter.lift_at(keypoints, image_size, fps=fps, known=chosen)),
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

    def _key_frames(self, keypoints: np.ndarray, key_frames, fps: Optional[float], where: str):
        """The clip with frames that have no 2D pose interpolated, and the key-frames (T,)."""
        keypoints = np.asarray(keypoints)
        frames = len(np.atleast_1d(keypoints))
        missing = np.zeros(frames, bool)
        if keypoints.ndim == 3 and keypoints.dtype.kind == 'f':
            missing = np.isnan(keypoints[..., :2]).all(axis=(1, 2))
        if key_frames is not None:
            chosen = check_mask(key_frames, frames, 'key_frames')
        elif missing.any() and not missing.all() and not self._stride_given:
            chosen = ~missing
        else:
            chosen = np.zeros(frames, bool)
            chosen[self.lifter.key_frame_numbers(frames, fps)] = True
        if frames:  # a clip without frames is refused with its shape
            chosen = self.lifter.usable_key_frames(chosen, fps)
        if key_frames is not None or missing.any():
            kept = np.flatnonzero(chosen)
            bad = kept[~np.isfinite(keypoints[kept]).reshape(len(kept), -1).all(axis=1)]
            if len(bad):
                raise ValueError(f'{where}: {len(bad)} of {len(kept)} key-frames hold NaN or '
                                 f'infinite values (first: frame {bad[0]}); detect 2D keypoints '
                                 'there, or leave these frames out of key_frames')
            keypoints = fill_between(keypoints[kept].astype(np.float32), kept, frames)
        return keypoints, chosen

    def lift(self, keypoints: np.ndarray, image_size: Tuple[int, int]) -> np.ndarray:
        """(T, K, 2 or 3) pixels (and score) in the model's joint order to (T, K, 3) metres."""
        return self.lifter.lift(keypoints, image_size)


def after_lifting(poses: VideoPoses, smooth: Optional[str] = None,
                  height: Union[None, float, dict] = None, trajectory: bool = False,
                  focal: Optional[float] = None, ground: bool = False) -> VideoPoses:
    """What :meth:`PoseLiftInferencer.video` does last; its arguments say what.

    Raises:
        ValueError: Options out of range, or people whom they cannot be done to.
    """
    _check_after(smooth, height, trajectory, focal, ground)
    if smooth is not None:
        poses = post_processing.smooth(poses, smooth)
    if height is not None:
        poses = post_processing.set_scale(poses, height)
    if trajectory or focal is not None:
        poses = post_processing.add_trajectory(poses, focal)
    return post_processing.to_ground(poses) if ground else poses


def _check_after(smooth, height, trajectory, focal, ground) -> None:
    """Refuse what cannot work before a whole video is read."""
    if smooth is not None and smooth not in post_processing.SMOOTHERS:
        raise ValueError(f'smooth: expected one of {", ".join(post_processing.SMOOTHERS)}, found '
                         f'{smooth!r}')
    for value in height.values() if isinstance(height, dict) else [height]:
        if value is not None and not 0.3 < value < 3:
            raise ValueError(f'height: expected metres, from 0.3 to 3, found {value!r}')
    if focal is not None and not 0 < focal < np.inf:
        raise ValueError(f'focal: expected a positive number of pixels, found {focal!r}')


def one_of(weights: Optional[str], pose3d_weights: Optional[str]) -> Optional[str]:
    """The argument given, of two names for it.

    Raises:
        ValueError: Both are given.
    """
    if weights is not None and pose3d_weights is not None:
        raise ValueError('weights and pose3d_weights are two names of one argument; give one')
    return weights if weights is not None else pose3d_weights


def _holds_frames(source) -> bool:
    """Whether a source is a video and not keypoints."""
    if isinstance(source, (str, Path)):
        return Path(source).suffix.lower() not in SUFFIXES
    return isinstance(source, FrameSource) or getattr(source, 'dtype', None) == np.uint8


@contextmanager
def opened_frames(source, fps: Optional[float] = None,
                  stills: bool = False) -> Iterator[FrameSource]:
    """The frames of a source that is open already, and stays so, or is opened and closed here."""
    if isinstance(source, FrameSource):
        yield source
        return
    with open_frames(source, fps, frames_of_a_video=not stills) as frames:
        yield frames


def _check_image_size(image_size, where: str) -> Tuple[int, int]:
    try:
        width, height = (int(x) for x in image_size)
    except (TypeError, ValueError):
        width = height = 0
    if min(width, height) <= 0:
        raise ValueError(f'{where}: the image size (width, height) in pixels is needed to '
                         f'normalise 2D keypoints, found {image_size!r}')
    return width, height
