"""MPT in the inferencers: surfaces to bodies, heatmaps or pictures in, options that do not fit."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmpose_lift.apis import MeshInferencer, MeshPredictor, MissingWeightsError, MMPoseInferencer
from mmpose_lift.apis.mmpose_inferencer import kind_of_model
from mmpose_lift.apis.people_2d import PeopleEstimator
from mmpose_lift.io.body_surface import BodySurface
from mmpose_lift.models.body import BodyModel
from mmpose_lift.models.heads import MPTHead
from tests.body_poses_example import FOCAL, SIZE, body_poses

WIDTH, HEIGHT = SIZE
HEAD = dict(
    type='MPTHead', in_channels=17, input_size=56, stem=dict(channels=(8, 16)),
    sizes=(6890, 431, 108), upsampling='barycentric', cam_dims=8, body_model='stand_in',
    transformer=dict(type='MeshTransformer', input_dims=(19, 16), hidden_dims=(16, 16),
                     output_dims=(16, 3), intermediate_dims=(16, 16), num_layers=1, num_heads=2,
                     max_tokens=176),
    loss=dict(type='MPTLoss'))
CODEC = dict(type='MPTMeshLabel', input_size=(64, 64))


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def pretrained():
    """A model that sees heatmaps."""
    return Config(dict(model=dict(
        type='BodyMeshEstimator', head=HEAD, backbone=dict(type='HeatmapInput', size=56),
        data_preprocessor=dict(type='VirtualViewPreprocessor', body_model='stand_in',
                               heatmap_size=56, sigma=(1., 2.)))))


@pytest.fixture(scope='module')
def finetuned():
    """A model that sees pictures."""
    neck = dict(type='HeatmapHead', in_channels=64, out_channels=17, deconv_out_channels=(8, ),
                deconv_kernel_sizes=(4, ))
    return Config(dict(
        model=dict(
            type='BodyMeshEstimator', head=dict(HEAD, decoder=CODEC),
            data_preprocessor=dict(type='PoseDataPreprocessor', mean=[0.] * 3, std=[255.] * 3),
            backbone=dict(type='ResNet', depth=18, num_stages=1, strides=(1, ), dilations=(1, ),
                          out_indices=(0, )),
            neck=dict(type='PoseMapNeck', size=56, head=neck)),
        test_pipeline=[dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.25),
                       dict(type='MeshAffine', input_size=(64, 64)),
                       dict(type='GenerateTarget', encoder=CODEC), dict(type='PackMeshInputs')]))


@pytest.fixture(scope='module')
def network(pretrained, body):
    torch.manual_seed(0)
    return MeshInferencer(pretrained, device='cpu', allow_random_weights=True, body_model=body,
                          focal=FOCAL, pose2d='rendered_human')


@pytest.fixture(scope='module')
def truth(body):
    """Two people through 6 frames, person 2 from frame 2 on."""
    return body_poses(body, 4)


def pictures(frames, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (frames, HEIGHT, WIDTH, 3), np.uint8)


def boxes_of(truth):
    return [np.array([track.boxes[row] for track, row in truth.people_at(frame)])
            for frame in range(truth.num_frames)]


@pytest.fixture
def knowing(truth, body, monkeypatch):
    """A head that gives the surfaces of ``truth`` in the order of frames and people."""
    people = [(track, row) for frame in range(truth.num_frames)
              for track, row in truth.people_at(frame)]

    def predict(self, feats, samples, test_cfg=None):
        found = []
        for _ in samples:
            track, row = people.pop(0)
            vertices = torch.as_tensor(BodySurface(truth, body).vertices(track, [row]))
            pelvis = body.h36m_joints(vertices)[:, :1]
            found.append(InstanceData(vertices=vertices - pelvis, transl=pelvis[:, 0],
                                      keypoints=np.zeros((1, 14, 2)),
                                      keypoint_scores=np.ones((1, 14))))
        return found
    monkeypatch.setattr(MPTHead, 'predict', predict)


def test_surfaces_become_the_bodies_they_are_of(network, knowing, truth, body):
    poses = network.video(pictures(6), fps=25, bboxes=boxes_of(truth), same_shape=False)
    assert [track.first_frame for track in poses.tracks] == [0, 2]
    for found, true in zip(poses.tracks, truth.tracks):
        surface = BodySurface(poses, body).vertices(found)
        assert np.abs(surface - BodySurface(truth, body).vertices(true)).max() < 0.01
        np.testing.assert_allclose(found.body.joints, true.body.joints, atol=0.01)
        np.testing.assert_allclose(found.keypoints_3d, true.keypoints_3d, atol=0.005)
        np.testing.assert_allclose(found.root_position, true.root_position, atol=0.005)
        np.testing.assert_allclose(found.keypoints_2d[..., :2], true.keypoints_2d[..., :2],
                                   atol=0.5)
    assert poses.skeleton_2d == 'coco' and poses.model_2d == 'rendered_human'
    assert poses.tracks[0].keypoints.shape == (4, 17, 3)
    assert poses.notes['root depth'] == 'weak-perspective camera of the network'
    assert poses.notes['heatmaps'] == 'those of the 2D model'
    distance = float(poses.notes['body'].split()[-2])
    assert 'mean distance' in poses.notes['body'] and distance < 1


def test_heatmaps_go_in(network, truth):
    """Crops of several pictures in batches give what each gives alone; keypoints are the joints."""
    images, boxes = pictures(3), boxes_of(truth)[:3]
    together = network.predictor.estimate(images, boxes)
    assert [len(found.bodies.betas) for found in together] == [1, 1, 2]
    alone = network.predictor.estimate([images[2]], [boxes[2][1:]])[0]
    for one, other in zip(together[2].bodies[2:], alone.bodies[2:]):
        np.testing.assert_allclose(one[1:], other, rtol=1e-3, atol=2e-3)
    bodies = together[2].bodies
    np.testing.assert_allclose(bodies.roots[:, :2] / bodies.roots[:, 2:] * FOCAL
                               + np.divide(SIZE, 2), bodies.keypoints[:, 0, :2], atol=0.01)
    np.testing.assert_allclose(bodies.keypoints[..., 2],
                               np.tile(together[2].keypoints[..., 2].mean(1)[:, None], (1, 24)),
                               atol=1e-6)
    assert together[2].distances.shape == (2, ) and (together[2].distances > 0).all()
    assert network.predictor([], []) == []
    far = network.predictor.with_focal(2 * FOCAL)([images[2]], [boxes[2][1:]])[0]
    np.testing.assert_allclose(far.roots[0, 2], 2 * alone.bodies.roots[0, 2], rtol=0.05)


def test_nobody_is_nobody(network):
    poses = network.video(pictures(3), fps=25, bboxes=[np.empty((0, 4))] * 3)
    assert poses.tracks == [] and 'body' not in poses.notes


def test_pictures_go_in(finetuned, body, truth):
    torch.manual_seed(0)
    inferencer = MeshInferencer(finetuned, device='cpu', allow_random_weights=True, body_model=body)
    [(poses, _)] = inferencer.pictures([pictures(1)[0]], bboxes=boxes_of(truth)[:1])
    assert poses.skeleton_2d == 'smpl' and poses.model_2d is None and 'heatmaps' not in poses.notes
    assert np.isfinite(poses.tracks[0].body.joints).all() and 'mean distance' in poses.notes['body']
    with pytest.raises(ValueError, match='sees pictures, not heatmaps; leave .* out .heatmaps'):
        MeshInferencer(finetuned, device='cpu', heatmaps='drawn')


def test_mmpose_inferencer(pretrained, body, truth, tmp_path):
    assert kind_of_model(pretrained) == 'mesh'
    inferencer = MMPoseInferencer('rendered_human', pose3d=pretrained, device='cpu',
                                  allow_random_weights=True, body_model=body, heatmaps='drawn',
                                  det_model='whole_image')
    results = list(inferencer(list(pictures(2)), bboxes=boxes_of(truth)[:2],
                              pred_out_dir=str(tmp_path)))
    [person] = results[1]['predictions'][0]
    assert np.shape(person['keypoints']) == (17, 3) and np.shape(person['poses']) == (72, )
    assert person['betas'] and np.isfinite(person['joints']).all()
    assert len(list(tmp_path.glob('*.json'))) == 2
    [result] = inferencer(pictures(1)[0])  # the whole picture is the box
    [person] = result['predictions'][0]
    np.testing.assert_array_equal(np.ravel(person['bbox']), [0, 0, WIDTH, HEIGHT])


def test_what_does_not_fit(pretrained, finetuned, body, truth, monkeypatch):
    arguments = dict(device='cpu', allow_random_weights=True, body_model=body)
    with pytest.raises(ValueError, match="weak-perspective camera of its own.* leave 'box' out"):
        MeshPredictor(pretrained, root_depth='box', **arguments)
    with pytest.raises(ValueError, match='root_weights'):
        MeshPredictor(finetuned, root_weights='a.pth', **arguments)
    people = PeopleEstimator.__new__(PeopleEstimator)
    with pytest.raises(ValueError, match='pose2d: .* sees the heatmaps.* found a PeopleEstimator'):
        MeshInferencer(pretrained, pose2d=people, **arguments)
    masks = Config(pretrained.to_dict())
    masks.merge_from_dict({'model.backbone.channels': 1, 'model.head.in_channels': 1,
                           'model.data_preprocessor.input': 'mask'})
    with pytest.raises(ValueError, match='sees body masks'):
        MeshPredictor(masks, **arguments)
    with pytest.raises(MissingWeightsError):
        MeshInferencer(pretrained, device='cpu', body_model=body).video(pictures(2), fps=25)
    other = Config(finetuned.to_dict())
    other.model.head = dict(type='RootNetHead', in_channels=17, heatmap_size=(16, 16))
    with pytest.raises(ValueError, match='gives no bodies .its head is a RootNetHead'):
        MeshPredictor(other, device='cpu', allow_random_weights=True)
    predictor = MeshPredictor(pretrained, **arguments)
    predictor.use_2d_model(pose2d='rendered_human', device='cpu')
    with torch.no_grad():
        predictor.model.head.cam_fc3.bias.fill_(np.nan)
    with pytest.raises(ValueError, match='gives NaN or infinite values'):
        predictor(pictures(1), boxes_of(truth)[:1])
