"""Shaded pictures of triangle meshes: colour, depth and segmentation from posed vertices.

Vertices are in camera axes (x right, y down, z forward), metres. Light is computed at the vertices
from their normals and interpolated, which is enough for meshes as fine as a body.
"""

from dataclasses import dataclass, field
from typing import Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from scipy.sparse import csr_matrix

from .rasterizer import Raster, rasterize

__all__ = ['Light', 'Mesh', 'RenderedImage', 'cast_shadow', 'project', 'render', 'vertex_normals']

_GAMMA = 2.2


@dataclass
class Mesh:
    """One object of a scene.

    Attributes:
        vertices: (V, 3) camera axes, metres.
        faces: (F, 3) integer vertex numbers, counter-clockwise seen from outside.
        colours: (V, 3) or (F, 3) blue, green, red from 0 to 1, as on a screen; per face where the
            number of rows is F (and not V).
    """
    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray

    def __post_init__(self):
        self.vertices, self.faces, self.colours = map(
            np.asarray, (self.vertices, self.faces, self.colours))
        if self.vertices.ndim != 2 or self.vertices.shape[1] != 3:
            raise ValueError(f'vertices: expected shape (V, 3), found {self.vertices.shape}')
        if self.faces.ndim != 2 or self.faces.shape[1] != 3:
            raise ValueError(f'faces: expected shape (F, 3), found {self.faces.shape}')
        rows = len(self.vertices), len(self.faces)
        if self.colours.shape not in [(n, 3) for n in rows]:
            raise ValueError(f'colours: expected shape ({rows[0]}, 3) for colours of vertices or '
                             f'({rows[1]}, 3) for colours of faces, found {self.colours.shape}')


@dataclass
class Light:
    """Light from all around, from a main lamp and from a weaker second one; values are [np].

    Attributes:
        direction: Towards the main lamp, camera axes (y down), any length.
        strength: Of the main lamp, on a surface that faces it.
        ambient: From all around; surfaces that face ``up`` get 1.35 times as much as the mean,
            those that face down 0.65 times.
        second_direction: Towards the second lamp; None has none.
        second_strength: Of the second lamp.
        tint: (3,) factor of blue, green, red for the main lamp.
        up: The vertical, camera axes.
        shadows: Does the main lamp cast shadows of the meshes on each other and on themselves?
    """
    direction: Sequence[float] = (-0.5, -0.8, -0.7)
    strength: float = 0.7
    ambient: float = 0.4
    second_direction: Optional[Sequence[float]] = None
    second_strength: float = 0.2
    tint: Sequence[float] = (1, 1, 1)
    up: Sequence[float] = (0, -1, 0)
    shadows: bool = True


@dataclass
class RenderedImage:
    """A picture of meshes.

    Attributes:
        image: (H, W, 3) uint8 blue, green, red.
        depth: (H, W) float32 metres along the viewing axis, infinite on the background.
        segmentation: (H, W) int32 number of the mesh, -1 on the background.
        raster: What was found at each pixel; ``raster.face`` counts through the faces of all
            meshes, one mesh after the other.
    """
    image: np.ndarray
    depth: np.ndarray
    segmentation: np.ndarray
    raster: Raster = field(repr=False)


def _unit(vectors) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def project(points: np.ndarray, focal: Union[float, Sequence[float]],
            center: Sequence[float]) -> np.ndarray:
    """(..., 2) pixels of (..., 3) points in camera axes; not finite in the camera's plane."""
    with np.errstate(divide='ignore', invalid='ignore'):
        return points[..., :2] / points[..., 2:] * np.asarray(focal) + np.asarray(center)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V, 3) outward unit normals: means of those of the faces around, weighted by their area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    # row v of the matrix has a 1 for each face that touches vertex v
    touches = csr_matrix((np.ones(faces.size, np.float32), faces.ravel(),
                          np.arange(0, faces.size + 1, 3)), (len(faces), len(vertices))).T
    return _unit(touches @ normal)


def _lit(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray, direction: np.ndarray,
         resolution: int = 192) -> np.ndarray:
    """(V,) share from 0 to 1 of the lamp's light that reaches each vertex (a shadow map)."""
    side = _unit(np.cross(direction, [0.31, 0.95, 0.02]))
    axes = np.stack([side, np.cross(side, direction)])  # x and y of a camera that looks down
    low, high = (f(vertices @ axes.T, axis=0) for f in (np.min, np.max))
    scale = (resolution - 2) / (high - low).max()
    away = -vertices @ direction
    # The projection is parallel, and what is linear in the picture is 1 / depth of `rasterize`.
    far = away.max() + 1
    depth = rasterize((vertices @ axes.T - low) * scale + 1, 1 / (far - away), faces,
                      (resolution, resolution), cull_back=True).depth
    occluder = far - 1 / depth
    # shifted along the normal, so that a surface does not shade itself by the map's coarseness
    points = (vertices + (2 / scale) * normals) @ axes.T
    look = ((points - low) * scale + 0.5).astype(np.float32)  # pixel 0 is at 0 in cv2
    own = away - (2 / scale) * (normals @ direction)
    shade = np.zeros(len(vertices), np.float32)
    for dx in (-0.5, 0.5):  # four look-ups soften the edge
        for dy in (-0.5, 0.5):
            value = cv2.remap(occluder, look[:, :1] + dx, look[:, 1:] + dy,
                              cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT,
                              borderValue=float(far))[:, 0]
            shade += value < own - 2 / scale
    return 1 - shade / 4


