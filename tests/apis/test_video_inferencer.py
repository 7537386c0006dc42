import json
import warnings
from itertools import count
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmpose_lift.apis import MMPoseInferencer, People, PoseLiftInferencer, Stages, mmpose_inferencer
from mmpose_lift.apis.keypoint_preparation import prepare_keypoints
from mmpose_lift.io.exporters import read_json

WIDTH, HEIGHT = 160, 96
DENSE = {'model.backbone.embed_dims': 16, 'model.backbone.depth': 1,
         'model.backbone.num_heads': 2, 'model.head.in_channels': 16}


def walkers(frames, people=2, seed=0):
    """(T, P, 17, 3) coco keypoints and scores of people who walk past each other."""
    rng = np.random.default_rng(seed)
    pose = rng.uniform(-1, 1, (people, 17, 2)) * (6, 20)
    x = np.linspace(30, 130, frames)[:, None] * np.ones(people)
    x[:, 1::2] = WIDTH - x[:, 1::2]
    centre = np.stack([x, 45 + 6. * np.arange(people) * np.ones_like(x)], axis=-1)
    pose = pose + rng.normal(0, 0.2, (frames, people, 17, 2))
    scores = np.full((frames, people, 17, 1), 0.9)
    return np.concatenate([pose + centre[:, :, None], scores], axis=-1).astype(np.float32)


def pictures(frames):
    """Frames (T, H, W, 3) whose upper left corner holds their number."""
    video = np.full((frames, HEIGHT, WIDTH, 3), 90, np.uint8)
    video[:, :8, :8] = np.arange(frames)[:, None, None, None]
    return video


class Given:
    """Gives known keypoints, by the number in the picture, and keeps what it was asked for."""
    name, detector, convention, topdown = 'given', 'given', 'coco', True
    num_keypoints, batch_size = 17, 4

    def __init__(self, keypoints, score=0.9):
        self.keypoints, self.score, self.asked = keypoints, score, []

    def with_options(self, *options):
        return self

    def detect(self, images):
        found = []
        for image in images:
            number = int(image[4, 4, 0])
            people = self.keypoints[number]
            boxes = np.concatenate([people[..., :2].min(1) - 3, people[..., :2].max(1) + 3,
                                    np.full((len(people), 1), self.score)], axis=1)
            found.append(boxes.astype(np.float32))
        return found

    def estimate(self, images, boxes):
        numbers = [int(image[4, 4, 0]) for image in images]
        self.asked += numbers
        return [self.keypoints[n][:len(b)] for n, b in zip(numbers, boxes)]

    def __call__(self, images, boxes=None):
        boxes = self.detect(images)
        return [People(b[:, :4], b[:, 4], k) for b, k in zip(boxes, self.estimate(images, boxes))]


@pytest.fixture(scope='module')
def config(root_dir):
    from mmengine.config import Config
    config = Config.fromfile(root_dir / 'configs/demo_mixste.py')
    config.merge_from_dict(DENSE)
    return config


@pytest.fixture(scope='module')
def inferencer(config):
    """Call it with keypoints: one network for all, another 2D model each time."""
    one = PoseLiftInferencer(config, device='cpu', allow_random_weights=True, pose2d=Given(None))

    def with_people(keypoints):
        one._people = Given(keypoints)
        return one

    return with_people


@pytest.fixture(scope='module')
def sparse(root_dir):
    inferencer = PoseLiftInferencer(root_dir / 'configs/demo_uplift_upsample.py', device='cpu',
                                    allow_random_weights=True, pose2d=Given(None))
    torch.manual_seed(0)
    with torch.no_grad():  # an output in which the pose shows, and hardly the pattern of key-frames
        for parameter in inferencer.lifter.model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return inferencer


def same(one, other):
    assert [(t.track_id, t.first_frame) for t in one.tracks] == [
        (t.track_id, t.first_frame) for t in other.tracks]
    for a, b in zip(one.tracks, other.tracks):
        np.testing.assert_array_equal(a.keypoints_3d, b.keypoints_3d)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


