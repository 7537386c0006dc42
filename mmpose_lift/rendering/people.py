"""Pictures and videos of rendered people with exact labels.

The people are the stand-in body of the mesh systems: made by a procedure, not scanned from anybody,
in made-up clothes before made-up backgrounds. A network trained on them is for trying things out.
World axes are right-handed with z up and the floor at z = 0; camera axes are x right, y down,
z forward; metres everywhere.
"""

from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch

from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.models.body import (
    COCO_FACE_VERTICES,
    BodyModel,
    body_parts,
    fit_pose,
    stand_in_arrays,
    stand_in_h36m_regressor,
)

from .appearance import Outfit, Wardrobe, add_occluders, degrade, random_background
from .rasterizer import rasterize
from .scene import Light, Mesh, RenderedImage, cast_shadow, project, render, vertex_normals

__all__ = ['Photograph', 'RenderedPeople', 'TwoPeopleVideo', 'camera_rotation']

# Metres from a joint to the outside of its limb, with clothes [np]; a point is hidden by what is
# farther in front of it than that.
_THICKNESS = {'nose': 0.03, 'eye': 0.03, 'ear': 0.05, 'shoulder': 0.13, 'elbow': 0.08,
              'wrist': 0.07, 'hip': 0.19, 'knee': 0.11, 'ankle': 0.09}


def camera_rotation(pitch: float, yaw: float = 0, roll: float = 0) -> np.ndarray:
    """(3, 3) rotation from world axes (z up) to camera axes.

    Args:
        pitch: Radians the camera looks down.
        yaw: Radians it is turned about the vertical, counter-clockwise from above; at 0 it looks
            along +y with +x on the right.
        roll: Radians it is turned about its own axis, clockwise as it looks.
    """
    cos, sin = np.cos(yaw), np.sin(yaw)
    right, ahead, up = np.array([cos, sin, 0]), np.array([-sin, cos, 0]), np.array([0, 0, 1])
    forward = np.cos(pitch) * ahead - np.sin(pitch) * up
    down = np.cross(forward, right)
    return np.stack([np.cos(roll) * right + np.sin(roll) * down,
                     np.cos(roll) * down - np.sin(roll) * right, forward])


def _turn(joints: np.ndarray, yaw) -> np.ndarray:
    """Turn (..., K, 3) about the vertical by ``yaw``, one number or (...,)."""
    cos, sin, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    rotation = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1], -1)
    return joints @ np.swapaxes(rotation.reshape(*np.shape(yaw), 3, 3), -1, -2)


def _check_motion(motion) -> np.ndarray:
    motion = np.asarray(motion)
    if motion.ndim != 3 or motion.shape[1:] != (17, 3) or len(motion) == 0:
        raise ValueError('motion: expected (N, 17, 3) joints of the h36m skeleton in metres, z up, '
                         f'found shape {motion.shape}')
    return motion


