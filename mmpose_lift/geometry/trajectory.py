"""Where a lifted person stands in camera space through a clip: least-squares reprojection.

A lifter gives poses relative to the root. With a pinhole camera, 2D keypoints leave three unknowns
per frame, the position of the root. They are found for all frames at once, so that the path is
smooth where single frames say little: the depth, which follows from the size of a person in the
image only.
"""

from typing import NamedTuple, Sequence, Tuple, Union

import numpy as np
from scipy.linalg import solveh_banded

__all__ = ['fit_trajectory', 'focal_from_fov']

_RESIDUAL = 0.03  # metres at the person: error of a lifted and projected joint [np]
_HUBER = 1.345  # of the above, where the loss turns linear (95 % efficiency for Gaussian errors)
_ACCELERATION = 3.0  # m/s^2 of the root, where the penalty weighs as much as one residual [np]
_VELOCITY = 100.0  # m/s, weak enough to be seen only where nothing else holds a frame [np]
_DAMPING = 1e-3  # 1 / m^2, in units of the sum; one good joint gives more than 100 [np]
_MIN_DEPTH = 0.1  # metres in front of the camera
_STEPS, _TOLERANCE = 50, 1e-4  # Gauss-Newton steps at most; metres of the last one


def focal_from_fov(image_size: Tuple[int, int], fov_degrees: float = 55.0) -> float:
    """Focal length in pixels for a field of view over the longer side of the image.

    For videos of unknown cameras. 55 degrees is [np], between a phone's main camera (about 65) and
    those of Human3.6M (47). Depths of :func:`fit_trajectory` are in proportion to the focal length,
    so a guess that is 20 % off moves a person 20 % closer or away.

    Raises:
        ValueError: An image size that is not positive or an angle outside 0 to 180 degrees.
    """
    if len(image_size) != 2 or not min(image_size) > 0:
        raise ValueError('image_size: expected width and height in pixels, found '
                         f'{tuple(image_size)}')
    if not 0 < fov_degrees < 180:
        raise ValueError(f'fov_degrees: expected an angle between 0 and 180, found {fov_degrees!r}')
    return float(max(image_size) / 2 / np.tan(np.radians(fov_degrees) / 2))


def fit_trajectory(poses: np.ndarray, keypoints: np.ndarray, scores: np.ndarray,
                   focal: Union[float, Sequence[float]], center: Sequence[float], fps: float,
                   smoothness: float = 1.0) -> np.ndarray:
    """Positions of the root for which the poses are seen at the keypoints.

    Minimises, over the positions of all frames, the sum of

    * Huber losses of the distances between projected joint and keypoint, taken to metres at the
      person's depth and divided by 0.03 m [np], times the score, and
    * ``smoothness`` times the squared accelerations divided by 3 m/s^2 [np],

    by Gauss-Newton from a closed-form start per frame; the normal equations are banded, so time and
    memory grow in proportion to T. Frames without any score are bridged by the neighbours.

    The scale is not observable: poses s times as large give positions s times as far away, and so
    does a focal length s times as long (x and y excepted). Scale the poses to the person first
    (:func:`~mmpose_lift.geometry.body_scale.scale_to_height`), or scale the result with them.

    Args:
        poses: (T, J, 3) metres relative to the root, camera axes (x right, y down, z forward).
        keypoints: (T, J, 2) pixels of the same joints, without lens distortion; that of the
            Human3.6M cameras, left in, moves people by 1 % of their distance on average.
        scores: (T, J) from 0, not used, to 1; larger values count as 1.
        focal: Pixels, one or (x, y).
        center: (2,) principal point in pixels.
        fps: Frames per second.
        smoothness: 0 leaves the frames independent, apart from those without keypoints.

    Returns:
        (T, 3) float64 metres, camera axes, origin at the camera. The root is kept at least 0.1 m in
        front of the camera.

    Raises:
        ValueError: Wrong shapes, values that are not finite, a focal length, frame rate or
            smoothness out of range, or no frame with two joints that have a score.
    """
    poses, keypoints, scores, focal, center = (
        np.asarray(a, dtype=np.float64) for a in (poses, keypoints, scores, focal, center))
    _check(poses, keypoints, scores, focal, center, fps, smoothness)
    rays = (keypoints - center) / focal
    scores = scores.clip(0, 1)
    known = (scores > 0).sum(1) > 1
    if not known.any():
        raise ValueError('scores: no frame has two joints with a score above 0, so the position is '
                         'unknown; fit only people with keypoints')
    start = _start(poses[known], rays[known], scores[known])
    frames = np.arange(len(poses))
    root = np.stack([np.interp(frames, frames[known], start[:, axis]) for axis in range(3)], 1)

    problem = _Problem(poses, rays, scores, scale=root[:, 2] / _RESIDUAL, penalty=_penalty(
        len(poses), smoothness * (fps ** 2 / _ACCELERATION) ** 2, (fps / _VELOCITY) ** 2))
    cost = problem.cost(root)
    for _ in range(_STEPS):
        step = problem.step(root)
        size = np.abs(step).max()
        while size > _TOLERANCE:  # halve the step until the cost falls
            moved = root + step
            moved[:, 2] = moved[:, 2].clip(_MIN_DEPTH)
            moved_cost = problem.cost(moved)
            if moved_cost <= cost:
                root, cost = moved, moved_cost
                break
            step, size = step / 2, size / 2
        if size <= _TOLERANCE:
            break
    return root