def test_each_person_is_lifted_over_its_whole_time(inferencer):
    keypoints = walkers(40)
    one = inferencer(keypoints)
    poses = one.video(pictures(40), fps=50)
    assert poses.num_frames == 40 and len(poses.tracks) == 2 and poses.complete
    assert poses.image_size == (WIDTH, HEIGHT) and poses.model_2d == 'given'
    assert poses.notes == {'weights': 'random: the result means nothing'}
    for track, person in zip(poses.tracks, range(2)):
        np.testing.assert_array_equal(track.keypoints, keypoints[:, person])
        prepared = prepare_keypoints(keypoints[:, person], 'coco', 'h36m').keypoints
        np.testing.assert_allclose(track.keypoints_3d, one.lifter.lift(prepared, poses.image_size),
                                   atol=1e-6)
    assert one.people.asked == list(range(40))


def test_nothing_goes_over_from_one_video_to_the_next(inferencer):
    first = inferencer(walkers(30)).video(pictures(30), fps=50)
    inferencer(walkers(50, people=1, seed=4)).video(pictures(50), fps=30)
    same(inferencer(walkers(30)).video(pictures(30), fps=50), first)


def test_gaps_are_filled_and_marked(inferencer):
    keypoints = list(walkers(40))
    truth = keypoints[20].copy()
    for number in range(15, 25):
        keypoints[number] = keypoints[number][:0]
    poses = inferencer(keypoints).video(pictures(40), fps=50)
    assert len(poses.tracks) == 2
    for track, person in zip(poses.tracks, truth):
        assert len(track) == 40 and track.detected.sum() == 30 and not track.detected[15:25].any()
        assert np.abs(track.keypoints[20, :, :2] - person[:, :2]).max() < 2  # pixels
        assert np.isfinite(track.keypoints_3d).all()


@pytest.mark.parametrize('seen, people', [(0, 0), (2, 0), (3, 1)])
def test_people_for_a_few_frames(inferencer, seen, people):
    keypoints = [k[:n in range(5, 5 + seen)] for n, k in enumerate(walkers(60)[:12])]
    poses = inferencer(keypoints).video(pictures(12), fps=50)
    assert len(poses.tracks) == people and poses.num_frames == 12
    for track in poses.tracks:
        assert np.isfinite(track.keypoints_3d).all()


def test_key_frames_only(sparse):
    keypoints = walkers(90)
    sparse._people = Given(keypoints)
    poses = sparse.video(pictures(90), fps=25)  # two tokens' time between frames
    stride = sparse.lifter.input_stride
    assert sparse.people.asked == list(sparse.lifter.key_frame_numbers(90, 25))
    assert len(sparse.people.asked) < 90 / stride * 2 + 2
    assert [len(t) for t in poses.tracks] == [90, 90]
    assert all(np.isfinite(t.keypoints_3d).all() for t in poses.tracks)


def test_adaptive_key_frames(sparse, monkeypatch):
    wide = sparse.lifter.key_frame_numbers(200, 50, sparse.lifter.slow_stride)
    sparse._people = Given(walkers(200))
    monkeypatch.setattr(sparse.lifter, 'adaptive_key_frames', lambda people, frames, fps: wide)
    calm = sparse.video(pictures(200), fps=50, adaptive=True)
    assert sparse.people.asked == wide.tolist()
    fast = np.union1d(wide, np.arange(80, 121, 5))
    monkeypatch.setattr(sparse.lifter, 'adaptive_key_frames', lambda people, frames, fps: fast)
    sparse._people = Given(walkers(200))
    poses = sparse.video(pictures(200), fps=50, adaptive=True)
    assert poses.complete and sorted(sparse.people.asked) == fast.tolist()
    assert [t.detected.sum() for t in poses.tracks] == [len(fast)] * 2
    for before, after in zip(calm.tracks, poses.tracks):
        moved = np.abs(after.keypoints_3d - before.keypoints_3d).max(axis=(1, 2))
        assert moved[85:115].max() > 1e-4 and (moved[150:] < 1e-5).all()


