"""Windows to clips to actions, in both sample forms."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from mmpose.registry import METRICS
from mmpose.structures import PoseDataSample

from mmpose_lift.evaluation import LiftingMetric
from mmpose_lift.evaluation import functional as F


def sample(pred, gt, weight=None, tensor=True, **info):
    """What the model hands on: a PoseDataSample with prediction and target."""
    out = PoseDataSample(metainfo=info)
    out.pred_instances = InstanceData(keypoints=pred)
    labels = InstanceData(lifting_target_label=torch.from_numpy(gt) if tensor else gt)
    if weight is not None:
        labels.set_field(weight, 'lifting_target_weight')
    out.gt_instance_labels = labels
    return out


def evaluate(samples, size=None, batch=2, **kwargs):
    evaluator = Evaluator(METRICS.build(dict(type='LiftingMetric', **kwargs)))
    for i in range(0, len(samples), batch):
        evaluator.process(samples[i:i + batch])
    return evaluator.evaluate(size or 1000)


def clip(rng, frames, noise=0.05):
    gt = rng.normal(size=(frames, 17, 3)).astype(np.float32)
    gt[:, 0] = 0
    return gt + noise * rng.normal(size=gt.shape).astype(np.float32), gt


def paper_windows(pred, gt, window, **info):
    """Consecutive windows, the last aligned to the end of the clip."""
    frames = len(gt)
    starts = [min(s, frames - window) for s in range(0, frames, window)]
    return [sample(pred[s:s + window], gt[s:s + window], start=s, counted=np.array([0, window]),
                   **info) for s in starts]


def batched(samples):
    """The same windows as one sample whose instance axis is the batch."""
    return [sample(np.stack([s.pred_instances.keypoints for s in samples]),
                   np.stack([np.asarray(s.gt_instance_labels.lifting_target_label)
                             for s in samples]),
                   **{k: [s.metainfo[k] for s in samples] if isinstance(v, str)
                      else np.stack([s.metainfo[k] for s in samples])
                      for k, v in samples[0].metainfo.items()})]


def test_registered_with_defaults():
    metric = METRICS.build(dict(type='LiftingMetric'))
    assert isinstance(metric, LiftingMetric) and not metric.prefix
    assert metric.names == ('MPJPE', 'P-MPJPE', 'N-MPJPE', 'MPJVE')


@pytest.mark.parametrize('case', ['T20', 'T54', 'T61'])
def test_parity_with_the_published_pipeline(shared_dir, case):
    data = np.load(shared_dir / 'reference/mixste/eval_pipeline.npz')
    pred, gt = data[f'{case}/pred_flip_averaged'], data[f'{case}/chunks_3d_root_zeroed']
    frames, window = len(data[f'{case}/seq_3d']), pred.shape[1]
    samples = [sample(p, g, sequence=0, start=max(min(i * window, frames - window), 0),
                      counted=np.array([0, window]), action='Walking 1', subject='S9')
               for i, (p, g) in enumerate(zip(pred, gt))]
    for form in (samples, batched(samples)):
        out = evaluate(form)
        assert out['MPJPE'] == pytest.approx(data[f'{case}/mpjpe'] * 1000, rel=1e-6)
        assert out['MPJPE'] == out['MPJPE/Walking'] == out['MPJPE/frame_mean']
        joined = [x.reshape(-1, *x.shape[-2:]).astype(np.float64) for x in (pred, gt)]
        assert out['MPJVE'] == pytest.approx(F.mpjve(*joined) * 1000, rel=1e-6)
        assert out['P-MPJPE'] == pytest.approx(F.p_mpjpe(*joined) * 1000, rel=1e-9)
        assert out['N-MPJPE'] == pytest.approx(F.n_mpjpe(*joined) * 1000, rel=1e-9)


def test_actions_and_frames_are_averaged_differently(rng):
    """Clip means weighted by frames inside an action, actions unweighted."""
    clips = [('Walking', 20, 0.01), ('Walking 1', 10, 0.05), ('Sitting_2', 10, 0.2)]
    samples, poses = [], []
    for i, (action, frames, noise) in enumerate(clips):
        pred, gt = clip(rng, frames, noise)
        poses.append((pred.astype(float), gt.astype(float)))
        samples += paper_windows(pred, gt, 10, sequence=i, action=action, subject='S9')
    rng.shuffle(samples)  # any order of windows
    out = evaluate(samples, names=('MPJPE', 'P-MPJPE', 'N-MPJPE', 'MPJVE', 'PCK', 'AUC'))
    scale = {'MPJPE': (F.mpjpe, 1000), 'P-MPJPE': (F.p_mpjpe, 1000), 'N-MPJPE': (F.n_mpjpe, 1000),
             'MPJVE': (F.mpjve, 1000), 'PCK': (F.pck, 1), 'AUC': (F.auc, 1)}
    for key, (function, factor) in scale.items():
        values = [function(p, g) * factor for p, g in poses]
        walking, sitting = (values[0] * 20 + values[1] * 10) / 30, values[2]
        expected = {key: (walking + sitting) / 2, f'{key}/Walking': walking,
                    f'{key}/Sitting': sitting, f'{key}/frame_mean': (walking * 3 + sitting) / 4}
        assert {k: v for k, v in out.items() if k.split('/')[0] == key} == pytest.approx(
            expected, rel=1e-6)
    assert all(isinstance(v, float) for v in out.values())


def test_overlapping_last_window_counts_twice_or_once(rng):
    pred, gt = clip(rng, 13)
    info = dict(sequence=0, action='', subject='')
    error = F.joint_errors(pred, gt).mean(-1) * 1000
    twice = paper_windows(pred, gt, 5, **info)
    out = evaluate(twice)
    assert out['MPJPE'] == pytest.approx((error.sum() + error[8:10].sum()) / 15)
    assert set(out) == {f'{k}{s}' for k in ('MPJPE', 'P-MPJPE', 'N-MPJPE', 'MPJVE')
                        for s in ('', '/frame_mean')}
    # The jump backwards from frame 9 to frame 8 is in MPJVE.
    order = [*range(10), *range(8, 13)]
    assert out['MPJVE'] == pytest.approx(
        F.mpjve(pred[order].astype(float), gt[order].astype(float)) * 1000, rel=1e-6)

    once = paper_windows(pred, gt, 5, **info)
    once[-1].set_metainfo(dict(counted=np.array([2, 5])))
    for form in (once, batched(once)):
        out = evaluate(form)
        assert out['MPJPE'] == pytest.approx(error.mean())
        assert out['MPJVE'] == pytest.approx(
            F.mpjve(pred.astype(float), gt.astype(float)) * 1000, rel=1e-6)


def test_velocity_inside_windows_only(rng):
    pred, gt = clip(rng, 10)
    samples = paper_windows(pred, gt, 5, sequence=0, action='A', subject='')
    out = evaluate(samples, names=('MPJVE', ), velocity='window')
    assert out['MPJVE'] == pytest.approx(1000 * F.mpjve(
        pred.reshape(2, 5, 17, 3).astype(float), gt.reshape(2, 5, 17, 3).astype(float)), rel=1e-6)


@pytest.mark.parametrize('form', [list, batched])
def test_one_frame_per_window(rng, form):
    """Models that answer with one frame are scored like whole sequences."""
    pred, gt = clip(rng, 9)
    samples = [sample(pred[i:i + 1], gt[i:i + 1], sequence=3, start=i - 4, subject='S1',
                      counted=np.array([0, 1]), action='Walking') for i in range(9)]
    out = evaluate(form(samples))
    assert out['MPJPE'] == pytest.approx(F.mpjpe(pred, gt) * 1000)
    assert out['MPJVE/Walking'] == pytest.approx(
        F.mpjve(pred.astype(float), gt.astype(float)) * 1000, rel=1e-6)


def test_batched_form_is_the_same(rng):
    samples = []
    for i, action in enumerate(('Walking', 'Sitting', 'Sitting 1')):
        samples += paper_windows(*clip(rng, 17), 6, sequence=i, action=action, subject='S11')
    single, together = evaluate(samples), evaluate(batched(samples))
    assert single == pytest.approx(together, rel=1e-12)


def test_repeated_windows_of_a_padded_sampler_count_once(rng):
    samples = paper_windows(*clip(rng, 12), 4, sequence=0, action='A', subject='')
    assert evaluate(samples + samples[:2]) == evaluate(samples)


def test_clips_of_joined_data_sets_stay_apart(rng):
    poses = [clip(rng, 4), clip(rng, 4)]
    samples = [s for i, p in enumerate(poses)
               for s in paper_windows(*p, 4, sequence=0, action='A', subject='S1',
                                      dataset_name=f'set{i}')]
    assert evaluate(samples, names='MPJPE')['MPJPE'] == pytest.approx(
        np.mean([F.mpjpe(*p) for p in poses]) * 1000)


@pytest.mark.parametrize('form', [list, batched])
def test_invalid_joints(rng, form):
    pred, gt = clip(rng, 8)
    weight = (rng.random((8, 17)) < 0.7).astype(np.float32)
    samples = paper_windows(pred, gt, 4, sequence=0, action='', subject='')
    samples = form(samples)
    parts = [weight[:4], weight[4:]]
    for s, w in zip(samples, [np.stack(parts)] if form is batched else parts):
        s.gt_instance_labels.set_field(w, 'lifting_target_weight')
    out = evaluate(samples)
    poses = pred.astype(float), gt.astype(float), weight
    assert out['MPJPE'] == pytest.approx(F.mpjpe(*poses) * 1000)
    assert out['P-MPJPE'] == pytest.approx(F.p_mpjpe(*poses) * 1000)
    assert out['MPJVE'] == pytest.approx(F.mpjve(*poses) * 1000, rel=1e-6)


def test_root_align(rng):
    pred, gt = clip(rng, 6)
    samples = paper_windows(pred + 1, gt, 6, sequence=0, action='', subject='')
    out = evaluate(samples, names=('MPJPE', ), root_align=True)
    assert out['MPJPE'] == pytest.approx(F.mpjpe(pred + 1., gt + 0., root_index=0) * 1000, rel=1e-5)
    assert evaluate(samples, names=('MPJPE', ))['MPJPE'] > 1000


def test_samples_of_other_data_sets(rng):
    """Without window information each sample is a clip of its own."""
    poses = [clip(rng, 5), clip(rng, 3)]
    out = evaluate([sample(p, g) for p, g in poses], names=('MPJPE', 'MPJVE'))
    velocity = [F.mpjve(*p) for p in poses]
    assert out['MPJVE'] == pytest.approx((velocity[0] * 5 + velocity[1] * 3) / 8 * 1000, rel=1e-6)
    with pytest.raises(ValueError, match='no clip has two frames.*remove MPJVE'):
        evaluate([sample(p[:1], g[:1]) for p, g in poses])
    assert 'MPJPE' in evaluate([sample(p[:1], g[:1]) for p, g in poses], names='MPJPE')


def test_results_stay_small(rng):
    metric = LiftingMetric()
    samples = paper_windows(*clip(rng, 243 * 4), 243, sequence=0, action='A', subject='')
    metric.process(None, [s.to_dict() for s in samples])
    assert len(metric.results) == 4
    assert sum(r.sums.nbytes + r.edges.nbytes for r in metric.results) < 4 * 1000


def test_errors(rng):
    pred, gt = clip(rng, 5)
    info = dict(sequence=7, start=10, counted=np.array([0, 5]), action='Walking', subject='S9')
    bad = pred.copy()
    bad[2, 3] = np.nan
    with pytest.raises(ValueError, match='frame 10 of clip 7 S9 Walking.*pred has 3.*diverged'):
        evaluate([sample(bad, gt, **info)])
    with pytest.raises(ValueError, match=r'found \(5, 17, 3\) and \(4, 17, 3\)'):
        evaluate([sample(pred, gt[:4], **info)])
    with pytest.raises(ValueError, match=r'counted frames \[0, 5\] do not lie in a target of 1'):
        evaluate([sample(pred[:1], gt[:1], **info)])
    with pytest.raises(ValueError, match='lifting_target_weight must have shape'):
        evaluate([sample(pred, gt, weight=np.ones((4, 17)), **info)])
    empty = PoseDataSample()
    empty.pred_instances = InstanceData(keypoints=pred)
    with pytest.raises(ValueError, match='no gt_instance_labels.lifting_target_label'):
        evaluate([empty])
    with pytest.raises(ValueError, match='some of MPJPE'):
        LiftingMetric(names=('PA-MPJPE', ))
    with pytest.raises(ValueError, match="velocity must be 'clip' or 'window'"):
        LiftingMetric(velocity='flat')
