import importlib.util
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, METRICS, MODELS

from mmpose_lift.apis.inferencer import PoseLiftInferencer
from mmpose_lift.apis.pose_analysis import TestPredictions, load_model
from mmpose_lift.datasets.pose_sequence_dataset import PoseSequenceDataset
from mmpose_lift.evaluation.functional import mpjpe
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.io.pose_store import PoseStoreWriter, Sequence

STORE = dict(num_clips=2, num_frames=50, seed=1)
FRAMES = 50


def make_config(seq_len=1, skeleton='h36m', backbone='AMPose', stores=STORE, model=None, codec=None,
                batched=True, **dataset):
    joints = get_skeleton(skeleton).num_joints
    codec = codec or dict(type='PoseSequenceLabel', num_keypoints=joints, root_index=0)
    own = dict(skeleton=skeleton) if backbone == 'AMPose' else dict(num_frames=seq_len)
    meta = ('id', 'flip_indices', 'dataset_name', 'sequence', 'start', 'counted', 'subject',
            'action')
    return Config(dict(
        model=model or dict(
            type='SequencePoseLifter', skeleton=skeleton,
            backbone=dict(type=backbone, num_keypoints=joints, embed_dims=16, num_heads=2, depth=1,
                          **own),
            head=dict(type='LiftingHead', in_channels=16, num_keypoints=joints, decoder=codec),
            test_cfg=dict(flip_test=True)),
        test_dataloader=dict(batch_size=4, dataset=dict(
            type='PoseSequenceDataset', stores=stores, seq_len=seq_len, skeleton=skeleton,
            cameras_per_clip=1, batched=batched, pipeline=[
                dict(type='GenerateTarget', encoder=codec),
                dict(type='PackPoseInputs', meta_keys=meta)], **dataset))))


def make_model(config):
    init_default_scope('mmpose')
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    with torch.no_grad():  # large enough that every frame of a window shows in the output
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def predictions_of(config, causal=False):
    model = make_model(config)
    model.head.causal = causal
    return TestPredictions(config, model)


def single_frames(skeleton='h36m'):
    data = PoseSequenceDataset(STORE, seq_len=1, windows='frames', cameras_per_clip=1,
                               skeleton=skeleton)
    return data.read(np.arange(FRAMES, 2 * FRAMES))  # clip 1


@pytest.mark.parametrize('options', [
    dict(windows='train'), dict(windows='train', interval=4), dict(windows='unique'),
    dict(windows='paper'), dict(windows='frames'), dict(windows='frames', causal=True),
    dict(windows='paper', seq_step=3), dict(windows='frames', seq_step=2),
    dict(windows='unique', batched=False), dict(windows='train', seq_len=71),
    dict(windows='unique', seq_len=1), dict(windows='unique', seq_len=1, flip='copies'),
], ids=str)
def test_every_frame_is_found_in_any_layout_of_windows(options):
    """AMPose knows one frame only, so that its predictions tell which frame they are of."""
    options = {'seq_len': 9, **options}
    found = predictions_of(make_config(**options), options.get('causal', False)).read(
        1, np.arange(FRAMES))
    item = single_frames()
    np.testing.assert_allclose(found.keypoints, item['keypoints'][:, 0], rtol=1e-5)
    target = item['lifting_target'][:, 0]
    np.testing.assert_allclose(found.truth, target - target[:, :1], atol=1e-6)
    lifter = PoseLiftInferencer(make_config(), device='cpu', allow_random_weights=True)
    lifter.lifter.model = make_model(make_config())
    size = [float(item['camera_param'][k][0]) for k in ('w', 'h')]
    np.testing.assert_allclose(found.poses, lifter.lift(item['keypoints'][:, 0], size), atol=1e-5)
    np.testing.assert_allclose(
        found.errors, 1000 * mpjpe(found.poses, found.truth, reduction='none'), rtol=1e-5)


@pytest.mark.parametrize('skeleton', ['h36m_16', 'humaneva'])
def test_other_skeletons(skeleton):
    predictions = predictions_of(make_config(9, skeleton, 'MixSTE', windows='unique'))
    found = predictions.read(1, [40, 3])
    item = single_frames(skeleton)
    assert predictions.skeleton == skeleton
    np.testing.assert_allclose(found.keypoints, item['keypoints'][[40, 3], 0], rtol=1e-5)


