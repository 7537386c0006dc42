"""What virtual cameras see, drawn: crops and heatmaps lie where the mesh is."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS

from mmpose_lift.apis.view_analysis import VirtualViews
from mmpose_lift.io.body_motion import BodyMotion, write_body_motion
from mmpose_lift.visualization.virtual_views import (
    _crop_picture,
    _side_picture,
    camera_ring_figure,
    virtual_view_sheet,
)


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    """A small pre-training config on made-up motion."""
    folder = tmp_path_factory.mktemp('motion')
    poses = 0.15 * np.random.default_rng(0).standard_normal((3, 72))
    poses[:, :3] = np.pi / 2, 0, 0  # upright, z up
    write_body_motion(folder / 'a.npz', BodyMotion(poses, np.zeros(10), np.ones((3, 3)), 10.))
    network = dict(type='MeshTransformer', input_dims=(19, ), hidden_dims=(8, ), output_dims=(3, ),
                   intermediate_dims=(8, ), num_layers=1, num_heads=1, max_tokens=128)
    return Config(dict(
        model=dict(
            type='BodyMeshEstimator',
            data_preprocessor=dict(type='VirtualViewPreprocessor', body_model='stand_in',
                                   heatmap_size=56),
            backbone=dict(type='HeatmapInput', size=56),
            head=dict(type='MPTHead', input_size=56, stem=dict(channels=(8, 16)),
                      body_model='stand_in', sizes=(6890, 431, 64), upsampling='barycentric',
                      transformer=network)),
        test_dataloader=dict(dataset=dict(type='BodyMotionDataset', ann_file=str(folder),
                                          views='unseen', all_views=True, test_mode=True))))


@pytest.fixture(scope='module')
def views(config, tmp_path_factory):
    init_default_scope('mmpose')
    path = tmp_path_factory.mktemp('weights') / 'small.pth'
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict()), path)
    return VirtualViews(config, str(path), 'cpu')


def covered(picture):
    return np.abs(picture.astype(int) - picture[0, 0]).sum(axis=2) > 20


def test_meshes_lie_under_their_heatmaps(views):
    """The preprocessor and the figure compute camera and crop independently of each other."""
    for view in views.see(1, 5):
        true = view.camera.world_to_camera(view.vertices)
        mask = covered(_crop_picture(view, true, views.body.faces.numpy(), (0.2, 0.2, 0.2)))
        mask = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9)))
        peaks = [np.unravel_index(m.argmax(), m.shape) for m in view.maps]
        scale = len(mask) / view.maps.shape[-1]
        inside = [mask[round(y * scale), round(x * scale)] for y, x in peaks]
        assert len(inside) == 17 and all(inside)
        assert 0.4 < np.ptp(np.nonzero(mask)[0]) / len(mask) < 0.95
        np.testing.assert_allclose(view.pelvis, view.camera.world_to_camera(
            np.array([[0, 0, view.vertices[:, 2].mean()]]))[0], atol=0.35)


def test_the_side_view_shows_depth(views):
    [view] = views.see(0, 1)
    true = view.camera.world_to_camera(view.vertices) - view.pelvis
    faces = views.body.faces.numpy()
    behind = view._replace(predicted=true + [0, 0, 0.8])  # farther away: to the right
    here, away = (covered(_side_picture(v, faces)) for v in (view._replace(predicted=true), behind))
    assert np.nonzero(away)[1].max() - len(away) / 2 > np.nonzero(here)[1].max() - len(here) / 2
    beside = view._replace(predicted=true + [0.1, 0, 0])  # towards the viewer: no change
    assert (covered(_side_picture(beside, faces)) ^ here).mean() < 0.01


def test_sheets_and_ring(config, views, tmp_path):
    faces = views.body.faces.numpy()
    seen = views.see(2, 'unseen')
    assert len(seen) == 8 and all(np.isfinite(view.error) for view in seen)
    virtual_view_sheet(tmp_path / 'with.png', seen[:2], faces, views.name(2))
    without = VirtualViews(config, device='cpu').see(2, 2)
    assert without[0].predicted is None
    virtual_view_sheet(tmp_path / 'without.png', without, faces)
    camera_ring_figure(tmp_path / 'ring.png')
    heights = [cv2.imread(str(tmp_path / name)).shape[0] for name in ('with.png', 'without.png')]
    assert heights[0] > 1.5 * heights[1]
    assert np.ptp(cv2.imread(str(tmp_path / 'ring.png'))) > 200


def test_what_cannot_be_seen(config, views, tmp_path):
    with pytest.raises(ValueError, match='sample: expected 0 to 2 .*found 3'):
        views.see(3)
    with pytest.raises(ValueError, match='views: expected at least one camera'):
        virtual_view_sheet(tmp_path / 'a.png', [], views.body.faces.numpy())
    with pytest.raises(ValueError, match="suffix '.docx'"):
        camera_ring_figure(tmp_path / 'a.docx')
    other = Config(config.to_dict())
    other.model.data_preprocessor = dict(type='PoseDataPreprocessor')
    with pytest.raises(ValueError, match='found PoseDataPreprocessor'):
        VirtualViews(other)
