"""Batched similarity alignment (Procrustes) in closed form, reflections refused.

The rotation is the proper orthogonal polar factor R of M = X^T Y (centred poses, target times
prediction): with the singular values s of M, the last one carrying the sign of det M, every power
of M that is needed is a symmetric function of s,

    R = ((e1^2 - e2) M + e1 cof(M) - M M^T M) / (e1 e2 - e3),   e1 = s1 + s2 + s3, ...

and e1 is the largest root of z^4 - 2 |M|^2 z^2 - 8 det(M) z + 2 |M^T M|^2 - |M|^4 (Horn, JOSA A
1987; Theobald, Acta Cryst. A 2005), found by Newton's method from above. Where the rotation is
(nearly) undetermined, as for collinear joints, the denominator (s1+s2)(s1+s3)(s2+s3) vanishes; only
those poses go through an SVD.
"""

import numpy as np
import torch

__all__ = ['aligned_distances', 'similarity_align']

_CHUNK = 8192  # poses at a time: the working set stays in the cache
_DEGENERATE = 1e-5  # of |M|^3; keeps the rotation of the closed form within 1e-10


def similarity_align(pred, gt, mask=None):
    """Align each pose to its target by the best rotation, scale and translation.

    The computation is float64 and has no gradient. A pose whose joints all coincide is moved onto
    the mean of the target; poses with values that are not finite become NaN.

    Args:
        pred, gt: (..., K, 3) arrays or tensors, any unit.
        mask: (..., K), joints that take part in finding the alignment; None = all. All joints are
            moved. A pose without any such joint is returned unchanged.

    Returns:
        (..., K, 3) aligned prediction, type and dtype of `pred` (float64 for integers).

    Raises:
        ValueError: shapes differ or are not (..., K, 3).
    """
    source, target, mask = _tensors(pred, gt, mask)
    result = torch.empty_like(source, memory_format=torch.contiguous_format)
    flat = result.view(-1, *source.shape[-2:])
    for rows, aligned, _ in _aligned_chunks(source, target, mask):
        flat[rows] = aligned.permute(2, 1, 0)
    return result if isinstance(pred, torch.Tensor) else result.numpy()


def aligned_distances(pred, gt, mask=None):
    """Distances to the target after :func:`similarity_align`, same arguments.

    Returns:
        (..., K) float64 array or tensor, in the unit of the poses.
    """
    source, target, mask = _tensors(pred, gt, mask)
    result = torch.empty(source.shape[:-1], dtype=torch.float64, device=source.device)
    flat = result.view(-1, source.shape[-2])
    for rows, aligned, x in _aligned_chunks(source, target, mask):
        aligned -= x
        flat[rows] = aligned.square_().sum(0).sqrt_().t()
    return result if isinstance(pred, torch.Tensor) else result.numpy()


def _tensors(pred, gt, mask):
    if tuple(pred.shape) != tuple(gt.shape) or pred.ndim < 2 or pred.shape[-1] != 3:
        raise ValueError('pred and gt must have the same shape (..., K, 3), found '
                         f'{tuple(pred.shape)} and {tuple(gt.shape)}')
    if mask is not None and tuple(mask.shape) != tuple(pred.shape[:-1]):
        raise ValueError(f'mask must have shape {tuple(pred.shape[:-1])}, found '
                         f'{tuple(mask.shape)}')
    # torch can not share read-only or reversed arrays; require copies those only.
    source, target, mask = (
        v if v is None or isinstance(v, torch.Tensor)
        else torch.from_numpy(np.require(v, requirements=['C', 'W'])) for v in (pred, gt, mask))
    if not source.is_floating_point():
        source = source.double()
    return source.detach(), target.detach().to(source.device), mask


def _aligned_chunks(source, target, mask):
    """Yield (rows, aligned, target) with poses as columns, (3, K, n) float64.

    Arithmetic on that layout runs over long contiguous rows.
    """
    joints = source.shape[-2]
    source, target = source.reshape(-1, joints, 3), target.reshape(-1, joints, 3)
    mask = None if mask is None else mask.to(source.device).reshape(-1, joints)
    for start in range(0, len(source), _CHUNK):
        rows = slice(start, start + _CHUNK)
        y, x = (v[rows].to(torch.float64).permute(2, 1, 0).contiguous() for v in (source, target))
        weight = None if mask is None else (mask[rows].t() != 0).to(torch.float64)
        yield rows, align_columns(y, x, weight), x


