"""Windows of 2D/3D pose sequences, read from memory-mapped stores a batch at a time."""

import os.path as osp
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.dataset import Compose
from mmpose.registry import DATASETS
from torch.utils.data import Dataset

from ..geometry.cameras import h36m_cameras
from ..geometry.skeletons import Skeleton, get_skeleton
from ..io.pose_store import PoseStore
from .camera_table import CameraTable
from .clips import DRAWN_CAMERA, Clip, clip_lens, store_clips
from .store_skeletons import (
    METAINFO_FILES,
    common_skeleton,
    joints_to_read,
    read_skeleton_metainfo,
    skeleton_metainfo,
)
from .synthetic_motion import synthetic_store
from .windows import (
    EVALUATION_MODES,
    evaluation_windows,
    frame_windows,
    target_frame,
    training_windows,
    window_frames,
)

WINDOW_MODES = ('train', 'frames') + EVALUATION_MODES
FLIPS = (None, 'copies', 'random')


@DATASETS.register_module()
class PoseSequenceDataset(Dataset):
    """Windows of T frames over the clips of one or more pose stores.

    Batches are read in one go (``__getitems__``): the arrays of a whole batch are gathered from the
    memory-mapped store with one index, go through the pipeline with a leading batch axis, and reach
    the main process as a handful of tensors; moving many small ones between processes is what
    costs. Every transform of the pipeline must therefore accept leading axes, as
    :class:`~mmpose_lift.codecs.PoseSequenceLabel`, the transforms of this package and MMPose's
    ``GenerateTarget`` and ``PackPoseInputs`` do; ``batched=False`` reads window by window instead.

    A store in world space is seen through cameras when a window is read: each clip is moved into
    the Human3.6M capture volume (and cut where it does not fit, :func:`place_clip`) and projected,
    with distortion, by ``cameras_per_clip`` of Human3.6M's 28 cameras, drawn with ``camera_seed``.

    Args:
        stores: Store folder(s), relative to ``data_root``; or a dict of arguments of
            :func:`~mmpose_lift.datasets.synthetic_motion.synthetic_store`, or a list of both.
        skeleton: Joint order to read; stores in another one that has all its joints are converted
            by the joints' names ('h36m_16' from 'h36m' drops the neck base). Defaults to that of
            the stores, which must then be the same for all.
        keypoints_2d: 2D source of camera-space stores, for example 'gt' or 'cpn_ft_h36m_dbb'.
        seq_len: T, frames of a window.
        seq_step: Frames between two frames of a window. A clip is then read as ``seq_step``
            interleaved clips, so that every frame is covered in every mode.
        fps: Frame rate ``seq_step`` speaks of. Clips recorded at a multiple of it are read with a
            step as many times longer. None takes all clips as they are.
        windows: 'train' (centred padding, :func:`training_windows`), 'paper' or 'unique'
            (:func:`evaluation_windows`), or 'frames' (one window and one target per frame).
        interval: Frames between training windows, 1 to T. Defaults to T.
        flip: None, 'copies' (a second, mirrored entry per window) or 'random' (half of the reads).
        causal: The target of a window with one target is its last frame instead of the middle one.
        subjects: Subjects to use. Defaults to all.
        actions: Actions to use. Defaults to all.
        cameras_per_clip: Cameras through which each world-space clip is seen. 'random' draws one of
            the 28 whenever a window is read and leaves the clip where it was recorded, neither
            moved nor cut; mirrored windows are then mirrored in the world, x, before the camera.
        camera_seed: Seed of their choice, of no effect for 'random'.
        pipeline: Transforms. A window enters it as described in :meth:`read`.
        batched: Read batches in one go.
        data_root: Folder that relative stores start from.
        metainfo: Overrides of the data set's meta information, which follows from the skeleton.
        test_mode: Kept for MMPose's configs; changes nothing here.
        lazy_init: Do not open the stores yet (:attr:`metainfo` does where ``skeleton`` is None).

    Raises:
        ValueError: Unknown option, stores of different skeletons or without a joint of
            ``skeleton``, a skeleton without root, a frame rate that is no multiple of ``fps``, or
            no clip left after filtering.
        FileNotFoundError: A store is absent.
    """

    # of H36M-17, the usual case; that of other skeletons is made when the skeleton is known
    METAINFO: dict = dict(from_file=METAINFO_FILES['h36m'])

    def __init__(self,
                 stores: Union[str, dict, Sequence[Union[str, dict]]],
                 keypoints_2d: str = 'gt',
                 seq_len: int = 243,
                 seq_step: int = 1,
                 fps: Optional[float] = None,
                 windows: str = 'train',
                 interval: Optional[int] = None,
                 flip: Optional[str] = None,
                 causal: bool = False,
                 subjects: Optional[Sequence[str]] = None,
                 actions: Optional[Sequence[str]] = None,
                 cameras_per_clip: Union[int, str] = 4,
                 camera_seed: int = 0,
                 pipeline: Sequence = (),
                 batched: bool = True,
                 data_root: str = '',
                 metainfo: Optional[dict] = None,
                 test_mode: bool = False,
                 lazy_init: bool = False,
                 skeleton: Optional[str] = None):
        if windows not in WINDOW_MODES:
            raise ValueError(f'windows: expected one of {WINDOW_MODES}, found {windows!r}')
        if flip not in FLIPS:
            raise ValueError(f'flip: expected one of {FLIPS}, found {flip!r}')
        if seq_step < 1:
            raise ValueError(f'seq_step: expected at least 1, found {seq_step}')
        self.store_names = [stores] if isinstance(stores, (str, dict)) else list(stores)
        self.data_root = data_root
        self.keypoints_2d = keypoints_2d
        self.seq_len = seq_len
        self.seq_step = seq_step
        self.fps = fps
        self.windows = windows
        self.interval = interval
        self.flip = flip
        self.causal = causal
        self.subjects = _names(subjects)
        self.actions = _names(actions)
        self.cameras_per_clip = cameras_per_clip
        self.camera_seed = camera_seed
        self.pipeline = Compose(pipeline)
        self.batched = batched
        self.test_mode = test_mode
        self.skeleton = self._metainfo = None
        self._metainfo_overrides = dict(metainfo or {})
        self._ready = False
        if skeleton is not None:
            self._use_skeleton(get_skeleton(skeleton))
        if not lazy_init:
            self.full_init()

    # ---------------------------------------------------------------- index

    def _use_skeleton(self, skeleton: Skeleton) -> None:
        skeleton.root_index  # noqa: B018  (refuses a skeleton without root)
        own = self.METAINFO if skeleton.name == 'h36m' else skeleton_metainfo(skeleton)
        self._metainfo = read_skeleton_metainfo(skeleton, {**own, **self._metainfo_overrides})
        self.skeleton = skeleton
        self._flip_indices = np.array(skeleton.flip_indices)

    def full_init(self) -> None:
        """Open the stores and lay out the windows; called once."""
        if self._ready:
            return
        self.stores = [self._open(name) for name in self.store_names]
        stored = [store.skeleton for store in self.stores]
        if self.skeleton is None:
            self._use_skeleton(common_skeleton(stored, self.store_names))
        self._joints = [joints_to_read(s, self.skeleton, name)
                        for s, name in zip(stored, self.store_names)]
        self._cameras = CameraTable(h36m_cameras())
        self._check_filters()
        self.clips: List[Clip] = []
        for i in range(len(self.stores)):
            self.clips += self._clips_of(i)
        if not self.clips:
            raise ValueError(f'no clip in {self.store_names} has both one of the subjects '
                             f'{self.subjects} and one of the actions {self.actions}')
        self._clip_first = np.array([c.first for c in self.clips])
        self._clip_store = np.array([c.store for c in self.clips])
        self._clip_camera = np.array([c.camera for c in self.clips])
        self._clip_offset = np.array([c.offset for c in self.clips], dtype=np.float32)
        self._clip_size = np.array([(c.width, c.height) for c in self.clips])
        self._clip_frames = np.array([c.num_frames for c in self.clips])
        self._clip_step = self.seq_step * np.array([c.rate for c in self.clips])
        self._clip_lens = np.stack(
            [clip_lens(c, self.stores[c.store], self._cameras) for c in self.clips])
        self._lay_out_windows()
        self._ready = True

    def _check_filters(self) -> None:
        sequences = [seq for store in self.stores for seq in store.sequences]
        for option, wanted, known in (
                ('subjects', self.subjects, {str(seq.subject) for seq in sequences}),
                ('actions', self.actions, {seq.action for seq in sequences})):
            if wanted is not None and wanted - known:
                raise ValueError(f'{option}: {sorted(wanted - known)} are in none of the stores '
                                 f'{self.store_names}, which hold {sorted(known)}')

    def _open(self, name: Union[str, dict]):
        if isinstance(name, dict):
            store = synthetic_store(**name)
        else:
            store = PoseStore.open(osp.join(self.data_root, name))
        if store.keypoints_3d is None:
            raise ValueError(f'{name}: the store has no 3D poses to learn from or compare with')
        return store

    def _clips_of(self, index: int) -> List[Clip]:
        store = self.stores[index]
        if store.frame != 'world':
            store.keypoints_2d(self.keypoints_2d)  # an unknown source is refused here, once
        chosen = [(number, seq) for number, seq in enumerate(store.sequences)
                  if (self.subjects is None or str(seq.subject) in self.subjects)
                  and (self.actions is None or seq.action in self.actions)]
        return store_clips(store, index, chosen, self.fps, self._cameras, self.cameras_per_clip,
                           self.camera_seed)

    def _lay_out_windows(self) -> None:
        T = self.seq_len
        clip, phase, start, counted = [], [], [], []
        for i, (frames, step) in enumerate(zip(self._clip_frames, self._clip_step)):
            for p in range(min(step, frames)):
                sub = -(-(frames - p) // step)  # frames p, p + step, ... of the clip
                spans = np.array([0, T])
                if self.windows == 'train':
                    starts = training_windows(sub, T, self.interval)
                elif self.windows == 'frames':
                    starts = frame_windows(sub, T, self.causal)
                    spans = np.array([0, 1])
                else:
                    starts, spans = evaluation_windows(sub, T, self.windows)
                start.append(starts.astype(np.int32))
                counted.append(np.broadcast_to(spans, (len(starts), 2)).astype(np.int32))
                clip.append(np.full(len(starts), i, np.int32))
                phase.append(np.full(len(starts), p, np.int32))
        self._clip = np.concatenate(clip)
        self._phase = np.concatenate(phase)
        self._start = np.concatenate(start)
        self._counted = np.concatenate(counted)

    @property
    def metainfo(self) -> dict:
        """Meta information of the skeleton in MMPose's form."""
        if self._metainfo is None:  # only the stores know which skeleton
            self.full_init()
        return dict(self._metainfo)

    def __len__(self) -> int:
        return len(self._clip) * (2 if self.flip == 'copies' else 1)

    # ---------------------------------------------------------------- reading

    def read(self, indices: np.ndarray) -> dict:
        """The windows with the given numbers, before the pipeline.

        Args:
            indices: (B,) window numbers, or () for one window without batch axis.

        Returns:
            dict with ``keypoints`` (B, T, K, 2) pixels, ``keypoints_visible`` (B, T, K) scores,
            ``lifting_target`` (B, T' or T, K, 3) camera-space metres, ``lifting_target_visible``
            (B, T', K), ``camera_param`` with w and h (B,) and, where
            the cameras are known, f and c (B, 2), all in pixels, ``sequence`` (B,) clip numbers,
            ``frame_index`` (B, T) frame numbers in the clip, ``start`` (B,), ``counted`` (B, 2),
            ``action`` and ``subject`` (lists of B), ``flip`` (B,), ``flip_indices``.
        """
        one, indices = self._numbers(indices)
        window, flipped = indices % len(self._clip), indices >= len(self._clip)
        if self.flip == 'random':
            flipped = np.random.random(len(indices)) < 0.5
        clip, phase, start = self._clip[window], self._phase[window], self._start[window]
        step = self._clip_step[clip]
        sub_frames = -(-(self._clip_frames[clip] - phase) // step)
        frames = window_frames(start, self.seq_len, sub_frames) * step[:, None] + phase[:, None]
        poses, camera_param = self._gather(clip, frames, self._draw_cameras(clip), flipped)
        keypoints, score, target, valid = poses
        if self.windows == 'frames':
            middle = target_frame(self.seq_len, self.causal)
            target, valid = target[:, middle:middle + 1], valid[:, middle:middle + 1]
        item = dict(
            keypoints=keypoints,
            keypoints_visible=score,
            lifting_target=target,
            lifting_target_visible=np.repeat(valid[..., None], target.shape[-2], axis=-1),
            camera_param=camera_param,
            sequence=clip.astype(np.int64) * int(self._clip_step.max()) + phase,
            frame_index=frames,
            start=start.astype(np.int64),
            counted=self._counted[window],
            flip=flipped,
            action=[self.clips[c].action for c in clip],
            subject=[self.clips[c].subject for c in clip])
        return self._finish(item, one, indices)

    def _numbers(self, indices) -> Tuple[bool, np.ndarray]:
        """Whether one window is asked for, and the checked numbers (B,)."""
        one = np.ndim(indices) == 0
        indices = np.atleast_1d(np.asarray(indices))
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f'window {indices.max()} of {len(self)}')
        return one, indices

    def _finish(self, item: dict, one: bool, indices: np.ndarray) -> dict:
        """Take off the batch axis of a single window and add what all windows share."""
        if one:
            item = {
                k: {n: x[0] for n, x in v.items()} if isinstance(v, dict) else v[0]
                for k, v in item.items()
            }
        item.update(flip_indices=list(self.skeleton.flip_indices), id=int(indices[0]),
                    dataset_name=self._metainfo['dataset_name'])
        return item

    def _draw_cameras(self, clip: np.ndarray) -> np.ndarray:
        """(B,) camera of each window, drawn now where the clip has none of its own."""
        camera = self._clip_camera[clip]
        drawn = np.random.randint(len(self._cameras.names), size=len(clip))
        return np.where(camera == DRAWN_CAMERA, drawn, camera)

    def _gather(self, clip: np.ndarray, frames: np.ndarray, camera: np.ndarray,
                flipped: np.ndarray):
        """Rows of the stores, seen by the cameras and mirrored where asked for.

        Args:
            clip: (B,) clip of each window.
            frames: (B, T) frames of the clip.
            camera: (B,) row of the camera table; negative for camera-space clips.
            flipped: (B,) bool.

        Returns:
            (2D (B, T, K, 2), score (B, T, K), 3D (B, T, K, 3), valid (B, T)), and the camera's
            width, height (B,) and, where they are known for all, f and c (B, 2), all in pixels.
        """
        rows = self._clip_first[clip][:, None] + frames
        shape = frames.shape + (self.skeleton.num_joints, )
        keypoints, score = np.empty(shape + (2, ), np.float32), np.ones(shape, np.float32)
        target, valid = np.empty(shape + (3, ), np.float32), np.empty(frames.shape, np.float32)
        size, lens = self._clip_size[clip].astype(np.float32), self._clip_lens[clip]
        in_world = self._clip_camera[clip] == DRAWN_CAMERA
        size[in_world] = self._cameras.size[camera[in_world]]
        lens[in_world] = np.stack([self._cameras.focal, self._cameras.center],
                                  axis=1)[camera[in_world]]
        for s in np.unique(self._clip_store[clip]):
            store, mine = self.stores[s], np.flatnonzero(self._clip_store[clip] == s)
            valid[mine] = store.valid[rows[mine]]
            points = self._in_order(s, store.keypoints_3d[rows[mine]])
            if store.frame == 'world':
                mirrored = np.flatnonzero((in_world & flipped)[mine])
                points[mirrored] = points[mirrored][:, :, self._flip_indices]
                points[mirrored, ..., 0] *= -1
                points[..., :2] -= self._clip_offset[clip[mine], None, None]
                target[mine], keypoints[mine] = self._cameras.see(points, camera[mine])
            else:
                target[mine] = points
                pixels = self._in_order(s, store.keypoints_2d(self.keypoints_2d)[rows[mine]])
                keypoints[mine], score[mine] = pixels[..., :2], pixels[..., 2]
        self._mirror(keypoints, score, target, lens, size[:, 0], flipped & ~in_world)
        camera_param = dict(w=size[:, 0], h=size[:, 1])
        if np.isfinite(lens).all():
            camera_param.update(f=lens[:, 0], c=lens[:, 1])
        return (keypoints, score, target, valid), camera_param

    def _in_order(self, store: int, keypoints: np.ndarray) -> np.ndarray:
        """Keypoints (B, T, K_stored, D) of a store in the joint order of the data set."""
        joints = self._joints[store]
        return keypoints if joints is None else keypoints[:, :, joints]

    def _mirror(self, keypoints, score, target, lens, width, flipped) -> None:
        """Mirror the flagged windows in place: x of 2D, 3D and camera, left and right joints."""
        which = np.flatnonzero(flipped)
        if len(which) == 0:
            return
        for array in (keypoints, score, target):
            array[which] = array[which][:, :, self._flip_indices]
        # the mirror image of pixel x is w - x, so that normalised x only changes its sign
        keypoints[which, ..., 0] = width[which, None, None] - keypoints[which, ..., 0]
        lens[which, 1, 0] = width[which] - lens[which, 1, 0]
        target[which, ..., 0] *= -1

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(self.read(np.asarray(index)))

    @property
    def __getitems__(self):
        """Reader of whole batches, which PyTorch's loader prefers where it exists."""
        return self._get_batch if self.batched else None

    def _get_batch(self, indices: Sequence[int]) -> List[dict]:
        return [self.pipeline(self.read(np.asarray(indices)))]


def _names(names: Optional[Union[str, Sequence[str]]]) -> Optional[set]:
    if names is None:
        return None
    return {names} if isinstance(names, str) else set(map(str, names))