def _check(poses, keypoints, scores, focal, center, fps, smoothness):
    if poses.ndim != 3 or poses.shape[-1] != 3 or not len(poses):
        raise ValueError(f'poses: expected at least one frame (T, J, 3), found {poses.shape}')
    for name, array, shape in (('keypoints', keypoints, poses.shape[:2] + (2, )),
                               ('scores', scores, poses.shape[:2])):
        if array.shape != shape:
            raise ValueError(f'{name}: expected {shape} for poses of shape {poses.shape}, found '
                             f'{array.shape}')
    for name, array in (('poses', poses), ('keypoints', keypoints), ('scores', scores)):
        bad = ~np.isfinite(array).reshape(len(array), -1).all(axis=1)
        if bad.any():
            raise ValueError(f'{name}: frame {int(bad.argmax())} holds NaN or infinite values; '
                             'give joints that were not found a finite place and a score of 0')
    if focal.shape not in ((), (2, )) or not (np.isfinite(focal) & (focal > 0)).all():
        raise ValueError(f'focal: expected positive pixels, one or two, found {focal.tolist()}')
    if center.shape != (2, ) or not np.isfinite(center).all():
        raise ValueError(f'center: expected x and y in pixels, found {center.tolist()}')
    if not 0 < fps < np.inf:
        raise ValueError(f'fps: expected a positive number of frames per second, found {fps!r}')
    if not 0 <= smoothness < np.inf:
        raise ValueError(f'smoothness: expected a number of at least 0, found {smoothness!r}')


def _start(poses, rays, scores):
    """Position of each frame alone: the projection's equations, linear in it, reweighted.

    X + x = u (Z + z) and Y + y = v (Z + z); for a given Z the best X and Y are means, see
    :func:`~mmpose_lift.geometry.back_projection.estimate_root_position`.
    """
    offset = rays * poses[..., 2:] - poses[..., :2]
    weight = scores
    for _ in range(5):  # of reweighting, against single joints far off
        share = (weight / weight.sum(1, keepdims=True))[..., None]
        mean_ray, mean_offset = (share * rays).sum(1), (share * offset).sum(1)
        ray, off = rays - mean_ray[:, None], offset - mean_offset[:, None]
        spread = (share * ray * ray).sum((1, 2))
        depth = -(share * ray * off).sum((1, 2)) / np.maximum(spread, np.finfo(float).eps ** 2)
        depth = depth.clip(_MIN_DEPTH)[:, None]
        distance = np.linalg.norm(ray * depth[:, None] + off, axis=-1)
        weight = scores * _huber_weight(distance / _RESIDUAL)
    return np.concatenate([mean_ray * depth + mean_offset, depth], 1)


