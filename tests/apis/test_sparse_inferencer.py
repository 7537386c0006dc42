"""The inferencer with a model that sees key-frames only."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmpose_lift.apis import (
    KeyFrameLifter,
    MissingWeightsError,
    MMPoseInferencer,
    PoseLiftInferencer,
)

from .conftest import SIZE, clip
from .test_inferencer import check_video_output, config_2d  # noqa: F401  (a fixture)


@pytest.fixture(scope='module')
def config(root_dir):
    return Config.fromfile(root_dir / 'configs/demo_uplift_upsample.py')


@pytest.fixture(scope='module')
def inferencer(config):
    torch.manual_seed(0)
    return PoseLiftInferencer(config, device='cpu', allow_random_weights=True)


def test_only_key_frames_are_seen(inferencer):
    keypoints, other = clip(62), clip(62, seed=1)
    other[::5] = keypoints[::5]
    lifted = inferencer(keypoints, SIZE)
    assert lifted['keypoints_3d'].shape == (62, 17, 3)
    assert lifted['key_frames'] == list(range(0, 62, 5))  # the smallest stride of the config
    np.testing.assert_array_equal(lifted['keypoints_3d'], inferencer(other, SIZE)['keypoints_3d'])
    np.testing.assert_array_equal(lifted['keypoints_2d'], keypoints)


def test_input_stride_is_an_option_and_checked(config, inferencer):
    torch.manual_seed(0)
    sparse = PoseLiftInferencer(config, device='cpu', allow_random_weights=True, input_stride=20)
    assert sparse(clip(62), SIZE)['key_frames'] == [0, 20, 40, 60]
    with pytest.raises(ValueError, match='multiple of the output stride 5, found 7'):
        PoseLiftInferencer(config, input_stride=7, allow_random_weights=True)
    with pytest.raises(ValueError, match='input_stride: model .* every frame'):
        PoseLiftInferencer('mixste_h36m', input_stride=5, allow_random_weights=True)


def test_given_key_frames_and_nothing_between_them(inferencer):
    chosen = np.zeros(62, bool)
    chosen[[10, 20, 25, 45]] = True
    keypoints = np.full((62, 17, 3), np.nan, np.float32)
    keypoints[chosen, :, :2], keypoints[chosen, :, 2] = clip(62)[chosen], 1
    lifted = inferencer(keypoints, SIZE, key_frames=chosen)
    assert lifted['key_frames'] == [10, 20, 25, 45]
    assert np.isfinite(lifted['keypoints_3d']).all()
    shown = lifted['keypoints_2d']
    np.testing.assert_allclose(shown[15], (shown[10] + shown[20]) / 2, rtol=1e-5)
    keypoints[25] = np.nan
    with pytest.raises(ValueError, match='frame 25'):
        inferencer(keypoints, SIZE, key_frames=chosen)
    for wrong, message in [(chosen[:-1], r'62 flags'), (chosen.astype(int), 'bool'),
                           (np.zeros(62, bool), '0 set')]:
        with pytest.raises(ValueError, match=message):
            inferencer(clip(62), SIZE, key_frames=wrong)
    chosen[11] = True
    with pytest.raises(ValueError, match='frame 11 lies off the output grid'):
        inferencer(clip(62), SIZE, key_frames=chosen)


def test_frames_without_a_detection_are_nan(config, inferencer, root_dir, tmp_path):
    """A detector that ran on every 10th frame, in an array and in a file."""
    dense = clip(62)
    sparse = np.where(np.arange(62)[:, None, None] % 10 == 0, dense, np.nan).astype(np.float32)
    torch.manual_seed(0)
    strided = PoseLiftInferencer(config, device='cpu', allow_random_weights=True, input_stride=10)
    expected = strided(dense, SIZE)
    for found in (strided(sparse, SIZE), inferencer(sparse, SIZE)):
        assert found['key_frames'] == list(range(0, 62, 10))
        np.testing.assert_array_equal(found['keypoints_3d'], expected['keypoints_3d'])
        assert np.isfinite(found['keypoints_2d']).all()
    np.testing.assert_array_equal(strided.lift(dense, SIZE), expected['keypoints_3d'])
    np.savez(tmp_path / 'clip.npz', keypoints=sparse, image_size=SIZE)
    for options in ([], ['--input-stride', '10']):
        out = tmp_path / f'out{len(options)}'
        subprocess.run([sys.executable, str(root_dir / 'tools/infer.py'), tmp_path / 'clip.npz',
                        '--pose3d', str(root_dir / 'configs/demo_uplift_upsample.py'), '--out-dir',
                        out, '--device', 'cpu', '--allow-random-weights', *options], check=True)
        assert np.load(out / 'clip_3d.npz')['key_frames'].tolist() == list(range(0, 62, 10))
    sparse[20, 3] = np.nan
    sparse[30] = np.nan
    with pytest.raises(ValueError, match='1 of 6 key-frames.*frame 20'):
        inferencer(sparse, SIZE)  # frame 30 has no 2D pose at all
    with pytest.raises(ValueError, match='2 of 7 key-frames.*frame 20'):
        strided(sparse, SIZE)


@pytest.mark.parametrize('frames', [1, 2, 7])
def test_clips_shorter_than_the_stride_are_lifted_as_by_the_lifter(config, frames):
    torch.manual_seed(0)
    inferencer = PoseLiftInferencer(config, device='cpu', allow_random_weights=True,
                                    input_stride=10)
    lifter = KeyFrameLifter(inferencer.model, 17, 5)
    np.testing.assert_allclose(inferencer(clip(frames), SIZE)['keypoints_3d'],
                               lifter.lift(clip(frames), SIZE, 10), atol=1e-6)


def test_frame_rates(inferencer):
    slow = inferencer(clip(62), SIZE, fps=50)
    doubled = np.repeat(clip(62), 2, axis=0)
    fast = inferencer(doubled, SIZE, fps=100)
    assert fast['key_frames'] == [2 * f for f in slow['key_frames']] and fast['fps'] == 100
    np.testing.assert_allclose(fast['keypoints_3d'][:120:10], slow['keypoints_3d'][:60:5],
                               atol=1e-5)


def test_frame_rates_that_are_no_multiple(inferencer):
    """Each key-frame becomes the nearest token; at 25 per second every second one is exact."""
    time = np.arange(121) / 50
    keypoints = (500 + 200 * np.sin(3 * time[:, None, None] + np.arange(34).reshape(17, 2)))
    keypoints = keypoints.astype(np.float32)
    exact = inferencer(keypoints, SIZE, fps=50)['keypoints_3d']
    slow = inferencer(keypoints[::2], SIZE, fps=25)
    assert slow['key_frames'] == sorted([*range(0, 61, 5), *range(3, 61, 5)])
    assert slow['keypoints_3d'].shape == (61, 17, 3) and slow['fps'] == 25
    change = np.abs(slow['keypoints_3d'] - exact[::2]).max()
    assert change < 0.2 * np.abs(exact - exact[::-1]).max()
    for fps in (24, 29.97, 30, 60, 120):
        lifted = inferencer(keypoints, SIZE, fps=fps)
        assert np.isfinite(lifted['keypoints_3d']).all() and len(lifted['keypoints_3d']) == 121
        apart = np.diff(lifted['key_frames']) - fps / 10
        assert np.abs(apart).max() < 1 and abs(apart.mean()) < 0.1
    every = inferencer(keypoints, SIZE, fps=30, key_frames=np.ones(121, bool))
    assert every['key_frames'] == list(range(0, 121, 3))  # 10 tokens per second
    with pytest.raises(ValueError, match='frame 4 lies off the output grid.*multiples of 10'):
        inferencer(keypoints, SIZE, fps=100, key_frames=np.arange(121) == 4)


def test_dense_models_have_no_key_frames(root_dir):
    dense = PoseLiftInferencer(Config.fromfile(root_dir / 'configs/demo_mixste.py'),
                               allow_random_weights=True, device='cpu')
    with pytest.raises(ValueError, match='key_frames: model .* every frame'):
        dense(clip(30), SIZE, key_frames=np.ones(30, bool))
    assert 'key_frames' not in dense(clip(30), SIZE)


def test_the_alias_explains_missing_weights():
    inferencer = PoseLiftInferencer('uplift_upsample_h36m', device='cpu')
    assert inferencer.model.backbone.num_tokens == 71
    with pytest.raises(MissingWeightsError, match='convert_checkpoint'):
        inferencer(clip(3), SIZE)


def test_mmpose_inferencer_on_a_real_video(shared_dir, config, config_2d):  # noqa: F811
    """Plumbing only: MMPose detects in every frame, so every token has a 2D pose."""
    inferencer = MMPoseInferencer(pose3d=config, pose2d=config_2d, det_model='whole_image',
                                  device='cpu', allow_random_weights=True)
    check_video_output(inferencer, shared_dir / 'mmpose_fixtures/demo/demo.mp4')


@pytest.mark.parametrize('name', ['demo_uplift_upsample', 'demo_mixste'])
def test_bfloat16_stays_near_float32(root_dir, name):
    config = Config.fromfile(root_dir / f'configs/{name}.py')
    lifted = []
    for precision in ('float32', 'bfloat16'):
        torch.manual_seed(0)
        lifted.append(PoseLiftInferencer(config, device='cpu', allow_random_weights=True,
                                         precision=precision)(clip(62), SIZE)['keypoints_3d'])
    exact, low = lifted
    assert low.dtype == np.float32 and 0 < np.abs(low - exact).max() < 0.05 * np.abs(exact).max()
    with pytest.raises(ValueError, match="precision.*'half'"):
        PoseLiftInferencer(config, precision='half', allow_random_weights=True)
