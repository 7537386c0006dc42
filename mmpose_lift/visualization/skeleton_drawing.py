"""Fast OpenCV drawing of 2D skeletons over frames and of 3D skeletons in a panel.

Scale, floor grid and text are computed once, pixels of the joints in blocks of frames, so that
drawing a frame is a few line calls and memory does not grow with the length of the video.
"""

from typing import Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

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

Colour = Tuple[int, int, int]
BLOCK = 500  # frames whose pixels are computed together

_SHIFT = 3  # coordinates are in 1/8 pixel
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Colours(NamedTuple):
    """BGR of the left, right and middle bones of a person, on paper and over an image."""
    paper: Tuple[Colour, Colour, Colour] = (LEFT, RIGHT, MIDDLE)
    photo: Tuple[Colour, Colour, Colour] = ON_PHOTO


class Person2D(NamedTuple):
    """What ``Panel2D`` draws of one person, over n consecutive frames.

    Attributes:
        keypoints: (n, K, 2 or 3) pixels of the image, and score.
        first_frame: Number of the first of the n frames.
        colours: Of the bones.
        label: Short text above the person.
        boxes: (n, 4) x1, y1, x2, y2 in pixels, drawn where given.
        faint: (n,) bool, frames in which the person is drawn faintly.
    """
    keypoints: np.ndarray
    first_frame: int = 0
    colours: Colours = Colours()
    label: str = ''
    boxes: Optional[np.ndarray] = None
    faint: Optional[np.ndarray] = None


class Person3D(NamedTuple):
    """What ``Panel3D`` draws of one person, over n consecutive frames.

    Attributes:
        keypoints: (n, K, 3) metres in any axes.
        first_frame: Number of the first of the n frames.
        colours: Of the bones.
        label: Short text on the floor before the person.
        rotation: (3, 3) turns row vectors to upright axes: x right, y away, z up; None where they
            are upright.
        offset: (3,) or (n, 3) metres, upright axes, added after that.
        faint: (n,) bool, frames in which the person is drawn faintly.
    """
    keypoints: np.ndarray
    first_frame: int = 0
    colours: Colours = Colours()
    label: str = ''
    rotation: Optional[np.ndarray] = None
    offset: np.ndarray = np.zeros(3)
    faint: Optional[np.ndarray] = None

    def upright(self, rows: slice) -> np.ndarray:
        """(m, K, 3) float32 of some of the frames, where the person is drawn."""
        points = self.keypoints[rows].astype(np.float32)
        if self.rotation is not None:
            points = points @ self.rotation.astype(np.float32)
        offset = self.offset[rows] if self.offset.ndim == 2 else self.offset[None]
        return points + offset[:, None].astype(np.float32)

    def blocks(self) -> Iterator[np.ndarray]:
        """``upright`` of all frames, a block at a time."""
        for start in range(0, len(self.keypoints), BLOCK):
            yield self.upright(slice(start, start + BLOCK))


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
    """Return (P, T, K, D) of one person (T, K, D) or several (P, T, K, D).

    Raises:
        ValueError: wrong number of axes, joints or channels, no person or frame, NaN or infinity.
    """
    array = np.asarray(keypoints)
    if array.dtype.kind != 'f':
        array = array.astype(np.float64)
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


def upright_rotation(up=(0, -1, 0)) -> np.ndarray:
    """(3, 3) that turns row vectors from camera axes to upright axes, see ``camera_to_upright``."""
    up = np.asarray(up, dtype=np.float64)
    right = np.cross((0, 0, 1), up)
    if up.shape != (3, ) or not np.linalg.norm(right) > 1e-6 * np.linalg.norm(up):
        raise ValueError(f'up: expected the vertical in camera axes, for example (0, -1, 0), found '
                         f'{up.tolist()}')
    up, right = up / np.linalg.norm(up), right / np.linalg.norm(right)
    return np.stack([right, np.cross(up, right), up], axis=-1)


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
    return keypoints @ upright_rotation(up)


def mixed(colour: Colour, other: Colour, part: float) -> Colour:
    """``colour`` with ``part`` of ``other`` in it."""
    return tuple(round(c + part * (o - c)) for c, o in zip(colour, other))


