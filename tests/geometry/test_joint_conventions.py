"""From the joints of 2D models to those of lifters."""

import json
from pathlib import Path

import mmpose
import numpy as np
import pytest
import torch
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mmpose_lift.geometry.cameras import h36m_cameras
from mmpose_lift.geometry.joint_conventions import WEIGHTS, convention_of, to_lifter
from mmpose_lift.geometry.skeletons import convert_keypoints, get_skeleton
from mmpose_lift.io.pose_store import PoseStore
from mmpose_lift.models.body import BodyModel, stand_in_h36m_regressor
from mmpose_lift.models.body.stand_in_body import LANDMARKS

SOURCES = ('coco', 'coco_wholebody', 'halpe', 'halpe_26', 'h36m', 'mpi_inf_3dhp',
           'mpi_inf_3dhp_28')
H36M, COCO = get_skeleton('h36m'), get_skeleton('coco')


def metainfo(file):
    path = Path(mmpose.__file__).parent / f'.mim/configs/_base_/datasets/{file}.py'
    return parse_pose_metainfo(dict(from_file=str(path)))


@pytest.mark.parametrize('file, name', [
    ('coco', 'coco'), ('coco_wholebody', 'coco_wholebody'), ('ubody2d', 'coco_wholebody'),
    ('h3wb', 'coco_wholebody'), ('halpe', 'halpe'), ('halpe26', 'halpe_26'), ('h36m', 'h36m'),
    ('mpi_inf_3dhp', 'mpi_inf_3dhp'), ('humanart', 'coco'), ('ochuman', 'coco')])
def test_conventions_of_mmpose(file, name):
    assert convention_of(metainfo(file)) == name


@pytest.mark.parametrize('file', [
    'aic', 'crowdpose', 'mpii', 'posetrack18', 'coco_wholebody_hand', 'coco_wholebody_face',
    'ap10k', 'macaque', 'jhmdb'])
def test_unmapped_conventions_say_what_is_mapped(file):
    meta = metainfo(file)
    with pytest.raises(ValueError, match=f"{meta['dataset_name']!r} is not mapped.*coco_wholebody.*"
                                         'halpe26.*Choose a 2D model'):
        convention_of(meta)


@pytest.mark.parametrize('file', ['coco_aic', 'humanart21'])
def test_other_joints_under_a_mapped_name_are_refused(file):
    """MMPose calls COCO with two joints of AIC 'coco' as well."""
    meta = metainfo(file)
    with pytest.raises(ValueError, match=r'stands for 17 joints \(coco\), but it gives (19|21)'):
        convention_of(meta)


def test_names_alone_and_bad_metadata():
    assert convention_of('halpe26') == 'halpe_26' and convention_of('coco') == 'coco'
    written = json.loads(json.dumps(dict(dataset_name='halpe26',
                                         keypoint_id2name=metainfo('halpe26')['keypoint_id2name'])))
    assert convention_of(written) == 'halpe_26'
    for bad in ({}, 'tail', dict(dataset_name=None), dict(dataset_name=['coco'])):
        with pytest.raises(ValueError, match='not mapped'):
            convention_of(bad)


@pytest.mark.parametrize('name', WEIGHTS)
def test_weights_are_affine_and_name_their_data(name):
    row = WEIGHTS[name]
    assert sum(weight for _, weight in row.parts) == pytest.approx(1, abs=1e-12)
    assert all(part in COCO.common_names for part, _ in row.parts)
    assert row.data
    if row.error is not None:
        assert row.error[0] < row.plain[0] and row.error[1] < row.plain[1]


@pytest.mark.parametrize('source', SOURCES)
@pytest.mark.parametrize('target', ['h36m', 'h36m_16', 'uplift_upsample', 'mpi_inf_3dhp',
                                    'humaneva', 'h36m_l_first', 'lsp_14'])
def test_moving_scaling_and_mirroring_commute_with_the_conversion(rng, source, target):
    src, dst = get_skeleton(source), get_skeleton(target)
    pose = rng.random((5, src.num_joints, 2))
    out = to_lifter(pose, source, target)
    assert out.shape == (5, dst.num_joints, 2)
    np.testing.assert_allclose(to_lifter(3 * pose + (100, -7), source, target),
                               3 * out + (100, -7), atol=1e-10)
    mirrored = (pose * (-1, 1))[:, list(src.flip_indices)]
    np.testing.assert_allclose(to_lifter(mirrored, source, target),
                               (out * (-1, 1))[:, list(dst.flip_indices)], atol=1e-12)


def test_joints_that_exist_are_copied(rng):
    pose = rng.random((4, 136, 3)).astype(np.float32)
    out = to_lifter(pose, 'halpe', 'h36m')
    halpe = get_skeleton('halpe').joint_names
    for theirs, ours in dict(hip='root', neck='thorax', head='head', left_ankle='left_foot',
                             right_wrist='right_wrist').items():
        np.testing.assert_array_equal(out[:, H36M.index(ours)], pose[:, halpe.index(theirs)])
    body = to_lifter(pose[:, :17], 'coco', 'h36m')
    for joint in ('spine', 'neck_base'):  # Halpe lacks them: as from COCO
        np.testing.assert_array_equal(out[:, H36M.index(joint)], body[:, H36M.index(joint)])


