"""Joints that a 2D convention does not have, as fixed combinations of those it has."""

from dataclasses import dataclass

__all__ = ['COUNTED_WEIGHT', 'WEIGHTS', 'Combination']

COUNTED_WEIGHT = 0.1  # parts below it do not lower the score of the combined joint [np]
_PAIRS = dict(hips='hip', shoulders='shoulder', eyes='eye', ears='ear')


@dataclass(frozen=True)
class Combination:
    """An affine combination of image points.

    Attributes:
        groups: Weights by group: 'nose', or a pair ('hips', 'shoulders', 'eyes', 'ears') whose left
            and right joints get half of it each. They sum to 1.
        data: What the weights were fitted on, and the unseen data that ``error`` is of.
        error: Mean distance to the joint on these, pixels as a Human3.6M camera at 4 to 6 m sees it
            and % of the torso's length (root to thorax); None for definitions.
        plain: The same error of MMPose's average instead.
    """
    groups: dict
    data: str
    error: tuple = None
    plain: tuple = None

    @property
    def parts(self) -> tuple:
        """((common name, weight), ...) of the single joints."""
        return tuple((name, weight / len(names)) for group, weight in self.groups.items()
                     for names in [_names(group)] for name in names)


def _names(group: str) -> tuple:
    return (f'left_{_PAIRS[group]}', f'right_{_PAIRS[group]}') if group in _PAIRS else (group,)


_MOTION = ('CMU motion capture in Human3.6M cameras: weights on subjects of CMU train, error on '
           'those of CMU val')
_BODY = ('the stand-in body of models/body (no real person) in random shapes and poses of CMU '
         'train; error on other shapes in poses of CMU val')

# By common name of the missing joint; printed by tools/fit_joint_conventions.py.
WEIGHTS = {
    'pelvis': Combination(dict(hips=1.0), 'definition of the root: the midpoint of the hips'),
    'spine': Combination(dict(hips=0.575, shoulders=0.425), _MOTION, (4.3, 4.1), (8.8, 8.5)),
    'neck': Combination(dict(hips=0.129, shoulders=0.871), _MOTION, (4.8, 4.6), (12.0, 11.5)),
    'head': Combination(dict(nose=0.018, eyes=0.114, ears=0.549, shoulders=0.319), _BODY,
                        (3.5, 2.8), (17.7, 14.2)),
    'head_top': Combination(dict(nose=-0.146, eyes=0.432, ears=1.063, shoulders=-0.281,
                                 hips=-0.068), _BODY, (5.2, 4.2), (30.8, 24.9)),
}