@dataclass
class Photograph:
    """A picture of people and the camera that took it.

    Attributes:
        image: (H, W, 3) uint8 blue, green, red, with all faults of the camera.
        picture: What was drawn before things came in front; numbers of people count those of
            ``near`` only.
        hidden: (H, W) bool, pixels covered by a thing in front.
        near: (P,) bool, False for a person too close to the camera to be drawn.
        rotation: (3, 3) from world to camera axes.
        shift: (3,) metres, the world's origin in camera axes.
        focal: Focal length in pixels.
        center: (2,) principal point in pixels; (0, 0) is the corner of the picture.
    """
    image: np.ndarray
    picture: RenderedImage
    hidden: np.ndarray
    near: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray
    focal: float
    center: np.ndarray

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points of the world in camera axes."""
        return points @ self.rotation.T.astype(np.float32) + self.shift


class RenderedPeople:
    """Draws stand-in people; holds the body, so make one and use it for many pictures.

    Args:
        seed: Of the stand-in body.
    """

    def __init__(self, seed: int = 0):
        arrays = stand_in_arrays(seed)
        self.body = BodyModel.stand_in(seed).eval()
        self.faces = np.asarray(arrays['faces'])
        rest = np.asarray(arrays['v_template'], np.float64)
        self.wardrobe = Wardrobe(rest, np.asarray(arrays['J_regressor']) @ rest, body_parts(),
                                 self.faces, [COCO_FACE_VERTICES[n]
                                              for n in ('nose', 'left_eye', 'right_eye')])
        self._regressor = np.asarray(stand_in_h36m_regressor(), np.float32)
        smpl = get_skeleton('smpl')
        hips = 'left_hip', 'right_hip'
        self._recorded_hips = [get_skeleton('h36m').index(n) for n in hips]
        self._body_hips = [smpl.index(n) for n in hips]
        names = get_skeleton('coco').joint_names
        self._joint_points = [(i, smpl.index(n)) for i, n in enumerate(names)
                              if n not in COCO_FACE_VERTICES]
        self._vertex_points = [(i, COCO_FACE_VERTICES[n]) for i, n in enumerate(names)
                               if n in COCO_FACE_VERTICES]
        self._thickness = np.array([_THICKNESS[n.split('_')[-1]] for n in names])

    @torch.no_grad()
    def pose(self, joints: np.ndarray, betas: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Put bodies into recorded poses, with their hips where the recorded ones are.

        Args:
            joints: (T, 17, 3) joints of the h36m skeleton, metres, any right-handed axes.
            betas: (T, 10) shapes.

        Returns:
            (T, V, 3) vertices and (T, 24, 3) body joints in the same axes, float32.
        """
        rotmats, _ = fit_pose(self.body, joints)  # for the mean shape; directions fit any shape
        vertices, body_joints = self.body(torch.as_tensor(betas, dtype=torch.float32),
                                          torch.as_tensor(rotmats, dtype=torch.float32))
        vertices, body_joints = vertices.numpy(), body_joints.numpy()
        shift = (joints[:, self._recorded_hips].mean(axis=1, keepdims=True)
                 - body_joints[:, self._body_hips].mean(axis=1, keepdims=True)).astype(np.float32)
        return vertices + shift, body_joints + shift

    def coco_keypoints(self, vertices: np.ndarray, body_joints: np.ndarray) -> np.ndarray:
        """(..., 17, 3) keypoints of the coco skeleton in the axes of the arguments."""
        points = np.empty((*vertices.shape[:-2], 17, 3), np.float32)
        for to, source in self._joint_points:
            points[..., to, :] = body_joints[..., source, :]
        for to, source in self._vertex_points:
            points[..., to, :] = vertices[..., source, :]
        return points

    def h36m_joints(self, vertices: np.ndarray) -> np.ndarray:
        """(..., 17, 3) joints of the h36m skeleton, regressed from (..., V, 3) vertices."""
        return self._regressor @ vertices

    def mesh(self, vertices: np.ndarray, outfit: Outfit) -> Mesh:
        """The (V, 3) body in its clothes."""
        normals = vertex_normals(vertices, self.faces)
        return Mesh(vertices + outfit.thickness[:, None] * normals, self.faces, outfit.colours)

    def visibility(self, points: np.ndarray, xy: np.ndarray, picture: RenderedImage,
                   hidden: Optional[np.ndarray] = None) -> np.ndarray:
        """What COCO's visibility flag says of the keypoints of one person.

        Args:
            points: (17, 3) keypoints, camera axes.
            xy: (17, 2) their pixels.
            picture: The picture with all people.
            hidden: (H, W) bool, pixels covered by something else.

        Returns:
            (17,) int: 2 seen, 1 in the picture but hidden, 0 outside of it.
        """
        height, width = picture.depth.shape
        inside = (points[:, 2] > 0) & ((xy >= 0) & (xy < [width, height])).all(axis=1)
        column, row = np.where(inside[:, None], xy, 0).astype(int).T
        seen = picture.depth[row, column] > points[:, 2] - self._thickness
        if hidden is not None:
            seen &= ~hidden[row, column]
        return np.where(inside, 1 + seen, 0)

    def sample_picture(self, rng: np.random.Generator, motion: np.ndarray,
                       size: Tuple[int, int] = (256, 256)) -> Tuple[np.ndarray, List[Dict]]:
        """Draw a random picture of one to three people.

        Pose, shape, clothes, direction, camera (5 degrees up to 35 degrees down), distance, focal
        length, light, background, things in front, cut-off parts and camera faults are random; all
        ranges are [np]. The first person fills half of the picture or more.

        Args:
            rng: The same state gives the same picture.
            motion: (N, 17, 3) poses to choose from, h36m skeleton, metres, z up.
            size: (width, height) in pixels.

        Returns:
            (H, W, 3) uint8 picture (blue, green, red), and for each person of whom something is
            seen a dict with ``bbox`` (4,) x1, y1, x2, y2 around what is seen of it, pixels;
            ``keypoints`` (17, 3) x, y, visibility of the coco skeleton (2 seen, 1 hidden, and
            0, 0, 0 outside of the picture); ``area`` seen, pixels; ``num_keypoints`` with
            visibility above 0.

        Raises:
            ValueError: ``motion`` has the wrong shape.
        """
        motion = _check_motion(motion)
        world, body_joints, outfits = self._random_people(rng, motion)
        shot = self.photograph(rng, world, outfits, size)
        vertices, body_joints = (shot.to_camera(x)[shot.near] for x in (world, body_joints))
        points = self.coco_keypoints(vertices, body_joints)
        people = []
        for number, person in enumerate(points):
            mask = (shot.picture.segmentation == number) & ~shot.hidden
            area = int(mask.sum())
            if area < 0.002 * mask.size:
                continue
            xy = project(person, shot.focal, shot.center)
            flags = self.visibility(person, xy, shot.picture, shot.hidden)
            keypoints = np.concatenate([xy, flags[:, None]], axis=1) * (flags > 0)[:, None]
            people.append(dict(bbox=_box(mask), keypoints=keypoints.astype(np.float32), area=area,
                               num_keypoints=int((flags > 0).sum())))
        return shot.image, people

    def photograph(self, rng: np.random.Generator, world: np.ndarray, outfits: Sequence[Outfit],
                   size: Tuple[int, int], fill: Tuple[float, float] = (0.5, 0.95),
                   cut: float = 0.22) -> 'Photograph':
        """Draw people with a random camera, light, background, things in front and faults.

        Args:
            rng: The same state gives the same picture.
            world: (P, V, 3) float32 vertices, world axes, the first person's lowest at z = 0.
            outfits: P pieces of clothing.
            size: (width, height) in pixels.
            fill: Least and greatest share of the picture that the first person's extent takes.
            cut: How often that is more (up to 1.8 times the picture), so that parts are cut off.
        """
        rotation, shift, focal = _random_camera(rng, world[0], size, fill, cut)
        vertices = world @ rotation.T.astype(np.float32) + shift
        center = np.array(size) / 2
        near = vertices[..., 2].min(axis=1) > 0.3  # nobody reaches the camera
        up = rotation[:, 2]
        meshes = [self.mesh(v, o) for v, o, keep in zip(vertices, outfits, near) if keep]
        light = _random_light(rng, up)
        ground = shift  # the world's origin is on the floor below the first person
        wall = ground + rotation @ [0, world[..., 1].max() + rng.uniform(0.1, 7), 0]
        # a far camera that looks up would be below the floor: none is drawn then
        floor = -ground @ up > 0.2 and wall[2] > 0.2
        background = random_background(
            rng, size, project(wall, focal, center)[1] if floor else size[1])
        if floor and rng.random() < 0.6:
            background = cast_shadow(background, meshes, focal, center, light, ground,
                                     rng.uniform(0.2, 0.6), rng.uniform(1, 5))
        picture = render(meshes, focal, center, size, light, background)
        own = picture.segmentation == 0
        hidden = add_occluders(rng, picture.image, rng.choice(4, p=[0.65, 0.2, 0.1, 0.05]),
                               _box(own) if own.any() else (0, 0, *size))
        return Photograph(degrade(rng, picture.image), picture, hidden, near, rotation, shift,
                          focal, center)

    def _random_people(self, rng, motion):
        """World vertices (P, V, 3), joints (P, 24, 3) and outfits; the first at the origin."""
        count = rng.choice([1, 2, 3], p=[0.62, 0.26, 0.12])
        joints = motion[rng.integers(len(motion), size=count)]
        joints = _turn(joints - joints[:, :1], rng.uniform(-np.pi, np.pi, count))
        betas = np.clip(rng.normal(0, 0.9, (count, 10)), -2, 2)
        vertices, body_joints = self.pose(joints, betas)
        place = np.zeros((count, 1, 3), np.float32)
        place[1:, 0, 0] = rng.choice([-1, 1], count - 1) * rng.uniform(0.25, 1.1, count - 1)
        place[1:, 0, 1] = rng.choice([-1, 1, 1], count - 1) * rng.uniform(0.35, 2.0, count - 1)
        place[:, 0, 2] = -vertices[..., 2].min(axis=1)
        return (vertices + place, body_joints + place,
                [self.wardrobe.dress(rng) for _ in range(count)])


