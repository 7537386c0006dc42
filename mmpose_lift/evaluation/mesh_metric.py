"""The registered metric of body meshes (protocols of HybrIK and HybrIK-Transformer)."""

from collections import defaultdict
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

from ..geometry.skeletons import get_skeleton, joint_map
from ..models.body import LazyBodyModel
from .aggregation import MM, POSE_ERRORS, action_means, action_word, check_names, to_array
from .functional import joint_errors, mpvpe, p_joint_errors
from .mpi_inf_3dhp import official_joints

_LSP_14 = list(joint_map('h36m', 'lsp_14'))
_JOINT_NAMES = get_skeleton('h36m').joint_names
# joints whose mean is the origin of MPJPE, by the option root
_ROOTS = {'pelvis': [get_skeleton('h36m').root_index],
          'hips': [_JOINT_NAMES.index(name) for name in ('right_hip', 'left_hip')]}
# joints over which MPJPE and PA-MPJPE-17 are taken, and the metrics that are usual
_PROTOCOLS = {
    'h36m': (_LSP_14, ('MPJPE', 'PA-MPJPE', 'PA-MPJPE-17', 'PVE')),
    '3dpw': (_LSP_14, ('MPJPE', 'PA-MPJPE', 'PA-MPJPE-17', 'PVE')),
    'mpi_inf_3dhp': (list(range(17)), ('PCK', 'AUC', 'MPJPE', 'PA-MPJPE-17')),
}
_MIN_ALIGNED = 3  # fewer joints can always be aligned without error
_NAMES = ('MPJPE', 'PA-MPJPE', 'PA-MPJPE-17', 'PVE', 'PCK', 'AUC')


class _Scored(NamedTuple):
    """What is kept of one sample."""
    action: str
    sums: np.ndarray  # (M, 2): for each metric the sum over joints (mm or percent) and their number


