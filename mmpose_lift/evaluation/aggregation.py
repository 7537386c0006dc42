"""What the registered metrics of lifting models share: errors, actions, samples."""

import re
from typing import Dict, Sequence, Tuple, Union

import numpy as np
import torch

from .functional import joint_errors, n_joint_errors, p_joint_errors

MM = 1000.0

# (..., K) values in mm or percent of pred, gt (..., K, 3) metres and mask (..., K); 0 where masked
POSE_ERRORS = {
    'MPJPE': lambda p, g, w: joint_errors(p, g, w) * MM,
    'P-MPJPE': lambda p, g, w: p_joint_errors(p, g, w) * MM,
    'N-MPJPE': lambda p, g, w: n_joint_errors(p, g, w) * MM,
    # the error of a masked joint is 0, which is below every threshold
    'PCK': lambda p, g, w: (joint_errors(p, g, w) < 0.15) * (w != 0) * 100.0,
    'AUC': lambda p, g, w: (w != 0) * sum((joint_errors(p, g, w) < 5 * i / 1000) * (100 / 31)
                                          for i in range(31)),
}


def check_names(metric: str, names: Union[str, Sequence[str]], known: Sequence[str]) -> tuple:
    """The names as a tuple; ValueError for an unknown one or none, in the name of ``metric``."""
    names = (names, ) if isinstance(names, str) else tuple(names)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise ValueError(f'{metric}: names must be some of {", ".join(known)}, found '
                         f'{list(names)}')
    return names


def action_word(action: str) -> str:
    """The action of a clip: text before the first space or underscore ("Walking 1": Walking)."""
    return re.split('[ _]', action)[0]


def action_means(key: str, totals: Dict[str, Tuple[float, float]]) -> Dict[str, float]:
    """The three kinds of average.

    Args:
        key: Name of the metric.
        totals: For each action, '' where there is none, the sum and its weight (above zero).

    Returns:
        ``<key>``, the unweighted mean over the actions, or the overall mean where there are no
        actions; ``<key>/<action>``, where there are actions; ``<key>/frame_mean``, the overall
        mean.
    """
    mean = sum(s for s, _ in totals.values()) / sum(n for _, n in totals.values())
    means = {action: s / n for action, (s, n) in sorted(totals.items())}
    has_actions = any(means)
    out = {key: float(np.mean(list(means.values())) if has_actions else mean)}
    if has_actions:
        out.update({f'{key}/{action or "unnamed"}': float(v) for action, v in means.items()})
    out[f'{key}/frame_mean'] = float(mean)
    return out


def to_array(value) -> np.ndarray:
    """An array of a tensor on any device, or of anything else."""
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def labels_of(sample: dict, metric: str) -> dict:
    """``gt_instance_labels`` of a sample; ValueError, in the name of ``metric``, without target."""
    labels = sample.get('gt_instance_labels', {})
    if 'lifting_target_label' not in labels:
        raise ValueError(f'{metric}: a data sample has no '
                         'gt_instance_labels.lifting_target_label; the data set must give 3D poses '
                         'and the test pipeline must encode them (GenerateTarget)')
    return labels
