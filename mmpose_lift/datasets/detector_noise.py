"""A model of the errors of 2D keypoint detectors, for training and testing on projected motion.

Every number is [np]: chosen so that the mean error on Human3.6M-like views is that of a fine-tuned
detector (about 5 pixels in 1000), with rare gross errors.
"""

from dataclasses import dataclass, fields
from functools import cache
from typing import NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS
from scipy.signal import lfilter

from ..geometry.skeletons import Skeleton, get_skeleton

_LONGEST_RUN = 64  # frames; also the warm-up after which the jitter has forgotten its start
_LIMB_STARTS = ('hip', 'shoulder')
_BLOCK = 512  # frames drawn at once in the seeded mode


@dataclass(frozen=True)
class NoiseParameters:
    """Parameters of the noise model; all defaults are [np].

    Per joint and axis, the jitter is a Gaussian AR(1) process whose standard deviation in pixels is
    ``(jitter + speed_gain * speed) * (1 + distance_gain * max(0, depth - near)) * (1 + limb_gain *
    hops)``, with the joint's own speed and depth.

    Args:
        jitter: Standard deviation of a joint at rest, pixels.
        speed_gain: Added per pixel per frame of the joint's speed in the image.
        distance_gain: Relative growth per metre of depth beyond ``near``; 0 where depth is unknown.
        near: Metres.
        limb_gain: Relative growth per bone between the joint and the trunk's end of its limb.
        correlation: Of the jitter in neighbouring frames, 0 to less than 1.
        swap_rate: Probability per frame that a run of exchanged left and right limbs begins, for
            arms and legs separately.
        swap_frames: Mean length of such a run.
        missing_rate: Probability per frame that a run of misses of a joint begins.
        missing_frames: Mean length of such a run.
        missing_offset: A missed joint is found elsewhere, at one displacement per run whose
            standard deviation per axis is this many pixels.
        missing_score: Scores of missed joints lie between 0 and this.
        score_scale: Score of the other joints is ``exp(-error / score_scale)``, error in pixels.
        score_noise: Standard deviation added to it; the result is clipped to [0, 1].
    """

    jitter: float = 2.5
    speed_gain: float = 0.1
    distance_gain: float = 0.1
    near: float = 4.0
    limb_gain: float = 0.25
    correlation: float = 0.7
    swap_rate: float = 0.001
    swap_frames: float = 4.0
    missing_rate: float = 0.002
    missing_frames: float = 5.0
    missing_offset: float = 25.0
    missing_score: float = 0.2
    score_scale: float = 40.0
    score_noise: float = 0.03

    def __post_init__(self):
        for item in fields(self):
            value = getattr(self, item.name)
            if not np.isfinite(value) or value < 0:
                raise ValueError(f'{item.name}: expected a number of at least 0, found {value}')
        if self.correlation >= 1 or max(self.swap_rate, self.missing_rate) > 1:
            raise ValueError(
                'correlation must be below 1 and rates at most 1, found correlation='
                f'{self.correlation}, swap_rate={self.swap_rate}, missing_rate='
                f'{self.missing_rate}'
            )
        if min(self.swap_frames, self.missing_frames) < 1 or self.score_scale == 0:
            raise ValueError(
                'swap_frames and missing_frames must be at least 1 and score_scale more '
                f'than 0, found {self.swap_frames}, {self.missing_frames}, '
                f'{self.score_scale}'
            )


class NoiseFields(NamedTuple):
    """Random part of the noise, independent of the motion it is applied to."""

    unit: np.ndarray  # (..., F, K, 2) standard normal, correlated over frames
    swapped: np.ndarray  # (..., F, P) bool per pair of limbs
    missing: np.ndarray  # (..., F, K) bool
    offset: np.ndarray  # (..., F, K, 2) standard normal, constant in a run of misses
    score: np.ndarray  # (..., F, K) standard normal
    level: np.ndarray  # (..., F, K) uniform in [0, 1]

    def take(self, frames: np.ndarray) -> 'NoiseFields':
        """Fields of the frames (F',) or (..., F')."""

        def one(field):
            index = frames.reshape(frames.shape + (1,) * (field.ndim - frames.ndim))
            return np.take_along_axis(field, index, axis=frames.ndim - 1)

        return NoiseFields(*map(one, self))