def _box(mask: np.ndarray) -> np.ndarray:
    """(4,) x1, y1, x2, y2 of the pixels of a mask that are True."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _random_camera(rng, body: np.ndarray, size, fill_range,
                   cut: float) -> Tuple[np.ndarray, np.ndarray, float]:
    """A camera that has ``body`` (V, 3) in the picture: rotation (3, 3), shift (3,) and focal."""
    pitch = np.deg2rad(rng.uniform(-5, 35) if rng.random() < 0.6 else rng.uniform(-5, 12))
    rotation = camera_rotation(pitch, roll=np.deg2rad(rng.normal(0, 3)))
    seen = body @ rotation.T
    low, high = seen.min(axis=0), seen.max(axis=0)
    fill = rng.uniform(*fill_range) if rng.random() < 1 - cut else rng.uniform(0.95, 1.8)
    focal = max(size) * rng.uniform(0.9, 2.4)
    scale = fill * min(np.array(size) / (high - low)[:2])  # pixels per metre
    distance = max(focal / scale, 1.3)
    extent = focal / distance * (high - low)[:2]
    # the middle of the body anywhere where it fits, or where not too much is cut off
    slack = np.maximum(np.abs(np.array(size) - extent), 0.12 * np.array(size)) / 2
    offset = rng.uniform(-1, 1, 2) * slack * distance / focal
    shift = np.array([*offset, distance]) - (low + high) / 2
    return rotation, shift.astype(np.float32), focal


def _random_light(rng, up: np.ndarray) -> Light:
    """A lamp somewhere above, mostly on the side of the camera."""
    side, back = rng.uniform(-1.2, 1.2), rng.uniform(-1.2, 0.5)
    direction = rng.uniform(0.5, 1.5) * up + [side, 0, back]
    if direction @ up < 0.3:
        direction = direction + up
    ambient = rng.uniform(0.2, 0.6)
    warm = rng.normal(0, 0.08)
    second = rng.normal(0, 1, 3) if rng.random() < 0.5 else None
    return Light(direction, strength=rng.uniform(0.35, 1.15) - ambient / 2, ambient=ambient,
                 second_direction=second, second_strength=rng.uniform(0.05, 0.3),
                 tint=(1 - warm, 1, 1 + warm), up=up, shadows=rng.random() < 0.7)


class TwoPeopleVideo:
    """A rendered video of two people who walk in a room, with everything known about them.

    Iterating gives the frames, (H, W, 3) uint8 blue, green, red; it can be repeated. The camera
    stands still. Both walk in rounds, so that the video can have any length.

    Args:
        seed: Of the clothes, shapes, walks and the room.
        num_frames: T.
        fps: Frames per second.
        size: (width, height) in pixels.
        crossing: One walks in front of the other, and they cross in the picture; otherwise they
            walk side by side and do not.
        focal: Focal length in pixels. The default has both in the picture all the time [np].

    Attributes:
        keypoints_2d: (2, T, 17, 2) coco keypoints in pixels, also where hidden or outside.
        keypoints_3d: (2, T, 17, 3) h36m joints regressed from the bodies' surface, camera axes
            with the origin at the camera, metres.
        boxes: (2, T, 4) x1, y1, x2, y2 around the whole body in its clothes, hidden or not, cut at
            the picture, pixels.
        visible: (2, T) bool, True where at least 15 % of the body's surface points are inside the
            picture and not behind the other person.
        focal: Focal length in pixels.
        center: (2,) principal point in pixels.
        up: (3,) the vertical, camera axes.

    Raises:
        ValueError: fewer than one frame, or as ``generate_motion``.
    """

    _CHUNK = 25

    def __init__(self, seed: int = 0, num_frames: int = 250, fps: float = 50,
                 size: Tuple[int, int] = (960, 540), crossing: bool = True,
                 focal: Optional[float] = None):
        self.num_frames, self.fps, self.size = num_frames, fps, tuple(size)
        self._people = RenderedPeople()
        rng = np.random.default_rng([seed, 5])
        self.focal = 0.95 * self.size[0] if focal is None else float(focal)
        self.center = np.array(self.size) / 2
        pitch, height = np.deg2rad(9), 1.55
        self._rotation = camera_rotation(pitch).astype(np.float32)
        self._shift = -self._rotation @ np.array([0, 0, height], np.float32)
        self.up = self._rotation[:, 2].astype(np.float64)
        self._motion = _walks(rng, num_frames, fps, crossing)
        self._betas = np.clip(rng.normal(0, 0.8, (2, 10)), -1.5, 1.5)
        self._outfits = [self._people.wardrobe.dress(rng) for _ in range(2)]
        self._lift = np.zeros((2, 1, 1, 3), np.float32)
        first = self._vertices(slice(0, min(50, num_frames)))[0]
        lowest = np.median((first @ self._rotation - self._shift @ self._rotation)[..., 2].min(-1),
                           axis=1)
        self._lift[:, 0, 0, 2] = -lowest
        self.light = Light(direction=1.4 * self.up + np.array([-0.8, 0, -0.7]), strength=0.62,
                           ambient=0.42, up=self.up)
        wall = self._rotation @ [0, self._motion[..., 1].max() + 1, 0] + self._shift
        self._background = random_background(rng, self.size,
                                             project(wall, self.focal, self.center)[1])
        self._measure()

    def __len__(self) -> int:
        return self.num_frames

    def __iter__(self) -> Iterator[np.ndarray]:
        for frames in self._chunks():
            vertices, _ = self._vertices(frames)
            for bodies in vertices.swapaxes(0, 1):
                yield self._draw(bodies)

    def frame(self, index: int) -> np.ndarray:
        """One frame, 0 to T - 1; to get many, iterating is faster."""
        if not 0 <= index < self.num_frames:
            raise IndexError(f'index: expected 0 to {self.num_frames - 1}, found {index}')
        return self._draw(self._vertices(slice(index, index + 1))[0][:, 0])

    def _chunks(self) -> List[slice]:
        return [slice(i, min(i + self._CHUNK, self.num_frames))
                for i in range(0, self.num_frames, self._CHUNK)]

    def _vertices(self, frames: slice) -> Tuple[np.ndarray, np.ndarray]:
        """Camera-space vertices (2, n, V, 3) and body joints (2, n, 24, 3) of some frames."""
        motion = self._motion[:, frames]
        count = motion.shape[1]
        posed = self._people.pose(motion.reshape(-1, 17, 3), np.repeat(self._betas, count, axis=0))
        return tuple((x.reshape(2, count, -1, 3) + self._lift) @ self._rotation.T + self._shift
                     for x in posed)

    def _draw(self, bodies: np.ndarray) -> np.ndarray:
        meshes = [self._people.mesh(v, o) for v, o in zip(bodies, self._outfits)]
        background = cast_shadow(self._background, meshes, self.focal, self.center, self.light,
                                 self._shift)
        image = render(meshes, self.focal, self.center, self.size, self.light, background).image
        return cv2.GaussianBlur(image, (3, 3), 0.5)

    def _measure(self) -> None:
        shape = (2, self.num_frames)
        self.keypoints_2d = np.empty((*shape, 17, 2), np.float32)
        self.keypoints_3d = np.empty((*shape, 17, 3), np.float32)
        self.boxes = np.empty((*shape, 4), np.float32)
        self.visible = np.empty(shape, bool)
        for frames in self._chunks():
            vertices, joints = self._vertices(frames)
            self.keypoints_2d[:, frames] = project(
                self._people.coco_keypoints(vertices, joints), self.focal, self.center)
            self.keypoints_3d[:, frames] = self._people.h36m_joints(vertices)
            for t, bodies in zip(range(frames.start, frames.stop), vertices.swapaxes(0, 1)):
                self.boxes[:, t], self.visible[:, t] = self._seen(bodies)

    def _seen(self, bodies: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Boxes (2, 4) and visibility (2,) of two bodies (2, V, 3) in one frame."""
        dressed = np.stack([self._people.mesh(v, o).vertices
                            for v, o in zip(bodies, self._outfits)])
        xy = project(dressed, self.focal, self.center)
        corners = np.concatenate([xy.min(axis=1), xy.max(axis=1)], axis=-1)
        seen = ((xy >= 0) & (xy < self.size)).all(axis=-1)
        if (corners[0, :2] < corners[1, 2:]).all() and (corners[1, :2] < corners[0, 2:]).all():
            size = tuple(s // 4 for s in self.size)  # a coarse look is enough for a share
            for person in range(2):
                other = 1 - person
                depth = rasterize(xy[other] / 4, dressed[other, :, 2], self._people.faces, size,
                                  cull_back=True).depth
                column, row = np.clip(xy[person] / 4, 0, np.array(size) - 1).astype(int).T
                seen[person] &= depth[row, column] > dressed[person, :, 2]
        return np.clip(corners, 0, [*self.size, *self.size]), seen.mean(axis=1) >= 0.15


def _walks(rng: np.random.Generator, num_frames: int, fps: float, crossing: bool) -> np.ndarray:
    """(2, T, 17, 3) two walks in rounds, world axes, before a camera at the origin.

    Walks are drawn until they stay within their part of the room and, where wanted, cross in the
    picture; the longer way of a round runs from side to side. Distances are [np].
    """
    for _ in range(200):
        walks = [_side_to_side(generate_motion('walking', num_frames, int(rng.integers(2**31)),
                                               fps=fps)) for _ in range(2)]
        reach = [np.abs(w[:, 0, :2]).max(axis=0) for w in walks]
        if max(r[0] for r in reach) > 2.1 or max(r[1] for r in reach) > 1.7:
            continue  # not in rounds
        between = reach[0][1] + reach[1][1] + 0.7  # never nearer to each other than 0.7 m
        places = ([(0.1, 5.6), (-0.1, 5.6 + between)] if crossing else [(-2.2, 10), (2.2, 10.3)])
        for walk, place in zip(walks, places):
            walk[..., :2] += place
        direction = [w[:, 0, 0] / w[:, 0, 1] for w in walks]
        cross = np.any(np.diff(np.sign(direction[0] - direction[1])) != 0)
        # a short clip may end before they meet
        if cross == crossing or num_frames < 4 * fps:
            return np.stack(walks)
    raise ValueError(f'no two walks that {"" if crossing else "do not "}cross in {num_frames} '
                     f'frames at {fps} fps were found in 200 tries; use another seed')


def _side_to_side(walk: np.ndarray) -> np.ndarray:
    """Turn a walk (T, 17, 3) so that it covers more of x than of y, and centre it."""
    path = walk[:, 0, :2].astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov((path - path.mean(axis=0)).T) if len(path) > 1
                                else np.eye(2))
    walk = _turn(walk.astype(np.float64), -np.arctan2(vectors[1, 1], vectors[0, 1]))
    middle = (walk[:, 0, :2].min(axis=0) + walk[:, 0, :2].max(axis=0)) / 2
    walk[..., :2] -= middle
    return walk