@pytest.mark.parametrize('seq_len', [9, 121])
def test_frames_come_from_where_they_have_more_context_and_not_from_padding(seq_len):
    """As the windows 'unique' are laid out; 'paper' counts overlapping and padded frames, too."""
    paper, unique = (predictions_of(make_config(seq_len, backbone='MixSTE', windows=windows)).read(
        0, np.arange(FRAMES)) for windows in ('paper', 'unique'))
    np.testing.assert_allclose(paper.poses, unique.poses, atol=1e-6)


def test_errors_are_those_of_the_metric():
    config = make_config(9, backbone='MixSTE', windows='unique')
    predictions = predictions_of(config)
    errors = [predictions.read(clip, np.arange(FRAMES)).errors for clip in (0, 1)]
    data, metric = DATASETS.build(config.test_dataloader.dataset), METRICS.build(
        dict(type='LiftingMetric', names=('MPJPE', )))
    batch = pseudo_collate(data.__getitems__(list(range(len(data)))))
    with torch.inference_mode():
        samples = predictions._model.test_step(batch)
    metric.process(None, [sample.to_dict() for sample in samples])
    assert np.mean(errors) == pytest.approx(metric.evaluate(len(data))['MPJPE/frame_mean'],
                                            rel=1e-5)


def test_only_the_windows_of_the_frames_are_lifted():
    predictions = predictions_of(make_config(9, windows='unique'))
    sizes, step = [], predictions._model.test_step
    predictions._model.test_step = lambda data: sizes.append(len(data['inputs'][0])) or step(data)
    predictions.read(0, [0, 3, 49, 7])
    assert sizes == [2]


def test_evenly_spaced_and_worst_frames():
    predictions = predictions_of(make_config(windows='unique'))
    assert predictions.evenly_spaced(0, 3).tolist() == [0, 24, 49]
    assert predictions.evenly_spaced(0, 500).tolist() == list(range(FRAMES))
    errors = predictions.read(0, np.arange(FRAMES)).errors
    worst = predictions.worst(0, 3, apart=10)
    assert worst.errors[0] == errors.max() and (np.diff(worst.errors) <= 0).all()
    assert np.diff(np.sort(worst.frames)).min() >= 10
    np.testing.assert_array_equal(worst.errors, errors[worst.frames])
    np.testing.assert_array_equal(predictions.worst(0, 4, apart=1).errors,
                                  np.sort(errors)[::-1][:4])
    assert len(predictions.worst(0, 100, apart=25).frames) in (2, 3)


def write_store(path, valid):
    rng = np.random.default_rng(0)
    frames = len(valid)
    with PoseStoreWriter(path, source='made up', frame='camera', skeleton='h36m') as writer:
        info = Sequence(subject='S1', action='Walk', subaction='Walk', camera='c', fps=50.,
                        width=1000, height=1002, first=0, last=frames)
        writer.add_sequence(info, rng.random((frames, 17, 3)).astype(np.float32) + [0, 0, 4],
                            keypoints_2d=dict(gt=rng.random((frames, 17, 2)) * 900), valid=valid)


def test_frames_without_truth(tmp_path):
    valid = np.arange(20) % 5 != 0
    write_store(tmp_path / 'some', valid)
    write_store(tmp_path / 'none', np.zeros(20, bool))
    predictions = predictions_of(make_config(3, stores=str(tmp_path / 'some'), windows='unique'))
    found = predictions.read(0, np.arange(20))
    np.testing.assert_array_equal(np.isfinite(found.errors), valid)
    np.testing.assert_array_equal(np.isfinite(found.truth).all((1, 2)), valid)
    assert np.isfinite(predictions.worst(0, 6, apart=2).errors).all()
    predictions = predictions_of(make_config(3, stores=str(tmp_path / 'none'), windows='unique'))
    with pytest.raises(ValueError, match='no frame has ground truth'):
        predictions.worst(0, 6)


def test_mmpose_lifter_with_one_target():
    codec = dict(type='PoseSequenceLabel', flatten=True)
    config = make_config(9, codec=codec, windows='frames', model=dict(
        type='PoseLifter', data_preprocessor=dict(type='LiftingDataPreprocessor',
                                                  split_batches=True),
        backbone=dict(type='TCN', in_channels=34, stem_channels=16, num_blocks=1,
                      kernel_sizes=(3, 3), use_stride_conv=True),
        head=dict(type='TemporalRegressionHead', in_channels=16, num_joints=17,
                  loss=dict(type='MPJPELoss'), decoder=codec)))
    found = predictions_of(config).read(1, [49, 0, 20])
    item = single_frames()
    np.testing.assert_allclose(found.keypoints, item['keypoints'][[49, 0, 20], 0], rtol=1e-5)
    assert np.isfinite(found.errors).all()


