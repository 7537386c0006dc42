"""Windows to clips to all frames and key-frames, in both sample forms."""

import pickle

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from mmpose.registry import METRICS
from mmpose.structures import PoseDataSample

from mmpose_lift.evaluation import KeyFrameLiftingMetric
from mmpose_lift.evaluation import functional as F
from mmpose_lift.evaluation.key_frames import interpolate_key_frames
from mmpose_lift.evaluation.velocity import root_relative_velocity

STEP = 5


def sample(pred, gt, weight=None, **info):
    """What the model hands on: a PoseDataSample with prediction and target."""
    out = PoseDataSample(metainfo=info)
    out.pred_instances = InstanceData(keypoints=pred)
    out.gt_instance_labels = InstanceData(lifting_target_label=torch.from_numpy(gt))
    if weight is not None:
        out.gt_instance_labels.set_field(weight, 'lifting_target_weight')
    return out


def clip(rng, frames, noise=0.05):
    """Predictions, not at the root, and root-relative ground truth, metres."""
    gt = (0.3 * rng.normal(size=(frames, 17, 3))).astype(np.float32)
    gt[:, 0] = 0
    return (gt + 1 + noise * rng.normal(size=gt.shape)).astype(np.float32), gt


def windows(pred, gt, weight=None, step=STEP, s_in=10, rate=1, **info):
    """One window per predicted frame; the last ones have fewer frames and padded targets."""
    frames = len(gt)
    out = []
    for start in range(0, frames, step):
        wanted = start + np.arange(step)
        exists = wanted < frames
        wanted = np.minimum(wanted, frames - 1)
        valid = np.repeat(exists[:, None], gt.shape[1], 1)
        if weight is not None:
            valid = valid * weight[wanted]
        out.append(sample(pred[start:start + 1], gt[wanted], valid.astype(np.float32), start=start,
                          s_in=s_in, s_in_frames=s_in * rate, flip=False,
                          counted=np.array([0, exists.sum()]), **info))
    return out


def batched(samples):
    """The same windows as one sample whose instance axis is the batch."""
    labels = [s.gt_instance_labels for s in samples]
    info = {key: [s.metainfo[key] for s in samples] for key in samples[0].metainfo}
    info = {key: value if isinstance(value[0], str) else np.stack(value)
            for key, value in info.items()}
    return [sample(np.stack([s.pred_instances.keypoints for s in samples]),
                   np.stack([x.lifting_target_label.numpy() for x in labels]),
                   np.stack([x.lifting_target_weight for x in labels]), **info)]


def evaluate(samples, batch=7, **kwargs):
    evaluator = Evaluator(METRICS.build(dict(type='KeyFrameLiftingMetric', **kwargs)))
    for i in range(0, len(samples), batch):
        evaluator.process(samples[i:i + batch])
    return evaluator.evaluate(10000)


def expected(clips, s_in=10, step=STEP):
    """MPJPE, N- and P-MPJPE in mm of (action, pred, gt) by the pure functions."""
    out = {}
    for key in ('', '/key'):
        for name, function in (('MPJPE', F.mpjpe), ('N-MPJPE', F.n_mpjpe), ('P-MPJPE', F.p_mpjpe)):
            actions = {}
            for action, pred, gt in clips:
                frames = np.arange(len(gt))
                pose = interpolate_key_frames(pred, frames, step)[0].astype(float)
                used = frames % s_in == 0 if key else slice(None)
                actions.setdefault(action, []).extend(
                    function(pose[used], gt[used].astype(float), None, 0, reduction='none') * 1000)
            prefix = f'{name}/s_in={s_in}{key}'
            out.update({f'{prefix}/{a}': np.mean(v) for a, v in actions.items()})
            out[prefix] = np.mean([np.mean(v) for v in actions.values()])
            out[f'{prefix}/frame_mean'] = np.mean(np.concatenate(list(actions.values())))
    return out


@pytest.fixture
def three_clips(rng):
    return [(action, *clip(rng, frames, noise))
            for action, frames, noise in (('Walking', 43, 0.02), ('Walking', 21, 0.05),
                                          ('Sitting', 30, 0.2))]


def all_windows(clips, **info):
    return [s for i, (action, pred, gt) in enumerate(clips)
            for s in windows(pred, gt, sequence=i, action=f'{action} {i}', subject='S9', **info)]


def test_registered_with_defaults():
    metric = METRICS.build(dict(type='KeyFrameLiftingMetric'))
    assert isinstance(metric, KeyFrameLiftingMetric) and not metric.prefix
    assert metric.names == ('MPJPE', 'N-MPJPE', 'P-MPJPE') and metric.root_align


