"""Videos and pictures of bodies: the surfaces over the frames, and seen from the side."""

from typing import Any, List, Optional, Sequence, Tuple

import cv2
import numpy as np

from ..io.body_surface import BodySurface
from ..io.video_poses import CAMERA_FRAME, PersonTrack, VideoPoses
from ..rendering.scene import Light, Mesh, project, render
from .people_video import LEVEL, WHITE, person_colours
from .skeleton_drawing import GRID, PAPER, Panel2D, Person2D, mixed
from .skeleton_video import Scene, split_of

OPACITY = 0.8  # of surfaces over a picture [np]
NEAR = 0.05  # metres before the camera; nearer vertices are not drawn [np]
SOLE = 0.09  # metres from the lowest joint to the floor [np]
# The main lamp is behind the viewer's left shoulder; shadows would take half of the time.
LIGHT = Light(direction=(-0.5, -0.7, -0.9), strength=0.65, ambient=0.45, shadows=False)


def overlay_meshes(image: np.ndarray, meshes: Sequence[Mesh], focal: float,
                   center: Sequence[float], opacity: float = OPACITY,
                   light: Light = LIGHT) -> np.ndarray:
    """Draw surfaces over a picture, those in front over those behind.

    Args:
        image: (H, W, 3) uint8 BGR, drawn into.
        meshes: In camera axes, metres.
        focal: Focal length, pixels.
        center: (x, y) principal point, pixels.
        opacity: From 0 to 1.
        light: See :class:`~mmpose_lift.rendering.scene.Light`.

    Returns:
        (H, W) bool, where a surface is seen.
    """
    covered = np.zeros(image.shape[:2], bool)
    seen = [mesh.vertices[mesh.vertices[:, 2] > NEAR] for mesh in meshes]
    pixels = np.concatenate([project(points, focal, center) for points in seen]
                            or [np.empty((0, 2))])
    if not len(pixels):
        return covered
    limits = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(pixels.min(axis=0)), 0, limits).astype(int)
    high = np.clip(np.ceil(pixels.max(axis=0)), 0, limits).astype(int)
    if (high <= low).any():
        return covered
    part = image[low[1]:high[1], low[0]:high[0]]  # nothing else has to be computed
    drawn = render(meshes, focal, np.asarray(center) - low, tuple(high - low), light, part)
    where = drawn.segmentation >= 0
    part[where] = np.rint(opacity * drawn.image[where] + (1 - opacity) * part[where])
    covered[low[1]:high[1], low[0]:high[0]] = where
    return covered


class _Bodies:
    """The surfaces of the people of a video, in their colours."""

    def __init__(self, poses: VideoPoses, body_model: Any) -> None:
        self._poses, self._surface = poses, None
        self._body_model = body_model
        self.colours = person_colours(poses.tracks)

    def meshes(self, frame: int) -> List[Mesh]:
        """Meshes of a frame in camera axes; people who were not detected in it are paler."""
        found = []
        for track, colours in zip(self._poses.tracks, self.colours):
            row = track.row(frame)
            if row is None:
                continue
            if self._surface is None:
                self._surface = BodySurface(self._poses, self._body_model)
            colour = colours.paper[2]
            if not track.detected[row]:
                colour = mixed(colour, WHITE, 0.55)
            vertices = self._surface.frame(track, row)
            found.append(Mesh(vertices, self._surface.faces,
                              np.tile(np.array(colour) / 255, (len(vertices), 1))))
        return found


class _Overlay(Panel2D):
    """The frame of the video with the surfaces over it."""

    def __init__(self, bodies: _Bodies, poses: VideoPoses, size, draw_bbox: bool, draw_id: bool,
                 opacity: float, dark: bool) -> None:
        super().__init__(
            [Person2D(track.keypoints_2d, track.first_frame, colours,
                      str(track.track_id) if draw_id else '',
                      boxes=track.boxes if draw_bbox else None)
             for track, colours in zip(poses.tracks, bodies.colours)],
            size, poses.image_size, poses.skeleton, dark=dark)
        self._bodies, self._focal, self._opacity = bodies, poses.focal, opacity
        self._frame = 0

    def draw(self, canvas: np.ndarray, frame: int, image: Optional[np.ndarray] = None) -> bool:
        self._frame = frame
        return super().draw(canvas, frame, image)

    def _draw_bones(self, *arguments) -> None:
        """Surfaces are drawn instead, all at once."""

    def _draw_labels(self, canvas: np.ndarray, drawn: List[tuple], photo: bool) -> None:
        center = self._scale * np.divide(self.image_size, 2)
        overlay_meshes(canvas, self._bodies.meshes(self._frame), self._focal * self._scale, center,
                       self._opacity)
        super()._draw_labels(canvas, drawn, photo)