def test_stopped_in_the_second_pass_keeps_the_first(sparse, monkeypatch):
    wide = sparse.lifter.key_frame_numbers(200, 50, sparse.lifter.slow_stride)

    class Impatient(Stages):
        def stage(self, name, total=None):
            self.stopped = name == 'fast motion'
            return super().stage(name, total)

    sparse._people = Given(walkers(200))
    monkeypatch.setattr(sparse.lifter, 'adaptive_key_frames',
                        lambda people, frames, fps: np.union1d(wide, np.arange(80, 121, 5)))
    poses = sparse.video(pictures(200), fps=50, adaptive=True, stages=Impatient())
    assert not poses.complete and [len(t) for t in poses.tracks] == [200, 200]


def test_missed_key_frames_have_no_score(sparse):
    keypoints = list(walkers(200))
    keypoints[60:90] = [k[:0] for k in keypoints[60:90]]
    sparse._people = Given(keypoints)
    track = sparse.video(pictures(200), fps=50).tracks[0]
    assert (track.keypoints_2d[56:85, :, 2] == 0).all()
    assert (track.keypoints_2d[:50, :, 2] > 0.5).all()


def test_adaptive_is_for_models_of_key_frames(sparse):
    with pytest.raises(ValueError, match='adaptive: .*every frame'):
        raise_for_dense(sparse)


def raise_for_dense(sparse):
    from mmpose_lift.apis.video_inferencer import VideoInferencer
    dense = type('Dense', (), dict(sparse=False, name='x', check_runs=lambda self: None))()
    VideoInferencer(dense, sparse.people).video(None, adaptive=True)


def test_stopped_by_the_user(inferencer):
    class Impatient(Stages):
        def time(self, part):
            self.stopped = len(one.people.asked) >= 12
            return super().time(part)

    one = inferencer(walkers(40))
    poses = one.video(pictures(40), fps=50, stages=Impatient())
    assert not poses.complete and 12 <= poses.num_frames < 20
    assert [len(t) for t in poses.tracks] == [poses.num_frames] * 2


def test_frames_that_cannot_be_read_are_frames_without_people(inferencer, drop_in, tmp_path):
    for number, picture in enumerate(pictures(20)):
        cv2.imwrite(str(tmp_path / f'{number}.png'), picture)
    (tmp_path / '7.png').write_bytes(b'not a picture')
    with pytest.warns(UserWarning, match='7.png'):
        poses = inferencer(walkers(60)).video(tmp_path, fps=50)
    assert poses.num_frames == 20 and len(poses.tracks) == 2
    assert not poses.tracks[0].detected[7] and poses.tracks[0].detected.sum() == 19
    with pytest.warns(UserWarning, match='7.png'):
        results = list(drop_in(walkers(60))(str(tmp_path), fps=50, images_are_frames=True,
                                            return_vis=True))
    assert len(results) == 20 and all(len(r['visualization']) == 1 for r in results)


@pytest.mark.parametrize('options, message', [
    (dict(bboxes=[[[1, 2, 3, 4]]] * 3), 'bboxes: expected one array'),
    (dict(bboxes=[[[9, 2, 3, 4]]] * 12), 'frame 0.*x1 < x2'),
    (dict(bboxes=[[]] * 11 + [[[1, 2], [3]]]), 'frame 11: expected finite boxes'),
    (dict(bboxes=[[]] * 11 + [[[-9, 0, 9, 9], [170, 0, 190, 9]]]),
     r'frame 11: .* 160x96 pixels, found \[170.0, 0.0, 190.0, 9.0\]'),
    (dict(smooth='sometimes'), 'sometimes'),
    (dict(height=175), 'metres'),
    (dict(focal=-2), 'focal'),
    (dict(fps=-1), 'fps'),
    (dict(fps=None), 'fps'),
])
def test_wrong_options_are_told_before_anything_is_read(inferencer, options, message):
    one = inferencer(walkers(12))
    with pytest.raises(ValueError, match=message):
        one.video(pictures(12), **{'fps': 50, **options})
    assert not one.people.asked


