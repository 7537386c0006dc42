"""Bodies of people in videos and pictures, with a network that knows the answer and a real one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis import (
    MeshInferencer,
    MeshPredictor,
    MissingWeightsError,
    MMPoseInferencer,
    Stages,
)
from mmpose_lift.apis.body_networks import Bodies, Estimates
from mmpose_lift.apis.body_tracks import BodyPoser, fill_bodies, smooth_bodies
from mmpose_lift.apis.mesh_predictor import _body_source
from mmpose_lift.apis.mmpose_inferencer import kind_of_model
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.io.body_surface import BodySurface
from mmpose_lift.io.exporters import read_json
from mmpose_lift.models.body import BodyModel, FoldedJoints
from mmpose_lift.visualization import MeshScene
from tests.body_poses_example import FOCAL, SIZE, body_poses, random_rotmats
from tests.smpl_files import make_regressor, make_smpl

WIDTH, HEIGHT = SIZE


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def truth(body):
    """Two people through 20 frames, person 2 from frame 2 on."""
    return body_poses(body, 18)


@pytest.fixture(scope='module')
def config(root_dir):
    """A small HybrIK-Transformer with the stand-in body; a copy of it can be changed."""
    config = Config.fromfile(root_dir / 'configs/body_3d_mesh/hybrik_transformer/rendered/'
                             'img-mesh_hybrik-transformer-res18-w32_1xb32_rendered-meshes.py')
    config.merge_from_dict({
        'model.backbone.init_cfg': None, 'model.head.d_model': 32, 'model.head.layer_width': 32,
        'model.head.num_blocks': 1, 'model.backbone.stem_channels': 8,
        'model.backbone.base_channels': 8, 'model.head.in_channels': 32})
    return config


@pytest.fixture(scope='module')
def network(config, body):
    torch.manual_seed(0)
    return MeshInferencer(config, device='cpu', allow_random_weights=True, body_model=body,
                          focal=FOCAL)


def pictures(frames):
    """Frames (T, H, W, 3) whose upper left corner holds their number."""
    video = np.full((frames, HEIGHT, WIDTH, 3), 90, np.uint8)
    video[:, :8, :8] = np.arange(frames)[:, None, None, None]
    return video


def boxes_of(truth, hidden=()):
    """Boxes of each frame; ``hidden`` are pairs of frame and track_id."""
    return [np.array([track.boxes[row] for track, row in truth.people_at(frame)
                      if (frame, track.track_id) not in hidden]).reshape(-1, 4)
            for frame in range(truth.num_frames)]


@pytest.fixture
def knowing(network, truth, monkeypatch):
    """An inferencer whose network gives the bodies of ``truth``, found by frame and box."""
    def predict(self, images, boxes):
        found = []
        for image, own in zip(images, boxes):
            people, rows = truth.people_at(int(image[4, 4, 0])), []
            for box in own:
                track, row = min(people, key=lambda p: np.abs(p[0].boxes[p[1]] - box[:4]).sum())
                rows.append((track.body.betas[row], track.body.rotmats[row],
                             track.body.joints[row, 0], track.keypoints[row]))
            shapes = (10, ), (24, 3, 3), (3, ), (24, 3)
            bodies = Bodies(*(np.array(column, np.float32).reshape(-1, *shape) for
                              shape, column in zip(shapes, zip(*rows) if rows else [()] * 4)))
            found.append(Estimates(bodies, np.full(len(own), np.nan), bodies.keypoints))
        return found
    monkeypatch.setattr(MeshPredictor, 'estimate', predict)
    return network


def same_bodies(found, truth, rows=slice(None), atol=1e-4):
    assert [t.first_frame for t in found.tracks] == [t.first_frame for t in truth.tracks]
    for one, other in zip(found.tracks, truth.tracks):
        for name in ('betas', 'rotmats', 'transl', 'joints'):
            np.testing.assert_allclose(getattr(one.body, name)[rows],
                                       getattr(other.body, name)[rows], atol=atol, err_msg=name)
        for name in ('keypoints_3d', 'root_position'):
            np.testing.assert_allclose(getattr(one, name)[rows], getattr(other, name)[rows],
                                       atol=atol, err_msg=name)
        np.testing.assert_allclose(one.keypoints_2d[rows], other.keypoints_2d[rows], atol=0.05)


def test_a_video_gives_each_person_its_body(knowing, truth, body):
    found = knowing.video(pictures(20), fps=25, bboxes=boxes_of(truth))
    same_bodies(found, truth)
    assert found.skeleton_2d == 'smpl' and found.skeleton == 'h36m' and found.focal == FOCAL
    assert found.model_2d is None and found.detector == 'given boxes'
    assert 'focal length 300 px given' in found.notes['camera']
    assert found.notes['weights'] == 'random: the result means nothing'
    track = found.tracks[1]
    vertices = BodySurface(found, body).vertices(track, [3])
    joints = body.h36m_joints(torch.as_tensor(vertices)).numpy()[0]
    np.testing.assert_allclose(joints, (track.keypoints_3d + track.root_position[:, None])[3],
                               atol=1e-5)


def test_gaps_are_filled_along_the_way(knowing, truth):
    hidden = [(8, 1), (9, 1), (10, 1)]
    found = knowing.video(pictures(20), fps=25, bboxes=boxes_of(truth, hidden))
    track, whole = found.tracks[0], truth.tracks[0]
    assert (~track.detected).nonzero()[0].tolist() == [8, 9, 10]
    seen = track.detected
    np.testing.assert_allclose(track.body.rotmats[seen], whole.body.rotmats[seen], atol=1e-6)
    angles = np.einsum('tjkl,tjkl->tj', track.body.rotmats, whole.body.rotmats)
    assert np.degrees(np.arccos(np.clip((angles - 1) / 2, -1, 1))).max() < 1
    np.testing.assert_allclose(track.body.transl, whole.body.transl, atol=1e-4)
    assert (track.keypoints_2d[8:11, :, 2] == 0).all()


def test_one_shape_for_each_person(knowing, truth, monkeypatch, rng):
    for track in truth.tracks:
        wobbly = track.body.betas + rng.normal(0, 0.1, track.body.betas.shape)
        monkeypatch.setattr(track.body, 'betas', wobbly.astype(np.float32))
    found = knowing.video(pictures(20), fps=25, bboxes=boxes_of(truth))
    for track, other in zip(found.tracks, truth.tracks):
        np.testing.assert_allclose(track.body.betas, np.tile(other.body.betas.mean(0), (18, 1)),
                                   atol=1e-5)
        np.testing.assert_allclose(track.body.joints[:, 0], other.body.joints[:, 0], atol=1e-5)
    free = knowing.video(pictures(20), fps=25, bboxes=boxes_of(truth), same_shape=False)
    np.testing.assert_allclose(free.tracks[0].body.betas, truth.tracks[0].body.betas, atol=1e-6)
    assert 'shape' in found.notes and 'shape' not in free.notes


@pytest.mark.parametrize('method', ['one-euro', 'savgol'])
def test_smoothing_calms_rotations(rng, method):
    clean = np.tile(random_rotmats(rng, 60, 0.6)[:1], (60, 1, 1, 1))
    turned = axis_angle_to_matrix(rng.normal(0, 0.03, (60, 24, 3)))
    roots = np.array([0, 0, 4]) + rng.normal(0, 0.01, (60, 3))
    noisy = Bodies(np.zeros((60, 10), np.float32), (clean @ turned).astype(np.float32),
                   roots.astype(np.float32), np.zeros((60, 24, 3), np.float32))
    smooth = smooth_bodies(noisy, method, fps=25)
    error = [np.linalg.norm(x.rotmats[20:] - clean[20:], axis=(-2, -1)).mean()
             for x in (noisy, smooth)]
    assert error[1] < 0.75 * error[0]
    np.testing.assert_allclose(smooth.rotmats @ smooth.rotmats.swapaxes(-1, -2),
                               np.broadcast_to(np.eye(3), smooth.rotmats.shape), atol=1e-5)


def test_smoothing_goes_through_half_a_turn():
    angles = np.linspace(2.5, 4.5, 30)  # of quaternions the sign changes at pi
    rotmats = axis_angle_to_matrix(np.stack([0 * angles, angles, 0 * angles], -1))[:, None]
    bodies = Bodies(np.zeros((30, 10)), rotmats, np.zeros((30, 3)), np.zeros((30, 1, 3)))
    smooth = smooth_bodies(bodies, 'savgol', fps=25)
    np.testing.assert_allclose(smooth.rotmats, rotmats, atol=1e-3)


def test_filling_keeps_what_was_found_and_takes_the_short_way(rng):
    rotmats = axis_angle_to_matrix(np.array([[[0, 0, 3.0]], [[0, 0, -3.0]]], np.float32))
    found = Bodies(np.array([[0.], [3]], np.float32), rotmats,
                   np.array([[0, 0, 4.], [3, 0, 4]], np.float32), np.ones((2, 1, 3), np.float32))
    filled = fill_bodies(found, np.array([0, 3]), 5)
    np.testing.assert_allclose(filled.roots[:, 0], [0, 1, 2, 3, 3])
    np.testing.assert_array_equal(filled.rotmats[[0, 3]], rotmats)
    angle = 3 + (2 * np.pi - 6) / 3  # through pi
    np.testing.assert_allclose(filled.rotmats[1, 0], axis_angle_to_matrix(
        np.array([0, 0, angle])), atol=1e-5)
    assert filled.keypoints[:, 0, 2].tolist() == [1, 0, 0, 1, 0]
    assert fill_bodies(found, np.arange(2), 2) is found


def test_pictures_need_no_track(knowing, truth):
    found = list(knowing.pictures(list(pictures(4)), bboxes=boxes_of(truth)[:4]))
    assert [len(poses.tracks) for poses, _ in found] == [1, 1, 2, 2]
    poses, image = found[3]
    assert poses.num_frames == 1 and image.shape == (HEIGHT, WIDTH, 3)
    for track, (whole, row) in zip(poses.tracks, truth.people_at(3)):
        np.testing.assert_allclose(track.body.joints[0], whole.body.joints[row], atol=1e-4)


def test_nobody_is_nobody(knowing):
    poses = knowing.video(pictures(5), fps=25, bboxes=[np.empty((0, 4))] * 5)
    assert poses.tracks == [] and poses.num_frames == 5
    assert MeshScene(poses).draw(0, pictures(1)[0]).shape == (540, 960, 3)
    [(poses, _)] = knowing.pictures([pictures(1)[0]], bboxes=[[]])
    assert poses.tracks == []


def test_the_detector_finds_the_boxes(network, truth, monkeypatch, knowing):
    """A detector without 2D model; a 2D model where one is given, whose joints are kept."""
    asked = []

    class Detector:
        name, convention, topdown, num_keypoints, detector = None, 'smpl', True, 24, 'mine'
        batch_size = 4

        def with_options(self, *options):
            asked.append(options)
            return self

        def detect(self, images):
            boxes = boxes_of(truth)
            return [np.pad(boxes[int(image[4, 4, 0])], ((0, 0), (0, 1)), constant_values=0.9)
                    .astype(np.float32) for image in images]

    monkeypatch.setattr(network, '_people', Detector())
    same_bodies(network.video(pictures(20), fps=25), truth)
    assert asked == [(None, 0.1, 0.6)]

    class TwoD(Detector):
        name, convention, num_keypoints = 'mine', 'coco', 17

        def estimate(self, images, boxes):
            return [np.full((len(b), 17, 3), 0.7, np.float32) for b in boxes]

    monkeypatch.setattr(network, '_people', TwoD())
    poses = network.video(pictures(20), fps=25)
    assert poses.skeleton_2d == 'coco' and poses.tracks[0].keypoints.shape == (18, 17, 3)
    assert poses.model_2d == 'mine'


def test_the_network_itself(network, truth, monkeypatch):
    """Crops of several pictures in batches give what each gives alone; the camera counts."""
    images, boxes = pictures(5), boxes_of(truth)[:5]
    rng = np.random.default_rng(0)
    images[:, 20:] = rng.integers(0, 255, images[:, 20:].shape)
    together = network.predictor(images, boxes)
    assert [len(found.betas) for found in together] == [1, 1, 2, 2, 2]
    alone = network.predictor([images[3]], [boxes[3][1:]])[0]
    for one, other in zip(together[3], alone):
        np.testing.assert_allclose(one[1:], other, atol=2e-4)
    monkeypatch.setitem(network.model.test_cfg, 'root_depth', 'box')
    alone = network.predictor([images[3]], [boxes[3][1:]])[0]
    far = network.predictor.with_focal(2 * FOCAL)([images[3]], [boxes[3][1:]])[0]
    np.testing.assert_allclose(far.roots[0, 2], 2 * alone.roots[0, 2], rtol=1e-5)
    np.testing.assert_allclose(far.keypoints, alone.keypoints, atol=1e-3)
    root = alone.roots[0]  # is seen where joint 0 is
    np.testing.assert_allclose(root[:2] / root[2] * FOCAL + np.divide(SIZE, 2),
                               alone.keypoints[0, 0, :2], atol=0.01)
    assert network.predictor([], []) == []


def test_rules_of_depth(config, body, truth):
    image, boxes = pictures(1), boxes_of(truth)[:1]
    arguments = dict(device='cpu', allow_random_weights=True, body_model=body, focal=FOCAL)
    box = MeshPredictor(config, root_depth='box', **arguments)(image, boxes)[0]
    side = 1.25 * (boxes[0][0, 2:] - boxes[0][0, :2]).max()
    assert box.roots[0, 2] == pytest.approx(2 * FOCAL / side, rel=0.01)
    with pytest.raises(ValueError, match='nowhere'):
        MeshPredictor(config, root_depth='nowhere', **arguments)
    with pytest.raises(ValueError, match='expected one of bones, box or a RootNet'):
        MeshPredictor(config, root_depth=config, **arguments)
    with pytest.raises(ValueError, match='root_weights'):
        MeshPredictor(config, root_weights='a.pth', **arguments)


def test_root_net_gives_the_depth(config, body, truth):
    root_net = Config(dict(
        model=dict(type='BodyMeshEstimator', data_preprocessor=config.model.data_preprocessor,
                   backbone=dict(config.model.backbone), test_cfg=dict(flip_test=False),
                   head=dict(type='RootNetHead', in_channels=32, heatmap_size=(64, 64))),
        test_pipeline=config.test_pipeline))
    predictor = MeshPredictor(config, device='cpu', allow_random_weights=True, body_model=body,
                              focal=FOCAL, root_depth=root_net)
    head = predictor._network.root_net.model.head
    with torch.no_grad():
        head.depth_layer.weight.zero_()
        head.depth_layer.bias.fill_(3.0)
    image, boxes = pictures(1), boxes_of(truth)[:1]
    found = predictor(image, boxes)[0]
    side = 1.25 * (boxes[0][0, 2:] - boxes[0][0, :2]).max()
    assert found.roots[0, 2] == pytest.approx(3 * 2 * FOCAL / side, rel=0.01)


def test_joints_are_those_of_the_surface(body, truth):
    track = truth.tracks[0]
    bodies = Bodies(track.body.betas, track.body.rotmats, track.body.joints[:, 0],
                    track.keypoints)
    camera = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], np.float32)
    found = BodyPoser(FoldedJoints(body), camera).track(track, bodies)
    same_bodies(SimpleNamespace(tracks=[found]), SimpleNamespace(tracks=[track]), atol=2e-5)


def test_missing_weights_and_files_are_said_at_the_first_call(config):
    inferencer = MeshInferencer(config, device='cpu')
    with pytest.raises(MissingWeightsError, match='has no published weights'):
        inferencer.video(pictures(3), fps=25)
    inferencer = MeshInferencer(config, device='cpu', allow_random_weights=True,
                                body_model='nowhere/SMPL_NEUTRAL.npz')
    with pytest.raises(FileNotFoundError, match='smpl.is.tue.mpg.de'):
        next(inferencer.pictures(pictures(1)))


def test_another_body_file_keeps_what_the_config_says(body, tmp_path):
    configured = dict(path='a.npz', gender='neutral', num_betas=8, h36m_regressor='a.npy',
                      regressor_skeleton='h36m')
    plain, whole = tmp_path / 'plain.npz', str(tmp_path / 'whole.npz')
    np.savez(plain, **make_smpl())
    np.savez(whole, **make_smpl(), J_regressor_h36m=make_regressor())
    kept = dict(gender='neutral', num_betas=8)
    assert _body_source(configured, plain) == dict(configured, path=plain)
    assert _body_source(configured, dict(gender='female')) == dict(configured, gender='female')
    assert _body_source(configured, whole) == dict(kept, path=whole)
    own = dict(path=plain, h36m_regressor='b.npy')
    assert _body_source(configured, own) == dict(kept, **own)
    for missing in ('nowhere.npz', 'nowhere.pkl'):
        assert _body_source(configured, missing) == dict(configured, path=missing)
    assert _body_source('a.npz', dict(gender='female')) == dict(path='a.npz', gender='female')
    for other in ('stand_in', body, dict(v_template=np.zeros((4, 3)))):
        assert _body_source(configured, other) is other
    assert _body_source('stand_in', whole) == whole


def test_boxes_in_none_of_several_pictures(knowing):
    images = [pictures(1)[0], np.zeros((30, 40, 3), np.uint8)]
    with pytest.raises(ValueError, match=r'frame 1: .* 40x30 pixels, found \[50.0, 9.0'):
        list(knowing.pictures(images, bboxes=[[], [[50, 9, 60, 19]]]))


def test_bad_options(knowing, config, root_dir):
    with pytest.raises(ValueError, match='smooth: expected one of one-euro, savgol'):
        knowing.video(pictures(3), fps=25, smooth='kalman')
    with pytest.raises(ValueError, match='expected one array of boxes for each frame, found 2'):
        knowing.video(pictures(3), fps=25, bboxes=[[], []])
    with pytest.raises(ValueError, match='focal'):
        knowing.video(pictures(3), fps=25, focal=-1)
    with pytest.raises(ValueError, match='BodyMeshEstimator'):
        MeshInferencer(root_dir / 'configs/demo_mixste.py', device='cpu')


def test_stopping_keeps_what_was_found(knowing, truth):
    class Stopping(Stages):
        """Stops when the tenth frame was read."""
        def stage(self, name, total=None):
            stages = self

            class Advance:
                count = 0

                def __enter__(self):
                    return self

                def __exit__(self, *error):
                    return False

                def __call__(self, steps):
                    self.count += steps
                    stages.stopped |= self.count >= 10
            return Advance()

    poses = knowing.video(pictures(20), fps=25, bboxes=boxes_of(truth), stages=Stopping())
    assert poses.num_frames == 10 and not poses.complete and len(poses.tracks[0]) == 10


@pytest.fixture
def mmpose_style(config, knowing):
    assert kind_of_model(config) == 'mesh'
    inferencer = MMPoseInferencer(pose3d=config, device='cpu', allow_random_weights=True)
    inferencer.inferencer = knowing
    return inferencer


def test_mmpose_inferencer_gives_bodies(mmpose_style, truth, tmp_path):
    video = pictures(20)
    results = list(mmpose_style(video, images_are_frames=True, fps=25, bboxes=boxes_of(truth),
                                return_vis=True, out_dir=str(tmp_path)))
    assert len(results) == 20
    [first, second] = results[5]['predictions'][0]
    assert np.shape(first['keypoints']) == (17, 3) and np.shape(first['poses']) == (72, )
    assert np.shape(first['joints']) == (24, 3) and np.shape(first['betas']) == (10, )
    np.testing.assert_allclose(second['transl'], truth.tracks[1].body.transl[3], atol=1e-4)
    assert results[5]['visualization'][0].shape == (540, 960, 3)
    [path] = (tmp_path / 'predictions').glob('*.json')
    same_bodies(read_json(path), truth, atol=1e-4)
    assert len(list((tmp_path / 'visualizations').glob('*.mp4'))) == 1


def test_data_samples_hold_bodies(mmpose_style, truth):
    *_, last = mmpose_style(list(pictures(3)), bboxes=boxes_of(truth)[:3], return_datasamples=True)
    found = last['predictions'][0].pred_instances
    assert found.betas.shape == (2, 10) and found.poses.shape == (2, 72)
    people = [track for track, _ in truth.people_at(2)]
    rows = [row for _, row in truth.people_at(2)]
    for name in ('transl', 'joints'):
        np.testing.assert_allclose(getattr(found, name), [
            getattr(track.body, name)[row] for track, row in zip(people, rows)], atol=1e-4)
    np.testing.assert_allclose(found.root_position, [
        track.root_position[row] for track, row in zip(people, rows)], atol=1e-4)
    assert found.detected.all()


def test_mmpose_inferencer_takes_pictures_and_no_camera(mmpose_style, truth):
    results = list(mmpose_style(list(pictures(3)), bboxes=boxes_of(truth)[:3], focal=200.))
    assert [len(result['predictions'][0]) for result in results] == [1, 1, 2]
    with pytest.raises(ValueError, match='not cameras'):
        next(mmpose_style('webcam:0'))


def test_a_detector_without_2d_model(config, body, tmp_path):
    image = pictures(1)[0]
    inferencer = MeshInferencer(config, device='cpu', allow_random_weights=True, body_model=body,
                                det_model='whole_image')
    [(poses, _)] = inferencer.pictures([image])
    assert poses.detector == 'whole_image' and poses.model_2d is None
    np.testing.assert_array_equal(poses.tracks[0].boxes, [[0, 0, WIDTH, HEIGHT]])
    assert 'for an assumed field of view' in poses.notes['camera']
    assert poses.focal == pytest.approx(WIDTH / 2 / np.tan(np.radians(27.5)))
    (tmp_path / 'detector.py').touch()
    inferencer = MeshInferencer(config, weights=None, device='cpu', body_model=body,
                                det_model=str(tmp_path / 'detector.py'))
    with pytest.raises(ValueError, match='det_model=.*a config without weights'):
        inferencer.people  # noqa: B018
