"""The pre-training input against the numpy cameras, from files to scores, and on wrong input."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mmpose_lift.datasets import BodyMotionDataset
from mmpose_lift.evaluation import MeshMetric
from mmpose_lift.geometry import axis_angle_to_matrix, h36m_cameras, joint_map
from mmpose_lift.geometry.uvd import crop_to_image
from mmpose_lift.io.body_motion import BodyMotion, write_body_motion
from mmpose_lift.models import VirtualViewPreprocessor
from mmpose_lift.models.body import BodyModel, CocoKeypoints

SIZE = 56
CAMERAS = h36m_cameras(['S1'])
ARRAYS = ('rotation', 'position', 'focal', 'center', 'radial', 'tangential')


@cache
def body():
    return BodyModel.stand_in()


def make_sample(i: int, camera=None) -> dict:
    """What the data set of body motion gives: a person near the floor's middle, upright."""
    rng = np.random.default_rng(i)
    camera = CAMERAS[i % 4] if camera is None else camera
    poses = rng.normal(size=(24, 3)) * 0.2
    poses[0] = [np.pi / 2, 0, 0] + rng.normal(size=3) * 0.2
    inputs = dict(poses=poses, betas=rng.normal(size=body().num_shapes), trans=rng.normal(size=3),
                  **{name: getattr(camera, name) for name in ARRAYS})
    inputs['trans'][2] = 1.2
    sample = PoseDataSample(metainfo=dict(id=i, img_path=f'clip.npz#{i}', camera=camera.name,
                                          action=''))
    return dict(inputs={name: np.asarray(array, np.float32) for name, array in inputs.items()},
                data_samples=sample)


def make_batch(count: int = 3) -> dict:
    return pseudo_collate([make_sample(i) for i in range(count)])


def run(training=False, count=3, **options):
    """(B, ...) maps and the samples."""
    options.setdefault('body_model', body())
    out = VirtualViewPreprocessor(heatmap_size=SIZE, **options)(make_batch(count), training)
    return out['inputs'], out['data_samples']


def stacked(samples, name):
    return torch.cat([sample.gt_instance_labels[name] for sample in samples])


def expected_view(i: int):
    """Vertices, 14 joints and COCO keypoints in camera axes, by way of the world, in numpy."""
    inputs = {name: torch.from_numpy(array[None])
              for name, array in make_sample(i)['inputs'].items()}
    rotmats = torch.from_numpy(axis_angle_to_matrix(inputs['poses'].double().numpy())).float()
    vertices, joints = body()(inputs['betas'], rotmats)
    pelvis = (body().h36m_joints(vertices) + inputs['trans'])[0, 0].double().numpy()
    shift = inputs['trans'].double().numpy() - [pelvis[0], pelvis[1], 0]
    points = (vertices, body().h36m_joints(vertices), CocoKeypoints(body())(vertices, joints))
    return [CAMERAS[i % 4].world_to_camera(part[0].double().numpy() + shift) for part in points]


def test_labels_are_those_of_the_world():
    maps, samples = run()
    assert maps.shape == (3, 17, SIZE, SIZE)
    for i, sample in enumerate(samples):
        vertices, h36m, coco = expected_view(i)
        joints = h36m[list(joint_map('h36m', 'lsp_14'))]
        labels, truth = sample.gt_instance_labels, sample.gt_instances
        np.testing.assert_allclose(labels.target_vertices[0], vertices - h36m[0], atol=2e-6)
        np.testing.assert_allclose(labels.target_joints[0], joints - h36m[0], atol=2e-6)
        np.testing.assert_allclose(truth.gt_h36m_joints[0], h36m - h36m[0], atol=2e-6)
        pixels, uv = CAMERAS[i % 4].project(joints), labels.target_keypoints[0] / 2
        np.testing.assert_allclose(crop_to_image(uv.numpy(), sample.trans_inv, sample.input_size),
                                   pixels, atol=2e-3)
        assert labels.target_keypoints_weight.all() and labels.target_body_weight.all()
        x1, y1, x2, y2 = truth.bboxes[0]
        keypoints = CAMERAS[i % 4].project(coco)
        side = np.ptp(keypoints, 0).max() * 1.35  # a margin of 0.175, the middle of the range
        middle = (keypoints.min(0) + keypoints.max(0)) / 2
        np.testing.assert_allclose([x2 - x1, y2 - y1], side, rtol=1e-5)
        np.testing.assert_allclose([(x1 + x2) / 2, (y1 + y2) / 2], middle, rtol=1e-5)
        # the peak of each map is at its keypoint, to the next pixel
        peaks = np.stack(np.unravel_index(maps[i].flatten(1).argmax(1), (SIZE, SIZE))[::-1], 1)
        assert np.abs(peaks - (keypoints - [x1, y1]) * SIZE / side).max() < 0.501
        matrix = np.linalg.inv(sample.intrinsic_inv)
        camera = CAMERAS[i % 4]
        np.testing.assert_allclose(matrix, [[camera.focal[0], 0, camera.center[0]],
                                            [0, camera.focal[1], camera.center[1]],
                                            [0, 0, 1]], rtol=1e-5)


