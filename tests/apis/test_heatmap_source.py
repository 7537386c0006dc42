"""Heatmaps of 2D models as the input of mesh models: geometry against MMPose's codecs, errors."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.codecs import MSRAHeatmap, UDPHeatmap
from mmpose.structures.bbox import get_udp_warp_matrix, get_warp_matrix

from mmpose_lift.apis.command_line import load_config
from mmpose_lift.apis.heatmap_source import HeatmapSource, square_crops
from mmpose_lift.compat.model_index import find_model
from mmpose_lift.models.virtual_views import VirtualViewPreprocessor
from mmpose_lift.rendering.people import TwoPeopleVideo

SIZE = 112


@pytest.fixture(scope='module')
def source():
    return HeatmapSource('rendered_human', device='cpu', size=SIZE)


@pytest.fixture(scope='module')
def rendered():
    """A picture of two rendered people, and their boxes."""
    video = TwoPeopleVideo(seed=3, num_frames=4, fps=10)
    return next(iter(video)), video.boxes[:, 0]


def peaks(maps):
    """(n, K, 2) middles of the maps' values, x and y in their pixels."""
    maps = maps.double().numpy()
    grid = np.arange(maps.shape[-1])
    total = maps.sum((-1, -2))
    return np.stack([(maps.sum(-2) * grid).sum(-1), (maps.sum(-1) * grid).sum(-1)],
                    axis=-1) / total[..., None]


@pytest.mark.parametrize('codec', [
    UDPHeatmap((144, 192), (36, 48), sigma=1.5),
    MSRAHeatmap((144, 192), (36, 48), 1.5, unbiased=True),
    MSRAHeatmap((256, 128), (64, 32), 2., unbiased=True),
    UDPHeatmap((144, 192), (36, 48), heatmap_type='combined')])
def test_maps_land_where_the_codec_drew_them(source, codec, monkeypatch, rng):
    """Wide and tall crops, both conventions: keypoints in the picture are found again."""
    keypoints = np.array([[200, 150]]) + rng.uniform(-40, 40, (2, 17, 2))
    boxes = np.concatenate([keypoints.min(1) - 60, keypoints.max(1) + 60], axis=1)
    ratio = codec.input_size[0] / codec.input_size[1]

    def predict(items):
        samples = []
        for points, item in zip(keypoints, items):
            x1, y1, x2, y2 = item['bbox'][0]
            center = np.array([x1 + x2, y1 + y2]) / 2
            side = max(x2 - x1, (y2 - y1) * ratio) * 1.25
            scale = np.array([side, side / ratio])
            warp = (get_udp_warp_matrix if isinstance(codec, UDPHeatmap) else get_warp_matrix)(
                center, scale, 0, output_size=codec.input_size)
            maps = codec.encode(cv2.transform(points[None], warp).astype(np.float32))['heatmaps']
            sample = type('Sample', (), {})()
            sample.metainfo = dict(input_center=center, input_scale=scale)
            sample.pred_instances = InstanceData(keypoints=points[None],
                                                 keypoint_scores=np.ones((1, 17)))
            sample.pred_fields = PixelData(heatmaps=torch.as_tensor(maps))
            samples.append(sample)
        return samples

    monkeypatch.setattr(source, '_predict', predict)
    monkeypatch.setattr(source, '_decoder', codec)
    monkeypatch.setattr(source, 'margin', 0.5)  # nothing is cut off
    views = source.views([None, None], boxes.astype(np.float32))
    assert views.maps.shape == (2, 17, SIZE, SIZE)
    assert views.maps.min() >= 0 and views.maps.max() <= 1
    step = views.trans_inv[:, None, [0, 1], [0, 1]]
    found = peaks(views.maps) * step + views.trans_inv[:, None, :, 2]
    pixel = 1.25 * (boxes[:, 2:] - boxes[:, :2]).max() / 48  # of the small maps
    whole = isinstance(codec, UDPHeatmap)  # draws around whole pixels
    np.testing.assert_allclose(found, keypoints, atol=pixel * (0.6 if whole else 0.1))
    assert np.abs((found - keypoints).mean((0, 1))).max() < 0.1 * pixel  # no shift


