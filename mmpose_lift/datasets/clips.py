"""Runs of rows of a store that windows are cut from, each seen by one camera."""

from typing import Iterable, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from ..geometry.placement import draw_cameras, place_clip
from ..geometry.skeletons import get_skeleton
from ..io.pose_store import PoseStore, Sequence
from .camera_table import CameraTable

NO_CAMERA, DRAWN_CAMERA = -1, -2


class Clip(NamedTuple):
    """A run of rows of one store, seen by one camera."""
    store: int
    first: int
    num_frames: int
    camera: int  # row of the camera table, or NO_CAMERA (camera-space poses), or DRAWN_CAMERA
    offset: tuple  # world x, y taken off before projection, metres
    width: int
    height: int
    rate: int  # frames of the clip per frame at the data set's frame rate
    subject: str
    action: str
    name: str


def store_clips(store: PoseStore, index: int, sequences: Iterable[Tuple[int, Sequence]],
                fps: Optional[float], cameras: CameraTable,
                cameras_per_clip: Union[int, str] = 4, camera_seed: int = 0) -> List[Clip]:
    """Clips of some sequences of a store.

    Args:
        store: The store.
        index: Its number among the stores of the data set.
        sequences: Number in the store and description of each.
        fps: Frame rate of the data set; None takes every clip as it is.
        cameras: Cameras for world-space clips.
        cameras_per_clip: How many of them see each one, or 'random' (drawn when a window is read).
        camera_seed: Seed of their choice.

    Raises:
        ValueError: a frame rate is no multiple of ``fps``, or no such number of cameras.
    """
    clips = []
    for number, seq in sequences:
        common = dict(store=index, subject=str(seq.subject), action=seq.action,
                      rate=_rate(seq, fps))
        whole = dict(first=seq.first, num_frames=seq.num_frames, offset=(0., 0.), name=seq.name)
        if store.frame != 'world':
            clips.append(Clip(camera=NO_CAMERA, width=seq.width, height=seq.height, **whole,
                              **common))
        elif cameras_per_clip == 'random':
            clips.append(Clip(camera=DRAWN_CAMERA, width=0, height=0, **whole, **common))
        else:
            total = len(cameras.names)
            if not (isinstance(cameras_per_clip, int) and 1 <= cameras_per_clip <= total):
                raise ValueError(f"cameras_per_clip: expected 'random' or 1 to {total}, found "
                                 f'{cameras_per_clip!r}')
            chosen = draw_cameras(total, cameras_per_clip, (camera_seed, number))
            clips += _placed_clips(store, seq, cameras, chosen, common)
    return clips


def clip_lens(clip: Clip, store: PoseStore, cameras: CameraTable) -> np.ndarray:
    """(2, 2) focal length and centre of a clip's camera in pixels, NaN where not known."""
    if clip.camera >= 0:
        return np.stack([cameras.focal[clip.camera], cameras.center[clip.camera]])
    camera = store.cameras.get(clip.name.rsplit('/', 1)[-1])
    if clip.camera == DRAWN_CAMERA or camera is None:
        return np.full((2, 2), np.nan, np.float32)
    return np.stack([camera.focal, camera.center]).astype(np.float32)


def _placed_clips(store: PoseStore, seq: Sequence, cameras: CameraTable, chosen: np.ndarray,
                  common: dict) -> List[Clip]:
    pelvis = get_skeleton(store.skeleton).root_index
    root = np.asarray(store.keypoints_3d[seq.first:seq.last, pelvis, :2])
    return [
        Clip(first=seq.first + first, num_frames=last - first, camera=int(camera),
             offset=tuple(offset), width=int(cameras.size[camera, 0]),
             height=int(cameras.size[camera, 1]),
             name=f'{seq.name}{first}/{cameras.names[camera]}', **common)
        for first, last, offset in place_clip(root) for camera in chosen
    ]


def _rate(seq: Sequence, fps: Optional[float]) -> int:
    """Frames of the clip per frame at ``fps``."""
    if fps is None:
        return 1
    rate = round(seq.fps / fps)
    if rate < 1 or abs(seq.fps - rate * fps) > 1e-3 * fps:
        raise ValueError(f'clip {seq.name}: its frame rate {seq.fps:g} is no multiple of '
                         f'{fps:g}; resample it with tools/prepare_data.py')
    return rate
