"""HumanEva in the layout of VideoPose3D's files, with made-up people, for tests."""

import numpy as np

from mmpose_lift.geometry.skeletons import get_skeleton

SKELETON = get_skeleton('humaneva')
SYMMETRY = [[2, 3, 4, 8, 9, 10], [5, 6, 7, 11, 12, 13]]
COCO_SYMMETRY = [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]]


def people(rng, frames=50, subjects=('Train/S1', 'Validate/S2')):
    """{subject: {action: (F, 15, 3) float32}} world space, metres, in the middle of the cameras."""
    return {
        subject: {
            action: (rng.normal(scale=0.3, size=(frames, 15, 3)) + (0, 0, 1)).astype(np.float32)
            for action in ('Walking 1 chunk0', 'Jog 1 chunk2')
        }
        for subject in subjects
    }


def pixels(rng, poses, joints=15, channels=2, extra=0):
    """2D of the three cameras for the same clips."""
    return {
        subject: {
            action: [rng.uniform(0, 480, (len(world) + extra, joints, channels)).astype(np.float32)
                     for _ in range(3)]
            for action, world in actions.items()
        }
        for subject, actions in poses.items()
    }


def save_3d(folder, poses):
    path = folder / 'data_3d_humaneva15.npz'
    np.savez(path, positions_3d=np.array(poses, dtype=object))
    return path


def save_2d(folder, name, views, symmetry=SYMMETRY):
    path = folder / f'data_2d_humaneva15_{name}.npz'
    metadata = dict(layout_name='humaneva15', num_joints=15, keypoints_symmetry=symmetry)
    np.savez(path, positions_2d=np.array(views, dtype=object),
             metadata=np.array(metadata, dtype=object))
    return path
