"""Random clothes, backgrounds, occluders and camera faults. All values are chosen [np].

Nothing is measured from anybody: the aim is that body parts are dressed differently, so that a
network has to look at shapes rather than at one colour.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import cv2
import numpy as np
from scipy.sparse import csr_matrix

from mmpose_lift.geometry.skeletons import get_skeleton

__all__ = ['Outfit', 'Wardrobe', 'add_occluders', 'degrade', 'random_background', 'random_colour']

# light and dark end of skin and some hair, blue green red
_SKIN = np.array([[0.66, 0.76, 0.95], [0.52, 0.65, 0.88], [0.32, 0.45, 0.68], [0.13, 0.19, 0.32]])
_HAIR = np.array([[0.05, 0.05, 0.06], [0.08, 0.13, 0.22], [0.16, 0.28, 0.42], [0.42, 0.66, 0.82],
                  [0.10, 0.24, 0.55], [0.62, 0.62, 0.62]])


def random_colour(rng: np.random.Generator, vivid: float = 1) -> np.ndarray:
    """(3,) blue, green, red from 0 to 1, like those of clothes: often grey, dark or pale.

    ``vivid`` from 0 to 1 scales the saturation.
    """
    kind = rng.random()
    saturation = rng.uniform(0, 0.12) if kind < 0.3 else rng.uniform(0.15, 0.9)
    value = rng.uniform(0.06, 0.35) if kind > 0.75 else rng.uniform(0.2, 0.97)
    hsv = np.array([[[rng.uniform(0, 360), vivid * saturation, value]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float64)


def _ramp(x: np.ndarray, softness: float = 0.012) -> np.ndarray:
    """0 where x is negative, 1 where it is positive, soft over ``softness`` metres."""
    return np.clip(0.5 + x / softness, 0, 1)


@dataclass
class Outfit:
    """What a body wears.

    Attributes:
        colours: (V, 3) blue, green, red from 0 to 1.
        thickness: (V,) metres by which cloth and hair lie outside of the body.
    """
    colours: np.ndarray
    thickness: np.ndarray


class Wardrobe:
    """Dresses a body with SMPL's joints from its rest pose (T-pose, y up, facing +z).

    Args:
        vertices: (V, 3) rest pose, metres.
        joints: (24, 3) its joints.
        parts: (V,) the joint that moves each vertex most.
        faces: (F, 3) vertex numbers.
        face_points: vertex numbers of nose, left eye and right eye.

    Raises:
        ValueError: arrays of the wrong shape.
    """

    def __init__(self, vertices, joints, parts, faces, face_points: Tuple[int, int, int]):
        self.vertices, joints, parts = map(np.asarray, (vertices, joints, parts))
        if self.vertices.ndim != 2 or parts.shape != self.vertices.shape[:1] or joints.shape != (
                24, 3):
            raise ValueError('vertices, joints, parts: expected shapes (V, 3), (24, 3) and (V,), '
                             f'found {self.vertices.shape}, {joints.shape}, {parts.shape}')
        names = get_skeleton('smpl').joint_names
        joint = dict(zip(names, joints.astype(np.float64)))
        x, y, z = self.vertices.astype(np.float64).T

        def of(*wanted):
            sides = [s + w for w in wanted for s in ('', 'left_', 'right_')]
            return np.isin(parts, [names.index(s) for s in sides if s in names])

        self._arm = of('shoulder', 'elbow', 'wrist', 'hand')
        self._head = of('head')
        self._leg = of('hip', 'knee', 'ankle', 'foot')
        self._foot = of('ankle', 'foot') | (y < joint['left_ankle'][1] - 0.01)
        shoulder, wrist = abs(joint['left_shoulder'][0]), abs(joint['left_wrist'][0])
        # 0 at the shoulder, 1 at the wrist; elsewhere above the waist: covered by any sleeve
        self._along_arm = np.where(self._arm, (abs(x) - shoulder) / (wrist - shoulder), -1)
        self._arm_length = wrist - shoulder
        hip, knee, ankle = (joint['left_' + n][1] for n in ('hip', 'knee', 'ankle'))
        self._heights = {'hip': hip, 'knee': knee, 'ankle': ankle, 'floor': y.min(),
                         'waist': joint['spine1'][1] + 0.05, 'neck': joint['neck'][1]}
        self._neck = np.hypot(x, z - joint['neck'][2])
        self._x, self._y, self._z = x, y, z
        self._points = np.stack([x, y, z], -1)
        self._on_head = np.flatnonzero(self._head)
        nose, left_eye, right_eye = self.vertices[list(face_points)].astype(np.float64)
        self._face = nose, left_eye, right_eye
        pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        touches = csr_matrix((np.ones(len(pairs)), pairs.T), (len(x), len(x)))
        self._mean = (touches.multiply(1 / np.maximum(touches.sum(axis=1), 1))).tocsr()

    def dress(self, rng: np.random.Generator) -> Outfit:
        """A random outfit; the same state of ``rng`` gives the same one."""
        at = self._heights
        skin = self._skin(rng)
        colours = np.repeat(skin[None], len(self._x), axis=0)
        thickness = np.zeros(len(self._x))

        def wear(weight, colour, extra):
            on = np.flatnonzero(weight > 0)
            colour = colour[on] if np.ndim(colour) == 2 else colour
            extra = extra[on] if np.ndim(extra) else extra
            colours[on] += weight[on, None] * (colour - colours[on])
            thickness[on] = np.maximum(thickness[on], weight[on] * extra)

        self._draw_head(rng, colours, thickness, skin)
        below_neck = ~self._head
        bottom = rng.choice(['trousers', 'shorts', 'skirt'], p=[0.6, 0.22, 0.18])
        length = {'trousers': at['ankle'] + rng.uniform(-0.02, 0.12),
                  'shorts': at['knee'] + rng.uniform(-0.05, 0.2),
                  'skirt': at['knee'] + rng.uniform(-0.15, 0.15)}[bottom]
        if rng.random() < 0.6:  # socks
            wear(_ramp(at['ankle'] + rng.uniform(0.02, 0.25) - self._y) * self._leg,
                 random_colour(rng), 0.002)
        cloth = self._cloth(rng)
        covered = (_ramp(self._y - length) * _ramp(at['waist'] + 0.03 - self._y)
                   * (below_neck & ~self._arm))
        loose = rng.uniform(0.003, 0.02)
        if bottom == 'skirt':
            loose = 0.01 + 0.05 * np.clip((at['hip'] + 0.1 - self._y) / 0.5, 0, 1)
        wear(covered, cloth, loose)
        if rng.random() < 0.93:
            wear(_ramp(at['ankle'] - 0.005 + rng.choice([0, 0, 0.07]) - self._y) * self._foot,
                 random_colour(rng), rng.uniform(0.004, 0.012))
        sleeve = rng.choice([-0.02, 0.4, 1.0], p=[0.1, 0.45, 0.45]) + rng.uniform(-0.08, 0.05)
        hem = at['waist'] - rng.uniform(-0.02, 0.22)
        covered = (_ramp((sleeve - self._along_arm) * self._arm_length) * below_neck
                   * _ramp(self._y - hem)
                   * np.maximum(_ramp(self._neck - rng.uniform(0.06, 0.10)),
                                _ramp(at['neck'] - rng.uniform(0, 0.04) - self._y)))
        same = bottom == 'skirt' and rng.random() < 0.5  # a dress
        wear(covered, cloth if same else self._cloth(rng), rng.uniform(0.003, 0.022))
        for _ in range(4):
            thickness = self._mean @ thickness
        return Outfit(np.clip(colours, 0, 1).astype(np.float32), thickness.astype(np.float32))

    def _skin(self, rng) -> np.ndarray:
        tone = rng.uniform(0, len(_SKIN) - 1)
        skin = np.array([np.interp(tone, range(len(_SKIN)), _SKIN[:, i]) for i in range(3)])
        return np.clip(skin * rng.uniform(0.93, 1.05, 3), 0, 1)

    def _draw_head(self, rng, colours, thickness, skin) -> None:
        """Mouth, eyes, brows and hair (or a cap, or none), in place."""
        nose, left_eye, right_eye = self._face
        head = self._on_head
        points = self._points[head]
        own = colours[head]
        hair = _HAIR[rng.integers(len(_HAIR))] * rng.uniform(0.6, 1.1)
        spots = [(nose - [0, 0.040, 0.02], [.024, .008, .03], skin * [0.65, 0.6, 0.85])]
        for eye in (left_eye, right_eye):
            spots += [(eye, [.014, .008, .03], 0.85), (eye, [.007, .008, .03], 0.08),
                      (eye + [0, 0.02, 0], [.02, .006, .03], hair * 0.8)]
        for place, reach, colour in spots:
            near = _ramp(1 - np.linalg.norm((points - place) / reach, axis=1), 0.5)[:, None]
            own += near * (colour - own)
        if rng.random() > 0.06:
            x, y, z = points.T
            brow = left_eye[1] + rng.uniform(0.035, 0.055)
            # hair ends at the brow in front and lower and lower towards the back of the head
            lowest = rng.uniform(-0.16, -0.02)
            line = np.interp(z - np.median(z), [-0.04, 0.015, 0.05],
                             [nose[1] + lowest, nose[1], brow])
            if rng.random() < 0.12:  # a cap
                hair = random_colour(rng)
            over = _ramp(y - line)
            own += over[:, None] * (hair - own)
            thickness[head] = over * rng.uniform(0.004, 0.02) * (1 + 0.5 * (y > brow + 0.05))
        colours[head] = own

    def _cloth(self, rng) -> np.ndarray:
        """(V, 3) colours of a piece of clothing, plain or with a pattern, over the whole body."""
        base, other = random_colour(rng), random_colour(rng)
        kind = rng.choice(['plain', 'stripes', 'checks', 'noise', 'print', 'halves'],
                          p=[0.42, 0.16, 0.08, 0.16, 0.1, 0.08])
        x, y, z = self._x, self._y, self._z
        # stripes run around the limbs: across x on the arms (T-pose), across y elsewhere
        along = np.where(self._arm, x, y)
        around = np.where(self._arm, y, x)
        period = rng.uniform(0.05, 0.16)
        weight = np.zeros(len(x))
        if kind == 'stripes':
            along = along if rng.random() < 0.7 else around
            weight = _ramp(np.sin(2 * np.pi * along / period) - rng.uniform(-0.5, 0.6), 0.6)
        elif kind == 'checks':
            weight = (_ramp(np.sin(2 * np.pi * along / period), 0.6)
                      + _ramp(np.sin(2 * np.pi * around / period), 0.6)) / 2
        elif kind == 'noise':
            wave = rng.normal(0, 1, (6, 3)) * 2 * np.pi / rng.uniform(0.08, 0.4)
            phases = rng.uniform(0, 2 * np.pi, 6)
            weight = _ramp(np.sin(self._points @ wave.T + phases).sum(1), 3)
        elif kind == 'print':
            low = rng.uniform(0.02, 0.2)
            weight = (_ramp(rng.uniform(0.05, 0.13) - abs(x)) * _ramp(z - np.median(z))
                      * _ramp(self._heights['neck'] - low + 0.04 - y)
                      * _ramp(y - self._heights['neck'] + low + 0.14))
        elif kind == 'halves':
            weight = _ramp(x) if rng.random() < 0.3 else _ramp(self._along_arm + 0.02)
        shade = 1 + 0.08 * np.sin(self._points @ rng.normal(0, 25, (3, 4))).sum(1) / 2
        return (base + weight[:, None] * (other - base)) * shade[:, None]


def _noise(rng, size: Tuple[int, int], cells: int) -> np.ndarray:
    """(H, W, 1) smooth noise of about -1 to 1 with ``cells`` bumps across the picture."""
    coarse = rng.uniform(-1, 1, (cells + 2, cells + 2)).astype(np.float32)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)[..., None]


def _texture(rng, size: Tuple[int, int]) -> np.ndarray:
    """(H, W, 3) float32 from 0 to 255: a colour that changes smoothly, with grain of some sizes."""
    width, height = size
    vivid = rng.uniform(0.1, 1)**2
    a, b = (255 * random_colour(rng, vivid) for _ in range(2))
    mix = np.linspace(0, rng.uniform(0, 0.6), height if rng.random() < 0.5 else width)
    mix = mix[:, None, None] if len(mix) == height else mix[None, :, None]
    picture = (np.broadcast_to(a + mix * (b - a), (height, width, 3))).astype(np.float32)
    for cells in rng.choice([3, 6, 14, 30, 70, 150], rng.integers(0, 4), replace=False):
        picture += rng.uniform(5, 35) * _noise(rng, size, int(cells)) * rng.uniform(
            0.6, 1, 3).astype(np.float32)
    if rng.random() < 0.25:  # planks, tiles, curtains
        period, axis = rng.uniform(0.03, 0.15) * width, rng.integers(2)
        wave = np.sin(2 * np.pi * np.arange(size[axis]) / period + rng.uniform(0, 6))
        wave = np.where(wave > rng.uniform(-0.5, 0.9), 1, -1) if rng.random() < 0.6 else wave
        wave = (rng.uniform(5, 30) * wave).astype(np.float32)
        picture += wave[None, :, None] if axis == 0 else wave[:, None, None]
    return picture


def _draw_shapes(rng, picture: np.ndarray, count: int) -> None:
    """Boxes, ellipses, lines and polygons, plain or textured, anywhere in the picture."""
    height, width = picture.shape[:2]
    for _ in range(count):
        mask = np.zeros((height, width), np.uint8)
        _draw_shape(rng, mask, rng.uniform(0.05, 0.4))
        box = cv2.boundingRect(mask)
        if 0 in box[2:]:
            continue
        x, y, w, h = box
        part = picture[y:y + h, x:x + w]
        texture = _texture(rng, (w, h)) if rng.random() < 0.5 else 255 * random_colour(rng)
        part[:] = np.where(mask[y:y + h, x:x + w, None] > 0, texture, part)


def _draw_shape(rng, mask: np.ndarray, share: float) -> None:
    height, width = mask.shape
    center = rng.uniform(0, 1, 2) * [width, height]
    half = share * rng.uniform(0.3, 1, 2) * [width, height] / 2 + 1
    kind = rng.integers(5)
    if kind < 2:
        low, high = np.rint(center - half).astype(int), np.rint(center + half).astype(int)
        cv2.rectangle(mask, low.tolist(), high.tolist(), 255, -1)
    elif kind == 2:
        cv2.ellipse(mask, np.rint(center).astype(int).tolist(),
                    np.rint(half).astype(int).tolist(), rng.uniform(0, 180), 0, 360, 255, -1)
    elif kind == 3:  # a bar, like a limb
        angle = rng.uniform(0, np.pi)
        reach = max(half) * 1.5 * np.array([np.cos(angle), np.sin(angle)])
        ends = [np.rint(p).astype(int).tolist() for p in (center - reach, center + reach)]
        cv2.line(mask, *ends, 255, int(rng.uniform(1, max(1, 0.09 * width)) + 1))
    else:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 8)))
        ring = center + half * rng.uniform(0.5, 1, (len(angles), 1)) * np.stack(
            [np.cos(angles), np.sin(angles)], -1)
        cv2.fillPoly(mask, [np.rint(ring).astype(np.int32)], 255)


def random_background(rng: np.random.Generator, size: Tuple[int, int],
                      floor_row: Optional[float] = None) -> np.ndarray:
    """A made-up picture without people: a room, an open place or shapes without meaning.

    Args:
        rng: The same state gives the same picture.
        size: (width, height) in pixels.
        floor_row: Row of the floor's far edge; above 0 the floor fills the picture, below the
            picture there is none. None chooses.

    Returns:
        (height, width, 3) uint8 blue, green, red.
    """
    width, height = size
    picture = np.ascontiguousarray(_texture(rng, size))
    _draw_shapes(rng, picture, rng.integers(0, 7))
    if floor_row is None:
        floor_row = rng.uniform(0.2, 1.2) * height
    if floor_row < height - 2:
        row = int(max(floor_row, 0))
        floor = _texture(rng, (width, height - row))
        floor *= np.linspace(0.85, 1.05, height - row, dtype=np.float32)[:, None, None]
        picture[row:] = floor
        if rng.random() < 0.5:
            colour = (255 * random_colour(rng)).tolist()
            cv2.line(picture, (0, row), (width, row), colour, int(rng.integers(1, 6)))
        if rng.random() < 0.3:  # the corner of a room
            x = int(rng.uniform(0, width))
            picture[:row, :x] *= np.float32(rng.uniform(0.7, 0.95))
    _draw_shapes(rng, picture, rng.integers(0, 4))
    if rng.random() < 0.6:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 0.006 * width + 0.6))
    return np.clip(picture, 0, 255).astype(np.uint8)


def add_occluders(rng: np.random.Generator, image: np.ndarray, count: int,
                  around: Tuple[float, float, float, float]) -> np.ndarray:
    """Draw things in front of a person, in place.

    Args:
        rng: Random source.
        image: (H, W, 3) uint8, changed.
        count: How many things.
        around: x1, y1, x2, y2 in pixels; the things have a middle in it and up to 0.45 of its size.

    Returns:
        (H, W) bool, True where something was drawn.
    """
    height, width = image.shape[:2]
    x1, y1 = (int(np.clip(v, 0, n - 1)) for v, n in zip(around[:2], (width, height)))
    x2, y2 = (int(np.clip(v, 1, n)) for v, n in zip(around[2:], (width, height)))
    hidden = np.zeros((height, width), bool)
    for _ in range(count if x2 > x1 and y2 > y1 else 0):
        mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
        _draw_shape(rng, mask, rng.uniform(0.1, 0.45))
        texture = np.clip(_texture(rng, (x2 - x1, y2 - y1)), 0, 255)
        image[y1:y2, x1:x2][mask > 0] = texture[mask > 0]
        hidden[y1:y2, x1:x2] |= mask > 0
    return hidden


def degrade(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Exposure, colour cast, blur, noise and compression of a cheap camera.

    Args:
        rng: The same state gives the same picture.
        image: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint8.
    """
    gain = np.exp(rng.normal(0, 0.18) + rng.normal(0, 0.05, 3))
    lift, gamma = rng.normal(0, 8), np.exp(rng.normal(0, 0.15))
    levels = np.arange(256)[:, None]
    table = np.clip(255 * (levels / 255)**gamma * gain + lift, 0, 255).astype(np.uint8)
    image = cv2.LUT(image, table[:, None])
    if rng.random() < 0.7:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.1))
    if rng.random() < 0.6:
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(1, 9)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        quality = int(rng.uniform(35, 95))
        _, data = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image
