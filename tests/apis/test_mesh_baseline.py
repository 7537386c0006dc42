"""The constant prediction: what it is the mean of, and what it scores."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis.mesh_baseline import MeanMeshBaseline
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.io.body_motion import BodyMotion, write_body_motion
from mmpose_lift.models.body import BodyModel

FRAMES = 8
CONFIG = """
def dataset(name, **options):
    return dict(type='BodyMotionDataset', ann_file=name, data_root={root!r}, views=1, **options)


train_dataloader = dict(batch_size=4, num_workers=0, dataset=dataset('turning'))
test_dataloader = dict(batch_size=4, num_workers=0, dataset=dataset('turning', test_mode=True))
test_evaluator = [dict(type='MeshMetric', names=['MPJPE', 'PA-MPJPE', 'PVE'])]
model = dict(type='BodyMeshEstimator', data_preprocessor=dict(
    type='VirtualViewPreprocessor', body_model='stand_in', heatmap_size=16))
del dataset
"""


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A person who turns once about the vertical in one pose, and one who moves at random."""
    folder = tmp_path_factory.mktemp('motion')
    rng = np.random.default_rng(0)
    pose = np.repeat(0.2 * rng.normal(size=(1, 72)), FRAMES, axis=0)
    upright = axis_angle_to_matrix(np.array([np.pi / 2, 0, 0]))  # y up to z up
    angles = np.arange(FRAMES) * 2 * np.pi / FRAMES
    turns = axis_angle_to_matrix(np.stack([0 * angles, 0 * angles, angles], 1)) @ upright
    rotmats = axis_angle_to_matrix(pose.reshape(FRAMES, 24, 3))
    rotmats[:, 0] = turns
    rest = dict(trans=np.tile([0, 0, 1.], (FRAMES, 1)), fps=10)
    (folder / 'turning').mkdir()
    write_body_motion(folder / 'turning' / 'a.npz',
                      BodyMotion.from_rotmats(rotmats, 0.5 * rng.normal(size=10), **rest))
    (folder / 'config.py').write_text(CONFIG.format(root=str(folder)), encoding='utf-8')
    return folder


@pytest.fixture(scope='module')
def baseline(folder):
    return MeanMeshBaseline(Config.fromfile(folder / 'config.py'), device='cpu')


def test_the_mean_pose_aligns_without_error_and_the_mean_as_seen_shrinks(baseline, body):
    turned = baseline.mean_mesh(axes='body')
    assert turned.num_samples == FRAMES
    found = baseline.score(turned)
    # one pose, seen from all sides: the mean pose is that pose, turned to the camera
    assert found['PA-MPJPE'] == pytest.approx(0, abs=0.05) and found['MPJPE'] > 100
    seen = baseline.mean_mesh()
    # turning about the vertical leaves of every vertex its height above the pelvis
    shrunk = seen.vertices.norm(dim=1) / turned.vertices.norm(dim=1)
    assert shrunk.max() < 1.001 and shrunk.min() < 0.1
    np.testing.assert_allclose(seen.vertices.norm(dim=1), turned.vertices[:, 1].abs(), atol=5e-3)
    torch.testing.assert_close(seen.joints, body.h36m_joints(seen.vertices[None])[0])
    torch.testing.assert_close(seen.joints[0], torch.zeros(3), atol=1e-5, rtol=0)
    assert turned.joints[10, 1] < 0 < turned.joints[3, 1]  # y down: head above, foot below
    scores = baseline.score(seen)
    assert scores['PVE'] < found['PVE'] and scores['PA-MPJPE'] > 50


def test_scores_are_those_of_the_prediction(baseline, body):
    """Against the distance of the mean to every mesh, without metric and preprocessor."""
    dataset = baseline._test_set
    mean = baseline.mean_mesh()
    camera = dataset.cameras[0]
    inputs = [dataset[i]['inputs'] for i in range(len(dataset))]
    rotmats = axis_angle_to_matrix(np.stack([i['poses'] for i in inputs]).astype(np.float64))
    rotmats[:, 0] = camera.rotation @ rotmats[:, 0]
    betas = torch.from_numpy(np.stack([i['betas'] for i in inputs]))
    with torch.no_grad():
        vertices, _ = body(betas, torch.from_numpy(rotmats).float())
        vertices -= body.h36m_joints(vertices)[:, :1]
    torch.testing.assert_close(vertices.mean(0), mean.vertices, atol=1e-4, rtol=0)
    error = 1000 * (vertices - mean.vertices).norm(dim=-1).mean()
    assert baseline.score(mean)['PVE'] == pytest.approx(float(error), rel=1e-3)


def test_samples_are_taken_at_equal_steps(baseline):
    assert baseline.mean_mesh(3).num_samples == 3
    first = baseline.mean_mesh(1, axes='body').vertices
    torch.testing.assert_close(first, baseline.mean_mesh(3, axes='body').vertices, atol=1e-4,
                               rtol=0)


def test_on_the_command_line(folder, root_dir, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location('analyze', root_dir / 'tools/analyze.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr(sys, 'argv', ['analyze.py', 'mean-mesh', str(folder / 'config.py'),
                                      '--samples', '4', '--device', 'cpu'])
    tool.main()
    out = capsys.readouterr().out
    assert 'mean mesh of 4 training samples' in out
    rows = dict(line.split(': ') for line in out.splitlines() if line.startswith(('MPJPE', 'P')))
    assert set(rows) == {name + end for name in ('MPJPE', 'PA-MPJPE', 'PVE')
                         for end in ('', '/frame_mean')}
    assert rows['PA-MPJPE'].endswith('| 0.00')


def test_refused(folder, baseline):
    config = Config.fromfile(folder / 'config.py')
    for changes, message in (
            (dict(test_evaluator=[dict(type='RootMetric')]), 'expected a MeshMetric .*RootMetric'),
            (dict(train_dataloader=None), 'config.py.* has no train_dataloader')):
        changed = config.copy()
        for name, value in changes.items():
            changed[name] = value
        with pytest.raises(ValueError, match=message):
            MeanMeshBaseline(changed)
    with pytest.raises(ValueError, match='num_samples: expected at least 1, found 0'):
        baseline.mean_mesh(0)
    with pytest.raises(ValueError, match="axes: expected one of camera, body, found 'world'"):
        baseline.mean_mesh(axes='world')


def test_samples_without_body_do_not_count(baseline, monkeypatch):
    batches = baseline._batches

    def some(dataset, rows, valid):
        for samples in batches(dataset, rows):
            for i, sample in enumerate(samples):
                sample.gt_instances.gt_body_valid[:] = i in valid
            yield samples

    monkeypatch.setattr(baseline, '_batches', lambda *args: some(*args, valid={1, 2}))
    assert baseline.mean_mesh().num_samples == 2
    monkeypatch.setattr(baseline, '_batches', lambda *args: some(*args, valid=()))
    with pytest.raises(ValueError, match='none of 8 samples has a body label'):
        baseline.mean_mesh()
