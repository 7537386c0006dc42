"""Rendered people with all labels of a body model, to train mesh systems without licensed data.

The pictures show one stand-in body each, in poses of fitted body motion or of procedural motion.
Nothing in them was photographed.
"""

from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np
import torch

from ..geometry.rotations import axis_angle_to_matrix
from ..geometry.skeletons import get_skeleton, joint_map
from ..geometry.torch_rotations import matrix_to_axis_angle
from .rendered_people import RenderedPeopleWriter, renderer
from .synthetic_motion import ACTIONS, synthetic_clips

__all__ = ['RenderedMeshWriter', 'body_motion_pool']

_CLIPS_PER_ACTION, _CLIP_FRAMES, _FRAME_STEP = 40, 150, 10  # [np] procedural poses
_RECORDED_SHARE = 0.75  # [np] of the poses, where motion folders are given
_RECORDED_FPS = 10  # [np] frames of a motion that are taken
_MAX_RECORDED = 100_000  # [np] poses kept in memory
_FILL, _CUT = (0.6, 0.95), 0.1  # [np] size in the picture, see RenderedPeople.photograph
_MIN_JOINTS, _MIN_SEEN = 20, 0.5  # [np] joints in the picture; share of the person not covered
# Standard deviation in degrees of the rotations added at random [np]: motion from 17 joints keeps
# hands, feet and head straight, and a network would learn that they always are.
_EXTRA = {'wrist': 20, 'hand': 10, 'ankle': 12, 'foot': 8, 'neck': 8, 'head': 10, 'elbow': 8}
_EXTRA_ELSEWHERE = 3


class RenderedMeshWriter(RenderedPeopleWriter):
    """Render people into ``<out>/<split>/*.jpg``, labels in ``<out>/<split>.json``.

    The annotation file has the layout of HybrIK's Human3.6M files (``images`` and ``annotations``,
    millimetres, camera axes x right, y down, z forward); an annotation holds

    * ``bbox``: x, y, width, height around the whole person, cut at the picture; ``cam_param``:
      ``f`` and ``c``, pixels. The middle of the first pixel is (0, 0), as in OpenCV;
    * ``smpl_joints`` (24, 3) and ``h36m_joints`` (17, 3, order 'h36m_l_first', regressed from the
      mesh), absolute; ``root_coord`` (3,), the first of ``smpl_joints``;
    * ``betas`` (10,) and ``thetas`` (72,) axis-angle, the root in camera axes;
    * ``angle_twist``: ``angle``, ``cos`` and ``sin`` of 23 twists.

    One person per picture, sometimes partly covered or cut off. Shape, heading, camera, clothes,
    light and background are random, and all joints are turned a little, hands, feet and head most.
    What is said of resuming and seeds for ``RenderedPeopleWriter`` holds here too.

    Args:
        out: Folder of the data set.
        seed: Of everything random.
        motion: Folders with body motion (``io.body_motion``, world z up) by split; three quarters
            of the poses come from them [np], the others, or all, from procedural motion. Shapes and
            places of the files are not used.
        size: (width, height) of the pictures in pixels.
        overwrite: Remove what ``out`` has of another run.

    Raises:
        FileExistsError: ``out`` has something else, or pictures made with other settings.
        ValueError: A size below 64 pixels.
        FileNotFoundError: No such folder, or no .npz file in it.
    """

    _own_settings = dict(labels='mesh')

    def __init__(self, out, seed: int = 0, motion: Optional[Dict] = None,
                 size: Tuple[int, int] = (160, 160), overwrite: bool = False):
        super().__init__(out, seed, motion, size, overwrite)

    @staticmethod
    def _motion_source(path: str) -> str:
        return f'{Path(path).name}: {len(_motion_files(path))} files of body motion'

    @property
    def _sample(self):
        return _sample_person

    def _complete(self, annotations: List[Dict]) -> Dict:
        from ..models.body.inverse_kinematics import twists_from_rotmats
        betas = torch.tensor([a['betas'] for a in annotations])
        poses = np.array([a['thetas'] for a in annotations], np.float32).reshape(-1, 24, 3)
        rotmats = torch.from_numpy(axis_angle_to_matrix(poses))
        twists = twists_from_rotmats(renderer().body, betas, rotmats)
        angles = torch.atan2(twists[..., 1], twists[..., 0])
        for annotation, pair, angle in zip(annotations, twists, angles):
            annotation['angle_twist'] = dict(angle=_rounded(angle, 5), cos=_rounded(pair[:, 0], 5),
                                             sin=_rounded(pair[:, 1], 5))
        return {}


