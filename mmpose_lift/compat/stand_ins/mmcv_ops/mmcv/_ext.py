"""Stand-in for the compiled ``mmcv._ext`` of MMCV 2.1 in PyTorch and torchvision only.

``mmcv-lite`` ships ``mmcv/ops`` without its compiled half, and MMPose and MMDetection import
``mmcv.ops`` at import time. This module provides what they need on the way to a 2D pose: hard and
soft non-maximum suppression, RoI align and multi-scale deformable attention (Zhu et al., ICLR
2021), with gradients, on any device. Every other op can be looked up and raises when it is called.
The calling conventions (output buffers as arguments) are those of ``mmcv.ops``.
"""

import math

import torch
import torch.nn.functional as F
import torchvision

IS_STAND_IN = True  # how mmpose_lift and its tests tell this file from a compiled mmcv


def __getattr__(name):
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing_op(*args, **kwargs):
        raise NotImplementedError(
            f'the MMCV op {name!r} needs a compiled mmcv, and this environment has mmcv-lite with '
            'the plain PyTorch stand-in of mmpose_lift. To get it: pip uninstall mmcv-lite, then '
            "pip install 'setuptools<81' ninja psutil and MMCV_WITH_OPS=1 pip install "
            '--no-build-isolation mmcv==2.1.0 (needs a C++ compiler, and nvcc for CUDA; about ten '
            'minutes), or a wheel that OpenMMLab built for your versions of torch and CUDA')

    missing_op.__name__ = missing_op.__qualname__ = name
    return missing_op


def get_compiler_version():
    """Text for MMEngine's environment report."""
    return 'none (mmcv._ext stand-in of mmpose_lift)'


def get_compiling_cuda_version():
    """Text for MMEngine's environment report."""
    return 'none (mmcv._ext stand-in of mmpose_lift)'


# --- non-maximum suppression -------------------------------------------------------------------


def nms(boxes, scores, iou_threshold, offset):
    """Keep boxes in order of score, dropping those that overlap a kept one by more than a limit.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: Boxes with a larger intersection over union are dropped.
        offset: 0 or 1; the width of a box is ``x2 - x1 + offset``.

    Returns:
        (M,) int64 indices of the kept boxes, best first.
    """
    boxes, scores = boxes.detach(), scores.detach()
    if boxes.dtype not in (torch.float32, torch.float64):
        boxes = boxes.float()
    if offset:
        # moving the far corner by the offset gives every width, height and overlap that offset
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), iou_threshold)


def _overlaps(box, boxes, offset):
    """Intersection over union of one box (4,) with boxes (N, 4); 0 where both are empty."""
    low = torch.maximum(box[:2], boxes[:, :2])
    high = torch.minimum(box[2:], boxes[:, 2:])
    inter = (high - low + offset).clamp(min=0).prod(dim=1)
    area = (box[2:] - box[:2] + offset).prod()
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1)
    union = area + areas - inter
    return torch.where(union > 0, inter / union, torch.zeros_like(union))


def softnms(boxes, scores, dets, iou_threshold, sigma, min_score, method, offset):
    """Lower the scores of overlapping boxes instead of dropping them (Bodla et al., ICCV 2017).

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        scores: (N,).
        dets: (N, 5), receives the kept boxes with their new scores in its first M rows.
        iou_threshold: Overlap from which methods 0 and 1 act.
        sigma: Width of method 2.
        min_score: Boxes whose score falls below are dropped.
        method: 0 naive (score times 0), 1 linear (times 1 - IoU), 2 Gaussian (times
            ``exp(-IoU^2 / sigma)``).
        offset: 0 or 1; the width of a box is ``x2 - x1 + offset``.

    Returns:
        (M,) int64 indices of the kept boxes, in the order they were picked.
    """
    boxes = boxes.detach()
    left = torch.arange(len(boxes), device=boxes.device)
    current = scores.detach().clone()
    kept = []
    while len(left):
        pick = left[current[left].argmax()]
        dets[len(kept), :4] = boxes[pick]
        dets[len(kept), 4] = current[pick]
        kept.append(pick)
        left = left[left != pick]
        overlap = _overlaps(boxes[pick], boxes[left], offset)
        if method == 2:
            weight = torch.exp(-overlap**2 / sigma)
        else:
            lowered = 1 - overlap if method == 1 else torch.zeros_like(overlap)
            weight = torch.where(overlap >= iou_threshold, lowered, torch.ones_like(overlap))
        current[left] *= weight
        left = left[current[left] >= min_score]
    return torch.stack(kept) if kept else left


