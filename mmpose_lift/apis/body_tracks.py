"""From the bodies found in single frames to one body per person: gaps, shape, smoothing, places."""

from dataclasses import replace
from typing import Iterator, Tuple

import numpy as np
import torch

from ..geometry.rotations import matrix_to_quaternion, quaternion_to_matrix, slerp
from ..geometry.skeletons import get_skeleton
from ..io.video_poses import BodyTrack, PersonTrack
from ..models.body import FoldedJoints
from .body_networks import MIN_DEPTH, Bodies
from .post_processing import SMOOTHERS

__all__ = ['BodyPoser', 'continuous_quaternions', 'fill_bodies', 'one_shape',
           'smooth_bodies']

CHUNK = 512  # frames posed at once [np]


def fill_bodies(bodies: Bodies, rows: np.ndarray, count: int) -> Bodies:
    """Bodies of all frames from those of some frames.

    Between two of them rotations go along the shortest arc and all else along a line; behind the
    last one everything stays. Keypoints there have a score of 0.

    Args:
        bodies: m of them.
        rows: (m,) ascending frames they are of; the first is 0.
        count: n, frames.

    Returns:
        n bodies; those given are kept exactly.
    """
    if len(rows) == count:
        return bodies
    frames = np.arange(count)
    before = np.searchsorted(rows, frames, 'right') - 1
    after = np.minimum(before + 1, len(rows) - 1)
    part = (frames - rows[before]) / np.maximum(rows[after] - rows[before], 1)
    gaps = np.setdiff1d(frames, rows)

    def between(values: np.ndarray) -> np.ndarray:
        filled = values[before]
        share = part[gaps].reshape(-1, *[1] * (values.ndim - 1))
        filled[gaps] += (share * (values[after[gaps]] - filled[gaps])).astype(values.dtype)
        return filled

    filled = Bodies(*(between(values) for values in bodies))
    turned = matrix_to_quaternion(bodies.rotmats.astype(np.float64))
    filled.rotmats[gaps] = quaternion_to_matrix(slerp(turned[before[gaps]], turned[after[gaps]],
                                                      part[gaps, None]))
    filled.keypoints[gaps, :, 2] = 0
    return filled


def one_shape(bodies: Bodies) -> Bodies:
    """The same bodies, all with their mean shape."""
    return bodies._replace(betas=np.broadcast_to(bodies.betas.mean(axis=0),
                                                 bodies.betas.shape).copy())


def continuous_quaternions(rotmats: np.ndarray) -> np.ndarray:
    """(n, ..., 4) quaternions w, x, y, z of (n, ..., 3, 3) without changes of sign over time."""
    quaternions = matrix_to_quaternion(rotmats.astype(np.float64))
    turns = (quaternions[1:] * quaternions[:-1]).sum(axis=-1, keepdims=True) < 0
    quaternions[1:] *= np.where(np.cumsum(turns, axis=0) % 2, -1, 1)
    return quaternions


def smooth_bodies(bodies: Bodies, method: str, **time) -> Bodies:
    """Smooth rotations (as quaternions) and places over time.

    The options of the filters are those for points in metres: half an angle in radians counts like
    a metre [np], and limbs are about that long.

    Args:
        bodies: Of consecutive frames.
        method: 'one-euro' or 'savgol'.
        time: ``fps``, or ``times`` of the frames in seconds.
    """
    filtered = SMOOTHERS[method][1]
    quaternions = filtered(continuous_quaternions(bodies.rotmats), **time)
    return bodies._replace(rotmats=quaternion_to_matrix(quaternions).astype(np.float32),
                           roots=filtered(bodies.roots, **time))


class BodyPoser:
    """Puts bodies into the tracks of people: their joints, and where they are.

    Args:
        folded: Human3.6M's joints of the body.
        camera: (3, 3) camera matrix.
    """

    def __init__(self, folded: FoldedJoints, camera: np.ndarray) -> None:
        self._body, self._folded, self._camera = folded.body, folded, camera
        self._root = get_skeleton('h36m').root_index

    def track(self, track: PersonTrack, bodies: Bodies) -> PersonTrack:
        """The track with its body, and the 3D and 2D joints of Human3.6M that follow from it."""
        parts = [np.concatenate(part) for part in zip(*self._posed(bodies))]
        joints, seventeen, transl = parts
        score = np.where(track.detected, bodies.keypoints[..., 2].mean(axis=1), 0)
        pixels = self._project(seventeen)
        root = seventeen[:, self._root]
        return replace(
            track, keypoints_3d=seventeen - root[:, None], root_position=root,
            keypoints_2d=np.concatenate([pixels, np.broadcast_to(
                score[:, None, None], (*pixels.shape[:2], 1))], axis=-1).astype(np.float32),
            body=BodyTrack(bodies.betas, bodies.rotmats, transl, joints))

    @torch.inference_mode()
    def _posed(self, bodies: Bodies) -> Iterator[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
        device = self._body.template.device
        for first in range(0, len(bodies.betas), CHUNK):
            betas, rotmats, roots = (torch.as_tensor(values[first:first + CHUNK]).to(device)
                                     for values in bodies[:3])
            rest = self._body.rest_joints(betas)
            transl = roots - rest[:, 0]
            joints = self._body.chain(rotmats, rest)[1] + transl[:, None]
            seventeen = self._folded(betas, rotmats) + transl[:, None]
            yield tuple(x.cpu().numpy() for x in (joints, seventeen, transl))

    def _project(self, points: np.ndarray) -> np.ndarray:
        rays = points / np.maximum(points[..., 2:], MIN_DEPTH)
        return rays[..., :2] * self._camera[[0, 1], [0, 1]] + self._camera[:2, 2]