@METRICS.register_module()
class MeshMetric(BaseMetric):
    """MPJPE, PA-MPJPE, PA-MPJPE-17, PVE (mm), PCK and AUC (%) of meshes, one person per sample.

    Joints are the 17 that are regressed from the mesh, relative to their pelvis:

    * ``MPJPE``: over the 14 joints of LSP and 3DPW (protocol 'mpi_inf_3dhp': over all 17); with
      ``root='hips'`` relative to the middle of the two hips, as METRO, Graphormer and MPT are
      evaluated, whose 14 joints have no pelvis;
    * ``PA-MPJPE``: Procrustes on these 14 joints, error over them (3DPW's);
    * ``PA-MPJPE-17``: Procrustes on all 17, error over the joints of MPJPE (HybrIK on Human3.6M);
    * ``PVE``: over all vertices, each mesh relative to its own regressed pelvis; the true mesh is
      made from the labelled shape and rotations;
    * ``PCK`` (150 mm) and ``AUC`` (31 thresholds, 0 to 150 mm): over the 14 joints of the official
      code of MPI-INF-3DHP.

    Keys: the plain ``<key>`` is the unweighted mean over the actions where the data set has
    actions, else the mean over samples; ``<key>/<action>`` and ``<key>/frame_mean`` are always
    what they say. Joints weigh equally, also where a sample does not have all.

    Args:
        names: any of the above; by default those that are usual for the protocol.
        protocol: 'h36m', '3dpw' or 'mpi_inf_3dhp'.
        body_model: Body of the labels, source of a ``LazyBodyModel``; read only where needed.
        gendered_body_models: ``dict(male=..., female=...)``, the bodies of samples whose metainfo
            ``gender`` says so (3DPW); those that are 'neutral' have ``body_model``.
        joints_from_mesh: Take the true 17 joints from the labelled mesh instead of
            ``gt_h36m_joints``, as 3DPW is evaluated.
        compat_3dhp: PCK and AUC over the joints that HybrIK's code takes by mistake: it applies
            joint numbers of MPI-INF-3DHP to joints in another order, so the pelvis, whose error is
            0, and the spine enter and the right arm is left out.
        root: 'pelvis' or 'hips', of ``MPJPE`` only: Procrustes has no use for it, and vertices stay
            relative to the pelvis.
        collect_device, prefix: as in MMEngine.

    Raises:
        ValueError: unknown option.
    """

    default_prefix = ''  # the keys are the contract; None would warn about a missing prefix

    def __init__(self, names: Optional[Sequence[str]] = None, protocol: str = 'h36m',
                 body_model='stand_in', gendered_body_models: Optional[Dict] = None,
                 joints_from_mesh: bool = False, compat_3dhp: bool = False, root: str = 'pelvis',
                 collect_device: str = 'cpu', prefix: Optional[str] = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if protocol not in _PROTOCOLS:
            raise ValueError(f'MeshMetric: protocol must be one of {", ".join(_PROTOCOLS)}, found '
                             f'{protocol!r}')
        self.joints, usual = _PROTOCOLS[protocol]
        self.names = check_names('MeshMetric', usual if names is None else names, _NAMES)
        if root not in _ROOTS:
            raise ValueError(f'MeshMetric: root must be one of {", ".join(_ROOTS)}, found {root!r}')
        self.root = root
        self.joints_from_mesh = joints_from_mesh
        self.pck_joints = _pck_joints(compat_3dhp)
        unknown = set(gendered_body_models or {}) - {'male', 'female'}
        if unknown:
            raise ValueError('MeshMetric: gendered_body_models has male and female, found '
                             f'{", ".join(sorted(unknown))}')
        self.bodies = {gender: LazyBodyModel(source)
                       for gender, source in (gendered_body_models or {}).items()}
        self.bodies[''] = LazyBodyModel(body_model)

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Score one batch.

        Args:
            data_batch: not used.
            data_samples: dicts with ``pred_instances.h36m_joints`` (1, 17, 3) and ``vertices``
                (1, V, 3), metres, axes of the camera; ``gt_instances.gt_h36m_joints`` (1, 17, 3)
                with ``gt_h36m_valid`` (1, 17), ``gt_betas`` (1, S), ``gt_rotmats`` (1, 24, 3, 3)
                and ``gt_body_valid`` (1,), as far as they are labelled; metainfo ``action`` and
                ``gender``. A sample without valid labels adds nothing, and none to the metrics of
                joints where its pelvis (``root='hips'``, MPJPE: a hip) is not valid.

        Raises:
            ValueError: no prediction, shapes that do not fit, or a pose that is not finite.
        """
        sums = np.zeros((len(data_samples), len(self.names), 2))
        bodies, rows = self._true_bodies(data_samples)
        pairs = []
        for i, sample in enumerate(data_samples):
            joints = _true_joints(sample, bodies.get(i) if self.joints_from_mesh else None)
            pairs.append((_predicted(sample, 'h36m_joints'), *joints))
        try:
            self._score_joints(sums, *map(np.stack, zip(*pairs)))
            if 'PVE' in self.names:
                column = sums[:, self.names.index('PVE')]
                for i in rows:
                    column[i] = _vertex_error(_predicted(data_samples[i], 'vertices'),
                                              bodies[i][0]), 1
        except ValueError as error:
            names = ', '.join(str(s.get('img_path', s.get('id', '?'))) for s in data_samples[:3])
            raise ValueError(f'MeshMetric, samples {names}{", ..." * (len(data_samples) > 3)}: '
                             f'{error}. A prediction that is not finite means that training '
                             'diverged or the checkpoint is damaged') from error
        # One result per sample, also where it is empty: MMEngine joins those of several processes
        # by their number.
        self.results += [_Scored(str(sample.get('action') or ''), row)
                         for sample, row in zip(data_samples, sums)]

    def _score_joints(self, sums: np.ndarray, pred, gt, valid) -> None:
        """Fill in what is measured on joints (B, 17, 3) with validity (B, 17)."""
        centred = {root: _centred(pred, gt, valid, root) for root in {'pelvis', self.root}}
        for i, name in enumerate(self.names):
            pred, gt, valid = centred[self.root if name == 'MPJPE' else 'pelvis']
            columns = self.pck_joints if name in ('PCK', 'AUC') else (
                _LSP_14 if name == 'PA-MPJPE' else self.joints)
            mask = valid[:, columns]
            if name == 'MPJPE':
                errors = joint_errors(pred[:, columns], gt[:, columns], mask) * MM
            elif name in ('PA-MPJPE', 'PA-MPJPE-17'):
                aligned = columns if name == 'PA-MPJPE' else list(range(17))
                used = valid[:, aligned]
                used &= used.sum(-1, keepdims=True) >= _MIN_ALIGNED
                mask = mask & used.any(-1, keepdims=True)
                errors = p_joint_errors(pred[:, aligned], gt[:, aligned], used, True) * MM
                errors = errors if name == 'PA-MPJPE' else errors[:, columns]
            elif name in ('PCK', 'AUC'):
                errors = POSE_ERRORS[name](pred[:, columns], gt[:, columns], mask)
            else:
                continue
            sums[:, i] = np.stack([errors.sum(-1), mask.sum(-1)], -1)

    def _true_bodies(self, samples) -> Tuple[Dict[int, tuple], List[int]]:
        """(V, 3) vertices relative to the pelvis and (17, 3) joints by sample, where labelled."""
        if 'PVE' not in self.names and not self.joints_from_mesh:
            return {}, []
        groups = defaultdict(list)
        for i, sample in enumerate(samples):
            labels = sample.get('gt_instances', {})
            if 'gt_betas' in labels and to_array(labels.get('gt_body_valid', [True])).all():
                groups[self._gender(sample)].append(i)
        made = {}
        for gender, rows in groups.items():
            arrays = [np.concatenate([to_array(samples[i]['gt_instances'][name]) for i in rows])
                      for name in ('gt_betas', 'gt_rotmats')]
            body = self.bodies[gender].body
            with torch.no_grad():
                vertices, _ = body(*(torch.from_numpy(a.astype(np.float32)) for a in arrays))
                joints = body.h36m_joints(vertices)
            root = joints[:, _ROOTS['pelvis']]
            made.update(zip(rows, zip((vertices - root).numpy(), (joints - root).numpy())))
        return made, sorted(made)

    def _gender(self, sample) -> str:
        """Which of the bodies a sample has."""
        gender = sample.get('gender')
        if len(self.bodies) > 1 and gender not in ('male', 'female', 'neutral'):
            raise ValueError('MeshMetric: with gendered_body_models every sample needs the '
                             f'metainfo gender (male, female or neutral), found {gender!r}; list '
                             'gender in the meta_keys of PackPoseInputs')
        return gender if gender in self.bodies else ''

    def compute_metrics(self, results: List[_Scored]) -> dict:
        """Actions, then the averages.

        Raises:
            ValueError: a metric has nothing to average over.
        """
        totals = {name: defaultdict(lambda: np.zeros(2)) for name in self.names}
        # MMEngine's collection rebuilds named tuples as plain ones.
        for action, sums in results:
            for name, row in zip(self.names, sums):
                totals[name][action_word(action)] += row
        out = {}
        for name in self.names:
            measured = {a: tuple(row) for a, row in totals[name].items() if row[1] > 0}
            if not measured:
                needed = ('gt_betas and gt_rotmats with gt_body_valid' if name == 'PVE'
                          or self.joints_from_mesh else 'gt_h36m_joints with gt_h36m_valid')
                raise ValueError(f'MeshMetric: none of the {len(results)} samples has what {name} '
                                 f'needs in gt_instances ({needed}); remove it from names, or '
                                 'check the data set and the codec')
            out.update(action_means(name, measured))
        return out


def _centred(pred: np.ndarray, gt: np.ndarray, valid: np.ndarray, root: str) -> tuple:
    """Joints (B, 17, 3) relative to their root, and which are valid: none without a valid root."""
    rows = _ROOTS[root]
    valid = valid & valid[:, rows].all(-1, keepdims=True)
    gt = np.where(valid[..., None], gt, 0)
    return (*(x - x[:, rows].mean(1, keepdims=True) for x in (pred, gt)), valid)


def _pck_joints(compat: bool) -> List[int]:
    """Joints of PCK and AUC, as numbers of the h36m skeleton."""
    if not compat:
        return np.flatnonzero(official_joints('h36m')).tolist()
    misread = np.flatnonzero(official_joints('mpi_inf_3dhp'))
    return np.array(joint_map('h36m', 'h36m_l_first'))[misread].tolist()


def _predicted(sample: dict, name: str) -> np.ndarray:
    predicted = sample.get('pred_instances', {})
    if name not in predicted:
        raise ValueError(f'MeshMetric: a data sample has no pred_instances.{name}; the metric is '
                         'for heads of body meshes (HybrIKTransformerHead, HybrIKHead, MPTHead)')
    array = to_array(predicted[name])
    if array.ndim != 3 or len(array) != 1:
        raise ValueError(f'MeshMetric: pred_instances.{name} must have shape (1, N, 3), one person '
                         f'per sample, found {array.shape}')
    return array[0]


def _true_joints(sample: dict, body: Optional[tuple]) -> Tuple[np.ndarray, np.ndarray]:
    """(17, 3) true joints and their validity (17,)."""
    if body is not None:
        return body[1], np.ones(17, bool)
    labels = sample.get('gt_instances', {})
    if 'gt_h36m_joints' not in labels:
        return np.zeros((17, 3), np.float32), np.zeros(17, bool)
    joints = to_array(labels['gt_h36m_joints'])[0]
    valid = labels.get('gt_h36m_valid')
    return joints, np.ones(17, bool) if valid is None else to_array(valid)[0] != 0


def _vertex_error(pred: np.ndarray, gt: np.ndarray) -> float:
    if pred.shape != gt.shape:
        raise ValueError(f'the predicted mesh has shape {pred.shape} and that of the labels '
                         f'{gt.shape}: body_model of the metric must be the body of the model')
    return float(mpvpe(pred, gt)) * MM