def test_joints_that_the_2d_model_lacks_are_told_before_anything_is_read(inferencer, monkeypatch):
    one = inferencer(walkers(12))
    monkeypatch.setattr(Given, 'convention', 'humaneva')
    monkeypatch.setattr(Given, 'num_keypoints', 15)
    with pytest.raises(ValueError, match='humaneva'):
        one.video(pictures(12), fps=50)
    assert not one.people.asked


def test_scores_of_boxes(inferencer):
    """Given boxes are people; a detector's weak ones are, if the user says so."""
    one = inferencer(walkers(12 * 4)[:12])
    one._people.score = 0.5
    assert one.video(pictures(12), fps=50).tracks == []
    assert len(one.video(pictures(12), fps=50, bbox_thr=0.4).tracks) == 2
    boxes = [b for b in one.people.detect(pictures(12))]
    assert len(one.video(pictures(12), fps=50, bboxes=boxes).tracks) == 2


def test_long_gaps_where_wanted(inferencer):
    keypoints = list(walkers(200, people=1)[:120])
    keypoints[40:100] = [k[:0] for k in keypoints[40:100]]
    assert len(inferencer(keypoints).video(pictures(120), fps=30).tracks) == 2
    [track] = inferencer(keypoints).video(pictures(120), fps=30, max_gap=3).tracks
    assert len(track) == 120


def test_boxes_that_the_tracker_never_sees(monkeypatch):
    """Detector boxes that the border cuts to nothing, and weak ones in pictures."""
    from mmpose_lift.apis import PeopleEstimator
    people = PeopleEstimator('rendered_human', device='cpu')
    people._pose2d.det_cat_ids = (0, )
    found = SimpleNamespace(
        labels=np.array([0, 0, 0, 1]), scores=np.array([0.9, 0.8, 0.15, 0.9], np.float32),
        bboxes=np.array([[0, 0, 9, 9], [5, 0, 5, 9], [20, 0, 30, 9], [40, 0, 50, 9]], np.float32))
    assert len(people._people_boxes(found, (60, 40))) == 1
    assert len(people.with_options(bbox_thr=0.1)._people_boxes(found, (60, 40))) == 2
    with pytest.raises(ValueError, match='batch_size'):
        people.with_options(batch_size=0)
    with pytest.raises(ValueError, match='picture 1: .* 160x96 pixels'):
        people(pictures(2), [[[0, 0, 9, 9]], [[0, 96, 9, 120]]])


@pytest.mark.parametrize('box, kept', [
    ((-500, -50, 5, 5), True), ((59, 39, 900, 900), True), ((-1e6, -1e6, 1e6, 1e6), True),
    ((60, 0, 70, 9), False), ((0, -9, 9, 0), False), ((5, 5, 5, 9), False),
    ((0, 0, np.inf, 9), False), ((-1e30, -1e30, 1e30, 1e30), False)])
def test_boxes_outside_the_picture_are_nobody(box, kept):
    from mmpose_lift.apis import PeopleEstimator
    people = PeopleEstimator.__new__(PeopleEstimator)  # without its model
    people.bbox_thr, people.nms_thr = 0.3, 0.3
    people._pose2d = SimpleNamespace(det_cat_ids=(0, ))
    found = SimpleNamespace(labels=np.zeros(1), scores=np.ones(1, np.float32),
                            bboxes=np.array([box], np.float32))
    assert len(people._people_boxes(found, (60, 40))) == kept
    people.topdown, people.batch_size = False, 1
    instances = dict(bboxes=found.bboxes, bbox_scores=found.scores,
                     keypoints=np.zeros((1, 17, 2)), keypoint_scores=np.ones((1, 17)))
    people._predict = lambda items: [SimpleNamespace(pred_instances=InstanceData(**instances))]
    [seen] = people([np.zeros((40, 60, 3), np.uint8)])
    assert len(seen.boxes) == kept


def test_models_without_weights_are_refused(root_dir):
    from mmpose_lift.apis import PeopleEstimator
    [config] = (root_dir / 'configs/body_2d_keypoint/rendered_people').glob('*.py')
    with pytest.raises(ValueError, match='pose2d_weights'):
        PeopleEstimator(str(config), device='cpu')


