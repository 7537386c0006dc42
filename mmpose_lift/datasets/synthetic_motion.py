"""Procedural human-like motion, so that demo and tests need no file. It is SYNTHETIC.

Nobody moved this way. A made-up person with fixed bone lengths walks, turns, reaches, sits, squats,
waves or stands; see ``synthetic_actions`` for the plans and ``synthetic_body`` for the body. A
model trained on it knows these few actions only; it is for trying things out, not for results.
"""

from pathlib import Path
from typing import Iterator, Optional, Tuple, Union
from typing import Sequence as SequenceType

import numpy as np

from mmpose_lift.io.pose_store import PoseStore, PoseStoreWriter, Sequence

from .synthetic_actions import PLANS
from .synthetic_body import SyntheticSubject, solve_joints

__all__ = ['ACTIONS', 'SyntheticSubject', 'generate_motion', 'synthetic_clips', 'synthetic_store',
           'write_synthetic_store']

ACTIONS: Tuple[str, ...] = tuple(PLANS)


def generate_motion(action: str, num_frames: int, seed, subject: Optional[SyntheticSubject] = None,
                    fps: float = 50) -> np.ndarray:
    """Make one clip of synthetic motion.

    Args:
        action: One of ``ACTIONS``.
        num_frames: F, at least 1.
        seed: Integer or sequence of integers; the same seed gives the same clip.
        subject: Body sizes; drawn from ``seed`` by default.
        fps: Frames per second.

    Returns:
        (F, 17, 3) float32 joints of the ``h36m`` skeleton in the world: metres, right-handed, z up,
        floor at z = 0, anywhere within 1 m of the origin at the start, random heading.

    Raises:
        ValueError: unknown action, ``num_frames`` < 1 or ``fps`` < 10.
    """
    if action not in PLANS:
        raise ValueError(f'action: expected one of {", ".join(ACTIONS)}; found {action!r}')
    if num_frames < 1:
        raise ValueError(f'num_frames: expected at least 1, found {num_frames}')
    if fps < 10:
        raise ValueError(f'fps: expected at least 10, so that steps can be told apart; found {fps}')
    rng = np.random.default_rng(seed)
    drawn = SyntheticSubject.random(rng)
    subject = subject or drawn
    # one frame more than asked for: a plan needs two frames to know its speed
    time = np.arange(max(num_frames, 2)) / fps
    joints = solve_joints(subject, PLANS[action](rng, subject, time, fps))[:num_frames]
    yaw = rng.uniform(-np.pi, np.pi)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    return (joints @ turn.T + [*rng.uniform(-0.7, 0.7, 2), 0]).astype(np.float32)


def synthetic_clips(num_clips: int, num_frames: int, seed: int = 0,
                    actions: SequenceType[str] = ACTIONS, num_subjects: int = 8,
                    fps: float = 50) -> Iterator[Tuple[Sequence, np.ndarray]]:
    """Make clips one after the other; actions take turns, and subjects after each round of actions.

    Args:
        num_clips: How many.
        num_frames: Length of every clip.
        seed: Same seed, same clips; clip i does not depend on ``num_clips``.
        actions: Which actions.
        num_subjects: How many different bodies, named ``synthetic<seed>_<number>``.
        fps: Frames per second.

    Yields:
        A world-space ``Sequence`` with its rows in a store of all clips, and the (F, 17, 3)
        float32 joints of ``generate_motion``.

    Raises:
        ValueError: ``num_clips`` or ``num_subjects`` < 1, no actions, or as ``generate_motion``.
    """
    for name, value in (('num_clips', num_clips), ('num_subjects', num_subjects),
                        ('the number of actions', len(actions))):
        if value < 1:
            raise ValueError(f'{name}: expected at least 1, found {value}')
    for clip in range(num_clips):
        action = actions[clip % len(actions)]
        number = clip // len(actions) % num_subjects
        name = f'synthetic{seed}_{number}'
        subject = SyntheticSubject.random(np.random.default_rng([seed, 0, number]), name)
        info = Sequence(subject=name, action=action, subaction=f'{action} {clip}', camera='',
                        fps=float(fps), width=0, height=0, first=clip * num_frames,
                        last=(clip + 1) * num_frames)
        yield info, generate_motion(action, num_frames, [seed, 1, clip], subject, fps)


def _source(seed: int) -> str:
    return (f'synthetic motion of mmpose_lift, seed {seed}: made by a procedure, not recorded from '
            'people')


def synthetic_store(num_clips: int, num_frames: int, seed: int = 0,
                    actions: SequenceType[str] = ACTIONS, num_subjects: int = 8,
                    fps: float = 50) -> PoseStore:
    """A world-space ``PoseStore`` in memory; the arguments are those of ``synthetic_clips``."""
    clips = list(synthetic_clips(num_clips, num_frames, seed, actions, num_subjects, fps))
    return PoseStore(frame='world', skeleton='h36m', sequences=[info for info, _ in clips],
                     keypoints_3d=np.concatenate([joints for _, joints in clips]),
                     source=_source(seed))


def write_synthetic_store(path: Union[str, Path], num_clips: int, num_frames: int, seed: int = 0,
                          actions: SequenceType[str] = ACTIONS, num_subjects: int = 8,
                          fps: float = 50, overwrite: bool = False) -> None:
    """Write a world-space store of synthetic clips to ``path``; see ``synthetic_clips``.

    Raises:
        FileExistsError: ``path`` exists and ``overwrite`` is False.
        ValueError: as ``synthetic_clips``.
    """
    with PoseStoreWriter(path, source=_source(seed), frame='world', skeleton='h36m',
                         overwrite=overwrite) as writer:
        for info, joints in synthetic_clips(num_clips, num_frames, seed, actions, num_subjects,
                                            fps):
            writer.add_sequence(info, joints)
