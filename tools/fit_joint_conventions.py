#!/usr/bin/env python
"""Fit the weights of geometry/joint_weights.py: joints that COCO lacks, from those it has."""

import argparse
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from mmpose_lift.apis import PoseLiftInferencer
from mmpose_lift.apis.command_line import one_line_errors
from mmpose_lift.datasets.projection import project_store
from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.io.pose_store import PoseStore
from mmpose_lift.models.body import BodyModel, fit_pose, stand_in_h36m_regressor
from mmpose_lift.models.body.stand_in_body import LANDMARKS

H36M = get_skeleton('h36m')
FACE = {name: LANDMARKS[name] for name in ('nose', 'left_eye', 'right_eye', 'left_ear',
                                           'right_ear')}  # vertices
SUBJECTS = dict(train=('S1', 'S5', 'S6', 'S7', 'S8'), val=('S9', 'S11'))
TRUNK = ('hips', 'shoulders')
# What to fit: joint, groups to combine, and MMPose's average (weights of the same groups).
JOINTS = (('spine', TRUNK, (0.5, 0.5)), ('thorax', TRUNK, (0, 1)),
          ('neck_base', ('nose', 'eyes', 'ears', 'shoulders'), (1, 0, 0, 0)),
          ('head', ('nose', 'eyes', 'ears', 'shoulders', 'hips'), (0, 1, 0, 0, 0)))


def main():
    parser = argparse.ArgumentParser(
        description='Fit the joints that COCO lacks. Spine and thorax: recorded motion. Neck base '
        'and head: the stand-in body in poses of the same recordings and random shapes, as '
        'recordings have no face points. Least squares in the pictures of the Human3.6M cameras '
        '(training subjects; the errors are those in the cameras of S9 and S11), each person moved '
        'to the centre of the room; facing is as recorded.')
    parser.add_argument('--train', type=Path, default=Path('data/cmu_train'),
                        help='pose store in world space, skeleton h36m (default: %(default)s)')
    parser.add_argument('--val', type=Path, default=Path('data/cmu_val'),
                        help='store of unseen people (default: %(default)s)')
    parser.add_argument('--poses', type=int, default=4000,
                        help='poses of each store, evenly spaced (default: %(default)s)')
    parser.add_argument('--noise', type=float, default=4.0,
                        help='pixels, standard deviation per axis of the detector whose joints are '
                        'combined: keeps large weights of opposite signs away (default: '
                        '%(default)s)')
    parser.add_argument('--lifter', nargs=2, metavar=('CONFIG', 'CHECKPOINT'),
                        help='also lift the people of --val with exact 2D, with these joints '
                        "by MMPose's averages, and with those fitted")
    parser.add_argument('--seed', type=int, default=0, help='of the shapes (default: %(default)s)')
    args = parser.parse_args()
    with one_line_errors():
        torch.set_grad_enabled(False)
        fit(args)


def fit(args):
    table = Table('joint', 'groups', 'weights', "px: MMPose's", 'px: fitted', "% torso: MMPose's",
                  '% torso: fitted', 'px on train')
    sets = {name: Pictures(path, name, args.poses, args.seed + i)
            for i, (name, path) in enumerate((('train', args.train), ('val', args.val)))}
    fitted = []
    for joint, groups, plain in JOINTS:
        weights = least_squares(*sets['train'].equations(joint, groups), groups, args.noise)
        weights = weights.round(3)
        weights[weights.argmax()] += 1 - weights.sum()
        fitted.append((joint, groups, weights))
        errors = sets['val'].errors(joint, groups, weights)
        before = sets['val'].errors(joint, groups, plain)
        seen = sets['train'].errors(joint, groups, weights)
        table.add_row(joint, ' '.join(groups), ' '.join(f'{w:.3f}' for w in weights),
                      f'{before[0]:.1f}', f'{errors[0]:.1f}', f'{before[1]:.1f}',
                      f'{errors[1]:.1f}', f'{seen[0]:.1f}')
    console = Console(width=150)
    console.print(table)
    if args.lifter:
        console.print(lifting_errors(args, fitted))