@cache
def limb_pairs(skeleton: str) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """(left, right) index arrays of each pair of limbs, from hip or shoulder on."""
    table = get_skeleton(skeleton)
    limbs: dict[int, list] = {}
    for joint in table.left_joints:
        limbs.setdefault(_limb_start(table, joint)[0], []).append(joint)
    flip = np.array(table.flip_indices)
    return tuple((np.array(left), flip[left]) for left in limbs.values())


def _limb_start(table: Skeleton, joint: int) -> tuple[int, int]:
    """First joint of the limb of a left or right joint, and bones to it."""
    sides, bones = (set(table.left_joints), set(table.right_joints)), 0
    side = next(side for side in sides if joint in side)
    while table.parents[joint] in side and not table.joint_names[joint].endswith(_LIMB_STARTS):
        joint, bones = table.parents[joint], bones + 1
    return joint, bones


@cache
def _limb_depth(skeleton: str) -> np.ndarray:
    """(K,) bones between a joint and the first joint of its limb; 0 on the trunk."""
    table = get_skeleton(skeleton)
    depth = np.zeros(table.num_joints, dtype=np.float32)
    for joint in table.left_joints + table.right_joints:
        depth[joint] = _limb_start(table, joint)[1]
    return depth


def _white(rng: np.random.Generator, shape: tuple, joints: int, pairs: int) -> dict:
    """Independent draws of ``shape`` = (..., F)."""
    return dict(
        unit=rng.standard_normal(shape + (joints, 2), dtype=np.float32),
        offset=rng.standard_normal(shape + (joints, 2), dtype=np.float32),
        score=rng.standard_normal(shape + (joints,), dtype=np.float32),
        level=rng.random(shape + (joints,), dtype=np.float32),
        missing=rng.random((2,) + shape + (joints,), dtype=np.float32),
        swapped=rng.random((2,) + shape + (pairs,), dtype=np.float32),
    )


def _runs(start: np.ndarray, length: np.ndarray, rate: float, mean: float):
    """Runs along axis -2 from uniform draws: which frames they cover, and where each began."""
    frames = np.arange(start.shape[-2])[:, None]
    begins = start < rate
    # Geometric lengths by inversion; mean 1 means one frame each.
    ratio = np.log(np.maximum(1 - length, 1e-7)) / np.log(1 - 1 / mean) if mean > 1 else 0 * length
    ends = frames + 1 + np.minimum(np.floor(ratio), _LONGEST_RUN - 1)
    covered = frames < np.maximum.accumulate(np.where(begins, ends, 0), axis=-2)
    return covered, np.maximum.accumulate(np.where(begins, frames, 0), axis=-2)


def _fields(white: dict, p: NoiseParameters) -> NoiseFields:
    """Correlate independent draws over frames; stationary from the first frame on."""
    unit = white['unit'] * np.float32(np.sqrt(1 - p.correlation**2))
    unit[..., 0, :, :] = white['unit'][..., 0, :, :]
    unit = lfilter([1.0], [1.0, -p.correlation], unit, axis=-3).astype(np.float32)
    swapped, _ = _runs(*white['swapped'], p.swap_rate, p.swap_frames)
    missing, began = _runs(*white['missing'], p.missing_rate, p.missing_frames)
    offset = np.take_along_axis(white['offset'], began[..., None], axis=-3)
    return NoiseFields(unit, swapped, missing, offset, white['score'], white['level'])


def _speed(keypoints: np.ndarray, frames: np.ndarray | None) -> np.ndarray:
    """(..., F, K) pixels per frame: the larger of the steps from and to the neighbouring frames."""
    steps = np.linalg.norm(np.diff(keypoints, axis=-3), axis=-1)
    if frames is not None:
        steps = steps / np.maximum(np.abs(np.diff(frames, axis=-1)), 1)[..., None]
    speed = np.zeros(keypoints.shape[:-1], dtype=keypoints.dtype)
    speed[..., 1:, :] = steps
    speed[..., :-1, :] = np.maximum(speed[..., :-1, :], steps)
    return speed