def _huber_weight(distance):
    return _HUBER / np.maximum(distance, _HUBER)


class _Problem(NamedTuple):
    """The sum that is minimised, at fixed weights of the frames."""
    poses: np.ndarray  # (T, J, 3)
    rays: np.ndarray  # (T, J, 2)
    scores: np.ndarray  # (T, J)
    scale: np.ndarray  # (T,) expected errors per unit of a ray: depth of the start / metres
    penalty: Tuple[np.ndarray, np.ndarray, np.ndarray]  # diagonals of a symmetric (T, T) matrix

    def residuals(self, root):
        """(T, J, 2) in units of the expected error, (T, J, 2) rays, (T, J) d residual / d x."""
        points = self.poses + root[:, None]
        depth = points[..., 2:].clip(_MIN_DEPTH)
        seen = points[..., :2] / depth
        scale = self.scale[:, None, None]
        return (seen - self.rays) * scale, seen, (scale / depth)[..., 0]

    def cost(self, root) -> float:
        distance = np.linalg.norm(self.residuals(root)[0], axis=-1)
        near = np.minimum(distance, _HUBER)
        loss = near * (distance - near / 2)  # d^2 / 2, from the threshold on linear
        return (self.scores * loss).sum() + (root * self._penalty_times(root)).sum() / 2

    def step(self, root):
        """(T, 3) Gauss-Newton step of the reweighted squares."""
        residual, seen, slope = self.residuals(root)
        weight = self.scores * _huber_weight(np.linalg.norm(residual, axis=-1))
        pull, square = weight * slope, weight * slope ** 2
        gradient = np.empty_like(root)
        gradient[:, :2] = (pull[..., None] * residual).sum(1)
        gradient[:, 2] = -(pull * (residual * seen).sum(-1)).sum(1)
        gradient += self._penalty_times(root)
        # Upper bands of the (3 T, 3 T) matrix: row 6 - d holds the entries d above the diagonal.
        bands = np.zeros((7, len(root), 3))
        bands[6, :, 0] = bands[6, :, 1] = square.sum(1)
        bands[6, :, 2] = (square * (seen ** 2).sum(-1)).sum(1)
        bands[5, :, 2] = -(square * seen[..., 1]).sum(1)
        bands[4, :, 2] = -(square * seen[..., 0]).sum(1)
        for apart, diagonal in enumerate(self.penalty):
            bands[6 - 3 * apart, apart:] += diagonal[:, None]
        # Damping (Levenberg) for frames whose keypoints coincide; the minimum stays where it is.
        bands[6] += _DAMPING + 1e-10 * bands[6].max()
        return -solveh_banded(bands.reshape(7, -1), gradient.ravel()).reshape(-1, 3)

    def _penalty_times(self, root):
        main, *others = self.penalty
        result = main[:, None] * root
        for apart, diagonal in enumerate(others, 1):
            result[apart:] += diagonal[:, None] * root[:-apart]
            result[:-apart] += diagonal[:, None] * root[apart:]
        return result


def _penalty(count: int, acceleration: float, velocity: float):
    """Main and two upper diagonals of the weighted squares of first and second differences."""
    diagonals = tuple(np.zeros(count - apart) for apart in range(min(count, 3)))
    for weight, stencil in ((velocity, (-1, 1)), (acceleration, (1, -2, 1))):
        rows = count - len(stencil) + 1
        for i, left in enumerate(stencil):
            for j in range(i, len(stencil)):
                if rows > 0:
                    diagonals[j - i][i:i + rows] += weight * left * stencil[j]
    return diagonals