def test_combined_joints_by_hand(rng):
    pose = rng.random((3, 4, 17, 3)).astype(np.float32)
    out = to_lifter(pose, 'coco', 'h36m')
    assert out.dtype == np.float32
    hips, shoulders = (pose[..., i:i + 2, :] for i in (11, 5))
    np.testing.assert_allclose(out[..., 0, :2], hips[..., :2].mean(-2), rtol=1e-6)
    np.testing.assert_array_equal(out[..., 0, 2], hips[..., 2].min(-1))
    share = WEIGHTS['neck'].groups['shoulders']
    expected = share * shoulders[..., :2].mean(-2) + (1 - share) * hips[..., :2].mean(-2)
    np.testing.assert_allclose(out[..., 8, :2], expected, rtol=1e-5)
    # Each hip has less than a tenth of the thorax: its score does not count.
    np.testing.assert_array_equal(out[..., 8, 2], shoulders[..., 2].min(-1))
    np.testing.assert_array_equal(out[..., 7, 2], np.minimum(hips[..., 2].min(-1),
                                                             shoulders[..., 2].min(-1)))
    tensor = to_lifter(torch.from_numpy(pose), 'coco', 'h36m')
    np.testing.assert_allclose(tensor.numpy(), out, rtol=1e-6)
    np.testing.assert_array_equal(convert_keypoints(pose, 'coco', 'h36m', has_score=True), out)


def test_a_missed_joint_spoils_only_its_own_combinations(rng):
    pose = rng.random((17, 2))
    pose[0] = np.nan  # nose
    out = to_lifter(pose, 'coco', 'h36m')
    assert {H36M.joint_names[i] for i in np.flatnonzero(np.isnan(out[:, 0]))} <= {
        'neck_base', 'head'}


def test_spine_and_thorax_on_unseen_people(root_dir):
    """The errors that the table states, in the pictures of cameras that the fit did not see."""
    path = root_dir / 'data/cmu_val'
    if not path.is_dir():
        pytest.skip('no pose store data/cmu_val (docs/data.md says how to make it)')
    store = PoseStore.open(path)
    rows = np.flatnonzero(store.valid)
    world = np.array(store.keypoints_3d[rows[::97]], dtype=np.float64)
    world[..., :2] -= world[:, :1, :2]
    pixels = np.stack([c.project(c.world_to_camera(world)) for c in h36m_cameras(('S9', 'S11'))])
    coco = np.zeros(pixels.shape)
    for name in ('hip', 'shoulder'):
        for side in ('left', 'right'):
            joint = f'{side}_{name}'
            coco[..., COCO.index(joint), :] = pixels[..., H36M.index(joint), :]
    out = to_lifter(coco, 'coco', 'h36m')
    for name, common in (('spine', 'spine'), ('thorax', 'neck')):
        joint = H36M.index(name)
        error = np.linalg.norm(out[..., joint, :] - pixels[..., joint, :], axis=-1).mean()
        assert error == pytest.approx(WEIGHTS[common].error[0], rel=0.1)
        assert error < WEIGHTS[common].plain[0] / 1.8


def test_neck_base_and_head_on_the_stand_in_body(rng):
    """Shapes at rest, seen from all sides: the table still fits the body it was fitted on."""
    body = BodyModel.stand_in()
    betas = torch.from_numpy(rng.standard_normal((12, 10)).clip(-2, 2)).float()
    vertices = body(betas, torch.eye(3).expand(12, 24, 3, 3))[0].numpy()
    joints = stand_in_h36m_regressor() @ vertices
    coco = np.zeros((12, 17, 3))
    for i, name in enumerate(COCO.common_names):
        coco[:, i] = (vertices[:, LANDMARKS[name]] if name in LANDMARKS else
                      joints[:, H36M.index(name)])
    angles = rng.uniform(-np.pi, np.pi, 12)[:, None]
    for points in (coco, joints):
        points[..., 0] = np.cos(angles) * points[..., 0] + np.sin(angles) * points[..., 2]
    out, joints = to_lifter(coco[..., :2], 'coco', 'h36m'), joints[..., :2]
    torso = np.linalg.norm(joints[:, H36M.index('thorax')] - joints[:, 0], axis=-1)
    for name, common in (('neck_base', 'head'), ('head', 'head_top')):
        joint = H36M.index(name)
        error = 100 * np.linalg.norm(out[:, joint] - joints[:, joint], axis=-1) / torso
        assert error.mean() < 1.5 * WEIGHTS[common].error[1]


def test_errors():
    with pytest.raises(ValueError, match=r'expected \(\.\.\., K, 2\).*found shape \(17, 4\)'):
        to_lifter(np.zeros((17, 4)), 'coco', 'h36m')
    with pytest.raises(ValueError, match=r'\(\.\.\., 133, D\), found \(2, 17, 2\)'):
        to_lifter(np.zeros((2, 17, 2)), 'coco_wholebody', 'h36m')
    with pytest.raises(ValueError, match="'coco' has no joint for .* of 'smpl'"):
        to_lifter(np.zeros((17, 2)), 'coco', 'smpl')
    # The weights are for COCO's hips and shoulders.
    with pytest.raises(ValueError, match="'humaneva' has no joint for spine, neck_base"):
        to_lifter(np.zeros((15, 2)), 'humaneva', 'h36m')
