"""MMPose's inferencer, whose 3D models of this package see the whole video."""

import time
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Union

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.apis import MMPoseInferencer as _MMPoseInferencer
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from ..compat.model_index import find_model, lifting_aliases, mesh_aliases
from ..io.exporters import predictions_of_frame, write_json
from ..io.exporters.export import writable_folder
from ..io.frames import FrameSource, open_frames
from ..io.video_poses import PersonTrack, VideoPoses
from ..models import SequencePoseLifter
from ..models.estimators import BodyMeshEstimator
from .clip_lifter import resolve_model
from .inferencer import PoseLiftInferencer, one_of
from .mesh_inferencer import MeshInferencer
from .progress import ShownStages, Stages
from .stream import StreamedFrame
from .video_inferencer import VERSION

# MMPose's options that have nothing to act on here; what does their work instead.
WITHOUT_EFFECT = {
    'use_oks_tracking': 'people are always tracked, by boxes and OKS',
    'tracking_thr': 'people are always tracked, by boxes and OKS',
    'disable_norm_pose_2d': '2D is normalised as in the training of the model',
    'disable_rebase_keypoint': 'poses are relative to the root joint; see to_ground',
    'merge_results': 'people of a frame are always together',
    'pose_based_nms': 'boxes are thinned out by their overlap',
    'draw_heatmap': '3D models have no heatmaps',
    'skeleton_style': 'the skeleton drawn is that of the 3D model',
    'radius': 'lines and points scale with the picture',
    'thickness': 'lines and points scale with the picture',
    'num_instances': 'everybody is drawn',
}


