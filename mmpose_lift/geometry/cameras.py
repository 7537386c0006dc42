"""Pinhole cameras with lens distortion, screen normalisation, and the Human3.6M camera table.

Conventions of VideoPose3D (Pavllo et al., CVPR 2019): world z up, metres; camera x right, y down,
z forward; `x_cam = rotation @ (x_world - position)`.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from .rotations import quaternion_to_matrix

__all__ = ['CAMERA_SHAPES', 'Camera', 'camera_to_world', 'denormalize_screen', 'h36m_camera',
           'h36m_cameras', 'normalize_screen', 'project_points', 'world_to_camera']


def _like(parameter, points):
    """`parameter` with the type, dtype and device of `points`."""
    if isinstance(points, torch.Tensor):
        if not isinstance(parameter, torch.Tensor):
            parameter = np.array(parameter)  # a copy: those of Camera are read-only
        return torch.as_tensor(parameter, dtype=points.dtype, device=points.device)
    if isinstance(parameter, torch.Tensor):
        parameter = parameter.detach().cpu().numpy()
    return np.asarray(parameter, dtype=points.dtype)


def _floating(points, size: int, what: str):
    """`points` as a floating-point array or tensor of shape (..., size)."""
    if not isinstance(points, torch.Tensor):
        points = np.asarray(points)
        if points.dtype.kind != 'f':
            points = points.astype(np.float64)
    elif not points.is_floating_point():
        points = points.double()
    if points.ndim < 1 or points.shape[-1] != size:
        raise ValueError(f'{what} must have shape (..., {size}), found {tuple(points.shape)}')
    return points


def world_to_camera(points, rotation, position):
    """World to camera space: rotation @ (points - position).

    Args:
        points: (..., K, 3) array or tensor, metres.
        rotation: (3, 3) or (..., 3, 3) world to camera.
        position: (3,) or (..., 3) camera centre in world metres. Leading dimensions broadcast
            against those of `points` without its K axis.

    Returns:
        (..., K, 3) of the dtype of `points`.
    """
    points = _floating(points, 3, 'points')
    rotation, position = _like(rotation, points), _like(position, points)
    return (points - position[..., None, :]) @ rotation.swapaxes(-1, -2)


def camera_to_world(points, rotation, position):
    """Inverse of :func:`world_to_camera`, same arguments."""
    points = _floating(points, 3, 'points')
    rotation, position = _like(rotation, points), _like(position, points)
    return points @ rotation + position[..., None, :]


def project_points(points_cam, focal, center, radial, tangential):
    """Camera space to pixels with radial and tangential distortion.

    As VideoPose3D, n = x/z, y/z is clipped to [-1, 1] first: beyond it the polynomial of the lens
    is meaningless. Points behind the camera give meaningless pixels as well. Then
    `out = focal * (n * (1 + k1 r2 + k2 r4 + k3 r6 + p.n) + p * r2) + center`.

    Args:
        points_cam: (..., K, 3) array or tensor, metres.
        focal, center: (2,) or (..., 2) pixels.
        radial: (3,) or (..., 3) k1, k2, k3.
        tangential: (2,) or (..., 2) in the order of the Human3.6M tables. Leading dimensions
            broadcast against those of `points_cam` without its K axis.

    Returns:
        (..., K, 2) pixels of the dtype of `points_cam`.
    """
    points = _floating(points_cam, 3, 'points_cam')
    focal, center, radial, tangential = (
        _like(p, points)[..., None, :] for p in (focal, center, radial, tangential))
    n = (points[..., :2] / points[..., 2:]).clip(-1, 1)
    r2 = (n * n).sum(-1)[..., None]
    k1, k2, k3 = radial[..., 0:1], radial[..., 1:2], radial[..., 2:3]
    factor = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + (tangential * n).sum(-1)[..., None]
    return focal * (n * factor + tangential * r2) + center


def _screen(xy, width, height):
    xy = _floating(xy, 2, 'xy')
    width, height = _like(width, xy)[..., None], _like(height, xy)[..., None]
    if not bool((width > 0).all()) or not bool((height > 0).all()):
        raise ValueError('image width and height must be positive pixels, found width '
                         f'{width.min()}, height {height.min()}; the image size of the source '
                         'may be missing')
    return xy, width, height


def normalize_screen(xy, width, height):
    """Pixels to screen space: x' = 2x/w - 1, y' = 2y/w - h/w, so that the ratio is kept.

    Args:
        xy: (..., K, 2) array or tensor, pixels.
        width, height: image size in pixels, scalars or arrays whose dimensions broadcast against
            those of `xy` without the last two.

    Returns:
        (..., K, 2) of the dtype of `xy`.
    """
    xy, w, h = _screen(xy, width, height)
    stack = torch.stack if isinstance(xy, torch.Tensor) else np.stack
    return stack([xy[..., 0] * 2 / w - 1, xy[..., 1] * 2 / w - h / w], -1)


def denormalize_screen(xy, width, height):
    """Inverse of :func:`normalize_screen`, same arguments."""
    xy, w, h = _screen(xy, width, height)
    stack = torch.stack if isinstance(xy, torch.Tensor) else np.stack
    return stack([(xy[..., 0] + 1) * w / 2, (xy[..., 1] + h / w) * w / 2], -1)


# the arrays of a camera
CAMERA_SHAPES = dict(focal=(2,), center=(2,), radial=(3,), tangential=(2,), rotation=(3, 3),
               position=(3,))


@dataclass(frozen=True, eq=False)
class Camera:
    """One calibrated camera; arrays are float64.

    Attributes:
        width, height: image size, pixels.
        focal, center: (2,) pixels.
        radial: (3,) k1, k2, k3. tangential: (2,).
        rotation: (3, 3) world to camera. position: (3,) camera centre, world metres.

    Raises:
        ValueError: wrong shape, a value that is not a number, or `rotation` is no rotation.
    """
    name: str
    width: int
    height: int
    focal: np.ndarray
    center: np.ndarray
    radial: np.ndarray
    tangential: np.ndarray
    rotation: np.ndarray
    position: np.ndarray

    def __post_init__(self):
        for key, shape in CAMERA_SHAPES.items():
            value = np.array(getattr(self, key), dtype=np.float64)
            if value.size == np.prod(shape):
                value = value.reshape(shape)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f'camera {self.name!r}: {key} must be {shape} finite numbers, '
                                 f'found {value.tolist()}')
            value.flags.writeable = False
            object.__setattr__(self, key, value)
        r = self.rotation
        if np.abs(r @ r.T - np.eye(3)).max() > 1e-4 or np.linalg.det(r) < 0:
            raise ValueError(f'camera {self.name!r}: rotation is not a rotation matrix: '
                             f'{r.tolist()}')
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f'camera {self.name!r}: image size must be positive, found '
                             f'{self.width} x {self.height}')

    def __eq__(self, other):
        return isinstance(other, Camera) and self.to_dict() == other.to_dict()

    def __hash__(self):
        return hash((self.name, self.width, self.height, self.position.tobytes()))

    def world_to_camera(self, points):
        """(..., K, 3) world metres to camera metres."""
        return world_to_camera(points, self.rotation, self.position)

    def camera_to_world(self, points):
        """(..., K, 3) camera metres to world metres."""
        return camera_to_world(points, self.rotation, self.position)

    def project(self, points_cam):
        """(..., K, 3) camera metres to (..., K, 2) pixels, with distortion."""
        return project_points(points_cam, self.focal, self.center, self.radial, self.tangential)

    def flipped(self) -> 'Camera':
        """The camera that sees the world mirrored in x as the mirror image of what this one sees.

        In camera space as in the image only x changes sign (the centre becomes width - x).
        """
        mirror = np.array([-1.0, 1.0, 1.0])
        return replace(
            self, center=[self.width - self.center[0], self.center[1]],
            tangential=self.tangential * mirror[:2],
            rotation=mirror[:, None] * self.rotation * mirror, position=self.position * mirror)

    def to_dict(self) -> dict:
        """Plain lists and numbers, for json."""
        return {f.name: getattr(self, f.name).tolist() if f.name in CAMERA_SHAPES
                else getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, values: dict) -> 'Camera':
        """Inverse of :meth:`to_dict`. ValueError names missing and unknown keys."""
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            raise ValueError(f'camera {values.get("name", "?")!r}: missing keys '
                             f'{sorted(names - set(values))}, unknown keys '
                             f'{sorted(set(values) - names)}')
        return cls(**values)


# id: width, height, focal, center, radial, tangential; the same for all subjects.
_H36M_INTRINSICS = {
    '54138969': (1000, 1002, (1145.04944, 1143.78113), (512.541504, 515.451477),
                 (-0.207098916, 0.247775182, -0.00307515031), (-0.000975698873, -0.00142447161)),
    '55011271': (1000, 1000, (1149.67566, 1147.59167), (508.848633, 508.064911),
                 (-0.194213629, 0.24040854, 0.00681997556), (-0.00161902665, -0.00274089444)),
    '58860488': (1000, 1000, (1149.14075, 1148.79895), (519.815857, 501.402649),
                 (-0.208338186, 0.255488008, -0.00246049743), (0.00148438697, -0.000759999326)),
    '60457274': (1000, 1002, (1145.51135, 1144.77393), (514.968201, 501.882019),
                 (-0.198384091, 0.218323678, -0.00894780736), (-0.000587205577, -0.001813362)),
}

# Per subject the four cameras in the order above: camera-to-world quaternion w, x, y, z and
# position in mm.
_H36M_EXTRINSICS = {
    'S1': (
        ((0.140705645, -0.150070176, -0.755240798, 0.622328043),
         (1841.10706, 4955.28467, 1563.44543)),
        ((0.615718782, -0.764836311, -0.148338258, 0.117947407),
         (1761.27856, -5078.00684, 1606.26501)),
        ((0.146514729, -0.146478519, 0.76530236, -0.609417558),
         (-1846.77771, 5215.04639, 1491.97241)),
        ((0.583400846, -0.785316229, 0.145488232, -0.14749594),
         (-1794.78967, -3722.69897, 1574.8927)),
    ),
    'S5': (
        ((0.146737725, -0.162370965, -0.7551893, 0.617893875),
         (2097.3916, 4880.94482, 1605.73242)),
        ((0.615975857, -0.762679219, -0.15728192, 0.118981503),
         (2031.70081, -5167.93311, 1612.9231)),
        ((0.142913714, -0.129078418, 0.767838478, -0.611014307),
         (-1620.59485, 5171.65869, 1496.43701)),
        ((0.592047989, -0.781421781, 0.127474859, -0.150364175),
         (-1637.17371, -3867.31738, 1547.0332)),
    ),
    'S6': (
        ((0.133789778, -0.156923965, -0.757109046, 0.619887948),
         (1935.45178, 4950.24561, 1618.08386)),
        ((0.614719748, -0.762881279, -0.161747679, 0.118192449),
         (1969.80396, -5128.73877, 1632.77881)),
        ((0.152994812, -0.135291308, 0.764609635, -0.611278117),
         (-1769.59644, 5185.36133, 1476.99341)),
        ((0.591610134, -0.780477405, 0.128322706, -0.156159386),
         (-1721.6687, -3884.13135, 1540.48792)),
    ),
    'S7': (
        ((0.143524185, -0.163133681, -0.754832864, 0.618882477),
         (1974.51294, 4926.35449, 1597.83264)),
        ((0.614167273, -0.763826251, -0.159664556, 0.117792994),
         (1937.05847, -5119.79004, 1631.56653)),
        ((0.1455006, -0.128748164, 0.76605165, -0.612713933),
         (-1741.81116, 5208.24951, 1464.82458)),
        ((0.591284811, -0.782176435, 0.124454737, -0.151964873),
         (-1734.71057, -3832.42139, 1548.58301)),
    ),
    'S8': (
        ((0.141105875, -0.155898675, -0.75619173, 0.619644046),
         (2150.65186, 4896.16113, 1611.90466)),
        ((0.616960168, -0.764766812, -0.148463503, 0.111581579),
         (2219.96558, -5148.45312, 1613.04407)),
        ((0.147144407, -0.133771196, 0.767012835, -0.610036969),
         (-1571.22156, 5137.01855, 1498.17615)),
        ((0.592782438, -0.782587051, 0.121478163, -0.146319956),
         (-1476.91333, -3896.74121, 1547.97217)),
    ),
    'S9': (
        ((0.155405879, -0.155482158, -0.753209531, 0.619959474),
         (2044.4585, 4935.11719, 1481.22754)),
        ((0.618784487, -0.763473511, -0.141322389, 0.119339682),
         (1990.95972, -5123.81055, 1568.80481)),
        ((0.133578271, -0.136710048, 0.768945456, -0.610073864),
         (-1670.99219, 5211.98584, 1528.38794)),
        ((0.587939918, -0.782340705, 0.142761439, -0.147948697),
         (-1696.04346, -3827.09985, 1591.41272)),
    ),
    'S11': (
        ((0.152324721, -0.154423207, -0.754756331, 0.619107008),
         (2098.44019, 4926.55469, 1500.27856)),
        ((0.618944943, -0.760091722, -0.15300633, 0.125525832),
         (2083.18237, -4912.17285, 1561.07861)),
        ((0.149432287, -0.156502277, 0.768123388, -0.602630436),
         (-1609.81531, 5177.33594, 1537.89673)),
        ((0.589425147, -0.78188771, 0.139912114, -0.147153616),
         (-1590.73804, -3854.16895, 1578.01758)),
    ),
}


def h36m_camera(subject: str, camera_id: str) -> Camera:
    """One Human3.6M camera, for example h36m_camera('S1', '54138969').

    Raises:
        ValueError: unknown subject or camera; the message lists the known ones.
    """
    camera_id = str(camera_id)
    if subject not in _H36M_EXTRINSICS or camera_id not in _H36M_INTRINSICS:
        raise ValueError(f'no Human3.6M camera {subject}.{camera_id}; subjects: '
                         f'{", ".join(_H36M_EXTRINSICS)}; cameras: {", ".join(_H36M_INTRINSICS)}')
    width, height, focal, center, radial, tangential = _H36M_INTRINSICS[camera_id]
    quaternion, position = _H36M_EXTRINSICS[subject][list(_H36M_INTRINSICS).index(camera_id)]
    return Camera(f'{subject}.{camera_id}', width, height, focal, center, radial, tangential,
                  quaternion_to_matrix(quaternion).T, np.divide(position, 1000))


def h36m_cameras(subjects=None) -> list:
    """All Human3.6M cameras of the subjects (None: all seven), four per subject in table order."""
    return [h36m_camera(subject, camera_id)
            for subject in (_H36M_EXTRINSICS if subjects is None else subjects)
            for camera_id in _H36M_INTRINSICS]
