"""Small made-up annotation files of body meshes, in the layouts of the public ones.

The bodies are those of the stand-in, so every label follows exactly from shape, pose and camera.
"""

import json
from functools import cache

import numpy as np
import torch

from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.geometry.skeletons import joint_map
from mmpose_lift.models.body import BodyModel
from mmpose_lift.models.body.inverse_kinematics import twists_from_rotmats

SIZE = (200, 160)  # of the pictures
L_FIRST = list(joint_map('h36m', 'h36m_l_first'))


@cache
def body() -> BodyModel:
    return BodyModel.stand_in()


def pose_body(betas, poses):
    """Vertices, 24 joints and 17 joints (N, ..., 3) of the stand-in, numpy."""
    betas = torch.from_numpy(np.asarray(betas, np.float32))
    rotmats = torch.from_numpy(axis_angle_to_matrix(np.reshape(poses, (-1, 24, 3))).astype('f4'))
    vertices, joints = body()(betas, rotmats)
    return [x.numpy() for x in (vertices, joints, body().h36m_joints(vertices),
                                twists_from_rotmats(body(), betas, rotmats))]


@cache
def make_people(count: int = 6, seed: int = 0) -> dict:
    """People in front of a camera, metres and pixels."""
    rng = np.random.default_rng(seed)
    betas, poses = rng.normal(0, 0.5, (count, 10)), rng.normal(0, 0.25, (count, 24, 3))
    poses[:, 0] += [np.pi, 0, 0]  # y points down
    vertices, joints, h36m, twists = pose_body(betas, poses)
    roots = np.stack([rng.uniform(-0.3, 0.3, count), rng.uniform(-0.2, 0.2, count),
                      rng.uniform(4, 6, count)], -1)
    move = roots[:, None] - joints[:, :1]
    focal, centre = np.array([210., 220.]), np.array([103., 77.])
    pixels = (vertices + move)[..., :2] / (vertices + move)[..., 2:] * focal + centre
    low, high = pixels.min(1), pixels.max(1)
    return dict(betas=betas, poses=poses, joints=joints + move, h36m=h36m + move, twists=twists,
                roots=roots, focal=focal, centre=centre, boxes=np.concatenate([low, high - low], 1))


def h36m_content(people: dict, name: str = 's_09_act_02_subact_01_ca_{camera:02d}/{i:06d}.jpg'):
    """Human3.6M: millimetres, left leg first, two pictures per camera."""
    images, annotations = [], []
    for i in range(len(people['betas'])):
        cos, sin = people['twists'][i].T
        images.append(dict(id=100 + i, file_name=name.format(i=i, camera=1 + i % 4),
                           width=SIZE[0], height=SIZE[1]))
        annotations.append(dict(
            id=i, image_id=100 + i, bbox=people['boxes'][i].tolist(),
            cam_param=dict(f=people['focal'].tolist(), c=people['centre'].tolist()),
            h36m_joints=(1000 * people['h36m'][i][L_FIRST]).tolist(),
            smpl_joints=(1000 * people['joints'][i]).tolist(), betas=people['betas'][i].tolist(),
            thetas=people['poses'][i].tolist(), root_coord=(1000 * people['roots'][i]).tolist(),
            angle_twist=dict(angle=np.arctan2(sin, cos).tolist(), cos=cos.tolist(),
                             sin=sin.tolist())))
    return dict(images=images, annotations=annotations)


def threedpw_content(people: dict) -> dict:
    """3DPW: metres, camera beside the picture."""
    content = dict(images=[], annotations=[])
    for i in range(len(people['betas'])):
        content['images'].append(dict(
            id=i, sequence='downtown_walk_00', file_name=f'image_{i:05d}.jpg', width=SIZE[0],
            height=SIZE[1], cam_param=dict(focal=people['focal'].tolist(),
                                           princpt=people['centre'].tolist())))
        content['annotations'].append(dict(
            id=i, image_id=i, bbox=people['boxes'][i].tolist(),
            smpl_param=dict(shape=people['betas'][i].tolist(), gender='female',
                            pose=people['poses'][i].reshape(-1).tolist()),
            h36m_joints=people['h36m'][i][L_FIRST].tolist(),
            smpl_joint_cam=people['joints'][i].tolist()))
    return content


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path
