"""Cameras as arrays, for windows that are seen by different ones."""

from typing import Sequence, Tuple

import numpy as np

from ..geometry.cameras import Camera, project_points, world_to_camera


class CameraTable:
    """Cameras as stacked float32 arrays.

    Attributes:
        names: C names.
        size: (C, 2) width and height, pixels.
        focal, center: (C, 2) pixels.
    """

    def __init__(self, cameras: Sequence[Camera]):
        self.names = [c.name for c in cameras]
        self.size = np.array([(c.width, c.height) for c in cameras])
        self._extrinsics = [
            np.stack([getattr(c, k) for c in cameras]).astype(np.float32)
            for k in ('rotation', 'position')
        ]
        self._intrinsics = [
            np.stack([getattr(c, k) for c in cameras]).astype(np.float32)
            for k in ('focal', 'center', 'radial', 'tangential')
        ]
        self.focal, self.center = self._intrinsics[:2]

    def see(self, points: np.ndarray, camera: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """World points (B, T, K, 3) by cameras (B,): camera space (metres) and pixels."""
        rotation, position = (p[camera][:, None] for p in self._extrinsics)
        seen = world_to_camera(points, rotation, position)
        return seen, project_points(seen, *(p[camera][:, None] for p in self._intrinsics))
