"""Errors of live lifting: the streams measured are those that ship, and the sums are right."""

import csv
import importlib.util
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis.lift_stream import LiftStream
from mmpose_lift.apis.look_ahead import (
    StreamErrors,
    lift_live,
    load_lifter,
    measure_look_ahead,
    write_look_ahead_table,
)
from mmpose_lift.datasets.pose_sequence_dataset import PoseSequenceDataset
from mmpose_lift.evaluation.functional import mpjpe, mpjve

from .test_clip_lifter import SIZE, T, build, clip, small
from .test_stream import feed, needed, sparse

STORE = dict(num_clips=2, num_frames=40, seed=1)


@pytest.mark.parametrize('make,stride', [(build, 1), (lambda: sparse(input_stride=20), 20)])
def test_live_lifting_of_arrays_is_the_stream(make, stride):
    lifter, keypoints = make(), clip(70)
    found = lift_live(lifter, keypoints, SIZE, 50, [0, 4, 20])
    for poses, look_ahead in zip(found, (0, 4, 20)):
        expected = needed(LiftStream(lifter, SIZE, 50, look_ahead), keypoints)[0]
        np.testing.assert_allclose(poses, [expected[f] for f in range(70)], atol=2e-6)
    twice = lift_live(lifter, keypoints, SIZE, 100, [4])[0]  # as much time, twice the frames
    expected, _ = feed(LiftStream(lifter, SIZE, 100, 8), keypoints)
    np.testing.assert_allclose(twice, [expected[f] for f in range(70)], atol=2e-6)


def test_windows_that_streams_share_are_lifted_once():
    lifter, keypoints = build(batch_size=4), clip(60)
    forward, count = lifter.forward, []
    lifter.forward = lambda inputs: (count.append(len(inputs)), forward(inputs))[1]
    lift_live(lifter, keypoints, SIZE, 50, [0, 1, 5, T - 1])
    assert 60 <= sum(count) < 80 and max(count) <= 4


def config_of(model=None, **dataset):
    config = model or small()
    options = {**config.test_dataloader.dataset, 'type': 'PoseSequenceDataset', 'stores': STORE,
               'cameras_per_clip': 2, **dataset}
    return Config(dict(model=config.model, test_dataloader=dict(dataset=options)))


def test_errors_by_hand():
    lifter, config = build(), config_of()
    found = measure_look_ahead(config, lifter, [3, 0])
    assert [one.look_ahead for one in found] == [0, 3, None] and found[0].input_stride is None
    assert found[1].milliseconds == 60 and {one.frames for one in found} == {160}
    data = PoseSequenceDataset(STORE, seq_len=1, windows='frames', cameras_per_clip=2)
    errors, speeds, changes = [], [], []
    for first in range(0, 160, 40):
        item = data.read(np.arange(first, first + 40))
        size = [float(item['camera_param'][name][0]) for name in 'wh']
        target = item['lifting_target'][:, 0] * 1000
        target -= target[:, :1]
        poses, _ = feed(LiftStream(lifter, size, 50, 3), item['keypoints'][:, 0])
        poses = np.stack([poses[f] for f in range(40)]) * 1000
        poses -= poses[:, :1]
        errors.append(mpjpe(poses, target))
        speeds.append(mpjve(poses, target))
        changes.append(np.linalg.norm(np.diff(poses - target, n=2, axis=0), axis=-1).mean())
    np.testing.assert_allclose(found[1][3:6], [np.mean(x) for x in (errors, speeds, changes)],
                               rtol=1e-4)
    one_camera = measure_look_ahead(config, lifter, [0], cameras=1)
    assert one_camera[0].frames == 80


def test_models_of_key_frames_are_measured_at_several_strides():
    lifter = sparse()
    config = config_of(Config(dict(model={}, test_dataloader=dict(dataset=dict(
        seq_len=9, seq_step=5, input_strides=[5, 10])))), cameras_per_clip=1)
    found = measure_look_ahead(config, lifter, [0, 5], [5, 20])
    assert [(one.input_stride, one.look_ahead) for one in found] == [
        (5, 0), (5, 5), (5, None), (20, 0), (20, 5), (20, None)]
    assert lifter.input_stride == 5 and len({round(one.mpjpe, 6) for one in found}) == 6


@pytest.mark.parametrize('look_aheads,strides,message', [
    ([], [], 'expected one number of frames'), ([T], [], 'look_ahead: a window of model'),
    ([0], [5], 'needs 2D keypoints at every frame')])
def test_wrong_options(look_aheads, strides, message):
    with pytest.raises(ValueError, match=message):
        measure_look_ahead(config_of(), build(), look_aheads, strides)


def test_command(root_dir, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location('analyze', root_dir / 'tools/analyze.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = config_of(cameras_per_clip=1)
    config.dump(tmp_path / 'small.py')
    torch.save(dict(state_dict=build().model.state_dict()), tmp_path / 'small.pth')
    before, sys.argv = sys.argv, [
        'analyze.py', 'look-ahead', str(tmp_path / 'small.py'), str(tmp_path / 'small.pth'),
        '--device', 'cpu', '--look-ahead', '2', '0', '--out', str(tmp_path / 'table.csv')]
    try:
        module.main()
    finally:
        sys.argv = before
    lifter = load_lifter(config, str(tmp_path / 'small.pth'), 'cpu')
    expected = measure_look_ahead(config, lifter, [0, 2])
    rows = list(csv.reader((tmp_path / 'table.csv').open(encoding='utf-8')))
    assert [row[:2] for row in rows[1:]] == [['0', '0'], ['2', '40'], ['whole clip', '']]
    assert [float(row[2]) for row in rows[1:]] == [round(one.mpjpe, 2) for one in expected]
    shown = capsys.readouterr().out
    assert f'| 2 | 40 | {expected[1].mpjpe:.2f} |' in shown and '| ---: |' in shown


def test_tables(tmp_path):
    errors = [StreamErrors(0, 0., 5, 50.123, 4., 2., 7), StreamErrors(None, None, 5, 40, 3., 1., 7)]
    write_look_ahead_table(tmp_path / 'table.md', errors)
    lines = (tmp_path / 'table.md').read_text(encoding='utf-8').splitlines()
    assert lines[2] == '| 0 | 0 | 5 | 50.12 | 4.000 | 2.000 | 7 |'
    assert lines[3] == '| whole clip |  | 5 | 40.00 | 3.000 | 1.000 | 7 |'
    with pytest.raises(ValueError, match='expected a .csv or .md file'):
        write_look_ahead_table(tmp_path / 'table.txt', errors)