def test_options_for_keypoints_with_a_video(inferencer):
    with pytest.raises(ValueError, match='out_file: only for 2D keypoints'):
        inferencer(walkers(12))(pictures(12), fps=50, out_file='x.npz')


def test_options_after_lifting(inferencer):
    plain = inferencer(walkers(40)).video(pictures(40), fps=50)
    poses = inferencer(walkers(40)).video(pictures(40), fps=50, smooth='savgol')
    assert 'smoothing' in poses.notes
    shake = [np.abs(np.diff(p.tracks[0].keypoints_3d, 2, axis=0)).mean() for p in (plain, poses)]
    assert shake[1] < 0.7 * shake[0]


@pytest.fixture
def drop_in(config, inferencer):
    def make(keypoints):
        drop_in = MMPoseInferencer(pose2d='human', pose3d=config, allow_random_weights=True,
                                   device='cpu')
        drop_in.inferencer = inferencer(keypoints)
        return drop_in
    return make


def test_mmpose_protocol_for_a_video(drop_in, inferencer, tmp_path):
    from mmpose_lift.visualization import VideoWriter
    path = tmp_path / 'walk.avi'
    with VideoWriter(path, 25, (WIDTH, HEIGHT)) as writer:
        for picture in pictures(12):
            writer.write(picture)
    results = drop_in(walkers(300))(str(path), out_dir=str(tmp_path / 'out'), return_vis=True,
                                    use_oks_tracking=True, kpt_thr=0.2)
    assert iter(results) is results  # a generator, as MMPose's
    results = list(results)
    assert len(results) == 12
    for result in results:
        [people], [picture] = result['predictions'], result['visualization']
        assert len(people) == 2 and np.shape(people[0]['keypoints']) == (17, 3)
        assert {'keypoint_scores', 'bbox', 'bbox_score', 'track_id'} <= set(people[0])
        assert picture.shape == (540, 960, 3) and picture.dtype == np.uint8
    assert {p['track_id'] for r in results for p in r['predictions'][0]} == {0, 1}
    content = json.loads((tmp_path / 'out/predictions/walk.json').read_text())
    assert content['meta_info']['units'] == 'metre' and len(content['instance_info']) == 12
    assert cv2.VideoCapture(str(tmp_path / 'out/visualizations/walk.mp4')).read()[0]
    assert len(read_json(tmp_path / 'out/predictions/walk.json').tracks) == 2


def test_leaving_early_keeps_what_was_drawn(drop_in, tmp_path):
    results = drop_in(walkers(60))(pictures(20), fps=50, images_are_frames=True,
                                   vis_out_dir=str(tmp_path))
    for _ in range(5):
        next(results)
    results.close()
    [video] = tmp_path.iterdir()
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) == 5


def test_pictures_are_independent(drop_in, tmp_path):
    for number, picture in enumerate(pictures(3)):
        cv2.imwrite(str(tmp_path / f'p{number}.png'), picture[:, :, :1] if number == 1 else
                    cv2.resize(picture, (320, 192), interpolation=cv2.INTER_NEAREST)
                    if number == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA))
    inferencer = drop_in(walkers(3))
    results = list(inferencer(str(tmp_path), vis_out_dir=str(tmp_path / 'vis'),
                              pred_out_dir=str(tmp_path / 'pred')))
    assert [len(r['predictions'][0]) for r in results] == [2, 2, 2]
    assert sorted(p.name for p in (tmp_path / 'pred').iterdir()) == [f'p{n}.json' for n in range(3)]
    assert len(list((tmp_path / 'vis').iterdir())) == 3
    (tmp_path / 'other').mkdir()
    cv2.imwrite(str(tmp_path / 'other/p0.png'), pictures(1)[0])
    list(inferencer([str(tmp_path / 'p0.png'), str(tmp_path / 'other/p0.png')],
                    pred_out_dir=str(tmp_path / 'two')))
    assert sorted(p.name for p in (tmp_path / 'two').iterdir()) == ['p0.json', 'p0_2.json']
    [alone] = inferencer(str(tmp_path / 'p2.png'))
    assert alone['predictions'] == results[2]['predictions']
    [array] = inferencer(cv2.imread(str(tmp_path / 'p0.png')))
    assert array['predictions'] == results[0]['predictions']


