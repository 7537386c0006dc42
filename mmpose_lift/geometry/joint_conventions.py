"""From the joints of a 2D model to those of a lifter."""

from typing import Any, Mapping, Union

from .joint_weights import WEIGHTS, Combination
from .skeletons import Skeleton, convert_keypoints, get_skeleton, skeleton_names

__all__ = ['WEIGHTS', 'Combination', 'convention_of', 'to_lifter']

# `dataset_name` of MMPose's models whose joints are those of a skeleton of another name here.
_MMPOSE_NAMES = {
    'halpe26': 'halpe_26',
    'ochuman': 'coco',
    'Human-Art': 'coco',
    'ubody2d': 'coco_wholebody',
    'h3wb': 'coco_wholebody',
}


def convention_of(model: Union[str, Mapping[str, Any]]) -> str:
    """Name in the skeleton table of the joints that a 2D model gives.

    MMPose's 2D models say in ``model.dataset_meta`` what they were trained on. Different joints go
    by one ``dataset_name`` there ('coco' also for COCO with two joints of AIC), so the joints'
    names are compared, too, where the metadata has them.

    Args:
        model: ``dataset_meta`` of a 2D model, a ``dataset_name``, or a name of the skeleton table.

    Raises:
        ValueError: no name, a convention that is not mapped, or other joints than its name says.
            The message lists what is mapped.
    """
    named = isinstance(model, str)
    name = model if named else model.get('dataset_name')
    convention = _MMPOSE_NAMES.get(name, name) if isinstance(name, str) else None
    if convention not in skeleton_names():
        raise ValueError(
            f'2D model: its joint convention (dataset_name) {name!r} is not mapped to a skeleton; '
            f'mapped are {", ".join(sorted({*_MMPOSE_NAMES, *skeleton_names()}))}. Choose a 2D '
            "model of one of these, for example pose2d='human' (COCO), or reorder its keypoints "
            'into one of them and name that as skeleton')
    skeleton = get_skeleton(convention)
    names = {} if named else model.get('keypoint_id2name') or {}
    found = tuple(names[i] for i in sorted(names, key=int))  # JSON makes the numbers text
    if found and found != skeleton.joint_names:
        different = [x for x in found if x not in skeleton.joint_names]
        raise ValueError(
            f'2D model: its dataset_name {name!r} stands for {skeleton.num_joints} joints '
            f'({convention}), but it gives {len(found)} in another order or of other names '
            f'({", ".join(different[:5]) or "same names"}); choose another 2D model, or reorder '
            'its keypoints and name their skeleton')
    return convention


def to_lifter(keypoints, convention: Union[str, Mapping[str, Any]],
              skeleton: Union[str, Skeleton]):
    """2D keypoints of a 2D model as the joints of a lifter.

    Joints are matched by name; those that the model does not give are combined from those it gives
    with the fixed weights of ``WEIGHTS``, whose errors are in ``docs/joints.md``.

    Args:
        keypoints: (..., K, 2) x, y in pixels (or any units of the picture), or (..., K, 3) with a
            score, array or tensor.
        convention: What :func:`convention_of` takes.
        skeleton: Joints of the lifter.

    Returns:
        (..., J, 2 or 3), same type and dtype. The score of a combined joint is the lowest of its
        parts with a weight above 0.1.

    Raises:
        ValueError: unknown convention or skeleton, another number of joints or columns, or a joint
            that neither exists nor can be combined.
    """
    columns = keypoints.shape[-1] if len(keypoints.shape) else 0
    if columns not in (2, 3):
        raise ValueError('keypoints: expected (..., K, 2) x, y or (..., K, 3) with a score, found '
                         f'shape {tuple(keypoints.shape)}')
    return convert_keypoints(keypoints, convention_of(convention), get_skeleton(skeleton).name,
                             has_score=columns == 3)
