"""The inferencer with lifters of other joints than Human3.6M's 17, and of single frames."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from mmpose_lift.apis import PoseLiftInferencer
from mmpose_lift.geometry.cameras import normalize_screen
from mmpose_lift.geometry.skeletons import convert_keypoints, get_skeleton

from .conftest import SIZE


def model_of(skeleton, backbone, window, **options):
    joints = get_skeleton(skeleton).num_joints
    codec = dict(type='PoseSequenceLabel', num_keypoints=joints, root_index=0)
    return Config(dict(
        model=dict(type='SequencePoseLifter', skeleton=skeleton,
                   backbone=dict(num_keypoints=joints, embed_dims=16, num_heads=2, depth=2,
                                 **backbone),
                   head=dict(type='LiftingHead', in_channels=16, num_keypoints=joints,
                             decoder=codec),
                   test_cfg=dict(flip_test=True, **options)),
        test_dataloader=dict(dataset=dict(seq_len=window))))


def ampose(skeleton='h36m_16', window=1, design='proposed', **options):
    return model_of(skeleton, dict(type='AMPose', skeleton=skeleton, gcn_design=design), window,
                    **options)


def mixste(skeleton='humaneva'):
    return model_of(skeleton, dict(type='MixSTE', num_frames=9), 9)


def build(config, **kwargs):
    torch.manual_seed(0)
    return PoseLiftInferencer(config, device='cpu', allow_random_weights=True, **kwargs)


def clip(frames, skeleton='h36m', seed=0):
    rng = np.random.default_rng(seed)
    joints = get_skeleton(skeleton).num_joints
    return (300 + 400 * rng.random((frames, joints, 2))).astype(np.float32)


def random_statistics(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.3, 2)
            nn.init.normal_(module.weight, mean=1, std=0.3)
    return model


@pytest.mark.parametrize('config', [mixste(), ampose()], ids=['humaneva', 'h36m_16'])
def test_the_models_joint_order_decides(config):
    inferencer = build(config)
    skeleton = get_skeleton(config.model.skeleton)
    for source in ('h36m', 'coco', skeleton.name):
        keypoints = clip(20, source)
        scored = np.concatenate([keypoints, np.full_like(keypoints[..., :1], 0.5)], -1)
        for given in (keypoints, scored):
            lifted = inferencer(given, SIZE, skeleton=source)
            np.testing.assert_allclose(lifted['keypoints_2d'][..., :2],
                                       convert_keypoints(keypoints, source, skeleton.name))
        assert lifted['keypoints_3d'].shape == (20, skeleton.num_joints, 3)
        assert lifted['keypoints_2d'].shape[-1] == 3
        assert lifted['joint_names'] == list(skeleton.joint_names)
        assert lifted['parents'] == list(skeleton.parents)
        assert lifted['skeleton'] == skeleton.name
    own = clip(20, skeleton.name)
    unnamed, named = inferencer(own, SIZE), inferencer(own, SIZE, skeleton=skeleton.name)
    np.testing.assert_array_equal(unnamed['keypoints_3d'], named['keypoints_3d'])


def test_the_result_is_the_models(tmp_path):
    """Against the bare model, joint by joint, and after a round trip through a file."""
    inferencer = build(mixste())
    keypoints = clip(9)
    lifted = inferencer(keypoints, SIZE, skeleton='h36m', out_file=tmp_path / 'out.npz')
    own = convert_keypoints(keypoints, 'h36m', 'humaneva')
    with torch.inference_mode():
        expected = inferencer.model.predict(torch.from_numpy(normalize_screen(own, *SIZE))[None],
                                            None)[0].pred_instances.keypoints
    np.testing.assert_allclose(lifted['keypoints_3d'], expected, atol=1e-6)
    with np.load(tmp_path / 'out.npz') as saved:
        assert str(saved['skeleton']) == 'humaneva' and saved['keypoints_3d'].shape == (9, 15, 3)


def test_mirrored_input_gives_the_mirrored_pose():
    inferencer, flip = build(ampose()), list(get_skeleton('h36m_16').flip_indices)
    keypoints = clip(5, 'h36m_16')
    mirrored = (keypoints * [-1, 1] + [SIZE[0], 0])[:, flip].astype(np.float32)
    np.testing.assert_allclose(
        inferencer.lift(mirrored, SIZE)[:, flip] * [-1, 1, 1], inferencer.lift(keypoints, SIZE),
        atol=1e-5)


@pytest.mark.parametrize('config, source, message', [
    (ampose('h36m'), 'h36m_16', "skeleton 'h36m_16' has no joint for neck_base of 'h36m'"),
    (ampose('h36m'), 'humaneva', "'humaneva' has no joint for .*neck_base"),
    (ampose(), 'h36n', 'unknown skeleton'),
])
def test_impossible_conversions_are_refused(config, source, message):
    joints = 16 if source == 'h36n' else get_skeleton(source).num_joints
    with pytest.raises(ValueError, match=message):
        build(config)(np.full((4, joints, 2), 300.), SIZE, skeleton=source)


def test_wrong_joint_count_names_the_models_order():
    with pytest.raises(ValueError, match="skeleton 'h36m_16' has 16 joints, found 17"):
        build(ampose())(clip(4), SIZE)


def test_a_skeleton_that_is_not_the_heads_is_refused():
    config = ampose()
    del config.model.skeleton
    with pytest.raises(ValueError, match="'h36m' has 17 joints, but its head gives 16; set model"):
        build(config)


def test_a_test_config_that_drops_joints_does_not_drop_them_here():
    config = ampose(output_keypoint_indices=[0, 3])
    assert build(config)(clip(3, 'h36m_16'), SIZE)['keypoints_3d'].shape == (3, 16, 3)


def count_passes(inferencer):
    sizes, forward = [], inferencer.lifter.forward

    def counting(inputs):
        sizes.append(len(inputs))
        return forward(inputs)
    inferencer.lifter.forward = counting
    return sizes


def test_single_frames_go_in_large_batches_with_the_same_numbers():
    keypoints = clip(2000, 'h36m_16')
    usual, small = build(ampose()), build(ampose(), batch_size=1)
    passes, small_passes = count_passes(usual), count_passes(small)
    lifted = usual.lift(keypoints, SIZE)
    assert len(passes) <= 5 and sum(passes) == 2000
    np.testing.assert_allclose(small.lift(keypoints, SIZE), lifted, atol=1e-5)
    assert max(small_passes) == 32
    np.testing.assert_allclose(  # and frame by frame
        np.concatenate([usual.lift(keypoints[i:i + 1], SIZE) for i in range(20)]), lifted[:20],
        atol=1e-5)


def test_longer_windows_keep_their_batch_size():
    inferencer = build(mixste(), batch_size=4, overlap=0)
    passes = count_passes(inferencer)
    inferencer(clip(100), SIZE, skeleton='h36m')
    assert passes == [4, 4, 4]


@pytest.mark.parametrize('design, norm, folds', [
    ('proposed', 'batch', True), ('two_residual', 'batch', True), ('proposed', 'layer', False),
    ('transformer', 'batch', False), ('convnext', 'layer', False)])
def test_batch_norm_is_folded_after_loading(tmp_path, design, norm, folds):
    from mmpose.registry import MODELS
    config = ampose('h36m', 1, design)
    config.model.backbone.gcn_norm = norm
    torch.manual_seed(1)
    model = random_statistics(MODELS.build(config.model)).eval()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    inferencer = PoseLiftInferencer(config, str(tmp_path / 'weights.pth'), device='cpu')
    left = [m for m in inferencer.model.modules() if isinstance(m, nn.BatchNorm1d)]
    assert bool(left) == (norm == 'batch' and not folds)
    keypoints = clip(30)
    with torch.inference_mode():
        samples = model.predict(torch.from_numpy(normalize_screen(keypoints, *SIZE))[:, None], None)
    expected = np.concatenate([s.pred_instances.keypoints for s in samples])
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(inferencer.lift(keypoints, SIZE), expected, atol=1e-5)


def test_entry_configs_of_single_frame_models(root_dir):
    config = Config.fromfile(root_dir / 'configs/demo_ampose.py')
    lifted = {precision: build(config, precision=precision)(clip(10), SIZE)['keypoints_3d']
              for precision in ('float32', 'bfloat16')}
    difference = np.abs(lifted['bfloat16'] - lifted['float32']).max()
    assert 0 < difference < 0.05 * np.abs(lifted['float32']).max()
