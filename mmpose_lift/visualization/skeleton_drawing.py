"""Fast OpenCV drawing of 2D skeletons over frames and of 3D skeletons in a panel.

Everything that does not depend on the frame (projection of the whole clip, scale, floor grid,
labels) is computed once; drawing a frame is a few line calls.
"""

from typing import Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from mmpose_lift.geometry.skeletons import Skeleton, get_skeleton

# BGR, from the palette of Okabe and Ito, which people with colour blindness can tell apart.
LEFT, RIGHT, MIDDLE = (178, 114, 0), (0, 94, 213), (70, 70, 70)
ON_PHOTO = ((233, 180, 86), (0, 159, 230), (245, 245, 245))  # lighter, for use over images
PAPER, DARK, GRID, SHADOW = (250, 250, 250), (40, 40, 40), (212, 212, 212), (188, 188, 188)
TEXT, TEXT_ON_DARK = (90, 90, 90), (225, 225, 225)
FAINT = (170, 170, 170)

_SHIFT = 3  # coordinates are in 1/8 pixel
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LOW_SCORE = 0.3


def put_text(image: np.ndarray, text: str, position: Tuple[int, int], colour=TEXT,
             scale: float = 0.42, align: str = 'left', rim: bool = False) -> None:
    """Write one line; ``position`` is its left, centre or right end on the base line.

    ``rim`` puts a dark rim around the letters, for text over images.
    """
    if align != 'left':
        width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
        position = (position[0] - (width if align == 'right' else width // 2), position[1])
    if rim:
        cv2.putText(image, text, position, _FONT, scale, DARK, 3, cv2.LINE_AA)
    cv2.putText(image, text, position, _FONT, scale, colour, 1, cv2.LINE_AA)


def check_keypoints(keypoints, skeleton: Skeleton, channels: Tuple[int, ...],
                    name: str) -> np.ndarray:
    """Return (P, T, K, D) float64 of one person (T, K, D) or several (P, T, K, D).

    Raises:
        ValueError: wrong number of axes, joints or channels, no person or frame, NaN or infinity.
    """
    array = np.asarray(keypoints, dtype=np.float64)
    if array.ndim == 3:
        array = array[None]
    wanted = ' or '.join(str(c) for c in channels)
    if (array.ndim != 4 or array.shape[2] != skeleton.num_joints
            or array.shape[3] not in channels):
        raise ValueError(
            f'{name}: expected shape (T, {skeleton.num_joints}, {wanted}) or (people, T, '
            f'{skeleton.num_joints}, {wanted}) for skeleton {skeleton.name!r}, found '
            f'{np.shape(keypoints)}; convert the joints with geometry.skeletons.convert_keypoints')
    if 0 in array.shape:
        raise ValueError(f'{name}: no people or no frames to draw, shape {np.shape(keypoints)}')
    bad = ~np.isfinite(array).all(axis=(0, 2, 3))
    if bad.any():
        raise ValueError(f'{name}: {bad.sum()} frame(s) are not finite (NaN or infinite), first '
                         f'{np.flatnonzero(bad)[0]}; fill or remove them before drawing')
    return array


def camera_to_upright(keypoints: np.ndarray, up=(0, -1, 0)) -> np.ndarray:
    """Camera axes (x right, y down, z forward) -> x right, y away, z up.

    Args:
        keypoints: (..., 3).
        up: (3,) direction of the vertical in camera axes; the default is a level camera, so people
            seen by a camera that looks down appear to lean.

    Returns:
        (..., 3), the camera looks along y except for its tilt.

    Raises:
        ValueError: ``up`` is zero or along the line of sight.
    """
    up = np.asarray(up, dtype=np.float64)
    right = np.cross((0, 0, 1), up)
    if up.shape != (3, ) or not np.linalg.norm(right) > 1e-6 * np.linalg.norm(up):
        raise ValueError(f'up: expected the vertical in camera axes, for example (0, -1, 0), found '
                         f'{up.tolist()}')
    up, right = up / np.linalg.norm(up), right / np.linalg.norm(right)
    return keypoints @ np.stack([right, np.cross(up, right), up], axis=-1)


def bone_colours(skeleton: Skeleton, colours=(LEFT, RIGHT, MIDDLE)) -> list:
    """One BGR colour per bone of ``skeleton.bones``: its side is the side of the child joint."""
    left, right = set(skeleton.left_joints), set(skeleton.right_joints)
    return [colours[0 if child in left else 1 if child in right else 2]
            for _, child in skeleton.bones]


def _page(size: Tuple[int, int], colour) -> np.ndarray:
    return np.full((size[1], size[0], 3), colour, dtype=np.uint8)


def _fixed_point(xy: np.ndarray) -> np.ndarray:
    # clipping keeps a wild prediction from overflowing OpenCV's fixed-point coordinates
    return np.round(np.clip(xy, -20000, 20000) * (1 << _SHIFT)).astype(np.int32)


def _bone_lines(xy: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(P, T, K, 2) pixels -> (T, P, bones, 2, 2) fixed-point ends of the bones, contiguous."""
    lines = _fixed_point(xy)[:, :, np.array(skeleton.bones)]
    return np.ascontiguousarray(np.moveaxis(lines, 0, 1))


def _fit(low: np.ndarray, high: np.ndarray, size: Tuple[int, int], margins) -> Tuple[float, ...]:
    """Scale and offset (2,) that put the box [low, high] in the middle of the panel."""
    left, top, right, bottom = margins
    room = np.array([size[0] - left - right, size[1] - top - bottom], dtype=float)
    scale = float((room / np.maximum(high - low, 1e-6)).min())
    return scale, np.array([left, top]) + room / 2 - scale * (low + high) / 2


class Panel3D:
    """3D skeletons on a floor grid, seen by a viewer who stands still or walks around them.

    Args:
        keypoints: (P, T, K, 3) or (T, K, 3), metres, x right, y away, z up
            (``camera_to_upright``).
        size: Width and height in pixels.
        skeleton: Name of the joint order.
        azimuth: Degrees the viewer stands to the right of the camera; (T,) for a moving viewer.
        elevation: Degrees the viewer looks down.
        floor: Height of the floor, metres; the lowest joint of the clip by default.
        decorate: Draw the axes and the size of the grid cells.
        labels: P short texts written on the floor before the people.

    Raises:
        ValueError: wrong shape or not finite, other number of labels than people.
    """

    def __init__(self, keypoints: np.ndarray, size: Tuple[int, int], skeleton: str = 'h36m',
                 azimuth: Union[float, np.ndarray] = 25, elevation: float = 14,
                 floor: Optional[float] = None, decorate: bool = True,
                 labels: Optional[Sequence[str]] = None):
        self.skeleton = get_skeleton(skeleton)
        points = check_keypoints(keypoints, self.skeleton, (3, ), 'keypoints_3d')
        self.size = (int(size[0]), int(size[1]))
        self.num_frames = points.shape[1]
        if labels is not None and len(labels) != len(points):
            raise ValueError(f'labels: expected {len(points)}, one per person, found {len(labels)}')
        self._labels = list(labels or [])
        self._decorate = decorate
        self._floor = float(points[..., 2].min() if floor is None else floor)
        self._low, self._high = points.min(axis=(0, 1, 2)), points.max(axis=(0, 1, 2))
        self._centre = (self._low + self._high) / 2
        self._distance = max(4.5, 2.2 * float(np.linalg.norm(self._high - self._low)))
        self._elevation = np.deg2rad(elevation)
        azimuth = np.deg2rad(np.asarray(azimuth, dtype=np.float64))
        self._moving = azimuth.ndim > 0
        if self._moving and len(azimuth) != self.num_frames:
            raise ValueError(f'azimuth: expected one angle or {self.num_frames}, one per frame; '
                             f'found {len(azimuth)}')
        self._azimuth = azimuth
        # one more axis than the azimuth so that it broadcasts over people and joints
        around = azimuth[None, :, None] if self._moving else azimuth
        flat = np.concatenate([points[..., :2], np.full_like(points[..., :1], self._floor)], -1)
        body, depth = self._project(points, around)
        shadow, _ = self._project(flat, around)
        feet = self._before_the_feet(flat, azimuth)
        everything = np.concatenate([body, shadow] + [feet] * bool(self._labels), axis=2)
        side = 0.06 * min(self.size)
        top, bottom = (side + 14, side + 10) if decorate else (side, side)
        self._scale, self._offset = _fit(
            everything.min(axis=(0, 1, 2)), everything.max(axis=(0, 1, 2)), self.size,
            (side, top, side, bottom))
        parents, children = np.array(self.skeleton.bones).T
        self._lines = _bone_lines(self._pixels(body), self.skeleton)
        self._shadows = _bone_lines(self._pixels(shadow), self.skeleton)
        self._label_places = self._pixels(feet)[:, :, 0].round().astype(int)
        # far bones first; people and bones are sorted together
        bone_depth = depth[:, :, parents] + depth[:, :, children]
        self._order = np.argsort(-bone_depth.transpose(1, 0, 2).reshape(self.num_frames, -1))
        self._colours = bone_colours(self.skeleton) * len(points)
        self._thickness = max(1, round(min(self.size) / 110))
        self._blank = _page(self.size, PAPER)
        self._background = None if self._moving else self._draw_background(azimuth)

    def _before_the_feet(self, flat: np.ndarray, azimuth) -> np.ndarray:
        """(P, T, 1, 2) projection of the floor 0.5 m before the root, seen from the viewer."""
        root = self.skeleton.root_index if self.skeleton.has_root else 0
        place = flat[:, :, root].copy()
        place[..., 0] += 0.5 * np.sin(azimuth)
        place[..., 1] -= 0.5 * np.cos(azimuth)
        around = azimuth[None, :, None] if self._moving else azimuth
        return self._project(place[:, :, None], around)[0]

    def _project(self, points: np.ndarray, azimuth) -> Tuple[np.ndarray, np.ndarray]:
        x, y, z = np.moveaxis(points - self._centre, -1, 0)
        cos, sin = np.cos(azimuth), np.sin(azimuth)
        right, away = cos * x + sin * y, cos * y - sin * x
        cos, sin = np.cos(self._elevation), np.sin(self._elevation)
        depth = self._distance + cos * away - sin * z
        up = sin * away + cos * z
        return np.stack([right, -up], axis=-1) / depth[..., None], depth

    def _pixels(self, projected: np.ndarray) -> np.ndarray:
        return projected * self._scale + self._offset

    def _draw_background(self, azimuth: float) -> np.ndarray:
        image = self._blank.copy()
        cell = 0.5
        while (self._high - self._low)[:2].max() > 40 * cell:
            cell *= 2
        low = cell * np.floor((self._low[:2] - 0.45) / cell)
        high = cell * np.ceil((self._high[:2] + 0.45) / cell)
        xs, ys = (np.arange(low[i], high[i] + 0.1, cell) for i in range(2))
        ends = [[[x, low[1]], [x, high[1]]] for x in xs] + [[[low[0], y], [high[0], y]] for y in ys]
        ends = np.concatenate([np.array(ends), np.full((len(ends), 2, 1), self._floor)], -1)
        lines = _fixed_point(self._pixels(self._project(ends, azimuth)[0]))
        cv2.polylines(image, list(lines), False, GRID, 1, cv2.LINE_AA, _SHIFT)
        if self._decorate:
            self._draw_axes(image, azimuth)
            put_text(image, f'grid {cell:g} m', (self.size[0] - 10, self.size[1] - 10),
                     align='right')
        return image

    def _draw_axes(self, image: np.ndarray, azimuth: float) -> None:
        length, corner = 0.055 * self.size[1], np.array([0.09 * self.size[0],
                                                         0.90 * self.size[1]])
        cos, sin = np.cos(azimuth), np.sin(azimuth)
        tilt = np.sin(self._elevation)
        arrows = {'x': (cos, sin * tilt), 'z': (sin, -cos * tilt),
                  'y': (0, np.cos(self._elevation))}
        for name, direction in arrows.items():
            tip = corner + length * np.array(direction)
            cv2.arrowedLine(image, tuple(corner.astype(int)), tuple(tip.astype(int)), TEXT, 1,
                            cv2.LINE_AA, tipLength=0.25)
            label = corner + (length + 9) * np.array(direction)
            put_text(image, name, (int(label[0]), int(label[1]) + 4), align='centre')

    def draw(self, canvas: np.ndarray, frame: int) -> None:
        """Fill ``canvas`` (H, W, 3) uint8 with frame number ``frame``."""
        canvas[:] = (self._draw_background(self._azimuth[frame]) if self._moving
                     else self._background)
        cv2.polylines(canvas, list(self._shadows[frame].reshape(-1, 2, 2)), False, SHADOW,
                      max(1, self._thickness - 1), cv2.LINE_AA, _SHIFT)
        lines = self._lines[frame].reshape(-1, 2, 2).tolist()
        for bone in self._order[frame].tolist():
            start, end = lines[bone]
            cv2.line(canvas, start, end, self._colours[bone], self._thickness, cv2.LINE_AA, _SHIFT)
        for label, places in zip(self._labels, self._label_places):
            put_text(canvas, label, tuple(places[frame].tolist()), align='centre')


class Panel2D:
    """2D skeletons over the frame they belong to, or over an empty page.

    Args:
        keypoints: (P, T, K, 2 or 3) or (T, K, 2 or 3) pixels of the image, and score.
        size: Width and height of the panel in pixels.
        image_size: Width and height of the image; by default what the keypoints need.
        skeleton: Name of the joint order.

    Raises:
        ValueError: wrong shape or not finite.
    """

    def __init__(self, keypoints: np.ndarray, size: Tuple[int, int],
                 image_size: Optional[Tuple[int, int]] = None, skeleton: str = 'h36m'):
        self.skeleton = get_skeleton(skeleton)
        points = check_keypoints(keypoints, self.skeleton, (2, 3), 'keypoints_2d')
        self.size = (int(size[0]), int(size[1]))
        self.image_size = image_size
        xy = points[..., :2]
        if image_size is None:
            low, high, margin = xy.min(axis=(0, 1, 2)), xy.max(axis=(0, 1, 2)), 0.09
        else:
            low, high, margin = np.zeros(2), np.asarray(image_size, dtype=float), 0
        margin *= min(self.size)
        self._scale, self._offset = _fit(low, high, self.size, (margin, ) * 4)
        corners = np.round([self._offset, self._offset + self._scale * high]).astype(int)
        self._box = None if image_size is None else np.clip(corners, 0, self.size).ravel().tolist()
        bones = np.array(self.skeleton.bones)
        self._lines = _bone_lines(xy * self._scale + self._offset, self.skeleton)
        self._seen = None
        if points.shape[-1] == 3:
            seen = points[..., 2] >= _LOW_SCORE
            self._seen = seen[:, :, bones].all(axis=-1)
        self._colours = bone_colours(self.skeleton)
        self._photo_colours = bone_colours(self.skeleton, ON_PHOTO)
        self._thickness = max(1, round(min(self.size) / 120))
        self._background, self._dark = _page(self.size, PAPER), _page(self.size, DARK)
        if self._box is not None:  # the border of the image
            left, top, right, bottom = self._box
            cv2.rectangle(self._background, (left, top), (right - 1, bottom - 1), GRID, 1)

    def draw(self, canvas: np.ndarray, frame: int, image: Optional[np.ndarray] = None) -> None:
        """Fill ``canvas`` (H, W, 3) uint8 with frame number ``frame``.

        Args:
            image: (H, W, 3) uint8 BGR of ``image_size``, drawn below the skeleton.

        Raises:
            ValueError: the image has another size or type.
        """
        colours = self._colours
        if image is None:
            canvas[:] = self._background
        else:
            self._draw_image(canvas, frame, image)
            colours = self._photo_colours
        lines = self._lines[frame].tolist()
        if image is not None:  # a dark rim keeps the lines apart from the photo
            for start, end in (line for person in lines for line in person):
                cv2.line(canvas, start, end, DARK, self._thickness + 2, cv2.LINE_AA, _SHIFT)
        for person, bones in enumerate(lines):
            for bone, (start, end) in enumerate(bones):
                seen = self._seen is None or self._seen[person, frame, bone]
                cv2.line(canvas, start, end, colours[bone] if seen else FAINT,
                         self._thickness if seen else 1, cv2.LINE_AA, _SHIFT)

    def _draw_image(self, canvas: np.ndarray, frame: int, image: np.ndarray) -> None:
        expected = None if self.image_size is None else (self.image_size[1], self.image_size[0], 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise ValueError(f'frame {frame}: expected a uint8 BGR image of shape {expected}, '
                             f'found {image.dtype} {image.shape}')
        left, top, right, bottom = self._box
        canvas[:] = self._dark
        canvas[top:bottom, left:right] = cv2.resize(
            image, (right - left, bottom - top),
            interpolation=cv2.INTER_AREA if self._scale < 0.5 else cv2.INTER_LINEAR)


def place_people(keypoints: np.ndarray, fps: float,
                 root_offsets: Optional[np.ndarray] = None) -> np.ndarray:
    """Stand root-relative people on the floor, side by side or where they are.

    Args:
        keypoints: (P, T, K, 3) metres, upright axes, root-relative.
        fps: Frames per second.
        root_offsets: (P, 3) or (P, T, 3) metres, upright axes. Without it people stand 1.2 m apart
            [np] and every person's lowest joint is on the floor (smoothed over 0.1 s), because
            root-relative poses do not say how high the root is.

    Returns:
        (P, T, K, 3) with the floor at z = 0.
    """
    people, frames = keypoints.shape[:2]
    if root_offsets is not None:
        offsets = np.asarray(root_offsets, dtype=np.float64)
        if offsets.shape == (people, 3):
            offsets = offsets[:, None]
        elif offsets.shape != (people, frames, 3):
            raise ValueError(f'root_offsets: expected shape ({people}, 3) or ({people}, {frames}, '
                             f'3), found {np.shape(root_offsets)}')
        placed = keypoints + offsets[:, :, None]
        return placed - [0, 0, placed[..., 2].min()]
    lowest = gaussian_filter1d(keypoints[..., 2].min(axis=2), 0.1 * fps, axis=1, mode='nearest')
    placed = keypoints.copy()
    placed[..., 2] -= lowest[..., None]
    placed[..., 0] += 1.2 * (np.arange(people) - (people - 1) / 2)[:, None, None]
    return placed
