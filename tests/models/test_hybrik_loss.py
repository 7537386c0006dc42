"""Losses of HybrIK-Transformer."""

import json

import numpy as np
import pytest
import torch

from mmpose_lift.models import HybrIKLoss

# term of the published options -> our argument; those that its code adds to the sum
ADDED = dict(UVD24_WEIGHT='uvd_weight', BETA_WEIGHT='shape_weight', THETA_WEIGHT='pose_weight',
             TWIST_WEIGHT='twist_weight', XYZ_SMPL24_WEIGHT='xyz_smpl24_weight',
             XYZ_SMPL17_WEIGHT='xyz_smpl17_weight')
TERMS = dict(uvd='loss_uvd', shape='loss_beta', pose='loss_theta', twist='loss_twist',
             xyz_smpl24='loss_xyz_smpl24', xyz_smpl17='loss_xyz_smpl17')


@pytest.fixture(params=['yaml', 'all_terms', 'no_3d', 'no_uvd'])
def case(request, shared_dir):
    prefix = f'{request.param}/'
    with np.load(shared_dir / 'reference' / 'hybrik_transformer' / 'loss.npz') as archive:
        arrays = {key[len(prefix):]: archive[key] for key in archive if key.startswith(prefix)}
    elements = json.loads(str(arrays.pop('elements')))
    arrays = {key: torch.from_numpy(value) for key, value in arrays.items()}
    outputs = {k[7:]: v for k, v in arrays.items() if k.startswith('output/')}
    labels = {k[7:]: v for k, v in arrays.items() if k.startswith('labels/')}
    labels.update(target_uvd=labels['target_uvd_29'][:, :72],
                  target_uvd_weight=labels['target_weight_29'][:, :72],
                  target_xyz_24_weight=labels['target_weight_24'],
                  target_xyz_17_weight=labels['target_weight_17'])
    return elements, outputs, labels, arrays


def test_terms_and_total_equal_published_code(case):
    elements, outputs, labels, arrays = case
    terms = HybrIKLoss(**dict.fromkeys(ADDED.values(), 1.0))(outputs, labels)
    for ours, published in TERMS.items():
        torch.testing.assert_close(terms[f'loss_{ours}'], arrays[published], rtol=1e-5, atol=1e-6)
    weights = {ours: elements[key] for key, ours in ADDED.items()}
    total = sum(HybrIKLoss(**weights)(outputs, labels).values())
    torch.testing.assert_close(total, arrays['loss_tot'], rtol=1e-5, atol=1e-6)


def test_defaults_are_the_published_weights(case):
    _, outputs, labels, _ = case
    losses = HybrIKLoss()(outputs, labels)
    assert list(losses) == ['loss_uvd', 'loss_shape', 'loss_pose', 'loss_twist']
    explicit = HybrIKLoss(1, 1, 0.01, 0.01)(outputs, labels)
    assert losses == explicit


def test_only_labels_in_use_are_needed():
    loss = HybrIKLoss(shape_weight=0, pose_weight=0, twist_weight=0)
    assert loss.label_names == ('target_uvd', 'target_uvd_weight')
    assert not loss.needs_h36m_joints
    assert HybrIKLoss(xyz_smpl17_weight=1.0).needs_h36m_joints


def test_options_that_the_published_code_lists_only():
    phi = torch.tensor([[[3., 4.]], [[0., 1.]]])
    xyz = torch.zeros(2, 72)
    loss = HybrIKLoss(0, 0, 0, 0, xyz24_weight=0.5, twist_norm_weight=0.1, leaf_norm_weight=1.0)
    losses = loss(dict(pred_phi=phi, pred_leaf=torch.zeros(2, 5, 4), pred_xyz_jts_24=xyz),
                  dict(target_xyz_24=torch.full((2, 24, 3), 0.25),
                       target_xyz_24_weight=torch.ones(2, 24, 3)))
    assert losses['loss_twist_norm'] == pytest.approx(0.1 * (5 - 1)**2 / 2)
    assert losses['loss_leaf_norm'] == 1
    assert losses['loss_xyz24'] == 0.5 * 64 * 0.25


def test_no_label_gives_zero_with_a_gradient():
    pred = torch.randn(2, 72, requires_grad=True)
    loss = HybrIKLoss(shape_weight=0, pose_weight=0, twist_weight=0)
    [value] = loss(dict(pred_uvd_jts=pred), dict(target_uvd=torch.zeros(2, 24, 3),
                                                 target_uvd_weight=torch.zeros(2, 24, 3))).values()
    value.backward()
    assert value == 0 and (pred.grad == 0).all()
