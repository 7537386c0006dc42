import copy
import csv
import importlib.util
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis import analysis
from mmpose_lift.apis.adaptive_stride import AdaptiveInputStride
from mmpose_lift.datasets.pose_sequence_dataset import PoseSequenceDataset
from mmpose_lift.evaluation.functional import mpjpe
from mmpose_lift.evaluation.velocity import velocity_bins

SMALL = {
    'model.backbone.spatial_dims': 8, 'model.backbone.temporal_dims': 16,
    'model.backbone.num_heads': 2, 'model.head.in_channels': 16,
    'test_dataloader.dataset.stores': dict(num_clips=2, num_frames=133, seed=1),
    'test_dataloader.dataset.cameras_per_clip': 1, 'test_dataloader.batch_size': 64,
}


@pytest.fixture(scope='module')
def config(root_dir):
    config = Config.fromfile(root_dir / 'configs/demo_uplift_upsample.py')
    config.merge_from_dict(SMALL)
    return config


@pytest.fixture(scope='module')
def checkpoint(config, tmp_path_factory):
    from mmengine.registry import init_default_scope
    from mmpose.registry import MODELS
    init_default_scope('mmpose')
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp('weights') / 'small.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def lifter(config, checkpoint):
    return analysis.load_lifter(config, checkpoint, 'cpu')


@pytest.fixture(scope='module')
def clips(config):
    return analysis.TestClips(config)


@pytest.fixture
def fast_config(config):
    """The same data at 100 frames per second."""
    config = copy.deepcopy(config)
    config.test_dataloader.dataset.stores = dict(num_clips=1, num_frames=133, seed=1, fps=100.)
    return config


def test_clips_are_read_whole(config, clips):
    options = config.test_dataloader.dataset
    frames = PoseSequenceDataset(options.stores.to_dict(), seq_len=1, windows='frames',
                                 cameras_per_clip=1)
    start = 0
    for number in range(len(clips)):
        clip = clips[number]
        count = len(clip.target)
        item = frames.read(np.arange(start, start + count))
        start += count
        np.testing.assert_array_equal(clip.keypoints[::5], item['keypoints'][::5, 0])
        assert np.isnan(np.delete(clip.keypoints, np.arange(0, count, 5), axis=0)).all()
        target = item['lifting_target'][:, 0]
        np.testing.assert_allclose(clip.target, target - target[:, :1], atol=1e-6)
        assert clip.fps == 50 and clip.rate == 1
    assert start == len(frames)


def test_clips_of_another_rate(fast_config, lifter):
    clip = analysis.TestClips(fast_config)[0]
    assert clip.rate == 2 and clip.fps == 100
    assert np.flatnonzero(clip.key_frames(20)).tolist() == [0, 40, 80, 120]
    assert np.flatnonzero(np.isfinite(clip.keypoints[:, 0, 0])).tolist() == list(range(0, 133, 10))
    maps = analysis.attention_maps(lifter, clip, 60, 20)
    assert maps[0].frames.tolist() == list(range(-80, 81, 10))


def test_clips_are_found_by_number_and_name(clips):
    assert clips.find('1') == 1 and clips.find(clips.names[1]) == 1
    for which in ('nobody', '7', 'synthetic'):
        with pytest.raises(ValueError, match=f'clip {which!r}: . of the 2 clips'):
            clips.find(which)


def test_attention_maps_are_those_of_the_window(lifter, clips):
    clip = clips[0]
    maps = analysis.attention_maps(lifter, clip, 70, 20)
    assert [m.name for m in maps] == ['temporal block 1', 'temporal block 2', 'strided block 1',
                                      'strided block 2', 'strided block 3']
    for block in maps:
        np.testing.assert_allclose(block.weights.sum(-1), 1, atol=1e-5)
        assert block.weights.shape == (2, len(block.frames), len(block.frames))
    first = maps[0]
    assert (70 + first.frames[first.key_frames]).tolist() == [40, 60, 80, 100]
    assert (first.weights[:, :, ~first.key_frames] < 1e-6).all()  # deferred attention
    assert (maps[1].weights[:, :, ~first.key_frames] > 1e-6).all()
    # stride 3 with padding (1, 1) keeps every third token from the first on
    assert maps[3].frames.tolist() == first.frames[::3].tolist()
    assert maps[4].frames.tolist() == first.frames[::9].tolist()


def test_per_frame_errors_are_those_of_whole_clips(config, lifter, clips):
    """The test data set window by window against the clip lifter, which shares tokens."""
    strict = copy.deepcopy(config)
    strict.test_dataloader.dataset.strict = True
    found = analysis.errors_by_stride(strict, lifter.model, [5, 20])
    assert list(found) == [5, 20]
    for s_in, frames in found.items():
        errors, velocity = [], []
        for number in range(len(clips)):
            clip = clips[number]
            poses = lifter.lift(clip.keypoints, clip.image_size, s_in)
            errors.append(1000 * mpjpe(poses, clip.target, root_index=0, reduction='none'))
            velocity.append(clip.velocity())
        np.testing.assert_allclose(np.sort(frames.error), np.sort(np.concatenate(errors)),
                                   rtol=1e-4)
        np.testing.assert_allclose(np.sort(frames.velocity), np.sort(np.concatenate(velocity)),
                                   atol=1e-4)


