"""Batched pose metrics: pure functions on (..., K, 3) arrays or tensors, in the unit of the poses.

All of them compute in float64 and answer in the type and dtype of the prediction. They share

    pred, gt: (..., K, 3) arrays, tensors or nested lists of equal shape. Metres, where a unit
        matters.
    mask: (..., K), nonzero where the joint is valid; None = all are.
    root_index: joint both poses are moved to first; None = no alignment.
    reduction: 'mean' over all valid joints of all poses (a scalar), or 'none', one value per pose
        (...): the mean over its valid joints, NaN where it has none.

and raise ValueError where shapes do not fit, or where a value that is used is not finite.
"""

from functools import wraps

import numpy as np
import torch

from ..geometry.procrustes import aligned_distances

__all__ = ['auc', 'joint_errors', 'mpjpe', 'mpjve', 'mpvpe', 'n_joint_errors', 'n_mpjpe',
           'p_joint_errors', 'p_mpjpe', 'pck', 'velocity_errors']


def _array(value, name):
    """A tensor as it is, anything else as an array of numbers."""
    if isinstance(value, torch.Tensor):
        return value
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f'{name} is no regular array: {error}') from error
    if array.dtype.kind not in 'biuf':
        raise ValueError(f'{name} must hold numbers, found {array.dtype}')
    return array


def _with_arrays(metric):
    """Let a metric take nested lists for pred, gt and mask."""
    @wraps(metric)
    def wrapper(pred, gt, mask=None, *args, **kwargs):
        mask = None if mask is None else _array(mask, 'mask')
        return metric(_array(pred, 'pred'), _array(gt, 'gt'), mask, *args, **kwargs)
    return wrapper


@_with_arrays
def mpjpe(pred, gt, mask=None, root_index=None, reduction='mean'):
    """Mean per-joint position error (protocol 1 with root-relative poses)."""
    return _reduced(joint_errors(pred, gt, mask, root_index), pred, mask, reduction)


@_with_arrays
def mpvpe(pred, gt, mask=None, root_index=None, reduction='mean'):
    """Mean per-vertex position error of (..., V, 3) meshes.

    Args:
        root_index: Vertex both meshes are moved to first. Meshes are usually compared relative to a
            root joint, which is no vertex: then leave it None and subtract each mesh's own root
            joint before.
    """
    return _reduced(joint_errors(pred, gt, mask, root_index), pred, mask, reduction)


@_with_arrays
def p_mpjpe(pred, gt, mask=None, root_index=None, reduction='mean', align_valid_only=False):
    """MPJPE after the best similarity transform of each pose (protocol 2); no reflections.

    Args:
        root_index: Without effect, because the alignment undoes any translation; taken so that
            all metrics can be called alike.
        align_valid_only: Find the alignment on the valid joints only. By default all joints take
            part, also invalid ones, as in the public code of Uplift and Upsample; they must then
            be finite too.
    """
    _check_root(root_index, pred)
    errors = p_joint_errors(pred, gt, mask, align_valid_only)
    return _reduced(errors, pred, mask, reduction)


@_with_arrays
def n_mpjpe(pred, gt, mask=None, root_index=None, center=None, reduction='mean'):
    """MPJPE after the best scale of each pose, sum(p g) / sum(p p) (Rhodin et al., CVPR 2018).

    Args:
        center: None (as VideoPose3D, apart from `root_index`) or 'mean': first move both poses to
            the mean of their valid joints.
    """
    errors = n_joint_errors(pred, gt, mask, root_index, center)
    return _reduced(errors, pred, mask, reduction)


@_with_arrays
def mpjve(pred, gt, mask=None, reduction='mean'):
    """Mean per-joint velocity error of (..., T, K, 3) sequences, per frame.

    Differences are taken inside each sequence only. A velocity is valid where the joint is valid
    in both frames; 'none' gives one value per step, (..., T - 1).
    """
    errors = velocity_errors(pred, gt, mask)
    if mask is not None:
        mask = (mask[..., 1:, :] != 0) & (mask[..., :-1, :] != 0)
    return _reduced(errors, pred, mask, reduction)


@_with_arrays
def pck(pred, gt, mask=None, root_index=None, reduction='mean', threshold=0.15):
    """Percentage of joints with an error strictly below the threshold (metres: 150 mm)."""
    errors = _tensor(joint_errors(pred, gt, mask, root_index))
    return _reduced((errors < threshold).to(errors) * 100, pred, mask, reduction)


@_with_arrays
def auc(pred, gt, mask=None, root_index=None, reduction='mean'):
    """Mean PCK over the 31 thresholds 0, 5, ..., 150 mm, in percent (poses in metres).

    Strictly below, as in the evaluation code of MPI-INF-3DHP: the threshold 0 always counts 0.
    """
    errors = _tensor(joint_errors(pred, gt, mask, root_index))
    below = sum((errors < 5 * i / 1000).to(errors) for i in range(31))
    return _reduced(below * (100 / 31), pred, mask, reduction)


@_with_arrays
def joint_errors(pred, gt, mask=None, root_index=None):
    """(..., K) distances; 0 where masked. Float64, as for the functions below."""
    p, g, m = _inputs(pred, gt, mask, root_index)
    return _output(torch.linalg.vector_norm(p - g, dim=-1), m, pred)


@_with_arrays
def p_joint_errors(pred, gt, mask=None, align_valid_only=False):
    """(..., K) distances after similarity alignment; 0 where masked."""
    p, g, m = _inputs(pred, gt, mask if align_valid_only else None)
    errors = aligned_distances(p, g, m)
    if mask is not None and m is None:
        m = _mask_tensor(mask, p)
    return _output(errors, m, pred)