class MMPoseInferencer(_MMPoseInferencer):
    """MMPose's inferencer, whose ``pose3d`` is also an alias, a config file or a config of ours.

    With one of MMPose's models it is MMPose's inferencer. With a lifter of this package it keeps
    the arguments and the generator protocol, and does the rest anew (:class:`PoseLiftInferencer`):
    people are tracked, each is lifted over the whole time that it is seen, and nothing goes over
    from one call to the next. So the first result of a video comes when all of it was read;
    pictures, also those of a folder or list, have nothing to do with each other and come one by one
    (``images_are_frames=True`` makes them one video); ``webcam:ID`` comes live.

    A model of body meshes of this package (:class:`MeshInferencer`) goes the same way, but not with
    cameras. It needs no 2D model; one that is given helps the tracker. An MPT that was only
    pre-trained (``mpt_pretrain``) sees the heatmaps of ``pose2d``: any top-down heatmap model of
    MMPose, by default an HRNet (not 'human', which is an RTMPose and has none). With
    ``heatmaps='drawn'`` it sees Gaussians at the keypoints of any top-down model.

    Args:
        pose2d, pose2d_weights, pose3d, pose3d_weights, device, scope, det_model, det_weights,
        det_cat_ids, show_progress: As in MMPose.
        weights: The same as ``pose3d_weights``.
        allow_random_weights: Run a 3D model that has no trained weights.
        **lifting: Further arguments of :class:`PoseLiftInferencer` or :class:`MeshInferencer`.

    Raises:
        ValueError: Unknown model, or a checkpoint of another model.

    A 3D model of this package without weights constructs, and the first call raises
    :class:`MissingWeightsError`.
    """

    def __init__(self, pose2d=None, pose2d_weights: Optional[str] = None,
                 pose3d: Optional[Union[str, Path, Config]] = None,
                 pose3d_weights: Optional[str] = None, device: Optional[str] = None,
                 scope: str = 'mmpose', det_model=None, det_weights: Optional[str] = None,
                 det_cat_ids=None, show_progress: bool = False, weights: Optional[str] = None,
                 allow_random_weights: bool = False, **lifting) -> None:
        pose3d_weights = one_of(weights, pose3d_weights)
        self._own = kind_of_model(pose3d)
        if self._own is not None:
            self.visualizer, self.show_progress = None, show_progress
            arguments = dict(
                pose3d=pose3d, weights=pose3d_weights, device=device,
                allow_random_weights=allow_random_weights, pose2d_weights=pose2d_weights,
                det_model=det_model, det_weights=det_weights, det_cat_ids=det_cat_ids, scope=scope,
                **lifting)
            self.inferencer = (MeshInferencer(pose2d=pose2d, **arguments) if self._own == 'mesh'
                               else PoseLiftInferencer(pose2d=pose2d or 'human', **arguments))
            return
        if lifting:
            raise TypeError(f'{", ".join(sorted(lifting))}: arguments for the 3D models of this '
                            f'package, and pose3d={pose3d!r} is none of them')
        pose3d = str(pose3d) if isinstance(pose3d, Path) else pose3d
        try:
            super().__init__(pose2d, pose2d_weights, pose3d, pose3d_weights, device, scope,
                             det_model, det_weights, det_cat_ids, show_progress)
        except ValueError as error:
            if pose3d is None or f'Cannot find model: {pose3d} ' not in str(error):
                raise
            raise ValueError(f'pose3d={pose3d!r}: no config file, no model of MMPose and none of '
                             f'mmpose_lift, whose aliases are '
                             f'{", ".join(lifting_aliases() + mesh_aliases())}') from error

    def __call__(self, inputs, return_datasamples: bool = False, batch_size: int = 1,
                 out_dir: Optional[str] = None, **kwargs) -> Iterator[dict]:
        """Infer poses; a generator of one dict per picture or frame.

        Args:
            inputs: Video, picture, folder of pictures, list of pictures, array, or 'webcam:ID'.
            return_datasamples: Give MMPose's data samples instead of lists of dicts; with
                ``bboxes``, ``track_ids`` and, where the model gives them, the arrays of the fields
                below in ``pred_instances``.
            batch_size: People or pictures per forward pass of the 2D model, where above 1.
            out_dir: Folder for ``visualizations`` and ``predictions``.
            **kwargs: MMPose's ``bbox_thr``, ``nms_thr``, ``bboxes`` (one array (n, 4 or 5) per
                frame), ``return_vis``, ``show``, ``wait_time``, ``draw_bbox``, ``kpt_thr``,
                ``black_background``, ``vis_out_dir``, ``pred_out_dir``; its other options are
                taken and have no effect (``WITHOUT_EFFECT``). ``bbox_thr`` and ``nms_thr`` are
                0.3 by default for pictures; for videos see :meth:`PoseLiftInferencer.video`. Ours:
                ``fps`` and ``images_are_frames`` for pictures that are a video, ``look_ahead``
                (frames) for cameras, and the options of :meth:`PoseLiftInferencer.video` or
                :meth:`MeshInferencer.video` (videos) and :class:`PeopleStream` (cameras). Files in
                ``pred_out_dir`` hold what MMPose writes as ``instance_info``, and ``meta_info``
                beside it, which says units and axes.

        Yields:
            dict: ``predictions``, for the one picture a list of people: ``keypoints`` (K, 3) in
            metres, camera axes, root-relative, ``keypoint_scores``, ``keypoints_2d``, ``bbox``,
            ``bbox_score``, ``track_id``, ``detected``; of models of body meshes also
            ``root_position``, ``betas``, ``poses`` (72,) axis-angle, ``transl`` and ``joints``
            (24, 3), see ``FIELDS`` of ``io.exporters.json_file``; ``visualization``, a list with
            the drawn picture (RGB) if ``return_vis``, else empty.

        Raises:
            TypeError: Unknown option.
            MissingWeightsError: The 3D model has no trained weights.
        """
        if self._own is None:
            return super().__call__(inputs, return_datasamples, batch_size, out_dir, **kwargs)
        (self.inferencer.predictor if self._own == 'mesh' else self.inferencer.lifter).check_runs()
        return self._results(inputs, return_datasamples, batch_size, out_dir, **kwargs)

    def _results(self, inputs, return_datasamples, batch_size, out_dir, *, fps=None,
                 images_are_frames=False, look_ahead=0, return_vis=False, show=False, wait_time=0.,
                 draw_bbox=False, kpt_thr=0.3, black_background=False, vis_out_dir='',
                 pred_out_dir='', return_datasample=None, **options) -> Iterator[dict]:
        options = {name: value for name, value in options.items() if name not in WITHOUT_EFFECT}
        if batch_size > 1:
            options['batch_size'] = batch_size
        live = isinstance(inputs, str) and inputs.lower().startswith('webcam')
        if live and self._own == 'mesh':
            raise ValueError(f'{inputs}: models of body meshes take videos and pictures, not '
                             'cameras; record the video first')
        if pred_out_dir and live:
            raise ValueError('pred_out_dir: a camera has no end at which a file could be written; '
                             'take the predictions as they come')
        if out_dir is not None:
            vis_out_dir = vis_out_dir or f'{out_dir}/visualizations'
            pred_out_dir = pred_out_dir or ('' if live else f'{out_dir}/predictions')
        for folder in filter(None, (vis_out_dir, pred_out_dir)):  # not when all the work is done
            writable_folder(Path(folder).parent if Path(folder).suffix else folder)
        samples = return_datasamples if return_datasample is None else return_datasample
        window = _Window(wait_time) if show else None
        drawing = None
        if return_vis or show or vis_out_dir:
            drawing = dict(draw_bbox=draw_bbox, black_background=black_background,
                           **self._scene(kpt_thr))

        def result(poses: VideoPoses, frame: int, picture: Optional[np.ndarray]) -> dict:
            if window is not None:
                window.show(poses.source, picture)
            instances = predictions_of_frame(poses, frame)
            return dict(
                predictions=[_data_sample(poses, instances) if samples else instances],
                visualization=[picture[..., ::-1].copy()] if return_vis else [])

        with open_frames(inputs, fps=fps, frames_of_a_video=images_are_frames) as frames:
            if window is not None:
                window.still = not frames.is_clip
            if frames.kind == 'webcam':
                yield from self._live(frames, look_ahead, result, drawing, vis_out_dir, window,
                                      options)
            elif frames.is_clip:
                yield from self._video(frames, result, drawing, vis_out_dir, pred_out_dir, window,
                                       options)
            else:
                yield from self._pictures(frames, result, drawing, vis_out_dir, pred_out_dir,
                                          window, options)

    def _scene(self, kpt_thr: float) -> dict:
        """What draws the frames, and its own options."""
        from ..visualization import MeshScene, PeopleScene
        if self._own == 'mesh':
            return dict(scene_type=MeshScene, body_model=self.inferencer.predictor.body)
        return dict(scene_type=PeopleScene, kpt_thr=kpt_thr)

    def _pictures(self, frames: FrameSource, result: Callable, drawing: Optional[dict],
                  vis_out_dir: str, pred_out_dir: str, window: Optional['_Window'],
                  options: dict) -> Iterator[dict]:
        from ..visualization import draw_people_picture, write_picture
        if Path(vis_out_dir).suffix and frames.num_frames > 1:
            raise ValueError(f'vis_out_dir: expected a folder for {frames.num_frames} pictures, '
                             f'found the file name {vis_out_dir!r}')
        taken = set()
        with ShownStages() if self.show_progress else nullcontext(Stages()) as stages:
            for poses, image in self.inferencer.pictures(frames, stages=stages, **options):
                name, picture = _free_name(Path(poses.source).stem, taken), None
                if drawing is not None:
                    picture = draw_people_picture(poses, 0, image, **drawing)
                if vis_out_dir:
                    write_picture(picture, _file_in(vis_out_dir, f'{name}.png'))
                if pred_out_dir:
                    write_json(poses, Path(pred_out_dir) / f'{name}.json')
                yield result(poses, 0, picture)
                if window is not None and window.closed:
                    break

    def _video(self, frames: FrameSource, result: Callable, drawing: Optional[dict],
               vis_out_dir: str, pred_out_dir: str, window: Optional['_Window'],
               options: dict) -> Iterator[dict]:
        name = Path(frames.name).stem
        with ShownStages() if self.show_progress else nullcontext(Stages()) as stages:
            poses = self.inferencer.video(frames, stages=stages, **options)
        if pred_out_dir:
            write_json(poses, Path(pred_out_dir) / f'{name}.json')
        if drawing is None:
            yield from (result(poses, frame, None) for frame in range(poses.num_frames))
            return
        from ..visualization import VideoWriter
        scene = drawing.pop('scene_type')(poses, **drawing)
        with (VideoWriter(_file_in(vis_out_dir, f'{name}.mp4'), poses.fps, scene.size)
              if vis_out_dir else nullcontext()) as writer, _kept(writer):
            for frame, image in islice(frames.readable(), poses.num_frames):
                picture = scene.draw(frame, image)
                if writer is not None:
                    writer.write(picture)
                yield result(poses, frame, picture)
                if window is not None and window.closed:
                    break

    def _live(self, frames: FrameSource, look_ahead: int, result: Callable,
              drawing: Optional[dict], vis_out_dir: str, window: Optional['_Window'],
              options: dict) -> Iterator[dict]:
        """Frames of a camera, each with its people as soon as ``look_ahead`` more have come."""
        from ..visualization import VideoWriter, draw_people_picture
        options.pop('batch_size', None)  # frames come one by one
        if options.pop('bboxes', None) is not None:
            raise ValueError('bboxes: nobody knows the boxes of a camera in advance; use '
                             'PoseLiftInferencer.stream and its add(image, boxes=)')
        if isinstance(options.get('smooth'), str):
            if options['smooth'] != 'one-euro':
                raise ValueError("smooth: expected 'one-euro' for a camera (others look ahead), "
                                 f'found {options["smooth"]!r}')
            options['smooth'] = {}
        stream = self.inferencer.stream(frames.fps, look_ahead, keep_images=drawing is not None,
                                        **options)
        name = frames.name.replace(':', '_')

        def lifted() -> Iterator[StreamedFrame]:
            start = time.monotonic()
            for _, image in frames:  # a camera drops frames that nobody was there to take
                yield from stream.add(image, time.monotonic() - start)
            yield from stream.finish()

        with (VideoWriter(_file_in(vis_out_dir, f'{name}.mp4'), frames.fps, (960, 540))
              if vis_out_dir else nullcontext()) as writer, _kept(writer):
            for frame in lifted():
                poses, picture = _one_frame(frame, frames, self.inferencer), None
                if drawing is not None:
                    picture = draw_people_picture(poses, 0, frame.image, **drawing)
                if writer is not None:
                    writer.write(picture)
                yield result(poses, 0, picture)
                if window is not None and window.closed:
                    break


