"""MixSTE's losses: the published numbers, the paper's formulas by hand, masks, options."""

import numpy as np
import pytest
import torch

from mmpose_lift.models.losses import MixSTELoss
from mmpose_lift.models.losses.sequence_loss import (
    bone_constancy_penalty,
    named_joint_weights,
    symmetry_penalty,
)


def poses(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@pytest.fixture
def reference(shared_dir):
    with np.load(shared_dir / 'reference' / 'mixste' / 'losses.npz') as archive:
        return {key.split('/')[1]: torch.from_numpy(archive[key]) for key in archive if '/' in key}


def test_terms_and_gradient_equal_published_script(reference):
    pred = reference['pred'].requires_grad_()
    losses = MixSTELoss()(pred, reference['gt'])
    for ours, theirs in [('loss_pose3d', 'loss_total'), ('wmpjpe', 'loss_weighted_mpjpe'),
                         ('temporal_consistency', 'loss_temporal_consistency'),
                         ('mpjve', 'loss_velocity')]:
        torch.testing.assert_close(losses[ours].detach(), reference[theirs], rtol=1e-6, atol=0)
    losses['loss_pose3d'].backward()
    torch.testing.assert_close(pred.grad, reference['grad_total_wrt_pred'], rtol=1e-6, atol=1e-8)


def test_scaled_gradient_equals_published_script(reference):
    pred = reference['pred'].requires_grad_()
    total = MixSTELoss(scale_grad_by_loss=True)(pred, reference['gt'])['loss_pose3d']
    torch.testing.assert_close(total.detach(), reference['loss_total'], rtol=1e-6, atol=0)
    total.backward()
    torch.testing.assert_close(pred.grad, reference['grad_as_backpropagated'], rtol=1e-6, atol=1e-8)


def test_weights_of_reference(reference):
    np.testing.assert_array_equal(named_joint_weights('h36m'), reference['joint_weights'])


def test_joint_weights_of_the_facts_sheet():
    assert named_joint_weights('h36m_16') == (
        1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
    assert named_joint_weights('humaneva_compat') == (
        1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
    assert named_joint_weights('humaneva_semantic') == (
        1, 1, 1.5, 4, 4, 1.5, 4, 4, 1, 2.5, 2.5, 1, 2.5, 2.5, 1.5)
    with pytest.raises(ValueError, match="unknown joint weights 'coco'"):
        MixSTELoss('coco')


def test_paper_form_by_loops():
    pred, target = poses(2, 5, 17, 3), poses(2, 5, 17, 3, seed=1)
    weights = torch.tensor(named_joint_weights('h36m'), dtype=torch.double)
    position = consistency = velocity = 0.0
    for b in range(2):
        for j in range(17):
            for t in range(5):
                square = (pred[b, t, j] - target[b, t, j]).pow(2).sum()
                position += weights[j] * square / (2 * 17 * 5)
                if t:
                    step = pred[b, t, j] - pred[b, t - 1, j]
                    true = target[b, t, j] - target[b, t - 1, j]
                    consistency += step.pow(2).sum() / (2 * 17 * 5)
                    velocity += (step - true).norm() / (2 * 17 * 4)
    losses = MixSTELoss(form='paper', lambda_t=0.3, lambda_m=0.7)(pred, target)
    torch.testing.assert_close(losses['wmpjpe'], position)
    torch.testing.assert_close(losses['temporal_consistency'], consistency)
    torch.testing.assert_close(losses['mpjve'], velocity)
    torch.testing.assert_close(losses['loss_pose3d'],
                               position + 0.3 * consistency + 0.7 * velocity)


@pytest.mark.parametrize('form', ['code', 'paper'])
def test_gradcheck(form):
    loss = MixSTELoss([1.0, 2.0, 0.5], form=form)
    target = poses(2, 3, 3, 3, seed=1)
    assert torch.autograd.gradcheck(lambda p: loss(p, target)['loss_pose3d'],
                                    (poses(2, 3, 3, 3).requires_grad_(), ))


@pytest.mark.parametrize('form', ['code', 'paper'])
def test_one_frame_has_no_temporal_terms(form):
    pred = poses(2, 1, 17, 3).requires_grad_()
    loss = MixSTELoss(form=form, lambda_symmetry=0.01, lambda_constancy=0.01)
    losses = loss(pred, poses(2, 1, 17, 3, seed=1))
    assert losses['temporal_consistency'] == losses['mpjve'] == losses['bone_constancy'] == 0
    losses['loss_pose3d'].backward()
    assert pred.grad.isfinite().all()


def test_perfect_prediction_has_a_finite_gradient():
    pred = poses(1, 4, 17, 3).requires_grad_()
    MixSTELoss(lambda_symmetry=0.01)(pred, pred.detach())['loss_pose3d'].backward()
    assert pred.grad.isfinite().all()


def test_mask_leaves_unknown_joints_out():
    pred, target = poses(2, 4, 17, 3), poses(2, 4, 17, 3, seed=1)
    loss = MixSTELoss(lambda_t=0)
    ones = torch.ones(2, 4, 17, dtype=torch.double)
    torch.testing.assert_close(loss(pred, target, ones), loss(pred, target))
    mask = ones.clone()
    mask[0, 1, 5] = 0
    broken = target.clone()
    broken[0, 1, 5] = 1e3
    torch.testing.assert_close(loss(pred, broken, mask), loss(pred, target, mask))
    assert loss(pred, target, 0 * mask)['loss_pose3d'] == 0


def test_penalties():
    pose = poses(1, 1, 17, 3)
    still = pose.expand(2, 4, 17, 3)
    assert bone_constancy_penalty(still) == 0
    # One bone grows by 0.1 per frame; the rest of the body stays.
    moving = still.clone()
    bone = moving[:, :, 13] - moving[:, :, 12]
    growth = 0.1 * torch.arange(4.0).view(1, 4, 1)
    moving[:, :, 13] += growth * bone / bone.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(bone_constancy_penalty(moving).item(), 0.1)
    from mmpose_lift.geometry import get_skeleton
    flip = list(get_skeleton('h36m').flip_indices)
    symmetric = pose.clone()
    symmetric[..., 0, 0] = symmetric[..., 8, 0] = 0
    for left, right in get_skeleton('h36m').flip_pairs:
        symmetric[..., right, :] = symmetric[..., left, :] * torch.tensor([-1.0, 1, 1])
    assert symmetry_penalty(symmetric) < 1e-12
    assert symmetry_penalty(pose) > 0.1
    torch.testing.assert_close(symmetry_penalty(pose), symmetry_penalty(pose[..., flip, :]))


def test_only_the_total_is_summed_by_mmengine():
    from mmengine.model import BaseModel

    class Dummy(BaseModel):

        def forward(self, inputs=None, data_samples=None, mode='loss'):
            raise NotImplementedError

    pred = poses(1, 4, 17, 3).requires_grad_()
    losses = MixSTELoss(lambda_symmetry=0.01, lambda_constancy=0.01, loss_weight=2.0)(
        pred, poses(1, 4, 17, 3, seed=1))
    total, log = Dummy().parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_pose3d'])
    assert {'wmpjpe', 'temporal_consistency', 'mpjve', 'symmetry', 'bone_constancy'} <= log.keys()
    assert not any(value.requires_grad for key, value in losses.items() if key != 'loss_pose3d')


def test_no_buffer_in_checkpoints():
    assert not MixSTELoss().state_dict()


def test_errors_name_shapes():
    loss = MixSTELoss()
    with pytest.raises(ValueError, match=r'17 joint weights, found \(1, 2, 16, 3\)'):
        loss(poses(1, 2, 16, 3), poses(1, 2, 16, 3))
    with pytest.raises(ValueError, match='differ in shape'):
        loss(poses(1, 2, 17, 3), poses(1, 1, 17, 3))
    with pytest.raises(ValueError, match='expected a mask'):
        loss(poses(1, 2, 17, 3), poses(1, 2, 17, 3), torch.ones(1, 2, 17, 1))
    with pytest.raises(ValueError, match="'code' or 'paper'"):
        MixSTELoss(form='mixed')