def _apply(keypoints, depth, skeleton: str, noise: NoiseFields, p: NoiseParameters, frames=None):
    """Add the fields to keypoints (..., F, K, 2): noisy keypoints and scores (..., F, K)."""
    scale = p.jitter + p.speed_gain * _speed(keypoints, frames)
    scale = scale * (1 + p.limb_gain * _limb_depth(skeleton))
    if depth is not None:
        scale = scale * (1 + p.distance_gain * np.maximum(depth - p.near, 0))
    error = noise.unit * scale[..., None]
    error = error + noise.offset * (p.missing_offset * noise.missing)[..., None]
    source = np.broadcast_to(np.arange(keypoints.shape[-2]), keypoints.shape[:-1]).copy()
    for pair, (left, right) in enumerate(limb_pairs(skeleton)):
        swapped = noise.swapped[..., pair, None]
        source[..., left] = np.where(swapped, right, left)
        source[..., right] = np.where(swapped, left, right)
    noisy = np.take_along_axis(keypoints, source[..., None], axis=-2) + error
    distance = np.linalg.norm(error, axis=-1)
    score = np.exp(-distance / p.score_scale) + p.score_noise * noise.score
    score = np.where(noise.missing, p.missing_score * noise.level, score).clip(0, 1)
    return noisy.astype(keypoints.dtype), score.astype(keypoints.dtype)


def add_detector_noise(
    keypoints: np.ndarray,
    depth: np.ndarray | None,
    skeleton: str,
    rng: np.random.Generator,
    **params,
) -> tuple[np.ndarray, np.ndarray]:
    """Make exact 2D keypoints look detected: jitter, exchanged limbs, missed joints, scores.

    Args:
        keypoints: (..., F, K, 2) pixels, consecutive frames.
        depth: (..., F, K) metres from the camera, or None.
        skeleton: Name of the joint order.
        rng: Source of randomness.
        params: Of :class:`NoiseParameters`.

    Returns:
        Keypoints (..., F, K, 2) in pixels and scores (..., F, K) in [0, 1], of the dtype given.

    Raises:
        ValueError: wrong shape, joint count or parameter value.
        TypeError: unknown parameter.
    """
    p = NoiseParameters(**params)
    keypoints = _check_keypoints(keypoints, skeleton)
    joints, pairs = keypoints.shape[-2], len(limb_pairs(skeleton))
    noise = _fields(_white(rng, keypoints.shape[:-2], joints, pairs), p)
    return _apply(keypoints, depth, skeleton, noise, p)


def _check_keypoints(keypoints: np.ndarray, skeleton: str) -> np.ndarray:
    keypoints, joints = np.asarray(keypoints), get_skeleton(skeleton).num_joints
    if keypoints.ndim < 3 or keypoints.shape[-2:] != (joints, 2) or keypoints.shape[-3] == 0:
        raise ValueError(
            f'keypoints: shape {keypoints.shape}, expected (..., frames, {joints}, 2) '
            f'for skeleton {skeleton!r}'
        )
    return keypoints


