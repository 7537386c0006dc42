"""Write skeleton videos and pictures: input 2D beside (or above) the lifted 3D."""

from itertools import islice
from pathlib import Path
from typing import Callable, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from mmpose_lift.geometry.skeletons import get_skeleton

from .skeleton_drawing import (
    PAPER,
    TEXT,
    TEXT_ON_DARK,
    Panel2D,
    Panel3D,
    Person2D,
    Person3D,
    check_keypoints,
    put_text,
    side_by_side,
    upright_rotation,
)
from .video_writer import PICTURE_SUFFIXES, VideoWriter, check_target, write_picture

APART = 1.2  # metres between people who are put side by side [np]


def split_of(size: Tuple[int, int], image_size: Optional[Tuple[int, int]]) -> int:
    """Width of the 2D panel in a scene of that size: 35 to 60 % as the image is wide [np]."""
    ratio = 1 if image_size is None else image_size[0] / image_size[1]
    return int(min(0.6 * size[0], max(0.35 * size[0], ratio * size[1])))


class Scene:
    """A 2D panel, a 3D panel to the right of it, and text above and below them.

    Args:
        flat: Left panel, None for 3D alone.
        solid: Right panel.
        titles: Of the panels.
        caption: Line at the bottom of the right panel.
        fps: Frames per second, for the time of a frame.
        times: (num_frames,) seconds instead of that.

    Attributes:
        size: Width and height of what is drawn.
        split: Width of the left panel.
    """

    def __init__(self, flat: Optional[Panel2D], solid: Panel3D, titles: Tuple[str, str],
                 caption: str = '', fps: float = 50, times: Optional[np.ndarray] = None):
        self.flat, self.solid, self._titles, self._caption = flat, solid, titles, caption
        self.split = 0 if flat is None else flat.size[0]
        self.size = (self.split + solid.size[0], solid.size[1])
        self._fps, self._times = fps, times
        self._canvas = np.empty((self.size[1], self.size[0], 3), dtype=np.uint8)

    def draw(self, frame: int, image: Optional[np.ndarray] = None) -> np.ndarray:
        """Draw one frame.

        Args:
            frame: Its number.
            image: (H, W, 3) uint8 BGR, drawn below the 2D skeletons.

        Returns:
            (H, W, 3) uint8 BGR of ``size``. The next call draws into the same array: copy what you
            keep.
        """
        canvas, split = self._canvas, self.split
        self.solid.draw(canvas[:, split:], frame)
        if self.flat is not None:
            photo = self.flat.draw(canvas[:, :split], frame, image)
            put_text(canvas, self._titles[0], (10, 20), TEXT_ON_DARK if photo else TEXT, rim=photo)
        put_text(canvas, self._titles[1], (split + 10, 20))
        seconds = frame / self._fps if self._times is None else self._times[frame]
        put_text(canvas, f'frame {frame}   {seconds:.2f} s', (self.size[0] - 10, 20),
                 align='right')
        if self._caption:
            put_text(canvas, self._caption, ((split + self.size[0]) // 2, self.size[1] - 10),
                     align='centre')
        return canvas


class SkeletonScene(Scene):
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
        self.num_frames = points.shape[1]
        if labels is not None and len(labels) != len(points):
            raise ValueError(f'labels: expected {len(points)}, one per person, found {len(labels)}')
        people = place_people(points, fps, upright_rotation(up), root_offsets)
        people = [person._replace(label=label)
                  for person, label in zip(people, labels or [''] * len(people))]
        flat, split = None, 0
        if keypoints_2d is not None:
            flat = check_keypoints(keypoints_2d, table, (2, 3), 'keypoints_2d')
            if flat.shape[1] != points.shape[1]:
                raise ValueError(f'keypoints_2d: {flat.shape[1]} frames, but keypoints_3d has '
                                 f'{points.shape[1]}')
            split = split_of(size, image_size)
            flat = Panel2D([Person2D(xy) for xy in flat], (split, size[1]), image_size, skeleton)
        if turntable:
            azimuth = azimuth + turntable * np.arange(self.num_frames) / fps
        solid = Panel3D(people, (size[0] - split, size[1]), skeleton, azimuth, elevation, floor=0)
        super().__init__(flat, solid, ('input 2D', '3D pose' if flat is None else 'lifted 3D'),
                         caption, fps)


def place_people(keypoints: np.ndarray, fps: float, rotation: np.ndarray,
                 root_offsets: Optional[np.ndarray] = None) -> list:
    """Stand root-relative people on the floor z = 0, side by side or where they are.

    Args:
        keypoints: (P, T, K, 3) metres, camera axes, root-relative.
        fps: Frames per second.
        rotation: (3, 3) that turns row vectors to upright axes.
        root_offsets: (P, 3) or (P, T, 3) metres, camera axes. Without it people stand 1.2 m apart
            [np], see ``side_by_side``.

    Returns:
        P ``Person3D``.
    """
    count, frames = keypoints.shape[:2]
    if root_offsets is None:
        places = np.zeros((count, 2))
        places[:, 0] = APART * (np.arange(count) - (count - 1) / 2)
        offsets = side_by_side(keypoints, places, fps, rotation)
    else:
        if np.shape(root_offsets) not in ((count, 3), (count, frames, 3)):
            raise ValueError(f'root_offsets: expected shape ({count}, 3) or ({count}, {frames}, '
                             f'3), found {np.shape(root_offsets)}')
        offsets = np.asarray(root_offsets, dtype=np.float64) @ rotation
        lowest = min(((points @ rotation)[..., 2].min(axis=1) + offset[..., 2]).min()
                     for points, offset in zip(keypoints, offsets))
        offsets = offsets - [0, 0, lowest]
    return [Person3D(points, rotation=rotation, offset=offset)
            for points, offset in zip(keypoints, offsets)]


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
    writer = VideoWriter(path, fps, size)
    images, image_size = _open_frames(frames, keypoints_2d, image_size)
    scene = SkeletonScene(keypoints_3d, keypoints_2d, fps=fps, size=size, skeleton=skeleton,
                          root_offsets=root_offsets, up=up, image_size=image_size,
                          azimuth=azimuth, turntable=turntable, elevation=elevation,
                          caption=caption, labels=labels)
    with writer:
        for index in range(scene.num_frames):
            image = None if images is None else next(images, None)
            if images is not None and image is None:
                raise ValueError(f'frames: only {index} images for {scene.num_frames} poses')
            writer.write(scene.draw(index, image))
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
    path = check_target(path, PICTURE_SUFFIXES)
    table = get_skeleton(skeleton)
    points = check_keypoints(keypoints_3d, table, (3, ), 'keypoints_3d')
    if len(points) != 1:
        raise ValueError(f'keypoints_3d: a picture shows one person, found {len(points)}; write '
                         'one picture per person')
    if num_poses < 1:
        raise ValueError(f'num_poses: expected at least 1, found {num_poses}')
    picked = np.unique(np.linspace(0, points.shape[1] - 1, num_poses).round().astype(int))
    people = place_people(points, fps, upright_rotation(up))
    people = [person._replace(keypoints=person.keypoints[picked], offset=person.offset[picked])
              for person in people]
    rows = [(name, Panel3D(people, cell, skeleton, azimuth, elevation=8, floor=0, decorate=False))
            for name, azimuth in views]
    if keypoints_2d is not None:
        flat = check_keypoints(keypoints_2d, table, (2, 3), 'keypoints_2d')
        if flat.shape[:2] != points.shape[:2]:
            raise ValueError(f'keypoints_2d: {flat.shape[1]} frames of {flat.shape[0]} people, but '
                             f'keypoints_3d has {points.shape[1]} frames of {points.shape[0]}')
        person = Person2D(_centred(flat[0, picked]))
        rows.insert(0, ('input 2D', Panel2D([person], cell, None, skeleton)))
    return write_picture(_draw_strip(rows, picked, cell, fps, caption), path)


def _centred(flat: np.ndarray) -> np.ndarray:
    """Move every pose to the same place, so that a person who crosses the image stays large."""
    flat = flat.copy()
    low, high = flat[..., :2].min(axis=1, keepdims=True), flat[..., :2].max(axis=1, keepdims=True)
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
