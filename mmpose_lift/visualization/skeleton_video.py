"""Write skeleton videos and pictures: input 2D beside (or above) the lifted 3D."""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Callable, Iterable, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.io.atomic import atomic_write

from .skeleton_drawing import (
    PAPER,
    TEXT,
    TEXT_ON_DARK,
    Panel2D,
    Panel3D,
    camera_to_upright,
    check_keypoints,
    place_people,
    put_text,
)

VIDEO_CODECS = {'.mp4': 'mp4v', '.avi': 'MJPG'}
PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg')


def _check_target(path: Union[str, Path], suffixes: Iterable[str]) -> Path:
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise ValueError(f'{path}: unsupported suffix {path.suffix!r}; use one of '
                         f'{", ".join(suffixes)}')
    if path.is_dir():
        raise IsADirectoryError(f'{path} is a folder; choose a file name')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(f'{path}: cannot write into the folder {path.parent} ({error}); choose '
                      'another folder') from error
    return path


class SkeletonVideoWriter:
    """Write frames to a video that appears under its name only when all of them are written.

    Use it as a context manager: ``with SkeletonVideoWriter('out.mp4', 50, (960, 540)) as writer:
    writer.write(image)``. When the block raises, nothing is left behind and an older file stays.

    Args:
        path: ``.mp4`` (MPEG-4 part 2) or ``.avi`` (motion JPEG).
        fps: Frames per second.
        size: Width and height in pixels, even numbers.

    Raises:
        ValueError: unsupported suffix, odd or small size, ``fps`` not positive.
        OSError: the folder cannot be written, or OpenCV has no encoder for the format.
    """

    def __init__(self, path: Union[str, Path], fps: float, size: Tuple[int, int]):
        width, height = int(size[0]), int(size[1])
        if width < 64 or height < 64 or width % 2 or height % 2:
            raise ValueError(f'size: expected an even width and height of at least 64, found '
                             f'{tuple(size)}')
        if not fps > 0:
            raise ValueError(f'fps: expected more than 0, found {fps}')
        self.path = _check_target(path, VIDEO_CODECS)
        self.size = (width, height)
        self.num_frames = 0
        self._fps = float(fps)
        self._target = atomic_write(self.path)
        self._writer: Optional[cv2.VideoWriter] = None

    def __enter__(self) -> 'SkeletonVideoWriter':
        temporary = self._target.__enter__()
        codec = cv2.VideoWriter_fourcc(*VIDEO_CODECS[self.path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(temporary), codec, self._fps, self.size)
        if not self._writer.isOpened():
            others = ' or '.join(sorted(set(VIDEO_CODECS) - {self.path.suffix.lower()}))
            error = OSError(f'{self.path}: OpenCV {cv2.__version__} cannot encode '
                            f'{self.path.suffix} at {self.size[0]}x{self.size[1]}; try {others}')
            self._target.__exit__(OSError, error, None)
            raise error
        return self

    def write(self, image: np.ndarray) -> None:
        """Append one (H, W, 3) uint8 BGR frame.

        Raises:
            ValueError: other size or type than the video.
        """
        if image.shape != (self.size[1], self.size[0], 3) or image.dtype != np.uint8:
            raise ValueError(
                f'{self.path}: expected uint8 frames of shape {(self.size[1], self.size[0], 3)}, '
                f'found {image.dtype} {image.shape}')
        if self._writer is None:
            raise RuntimeError(f'{self.path}: the video is not open; use the writer in a with '
                               'block')
        self._writer.write(image)
        self.num_frames += 1

    def __exit__(self, kind, error, traceback) -> None:
        self._writer.release()
        self._writer = None
        if error is None and self.num_frames == 0:
            empty = ValueError(f'{self.path}: no frame was written; the video would be empty')
            self._target.__exit__(ValueError, empty, None)
            raise empty
        self._target.__exit__(kind, error, traceback)


class SkeletonScene:
    """The panels of one clip, ready to be drawn frame by frame.

    The arguments are those of ``write_skeleton_video``.
    """

    def __init__(self, keypoints_3d, keypoints_2d=None, *, fps: float = 50,
                 size: Tuple[int, int] = (960, 540), skeleton: str = 'h36m', root_offsets=None,
                 up=(0, -1, 0), image_size: Optional[Tuple[int, int]] = None, azimuth: float = 25,
                 turntable: float = 0, elevation: float = 14, caption: str = '',
                 labels: Optional[Sequence[str]] = None):
        table = get_skeleton(skeleton)
        points = check_keypoints(keypoints_3d, table, (3, ), 'keypoints_3d')
        if root_offsets is not None:
            root_offsets = camera_to_upright(np.asarray(root_offsets, dtype=np.float64), up)
        placed = place_people(camera_to_upright(points, up), fps, root_offsets)
        self.num_frames, self.fps, self.caption = points.shape[1], fps, caption
        self.width, self.height = int(size[0]), int(size[1])
        self.flat, self.split = None, 0
        if keypoints_2d is not None:
            flat = check_keypoints(keypoints_2d, table, (2, 3), 'keypoints_2d')
            if flat.shape[1] != points.shape[1]:
                raise ValueError(f'keypoints_2d: {flat.shape[1]} frames, but keypoints_3d has '
                                 f'{points.shape[1]}')
            ratio = 1 if image_size is None else image_size[0] / image_size[1]
            self.split = int(min(0.55 * self.width, max(0.35 * self.width, ratio * self.height)))
            self.flat = Panel2D(flat, (self.split, self.height), image_size, skeleton)
        if turntable:
            azimuth = azimuth + turntable * np.arange(self.num_frames) / fps
        self.solid = Panel3D(placed, (self.width - self.split, self.height), skeleton, azimuth,
                             elevation, floor=0, labels=labels)

    def draw(self, canvas: np.ndarray, frame: int, image: Optional[np.ndarray] = None) -> None:
        """Draw one frame into ``canvas`` (H, W, 3) uint8."""
        self.solid.draw(canvas[:, self.split:], frame)
        if self.flat is not None:
            self.flat.draw(canvas[:, :self.split], frame, image)
            photo = image is not None
            put_text(canvas, 'input 2D', (10, 20), TEXT_ON_DARK if photo else TEXT, rim=photo)
        put_text(canvas, '3D pose' if self.flat is None else 'lifted 3D', (self.split + 10, 20))
        put_text(canvas, f'frame {frame}   {frame / self.fps:.2f} s', (self.width - 10, 20),
                 align='right')
        if self.caption:
            put_text(canvas, self.caption, ((self.split + self.width) // 2, self.height - 10),
                     align='centre')


def write_skeleton_video(path: Union[str, Path], keypoints_3d, keypoints_2d=None, frames=None,
                         fps: float = 50, size: Tuple[int, int] = (960, 540),
                         skeleton: str = 'h36m', *, root_offsets=None, up=(0, -1, 0),
                         image_size: Optional[Tuple[int, int]] = None, azimuth: float = 25,
                         turntable: float = 0, elevation: float = 14, caption: str = '',
                         labels: Optional[Sequence[str]] = None,
                         progress: Optional[Callable[[int], None]] = None) -> Path:
    """Write a video of 3D poses, beside the 2D input where it is given.

    Args:
        path: ``.mp4`` or ``.avi``; written under a temporary name and renamed.
        keypoints_3d: (P, T, K, 3) or (T, K, 3), metres, camera axes (x right, y down, z forward),
            root-relative; shown upright.
        keypoints_2d: (Q, T, K, 2 or 3) or (T, K, 2 or 3) pixels and score of Q people, who need
            not be those of ``keypoints_3d``; joints with a score below 0.3 are drawn faint [np].
        frames: T images (H, W, 3) uint8 BGR, an array or an iterable; needs ``keypoints_2d``.
        fps: Frames per second.
        size: Width and height of the video.
        skeleton: Name of the joint order of both arrays.
        root_offsets: (P, 3) or (P, T, 3) metres, camera axes, where people stand; by default they
            stand side by side on the floor.
        up: (3,) direction of the vertical in camera axes, where known; see ``camera_to_upright``.
        image_size: Width and height of the image of ``keypoints_2d``; taken from ``frames``.
        azimuth: Degrees the viewer stands to the right of the camera.
        turntable: Degrees per second the viewer walks around the people.
        elevation: Degrees the viewer looks down.
        caption: Short line at the bottom, for example 'synthetic motion'.
        labels: P short texts, written on the floor before each person.
        progress: Called with the number of frames done after each frame.

    Returns:
        ``path``.

    Raises:
        ValueError: no frames, NaN, other joint counts or lengths, fewer images than poses,
            unsupported suffix.
        OSError: the folder cannot be written.
    """
    writer = SkeletonVideoWriter(path, fps, size)
    images, image_size = _open_frames(frames, keypoints_2d, image_size)
    scene = SkeletonScene(keypoints_3d, keypoints_2d, fps=fps, size=size, skeleton=skeleton,
                          root_offsets=root_offsets, up=up, image_size=image_size,
                          azimuth=azimuth, turntable=turntable, elevation=elevation,
                          caption=caption, labels=labels)
    canvas = np.empty((scene.height, scene.width, 3), dtype=np.uint8)
    with writer:
        for index in range(scene.num_frames):
            image = None if images is None else next(images, None)
            if images is not None and image is None:
                raise ValueError(f'frames: only {index} images for {scene.num_frames} poses')
            scene.draw(canvas, index, image)
            writer.write(canvas)
            if progress is not None:
                progress(index + 1)
        if images is not None and next(images, None) is not None:
            raise ValueError(f'frames: more images than the {scene.num_frames} poses')
    return writer.path


def _open_frames(frames, keypoints_2d, image_size):
    """Iterator of images or None, and the image size (of the first image where there is one)."""
    if frames is None:
        return None, image_size
    if keypoints_2d is None:
        raise ValueError('frames: given without keypoints_2d, so there is nothing to draw over '
                         'them; pass keypoints_2d too')
    images = iter(frames)
    first = list(islice(images, 1))
    if not first:
        raise ValueError('frames: empty')
    found = (first[0].shape[1], first[0].shape[0])
    if image_size is not None and tuple(image_size) != found:
        raise ValueError(f'frames: images are {found[0]}x{found[1]}, image_size says '
                         f'{image_size[0]}x{image_size[1]}')

    def chain():
        yield from first
        yield from images

    return chain(), found


def write_skeleton_picture(path: Union[str, Path], keypoints_3d, keypoints_2d=None,
                           num_poses: int = 6, *, fps: float = 50, skeleton: str = 'h36m',
                           up=(0, -1, 0), cell: Tuple[int, int] = (200, 230), caption: str = '',
                           views: Tuple[Tuple[str, float], ...] = (('3D from the camera', 10),
                                                                   ('3D from the side', 80))
                           ) -> Path:
    """Write a strip of poses evenly spread over a clip: 2D input on top, 3D from two views below.

    Args:
        path: ``.png`` or ``.jpg``; written under a temporary name and renamed.
        keypoints_3d: (T, K, 3) of one person, as ``write_skeleton_video`` takes it.
        keypoints_2d: (T, K, 2 or 3) pixels and score.
        num_poses: Columns, at most T.
        fps: Frames per second, for the labels.
        skeleton: Name of the joint order.
        up: (3,) direction of the vertical in camera axes, where known.
        cell: Width and height of one pose in pixels.
        caption: Short line at the bottom.
        views: Name and azimuth in degrees of each 3D row.

    Returns:
        ``path``.

    Raises:
        ValueError, OSError: as ``write_skeleton_video``; more than one person.
    """
    path = _check_target(path, PICTURE_SUFFIXES)
    table = get_skeleton(skeleton)
    points = check_keypoints(keypoints_3d, table, (3, ), 'keypoints_3d')
    if len(points) != 1:
        raise ValueError(f'keypoints_3d: a picture shows one person, found {len(points)}; write '
                         'one picture per person')
    if num_poses < 1:
        raise ValueError(f'num_poses: expected at least 1, found {num_poses}')
    picked = np.unique(np.linspace(0, points.shape[1] - 1, num_poses).round().astype(int))
    placed = place_people(camera_to_upright(points, up), fps)[:, picked]
    rows = [(name, Panel3D(placed, cell, skeleton, azimuth, elevation=8, floor=0, decorate=False))
            for name, azimuth in views]
    if keypoints_2d is not None:
        flat = check_keypoints(keypoints_2d, table, (2, 3), 'keypoints_2d')
        if flat.shape[:2] != points.shape[:2]:
            raise ValueError(f'keypoints_2d: {flat.shape[1]} frames of {flat.shape[0]} people, but '
                             f'keypoints_3d has {points.shape[1]} frames of {points.shape[0]}')
        rows.insert(0, ('input 2D', Panel2D(_centred(flat[:, picked]), cell, None, skeleton)))
    image = _draw_strip(rows, picked, cell, fps, caption)
    with atomic_write(path) as temporary:
        if not cv2.imwrite(str(temporary), image):
            raise OSError(f'{path}: OpenCV could not encode the picture')
    return path


def _centred(flat: np.ndarray) -> np.ndarray:
    """Move every pose to the same place, so that a person who crosses the image stays large."""
    flat = flat.copy()
    low, high = flat[..., :2].min(axis=2, keepdims=True), flat[..., :2].max(axis=2, keepdims=True)
    flat[..., :2] -= (low + high) / 2
    return flat


def _draw_strip(rows, picked: np.ndarray, cell: Tuple[int, int], fps: float,
                caption: str) -> np.ndarray:
    width, height = cell
    head, gap, foot = 26, 22, 26
    image = np.full((head + len(rows) * (height + gap) + foot, width * len(picked), 3), PAPER,
                    dtype=np.uint8)
    for column, frame in enumerate(picked):
        put_text(image, f'frame {frame}   {frame / fps:.2f} s', ((column * width) + width // 2, 18),
                 align='centre')
    for row, (name, panel) in enumerate(rows):
        top = head + row * (height + gap)
        for column in range(len(picked)):
            panel.draw(image[top + gap:top + gap + height, column * width:(column + 1) * width],
                       column)
        cv2.line(image, (0, top), (image.shape[1], top), (225, 225, 225), 1)
        put_text(image, name, (10, top + 16))
    if caption:
        put_text(image, caption, (image.shape[1] - 10, image.shape[0] - 9), align='right')
    return image
