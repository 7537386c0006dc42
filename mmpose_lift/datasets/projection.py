"""World-space motion seen through calibrated cameras: a world store becomes a camera store."""

from typing import List, Optional

import numpy as np

from ..geometry.cameras import Camera, h36m_cameras
from ..geometry.placement import draw_cameras, place_clip
from ..geometry.skeletons import get_skeleton
from ..io.pose_store import PoseStore, Sequence
from ..io.readers.recording import Clip, Recording
from .detector_noise import add_detector_noise


def project_store(
    store: PoseStore,
    cameras: Optional[List[Camera]] = None,
    cameras_per_clip: Optional[int] = None,
    seed: int = 0,
    noise: Optional[str] = None,
    noise_params: Optional[dict] = None,
    max_radius: float = 2.5,
) -> Recording:
    """Project every clip of a world store through cameras, with distortion.

    Clips are moved into the capture volume and cut where they do not fit (``place_clip``); the
    pieces of a cut clip are named ``<clip>#1``, ``<clip>#2``, ... 2D source ``gt`` is exact.

    Args:
        store: World space, z up.
        cameras: Defaults to all 28 of Human3.6M.
        cameras_per_clip: Each clip is seen by this many cameras drawn at random without repetition
            ([np]); None uses all of them.
        seed: Of the choice of cameras and of the noise.
        noise: Name of a second 2D source made by the detector-noise model; None makes none.
        noise_params: Parameters of ``mmpose_lift.datasets.detector_noise.NoiseParameters``.
        max_radius: Metres, as ``place_clip``.

    Returns:
        Camera-space recording.

    Raises:
        ValueError: not a world store, no camera, two cameras of one name, more cameras per clip
            than there are, or a person reaches the plane of a camera.
    """
    if store.frame != 'world':
        raise ValueError(
            f'{store.path}: a {store.frame}-space store; only world space is projected'
        )
    cameras = h36m_cameras() if cameras is None else list(cameras)
    names = [camera.name for camera in cameras]
    if not names or len(set(names)) != len(names):
        raise ValueError(f'cameras: expected different names, at least one, found {names}')
    if cameras_per_clip is None:
        cameras_per_clip = len(cameras)
    if not 1 <= cameras_per_clip <= len(cameras):
        raise ValueError(f'cameras_per_clip: {cameras_per_clip}, expected 1 to {len(cameras)}')
    if noise == 'gt':
        raise ValueError("noise: 'gt' is the name of the exact source; choose another")
    work = _plan(store, len(cameras), cameras_per_clip, seed, max_radius)
    used = {camera for *_, chosen in work for camera in chosen}
    return Recording(
        _clips(store, cameras, work, seed, noise, noise_params or {}),
        sum(len(chosen) for *_, chosen in work),
        source=f'{store.source}; projected',
        frame='camera',
        skeleton=store.skeleton,
        cameras={cameras[i].name: cameras[i] for i in sorted(used)},
    )


def _plan(store: PoseStore, num_cameras: int, per_clip: int, seed: int, max_radius: float) -> list:
    """(sequence with its piece's rows, horizontal centre, camera numbers) of each piece."""
    root = get_skeleton(store.skeleton).root_index
    work = []
    for index, sequence in enumerate(store.sequences):
        rows = slice(sequence.first, sequence.last)
        chosen = draw_cameras(num_cameras, per_clip, (seed, index))
        pieces = place_clip(store.keypoints_3d[rows, root, :2], max_radius)
        label = sequence.subaction or sequence.action
        for number, (first, last, centre) in enumerate(pieces, 1):
            piece = Sequence(
                sequence.subject,
                sequence.action,
                f'{label}#{number}' if len(pieces) > 1 else label,
                '',
                sequence.fps,
                0,
                0,
                sequence.first + first,
                sequence.first + last,
                sequence.file,
            )
            work.append((piece, centre, chosen))
    return work


def _clips(store: PoseStore, cameras, work, seed: int, noise: Optional[str], noise_params: dict):
    for number, (piece, centre, chosen) in enumerate(work):
        rows = slice(piece.first, piece.last)
        world = np.array(store.keypoints_3d[rows], dtype=np.float64)
        world[..., :2] -= centre
        for i in chosen:
            camera = cameras[i]
            points = camera.world_to_camera(world)
            if points[..., 2].min() <= 0.1:
                raise ValueError(
                    f'clip {piece.name!r} reaches the plane of camera {camera.name} (depth '
                    f'{points[..., 2].min():.2f} m); use a smaller max_radius or other cameras'
                )
            keypoints = {'gt': camera.project(points).astype(np.float32)}
            if noise is not None:
                keypoints[noise] = _noisy(
                    keypoints['gt'], points[..., 2], store.skeleton, (seed, number, i), noise_params
                )
            sequence = Sequence(
                piece.subject,
                piece.action,
                piece.subaction,
                camera.name,
                piece.fps,
                camera.width,
                camera.height,
                file=piece.file,
            )
            yield Clip(sequence, points.astype(np.float32), keypoints, store.valid[rows])


def _noisy(keypoints, depth, skeleton: str, seed: tuple, params: dict) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noisy, score = add_detector_noise(keypoints, depth.astype(np.float32), skeleton, rng, **params)
    return np.concatenate([noisy, score[..., None]], axis=-1)