def test_truth_of_a_file_is_scored_as_perfect(tmp_path, rng):
    poses = rng.normal(size=(3, 72)) * 0.2
    motion = BodyMotion(poses, rng.normal(size=16), rng.normal(size=(3, 3)), fps=60)
    write_body_motion(tmp_path / 'motion_poses.npz', motion)
    dataset = BodyMotionDataset(str(tmp_path), views='unseen', all_views=True)
    batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    out = VirtualViewPreprocessor(body(), SIZE)(batch)
    assert out['inputs'].shape == (3 * 8, 17, SIZE, SIZE)
    for sample in out['data_samples']:
        vertices = sample.gt_instance_labels.target_vertices
        sample.pred_instances = InstanceData(vertices=vertices,
                                             h36m_joints=body().h36m_joints(vertices))
    metric = MeshMetric(body_model=body())
    metric.process(None, [sample.to_dict() for sample in out['data_samples']])
    scores = metric.compute_metrics(metric.results)
    assert scores['MPJPE'] < 1e-3 and scores['PVE'] < 1e-3  # mm


def test_training_draws_the_crop_and_the_same_numbers_twice():
    torch.manual_seed(0)
    maps, samples = run(True, shift=0.1)
    torch.manual_seed(0)
    again, _ = run(True, shift=0.1)
    assert torch.equal(maps, again) and not torch.equal(maps, run(True, shift=0.1)[0])
    sides = [np.ptp(sample.gt_instances.bboxes[0, ::2]) for sample in samples]
    plain = [np.ptp(sample.gt_instances.bboxes[0, ::2]) / 1.35 for sample in run()[1]]
    assert all(1.2 * p <= side <= 1.5 * p for p, side in zip(plain, sides))
    assert torch.equal(run(False, shift=0.1, jitter=2., missing=.5, noise=.1)[0], run()[0])


def test_augmentation_leaves_the_labels_alone():
    options = dict(margin=0.2)
    maps, samples = run(True, **options)
    for augmentation in (dict(jitter=2.0), dict(missing=0.5), dict(noise=0.1),
                         dict(sigma=(2.5, 4))):
        changed, others = run(True, **options, **augmentation)
        assert not torch.allclose(changed, maps) and 0 <= changed.min() <= changed.max() <= 1
        for name in ('target_vertices', 'target_joints', 'target_keypoints'):
            assert torch.equal(stacked(others, name), stacked(samples, name))
    assert not run(True, missing=1.0)[0].any()
    assert (changed.sum((2, 3)) > maps.sum((2, 3))).all()  # a larger sigma, in every sample
    share = (run(True, 32, missing=0.3)[0].amax((2, 3)) == 0).float().mean().item()
    assert 0.2 < share < 0.4


def test_joints_outside_the_crop_have_no_weight():
    _, samples = run(True, 16, margin=0.0, shift=0.3)
    keypoints = stacked(samples, 'target_keypoints')
    inside = (keypoints.abs() <= 1).all(-1)
    assert not inside.all() and inside.any()
    assert torch.equal(stacked(samples, 'target_keypoints_weight') > 0, inside)
    assert stacked(samples, 'target_joints_weight').all()


def test_mask():
    masks, samples = run(input='mask')
    assert masks.shape == (3, 1, SIZE, SIZE) and set(masks.unique().tolist()) == {0, 1}
    points = ((stacked(samples, 'target_keypoints') + 1) / 2 * SIZE).round().long()
    assert all(masks[i, 0, y, x] == 1 for i in range(3) for x, y in points[i])
    noisy = run(True, input='mask', noise=0.2)[0]
    assert 0 == noisy.min() and noisy.max() == 1 and len(noisy.unique()) > 100


def test_weak_perspective_explains_the_keypoints():
    _, samples = run(count=4)
    joints, keypoints = stacked(samples, 'target_joints'), stacked(samples, 'target_keypoints')
    xy, uv = joints[..., :2], keypoints - keypoints.mean(1, keepdim=True)
    xy = xy - xy.mean(1, keepdim=True)
    scale = (xy * uv).sum((1, 2)) / xy.square().sum((1, 2))
    # what is left is perspective, up to 0.8 (of the crop) * 0.8 m / 4 m; wrong axes leave more
    assert (scale > 0.5).all() and (uv - scale[:, None, None] * xy).abs().max() < 0.16