def test_keys_and_numbers(rng, three_clips):
    samples = all_windows(three_clips)
    wanted = expected(three_clips)
    rng.shuffle(samples)
    for form in (samples, batched(samples)):
        out = evaluate(form)
        assert out == pytest.approx(wanted, rel=1e-5)
        assert all(isinstance(value, float) for value in out.values())


def test_several_strides_in_one_run(rng, three_clips):
    """As the test data set gives them: every window once per s_in, other predictions."""
    other = [(action, pred + rng.normal(0, 0.1, pred.shape).astype(np.float32), gt)
             for action, pred, gt in three_clips]
    samples = all_windows(three_clips) + all_windows(other, s_in=20)
    out = evaluate(batched(samples[::2]) + batched(samples[1::2]), batch=1)
    assert out == pytest.approx({**expected(three_clips), **expected(other, 20)}, rel=1e-5)
    assert [k for k in out if k.startswith('MPJPE') and 'ing' not in k and 'mean' not in k] == [
        'MPJPE/s_in=10', 'MPJPE/s_in=10/key', 'MPJPE/s_in=20', 'MPJPE/s_in=20/key']


def test_published_interpolation_and_errors(shared_dir):
    """The authors' interpolated poses, scored like any other, give the metric's number."""
    data = np.load(shared_dir / 'reference/uplift_upsample/keyframe_interpolation.npz')
    frames, pred = data['frame_indices'], data['pred3d']
    clips = np.split(np.arange(40), np.flatnonzero(frames == 0)[1:])
    gt = np.random.default_rng(3).normal(size=pred.shape).astype(np.float32)
    samples = [s for i, rows in enumerate(clips)
               for s in windows(pred[rows], gt[rows], sequence=i, s_in=5)]
    out = evaluate(samples)
    poses = data['interpolated'].astype(float), gt.astype(float)
    assert out['MPJPE/s_in=5'] == pytest.approx(F.mpjpe(*poses, None, 0) * 1000, rel=1e-6)
    assert out['MPJPE/s_in=5'] == out['MPJPE/s_in=5/frame_mean']
    assert out['N-MPJPE/s_in=5'] == pytest.approx(F.n_mpjpe(*poses, None, 0) * 1000, rel=1e-6)
    assert out['P-MPJPE/s_in=5'] == pytest.approx(F.p_mpjpe(*poses) * 1000, rel=1e-6)
    key = [x[data['is_keyframe']] for x in poses]
    assert out['MPJPE/s_in=5/key'] == pytest.approx(F.mpjpe(*key, None, 0) * 1000, rel=1e-6)


@pytest.mark.parametrize('case', ['all_valid', 'some_invalid', 'mirrored'])
def test_published_metrics(shared_dir, case):
    data = np.load(shared_dir / 'reference/uplift_upsample/metrics.npz')
    pred, gt, root = data[f'{case}/pred'], data[f'{case}/gt'], int(data[f'{case}/root_index'])
    order = [root, *(j for j in range(17) if j != root)]  # the root of H36M-17 is joint 0
    samples = windows(pred[:, order], np.ascontiguousarray(gt[:, order, :3]), gt[:, order, 3],
                      step=1, s_in=1, sequence=0)
    out = evaluate(samples)
    for key, reference in (('MPJPE', 'mpjpe'), ('N-MPJPE', 'nmpjpe_root'), ('P-MPJPE', 'pmpjpe')):
        assert out[f'{key}/s_in=1'] == pytest.approx(data[f'{case}/{reference}'] * 1000, rel=1e-6)


def test_root_is_subtracted_unless_asked(three_clips):
    samples = all_windows(three_clips)
    moved = evaluate(samples, names='MPJPE')['MPJPE/s_in=10']
    as_it_is = evaluate(samples, names='MPJPE', root_align=False)['MPJPE/s_in=10']
    assert moved < 1000 < as_it_is


def test_frame_rates(rng):
    """At 100 Hz s_in = 10 means every 20th frame of the clip."""
    pred, gt = clip(rng, 50)
    out = evaluate(windows(pred, gt, step=10, rate=2, sequence=0), names='MPJPE')
    wanted = expected([('', pred, gt)], s_in=20, step=10)
    assert out['MPJPE/s_in=10'] == pytest.approx(wanted['MPJPE/s_in=20'], rel=1e-5)
    assert out['MPJPE/s_in=10/key'] == pytest.approx(wanted['MPJPE/s_in=20/key'], rel=1e-5)


