"""Poses of a made-up video with two people, for the tests of exporters."""

import numpy as np

from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.io.video_poses import PersonTrack, VideoPoses


def example_track(number: int, first: int, frames: int, noise: float = 0) -> PersonTrack:
    """A walking person: camera axes, relative to the root."""
    rng = np.random.default_rng(number)
    world = generate_motion('walking', frames, number)
    points = np.stack([world[..., 0], -world[..., 2], world[..., 1]], axis=-1)
    points += rng.normal(0, noise, points.shape)
    points -= points[:, :1]
    found = rng.uniform(0, 300, (frames, 17, 3)).astype(np.float32)
    corner = rng.uniform(0, 100, (frames, 2))
    return PersonTrack(
        number, first, np.concatenate([corner, corner + 200], axis=1).astype(np.float32),
        rng.random(frames).astype(np.float32), found, np.arange(frames) % 5 > 0,
        found[:, ::-1].copy(), points.astype(np.float32))


def example_poses(frames: int = 12, **changes) -> VideoPoses:
    """Person 1 from the start, person 7 from frame 3 to the end."""
    values = dict(
        source='clip.mp4', fps=25.0, image_size=(640, 480), num_frames=frames + 3,
        skeleton_2d='coco', skeleton='h36m', model='mixste_h36m', detector='whole_image',
        version='mmpose_lift 0.1.0', notes={'smoothing': 'One-Euro, min_cutoff 1'},
        tracks=[example_track(1, 0, frames), example_track(7, 3, frames)])
    return VideoPoses(**{**values, **changes})
