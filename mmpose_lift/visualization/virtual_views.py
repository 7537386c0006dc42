"""Figures about mesh pre-training: where the virtual cameras stand, and what they see.

Functions take arrays and write a picture; matplotlib is imported when one is called.
"""

from typing import NamedTuple, Optional, Sequence

import numpy as np

from ..geometry.camera_ring import ring_azimuths, virtual_cameras
from ..geometry.cameras import Camera
from ..rendering.scene import Mesh
from .analysis_plots import COLOURS, FAINT, MIDDLE, PathLike, figure
from .mesh_video import overlay_meshes
from .pose_maps import colour_maps
from .skeleton_drawing import PAPER

_TRUE, _PREDICTED = (0.72, 0.72, 0.72), (0.9, 0.62, 0.34)  # blue, green, red [np]
_SIDE = 240  # pixels of a panel [np]
_GROUPS = (('Human3.6M S1', 'o', COLOURS[1]), ('interpolated: 8 views', 's', COLOURS[0]),
           ('never trained with: evaluation', '^', COLOURS[2]))


def camera_ring_figure(path: PathLike) -> None:
    """The virtual cameras from above, as in figure 1 of MPT's supplement (arXiv 2211.13357).

    Solid lines are optical axes up to where they pass the capture origin; azimuths in degrees.

    Raises:
        ValueError: matplotlib cannot write such a file.
    """
    groups = virtual_cameras(4), virtual_cameras(8)[4:], virtual_cameras('unseen')
    with figure(path, 1, 1, (7.4, 7.6)) as (fig, axes):
        axis = axes[0, 0]
        for radius in range(1, 7):
            axis.add_patch(_circle(radius))
        axis.plot(0, 0, marker='+', color=MIDDLE, markersize=14, markeredgewidth=1.6)
        axis.annotate('capture origin', (0, 0), (8, -14), textcoords='offset points', fontsize=9,
                      color=MIDDLE)
        for cameras, (name, marker, colour) in zip(groups, _GROUPS):
            seen = cameras[0] not in groups[2]
            for camera, azimuth in zip(cameras, ring_azimuths(cameras)):
                _draw_camera(axis, camera, azimuth, colour, seen)
            points = np.stack([camera.position for camera in cameras])
            axis.scatter(*points.T[:2], marker=marker, s=70 if seen else 36, color=colour,
                         label=f'{name} ({len(cameras)})', zorder=3)
        axis.set(aspect='equal', xlabel='x (m)', ylabel='y (m)', xlim=(-6.6, 6.6),
                 ylim=(-6.6, 6.6))
        axis.legend(loc='upper center', bbox_to_anchor=(0.5, 1.1), ncols=3, fontsize=9,
                    frameon=False, columnspacing=1, handletextpad=0.2)


def _circle(radius: float):
    from matplotlib.patches import Circle
    return Circle((0, 0), radius, fill=False, color=FAINT, linewidth=0.5, zorder=0)


def _draw_camera(axis, camera: Camera, azimuth: float, colour: str, seen: bool) -> None:
    forward = camera.rotation[2, :2] / np.linalg.norm(camera.rotation[2, :2])
    start = camera.position[:2]
    end = start + forward * max(-start @ forward, 0)
    axis.plot(*np.stack([start, end]).T, color=colour, linewidth=1 if seen else 0.6,
              alpha=0.7 if seen else 0.35, zorder=1)
    out = start / np.linalg.norm(start)
    outside = start + out * ((0.5 if seen else 0.35) + 0.25 * abs(out[0]))  # text is wide
    axis.text(*outside, f'{np.degrees(azimuth):.1f}°', ha='center', va='center', color=colour,
              fontsize=10 if seen else 7.5)


class SeenBody(NamedTuple):
    """One body as one virtual camera and, if there is one, a network see it.

    Attributes:
        camera: The virtual camera.
        vertices: (V, 3) world metres.
        maps: (K, S, S) input of the network: heatmaps in the order of COCO, or one mask.
        crop: (4,) x1, y1, x2, y2 in pixels of the virtual picture.
        predicted: (V, 3) mesh of the network, metres, camera axes, relative to ``pelvis``.
        pelvis: (3,) camera-space position of the true pelvis, metres.
        error: Mean distance of the vertices in mm, both relative to the pelvis.
    """
    camera: Camera
    vertices: np.ndarray
    maps: np.ndarray
    crop: np.ndarray
    predicted: Optional[np.ndarray] = None
    pelvis: Optional[np.ndarray] = None
    error: Optional[float] = None