# --- RoI align ---------------------------------------------------------------------------------


def _corners(position, size):
    """Split sample positions on one axis into two cells and their weights.

    Args:
        position: Any shape, in cells; cell i has its centre at i.
        size: Number of cells.

    Returns:
        tuple: low cell, high cell (int64) and their weights, all of the input's shape. Positions
        more than one cell outside have weight 0.
    """
    inside = (position >= -1) & (position <= size)
    position = position.clamp(0, size - 1)
    low = position.floor().long().clamp(max=size - 1)
    high = (low + 1).clamp(max=size - 1)
    fraction = position - low
    return low, high, (1 - fraction) * inside, fraction * inside


def _roi_samples(roi, pooled, bins, scale, sampling_ratio, shift, aligned):
    """Sample positions of one RoI on one axis, (bins, samples per bin)."""
    start, end = roi[pooled] * scale - shift, roi[pooled + 2] * scale - shift
    length = end - start if aligned else (end - start).clamp(min=1)
    bin_size = length / bins
    count = sampling_ratio if sampling_ratio > 0 else max(math.ceil(float(bin_size)), 0)
    inner = (torch.arange(count, device=roi.device, dtype=roi.dtype) + 0.5) / max(count, 1)
    return start + (torch.arange(bins, device=roi.device)[:, None] + inner) * bin_size