def _illumination(vertices, normals, faces, light: Light) -> np.ndarray:
    """(V, 3) light that each vertex sends back per colour, before its own colour."""
    direction = _unit(light.direction)
    main = np.maximum(normals @ direction, 0) * light.strength
    if light.shadows and len(vertices):
        main *= _lit(vertices, normals, faces, direction)
    around = light.ambient * (1 + 0.35 * normals @ _unit(light.up))
    if light.second_direction is not None:
        second = np.maximum(normals @ _unit(light.second_direction), 0)
        around = around + light.second_strength * second
    return main[:, None] * np.asarray(light.tint, np.float32) + around[:, None]


def _background(background, size: Tuple[int, int]) -> np.ndarray:
    width, height = size
    if background is None:
        return np.zeros((height, width, 3), np.uint8)
    background = np.asarray(background)
    if background.shape == (3,):
        return np.broadcast_to(background.astype(np.uint8), (height, width, 3)).copy()
    if background.shape != (height, width, 3) or background.dtype != np.uint8:
        raise ValueError(f'background: expected one colour (3,) or a uint8 picture of shape '
                         f'{(height, width, 3)}, found {background.dtype} {background.shape}')
    return background.copy()


def render(meshes: Sequence[Mesh], focal: Union[float, Sequence[float]], center: Sequence[float],
           size: Tuple[int, int], light: Optional[Light] = None, background=None) -> RenderedImage:
    """Draw meshes before a pinhole camera.

    Surfaces are matt: light times colour, smoothly shaded, with a gamma of 2.2. Faces seen from
    behind are left out, so that meshes should be closed.

    Args:
        meshes: The objects; an empty sequence gives the background.
        focal: Focal length in pixels, or (x, y).
        center: (x, y) principal point in pixels; (width / 2, height / 2) is the middle.
        size: (width, height) of the picture.
        light: Defaults to ``Light()``.
        background: One colour (blue, green, red), a uint8 (height, width, 3) picture, or None for
            black.

    Returns:
        A ``RenderedImage``.

    Raises:
        ValueError: a background of the wrong size or type, or as ``Mesh`` and ``rasterize``.
    """
    light = light or Light()
    image = _background(background, size)
    sizes = np.array([[len(mesh.vertices), len(mesh.faces)] for mesh in meshes], int).reshape(-1, 2)
    first = np.cumsum(sizes, axis=0) - sizes
    vertices = np.concatenate([m.vertices for m in meshes] or [np.zeros((0, 3))])
    vertices = vertices.astype(np.float32)
    faces = np.concatenate([m.faces + start for m, start in zip(meshes, first[:, 0])]
                           or [np.zeros((0, 3), int)])
    raster = rasterize(project(vertices, focal, center), vertices[:, 2], faces, size,
                       cull_back=True)
    pixels = raster.covered
    face = raster.face.ravel()[pixels]
    mesh_of_face = np.repeat(np.arange(len(meshes)), sizes[:, 1])
    segmentation = np.full(raster.face.shape, -1, np.int32)
    segmentation.ravel()[pixels] = mesh_of_face[face]

    normals = vertex_normals(vertices, faces) if len(faces) else np.zeros_like(vertices)
    shade = _illumination(vertices, normals, faces, light)
    shade = raster.interpolate(np.concatenate(
        [shade, _vertex_colours(meshes)], axis=1).astype(np.float32), faces)
    colour, shade = shade[:, 3:], shade[:, :3]
    for number, mesh in enumerate(meshes):
        if len(mesh.colours) != len(mesh.vertices):
            own = mesh_of_face[face] == number
            colour[own] = mesh.colours[face[own] - first[number, 1]]**_GAMMA
    shown = np.clip(shade * colour, 0, 1)**(1 / _GAMMA)
    image.reshape(-1, 3)[pixels] = np.rint(255 * shown)
    return RenderedImage(image, raster.depth, segmentation, raster)


def _vertex_colours(meshes) -> np.ndarray:
    """(V, 3) linear colours of the vertices of all meshes, 0 where colours are given per face."""
    parts = [mesh.colours**_GAMMA if len(mesh.colours) == len(mesh.vertices)
             else np.zeros((len(mesh.vertices), 3)) for mesh in meshes]
    return np.concatenate(parts or [np.zeros((0, 3))])


def cast_shadow(image: np.ndarray, meshes: Sequence[Mesh], focal, center, light: Light,
                ground: np.ndarray, darkness: float = 0.45, softness: float = 3) -> np.ndarray:
    """Darken a background where the meshes keep the main lamp's light from the ground.

    Args:
        image: (H, W, 3) uint8 background, before the meshes are drawn on it.
        meshes: The objects.
        focal: As ``render``.
        center: As ``render``.
        light: Its ``direction`` must point upwards.
        ground: (3,) a point of the ground, camera axes, metres; ``light.up`` is its normal.
        darkness: Share of the light that is lost.
        softness: Standard deviation of the blur of the shadow's edge, pixels.

    Returns:
        (H, W, 3) uint8, a new picture.

    Raises:
        ValueError: the lamp is not above the ground.
    """
    direction, up = _unit(light.direction), _unit(light.up)
    rise = float(direction @ up)
    if rise <= 0:
        raise ValueError(f'light: the main lamp must be above the ground, found direction '
                         f'{tuple(light.direction)} with up {tuple(light.up)}')
    height, width = image.shape[:2]
    mask = np.zeros((height // 2, width // 2), np.float32)  # half size: the edge is soft anyway
    for mesh in meshes:
        above = (mesh.vertices - np.asarray(ground, np.float32)) @ up
        points = mesh.vertices - (above / rise)[:, None] * direction
        xy = project(points, focal, center) / 2
        mask[rasterize(xy, points[:, 2], mesh.faces, mask.shape[::-1]).face >= 0] = 1
    mask = cv2.resize(cv2.GaussianBlur(mask, (0, 0), max(softness / 2, 0.3)), (width, height))
    return np.rint(image * (1 - darkness * mask)[..., None]).astype(np.uint8)
