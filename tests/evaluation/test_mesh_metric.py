"""Values by hand and against the pure functions, protocols, bodies, refusals."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from mmpose.registry import METRICS
from mmpose.structures import PoseDataSample

from mmpose_lift.evaluation import MeshMetric
from mmpose_lift.evaluation import functional as F
from mmpose_lift.geometry.rotations import axis_angle_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton, joint_map
from mmpose_lift.models.body import BodyModel, stand_in_arrays, stand_in_h36m_regressor

LSP = list(joint_map('h36m', 'lsp_14'))
NAMES = get_skeleton('h36m').joint_names


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def tall():
    """Another body: 10 % larger."""
    arrays = stand_in_arrays()
    return dict(arrays, v_template=1.1 * arrays['v_template'],
                J_regressor_h36m=stand_in_h36m_regressor(), regressor_skeleton='h36m')


def sample(pred=None, gt=None, valid=None, shape=None, vertices=None, body_valid=True, tensor=True,
           **info):
    """What the model hands on, one person."""
    pred = np.zeros((17, 3), np.float32) if pred is None else pred
    out = PoseDataSample(metainfo=dict(id=3, **info))
    convert = torch.from_numpy if tensor else np.asarray
    out.pred_instances = InstanceData(
        h36m_joints=convert(pred[None].astype(np.float32)),
        vertices=convert((np.zeros((6890, 3)) if vertices is None else vertices)[None].astype(
            np.float32)))
    out.gt_instances = labels = InstanceData(bboxes=np.zeros((1, 4), np.float32))
    if gt is not None:
        labels.gt_h36m_joints = gt[None].astype(np.float32)
        labels.gt_h36m_valid = (np.ones(17) if valid is None else valid)[None]
    if shape is not None:
        labels.gt_betas, labels.gt_rotmats = (convert(x[None].astype(np.float32)) for x in shape)
        labels.gt_body_valid = np.array([body_valid], np.float32)
    return out


def evaluate(samples, size=1000, **options):
    evaluator = Evaluator(METRICS.build(dict(type='MeshMetric', **options)))
    for i in range(0, len(samples), 3):
        evaluator.process(samples[i:i + 3])
    return evaluator.evaluate(size)


def poses(rng, count, noise=0.05):
    gt = 0.4 * rng.normal(size=(count, 17, 3))
    gt -= gt[:, :1]
    return gt + noise * rng.normal(size=gt.shape), gt


def random_shape(rng):
    return rng.normal(size=10), axis_angle_to_matrix(0.2 * rng.normal(size=(24, 3)))


JOINTS = ('MPJPE', 'PA-MPJPE', 'PA-MPJPE-17')


def test_against_the_functions(rng):
    pred, gt = poses(rng, 5)
    relative = pred - pred[:, :1]  # the prediction is moved to its own pelvis
    found = evaluate([sample(p + 1, g, tensor=i % 2 == 0) for i, (p, g) in
                      enumerate(zip(pred, gt))], names=JOINTS)
    mm = 1000
    assert found['MPJPE'] == pytest.approx(mm * F.mpjpe(relative[:, LSP], gt[:, LSP]), rel=1e-5)
    assert found['PA-MPJPE'] == pytest.approx(mm * F.p_mpjpe(pred[:, LSP], gt[:, LSP]), rel=1e-5)
    aligned = F.p_joint_errors(pred, gt)
    assert found['PA-MPJPE-17'] == pytest.approx(mm * aligned[:, LSP].mean(), rel=1e-5)
    assert found['PA-MPJPE-17'] != pytest.approx(found['PA-MPJPE'], rel=1e-3)
    assert found['MPJPE/frame_mean'] == found['MPJPE'] and len(found) == 6


def test_the_two_alignments_differ_where_the_other_joints_do(rng):
    _, gt = poses(rng, 1)
    pred = gt.copy()
    pred[:, NAMES.index('neck_base')] += 0.3
    found = evaluate([sample(pred[0], gt[0])], names=JOINTS)
    assert [found['MPJPE'], found['PA-MPJPE']] == pytest.approx([0, 0], abs=1e-4)
    assert found['PA-MPJPE-17'] > 5


def test_actions_and_joints_without_label(rng):
    pred, gt = poses(rng, 3)
    valid = np.ones(17)
    valid[[NAMES.index('left_wrist'), NAMES.index('spine')]] = 0
    gt[2, valid == 0] = np.nan
    actions = ['Walking 1', 'Walking', 'Sitting_2']
    found = evaluate([sample(p, g, None if i < 2 else valid, action=a) for i, (p, g, a) in
                      enumerate(zip(pred, gt, actions))], names=JOINTS)
    walking = 1000 * F.mpjpe((pred - pred[:, :1])[:2, LSP], gt[:2, LSP])
    used = [j for j in LSP if valid[j]]
    sitting = 1000 * F.mpjpe((pred - pred[:, :1])[2, used], gt[2, used])
    assert found['MPJPE/Walking'] == pytest.approx(walking, rel=1e-5)
    assert found['MPJPE/Sitting'] == pytest.approx(sitting, rel=1e-5)
    assert found['MPJPE'] == pytest.approx((walking + sitting) / 2, rel=1e-5)
    assert found['MPJPE/frame_mean'] == pytest.approx(
        (28 * walking + 13 * sitting) / 41, rel=1e-5)
    aligned = 1000 * F.p_mpjpe(pred[2, used], gt[2, used])
    assert found['PA-MPJPE/Sitting'] == pytest.approx(aligned, rel=1e-5)


def test_samples_without_labels_add_nothing(rng, body):
    pred, gt = poses(rng, 2)
    shape = random_shape(rng)
    labelled = [sample(pred[0], gt[0], shape=shape)]
    more = labelled + [sample(pred[1]), sample(pred[1], gt[1], np.zeros(17)),
                       sample(pred[1], shape=random_shape(rng), body_valid=False)]
    no_pelvis = np.ones(17)
    no_pelvis[0] = 0
    more += [sample(pred[1], gt[1], no_pelvis)]
    assert evaluate(more) == pytest.approx(evaluate(labelled), rel=1e-9)
    for names, fields in ((['MPJPE'], 'gt_h36m_joints'), (['PVE'], 'gt_betas')):
        with pytest.raises(ValueError, match=f'none of the 2 samples .*{names[0]} .*{fields}'):
            evaluate([sample(pred[0]), sample(pred[1])], names=names)


def test_two_joints_can_not_be_aligned(rng):
    pred, gt = poses(rng, 2)
    two = np.zeros(17)
    two[[0, NAMES.index('head'), NAMES.index('left_knee')]] = 1
    found, alone = (evaluate(samples, names=JOINTS) for samples in (
        [sample(pred[0], gt[0]), sample(pred[1], gt[1], two)], [sample(pred[0], gt[0])]))
    assert found['PA-MPJPE'] == pytest.approx(alone['PA-MPJPE'])
    assert found['PA-MPJPE-17'] != alone['PA-MPJPE-17'] and found['MPJPE'] != alone['MPJPE']


def posed(body, shape):
    with torch.no_grad():
        vertices, _ = body(*(torch.from_numpy(x[None]).float() for x in shape))
        joints = body.h36m_joints(vertices)
    return ((vertices - joints[:, :1])[0].numpy(), (joints - joints[:, :1])[0].numpy())


def test_vertices(rng, body):
    shape = random_shape(rng)
    vertices, joints = posed(body, shape)
    away = vertices + [0.03, 0, 0.04]
    found = evaluate([sample(joints, joints, shape=shape, vertices=away)] * 2)
    assert found['PVE'] == pytest.approx(50, rel=1e-4)
    assert found['MPJPE'] == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match=r'predicted mesh has shape \(5, 3\).*\(6890, 3\): body_m'):
        evaluate([sample(joints, joints, shape=shape, vertices=np.zeros((5, 3)))])


def test_bodies_by_gender_and_joints_from_the_mesh(rng, body, tall):
    shapes = [random_shape(rng) for _ in range(3)]
    genders = ['neutral', 'male', 'female']
    bodies = [body, BodyModel.from_arrays(**tall), body]
    samples = []
    for shape, gender, own in zip(shapes, genders, bodies):
        vertices, joints = posed(own, shape)
        samples.append(sample(joints, shape=shape, vertices=vertices, gender=gender))
    options = dict(protocol='3dpw', joints_from_mesh=True)
    found = evaluate(samples, gendered_body_models=dict(male=tall, female='stand_in'), **options)
    assert all(value == pytest.approx(0, abs=1e-2) for value in found.values())
    plain = evaluate(samples, **options)
    assert plain['PVE'] > 10 and plain['MPJPE'] > 10
    with pytest.raises(ValueError, match='needs the metainfo gender .* found None'):
        evaluate([sample(shape=shapes[0])], gendered_body_models=dict(male=tall), **options)


def test_relative_to_the_hips(rng, body):
    pred, gt = poses(rng, 4)
    hips = [NAMES.index('right_hip'), NAMES.index('left_hip')]
    both = [joints - joints[:, hips].mean(1, keepdims=True) for joints in (pred, gt)]
    samples = [sample(p, g) for p, g in zip(pred, gt)]
    names = (*JOINTS, 'PCK')
    found, pelvis = (evaluate(samples, names=names, root=root) for root in ('hips', 'pelvis'))
    assert found['MPJPE'] == pytest.approx(1000 * F.mpjpe(both[0][:, LSP], both[1][:, LSP]),
                                           rel=1e-5)
    assert evaluate(samples, names=names) == pelvis
    for name in names:  # Procrustes has no use for a root, and PCK's is the pelvis by its protocol
        assert (found[name] == pelvis[name]) == (name != 'MPJPE')
    # an error of the pelvis alone is no error of the 14 joints, and moves none of them
    off = gt.copy()
    off[:, 0] += 0.1
    moved = [sample(p, g) for p, g in zip(off, gt)]
    assert evaluate(moved, names=['MPJPE'], root='hips')['MPJPE'] == pytest.approx(0, abs=1e-3)
    assert evaluate(moved, names=['MPJPE'])['MPJPE'] == pytest.approx(np.sqrt(3) * 100, rel=1e-4)
    # vertices stay relative to the pelvis
    shape = random_shape(rng)
    vertices, joints = posed(body, shape)
    whole = sample(joints, joints, shape=shape, vertices=vertices + [0.03, 0, 0.04])
    assert evaluate([whole], root='hips')['PVE'] == pytest.approx(50, rel=1e-4)


def test_without_a_hip_nothing_is_relative_to_the_hips(rng):
    pred, gt = poses(rng, 2)
    no_hip, no_pelvis = np.ones(17), np.ones(17)
    no_hip[NAMES.index('left_hip')] = no_pelvis[0] = 0
    full = evaluate([sample(pred[0], gt[0])], names=JOINTS, root='hips')
    found = evaluate([sample(pred[0], gt[0]), sample(pred[1], gt[1], no_hip)], names=JOINTS,
                     root='hips')
    assert found['MPJPE'] == full['MPJPE'] and found['PA-MPJPE'] != full['PA-MPJPE']
    found = evaluate([sample(pred[0], gt[0]), sample(pred[1], gt[1], no_pelvis)], names=JOINTS,
                     root='hips')
    assert found['MPJPE'] != full['MPJPE'] and found['PA-MPJPE'] == full['PA-MPJPE']


def test_mpi_inf_3dhp(rng):
    pred, gt = poses(rng, 1, noise=0)
    pred[0, NAMES.index('right_wrist')] += [0.2, 0, 0]
    pred[0, NAMES.index('spine')] += [0, 0.1, 0]
    found = evaluate([sample(pred[0], gt[0])], protocol='mpi_inf_3dhp')
    assert set(found) == {name + end for name in ('PCK', 'AUC', 'MPJPE', 'PA-MPJPE-17')
                          for end in ('', '/frame_mean')}
    assert found['MPJPE'] == pytest.approx(300 / 17, rel=1e-4)
    assert found['PCK'] == pytest.approx(100 * 13 / 14)
    # zero errors are below 30 of the 31 thresholds
    assert found['AUC'] == pytest.approx(100 * 13 / 14 * 30 / 31)
    # the quirk leaves the right arm out and takes pelvis and spine (100 mm: below 10 thresholds)
    quirk = evaluate([sample(pred[0], gt[0])], protocol='mpi_inf_3dhp', compat_3dhp=True)
    assert quirk['PCK'] == 100
    assert quirk['AUC'] == pytest.approx(100 * (13 * 30 + 10) / (14 * 31), rel=1e-4)


def test_results_of_several_processes(rng):
    """MMEngine joins them by number and cuts what the sampler added."""
    pred, gt = poses(rng, 3)
    samples = [sample(p, g) for p, g in zip(pred, gt)]
    metric = MeshMetric(names=JOINTS)
    metric.process(None, [s.to_dict() for s in samples + [sample(pred[0])]])
    assert len(metric.results) == 4
    plain = [tuple(result) for result in metric.results]
    assert metric.compute_metrics(plain[:3]) == evaluate(samples, names=JOINTS)


def test_refused(rng):
    for options, message in ((dict(names=['PA']), 'names must be some of MPJPE, PA-MPJPE'),
                             (dict(protocol='3DPW'), 'protocol must be one of h36m'),
                             (dict(root='hip'), 'root must be one of pelvis, hips'),
                             (dict(gendered_body_models=dict(m='a')), 'male and female, found m')):
        with pytest.raises(ValueError, match=message):
            METRICS.build(dict(type='MeshMetric', **options))
    pred, gt = poses(rng, 1)
    with pytest.raises(ValueError, match='samples x.jpg: pred has .* training diverged'):
        evaluate([sample(np.full((17, 3), np.nan), gt[0], img_path='x.jpg')])
    empty = sample(pred[0], gt[0])
    empty.pred_instances = InstanceData(keypoints=np.zeros((1, 24, 2)))
    with pytest.raises(ValueError, match='no pred_instances.h36m_joints'):
        evaluate([empty])
