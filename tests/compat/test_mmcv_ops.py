"""The mmcv._ext stand-in against brute-force versions written here, and who wins when."""

import importlib.machinery
import importlib.metadata
import importlib.util
import math
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

from mmpose_lift.compat.mmcv_ops import STAND_IN, install

install()

import mmcv.ops  # noqa: E402

compiled = not getattr(sys.modules['mmcv._ext'], 'IS_STAND_IN', False)
stand_in_only = pytest.mark.skipif(compiled, reason='a compiled mmcv is installed')


def run_python(code: str, cwd: Path, *flags: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run([sys.executable, '-W', 'ignore', *flags, '-c', code], cwd=cwd,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- non-maximum suppression -------------------------------------------------------------------


def iou(a, b, offset):
    """Intersection over union of two boxes, in plain Python."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area_a = (a[2] - a[0] + offset) * (a[3] - a[1] + offset)
    area_b = (b[2] - b[0] + offset) * (b[3] - b[1] + offset)
    return width * height / (area_a + area_b - width * height)


def brute_nms(boxes, scores, threshold, offset):
    order, kept = sorted(range(len(boxes)), key=lambda i: -scores[i]), []
    for i in order:
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def brute_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    scores, left, kept = list(scores), list(range(len(boxes))), []
    while left:
        best = max(left, key=lambda i: scores[i])
        kept.append((best, scores[best]))
        left.remove(best)
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            if method == 'gaussian':
                scores[i] *= math.exp(-overlap**2 / sigma)
            elif overlap >= threshold:
                scores[i] *= (1 - overlap) if method == 'linear' else 0
            if scores[i] < min_score:
                left.remove(i)
    return kept


def random_boxes(rng, count=60, size=20.0):
    """Crowded boxes with distinct scores; small, so that the offset matters."""
    corner = rng.uniform(0, size, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, size / 2, (count, 2))], 1)
    scores = rng.permutation(np.linspace(0.01, 0.99, count))
    return boxes.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.6])
def test_nms(rng, offset, threshold):
    boxes, scores = random_boxes(rng)
    dets, kept = mmcv.ops.nms(boxes, scores, threshold, offset=offset)
    assert kept.tolist() == brute_nms(boxes.tolist(), scores.tolist(), threshold, offset)
    np.testing.assert_array_equal(dets, np.concatenate([boxes, scores[:, None]], 1)[kept])


def test_the_offset_of_nms_changes_the_result():
    boxes = np.array([[0, 0, 4, 4], [0, 2, 4, 6]], np.float32)  # IoU 1/3, with offset 15/35
    scores = np.array([0.9, 0.8], np.float32)
    assert len(mmcv.ops.nms(boxes, scores, 0.4, offset=0)[1]) == 2
    assert len(mmcv.ops.nms(boxes, scores, 0.4, offset=1)[1]) == 1


def test_nms_score_threshold_and_max_num(rng):
    boxes, scores = random_boxes(rng)
    kept = mmcv.ops.nms(boxes, scores, 0.5, score_threshold=0.5, max_num=3)[1]
    strong = [i for i in range(len(scores)) if scores[i] > 0.5]
    expected = brute_nms(boxes[strong].tolist(), scores[strong].tolist(), 0.5, 0)[:3]
    assert kept.tolist() == [strong[i] for i in expected]


def test_nms_of_no_boxes_and_of_other_types(rng):
    empty = mmcv.ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)
    assert empty[0].shape == (0, 5) and empty[1].shape == (0,)
    boxes, scores = map(torch.from_numpy, random_boxes(rng))
    expected = mmcv.ops.nms(boxes, scores, 0.5)[1]
    assert mmcv.ops.nms(boxes.double(), scores.double(), 0.5)[1].equal(expected)
    if not compiled:
        grid = (boxes * 8).round() / 8  # exact in half precision
        expected = mmcv.ops.nms(grid, scores, 0.5)[1]
        assert mmcv.ops.nms(grid.half(), scores, 0.5)[1].equal(expected)


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_batched_nms(rng, class_agnostic):
    boxes, scores = random_boxes(rng)
    classes = rng.integers(0, 3, len(boxes))
    dets, kept = mmcv.ops.batched_nms(
        torch.from_numpy(boxes), torch.from_numpy(scores), torch.from_numpy(classes),
        dict(type='nms', iou_threshold=0.3), class_agnostic=class_agnostic)
    expected = []
    for group in [range(len(boxes))] if class_agnostic else [
            np.flatnonzero(classes == c) for c in range(3)]:
        group = list(group)
        expected += [group[i] for i in brute_nms(boxes[group], scores[group], 0.3, 0)]
    expected.sort(key=lambda i: -scores[i])
    assert kept.tolist() == expected
    np.testing.assert_allclose(dets[:, 4], scores[expected])


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(rng, method, offset):
    boxes, scores = random_boxes(rng)
    dets, kept = mmcv.ops.soft_nms(boxes, scores, iou_threshold=0.3, sigma=0.4, min_score=0.05,
                                   method=method, offset=offset)
    expected = brute_soft_nms(boxes.tolist(), scores.tolist(), 0.3, 0.4, 0.05, method, offset)
    assert 1 < len(expected) < len(boxes)
    assert kept.tolist() == [i for i, _ in expected]
    np.testing.assert_array_equal(dets[:, :4], boxes[kept])
    np.testing.assert_allclose(dets[:, 4], [score for _, score in expected], rtol=1e-5)


def test_soft_nms_leaves_its_inputs_alone(rng):
    boxes, scores = map(torch.from_numpy, random_boxes(rng))
    before = scores.clone()
    mmcv.ops.soft_nms(boxes, scores)
    assert scores.equal(before)
    dets, kept = mmcv.ops.soft_nms(torch.zeros(0, 4), torch.zeros(0))
    assert dets.shape == (0, 5) and kept.shape == (0,)


@stand_in_only  # the compiled one turns their scores into NaN
def test_soft_nms_of_boxes_without_area():
    boxes = np.array([[3, 1, 3, 1], [3, 1, 3, 1], [4, 3, 5, 4]], np.float32)
    dets, kept = mmcv.ops.soft_nms(boxes, np.array([0.9, 0.5, 0.4], np.float32), method='gaussian')
    assert kept.tolist() == [0, 1, 2]
    np.testing.assert_allclose(dets[:, 4], [0.9, 0.5, 0.4])


# --- RoI align ---------------------------------------------------------------------------------


def bilinear(image, y, x):
    """Value of an image (H, W) at a position; cell i has its centre at i, outside is 0."""
    height, width = image.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    return ((1 - fy) * ((1 - fx) * image[top, left] + fx * image[top, right])
            + fy * ((1 - fx) * image[bottom, left] + fx * image[bottom, right]))


def brute_roi_align(feature, rois, size, scale, ratio, mode, aligned):
    """RoI align with a loop over everything; differentiable where ``feature`` is a tensor."""
    shift, out = (0.5 if aligned else 0.0), []
    for roi in rois.tolist():
        x1, y1, x2, y2 = [value * scale - shift for value in roi[1:]]
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_h, bin_w = height / size[0], width / size[1]
        gy, gx = ratio or math.ceil(bin_h), ratio or math.ceil(bin_w)
        for image in feature[int(roi[0])]:
            for i in range(size[0]):
                for j in range(size[1]):
                    samples = [bilinear(image, y1 + (i + (a + 0.5) / gy) * bin_h,
                                        x1 + (j + (b + 0.5) / gx) * bin_w)
                               for a in range(gy) for b in range(gx)]
                    samples = torch.stack([torch.as_tensor(s, dtype=feature.dtype)
                                           for s in samples])
                    out.append(samples.max() if mode == 'max' else samples.mean())
    return torch.stack(out).reshape(len(rois), feature.shape[1], *size)


ROIS = torch.tensor([[0, 2.3, 1.1, 14.9, 12.7],
                     [1, 0.0, 0.0, 5.2, 16.0],
                     [1, -6.0, 9.0, 7.0, 30.0],  # reaches more than a cell beyond the map
                     [0, 3.0, 3.0, 3.4, 3.3]], dtype=torch.float64)  # smaller than a cell


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_roi_align(rng, mode, ratio, aligned):
    feature = torch.from_numpy(rng.normal(size=(2, 2, 8, 9))).requires_grad_()
    reference = feature.detach().clone().requires_grad_()
    pooled = mmcv.ops.roi_align(feature, ROIS, (3, 2), 0.5, ratio, mode, aligned)
    expected = brute_roi_align(reference, ROIS, (3, 2), 0.5, ratio, mode, aligned)
    torch.testing.assert_close(pooled, expected, rtol=1e-9, atol=1e-9)
    weight = torch.from_numpy(rng.normal(size=tuple(pooled.shape)))
    (pooled * weight).sum().backward()
    (expected * weight).sum().backward()
    torch.testing.assert_close(feature.grad, reference.grad, rtol=1e-9, atol=1e-9)


def test_roi_align_of_nothing():
    feature = torch.randn(1, 2, 8, 8, requires_grad=True)
    for mode in ('avg', 'max'):
        pooled = mmcv.ops.roi_align(feature, torch.zeros(0, 5), (3, 3), 1.0, 0, mode, True)
        assert pooled.shape == (0, 2, 3, 3)


@stand_in_only
def test_roi_align_of_an_empty_roi_is_zero_without_gradient():
    feature = torch.ones(1, 1, 8, 8, requires_grad=True)
    empty = torch.tensor([[0, 3.0, 3.0, 3.0, 3.0]])
    pooled = mmcv.ops.roi_align(feature, empty, (2, 2), 1.0, 0, 'max', True)
    pooled.sum().backward()
    assert not pooled.any() and not feature.grad.any()


# --- multi-scale deformable attention ----------------------------------------------------------


def brute_deformable(value, shapes, starts, locations, weights):
    """Deformable attention with a loop over everything; zero beyond the edge of a map."""
    batch, _, heads, width = value.shape
    _, queries, _, levels, points, _ = locations.shape
    out = []
    for b in range(batch):
        for q in range(queries):
            for m in range(heads):
                total = torch.zeros(width, dtype=value.dtype)
                for level in range(levels):
                    rows, columns = shapes[level].tolist()
                    feature = value[b, starts[level]:starts[level] + rows * columns, m]
                    feature = feature.reshape(rows, columns, width)
                    for p in range(points):
                        x = locations[b, q, m, level, p, 0] * columns - 0.5
                        y = locations[b, q, m, level, p, 1] * rows - 0.5
                        left, top = int(torch.floor(x)), int(torch.floor(y))
                        for i, wy in ((top, top + 1 - y), (top + 1, y - top)):
                            for j, wx in ((left, left + 1 - x), (left + 1, x - left)):
                                if 0 <= i < rows and 0 <= j < columns:
                                    total = total + (weights[b, q, m, level, p] * wy * wx
                                                     * feature[i, j])
                out.append(total)
    return torch.stack(out).reshape(batch, queries, heads * width)


def deformable_inputs(rng):
    shapes = torch.tensor([[4, 5], [2, 3]])
    starts = torch.tensor([0, 20])
    value = torch.from_numpy(rng.normal(size=(2, 26, 2, 3)))
    locations = torch.from_numpy(rng.uniform(-0.1, 1.1, size=(2, 3, 2, 2, 2, 2)))
    weights = torch.from_numpy(rng.uniform(size=(2, 3, 2, 2, 2)))
    return value, shapes, starts, locations, weights


@stand_in_only  # a compiled one has no CPU version
def test_deformable_attention_function(rng):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
    value, shapes, starts, locations, weights = deformable_inputs(rng)
    first = [x.clone().requires_grad_() for x in (value, locations, weights)]
    second = [x.clone().requires_grad_() for x in (value, locations, weights)]
    attend = MultiScaleDeformableAttnFunction.apply
    result = attend(first[0], shapes, starts, first[1], first[2], 64)
    expected = brute_deformable(second[0], shapes, starts.tolist(), second[1], second[2])
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)
    weight = torch.from_numpy(rng.normal(size=tuple(result.shape)))
    (result * weight).sum().backward()
    (expected * weight).sum().backward()
    for mine, theirs in zip(first, second):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-8)


def test_deformable_attention_module():
    torch.manual_seed(0)
    module = mmcv.ops.MultiScaleDeformableAttention(
        embed_dims=8, num_heads=2, num_levels=2, num_points=2, batch_first=True)
    query = torch.randn(1, 5, 8, requires_grad=True)
    out = module(query, value=torch.randn(1, 26, 8), reference_points=torch.rand(1, 5, 2, 2),
                 spatial_shapes=torch.tensor([[4, 5], [2, 3]]),
                 level_start_index=torch.tensor([0, 20]))
    out.sum().backward()
    assert out.shape == (1, 5, 8) and torch.isfinite(query.grad).all()


# --- what is missing, and who wins -------------------------------------------------------------


@stand_in_only
def test_other_ops_can_be_looked_up_and_say_what_is_missing_when_called():
    extension = sys.modules['mmcv._ext']
    op = extension.deform_conv_forward
    with pytest.raises(NotImplementedError, match="'deform_conv_forward' needs a compiled mmcv"):
        op(torch.zeros(1))
    with pytest.raises(NotImplementedError, match='MMCV_WITH_OPS=1 pip install'):
        mmcv.ops.box_iou_rotated(torch.rand(2, 5), torch.rand(2, 5))
    assert not hasattr(extension, '__path__')  # special names are not ops
    assert 'stand-in' in mmcv.ops.get_compiler_version()


def test_a_compiled_mmcv_wins(tmp_path, monkeypatch):
    package = tmp_path / 'mmcv'
    package.mkdir()
    shutil.copyfile(STAND_IN, package / '_ext.py')
    spec = importlib.machinery.PathFinder.find_spec('mmcv._ext', [str(package)])
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
    (package / f'_ext{sysconfig.get_config_var("EXT_SUFFIX")}').touch()
    importlib.invalidate_caches()
    spec = importlib.machinery.PathFinder.find_spec('mmcv._ext', [str(package)])
    assert isinstance(spec.loader, importlib.machinery.ExtensionFileLoader)


def test_install_keeps_what_is_there():
    extension = importlib.import_module('mmcv._ext')
    install()
    assert sys.modules['mmcv._ext'] is extension


HIDE_EXT = '''
import importlib.machinery, sys
finder = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name == 'mmcv._ext' else finder(name, path, target)
importlib.machinery.PathFinder.find_spec = staticmethod(find_spec)
'''


def test_without_the_distribution_install_loads_the_same_file(tmp_path, root_dir):
    out = run_python(HIDE_EXT + '''
import importlib.util
assert importlib.util.find_spec('mmcv._ext') is None
from mmpose_lift.compat.mmcv_ops import STAND_IN, install
install()
import mmcv._ext, mmcv.utils.ext_loader
assert mmcv._ext.__spec__.name == 'mmcv._ext' and mmcv._ext.__file__ == str(STAND_IN)
assert mmcv.utils.ext_loader.check_ops_exist()
import mmcv.ops
print(mmcv.ops.nms.__name__)
''', tmp_path)
    assert out.strip() == 'nms'


def test_this_is_still_needed(tmp_path):
    """Fails when mmcv-lite brings ops of its own: then the stand-in can go."""
    code = HIDE_EXT + '''
try:
    import mmcv.ops
except ModuleNotFoundError as error:
    print(error.name)
'''
    assert run_python(code, tmp_path).strip() == 'mmcv._ext'


@pytest.mark.parametrize('first, second', [
    ('from mmpose.apis import MMPoseInferencer', 'import mmpose_lift'),
    ('import mmpose_lift', 'from mmpose.apis import MMPoseInferencer'),
])
def test_stock_inferencer_imports_whatever_comes_first(tmp_path, first, second):
    out = run_python(f'{first}\n{second}\nprint(MMPoseInferencer.__module__)', tmp_path)
    assert out.strip() == 'mmpose.apis.inferencers.mmpose_inferencer'