def shrink_into(target: np.ndarray, image: np.ndarray) -> None:
    """Resize an image into ``target`` (H, W, 3), which may be a part of a larger one.

    OpenCV averages fast where it halves, so that comes first; an odd row or column at the end, less
    than half a pixel of the target, is cut.
    """
    height, width = target.shape[:2]
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        rows, columns = image.shape[0] // 2, image.shape[1] // 2
        image = cv2.resize(image[:2 * rows, :2 * columns], (columns, rows),
                           interpolation=cv2.INTER_AREA)
    cv2.resize(image, (width, height), dst=target, interpolation=cv2.INTER_LINEAR)


def _sides(skeleton: Skeleton) -> Tuple[np.ndarray, ...]:
    """Rows of ``skeleton.bones`` on the left, right and in the middle, by their child joints."""
    left, right = set(skeleton.left_joints), set(skeleton.right_joints)
    side = np.array([0 if child in left else 1 if child in right else 2
                     for _, child in skeleton.bones])
    return tuple(np.flatnonzero(side == i) for i in range(3))


def _page(size: Tuple[int, int], colour) -> np.ndarray:
    return np.full((size[1], size[0], 3), colour, dtype=np.uint8)


def _fixed_point(xy: np.ndarray) -> np.ndarray:
    # clipping keeps a wild prediction from overflowing OpenCV's fixed-point coordinates
    return np.rint(np.clip(xy, -20000, 20000) * (1 << _SHIFT)).astype(np.int32)