def align_columns(y, x, weight=None):
    """The alignment on (3, K, n) float64 tensors: y to x, one pose per column.

    Args:
        weight: (K, n) of 0 and 1, or None.
    """
    if weight is None:
        y_mean, x_mean = y.mean(1, keepdim=True), x.mean(1, keepdim=True)
        y0, x0 = y - y_mean, x - x_mean
        y_used = y0
    else:
        count = weight.sum(0).clamp(min=1)
        y_mean = ((y * weight).sum(1) / count)[:, None]
        x_mean = ((x * weight).sum(1) / count)[:, None]
        y0, x0 = y - y_mean, x - x_mean
        y_used = y0 * weight
    m = [[(x0[i] * y_used[j]).sum(0) for j in range(3)] for i in range(3)]
    rotation, trace = _polar_factor(m)
    power = (y_used * y0).sum((0, 1))
    scale = torch.where(power > 0, trace / power.clamp(min=1e-300), power)
    aligned = torch.empty_like(y)
    for i in range(3):
        row = aligned[i]
        torch.mul(y0[0], rotation[i][0] * scale, out=row)
        row.addcmul_(y0[1], (rotation[i][1] * scale)[None])
        row.addcmul_(y0[2], (rotation[i][2] * scale)[None])
        row += x_mean[i]
    if weight is not None:
        aligned = torch.where(weight.sum(0) > 0, aligned, y)
    return aligned


def _polar_factor(m):
    """Proper rotation R maximising tr(R^T M), and that maximum, for a 3 x 3 list of (n,) rows."""
    (a, b, c), (d, e, f), (g, h, i) = m
    square = a * a + b * b + c * c + d * d + e * e + f * f + g * g + h * h + i * i
    norm = square.sqrt().clamp(min=1e-300)
    a, b, c, d, e, f, g, h, i = (v / norm for v in (a, b, c, d, e, f, g, h, i))
    cof = [[e * i - f * h, f * g - d * i, d * h - e * g],
           [c * h - b * i, a * i - c * g, b * g - a * h],
           [b * f - c * e, c * d - a * f, a * e - b * d]]
    det = a * cof[0][0] + b * cof[0][1] + c * cof[0][2]
    # M M^T is symmetric; |M^T M| = |M M^T|.
    p00, p11, p22 = a * a + b * b + c * c, d * d + e * e + f * f, g * g + h * h + i * i
    p01, p02, p12 = a * d + b * e + c * f, a * g + b * h + c * i, d * g + e * h + f * i
    quartic = p00 * p00 + p11 * p11 + p22 * p22 + 2 * (p01 * p01 + p02 * p02 + p12 * p12)
    e1, converged = _largest_root(det, 2 * quartic - 1)
    e2 = (e1 * e1 - 1) / 2
    denominator = e1 * e2 - det
    first = (e1 * e1 - e2) / denominator
    second, third = e1 / denominator, 1 / denominator
    rows = ((a, b, c), (d, e, f), (g, h, i))
    product = ((p00, p01, p02), (p01, p11, p12), (p02, p12, p22))
    rotation = [[first * rows[r][k] + second * cof[r][k] - third * (
        product[r][0] * a_k + product[r][1] * d_k + product[r][2] * g_k)
        for k, (a_k, d_k, g_k) in enumerate(zip(*rows))] for r in range(3)]
    trace = e1 * norm
    bad = torch.nonzero(~((denominator > _DEGENERATE) & converged))[:, 0]
    if len(bad):
        matrix = torch.stack([m[r][k][bad] for r in range(3) for k in range(3)], -1)
        exact, exact_trace = _polar_factor_svd(matrix.reshape(-1, 3, 3))
        trace[bad] = exact_trace
        for r in range(3):
            for k in range(3):
                rotation[r][k][bad] = exact[:, r, k]
    return rotation, trace


def _largest_root(det, constant, max_iterations: int = 40):
    """Largest root of z^4 - 2 z^2 - 8 det z + constant (|M| = 1), Newton from sqrt(3) downwards."""
    z = torch.full_like(det, 3 ** 0.5)
    step = z
    for _ in range(max_iterations):
        square = z * z
        value = (square - 2) * square - 8 * det * z + constant
        step = value / ((4 * square - 4) * z - 8 * det)
        z = z - step
        if not bool((step.abs() > 1e-12).any()):
            break
    return z, step.abs() <= 1e-12


def _polar_factor_svd(matrix):
    """The same for (n, 3, 3), any rank; matrices that are not finite give NaN."""
    finite = torch.isfinite(matrix).all(-1).all(-1)
    u, s, vt = torch.linalg.svd(torch.where(finite[:, None, None], matrix,
                                            torch.zeros_like(matrix)))
    sign = torch.where(torch.linalg.det(u @ vt) < 0, -1.0, 1.0).to(s.dtype)
    flip = torch.ones_like(s)
    flip[:, 2] = sign
    rotation, trace = (u * flip[:, None, :]) @ vt, (s * flip).sum(-1)
    nan = torch.full_like(trace, float('nan'))
    return (torch.where(finite[:, None, None], rotation, nan[:, None, None]),
            torch.where(finite, trace, nan))