@_with_arrays
def n_joint_errors(pred, gt, mask=None, root_index=None, center=None):
    """(..., K) distances after scale alignment; 0 where masked."""
    if center not in (None, 'mean') or (center and root_index is not None):
        raise ValueError("center must be None or 'mean' (then without root_index), found "
                         f'center={center!r}, root_index={root_index!r}')
    p, g, m = _inputs(pred, gt, mask, root_index)
    weight = torch.ones_like(p[..., :1]) if m is None else m[..., None].to(p.dtype)
    if center == 'mean':
        count = weight.sum(-2, keepdim=True).clamp(min=1)
        p = p - (p * weight).sum(-2, keepdim=True) / count
        g = g - (g * weight).sum(-2, keepdim=True) / count
    used = p * weight
    power = (used * p).sum((-2, -1), keepdim=True)
    scale = (used * g).sum((-2, -1), keepdim=True) / torch.where(power > 0, power, 1.0)
    return _output(torch.linalg.vector_norm(scale * p - g, dim=-1), m, pred)


@_with_arrays
def velocity_errors(pred, gt, mask=None):
    """(..., T - 1, K) norms of the difference of the frame-to-frame displacements.

    Of sequences (..., T, K, 3); 0 where the joint is masked in one of the two frames.
    """
    if pred.ndim < 3 or pred.shape[-3] < 2:
        raise ValueError('a velocity needs sequences (..., T, K, 3) of at least two frames, found '
                         f'{tuple(pred.shape)}')
    p, g, m = _inputs(pred, gt, mask)
    difference = p - g
    step = difference[..., 1:, :, :] - difference[..., :-1, :, :]
    if m is not None:
        m = m[..., 1:, :] & m[..., :-1, :]
    return _output(torch.linalg.vector_norm(step, dim=-1), m, pred)


def _tensor(value):
    if isinstance(value, torch.Tensor):
        return value
    # torch can not share read-only or reversed arrays; require copies those only.
    return torch.from_numpy(np.require(value, requirements=['C', 'W']))


def _mask_tensor(mask, poses):
    if tuple(mask.shape) != tuple(poses.shape[:-1]):
        raise ValueError(f'mask must have shape {tuple(poses.shape[:-1])}, one value per joint, '
                         f'found {tuple(mask.shape)}')
    return _tensor(mask).to(poses.device) != 0


def _check_root(root_index, poses):
    if (root_index is not None and poses.ndim > 1
            and not -poses.shape[-2] <= root_index < poses.shape[-2]):
        raise ValueError(f'root_index {root_index} is not among the {poses.shape[-2]} joints')


def _inputs(pred, gt, mask, root_index=None):
    """Float64 tensors moved to the root joint, and the mask as bool or None.

    Values that are not finite become zero in masked joints and are refused elsewhere.
    """
    if tuple(pred.shape) != tuple(gt.shape) or pred.ndim < 2 or pred.shape[-1] != 3:
        raise ValueError('pred and gt must have the same shape (..., K, 3), found '
                         f'{tuple(pred.shape)} and {tuple(gt.shape)}')
    p, g = _tensor(pred).to(torch.float64), _tensor(gt)
    g = g.to(p)
    _check_root(root_index, p)
    if mask is not None:
        mask = _mask_tensor(mask, p)
        unused = ~mask
        if root_index is not None:
            unused[..., root_index] = False
        p, g = (v.masked_fill(unused[..., None] & ~torch.isfinite(v), 0.0) for v in (p, g))
    for name, value in (('pred', p), ('gt', g)):
        if bool(torch.isfinite(value.sum())):  # a third of the cost of looking at each value
            continue
        finite = torch.isfinite(value)
        if not bool(finite.all()):
            raise ValueError(
                f'{name} has {int((~finite).sum())} values that are not finite, the first at index '
                f'{tuple(torch.nonzero(~finite)[0].tolist())} of shape {tuple(value.shape)}; mask '
                'joints that are unknown')
    if root_index is not None:
        p, g = (v - v[..., root_index, :].unsqueeze(-2) for v in (p, g))
    return p, g, mask


def _output(errors, mask, like):
    if mask is not None:
        errors = torch.where(mask, errors, torch.zeros_like(errors))
    return errors if isinstance(like, torch.Tensor) else errors.numpy()


def _reduced(values, like, mask, reduction):
    """Reduce (..., K) float64 values, masked ones zero, and give them the dtype of `like`."""
    if reduction not in ('mean', 'none'):
        raise ValueError(f"reduction must be 'mean' or 'none', found {reduction!r}")
    values = _tensor(values)
    if mask is None:
        mask = torch.ones_like(values, dtype=torch.bool)
    else:
        mask = _tensor(mask).to(values.device) != 0
        values = torch.where(mask, values, torch.zeros_like(values))
    if reduction == 'none':
        result = values.sum(-1) / mask.sum(-1)
    elif bool(mask.any()):
        result = values.sum() / mask.sum()
    else:
        raise ValueError(f'there is no valid joint to average over, poses {tuple(like.shape)}')
    if isinstance(like, torch.Tensor):
        return result.to(like.dtype if like.is_floating_point() else torch.float64)
    result = result.numpy().astype(like.dtype if like.dtype.kind == 'f' else np.float64)
    return result[()] if reduction == 'mean' else result