@TRANSFORMS.register_module()
class DetectorNoise(BaseTransform):
    """Add detector noise to the 2D keypoints of a window, or of a batch of windows.

    Without a seed every reading is different and drawn from NumPy's global generator (which
    MMEngine seeds in every worker). With a seed the random part depends only on (seed, sequence,
    frame): two windows that share a frame see the same noise there, except that at a window's first
    and last frame only one neighbour tells the joint's speed. Repeated frames (padding) are always
    equal.

    Required keys: ``keypoints`` (..., T, K, 2) pixels, ``keypoints_visible`` (..., T, K). Optional:
    ``lifting_target`` (..., T, K, 3) camera space, metres, whose depth then counts; ``frame_index``
    (..., T) rising frame numbers and ``sequence`` (...), both required with a seed.

    Modified keys: ``keypoints``; ``keypoints_visible`` is multiplied by the scores.

    Args:
        skeleton: Joint order.
        seed: None, or the seed of repeatable noise.
        params: Of :class:`NoiseParameters`.

    Raises:
        ValueError: wrong parameter or shape, or a seed without ``sequence`` and ``frame_index``.
    """

    def __init__(self, skeleton: str = 'h36m', seed: int | None = None, **params):
        self.skeleton = skeleton
        self.seed = seed
        self.parameters = NoiseParameters(**params)
        self._joints = get_skeleton(skeleton).num_joints
        self._pairs = len(limb_pairs(skeleton))
        self._blocks: dict[tuple[int, int], NoiseFields] = {}

    def transform(self, results: dict) -> dict:
        keypoints = _check_keypoints(results['keypoints'], self.skeleton)
        frames = results.get('frame_index')
        if frames is not None:
            frames = np.broadcast_to(np.asarray(frames), keypoints.shape[:-2])
        if self.seed is None:
            rng = np.random.default_rng(np.random.randint(0, 2**32, 4, dtype=np.uint32))
            white = _white(rng, keypoints.shape[:-2], self._joints, self._pairs)
            noise = _fields(white, self.parameters)
        else:
            noise = self._seeded(results, frames, keypoints.shape[:-2])
        target, depth = results.get('lifting_target'), None
        if target is not None and np.shape(target)[:-1] == keypoints.shape[:-1]:
            depth = target[..., 2]
        noisy, score = _apply(keypoints, depth, self.skeleton, noise, self.parameters, frames)
        if frames is not None:
            same = _representatives(frames)
            noisy = np.take_along_axis(noisy, same[..., None, None], axis=-3)
            score = np.take_along_axis(score, same[..., None], axis=-2)
        results['keypoints'] = noisy
        results['keypoints_visible'] = results['keypoints_visible'] * score
        return results

    def _seeded(self, results: dict, frames: np.ndarray | None, shape: tuple) -> NoiseFields:
        if frames is None or 'sequence' not in results:
            raise ValueError(
                'DetectorNoise with a seed needs "sequence" and "frame_index" in the '
                'sample, as PoseSequenceDataset gives them; use seed=None without them'
            )
        flat = frames.reshape(-1, shape[-1])
        sequences = np.broadcast_to(np.asarray(results['sequence']), shape[:-1]).reshape(-1)
        windows = [self._window(int(s), f) for s, f in zip(sequences, flat)]
        return NoiseFields(
            *(np.stack(parts).reshape(shape + parts[0].shape[1:]) for parts in zip(*windows))
        )

    def _window(self, sequence: int, frames: np.ndarray) -> NoiseFields:
        """Fields of one window, put together from blocks of its sequence."""
        blocks = frames // _BLOCK
        parts = [
            self._block(sequence, int(block)).take(frames[blocks == block] % _BLOCK)
            for block in np.unique(blocks)
        ]
        return NoiseFields(*(np.concatenate(part) for part in zip(*parts)))

    def _block(self, sequence: int, block: int) -> NoiseFields:
        """Fields of one block; the end of the block before is its warm-up, so that blocks join."""
        key = (sequence, block)
        if key not in self._blocks:
            if len(self._blocks) >= 64:
                self._blocks.pop(next(iter(self._blocks)))
            before = self._draws(sequence, block - 1)
            here = self._draws(sequence, block)
            white = {}
            for name, draws in here.items():
                axis = 1 if name in ('missing', 'swapped') else 0
                tail = before[name].take(range(_BLOCK - _LONGEST_RUN, _BLOCK), axis=axis)
                white[name] = np.concatenate([tail, draws], axis=axis)
            noise = _fields(white, self.parameters)
            self._blocks[key] = NoiseFields(*(part[_LONGEST_RUN:] for part in noise))
        return self._blocks[key]

    def _draws(self, sequence: int, block: int) -> dict:
        rng = np.random.default_rng((self.seed, sequence, block + 1))
        return _white(rng, (_BLOCK,), self._joints, self._pairs)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(skeleton={self.skeleton!r}, seed={self.seed}, '
            f'{self.parameters})'
        )


def _representatives(frames: np.ndarray) -> np.ndarray:
    """(..., T) position that stands for each frame: of equal ones, that with neighbours."""
    count = frames.shape[-1]
    position = np.broadcast_to(np.arange(count), frames.shape)
    changes = np.diff(frames, axis=-1) != 0
    first, last = position.copy(), position.copy()
    first[..., 1:] = np.where(changes, position[..., 1:], 0)
    first = np.maximum.accumulate(first, axis=-1)
    last[..., :-1] = np.where(changes, position[..., :-1], count - 1)
    last = np.minimum.accumulate(last[..., ::-1], axis=-1)[..., ::-1]
    return np.where(first == 0, last, first)