def _file_in(folder: str, name: str) -> Path:
    """A file of that name in the folder, or, as in MMPose, the file that is named instead."""
    return Path(folder) if Path(folder).suffix else Path(folder) / name


def _free_name(stem: str, taken: set) -> str:
    """The stem, numbered if another picture has it."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f'{stem}_{number}'
    taken.add(name)
    return name


@contextmanager
def _kept(writer) -> Iterator[None]:
    """Keep what was written of a video when the user stops: Ctrl-C, or no further ``next``."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        if writer is not None and writer.num_frames:
            writer.finish_early()
        raise


def kind_of_model(pose3d: Union[None, str, Path, Config]) -> Optional[str]:
    """'lifter' or 'mesh' for models of this package; None for MMPose's, and for unknown ones."""
    if pose3d is None or not isinstance(pose3d, Config) and not Path(pose3d).is_file() and (
            find_model(str(pose3d)) is None):
        return None
    config, _, _ = resolve_model(pose3d)
    init_default_scope('mmpose')
    kind = config.model.type
    kind = MODELS.get(kind) if isinstance(kind, str) else kind
    kinds = {'lifter': SequencePoseLifter, 'mesh': BodyMeshEstimator}
    return next((name for name, base in kinds.items()
                 if isinstance(kind, type) and issubclass(kind, base)), None)


