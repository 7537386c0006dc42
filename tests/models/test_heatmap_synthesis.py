"""Maps against MMPose's own, masks against the exact rasteriser, and by hand."""

import numpy as np
import pytest
import torch
from mmpose.codecs.utils import generate_unbiased_gaussian_heatmaps

from mmpose_lift.models.body import BodyModel, CocoKeypoints
from mmpose_lift.models.heatmap_synthesis import draw_heatmaps, silhouettes
from mmpose_lift.rendering.rasterizer import rasterize


def test_maps_by_hand():
    maps = draw_heatmaps(torch.tensor([[[3., 5.], [3.25, 5.]]]), 8, 2.0)
    assert maps.shape == (1, 2, 8, 8) and maps[0, 0, 5, 3] == maps[0, 0].max() == 1
    assert maps[0, 0, 5, 4].item() == pytest.approx(np.exp(-1 / 8))
    assert maps[0, 1, 6, 3].item() == pytest.approx(np.exp(-(0.25**2 + 1) / 8))


def test_maps_are_those_of_mmpose(rng):
    points = rng.uniform(10, 40, (1, 17, 2)).astype(np.float32)
    expected, _ = generate_unbiased_gaussian_heatmaps((56, 56), points, np.ones((1, 17)), 2.0)
    maps = draw_heatmaps(torch.from_numpy(points), 56, 2.0)[0].numpy()
    drawn = expected > 0  # MMPose cuts off at 3 sigma
    assert np.abs(maps - expected)[drawn].max() < 1e-5 and maps[~drawn].max() < np.exp(-4.4)


def test_one_sigma_for_each_sample():
    points = torch.rand(3, 4, 2) * 20
    together = draw_heatmaps(points, 20, torch.tensor([1., 2., 3.]))
    for i in range(3):
        torch.testing.assert_close(together[i:i + 1], draw_heatmaps(points[i:i + 1], 20, i + 1.))


def test_what_is_not_seen():
    points = torch.tensor([[[5., 5.], [np.nan, 5.], [-2., 5.], [-500., 1e30], [5., 5.]]])
    maps = draw_heatmaps(points, 10, 2.0, torch.tensor([[1., 1., 1., 1., 0.]]))[0]
    assert maps.isfinite().all() and not maps[[1, 3, 4]].any()
    assert maps[2].argmax() == 50 and maps[2].max().item() == pytest.approx(np.exp(-0.5))


@pytest.mark.parametrize('shape', [(4, 2), (1, 4, 3)])
def test_wrong_points(shape):
    with pytest.raises(ValueError, match=r'points: expected shape \(B, K, 2\)'):
        draw_heatmaps(torch.zeros(shape), 8, 2.0)
    with pytest.raises(ValueError, match='points, faces: expected shapes'):
        silhouettes(torch.zeros(shape), torch.zeros(1, 3, dtype=torch.long), 8)


@pytest.mark.parametrize('sigma', [0, -1.0, float('nan')])
def test_wrong_sigma(sigma):
    with pytest.raises(ValueError, match='sigma: expected map pixels above 0'):
        draw_heatmaps(torch.zeros(1, 1, 2), 8, sigma)


def test_mask_of_a_square():
    square = torch.tensor([[1., 2.], [4., 2.], [4., 6.], [1., 6.]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    points = torch.stack([square, square + 100, square - 3, square[[0, 3, 2, 1]]])
    mask = silhouettes(points, faces, 8)[:, 0]
    expected = torch.zeros(8, 8)
    expected[2:6, 1:4] = 1
    assert (mask[0] == expected).all() and (mask[3] == expected).all()  # seen from behind as well
    assert not mask[1].any()
    assert mask[2].sum() == 3 and mask[2, :3, 0].all()  # what is left of it inside


@pytest.mark.parametrize('size', [56, 112, 224])
def test_mask_is_that_of_the_rasteriser(size, rng):
    body = BodyModel.stand_in()
    vertices, _ = body(torch.randn(2, body.num_shapes), torch.eye(3).expand(2, 24, 3, 3))
    points = vertices[..., :2] * vertices.new_tensor([1, -1]) * size / 2 + size / 2
    mask = silhouettes(points, body.faces, size)
    for i in range(2):  # pixel i of a map shows coordinate i, that of a picture i + 0.5
        raster = rasterize(points[i].numpy() + 0.5, np.ones(len(vertices[i])),
                           body.faces.numpy(), (size, size))
        expected, found = raster.face >= 0, mask[i, 0].numpy() > 0
        assert expected.sum() > 0.1 * size**2
        assert (expected & found).sum() >= 0.999 * (expected | found).sum()


def test_keypoints_of_coco():
    body = BodyModel.stand_in()
    vertices, joints = body(torch.zeros(1, body.num_shapes), torch.eye(3).expand(1, 24, 3, 3))
    points = CocoKeypoints(body)(vertices, joints)[0]
    left, right = points[1::2], points[2::2]  # COCO: the nose, then pairs from the eyes down
    mirror = torch.tensor([-1., 1., 1.])
    assert (left[:, 0] > 0.02).all()  # the body's left is +x
    torch.testing.assert_close(left, right * mirror, atol=2e-3, rtol=0)
    assert (left[1:, 1].diff()[[0, -1]] < 0).all() and points[0, 2] == points[:, 2].max()
    torch.testing.assert_close(left[2:], joints[0, [16, 18, 20, 1, 4, 7]])


def test_keypoints_need_the_numbers_of_smpl():
    small = BodyModel.from_arrays(np.zeros((60, 3)), np.zeros((60, 3, 2)), np.zeros((60, 3, 207)),
                                  np.zeros((24, 60)), np.zeros((60, 24)), [-1] + [0] * 23)
    with pytest.raises(ValueError, match="SMPL's vertex numbers .at least 6261.* found 60"):
        CocoKeypoints(small)
