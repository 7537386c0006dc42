"""The estimator of body meshes, from pictures to predictions."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from mmpose.utils import register_all_modules

import mmpose_lift  # noqa: F401  (registration)
from mmpose_lift.geometry import get_skeleton
from mmpose_lift.geometry.uvd import crop_to_image
from mmpose_lift.models.body import BodyModel


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


def build(body, **kwargs):
    register_all_modules()
    torch.manual_seed(0)
    return MODELS.build(dict(
        type='BodyMeshEstimator',
        data_preprocessor=dict(type='PoseDataPreprocessor', mean=[103.53, 116.535, 122.4],
                               std=[57.375, 57.12, 58.395], bgr_to_rgb=True),
        backbone=dict(type='ResNet', depth=18),
        head=dict(type='HybrIKTransformerHead', in_channels=512, feat_size=2, d_model=16,
                  layer_width=16, num_blocks=1, num_heads=2, body_model=body, input_size=64),
        **kwargs))


def batch(count=2) -> dict:
    angle = 0.4
    turn = 5 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    data_samples = []
    for _ in range(count):
        sample = PoseDataSample(metainfo=dict(
            trans_inv=np.concatenate([turn, [[100], [80]]], 1), depth_factor=2.0,
            intrinsic_inv=np.linalg.inv([[800., 0, 300], [0, 800, 200], [0, 0, 1]]),
            input_size=(64, 64), input_center=np.array([250., 240.]),
            input_scale=np.array([320., 320.])))
        sample.gt_instances = InstanceData(bboxes=np.array([[90., 80, 410, 400]]),
                                           bbox_scores=np.ones(1))
        data_samples.append(sample)
    images = torch.randint(0, 256, (count, 3, 64, 64), dtype=torch.uint8)
    return dict(inputs=list(images), data_samples=data_samples)


def test_pictures_to_predictions(body):
    model, data = build(body).eval(), batch()
    samples = model.test_step(data)
    assert len(samples) == 2
    uvd = model(model.data_preprocessor(data)['inputs'], None, mode='tensor')['pred_uvd_jts']
    for sample, uv in zip(samples, uvd[..., :2]):
        pred = sample.pred_instances
        shapes = {key: tuple(value.shape) for key, value in pred.items()}
        assert shapes == dict(
            betas=(1, 10), rotmats=(1, 24, 3, 3), joints=(1, 24, 3), h36m_joints=(1, 17, 3),
            vertices=(1, body.num_vertices, 3), root=(1, 3), transl=(1, 3), keypoints=(1, 24, 2),
            keypoint_scores=(1, 24), keypoints_visible=(1, 24), bboxes=(1, 4), bbox_scores=(1, ))
        # the crop is turned: its whole affine map is undone, not only its scale
        expected = crop_to_image(uv.detach().numpy(), sample.metainfo['trans_inv'], 64)
        np.testing.assert_allclose(pred.keypoints[0], expected, rtol=1e-3, atol=1e-2)


def test_channels_are_normalised_as_published(body):
    data = build(body).data_preprocessor(dict(batch(1), inputs=[
        torch.tensor([30., 20, 10]).view(3, 1, 1).expand(3, 64, 64)]))  # blue, green, red
    expected = (np.array([10, 20, 30]) / 255 - [0.406, 0.457, 0.480]) / [0.225, 0.224, 0.229]
    np.testing.assert_allclose(data['inputs'][0, :, 0, 0], expected, rtol=1e-4)


def test_flip_test_sees_the_mirrored_picture(body):
    model, data = build(body, test_cfg=dict(flip_test=True)).eval(), batch(1)
    first = model.test_step(data)[0].pred_instances
    # A mirrored picture gives the mirrored joints of the crop: u -> -u, left and right swapped.
    mirrored = dict(batch(1), inputs=[data['inputs'][0].flip(-1)])
    second = model.test_step(mirrored)[0].pred_instances
    inverse = np.linalg.inv(mirrored['data_samples'][0].metainfo['trans_inv'][:, :2])
    u = [(inverse @ (pred.keypoints[0] - [100, 80]).T)[0] / 64 - 0.5 for pred in (first, second)]
    np.testing.assert_allclose(u[1], -u[0][list(get_skeleton('smpl').flip_indices)], atol=1e-4)
    torch.testing.assert_close(first.betas, second.betas, atol=1e-4, rtol=1e-4)


def test_empty_crop_is_finite(body):
    data = dict(batch(1), inputs=[torch.zeros(3, 64, 64, dtype=torch.uint8)])
    pred = build(body).eval().test_step(data)[0].pred_instances
    for key, value in pred.items():
        assert np.isfinite(np.asarray(value)).all(), key


def test_samples_without_boxes_and_without_vertices(body):
    data = batch(1)
    del data['data_samples'][0].gt_instances
    pred = build(body, test_cfg=dict(vertices=False)).eval().test_step(data)[0].pred_instances
    assert 'vertices' not in pred and 'bboxes' not in pred
