"""From 2D keypoints and depths back to camera space, and where a root-relative pose stands in it.

Pinhole cameras without lens distortion. 2D keypoints, focal lengths and image centres are in one
unit, any: pixels, or the screen space of :func:`normalize_screen` (see
:func:`normalize_intrinsics`).
"""

import numpy as np
import torch

from .cameras import _floating, _like, normalize_screen

__all__ = ['back_project', 'estimate_root_position', 'normalize_intrinsics']


def normalize_intrinsics(focal, center, width, height):
    """Focal length and image centre in the unit of :func:`normalize_screen`.

    Args:
        focal, center: (..., 2) array or tensor, pixels.
        width, height: image size in pixels, scalars or (...).

    Returns:
        2 focal / width and the normalised centre, (..., 2) each, of the dtypes of the arguments.

    Raises:
        ValueError: image size or focal length not positive.
    """
    center = normalize_screen(_floating(center, 2, 'center')[..., None, :], width, height)
    focal = _floating(focal, 2, 'focal')
    if not bool((focal > 0).all()):
        raise ValueError(f'focal: expected positive pixels, found {focal.min()}')
    return focal * 2 / _like(width, focal)[..., None], center[..., 0, :]


def back_project(uv, depth, focal, center):
    """Camera-space points that are seen at ``uv``: x, y = (uv - center) * depth / focal.

    Nothing is divided by the depth: a depth of zero gives the camera's own position, a negative one
    the point mirrored there. Both are finite and meaningless.

    Args:
        uv: (..., K, 2) array or tensor.
        depth: (..., K) distances z along the camera axis, metres.
        focal, center: (2,) or (..., 2), unit of ``uv``.

    Returns:
        (..., K, 3) metres, of the dtype of ``uv``.
    """
    uv = _floating(uv, 2, 'uv')
    depth = _like(depth, uv)[..., None]
    focal, center = (_like(p, uv)[..., None, :] for p in (focal, center))
    xy = (uv - center) * depth / focal
    concatenate = torch.cat if isinstance(uv, torch.Tensor) else np.concatenate
    return concatenate([xy, depth], -1)


def estimate_root_position(pose, uv, focal, center, min_depth=0.1):
    """Where a root-relative pose stands, so that it is seen at given 2D keypoints.

    Least squares: of all root positions (X, Y, Z) the one for which the projection's equations,
    X + x = u (Z + z) and Y + y = v (Z + z) with (u, v) = (uv - center) / focal at every joint
    (x, y, z), have the smallest sum of squared differences. Beyond a pinhole camera this assumes
    only that the pose has its true size: a pose predicted too small is placed too near. The smaller
    a person is in the image, the more errors of the 2D points pass into the depth.

    Closed form: for a given Z the best X and Y are means, which leaves a parabola in Z. Its minimum
    above ``min_depth`` is the minimum clipped.

    Args:
        pose: (..., K, 3) array or tensor, metres, relative to the root.
        uv: (..., K, 2).
        focal, center: (2,) or (..., 2), unit of ``uv``.
        min_depth: Metres; the root is at least this far in front of the camera. This is also the
            answer where all keypoints coincide, which leaves the depth open.

    Returns:
        (..., 3) camera-space position of the root, metres, of the dtype of ``pose``. Tensors:
        differentiable in ``pose`` and ``uv``.
    """
    pose = _floating(pose, 3, 'pose')
    uv = _like(uv, pose)
    focal, center = (_like(p, pose)[..., None, :] for p in (focal, center))
    ray = (uv - center) / focal  # (u, v) above
    offset = ray * pose[..., 2:] - pose[..., :2]  # (X, Y) = ray * Z + offset at every joint
    mean_ray, mean_offset = ray.mean(-2), offset.mean(-2)
    ray, offset = ray - mean_ray[..., None, :], offset - mean_offset[..., None, :]
    tensors = isinstance(pose, torch.Tensor)
    # Rays are slopes; points that differ by rounding only count as one point.
    rounding = (torch if tensors else np).finfo(pose.dtype).eps ** 2
    depth = -(ray * offset).sum(-1).sum(-1) / ((ray * ray).sum(-1).sum(-1) + rounding)
    depth = depth.clip(min_depth)[..., None]
    concatenate = torch.cat if tensors else np.concatenate
    return concatenate([mean_ray * depth + mean_offset, depth], -1)
