"""The registered metric of the MPI-INF-3DHP test set (Mehta et al., 3DV 2017)."""

from collections import defaultdict
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from mmpose.registry import METRICS

from ..geometry.skeletons import get_skeleton
from .aggregation import POSE_ERRORS, check_names
from .lifting_metric import LiftingMetric, counted_frames

GROUPS = {'GS': ('TS1', 'TS2'), 'noGS': ('TS3', 'TS4'), 'outdoor': ('TS5', 'TS6')}
_GROUP_OF = {subject: group for group, subjects in GROUPS.items() for subject in subjects}

# Number of joints each choice must find, and the joints it leaves out (common names).
_JOINTS = {
    'official14': (14, ('pelvis', 'spine', 'head')),
    'all17': (17, ()),
    'all16_with_root': (16, ()),
}
_COUNTED_JOINTS = ('PCK', 'AUC')  # metrics that count the chosen joints only


class _Scored(NamedTuple):
    """What is kept of one window."""

    clip: tuple  # data set, subject, action, number
    start: int
    sums: np.ndarray  # (M, 2): for each metric the sum over joints and frames, and their number


@METRICS.register_module()
class MPIINF3DHPMetric(LiftingMetric):
    """PCK, AUC (%) and MPJPE (mm) by sequence and by setting, frames pooled.

    Errors are those of root-relative poses. PCK counts errors strictly below 150 mm and AUC is the
    mean PCK over the 31 thresholds 0, 5, ..., 150 mm (0 never counts), both over the joints of the
    official evaluation code: head top, neck, shoulders, elbows, wrists, hips, knees, ankles; MPJPE
    is over all joints, the root with its 0 included. Frames that are not valid
    (``lifting_target_weight`` 0) and frames outside of ``counted`` do not take part.

    Keys: ``<key>``, all frames of all sequences (sequence means weighted by their frames);
    ``<key>/GS`` (TS1, TS2), ``<key>/noGS`` (TS3, TS4), ``<key>/outdoor`` (TS5, TS6);
    ``<key>/TS1`` ...; ``<key>/<action>`` where clips have actions. Groups without frames are left
    out. Samples are those of :class:`LiftingMetric` and need the metainfo ``sequence``, ``start``
    and ``subject``; a window that comes twice counts once.

    Args:
        names: any of PCK, AUC, MPJPE, P-MPJPE, N-MPJPE.
        joints: joints of PCK and AUC. 'official14'; 'all17', as some papers count; or
            'all16_with_root' (skeleton 'h36m_16'), the root included, as the cross-data-set tests
            of the PoseAug and SGN line count.
        root: 'subtract': both poses are moved to their own root. 'zero': the root of the target is
            subtracted, the predicted root row is set to zero and the other predicted joints stay
            where they are (public code of P-STMO).
        skeleton: joint order of the poses.
        collect_device, prefix: as in MMEngine.

    Raises:
        ValueError: unknown option, or a choice of joints that the skeleton does not have.
    """

    def __init__(self,
                 names: Sequence[str] = ('PCK', 'AUC', 'MPJPE'),
                 joints: str = 'official14',
                 root: str = 'subtract',
                 skeleton: str = 'h36m',
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None) -> None:
        names = check_names('MPIINF3DHPMetric', names, tuple(POSE_ERRORS))
        if root not in ('subtract', 'zero'):
            raise ValueError("MPIINF3DHPMetric: root must be 'subtract' or 'zero', found "
                             f'{root!r}')
        super().__init__(names, root_align=root == 'subtract', skeleton=skeleton,
                         collect_device=collect_device, prefix=prefix)
        self.root = root
        self.joints = _joint_mask(joints, skeleton)

    def _score(self, pred, gt, valid, infos: List[dict]) -> None:
        """Add windows (B, T', K, 3), (B, T', K, 3), (B, T', K) to the results."""
        self._check(pred, infos)
        frames = np.arange(pred.shape[1])
        first, last = counted_frames(infos, pred.shape[1])
        counted = (frames >= first[:, None]) & (frames < last[:, None])
        weight = (valid != 0) & counted[..., None]
        gt = gt - gt[:, :, self.root_index, None]
        if self.root == 'subtract':
            pred = pred - pred[:, :, self.root_index, None]
        else:
            pred = pred.copy()
            pred[:, :, self.root_index] = 0
        sums = np.empty((len(pred), len(self.names), 2))
        for i, name in enumerate(self.names):
            used = weight & self.joints if name in _COUNTED_JOINTS else weight
            try:
                errors = POSE_ERRORS[name](pred, gt, used)
            except ValueError as e:
                listed = ', '.join(info['name'] for info in infos[:3])
                raise ValueError(
                    f'MPIINF3DHPMetric, windows {listed}{", ..." * (len(infos) > 3)}: {e}. A '
                    'prediction that is not finite means that training diverged or the checkpoint '
                    'is damaged') from e
            # the error of a masked joint is 0, which PCK and AUC would take for a hit
            sums[:, i, 0] = np.where(used, errors, 0).sum((1, 2))
            sums[:, i, 1] = used.sum((1, 2))
        for info, row in zip(infos, sums):
            clip = self._clips.setdefault(info['clip'], info['clip'])
            self.results.append(_Scored(clip, info['start'], row))

    def _check(self, pred: np.ndarray, infos: List[dict]) -> None:
        """Refuse another joint count and windows whose test sequence is not known."""
        if pred.shape[2] != len(self.joints):
            raise ValueError(f'MPIINF3DHPMetric: poses have {pred.shape[2]} joints, the skeleton '
                             f'of the metric {len(self.joints)}; set its option skeleton')
        for info in infos:
            subject = None if info['clip'] is None else info['clip'][1]
            if subject not in _GROUP_OF:
                raise ValueError(
                    f'MPIINF3DHPMetric, window {info["name"]}: subject {subject!r}, expected one '
                    f'of {", ".join(_GROUP_OF)}; list sequence, start and subject in the meta_keys '
                    'of PackPoseInputs, and test on these subjects only')

    def compute_metrics(self, results: List[_Scored]) -> dict:
        """Pool the windows.

        Raises:
            ValueError: no valid frame was scored.
        """
        windows = {}
        # MMEngine's collection rebuilds named tuples as plain ones.
        for scored in (_Scored(*result) for result in results):
            windows.setdefault((scored.clip, scored.start), scored)
        pools = defaultdict(lambda: np.zeros((len(self.names), 2)))
        for (_, subject, action, _), sums in ((w.clip, w.sums) for w in windows.values()):
            pools[''] += sums
            for pool in (_GROUP_OF[subject], subject, action):
                if pool:
                    pools[f'/{pool}'] += sums
        order = ['', *(f'/{pool}' for pool in (*GROUPS, *_GROUP_OF))]
        order += sorted(set(pools) - set(order))
        if not all(count > 0 for count in pools[''][:, 1]):
            raise ValueError('MPIINF3DHPMetric: no valid frame was scored; are the frames of the '
                             'store marked as valid?')
        return {
            f'{name}{pool}': float(pools[pool][i, 0] / pools[pool][i, 1])
            for i, name in enumerate(self.names) for pool in order
            if pool in pools and pools[pool][i, 1] > 0
        }


def official_joints(skeleton: str) -> np.ndarray:
    """(K,) bool: the 14 joints of the official evaluation code."""
    return _joint_mask('official14', skeleton)


def _joint_mask(joints: str, skeleton: str) -> np.ndarray:
    """(K,) bool: the joints that PCK and AUC count."""
    if joints not in _JOINTS:
        raise ValueError(f'MPIINF3DHPMetric: joints must be one of {", ".join(_JOINTS)}, found '
                         f'{joints!r}')
    count, left_out = _JOINTS[joints]
    names = get_skeleton(skeleton).common_names
    mask = np.array([name not in left_out for name in names])
    if mask.sum() != count:
        raise ValueError(f'MPIINF3DHPMetric: joints={joints!r} needs {count} joints, skeleton '
                         f'{skeleton!r} has {mask.sum()} of them ({len(names)} in all)')
    return mask
