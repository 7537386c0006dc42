import pytest
import torch
from mmpose.registry import MODELS

import mmpose_lift  # noqa: F401  (registers the models)
from mmpose_lift.models.losses.mpt_loss import hip_centred, joint_error, weak_perspective

RIGHT_HIP, LEFT_HIP = 2, 3


def example(batch=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(batch, *shape, generator=generator)

    outputs = dict(levels=[normal(n, 3) for n in (4, 6, 9)], pred_3d_joints=normal(14, 3),
                   mesh_joints=normal(14, 3), cam_param=normal(3))
    labels = dict(target_levels=[normal(n, 3) for n in (4, 6, 9)],
                  target_body_weight=torch.ones(batch, 1), target_joints=normal(14, 3),
                  target_joints_weight=torch.ones(batch, 14), target_keypoints=normal(14, 2),
                  target_keypoints_weight=torch.ones(batch, 14))
    return outputs, labels


def compute(outputs, labels, **options):
    return MODELS.build(dict(type='MPTLoss', **options))(outputs, labels)


def test_terms_are_those_of_the_sheet():
    outputs, labels = example()
    losses = compute(outputs, labels)
    vertices = sum(0.33 * (a - b).abs().mean()
                   for a, b in zip(outputs['levels'], labels['target_levels']))
    hips = [RIGHT_HIP, LEFT_HIP]
    joints = keypoints = 0.
    for name in ('pred_3d_joints', 'mesh_joints'):
        pred, target = (x - x[:, hips].mean(1, keepdim=True)
                        for x in (outputs[name], labels['target_joints']))
        joints += (pred - target).square().mean()
        scale, shift = outputs['cam_param'][:, None].split([1, 2], -1)
        projected = scale * (outputs[name][..., :2] + shift)
        keypoints += (projected - labels['target_keypoints']).square().mean()
    expected = dict(loss_vertices=100 * vertices, loss_joints=1000 * joints,
                    loss_keypoints=100 * keypoints)
    assert set(losses) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)
    doubled = compute(outputs, labels, vertex_weight=200., joint_weight=0.,
                      level_weights=(0.33, 0.33, 0.33))
    torch.testing.assert_close(doubled['loss_vertices'], 2 * losses['loss_vertices'])
    assert doubled['loss_joints'] == 0


def test_a_sample_without_labels_is_no_sample():
    outputs, labels = example()
    labels['target_body_weight'][1] = 0
    labels['target_joints_weight'][1] = 0
    labels['target_keypoints_weight'][1] = 0
    labels['target_joints'][1] = labels['target_keypoints'][1] = torch.nan
    for target in labels['target_levels']:
        target[1] = torch.inf
    tensors = [*outputs['levels'], outputs['pred_3d_joints'], outputs['cam_param']]
    for tensor in tensors:
        tensor.requires_grad_()
    losses = compute(outputs, labels)
    sum(losses.values()).backward()
    assert all(tensor.grad.isfinite().all() and not tensor.grad[1].any() for tensor in tensors)
    kept = [0, 2]
    others = compute(*({key: [x[kept] for x in value] if isinstance(value, list) else value[kept]
                        for key, value in part.items()} for part in (outputs, labels)))
    torch.testing.assert_close(losses['loss_vertices'], others['loss_vertices'])
    torch.testing.assert_close(losses['loss_joints'], others['loss_joints'])
    # keypoints are a mean over all samples, as in the public code
    torch.testing.assert_close(losses['loss_keypoints'], others['loss_keypoints'] * 2 / 3)


def test_visibility_and_hips():
    outputs, labels = example()
    labels['target_joints_weight'][0, 5] = labels['target_keypoints_weight'][0, 5] = 0
    before = compute(outputs, labels)
    for name in ('target_joints', 'target_keypoints'):
        labels[name] = labels[name].clone()
        labels[name][0, 5] += 100
    torch.testing.assert_close(compute(outputs, labels), before)
    # joints without a hip are relative to nothing
    labels['target_joints_weight'][:, LEFT_HIP] = 0
    assert compute(outputs, labels)['loss_joints'] == 0
    assert joint_error(outputs['mesh_joints'], labels) == 0


def test_a_shift_of_the_joints_in_space_does_not_matter():
    outputs, labels = example()
    error = joint_error(outputs['mesh_joints'], labels)
    loss = compute(outputs, labels)['loss_joints']
    labels['target_joints'] = labels['target_joints'] + torch.tensor([3., -2, 1])
    torch.testing.assert_close(compute(outputs, labels)['loss_joints'], loss)
    torch.testing.assert_close(joint_error(outputs['mesh_joints'], labels), error)
    assert joint_error(labels['target_joints'] - 1, labels) < 1e-5
    torch.testing.assert_close(hip_centred(labels['target_joints'])[:, LEFT_HIP],
                               -hip_centred(labels['target_joints'])[:, RIGHT_HIP])


def test_weak_perspective():
    points = torch.tensor([[[0., 0, 7], [0.5, -1, -3]]])
    pixels = weak_perspective(points, torch.tensor([[0.8, 0.25, -0.5]]))
    torch.testing.assert_close(pixels, torch.tensor([[[0.2, -0.4], [0.6, -1.2]]]))


def test_levels_need_weights():
    with pytest.raises(ValueError, match='each of the 3 mesh levels, found 2'):
        compute(*example(), level_weights=(0.5, 0.5))