@pytest.mark.parametrize('form', [list, batched])
def test_invalid_joints(rng, form):
    pred, gt = clip(rng, 33)
    weight = rng.random((33, 17)) < 0.7
    gt[~weight] = np.nan
    gt[:, 0], weight[:, 0] = 0, True
    out = evaluate(form(windows(pred, gt, weight, sequence=0)), names=('MPJPE', 'N-MPJPE'))
    pose = interpolate_key_frames(pred, np.arange(33), STEP)[0].astype(float)
    for name, function in (('MPJPE', F.mpjpe), ('N-MPJPE', F.n_mpjpe)):
        assert out[f'{name}/s_in=10'] == pytest.approx(
            function(pose, gt.astype(float), weight, 0) * 1000, rel=1e-5)


def test_one_target_frame_needs_no_neighbours(rng):
    """Validation: the centre only, every 4th frame, and no key-frame among them."""
    pred, gt = clip(rng, 33)
    samples = [sample(pred[i:i + 1], gt[i:i + 1], sequence=0, start=i, s_in=10, s_in_frames=10)
               for i in range(1, 33, 4) if i % 10]
    out = evaluate(samples, names='MPJPE')
    used = [s.start for s in samples]
    error = F.mpjpe(pred[used].astype(float), gt[used].astype(float), None, 0) * 1000
    assert out == pytest.approx({'MPJPE/s_in=10': error, 'MPJPE/s_in=10/frame_mean': error})


def test_pck_and_auc(rng):
    pred, gt = clip(rng, 20)
    out = evaluate(windows(pred, gt, step=1, s_in=1, sequence=0), names=('PCK', 'AUC'))
    poses = pred.astype(float), gt.astype(float)
    assert out['PCK/s_in=1'] == pytest.approx(F.pck(*poses, None, 0))
    assert out['AUC/s_in=1/key'] == pytest.approx(F.auc(*poses, None, 0))


def test_masked_joints_are_no_hits(rng):
    """Their error is 0, below every threshold, but they must not be counted."""
    pred, gt = clip(rng, 20, noise=0.1)
    weight = rng.random((20, 17)) < 0.3
    weight[:, 0] = True
    names = ('PCK', 'AUC', 'MPJPE')
    out = evaluate(windows(pred, gt, weight, step=1, s_in=1, sequence=0), names=names)
    poses = pred.astype(float), gt.astype(float)
    assert out['PCK/s_in=1'] == pytest.approx(F.pck(*poses, weight, 0))
    assert out['AUC/s_in=1'] == pytest.approx(F.auc(*poses, weight, 0))
    assert 0 < out['AUC/s_in=1'] < out['PCK/s_in=1'] < 100
    dense = evaluate_dense(pred - pred[:, :1], gt, weight, names)
    assert dense['PCK'] == pytest.approx(out['PCK/s_in=1'])
    assert dense['AUC'] == pytest.approx(out['AUC/s_in=1'])


def evaluate_dense(pred, gt, weight, names):
    """The same frames through :class:`LiftingMetric`."""
    metric = METRICS.build(dict(type='LiftingMetric', names=names))
    evaluator = Evaluator([metric])
    evaluator.process([sample(pred, gt, weight.astype(np.float32), sequence=0, start=0,
                              counted=np.array([0, len(gt)]))])
    return evaluator.evaluate(1)


def test_repeated_windows_of_a_padded_sampler_count_once(three_clips):
    samples = all_windows(three_clips)
    assert evaluate(samples + samples[:3]) == evaluate(samples)


def test_clips_of_joined_data_sets_stay_apart(three_clips):
    samples = [s for i, (_, pred, gt) in enumerate(three_clips)
               for s in windows(pred, gt, sequence=0, subject='S1', action='A',
                                dataset_name=f'set{i}')]
    merged = expected([('A', pred, gt) for _, pred, gt in three_clips])
    assert evaluate(samples) == pytest.approx(merged, rel=1e-5)


def test_collected_from_several_processes(three_clips):
    """Windows dealt out in turn, sent as pickles, named tuples turned into plain ones."""
    samples = all_windows(three_clips)
    parts = []
    for rank in range(2):
        metric = KeyFrameLiftingMetric()
        mine = [s.to_dict() for s in samples[rank::2]]
        for i in range(0, len(mine), 4):
            metric.process(None, mine[i:i + 4])
        parts.append(pickle.loads(pickle.dumps(metric.results)))
    assert len(parts[0]) == len(parts[1])  # the collection cuts all to the fewest
    results = [[tuple(chunk) for chunk in batch] for pair in zip(*parts) for batch in pair]
    assert metric.compute_metrics(results) == pytest.approx(expected(three_clips), rel=1e-5)


