"""People with bodies in a made-up video, for the tests of exporters, drawing and inference."""

import numpy as np
import torch

from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.io.video_poses import BodyTrack, PersonTrack, VideoPoses
from mmpose_lift.models.body import BodyModel

FOCAL, SIZE = 300.0, (240, 180)


def random_rotmats(rng, frames, spread=0.25):
    """(F, 24, 3, 3) of somebody who stands upright before the camera and moves smoothly."""
    steps = np.linspace(0, 1, frames)[:, None, None]
    start, end = rng.normal(0, spread, (2, 24, 3))
    rotmats = axis_angle_to_matrix(start + steps * (end - start))
    rotmats[:, 0] = np.diag([1.0, -1, -1]) @ axis_angle_to_matrix(
        np.stack([np.zeros(frames), np.linspace(0.2, 1, frames), np.zeros(frames)], -1))
    return rotmats.astype(np.float32)


def body_track(number: int, first: int, frames: int, body: BodyModel) -> PersonTrack:
    """A person about four metres before the camera; everything belongs together."""
    rng = np.random.default_rng(number)
    betas = np.tile(rng.normal(0, 0.7, 10), (frames, 1)).astype(np.float32)
    rotmats = random_rotmats(rng, frames)
    with torch.no_grad():
        vertices, joints = (x.numpy() for x in body(torch.as_tensor(betas),
                                                    torch.as_tensor(rotmats)))
    transl = np.array([0.6 * (number % 3 - 1), -0.1, 4]) + np.linspace(0, 0.3, frames)[:, None]
    transl = transl.astype(np.float32)
    seventeen = (body.h36m_regressor.numpy() @ vertices) + transl[:, None]
    joints = joints + transl[:, None]

    def pixels(points):
        xy = points[..., :2] / points[..., 2:] * FOCAL + np.divide(SIZE, 2)
        return np.concatenate([xy, np.full_like(xy[..., :1], 0.9)], axis=-1).astype(np.float32)

    surface = pixels(vertices + transl[:, None])[..., :2]
    boxes = np.concatenate([surface.min(axis=1), surface.max(axis=1)], axis=-1)
    return PersonTrack(
        number, first, boxes, np.full(frames, 0.9, np.float32), pixels(joints),
        np.ones(frames, bool), pixels(seventeen),
        (seventeen - seventeen[:, :1]).astype(np.float32), seventeen[:, 0].astype(np.float32),
        BodyTrack(betas, rotmats, transl, joints.astype(np.float32)))


def body_poses(body: BodyModel, frames: int = 6, **changes) -> VideoPoses:
    """Person 1 from the start, person 2 from frame 2 to the end."""
    values = dict(
        source='clip.mp4', fps=25.0, image_size=SIZE, num_frames=frames + 2, skeleton_2d='smpl',
        skeleton='h36m', model='hybrik', detector='given boxes', version='mmpose_lift 0.1.0',
        focal=FOCAL, body_model='stand_in',
        tracks=[body_track(1, 0, frames, body), body_track(2, 2, frames, body)])
    return VideoPoses(**{**values, **changes})