def _bone_lines(xy: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(T, K, 2) pixels -> (T, bones, 2, 2) fixed-point ends of the bones."""
    return np.ascontiguousarray(_fixed_point(xy)[:, np.array(skeleton.bones)])


def _polylines(canvas: np.ndarray, lines: np.ndarray, colour: Colour, thickness: int) -> None:
    cv2.polylines(canvas, list(lines), False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _fit(low: np.ndarray, high: np.ndarray, size: Tuple[int, int], margins) -> Tuple[float, ...]:
    """Scale and offset (2,) that put the box [low, high] in the middle of the panel."""
    left, top, right, bottom = margins
    room = np.array([size[0] - left - right, size[1] - top - bottom], dtype=float)
    scale = float((room / np.maximum(high - low, 1e-6)).min())
    return scale, np.array([left, top]) + room / 2 - scale * (low + high) / 2


def _bounds(blocks: Iterator[np.ndarray]) -> Tuple[np.ndarray, np.ndarray]:
    """Least and greatest coordinates of one person's joints but for 1 % of the frames [np].

    So one wrong frame of a long video does not make everybody small.
    """
    ends = [(points.min(axis=1), points.max(axis=1)) for points in blocks]
    lows, highs = (np.concatenate(part) for part in zip(*ends))
    return (np.quantile(lows, 0.01, axis=0, method='lower'),
            np.quantile(highs, 0.99, axis=0, method='higher'))


class _Blocks:
    """Pixels of the people, computed for a block of frames when one of it is drawn."""

    def __init__(self, people: Sequence):
        self._people = people
        self._start, self._drawings = None, []

    def at(self, frame: int) -> List[tuple]:
        """(person, its ``_pixels_of`` the block, row in it) of everybody who is in the frame."""
        start = frame - frame % BLOCK
        if start != self._start:
            self._start, self._drawings = start, []
            for number, person in enumerate(self._people):
                low = max(start, person.first_frame)
                high = min(start + BLOCK, person.first_frame + len(person.keypoints))
                if low < high:
                    rows = slice(low - person.first_frame, high - person.first_frame)
                    self._drawings.append((number, low, high, self._pixels_of(number, rows)))
        return [(number, drawing, frame - low) for number, low, high, drawing in self._drawings
                if low <= frame < high]

    def _pixels_of(self, number: int, rows: slice) -> tuple:
        raise NotImplementedError


class Panel3D(_Blocks):
    """3D skeletons on a floor grid, seen by a viewer who stands still or walks around them.

    Args:
        people: Who is drawn, in which frames.
        size: Width and height in pixels.
        skeleton: Name of the joint order.
        azimuth: Degrees the viewer stands to the right of the camera; for a moving viewer one
            angle for each frame.
        elevation: Degrees the viewer looks down.
        floor: Height of the floor, metres; the lowest joint by default.
        decorate: Draw the axes and the size of the grid cells.
        axes: Names of the axes to the right, away from the camera and up, with a minus before one
            that points the other way.
        room: ((3,), (3,)) lowest and highest corner of what is in view at least, metres.

    Raises:
        ValueError: Neither people nor room, or another number of angles than frames.
    """

    def __init__(self, people: Sequence[Person3D], size: Tuple[int, int], skeleton: str = 'h36m',
                 azimuth: Union[float, np.ndarray] = 25, elevation: float = 14,
                 floor: Optional[float] = None, decorate: bool = True,
                 axes: Tuple[str, str, str] = ('x', 'z', '-y'), room=None):
        super().__init__(people)
        if not people and room is None:
            raise ValueError('people: nobody to draw; say by room what is in view')
        self.skeleton = get_skeleton(skeleton)
        self.size = (int(size[0]), int(size[1]))
        self._decorate, self._axes = decorate, axes
        bounds = [_bounds(person.blocks()) for person in people] + [room] * (room is not None)
        self._low, self._high = np.min([b[0] for b in bounds], 0), np.max([b[1] for b in bounds], 0)
        self._floor = float(self._low[2] if floor is None else floor)
        self._low[2] = min(self._low[2], self._floor)
        self._centre = (self._low + self._high) / 2
        self._distance = max(4.5, 2.2 * float(np.linalg.norm(self._high - self._low)))
        self._elevation = np.deg2rad(elevation)
        self._azimuth = np.deg2rad(np.asarray(azimuth, dtype=np.float64))
        self._moving = self._azimuth.ndim > 0
        num_frames = max((p.first_frame + len(p.keypoints) for p in people), default=0)
        if self._moving and len(self._azimuth) != num_frames:
            raise ValueError(f'azimuth: expected one angle or {num_frames}, one per frame; '
                             f'found {len(self._azimuth)}')
        self._scale, self._offset = self._fitted(room)
        self._parents, self._children = np.array(self.skeleton.bones).T
        per_metre = self._scale / self._distance  # pixels
        self._thickness = max(2, round(min(min(self.size) / 110, per_metre / 45)))
        self._colours = [self._bone_colours(person.colours.paper) for person in people]
        self._blank = _page(self.size, PAPER)
        self._background = None if self._moving else self._draw_background(self._azimuth)

    def _bone_colours(self, triple) -> Tuple[list, list]:
        """One colour per bone, and the faint ones."""
        colours = [None] * len(self.skeleton.bones)
        for colour, bones in zip(triple, _sides(self.skeleton)):
            for bone in bones:
                colours[bone] = colour
        return colours, [mixed(colour, PAPER, 0.6) for colour in colours]

    def _fitted(self, room) -> Tuple[float, np.ndarray]:
        """Scale and offset with which everybody, the shadows and the room are in view."""
        boxes = []
        for person in self._people:
            starts = range(0, len(person.keypoints), BLOCK)
            views = (self._views(person, slice(start, start + BLOCK)) for start in starts)
            boxes.append(_bounds(np.concatenate([body, shadow], axis=1)
                                 for body, shadow, _ in views))
        if room is not None:
            corners = np.stack(np.meshgrid(*zip(*room)), -1).reshape(1, -1, 3)
            azimuth = self._azimuth[:, None] if self._moving else self._azimuth
            boxes.append(_bounds(iter([self._project(corners, azimuth)[0]])))
        side = 0.06 * min(self.size)
        top, bottom = (side + 14, side + 10) if self._decorate else (side, side)
        bottom += 16 * any(person.label for person in self._people)
        return _fit(np.min([box[0] for box in boxes], 0), np.max([box[1] for box in boxes], 0),
                    self.size, (side, top, side, bottom))

    def _views(self, person: Person3D, rows: slice) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Projections (m, K, 2) of the joints and of their shadows, and depths (m, K)."""
        points = person.upright(rows)
        flat = points.copy()
        flat[..., 2] = self._floor
        azimuth = self._azimuth
        if self._moving:
            azimuth = azimuth[person.first_frame:][rows][:, None]
        body, depth = self._project(points, azimuth)
        return body, self._project(flat, azimuth)[0], depth

    def _project(self, points: np.ndarray, azimuth) -> Tuple[np.ndarray, np.ndarray]:
        x, y, z = np.moveaxis(points - self._centre.astype(points.dtype), -1, 0)
        cos, sin = np.cos(azimuth), np.sin(azimuth)
        right, away = cos * x + sin * y, cos * y - sin * x
        cos, sin = np.cos(self._elevation), np.sin(self._elevation)
        # who comes up to the viewer is drawn large, not turned inside out
        depth = np.maximum(self._distance + cos * away - sin * z, 0.1 * self._distance)
        up = sin * away + cos * z
        return np.stack([right, -up], axis=-1) / depth[..., None], depth

    def _to_pixels(self, projected: np.ndarray) -> np.ndarray:
        return projected * self._scale + self._offset

    def _pixels_of(self, number: int, rows: slice) -> tuple:
        """Bones, their shadows, their depths and the place of the label."""
        body, shadow, depth = self._views(self._people[number], rows)
        shadow = self._to_pixels(shadow)
        label = np.stack([shadow[..., 0].mean(axis=1), shadow[..., 1].max(axis=1) + 18], -1)
        return (_bone_lines(self._to_pixels(body), self.skeleton),
                _bone_lines(shadow, self.skeleton),
                depth[:, self._parents] + depth[:, self._children], label.round().astype(int))

    def _draw_background(self, azimuth: float) -> np.ndarray:
        image = self._blank.copy()
        cell = 0.5
        while (self._high - self._low)[:2].max() > 20 * cell:
            cell *= 2
        low = cell * np.floor((self._low[:2] - 0.45) / cell)
        high = cell * np.ceil((self._high[:2] + 0.45) / cell)
        xs, ys = (np.arange(low[i], high[i] + 0.1 * cell, cell) for i in range(2))
        ends = [[[x, low[1]], [x, high[1]]] for x in xs] + [[[low[0], y], [high[0], y]] for y in ys]
        ends = np.concatenate([np.array(ends), np.full((len(ends), 2, 1), self._floor)], -1)
        lines = _fixed_point(self._to_pixels(self._project(ends, azimuth)[0]))
        _polylines(image, lines, GRID, 1)
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
        directions = ((cos, sin * tilt), (sin, -cos * tilt), (0, -np.cos(self._elevation)))
        for name, direction in zip(self._axes, np.array(directions)):
            direction = -direction if name.startswith('-') else direction
            tip = corner + length * direction
            cv2.arrowedLine(image, tuple(corner.astype(int)), tuple(tip.astype(int)), TEXT, 1,
                            cv2.LINE_AA, tipLength=0.25)
            label = corner + (length + 9) * direction
            put_text(image, name.lstrip('-'), (int(label[0]), int(label[1]) + 4), align='centre')

    def draw(self, canvas: np.ndarray, frame: int) -> None:
        """Fill ``canvas`` (H, W, 3) uint8 with frame number ``frame``."""
        canvas[:] = (self._draw_background(self._azimuth[frame]) if self._moving
                     else self._background)
        lines, depths, colours = [], [], []
        drawn = self.at(frame)
        for number, (bodies, shadows, bone_depths, _), row in drawn:
            person = self._people[number]
            faint = (person.faint is not None and person.faint[frame - person.first_frame])
            _polylines(canvas, shadows[row], SHADOW, max(1, self._thickness - 1))
            lines += bodies[row].tolist()
            depths.append(bone_depths[row])
            colours += self._colours[number][faint]
        if drawn:  # far bones first; people and bones are sorted together
            for bone in np.argsort(-np.concatenate(depths)).tolist():
                cv2.line(canvas, *lines[bone], colours[bone], self._thickness, cv2.LINE_AA, _SHIFT)
        for number, (*_, places), row in drawn:
            if self._people[number].label:
                x, y = places[row].tolist()
                put_text(canvas, self._people[number].label, (x, min(y, self.size[1] - 8)),
                         mixed(self._people[number].colours.paper[2], DARK, 0.4), align='centre')


class Panel2D(_Blocks):
    """2D skeletons over the frame they belong to, or over an empty page.

    Args:
        people: Who is drawn, in which frames.
        size: Width and height of the panel in pixels.
        image_size: Width and height of the image; by default what the keypoints need.
        skeleton: Name of the joint order.
        kpt_thr: Bones with a joint of a lower score are drawn faintly.
        dark: The page is black.

    Raises:
        ValueError: Neither people nor an image size.
    """

    def __init__(self, people: Sequence[Person2D], size: Tuple[int, int],
                 image_size: Optional[Tuple[int, int]] = None, skeleton: str = 'h36m',
                 kpt_thr: float = 0.3, dark: bool = False):
        super().__init__(people)
        self.skeleton = get_skeleton(skeleton)
        self.size = (int(size[0]), int(size[1]))
        self.image_size = image_size
        self._kpt_thr, self._is_dark = kpt_thr, dark
        if image_size is None:
            if not people:
                raise ValueError('people: nobody to draw; give the size of the image')
            bounds = [_bounds(iter([person.keypoints[..., :2]])) for person in people]
            low, high = np.min([b[0] for b in bounds], 0), np.max([b[1] for b in bounds], 0)
            margin = 0.09 * min(self.size)
            scale, offset = _fit(low, high, self.size, (margin, ) * 4)
            corners = np.array([(0, 0), self.size])
        else:
            scale, offset = _fit(np.zeros(2), np.asarray(image_size, dtype=float), self.size,
                                 (0, ) * 4)
            corners = np.array([offset, offset + scale * np.array(image_size)])
            corners = np.clip(np.rint(corners).astype(int), 0, self.size)
        self._scale, self._offset = scale, offset - corners[0]
        (left, top), (right, bottom) = corners
        self._image = slice(top, bottom), slice(left, right)  # rows and columns of the panel
        self._bones = np.array(self.skeleton.bones)
        self._sides = _sides(self.skeleton)
        self._thickness = [self._thickness_of(person) for person in people]
        self._paper, self._dark = _page(self.size, PAPER), _page(self.size, DARK)
        if image_size is not None:  # the border of the image
            cv2.rectangle(self._paper, (left, top), (right - 1, bottom - 1), GRID, 1)
            self._dark[self._image] = 0

    def _thickness_of(self, person: Person2D) -> int:
        """Thinner for people who are small in the image, the same for a person at all times."""
        step = max(1, len(person.keypoints) // 200)
        xy = person.keypoints[::step, :, :2]
        height = self._scale * float(np.median((xy.max(axis=1) - xy.min(axis=1)).max(axis=1)))
        return max(1, round(min(min(self.size) / 120, height / 40)))

    def _pixels_of(self, number: int, rows: slice) -> tuple:
        """Bones, whether each is seen, boxes and place of the label."""
        person = self._people[number]
        keypoints = person.keypoints[rows]
        xy = keypoints[..., :2] * self._scale + self._offset
        seen = np.ones((len(xy), len(self._bones)), dtype=bool)
        if keypoints.shape[-1] == 3:
            seen &= (keypoints[..., 2] >= self._kpt_thr)[:, self._bones].all(axis=-1)
        if person.faint is not None:
            seen &= ~person.faint[rows, None]
        boxes = None
        top = np.stack([xy[..., 0].mean(axis=1), xy[..., 1].min(axis=1)], -1)
        if person.boxes is not None:
            boxes = person.boxes[rows].reshape(-1, 2, 2) * self._scale + self._offset
            top = np.stack([boxes[..., 0].mean(axis=1), boxes[:, 0, 1]], -1)
            boxes = np.clip(boxes, -20000, 20000).round().astype(int)
        return (_bone_lines(xy, self.skeleton), seen, boxes,
                np.clip(top, -20000, 20000).round().astype(int))

    def draw(self, canvas: np.ndarray, frame: int, image: Optional[np.ndarray] = None) -> bool:
        """Fill ``canvas`` (H, W, 3) uint8 with frame number ``frame``.

        Args:
            image: (H, W, 3) uint8 BGR of ``image_size``, drawn below the skeleton.

        Returns:
            Whether the panel is dark now: an image, or a black page.

        Raises:
            ValueError: the image has another size or type.
        """
        photo = image is not None or self._is_dark
        canvas[:] = self._dark if photo else self._paper
        canvas = canvas[self._image]
        if image is not None:
            self._draw_image(canvas, frame, image)
        drawn = self.at(frame)
        for number, (lines, seen, boxes, _), row in drawn:
            colours = self._people[number].colours[photo]
            thickness = self._thickness[number]
            self._draw_bones(canvas, lines[row], seen[row], colours, thickness, photo)
            if boxes is not None:
                corners = [tuple(corner) for corner in boxes[row].tolist()]
                cv2.rectangle(canvas, *corners, colours[2], 1)
        self._draw_labels(canvas, drawn, photo)
        return photo

    def _draw_bones(self, canvas, lines, seen, colours, thickness: int, photo: bool) -> None:
        if photo:  # a dark rim keeps the lines apart from the photo
            _polylines(canvas, lines[seen], DARK, thickness + 2)
        for colour, bones in zip(colours, self._sides):
            hidden = bones[~seen[bones]]
            if len(hidden):
                faint = colour if photo else mixed(colour, PAPER, 0.6)
                _polylines(canvas, lines[hidden], faint, 1)
            _polylines(canvas, lines[bones[seen[bones]]], colour, thickness)

    def _draw_labels(self, canvas, drawn: List[tuple], photo: bool) -> None:
        """Labels above the people, and above each other where they would overlap."""
        taken = []
        for number, (*_, places), row in drawn:
            person = self._people[number]
            if not person.label:
                continue
            half = 5 + 4 * len(person.label)
            x = int(np.clip(places[row, 0], half, max(half, canvas.shape[1] - half)))
            wanted = int(np.clip(places[row, 1] - 7, 34, canvas.shape[0] - 6))
            lines = [*range(wanted, 33, -14), *range(wanted, canvas.shape[0], 14)]
            y = next((line for line in lines
                      if not any(abs(x - other) < half + wide and abs(line - used) < 14
                                 for other, used, wide in taken)), wanted)
            taken.append((x, y, half))
            colour = person.colours.photo[0] if photo else person.colours.paper[2]
            put_text(canvas, person.label, (x, y), colour, 0.48, 'centre', photo)

    def _draw_image(self, target: np.ndarray, frame: int, image: np.ndarray) -> None:
        expected = None if self.image_size is None else (self.image_size[1], self.image_size[0], 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise ValueError(f'frame {frame}: expected a uint8 BGR image of shape {expected}, '
                             f'found {image.dtype} {image.shape}')
        shrink_into(target, image)


def side_by_side(keypoints: Sequence[np.ndarray], places: np.ndarray, fps: float,
                 rotation: Optional[np.ndarray] = None) -> List[np.ndarray]:
    """Offsets (n, 3) that put root-relative people to their places with their feet on the floor.

    Root-relative poses do not say how high the root is: each person's lowest joint is put on the
    floor z = 0, smoothed over 0.1 s [np].

    Args:
        keypoints: (n, K, 3) metres of each person.
        places: (P, 2) x and y on the floor, metres.
        fps: Frames per second.
        rotation: (3, 3) that turns row vectors to upright axes.
    """
    vertical = np.array([0, 0, 1]) if rotation is None else rotation[:, 2]
    offsets = []
    for points, place in zip(keypoints, places):
        lowest = (points @ vertical.astype(points.dtype)).min(axis=1)
        lowest = gaussian_filter1d(lowest, 0.1 * fps, mode='nearest')
        offsets.append(np.column_stack([np.tile(place, (len(points), 1)), -lowest]))
    return offsets