class _SideView:
    """The same surfaces where they stand, from elsewhere, with a grid of metres on the floor."""

    def __init__(self, bodies: _Bodies, poses: VideoPoses, size: Tuple[int, int], azimuth: float,
                 elevation: float) -> None:
        self.size, self._bodies = (int(size[0]), int(size[1])), bodies
        up = LEVEL if poses.up is None else np.asarray(poses.up, np.float64)
        up = up / np.linalg.norm(up)
        self._view = _view_rotation(up, azimuth, elevation)
        self._light = Light(LIGHT.direction, LIGHT.strength, LIGHT.ambient, up=self._view @ up,
                            shadows=False)
        self._page = np.full((self.size[1], self.size[0], 3), PAPER, np.uint8)
        if poses.tracks:
            joints = np.concatenate([t.body.joints.reshape(-1, 3) for t in poses.tracks])
            self._fit(joints.astype(np.float64), up)

    def _fit(self, joints: np.ndarray, up: np.ndarray) -> None:
        """A far camera that has everybody in view at all times."""
        self._middle = (joints.min(axis=0) + joints.max(axis=0)) / 2
        seen = (joints - self._middle) @ self._view.T
        low, high = seen.min(axis=0) - 0.3, seen.max(axis=0) + 0.3
        self._away = np.array([0, 0, 6 * np.linalg.norm(high - low)])
        scale = min(np.array(self.size) / (high - low)[:2])  # pixels per metre
        self._focal = scale * self._away[2]
        self._center = np.array(self.size) / 2 - scale * (low + high)[:2] / 2
        floor = ((joints - self._middle) @ up).min() - SOLE
        self._draw_floor(up, floor, np.linalg.norm(high - low))

    def _draw_floor(self, up: np.ndarray, floor: float, reach: float) -> None:
        side = np.cross(up, self._view[2])
        axes = np.stack([side / np.linalg.norm(side), np.cross(up, side / np.linalg.norm(side))])
        reach = int(np.ceil(reach)) + 1
        for i in range(-reach, reach + 1):
            for ends in (((i, -reach), (i, reach)), ((-reach, i), (reach, i))):
                points = (np.array(ends) @ axes + floor * up) @ self._view.T + self._away
                (a, b) = np.rint(8 * project(points, self._focal, self._center)).astype(int)
                cv2.line(self._page, tuple(a.tolist()), tuple(b.tolist()), GRID, 1, cv2.LINE_AA, 3)

    def draw(self, canvas: np.ndarray, frame: int) -> None:
        canvas[:] = self._page
        meshes = [Mesh((mesh.vertices - self._middle) @ self._view.T + self._away, mesh.faces,
                       mesh.colours) for mesh in self._bodies.meshes(frame)]
        if meshes:
            overlay_meshes(canvas, meshes, self._focal, self._center, 1, self._light)


def _view_rotation(up: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """(3, 3) from camera axes to those of a viewer to the right of the camera, looking down.

    Args:
        up: (3,) unit vertical, camera axes.
        azimuth, elevation: Degrees.
    """
    a, e = np.radians([azimuth, elevation])
    ahead = np.array([0, 0, 1.0]) - up[2] * up
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, up)
    forward = np.cos(a) * ahead - np.sin(a) * right
    down = -np.cos(e) * up - np.sin(e) * forward
    forward = np.cos(e) * forward - np.sin(e) * up
    return np.stack([np.cross(down, forward), down, forward])


class MeshScene(Scene):
    """The bodies of a video, ready to be drawn frame by frame.

    Left the frame of the video with the surfaces over it, right the surfaces where they stand, seen
    from the side, on a floor with lines a metre apart. Each person has a colour, paler where nobody
    was detected.

    Args:
        poses: People with bodies; nobody is fine.
        size: Width and height in pixels, even numbers.
        draw_bbox: Draw the boxes.
        draw_id: Write the numbers of the people.
        black_background: Leave the frames of the video out.
        opacity: Of the surfaces over the frames.
        azimuth: Degrees the viewer of the right panel stands to the right of the camera.
        elevation: Degrees that viewer looks down.
        body_model: See :class:`~mmpose_lift.io.body_surface.BodySurface`.

    Raises:
        FileNotFoundError: The body model's file is not there (in ``draw``).
        ValueError: People without bodies, or poses that were turned to other axes.
    """

    def __init__(self, poses: VideoPoses, size: Tuple[int, int] = (960, 540), *,
                 draw_bbox: bool = False, draw_id: bool = True, black_background: bool = False,
                 opacity: float = OPACITY, azimuth: float = 70, elevation: float = 12,
                 body_model: Any = None) -> None:
        _check(poses)
        if not 0 < opacity <= 1:
            raise ValueError(f'opacity: expected above 0 and at most 1, found {opacity!r}')
        self._black_background = black_background
        bodies, split = _Bodies(poses, body_model), split_of(size, poses.image_size)
        super().__init__(
            _Overlay(bodies, poses, (split, size[1]), draw_bbox, draw_id, opacity,
                     black_background),
            _SideView(bodies, poses, (size[0] - split, size[1]), azimuth, elevation),
            ('', 'from the side'), 'lines a metre apart' if poses.tracks else '', poses.fps,
            poses.times)

    def draw(self, frame: int, image: Optional[np.ndarray] = None) -> np.ndarray:
        """Draw one frame; see ``Scene.draw``.

        Raises:
            ValueError: The image has another size than the video, or is not uint8 BGR.
        """
        return super().draw(frame, None if self._black_background else image)


def _check(poses: VideoPoses) -> None:
    if poses.tracks and (poses.frame != CAMERA_FRAME or poses.focal is None):
        raise ValueError(f'{poses.source}: bodies are drawn in camera axes with a focal length, '
                         f'found {poses.frame!r} and focal {poses.focal}; draw them before other '
                         'changes')
    for track in poses.tracks:
        _check_track(track)


def _check_track(track: PersonTrack) -> None:
    if track.body is None:
        raise ValueError(f'track {track.track_id} has no body; use PeopleScene')
    if not all(np.isfinite(getattr(track.body, name)).all()
               for name in ('betas', 'rotmats', 'transl')):
        raise ValueError(f'track {track.track_id}: its body has values that are not finite')
