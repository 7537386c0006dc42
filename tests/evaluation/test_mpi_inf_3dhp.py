"""The test protocol of MPI-INF-3DHP: joints, valid frames, groups; from a file to PCK 100."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.registry import METRICS
from mmpose.structures import PoseDataSample

from mmpose_lift.datasets import PoseSequenceDataset
from mmpose_lift.evaluation import MPIINF3DHPMetric
from mmpose_lift.geometry import joint_map
from mmpose_lift.io.readers import read_pstmo_3dhp

ROOT = 14  # of 3DHP's 17 joints; the official code scores 0 to 13 of them
PCK_JOINTS = range(14)
FROM_H36M = list(joint_map('h36m', 'mpi_inf_3dhp'))


def sample(pred, gt, weight=None, **info):
    """What the model hands on: a PoseDataSample with prediction and target."""
    out = PoseDataSample(metainfo=info)
    out.pred_instances = InstanceData(keypoints=pred)
    out.gt_instance_labels = InstanceData(lifting_target_label=torch.from_numpy(gt))
    if weight is not None:
        out.gt_instance_labels.set_field(torch.from_numpy(weight), 'lifting_target_weight')
    return out


def frames_of(pred, gt, weight=None, **info):
    """One window per frame."""
    return [
        sample(pred[i:i + 1], gt[i:i + 1], None if weight is None else weight[i:i + 1], start=i,
               counted=np.array([0, 1]), **info)
        for i in range(len(gt))
    ]


def batched(samples):
    """The same windows as one sample whose instance axis is the batch."""
    labels = [s.gt_instance_labels for s in samples]
    info = {key: [s.metainfo[key] for s in samples] for key in samples[0].metainfo}
    info = {k: v if isinstance(v[0], str) else np.stack(v) for k, v in info.items()}
    weight = None
    if 'lifting_target_weight' in labels[0]:
        weight = np.stack([np.asarray(x.lifting_target_weight) for x in labels])
    return [sample(np.stack([s.pred_instances.keypoints for s in samples]),
                   np.stack([np.asarray(x.lifting_target_label) for x in labels]), weight, **info)]


def evaluate(samples, batch=3, **kwargs):
    evaluator = Evaluator(METRICS.build(dict(type='MPIINF3DHPMetric', **kwargs)))
    for i in range(0, len(samples), batch):
        evaluator.process(samples[i:i + batch])
    return evaluator.evaluate(1000)


def clip(rng, frames, noise, joints=17):
    gt = (0.3 * rng.normal(size=(frames, joints, 3))).astype(np.float32)
    gt[:, 0] = 0
    return gt + noise * rng.normal(size=gt.shape).astype(np.float32), gt


def protocol(pred, gt):
    """The official numbers of H36M-ordered poses (N, 17, 3): PCK, AUC, MPJPE; written plainly."""
    pred, gt = (x.astype(np.float64)[:, FROM_H36M] * 1000 for x in (pred, gt))
    pred, gt = pred - pred[:, [ROOT]], gt - gt[:, [ROOT]]
    error = np.sqrt(((pred - gt) ** 2).sum(-1))
    pck, auc = [], []
    for joint in PCK_JOINTS:
        pck.append(np.mean(error[:, joint] < 150))
        auc.append(np.mean([np.mean(error[:, joint] < t) for t in range(0, 151, 5)]))
    return {'PCK': 100 * np.mean(pck), 'AUC': 100 * np.mean(auc), 'MPJPE': error.mean()}


@pytest.mark.parametrize('form', [list, batched])
def test_groups_pool_frames(rng, form):
    """Overall and group values against the protocol written with loops; frames weigh, not clips."""
    sets = {'TS1': (7, 0.05), 'TS2': (3, 0.2), 'TS3': (4, 0.08), 'TS5': (5, 0.1), 'TS6': (2, 0.3)}
    poses = {name: clip(rng, frames, noise) for name, (frames, noise) in sets.items()}
    samples = [s for i, (name, (pred, gt)) in enumerate(poses.items())
               for s in frames_of(pred, gt, sequence=i, subject=name, action='')]
    rng.shuffle(samples)
    out = evaluate(form(samples))
    pools = {'': list(sets), '/GS': ['TS1', 'TS2'], '/noGS': ['TS3'], '/outdoor': ['TS5', 'TS6']}
    pools.update({f'/{name}': [name] for name in sets})
    expected = {}
    for pool, names in pools.items():
        joined = [np.concatenate(parts) for parts in zip(*(poses[name] for name in names))]
        expected.update({f'{key}{pool}': v for key, v in protocol(*joined).items()})
    assert out == pytest.approx(expected, rel=1e-6)
    assert list(out)[:4] == ['PCK', 'PCK/GS', 'PCK/noGS', 'PCK/outdoor']
    assert 10 < out['PCK'] < 99 and out['AUC'] < out['PCK']


def test_thresholds_are_strict_and_joints_official(rng):
    """Hand-computed: an error of exactly 150 mm is outside; spine, head and root do not count."""
    gt = np.zeros((1, 17, 3), np.float32)
    pred = gt.copy()
    pred[0, 13, 2] = 0.15  # left wrist: float32(0.15) > 0.15
    pred[0, 16, 0] = 0.1499
    pred[0, [7, 9]] = 1  # spine and neck base are no joints of the official code
    info = dict(sequence=0, subject='TS4', action='')
    out = evaluate(frames_of(pred, gt, **info))
    assert out['PCK'] == pytest.approx(100 * 13 / 14)
    # 12 perfect joints are below 30 of 31 thresholds, one of 149.9 mm below the last only
    assert out['AUC'] == pytest.approx(100 * (12 * 30 + 1) / (14 * 31))
    assert out['MPJPE'] == pytest.approx((150 + 149.9 + 2 * 1000 * 3 ** 0.5) / 17)
    everything = evaluate(frames_of(pred, gt, **info), joints='all17')
    assert everything['PCK'] == pytest.approx(100 * 14 / 17)
    assert everything['MPJPE'] == out['MPJPE']


def test_joints_of_the_cross_data_set_line(rng):
    pred, gt = clip(rng, 6, 0.1, joints=16)
    samples = frames_of(pred, gt, sequence=0, subject='TS2', action='')
    pred, gt = (x.astype(np.float64) - x[:, :1] for x in (pred, gt))
    error = np.linalg.norm(pred - gt, axis=-1) * 1000
    out = evaluate(samples, joints='all16_with_root', skeleton='h36m_16')
    assert out['PCK'] == pytest.approx(100 * (error < 150).mean())
    assert out['MPJPE'] == pytest.approx(error.mean(), rel=1e-6)
    out = evaluate(samples, skeleton='h36m_16')
    assert out['PCK'] == pytest.approx(100 * np.delete(error < 150, [0, 7], axis=1).mean())


def test_root_is_subtracted_or_set_to_zero(rng):
    pred, gt = clip(rng, 5, 0.02)
    pred[:, 0] = 0
    moved = pred + np.float32([0, 0, 0.3])
    info = dict(sequence=0, subject='TS1', action='')
    out = evaluate(frames_of(pred, gt, **info))
    assert evaluate(frames_of(moved, gt + 2, **info)) == pytest.approx(out, rel=1e-4)
    literal = evaluate(frames_of(moved, gt, **info), root='zero')
    assert literal['PCK'] == 0
    moved[:, 0] = 0
    error = np.linalg.norm(moved.astype(float) - gt, axis=-1) * 1000
    assert literal['MPJPE'] == pytest.approx(error.mean(), rel=1e-6)
    pred[:, 0] = 5
    assert evaluate(frames_of(pred, gt, **info), root='zero') == pytest.approx(out)


@pytest.mark.parametrize('form', [list, batched])
def test_only_valid_and_counted_frames(rng, form):
    pred, gt = clip(rng, 8, 0.1)
    valid = np.array([1, 0, 1, 1, 0, 0, 1, 1])
    gt[4], pred[5] = np.nan, np.nan
    weight = np.repeat(valid[:, None], 17, 1).astype(np.float32)
    info = dict(sequence=0, subject='TS3', action='')
    expected = protocol(pred[valid > 0], gt[valid > 0])
    out = evaluate(form(frames_of(pred, gt, weight, **info)))
    assert {k: out[k] for k in expected} == pytest.approx(expected, rel=1e-6)
    # windows of four frames, the second moved back so that two of its frames were seen before
    windows = [sample(pred[a:a + 4], gt[a:a + 4], weight[a:a + 4], start=a, **info,
                      counted=np.array([4 * i - a, 4])) for i, a in enumerate((0, 2))]
    short = valid[:6] > 0
    expected = protocol(pred[:6][short], gt[:6][short])
    out = evaluate(form(windows))
    assert {k: out[k] for k in expected} == pytest.approx(expected, rel=1e-6)


def test_activities_and_repeated_windows(rng):
    poses = [clip(rng, 3, 0.05), clip(rng, 5, 0.2)]
    samples = [s for i, p in enumerate(poses) for s in frames_of(
        *p, sequence=i, subject='TS1', action=('sports', 'sitting')[i])]
    out = evaluate(samples)
    assert out == evaluate(samples + samples[2:4])
    assert out['AUC/sports'] == pytest.approx(protocol(*poses[0])['AUC'])
    assert out['PCK/sitting'] == pytest.approx(protocol(*poses[1])['PCK'])
    # the plain key is the mean over frames, not over activities
    joined = protocol(*(np.concatenate(parts) for parts in zip(*poses)))
    assert out['MPJPE'] == pytest.approx(joined['MPJPE'], rel=1e-6)


def test_errors(rng):
    pred, gt = clip(rng, 2, 0.1)
    info = dict(sequence=0, subject='TS1', action='')
    with pytest.raises(ValueError, match="subject 'S9', expected one of TS1.*meta_keys"):
        evaluate(frames_of(pred, gt, **dict(info, subject='S9')))
    with pytest.raises(ValueError, match='no clip named.*subject None'):
        evaluate([sample(pred, gt)])
    with pytest.raises(ValueError, match='no valid frame was scored'):
        evaluate(frames_of(pred, gt, np.zeros((2, 17), np.float32), **info))
    with pytest.raises(ValueError, match='frame 1 of clip 0 TS1: pred has 3 .*diverged'):
        bad = pred.copy()
        bad[1, 3] = np.nan
        evaluate(frames_of(bad, gt, **info)[1:])
    with pytest.raises(ValueError, match='poses have 16 joints, the skeleton of the metric 17'):
        evaluate(frames_of(pred[:, 1:], gt[:, 1:], **info))
    for kwargs, message in (
        (dict(names='MPJVE'), 'MPIINF3DHPMetric: names must be some of MPJPE'),
        (dict(joints='14'), 'joints must be one of official14, all17, all16_with_root'),
        (dict(joints='all17', skeleton='h36m_16'), "'all17' needs 17 joints, .* has 16"),
        (dict(joints='all16_with_root'), 'needs 16 joints'),
        (dict(joints='official14', skeleton='smpl'), 'needs 14 joints'),
        (dict(root='none'), "root must be 'subtract' or 'zero'"),
    ):
        with pytest.raises(ValueError, match=message):
            MPIINF3DHPMetric(**kwargs)


def test_from_the_file_to_the_protocol(tmp_path, rng):
    """P-STMO's test file, store, single-frame windows: perfect predictions score 100 and 0 mm."""
    init_default_scope('mmpose')
    data = {}
    for name, frames in (('TS2', 6), ('TS5', 4)):
        points = 200 * rng.normal(size=(frames, 17, 3)) + (0, 0, 3500)
        valid = np.arange(frames) % 3 != 1
        points[~valid] = np.nan
        data[name] = dict(data_2d=rng.uniform(0, 1000, (frames, 17, 2)), data_3d=points,
                          valid=valid)
    np.savez(tmp_path / 'data_test_3dhp.npz', data=np.array(data, dtype=object))
    read_pstmo_3dhp(tmp_path / 'data_test_3dhp.npz').write(tmp_path / 'store')
    dataset = PoseSequenceDataset(
        str(tmp_path / 'store'), keypoints_2d='gt', seq_len=1, windows='frames', pipeline=[
            dict(type='GenerateTarget', encoder=dict(type='PoseSequenceLabel')),
            dict(type='PackPoseInputs',
                 meta_keys=('sequence', 'start', 'counted', 'action', 'subject'))])
    assert len(dataset) == 10

    def scored(noise):
        samples = pseudo_collate(dataset._get_batch(range(10)))['data_samples']
        for s in samples:
            target = s.gt_instance_labels.lifting_target_label.numpy()
            weight = s.gt_instance_labels.lifting_target_weight.numpy()
            pred = np.where(weight[..., None] > 0, target, 9) + np.float32(noise)
            s.pred_instances = InstanceData(keypoints=pred)
        return evaluate(samples)

    perfect = scored(0)
    keys = {f'{k}{p}' for k in ('PCK', 'AUC', 'MPJPE')
            for p in ('', '/GS', '/outdoor', '/TS2', '/TS5')}
    assert set(perfect) == keys
    assert perfect['PCK'] == perfect['PCK/outdoor'] == 100 and perfect['MPJPE'] == 0
    assert perfect['AUC'] == pytest.approx(100 * 30 / 31)  # the threshold 0 never counts
    bad = 0.2 * np.eye(17)[:, 16:, None].reshape(17, 1) * np.ones(3)  # right wrist 346 mm off
    assert scored(bad)['PCK'] == pytest.approx(100 * 13 / 14)