def _one_frame(frame: StreamedFrame, frames: FrameSource,
               inferencer: PoseLiftInferencer) -> VideoPoses:
    """A frame of a stream as a video of its own."""
    people, lifter = inferencer.people, inferencer.lifter
    tracks = [
        PersonTrack(p.track_id, 0, p.box[None], np.array([p.score], np.float32), p.keypoints[None],
                    np.array([p.detected]), p.keypoints_2d[None], p.keypoints_3d[None])
        for p in frame.people]
    return VideoPoses(frames.name, frames.fps, frames.image_size, 1, people.convention,
                      lifter.skeleton.name, tracks, model=lifter.name, model_2d=people.name,
                      detector=people.detector, version=VERSION)


def _data_sample(poses: VideoPoses, instances: List[dict]) -> PoseDataSample:
    """MMPose's data sample of one frame."""
    columns = {name: [person[name] for person in instances] for name in instances[0]
               } if instances else {}
    found = InstanceData(
        keypoints=np.array(columns.get('keypoints', np.empty((0, len(poses.parents), 3)))))
    if instances:
        found.keypoint_scores = np.array(columns['keypoint_scores'])
        found.bboxes = np.array(columns['bbox'], np.float32).reshape(-1, 4)
        found.bbox_scores = np.array(columns['bbox_score'], np.float32)
        found.track_ids = np.array(columns['track_id'])
        for name in ('detected', 'root_position', 'betas', 'poses', 'transl', 'joints'):
            if name in columns:
                found.set_field(np.array(columns[name]), name)
    return PoseDataSample(pred_instances=found, metainfo=dict(
        img_path=poses.source, dataset_name=poses.skeleton, units=poses.units, frame=poses.frame))


class _Window:
    """A window on the screen. Pictures stay for ``wait_time`` seconds, or, with 0, until a key is
    pressed; frames of a video for an instant. Escape closes it."""

    def __init__(self, wait_time: float) -> None:
        self._wait = round(1000 * wait_time)
        self.still, self.closed = True, False

    def show(self, title: str, picture: np.ndarray) -> None:
        try:
            cv2.imshow(title, picture)
            self.closed = cv2.waitKey(self._wait if self.still else 1) & 0xFF == 27
        except cv2.error as error:
            raise OSError('show: no window can be opened (no display, or OpenCV without a user '
                          f'interface): {str(error).strip()}; use vis_out_dir instead') from error