def lifting_errors(args, fitted):
    """Table of a lifter's errors in mm, every clip of the store seen by one camera.

    Recordings have no face points: neck base and head are the recorded ones, moved by the error
    that the same weights make on the stand-in body in the same pose.
    """
    lifter = PoseLiftInferencer(*args.lifter)
    recording = project_store(PoseStore.open(args.val), h36m_cameras(SUBJECTS['val']), 1, args.seed)
    plain = [(joint, groups, np.array(weights)) for joint, groups, weights in JOINTS]
    sources = {'exact': [], "MMPose's, spine and thorax": plain[:2], "MMPose's, all": plain,
               'fitted, spine and thorax': fitted[:2], 'fitted, all': fitted}
    errors = {name: [] for name in sources}
    for clip in recording.clips:
        camera = recording.cameras[clip.sequence.camera]
        exact = dict(zip(H36M.joint_names, np.moveaxis(clip.keypoints_2d['gt'], 1, 0)))
        points, names = body_points(clip.keypoints_3d.astype(float), args.seed)
        body = dict(zip(names, np.moveaxis(camera.project(points), 1, 0)))
        for name, rows in sources.items():
            keypoints = dict(exact)
            for joint, groups, weights in rows:
                seen = exact if groups is TRUNK else body
                keypoints[joint] = exact[joint] - seen[joint] + (
                    np.swapaxes(group_means(seen, groups), -1, -2) @ weights)
            result = lifter(np.stack(list(keypoints.values()), 1), skeleton=H36M.name,
                            image_size=(camera.width, camera.height))
            true = clip.keypoints_3d - clip.keypoints_3d[:, :1]
            errors[name].append(np.linalg.norm(result['keypoints_3d'] - true, axis=-1))
    joints = [joint for joint, *_ in fitted]
    table = Table('2D', 'MPJPE (mm)', *joints, 'other joints')
    for name, parts in errors.items():
        mean = 1000 * np.concatenate(parts).mean(0)
        at = [H36M.index(joint) for joint in joints]
        table.add_row(name, *(f'{x:.1f}' for x in (mean.mean(), *mean[at],
                                                   np.delete(mean, at).mean())))
    return table


class Pictures:
    """Image points of people seen by all cameras of a set."""

    def __init__(self, path, name, poses, seed):
        store = PoseStore.open(path)
        if (store.frame, store.skeleton) != ('world', H36M.name):
            raise ValueError(f'{path}: expected a world-space store of skeleton {H36M.name!r}, '
                             f'found {store.frame!r}, {store.skeleton!r}')
        rows = np.flatnonzero(store.valid)
        rows = rows[np.linspace(0, len(rows) - 1, min(poses, len(rows))).astype(int)]
        world = np.array(store.keypoints_3d[rows], dtype=np.float64)
        world[..., :2] -= world[:, :1, :2]
        self.cameras = h36m_cameras(SUBJECTS[name])
        self.recorded = self._project(world, H36M.joint_names)
        self.body = self._project(*body_points(world, seed))

    def _project(self, world, names):
        """Names to (cameras, poses, 2) pixels, and metres per pixel over torso length."""
        points = [camera.world_to_camera(world) for camera in self.cameras]
        pixels = np.stack([c.project(p) for c, p in zip(self.cameras, points)])
        root, thorax = names.index('root'), names.index('thorax')
        depth = np.stack(points)[:, :, root, 2]
        focal = np.array([c.focal.mean() for c in self.cameras])[:, None]
        torso = np.linalg.norm(world[:, thorax] - world[:, root], axis=-1)
        return dict(zip(names, np.moveaxis(pixels, 2, 0))), depth / focal / torso

    def equations(self, joint, groups):
        """(cameras, poses, groups, 2) group means and (cameras, poses, 2) the joint, pixels."""
        pixels, _ = self.recorded if groups is TRUNK else self.body
        return group_means(pixels, groups), pixels[joint]

    def errors(self, joint, groups, weights):
        """Mean distance in pixels and in % of the torso."""
        means, target = self.equations(joint, groups)
        _, scale = self.recorded if groups is TRUNK else self.body
        distance = np.linalg.norm(np.swapaxes(means, -1, -2) @ weights - target, axis=-1)
        return distance.mean(), 100 * (distance * scale).mean()


def group_means(pixels, groups):
    """(..., groups, 2) from (..., 2) pixels by name."""
    return np.stack([pixels[g] if g in pixels else
                     (pixels[f'left_{g[:-1]}'] + pixels[f'right_{g[:-1]}']) / 2
                     for g in groups], -2)


def body_points(world, seed):
    """Joints and COCO face points of stand-in bodies in these poses, (N, 22, 3) metres."""
    body, regressor = BodyModel.stand_in(), np.asarray(stand_in_h36m_regressor())
    betas = np.random.default_rng(seed).standard_normal((len(world), 10)).clip(-2, 2)
    points = []
    for first in range(0, len(world), 64):
        part = slice(first, first + 64)
        rotations, _ = fit_pose(body, world[part])
        vertices = body(torch.from_numpy(betas[part]).float(),
                        torch.as_tensor(np.asarray(rotations), dtype=torch.float32))[0].numpy()
        joints = np.einsum('kv,nvd->nkd', regressor, vertices)
        points.append(np.concatenate([joints, vertices[:, list(FACE.values())]], 1))
    points = np.concatenate(points).astype(np.float64)
    points += world[:, :1] - points[:, :1]
    return points, H36M.joint_names + tuple(FACE)


def least_squares(means, target, groups, noise):
    """Weights that sum to 1 and minimise the expected error of combined noisy joints."""
    origin = target[:, :, None]
    rows = (means - origin).swapaxes(-1, -2).reshape(-1, len(groups))  # the target is 0
    joints = np.array([1 if group == 'nose' else 2 for group in groups])
    quadratic = rows.T @ rows / len(rows) + np.diag(noise ** 2 / joints)
    weights = np.linalg.solve(quadratic, np.ones(len(groups)))  # Lagrange
    return weights / weights.sum()


if __name__ == '__main__':
    main()
