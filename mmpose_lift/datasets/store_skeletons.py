"""Which skeleton the stores of a data set share, and its meta information in MMPose's form."""

import os.path as osp
from typing import List, Optional, Sequence

import mmpose
import numpy as np
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from ..geometry.skeletons import Skeleton, get_skeleton, joint_map

# MMPose's own files, where it has one; absolute: it warns about paths not below the working folder
METAINFO_FILES = {
    name: osp.join(mmpose.__path__[0], f'.mim/configs/_base_/datasets/{name}.py')
    for name in ('h36m', 'mpi_inf_3dhp')
}
_COLORS = {'left': [0, 255, 0], 'right': [255, 128, 0], '': [51, 153, 255]}  # as MMPose's files
_LOWER = ('pelvis', 'hip', 'knee', 'ankle', 'foot', 'toe')


def common_skeleton(skeletons: Sequence[str], names: Sequence) -> Skeleton:
    """The one skeleton of all stores.

    Args:
        skeletons: Skeleton of each store.
        names: What to call the stores in messages.

    Raises:
        ValueError: They differ.
    """
    other = next((i for i, s in enumerate(skeletons) if s != skeletons[0]), None)
    if other is not None:
        raise ValueError(f'stores: {names[0]} has skeleton {skeletons[0]!r}, {names[other]} has '
                         f'{skeletons[other]!r}; choose the one to read both in with skeleton=')
    return get_skeleton(skeletons[0])


def joints_to_read(stored: str, skeleton: Skeleton, name) -> Optional[np.ndarray]:
    """(K,) stored joints in the order of ``skeleton``, matched by name; None: they are the same.

    Raises:
        ValueError: The store lacks a joint of the skeleton; both are named.
    """
    if stored == skeleton.name:
        return None
    try:
        return np.array(joint_map(stored, skeleton.name))
    except ValueError as error:
        raise ValueError(f'{name}: expected skeleton {skeleton.name!r} or one with all its joints, '
                         f'found {stored!r}: {error}') from None


def read_skeleton_metainfo(skeleton: Skeleton, raw: dict) -> dict:
    """Parse meta information and check that it is about this skeleton.

    Raises:
        ValueError: Its joints are others, by number or by left and right.
    """
    metainfo = parse_pose_metainfo(raw)
    if list(metainfo['flip_indices']) != list(skeleton.flip_indices):
        raise ValueError(
            f'metainfo {metainfo["dataset_name"]!r} has {metainfo["num_keypoints"]} joints with '
            f'flip indices {metainfo["flip_indices"]}, skeleton {skeleton.name!r} has '
            f'{skeleton.num_joints} with {list(skeleton.flip_indices)}; give the skeleton of the '
            'data, or leave metainfo out')
    return metainfo


def skeleton_metainfo(skeleton: Skeleton) -> dict:
    """Meta information of a skeleton as MMPose's data sets declare it (before parsing).

    MMPose's own file for Human3.6M and MPI-INF-3DHP; of others what the skeleton table knows.
    """
    if skeleton.name in METAINFO_FILES:
        return dict(from_file=METAINFO_FILES[skeleton.name])
    names, flip = skeleton.joint_names, skeleton.flip_indices
    sides = [_side(skeleton, i) for i in range(skeleton.num_joints)]
    return dict(
        dataset_name=skeleton.name,
        keypoint_info={
            i: dict(name=name, id=i, color=_COLORS[sides[i]], swap=_swap(names, i, flip[i]),
                    type='lower' if skeleton.common_names[i].endswith(_LOWER) else 'upper')
            for i, name in enumerate(names)
        },
        skeleton_info={
            i: dict(link=(names[parent], names[child]), id=i, color=_COLORS[sides[child]])
            for i, (parent, child) in enumerate(skeleton.bones)
        },
        joint_weights=[1.] * skeleton.num_joints,
        sigmas=[])


def _side(skeleton: Skeleton, joint: int) -> str:
    if joint in skeleton.left_joints:
        return 'left'
    return 'right' if joint in skeleton.right_joints else ''


def _swap(names: List[str], joint: int, other: int) -> str:
    return '' if joint == other else names[other]