def test_compared_strides(lifter, clips):
    policy = AdaptiveInputStride(threshold=1e-6)
    slow, fast, adaptive = analysis.compare_strides(lifter, clips[1], policy, 'offline')
    assert [c.key_frames.sum() for c in (slow, fast, adaptive)] == [7, 27, 27]
    np.testing.assert_allclose(adaptive.error, fast.error, rtol=1e-4)
    assert np.abs(slow.error - fast.error).max() > 1


def test_the_velocity_table(tmp_path):
    velocity, error = np.array([.05, .12, .31]), np.array([10., 20., 40.])
    bins = {5: velocity_bins(velocity, error), 20: velocity_bins(velocity, 2 * error)}
    for name in ('t.csv', 't.md'):
        analysis.write_velocity_table(tmp_path / name, bins)
    rows = list(csv.reader(open(tmp_path / 't.csv', encoding='utf-8')))
    assert rows[0][-2:] == ['MPJPE mm, s_in = 5', 'MPJPE mm, s_in = 20']
    assert rows[2] == ['0.1', '0.2', '1', '66.67', '20.00', '40.00']
    assert rows[3] == ['0.2', '0.3', '0', '66.67', '', '']
    assert (tmp_path / 't.md').read_text().splitlines()[3] == \
        '| 0.1 | 0.2 | 1 | 66.67 | 20.00 | 40.00 |'
    with pytest.raises(ValueError, match='.csv or .md'):
        analysis.write_velocity_table(tmp_path / 't.txt', bins)


def test_other_configs_are_refused(root_dir, lifter, config, checkpoint):
    other = Config.fromfile(root_dir / 'configs/demo_mixste.py')
    for call in (lambda: analysis.TestClips(other),
                 lambda: analysis.load_lifter(other, checkpoint)):
        with pytest.raises(ValueError, match='KeyFrameSequenceDataset, found PoseSequence'):
            call()
    mixed = copy.deepcopy(config)
    mixed.test_evaluator = dict(type='LiftingMetric')
    with pytest.raises(ValueError, match=r"KeyFrameLiftingMetric, found \['LiftingMetric'\]"):
        analysis.errors_by_stride(mixed, lifter.model, [5])


@pytest.fixture(scope='module')
def command(root_dir, config, checkpoint, tmp_path_factory):
    """Run tools/analyze.py in this process."""
    spec = importlib.util.spec_from_file_location('analyze', root_dir / 'tools/analyze.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp('config') / 'small.py'
    config.dump(path)

    def run(subject, *args, weights=checkpoint):
        before, sys.argv = sys.argv, ['analyze.py', subject, str(path), weights, '--device', 'cpu',
                                      *map(str, args)]
        try:
            module.main()
        finally:
            sys.argv = before
    return run


@pytest.mark.parametrize('subject', ['attention', 'keyframes', 'velocity', 'stride'])
def test_every_subject_explains_itself(command, capsys, subject):
    with pytest.raises(SystemExit) as ended:
        command(subject, '--help')
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and 'usage' in shown and '--cfg-options' in shown


@pytest.mark.parametrize('subject, args, says', [
    ('attention', ['--s-in', 10], 'frame 65'),
    ('attention', ['--per-head', '--frame', 20], 'frame 20'),
    ('keyframes', ['--first', 40], '9 frames, 3 of them key-frames'),
    ('stride', ['--clip', 1, '--mode', 'offline', '--threshold', '1e-6'], ' 27 2D frames'),
    ('stride', ['--look-ahead', 20], 'adaptive (online)'),
])
def test_pictures_are_written(command, capsys, tmp_path, subject, args, says):
    out = tmp_path / 'picture.png'
    command(subject, *args, '--out', out)
    assert says in capsys.readouterr().out
    image = cv2.imread(str(out))
    assert image.std() > 5 and [p.name for p in tmp_path.iterdir()] == ['picture.png']


def test_velocity_files_are_written(command, capsys, tmp_path):
    command('velocity', '--s-in', 5, 20, '--out', tmp_path / 'v')
    assert 's_in = 20' in capsys.readouterr().out
    assert {p.name for p in (tmp_path / 'v').iterdir()} == {'velocity.csv', 'velocity.md',
                                                            'velocity.png'}


@pytest.mark.parametrize('subject, args, message', [
    ('attention', ['--frame', 3], 'frame 3: expected a multiple of 5'),
    ('attention', ['--s-in', 12], 'multiple of the output stride 5'),
    ('keyframes', ['--first', 500], 'no frame to show: the clip has the frames 0 to 132'),
    ('stride', ['--clip', 'nobody'], "clip 'nobody'"),
    ('stride', ['--fast', 20], 'fewer frames than slow=20'),
    ('velocity', ['--s-in', 7], 'multiple of the output stride 5'),
])
def test_errors_are_one_line(command, tmp_path, subject, args, message):
    with pytest.raises(SystemExit, match=message) as error:
        command(subject, *args, '--out', tmp_path / 'x.png')
    assert str(error.value).startswith('error: ') and '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_missing_checkpoint_is_one_line(command):
    with pytest.raises(SystemExit, match='error: .*gone.pth'):
        command('stride', weights='gone.pth')