def _max_roi_align(input, rois, output, argmax_y, argmax_x, height, width, scale, sampling_ratio,
                   aligned):
    """Largest bilinear sample of every bin, one RoI at a time since the sample counts differ."""
    for index, roi in enumerate(rois):
        shift = 0.5 if aligned else 0.0
        box = roi[1:]
        xs = _roi_samples(box, 0, width, scale, sampling_ratio, shift, aligned)  # [PW, gx]
        ys = _roi_samples(box, 1, height, scale, sampling_ratio, shift, aligned)  # [PH, gy]
        if not xs.numel() or not ys.numel():
            # an empty RoI: zeros, as in average mode; its gradient goes to no cell
            argmax_y[index] = argmax_x[index] = -2
            continue
        feature = input[int(roi[0])]  # [C, H, W]
        top, bottom, top_w, bottom_w = _corners(ys.reshape(-1), feature.shape[1])
        left, right, left_w, right_w = _corners(xs.reshape(-1), feature.shape[2])
        rows = feature[:, top] * top_w[:, None] + feature[:, bottom] * bottom_w[:, None]
        samples = rows[:, :, left] * left_w + rows[:, :, right] * right_w  # [C, PH*gy, PW*gx]
        gy, gx = ys.shape[1], xs.shape[1]
        samples = samples.reshape(-1, height, gy, width, gx).transpose(2, 3).flatten(3)
        best, where = samples.max(dim=3)  # [C, PH, PW]
        output[index] = best
        argmax_y[index] = ys[torch.arange(height, device=ys.device)[:, None], where // gx]
        argmax_x[index] = xs[torch.arange(width, device=xs.device), where % gx]


def roi_align_forward(input, rois, output, argmax_y, argmax_x, aligned_height, aligned_width,
                      spatial_scale, sampling_ratio, pool_mode, aligned):
    """Pool regions of a feature map to a fixed size without rounding (He et al., ICCV 2017).

    Args:
        input: (N, C, H, W).
        rois: (R, 5) batch index, x1, y1, x2, y2.
        output: (R, C, aligned_height, aligned_width), receives the result.
        argmax_y, argmax_x: As ``output``, receive the positions taken in max mode.
        spatial_scale: Factor from ``rois`` to cells of ``input``.
        sampling_ratio: Samples per bin and axis; 0 or less takes as many as the bin has cells.
        pool_mode: 0 max, 1 average.
        aligned: Move the RoIs by half a cell, so that cell i covers i to i + 1.
    """
    if pool_mode == 1:
        output.copy_(torchvision.ops.roi_align(
            input, rois.to(input.dtype), (aligned_height, aligned_width), spatial_scale,
            sampling_ratio, aligned))
    else:
        _max_roi_align(input.detach(), rois.detach().to(input.dtype), output, argmax_y, argmax_x,
                       aligned_height, aligned_width, spatial_scale, sampling_ratio, aligned)


def roi_align_backward(grad_output, rois, argmax_y, argmax_x, grad_input, aligned_height,
                       aligned_width, spatial_scale, sampling_ratio, pool_mode, aligned):
    """Add the gradient of :func:`roi_align_forward` to ``grad_input`` (N, C, H, W)."""
    if pool_mode == 1:
        with torch.enable_grad():
            probe = torch.zeros_like(grad_input, requires_grad=True)  # linear: any input will do
            pooled = torchvision.ops.roi_align(
                probe, rois.to(probe.dtype), (aligned_height, aligned_width), spatial_scale,
                sampling_ratio, aligned)
            grad_input += torch.autograd.grad(pooled, probe, grad_output)[0]
        return
    channels, height, width = grad_input.shape[1:]
    top, bottom, top_w, bottom_w = _corners(argmax_y, height)
    left, right, left_w, right_w = _corners(argmax_x, width)
    image = rois[:, 0].long().reshape(-1, 1, 1, 1) * channels
    plane = image + torch.arange(channels, device=rois.device).reshape(1, -1, 1, 1)
    total = torch.zeros(grad_input.numel(), dtype=grad_input.dtype, device=grad_input.device)
    for row, row_w in ((top, top_w), (bottom, bottom_w)):
        for column, column_w in ((left, left_w), (right, right_w)):
            cell = (plane * height + row) * width + column
            total.index_add_(0, cell.flatten(), (grad_output * row_w * column_w).flatten())
    grad_input += total.view_as(grad_input)


# --- multi-scale deformable attention ----------------------------------------------------------


def ms_deform_attn_forward(value, spatial_shapes, level_start_index, sampling_locations,
                           attention_weights, im2col_step=64):
    """Weighted sum of bilinear samples of several feature maps (Zhu et al., ICLR 2021, eq. 3).

    Args:
        value: (B, S, M, D) features of all levels one after the other, M heads.
        spatial_shapes: (L, 2) height and width of the levels.
        level_start_index: (L,) first row of each level in ``value``.
        sampling_locations: (B, Q, M, L, P, 2) x, y in [0, 1] of the whole map.
        attention_weights: (B, Q, M, L, P).
        im2col_step: Block size of the compiled version; has no meaning here.

    Returns:
        (B, Q, M * D).
    """
    batch, _, heads, width = value.shape
    queries = sampling_locations.shape[1]
    result = value.new_zeros(batch * heads, width, queries)
    starts = level_start_index.tolist()
    for level, (rows, columns) in enumerate(spatial_shapes.tolist()):
        feature = value[:, starts[level]:starts[level] + rows * columns]
        # [B, h*w, M, D] -> [B*M, D, h, w]
        feature = feature.permute(0, 2, 3, 1).reshape(batch * heads, width, rows, columns)
        # [B, Q, M, P, 2] -> [B*M, Q, P, 2], [0, 1] -> [-1, 1]
        grid = sampling_locations[:, :, :, level].transpose(1, 2).flatten(0, 1) * 2 - 1
        samples = F.grid_sample(feature, grid, mode='bilinear', padding_mode='zeros',
                                align_corners=False)  # [B*M, D, Q, P]
        weights = attention_weights[:, :, :, level].transpose(1, 2).flatten(0, 1)  # [B*M, Q, P]
        result = result + (samples * weights[:, None]).sum(dim=-1)
    # [B*M, D, Q] -> [B, Q, M*D]
    return result.reshape(batch, heads * width, queries).transpose(1, 2).contiguous()


def ms_deform_attn_backward(value, spatial_shapes, level_start_index, sampling_locations,
                            attention_weights, grad_output, grad_value, grad_sampling_loc,
                            grad_attn_weight, im2col_step=64):
    """Add the gradients of :func:`ms_deform_attn_forward` to the three buffers."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_()
                  for x in (value, sampling_locations, attention_weights)]
        output = ms_deform_attn_forward(leaves[0], spatial_shapes, level_start_index, leaves[1],
                                        leaves[2], im2col_step)
        gradients = torch.autograd.grad(output, leaves, grad_output)
    for buffer, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients):
        buffer += gradient
