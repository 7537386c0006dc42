import json

import numpy as np
import pytest
import torch

from mmpose_lift.datasets.body_motion_fitting import BodyMotionFitting
from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.io import PoseStore, Sequence, write_store
from mmpose_lift.io.body_motion import read_body_motion
from mmpose_lift.models.body import BodyModel, motion_fitting
from tests.tools.test_prepare_data import run, tool  # noqa: F401

CLIPS = (('7', '07_01', 40), ('7', '07_02', 30), ('8', 'Walk 1', 21))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(motion_fitting, '_STEPS', 12)
    monkeypatch.setattr(motion_fitting, '_SHAPE_STEPS', 12)


@pytest.fixture
def store(tmp_path):
    path = tmp_path / 'store'
    joints = [generate_motion('walking', frames, [5, i])
              for i, (_, _, frames) in enumerate(CLIPS)]
    joints[1][10:16] = 0
    valid = np.ones(sum(map(len, joints)), dtype=bool)
    valid[50:56] = False
    rows = np.cumsum([0, *map(len, joints)])
    sequences = [Sequence(subject, '', name, '', 50, 0, 0, int(first), int(last))
                 for (subject, name, _), first, last in zip(CLIPS, rows, rows[1:])]
    write_store(path, frame='world', skeleton='h36m', sequences=sequences, valid=valid,
                keypoints_3d=np.concatenate(joints), source='made up')
    return path


def test_store_becomes_motions(store, tmp_path):
    out, done = tmp_path / 'motions', []
    fitting = BodyMotionFitting([store], out, fps=25)
    report = fitting.run(progress=done.append)
    names = ['7/07_01_poses.npz', '7/07_02_poses.npz', '8/Walk_1_poses.npz']
    assert sorted(done) == sorted(report) == names
    assert json.loads((out / 'report.json').read_text())['clips'] == report
    motions = [read_body_motion(out / name) for name in names]
    assert [len(m) for m in motions] == [20, 7, 11]  # of 07_02 the 14 frames after the gap
    assert report[names[1]]['rows'] == [56, 70]
    np.testing.assert_array_equal(motions[0].betas, motions[1].betas)  # one person
    assert (motions[0].betas != motions[2].betas).any()
    for m in motions:
        assert (m.fps, m.gender, m.body_model) == (25, 'neutral', 'stand_in')
        assert 'made up' in m.source
    # what is on disk is the body at the recorded place, as far off as the report says
    body, m = BodyModel.stand_in(), motions[2]
    with torch.no_grad():
        vertices, _ = body(torch.tensor(m.betas).expand(len(m), -1), torch.tensor(m.rotmats))
        joints = body.h36m_joints(vertices).numpy() + m.trans[:, None]
    error = np.linalg.norm(joints - PoseStore.open(store).keypoints_3d[70::2], axis=-1)
    assert abs(1000 * error.mean() - report[names[2]]['error_mm']) < 0.1 and error.mean() < 0.05


def test_stopped_run_goes_on_and_bad_clips_are_rejected(store, tmp_path):
    out = tmp_path / 'motions'

    def stop(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        BodyMotionFitting([store], out).run(progress=stop)
    first = out / '7/07_01_poses.npz'
    written = first.stat().st_mtime_ns
    fitting = BodyMotionFitting([store], out)
    assert [clip.file for clip in fitting.remaining] == ['7/07_02_poses.npz', '8/Walk_1_poses.npz']
    assert len(fitting.run()) == 3
    assert first.stat().st_mtime_ns == written
    first.unlink()
    assert len(BodyMotionFitting([store], out).remaining) == 1
    with pytest.raises(FileExistsError, match='other settings'):
        BodyMotionFitting([store], out, fps=50)
    fitting = BodyMotionFitting([store], tmp_path / 'strict', max_error=1)
    assert all(entry['rejected'] for entry in fitting.run().values())
    assert not list((tmp_path / 'strict').rglob('*.npz'))
    assert not BodyMotionFitting([store], tmp_path / 'strict', max_error=1).remaining


def test_command_line(run, store, tmp_path, capsys):  # noqa: F811
    words = ['fit-body', store, '--out', '{0}/motions', '--processes', 1, '--fps', 10]
    assert run(*words, '--max-error', 1) == 0
    assert 'rejected: 8/Walk_1_poses.npz: mean joint distance' in capsys.readouterr().out
    assert run(*words) == 1
    assert 'other settings' in capsys.readouterr().err
    assert run(*words, '--overwrite') == 0
    assert '3 motions, 0 rejected; ' in capsys.readouterr().out
    assert run(*words, '--max-error', 1, '--overwrite') == 0
    assert not list((tmp_path / 'motions').rglob('*.npz'))
    (tmp_path / 'motions/report.json').write_text('{}')
    assert run(*words) == 1
    assert 'not a report' in capsys.readouterr().err
    assert run('fit-body', store, '--out', store) == 1
    assert 'not empty' in capsys.readouterr().err


def test_clips_that_cannot_be_fitted_are_rejected(tmp_path):
    joints = generate_motion('walking', 620, 1)
    joints[[601, 612], 3] = joints[[601, 612], 2]  # a shank of no length
    names = ('good', 'bad', 'empty')
    sequences = [Sequence('7', '', name, '', 50, 0, 0, first, last)
                 for name, first, last in zip(names, (0, 600, 615), (600, 615, 620))]
    write_store(tmp_path / 'store', frame='world', skeleton='h36m', sequences=sequences, source='',
                keypoints_3d=joints, valid=np.arange(620) < 615)
    report = BodyMotionFitting([tmp_path / 'store'], tmp_path / 'out', fps=50).run()
    assert [report[f'7/{name}_poses.npz']['rejected'] for name in names] == [
        '', report['7/bad_poses.npz']['rejected'], 'no valid frame']
    assert 'coincide' in report['7/bad_poses.npz']['rejected']


@pytest.mark.parametrize('arguments, words', [
    (dict(fps=0), 'fps: expected a number above 0'),
    (dict(max_error=-1), 'max_error'),
    (dict(regressor='J.npy'), 'stand-in body is neutral'),
    (dict(gender='female'), 'stand-in body is neutral'),
])
def test_wrong_arguments(store, tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        BodyMotionFitting([store], tmp_path / 'out', **arguments)


def test_wrong_stores(store, tmp_path):
    with pytest.raises(ValueError, match='two folders'):
        BodyMotionFitting([store, str(store) + '/'], tmp_path / 'out')
    opened = PoseStore.open(store)
    sequences = [Sequence('7', '', 'a', 'c', 50, 100, 100, 0, opened.num_frames)]
    write_store(tmp_path / 'camera', frame='camera', skeleton='h36m', sequences=sequences,
                keypoints_3d=np.array(opened.keypoints_3d), source='')
    with pytest.raises(ValueError, match='camera.*world axes'):
        BodyMotionFitting([tmp_path / 'camera'], tmp_path / 'out')
    with pytest.raises(FileNotFoundError):
        BodyMotionFitting([store], tmp_path / 'out', body=tmp_path / 'none.npz').run()