def test_bad_frames_and_models():
    predictions = predictions_of(make_config(windows='unique'))
    for frames in ([50], [-1, 3], [], [[1]]):
        with pytest.raises(ValueError, match='frames: expected numbers from 0 to 49'):
            predictions.read(0, frames)
    for call in (lambda: predictions.evenly_spaced(0, 0), lambda: predictions.worst(0, 0)):
        with pytest.raises(ValueError, match='count: expected at least 1'):
            call()
    with pytest.raises(ValueError, match='apart: expected at least 1'):
        predictions.worst(0, 3, apart=0)
    predictions._model.test_cfg['output_keypoint_indices'] = [0, 1]
    with pytest.raises(ValueError, match=r'predicts \(1, 1, 2, 3\).*\(1, 1, 17, 3\)'):
        predictions.read(0, [3])
    del predictions._model.test_cfg['output_keypoint_indices']
    with torch.no_grad():
        predictions._model.head.fc.bias.fill_(float('nan'))
    with pytest.raises(ValueError, match='gives NaN'):
        predictions.read(0, [3])


def test_key_frame_and_foreign_data_sets_are_refused(root_dir):
    config = Config.fromfile(root_dir / 'configs/demo_uplift_upsample.py')
    with pytest.raises(ValueError, match='key-frames only; draw .* keyframes'):
        TestPredictions(config, None)
    config.test_dataloader.dataset = dict(type='Human36mDataset')
    with pytest.raises(ValueError, match='expected a PoseSequenceDataset, found Human36m'):
        TestPredictions(config, None)


@pytest.fixture(scope='module')
def command(root_dir, tmp_path_factory):
    """Run tools/analyze.py poses in this process."""
    spec = importlib.util.spec_from_file_location('analyze', root_dir / 'tools/analyze.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp('config')
    config = make_config(9, 'h36m_16', windows='unique')
    config.dump(folder / 'small.py')
    torch.save(dict(state_dict=make_model(config).state_dict()), folder / 'small.pth')

    def run(*args, weights=folder / 'small.pth'):
        before, sys.argv = sys.argv, ['analyze.py', 'poses', str(folder / 'small.py'), str(weights),
                                      '--device', 'cpu', *map(str, args)]
        try:
            module.main()
        finally:
            sys.argv = before
    return run


@pytest.mark.parametrize('args, says', [
    ([], ['0: ', '49: ']), (['--frames', 7, 3], ['frame 7: ', ', 3: ']),
    (['--clip', 1, '--worst', '--count', 2], ['synthetic']), (['--worst', '--apart', 3], [])])
def test_pictures_are_written(command, capsys, tmp_path, args, says):
    command(*args, '--out', tmp_path / 'poses.png')
    shown = capsys.readouterr().out
    assert all(text in shown for text in says) and 'MPJPE in mm' in shown
    assert cv2.imread(str(tmp_path / 'poses.png')).std() > 5
    assert [p.name for p in tmp_path.iterdir()] == ['poses.png']


@pytest.mark.parametrize('args, message', [
    (['--frames', 50], 'frames: expected numbers from 0 to 49'),
    (['--clip', 'nobody'], "clip 'nobody': 0 of the 2 clips fit"), (['--count', 0], 'count'),
    (['--worst', '--apart', 0], 'apart'), (['--cfg-options', 'model.head.in_channels=8'], 'small')])
def test_errors_are_one_line(command, tmp_path, args, message):
    with pytest.raises(SystemExit, match=message) as error:
        command('--out', tmp_path / 'x.png', *args)
    assert str(error.value).startswith('error: ') and '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_checkpoint(command):
    with pytest.raises(SystemExit, match='error: .*gone.pth'):
        command(weights='gone.pth')


def test_the_model_is_ready_to_predict(tmp_path):
    config = make_config()
    torch.save(dict(state_dict=make_model(config).state_dict()), tmp_path / 'w.pth')
    assert not load_model(config, str(tmp_path / 'w.pth'), 'cpu').training
