"""The registered metric of absolute root positions (Moon et al., RootNet, ICCV 2019)."""

from collections import defaultdict
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

from .aggregation import MM, action_means, action_word, to_array

_NAMES = ('MRPE', 'MRPE_x', 'MRPE_y', 'MRPE_z')


@METRICS.register_module()
class RootMetric(BaseMetric):
    """MRPE and its parts along the camera's axes: mean error of the root's position in mm.

    Keys: the plain ``<key>`` is the unweighted mean over the actions where the data set has
    actions, else the mean over samples; ``<key>/<action>`` and ``<key>/frame_mean``, the mean over
    all samples, which is the published one, are always what they say. Samples whose metainfo has no
    ``root`` do not take part.

    Args:
        collect_device, prefix: as in MMEngine.
    """

    default_prefix = ''  # the keys are the contract; None would warn about a missing prefix

    def __init__(self, collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Score one batch.

        Args:
            data_batch: not used.
            data_samples: dicts with ``pred_instances.root`` (1, 3) and, where known, ``root`` (3,)
                and ``action``; camera-space metres.

        Raises:
            ValueError: a prediction is not finite.
        """
        for sample in data_samples:
            if sample.get('root') is None:
                continue
            offset = to_array(sample['pred_instances']['root'])[0] - to_array(sample['root'])
            if not np.isfinite(offset).all():
                raise ValueError(
                    f'RootMetric, {sample.get("img_path", "a sample")}: the predicted or the true '
                    'root is not finite; training diverged, the checkpoint is damaged, or the '
                    'label is')
            offset = np.abs(offset) * MM
            errors = np.array([np.linalg.norm(offset), *offset])
            self.results.append((action_word(sample.get('action') or ''), errors))

    def compute_metrics(self, results: List[Tuple[str, np.ndarray]]) -> Dict[str, float]:
        """The keys of the class; ValueError where no sample has a root."""
        if not results:
            raise ValueError('RootMetric: no sample has a root; the data set must be one with '
                             "joints in 3D, and 'root' be among the meta_keys of its pipeline")
        actions = defaultdict(list)
        for action, errors in results:
            actions[action].append(errors)
        out = {}
        for i, name in enumerate(_NAMES):
            out.update(action_means(name, {action: (float(sum(e[i] for e in errors)), len(errors))
                                           for action, errors in actions.items()}))
        return out