def test_results_stay_small_and_are_copies(rng):
    samples = batched(windows(*clip(rng, 5000), sequence=0))
    metric = KeyFrameLiftingMetric()
    metric.process(None, [s.to_dict() for s in samples])
    assert len(pickle.dumps(metric.results)) < 1000 * 1300  # 1000 windows of 5 + 1 poses
    before = metric.compute_metrics(metric.results)
    samples[0].gt_instance_labels.lifting_target_label.zero_()  # the loader reuses its memory
    assert metric.compute_metrics(metric.results) == before


def test_per_frame(rng, three_clips):
    metric = KeyFrameLiftingMetric(names='MPJPE')
    for rate, s_in in ((1, 10), (1, 20)):
        metric.process(None, [s.to_dict() for s in all_windows(three_clips, s_in=s_in, rate=rate,
                                                               fps=50)])
    found = metric.per_frame()
    assert list(found) == [10, 20]
    out = metric.compute_metrics(metric.results)
    for s_in, frames in found.items():
        assert frames.error.mean() == pytest.approx(out[f'MPJPE/s_in={s_in}/frame_mean'])
        velocity = np.concatenate([root_relative_velocity(gt, 50) for *_, gt in
                                   (three_clips[2], three_clips[0], three_clips[1])])
        np.testing.assert_allclose(frames.velocity, velocity, rtol=1e-6)
        assert np.isnan(frames.velocity).sum() == 3


def test_per_frame_knows_the_frame_rate_and_what_it_does_not_know(rng):
    pred, gt = clip(rng, 20)
    weight = np.ones((20, 17))
    weight[6, 3], weight[12] = 0, 0
    metric = KeyFrameLiftingMetric()
    samples = windows(pred, gt, weight, step=10, rate=2, sequence=0)
    metric.process(None, [s.to_dict() for s in samples])
    with pytest.raises(ValueError, match='velocities need the frame rate.*meta_keys'):
        metric.per_frame()
    metric.results.clear()
    for s in samples:
        s.set_metainfo(dict(fps=100.))
    metric.process(None, [s.to_dict() for s in samples])
    error, velocity = metric.per_frame()[10]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(velocity)), [0, 6, 7, 12, 13])
    np.testing.assert_allclose(velocity[1:6], root_relative_velocity(gt, 100)[1:6], rtol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(error)), [12])


def test_errors(rng):
    pred, gt = clip(rng, 30)
    info = dict(sequence=7, action='Walking', subject='S9')
    samples = windows(pred, gt, **info)
    with pytest.raises(ValueError, match=r'clip S9 Walking \(number 7\), s_in=10: no window covers '
                                         r'the frames 5 to 9 \(2 such gaps\)'):
        evaluate(samples[:1] + samples[2:4] + samples[5:])
    bad = pred.copy()
    bad[5, 3] = np.nan
    with pytest.raises(ValueError, match='1 predictions are not finite, the first at frame 5.*S9'):
        evaluate(batched(windows(bad, gt, **info)))
    wrong = gt.copy()
    wrong[2, 3] = np.inf
    with pytest.raises(ValueError, match='clip S9 Walking.*gt has 3 values that are not finite'):
        evaluate(windows(pred, wrong, **info))
    for key in ('s_in', 's_in_frames', 'start', 'sequence'):
        incomplete = windows(pred, gt, **info)[0]
        incomplete.pop(key)
        with pytest.raises(ValueError, match=f'no {key} in the metainfo.*meta_keys'):
            evaluate([incomplete])
    whole = sample(gt[:5], gt[:5], start=0, s_in=5, s_in_frames=5, sequence=0)
    with pytest.raises(ValueError, match=r'found \(5, 17, 3\) and \(5, 17, 3\)'):
        evaluate([whole])
    samples[0].set_metainfo(dict(counted=np.array([0, 6])))
    with pytest.raises(ValueError, match=r'counted frames \[0, 6\] of the window at frame 0'):
        evaluate(samples)
    with pytest.raises(ValueError, match='lifting_target_weight must have shape'):
        evaluate([sample(pred[:1], gt[:5], np.ones((4, 17)), s_in=5, s_in_frames=5, start=0,
                         sequence=0)])
    with pytest.raises(ValueError, match='no joint is valid'):
        evaluate(windows(pred, gt, np.zeros((30, 17)), **info))
    with pytest.raises(ValueError, match='no window was scored'):
        KeyFrameLiftingMetric().compute_metrics([])
    with pytest.raises(ValueError, match='KeyFrameLiftingMetric: names must be some of MPJPE'):
        KeyFrameLiftingMetric(names=('MPJVE', ))