def test_maps_of_a_network_have_their_peaks_at_its_keypoints(source, rendered):
    image, boxes = rendered
    views = source.views([image, image], boxes.astype(np.float32))
    flat = views.maps.flatten(2)
    place = flat.argmax(-1).numpy()
    pixels = np.stack([place % SIZE, place // SIZE], axis=-1)
    step = views.trans_inv[:, None, [0, 1], [0, 1]]
    found = pixels * step + views.trans_inv[:, None, :, 2]
    seen = views.keypoints[..., 2] > 0.3
    distance = np.linalg.norm(found - views.keypoints[..., :2], axis=-1) / step[..., 0]
    assert seen.sum() > 20 and np.median(distance[seen]) < 1.5  # map pixels; a net's own is 2.4
    np.testing.assert_allclose(flat.amax(-1).numpy()[seen], views.keypoints[..., 2][seen],
                               atol=0.1)
    alone = source.views([image], boxes[1:].astype(np.float32))
    torch.testing.assert_close(alone.maps[0], views.maps[1], atol=1e-4, rtol=0)


def test_drawn_maps_and_the_square_are_those_of_pre_training(source, rendered, monkeypatch):
    """The crop that VirtualViewPreprocessor takes at test time; Gaussians at the keypoints."""
    image, boxes = rendered
    monkeypatch.setattr(source, 'heatmaps', 'drawn')
    monkeypatch.setattr(source, 'min_score', -1.)
    views = source.views([image], boxes[:1].astype(np.float32))
    preprocessor = VirtualViewPreprocessor('stand_in', heatmap_size=SIZE)
    points = torch.as_tensor(views.keypoints[..., :2])
    corner, side = preprocessor._crop(points, training=False)
    np.testing.assert_allclose(views.trans_inv[0, :, 2], corner[0, 0], rtol=1e-4)
    np.testing.assert_allclose(views.trans_inv[0, 0, 0], side.item() / SIZE, rtol=1e-5)
    expected = preprocessor._draw((points - corner) * SIZE / side, training=False)
    torch.testing.assert_close(views.maps, expected, atol=1e-3, rtol=0)
    monkeypatch.setattr(source, 'min_score', 2.)
    assert not source.views([image], boxes[:1].astype(np.float32)).maps.any()


def test_the_square_without_joints_is_that_of_the_box():
    keypoints = np.full((3, 17, 3), 50., np.float32)
    keypoints[0, :, 2], keypoints[1:, :, 2] = 0.1, 0.9
    keypoints[2, 0, :2] = [10, 90]
    boxes = np.array([[100, 20, 160, 220]] * 3, np.float32)
    trans_inv = square_crops(keypoints, boxes, size=100, margin=0.25)
    np.testing.assert_allclose(trans_inv[:, 0, 0], [3, 0.3, 0.6])
    np.testing.assert_allclose(trans_inv[:, :, 2], [[-20, -30], [35, 35], [0, 40]], atol=1e-5)


@pytest.fixture
def config(tmp_path):
    """A file with the 2D model of this package, to be changed."""
    def write(**changes):
        config = load_config(find_model('rendered_human')['Config'])
        config.merge_from_dict(changes)
        config.dump(tmp_path / 'model_2d.py')
        return str(tmp_path / 'model_2d.py')
    return write


SIMCC = {'model.head': dict(
    _delete_=True, type='SimCCHead', in_channels=128, out_channels=17, input_size=(144, 192),
    in_featuremap_size=(9, 12), deconv_out_channels=None,
    loss=dict(type='KLDiscretLoss', use_target_weight=True),
    decoder=dict(type='SimCCLabel', input_size=(144, 192), sigma=6., simcc_split_ratio=2.))}


def test_models_without_heatmaps_can_be_drawn(config, rendered):
    simcc = config(**SIMCC)
    with pytest.raises(ValueError, match="SimCCHead gives no heatmaps.*td-hm_.*heatmaps='drawn'"):
        HeatmapSource(simcc, device='cpu', allow_random_weights=True)
    source = HeatmapSource(simcc, device='cpu', allow_random_weights=True, heatmaps='drawn',
                           size=56, min_score=0.)
    image, boxes = rendered
    views = source.views([image, image], boxes.astype(np.float32))
    assert views.maps.shape == (2, 17, 56, 56) and views.maps.amax((-1, -2)).min() > 0.5


@pytest.mark.parametrize('changes, message', [
    (dict(data_mode='bottomup'), 'finds people by itself'),
    ({'train_dataloader.dataset.type': 'Human36mDataset'},
     "no joint for .*nose.* of 'coco'.*choose another 2D model")])
def test_other_models_are_refused(config, changes, message):
    with pytest.raises(ValueError, match=message):
        HeatmapSource(config(**changes), device='cpu', allow_random_weights=True)


def test_options_out_of_range():
    with pytest.raises(ValueError, match='heatmaps: expected one of network, drawn, found'):
        HeatmapSource('rendered_human', device='cpu', heatmaps='painted')
