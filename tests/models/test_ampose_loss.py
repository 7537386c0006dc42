"""AMPose's loss: by hand, masks, shapes."""

import pytest
import torch

from mmpose_lift.models import AMPoseLoss


def test_loss_by_hand():
    target = torch.zeros(1, 2, 2, 3)
    pred = torch.tensor([[[[1., 2., 2.], [0., 0., 0.]], [[0., 3., 4.], [1., 0., 0.]]]])
    loss = AMPoseLoss()
    assert loss(pred, target)['loss_pose3d'] == (9 + 0 + 25 + 1) / 4
    assert AMPoseLoss(loss_weight=2.0)(pred, target)['loss_pose3d'] == 17.5
    mask = torch.tensor([[[1., 0.], [0., 1.]]])
    target[0, 1, 0] = 1e6  # unknown
    assert loss(pred, target, mask)['loss_pose3d'] == (9 + 1) / 2
    zero = loss(pred.requires_grad_(), target, 0 * mask)['loss_pose3d']
    zero.backward()
    assert zero == 0 and not pred.grad.any()
    (loss(pred, target, mask)['loss_pose3d']).backward()
    torch.testing.assert_close(pred.grad, 2 * (pred.detach() - target) * mask[..., None] / 2)
    assert not loss.state_dict()


def test_loss_refuses_other_shapes():
    pose = torch.zeros(1, 2, 17, 3)
    for pred, target in ((pose, pose[:, :1]), (pose[0], pose[0]), (pose[..., :2], pose[..., :2])):
        with pytest.raises(ValueError, match='AMPoseLoss: expected a prediction and a target'):
            AMPoseLoss()(pred, target)
    with pytest.raises(ValueError, match=r'expected a mask \(1, 2, 17\), found \(1, 17\)'):
        AMPoseLoss()(pose, pose, torch.ones(1, 17))