def test_mixed_precision_changes_nothing():
    maps, samples = run()
    with torch.autocast('cpu', torch.bfloat16):
        again, others = run()
    assert torch.equal(again, maps)
    for name in ('target_vertices', 'target_keypoints'):
        assert torch.equal(stacked(others, name), stacked(samples, name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('kind', ['heatmaps', 'mask'])
def test_device(kind):
    maps, samples = run(input=kind)
    on_gpu = VirtualViewPreprocessor('stand_in', SIZE, input=kind).to('cuda')
    out = on_gpu(make_batch(), False)
    assert out['inputs'].is_cuda
    assert (out['inputs'].cpu() - maps).abs().mean() < 1e-4  # a mask may differ in some pixels
    labels = [stacked(s, 'target_vertices') for s in (samples, out['data_samples'])]
    torch.testing.assert_close(labels[0], labels[1].cpu(), atol=1e-5, rtol=0)
    assert isinstance(out['data_samples'][0].gt_instances.bboxes, np.ndarray)


def test_maps_that_are_given_pass():
    preprocess = MODELS.build(dict(type='VirtualViewPreprocessor', body_model='not_there.npz'))
    maps = [torch.rand(17, 8, 8) for _ in range(2)]
    samples = [PoseDataSample() for _ in range(2)]
    for inputs in (maps, torch.stack(maps).double()):
        out = preprocess(dict(inputs=inputs, data_samples=samples))
        torch.testing.assert_close(out['inputs'], torch.stack(maps))
        assert len(out['data_samples']) == 2
    assert preprocess(dict(inputs=maps))['data_samples'] is None
    for wrong in ([maps[0], torch.rand(17, 9, 9)], maps[0], [torch.rand(8, 8)], []):
        with pytest.raises(ValueError, match='expected maps of one shape .K, S, S. for all'):
            preprocess(dict(inputs=wrong))


def test_nothing_is_saved_and_only_the_bodys_shapes_are_used():
    preprocess = VirtualViewPreprocessor(body(), SIZE)
    assert not preprocess.state_dict()
    batch = make_batch()
    expected = preprocess(make_batch())['inputs']
    batch['inputs']['betas'] = [np.append(betas, [9, 9]) for betas in batch['inputs']['betas']]
    assert torch.equal(preprocess(batch)['inputs'], expected)


def test_a_body_behind_or_around_its_camera():
    at_person = replace(CAMERAS[0], position=[0, 0, 1.2])
    away = replace(CAMERAS[0], rotation=np.diag([-1, 1, -1]) @ CAMERAS[0].rotation)
    for camera in (at_person, away):
        batch = pseudo_collate([make_sample(0), make_sample(1, replace(camera, name='mine'))])
        with pytest.raises(ValueError, match=r'clip.npz#1: seen by camera mine the body comes as '
                                             r'near as -\d\.\d+ m, expected at least 0.1 m'):
            VirtualViewPreprocessor(body(), SIZE)(batch)


def test_wrong_arrays():
    preprocess = VirtualViewPreprocessor(body(), SIZE)
    batch = make_batch()
    batch['inputs']['betas'][1] = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match=r'clip.npz#1: betas must have shape \(10,\) .* found'):
        preprocess(batch)
    batch = make_batch()
    del batch['inputs']['focal']
    with pytest.raises(ValueError, match='found none of focal; is the data set one of body'):
        preprocess(batch)
    batch = make_batch()
    batch['inputs']['poses'][2][5] = np.nan
    with pytest.raises(ValueError, match='clip.npz#2: seen by .* nan m'):
        preprocess(batch)


def test_bodies_that_lack_something():
    arrays = dict(v_template=np.zeros((6890, 3)), shapedirs=np.zeros((6890, 3, 10)),
                  posedirs=np.zeros((6890, 3, 207)), J_regressor=np.zeros((24, 6890)),
                  lbs_weights=np.eye(24)[np.zeros(6890, int)], parents=[-1] + [0] * 23)
    with pytest.raises(ValueError, match="input='mask' needs a body model with faces"):
        run(body_model=arrays, input='mask')
    with pytest.raises(ValueError, match='no regressor for the 17 joints'):
        run(body_model=arrays)


@pytest.mark.parametrize('options, found', [
    (dict(input='depth'), "input must be 'heatmaps' or 'mask', found 'depth'"),
    (dict(input='mask', jitter=1.0), 'jitter and missing are of keypoints'),
    (dict(missing=1.5), 'missing must be a probability, 0 to 1, found 1.5'),
    (dict(noise=-1.0), 'noise must be 0 or more, found -1.0'),
    (dict(sigma=0.0), 'sigma must be a number above 0'),
    (dict(sigma=(3, 2)), r'sigma must be .* found \(3, 2\)'),
    (dict(margin=-0.1), 'margin must be a number of 0 or more'),
    (dict(heatmap_size=0), 'heatmap_size must be pixels above 0')])
def test_wrong_options(options, found):
    with pytest.raises(ValueError, match=found):
        VirtualViewPreprocessor(body(), **options)