def _sample_person(rng: np.random.Generator, motion: Tuple[str, ...], seed: int,
                   size: Tuple[int, int]) -> Tuple[np.ndarray, List[Dict]]:
    """A picture of one person, and its annotation but for the twists."""
    people = renderer()
    while True:
        betas = np.clip(rng.normal(0, 0.9, 10), -2, 2).astype(np.float32)
        rotmats = _random_pose(rng, motion, seed)
        vertices, joints = _pose(betas, rotmats)
        start = np.array([*joints[0, :2], vertices[:, 2].min()], np.float32)
        world = (vertices - start)[None]
        shot = people.photograph(rng, world, [people.wardrobe.dress(rng)], size, _FILL, _CUT)
        if not shot.near[0]:
            continue
        pixels = _pixels(shot, shot.to_camera(joints - start))
        inside = ((pixels >= 0) & (pixels <= np.array(size) - 1)).all(axis=1)
        own = shot.picture.segmentation == 0
        if inside.sum() >= _MIN_JOINTS and (own & ~shot.hidden).sum() >= _MIN_SEEN * own.sum():
            break
    rotmats[0] = shot.rotation @ rotmats[0]
    vertices, joints = shot.to_camera(vertices - start), shot.to_camera(joints - start)
    outline = np.clip(_pixels(shot, vertices), 0, np.array(size) - 1)
    low, high = outline.min(axis=0), outline.max(axis=0)
    regressed = people.h36m_joints(vertices)[list(joint_map('h36m', 'h36m_l_first'))]
    return shot.image, [dict(
        bbox=_rounded([*low, *(high - low)], 2),
        cam_param=dict(f=_rounded([shot.focal] * 2, 3), c=_rounded(shot.center - 0.5, 3)),
        smpl_joints=_rounded(1000 * joints, 2), h36m_joints=_rounded(1000 * regressed, 2),
        root_coord=_rounded(1000 * joints[0], 2), betas=_rounded(betas, 5),
        thetas=_rounded(matrix_to_axis_angle(torch.as_tensor(rotmats)).flatten(), 6))]


def _pixels(shot, points: np.ndarray) -> np.ndarray:
    """(..., 2) pixels of points in camera axes; the middle of the first pixel is (0, 0)."""
    return points[..., :2] / points[..., 2:] * shot.focal + shot.center - 0.5


def _random_pose(rng: np.random.Generator, motion: Tuple[str, ...], seed: int) -> np.ndarray:
    """(24, 3, 3) rotations of a pose of the pools with a random heading and small changes."""
    pools = body_motion_pool(motion, seed)
    pool = pools[-1] if rng.random() < _RECORDED_SHARE else pools[0]
    extra = rng.normal(0, 1, (24, 3)) * _extra_spread()
    rotmats = pool[rng.integers(len(pool))] @ axis_angle_to_matrix(np.clip(extra, -1, 1))
    heading = axis_angle_to_matrix([0, 0, rng.uniform(-np.pi, np.pi)])
    rotmats[0] = heading @ rotmats[0]
    return rotmats


@lru_cache(maxsize=1)
def _extra_spread() -> np.ndarray:
    names = get_skeleton('smpl').joint_names
    degrees = [_EXTRA.get(name.split('_')[-1], _EXTRA_ELSEWHERE) for name in names]
    return np.deg2rad(degrees)[:, None]


@torch.no_grad()
def _pose(betas: np.ndarray, rotmats: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """(V, 3) vertices and (24, 3) joints of the stand-in body."""
    posed = renderer().body(*(torch.as_tensor(x[None], dtype=torch.float32)
                              for x in (betas, rotmats)))
    return tuple(x[0].numpy() for x in posed)


def _motion_files(folder: str) -> List[Path]:
    files = sorted(Path(folder).rglob('*.npz'))
    if not files:
        raise FileNotFoundError(f'{folder}: expected a folder with body motion (.npz files), found '
                                'none; make one with tools/prepare_data.py fit-body')
    return files


@lru_cache(maxsize=2)
def body_motion_pool(folders: Tuple[str, ...], seed: int) -> Tuple[np.ndarray, ...]:
    """Poses to draw people in.

    Args:
        folders: Folders with body motion, read once per process.
        seed: Of the procedural motion.

    Returns:
        (N, 24, 3, 3) float32 rotations of procedural motion and, where there are folders, the
        same of recorded motion; world axes, z up.
    """
    from ..models.body import fit_pose
    clips = synthetic_clips(_CLIPS_PER_ACTION * len(ACTIONS), _CLIP_FRAMES, seed)
    joints = np.concatenate([clip[::_FRAME_STEP] for _, clip in clips])
    pools = [fit_pose(renderer().body, joints)[0]]
    if folders:
        from ..io.body_motion import read_body_motion
        poses = []
        for path in (path for folder in folders for path in _motion_files(folder)):
            motion = read_body_motion(path)
            poses.append(motion.poses[::max(1, round(motion.fps / _RECORDED_FPS))])
        poses = np.concatenate(poses).astype(np.float32)
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(len(poses), min(len(poses), _MAX_RECORDED), replace=False))
        pools.append(axis_angle_to_matrix(poses[chosen].reshape(-1, 24, 3)).astype(np.float32))
    return tuple(pools)


def _rounded(values, digits: int) -> list:
    return np.round(np.asarray(values, np.float64), digits).tolist()