def test_camera(drop_in, monkeypatch, tmp_path):
    class Camera:
        def __init__(self, source):
            self.frames = list(pictures(20))

        def isOpened(self):
            return True

        def get(self, what):
            return 50.

        def read(self):
            return (True, self.frames.pop(0)) if self.frames else (False, None)

        def release(self):
            pass

    ticks = count()
    monkeypatch.setattr(mmpose_inferencer, 'time',
                        SimpleNamespace(monotonic=lambda: 0.02 * next(ticks)))
    monkeypatch.setattr(cv2, 'VideoCapture', Camera)
    keypoints = walkers(60)
    with pytest.warns(UserWarning, match='no more pictures'):
        results = list(drop_in(keypoints)('webcam:0', look_ahead=2, out_dir=str(tmp_path),
                                           bbox_thr=0.2, smooth='one-euro'))
    assert len(results) >= 19 and len(results[5]['predictions'][0]) == 2
    monkeypatch.undo()
    assert cv2.VideoCapture(str(tmp_path / 'visualizations/webcam_0.mp4')).read()[0]
    with pytest.raises(ValueError, match='pred_out_dir'):
        monkeypatch.setattr(cv2, 'VideoCapture', Camera)
        list(drop_in(keypoints)('webcam:0', pred_out_dir=str(tmp_path)))
    with pytest.raises(ValueError, match='webcam:0: a camera has no end'):
        drop_in(keypoints).inferencer.video('webcam:0')


def test_data_samples(drop_in):
    [result] = drop_in(walkers(1))(pictures(1)[0], return_datasamples=True)
    [sample] = result['predictions']
    assert sample.pred_instances.keypoints.shape == (2, 17, 3)
    assert sample.pred_instances.bboxes.shape == (2, 4)
    assert sample.pred_instances.detected.tolist() == [True, True]
    assert 'root_position' not in sample.pred_instances
    [nobody] = drop_in([np.empty((0, 17, 3), np.float32)])(pictures(1)[0], return_datasamples=True)
    assert nobody['predictions'][0].pred_instances.keypoints.shape == (0, 17, 3)


def test_options_of_mmpose_and_none_else(drop_in):
    with pytest.raises(TypeError, match='kpt_threshold'):
        list(drop_in(walkers(1))(pictures(1)[0], kpt_threshold=0.2))


def test_unknown_models_are_told_with_the_known_ones():
    with pytest.raises(ValueError, match='mixste_h37m.*mixste_h36m'):
        MMPoseInferencer(pose2d='human', pose3d='mixste_h37m')


def test_variable_frame_rate(inferencer, monkeypatch):
    from mmpose_lift.io.frames import open_frames
    with open_frames(pictures(40), fps=25, frames_of_a_video=True) as frames:
        times = np.cumsum(np.random.default_rng(0).uniform(0.02, 0.08, 40))
        monkeypatch.setattr(type(frames), 'times', times - times[0])
        poses = inferencer(walkers(40)).video(frames)
    np.testing.assert_array_equal(poses.times, times - times[0])
    assert poses.fps == pytest.approx(39 / (times[-1] - times[0]))
    assert [len(t.keypoints_3d) for t in poses.tracks] == [40, 40]


def test_truncated_video_is_used_as_far_as_it_goes(inferencer, tmp_path):
    from mmpose_lift.visualization import VideoWriter
    path = tmp_path / 'cut.avi'
    with VideoWriter(path, 25, (WIDTH, HEIGHT)) as writer:
        for picture in pictures(30):
            writer.write(picture)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) * 6 // 10])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        poses = inferencer(walkers(256)).video(path)
    assert 5 < poses.num_frames < 30 and not poses.complete
    assert [len(t) for t in poses.tracks] == [poses.num_frames] * 2