def virtual_view_sheet(path: PathLike, views: Sequence[SeenBody], faces: np.ndarray,
                       title: str = '') -> None:
    """One column per camera: its picture, the network's input, the crop and the network's mesh.

    Predicted meshes stand at the true pelvis. The last row shows them from the right of the camera,
    which looks to the right there, over the true ones in grey: errors in depth show.

    Args:
        path: Picture to write.
        views: One or more.
        faces: (F, 3) triangles of the body.
        title: Headline.

    Raises:
        ValueError: No view; or a suffix that matplotlib cannot write.
    """
    if not views:
        raise ValueError('views: expected at least one camera that sees the body, found none')
    predicted = views[0].predicted is not None
    rows = ['virtual camera', 'input', 'true mesh', *(['network', 'from the side'] * predicted)]
    with figure(path, len(rows), len(views), (1.9 * len(views) + 0.4, 2 * len(rows) + 0.7)) as (
            fig, axes):
        for column, view in zip(axes.T, views):
            panels = [_whole_picture(view, faces), colour_maps(view.maps),
                      _crop_picture(view, view.camera.world_to_camera(view.vertices), faces, _TRUE)]
            if predicted:
                panels += [_crop_picture(view, view.predicted + view.pelvis, faces, _PREDICTED),
                           _side_picture(view, faces)]
                column[-2].set_xlabel(f'{view.error:.0f} mm', fontsize=10)
            for axis, panel in zip(column, panels):
                axis.imshow(panel[..., ::-1])
                axis.set(xticks=[], yticks=[])
            azimuth = np.degrees(ring_azimuths([view.camera])[0])
            column[0].set_title(f'{azimuth:.0f}°', fontsize=11)
        for axis, name in zip(axes[:, 0], rows):
            axis.set_ylabel(name, fontsize=11)
        note = '\nbelow: mean distance of the vertices; grey: true mesh' if predicted else ''
        fig.suptitle(f'{title}{note}', fontsize=11)


def _bgr(colour: str) -> list:
    return [int(colour[i:i + 2], 16) for i in (5, 3, 1)]


def _page(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def _mesh(vertices: np.ndarray, faces: np.ndarray, colour: Sequence[float]) -> Mesh:
    return Mesh(vertices, faces, np.tile(colour, (len(vertices), 1)))


def _whole_picture(view: SeenBody, faces: np.ndarray) -> np.ndarray:
    """What the camera sees, with the crop; without the lens' distortion, which is some pixels."""
    import cv2
    camera = view.camera
    scale = _SIDE / camera.width
    page = _page(_SIDE, round(camera.height * scale))
    overlay_meshes(page, [_mesh(camera.world_to_camera(view.vertices), faces, _TRUE)],
                   camera.focal * scale, camera.center * scale, 1)
    x1, y1, x2, y2 = np.rint(view.crop * scale).astype(int).tolist()
    cv2.rectangle(page, (x1, y1), (x2, y2), _bgr(COLOURS[0]), 1)
    return page


def _crop_picture(view: SeenBody, vertices: np.ndarray, faces: np.ndarray,
                  colour: Sequence[float]) -> np.ndarray:
    """A mesh in camera axes, metres, in the crop that the network sees."""
    page = _page(_SIDE, _SIDE)
    scale = _SIDE / (view.crop[2] - view.crop[0])
    overlay_meshes(page, [_mesh(vertices, faces, colour)], view.camera.focal * scale,
                   (view.camera.center - view.crop[:2]) * scale, 1)
    return page


def _side_picture(view: SeenBody, faces: np.ndarray, away: float = 20.) -> np.ndarray:
    """True and predicted mesh around the pelvis from the camera's right, and from far away."""
    true = view.camera.world_to_camera(view.vertices) - view.pelvis
    turned = [mesh[:, [2, 1, 0]] * [1, 1, -1] + [0, 0, away] for mesh in (true, view.predicted)]
    reach = 1.08 * max(np.abs(mesh[:, :2]).max() for mesh in turned)
    page = _page(_SIDE, _SIDE)
    centre = np.array([_SIDE, _SIDE]) / 2
    for mesh, colour, opacity in zip(turned, (_TRUE, _PREDICTED), (1, 0.65)):
        overlay_meshes(page, [_mesh(mesh, faces, colour)], away * _SIDE / 2 / reach, centre,
                       opacity)
    return page
