import numpy as np
import pytest

from mmpose_lift.codecs import PoseSequenceLabel
from mmpose_lift.geometry.cameras import denormalize_screen


def sample(rng, lead=(), frames=5):
    keypoints = rng.random(lead + (frames, 17, 2)) * 1000
    target = rng.standard_normal(lead + (frames, 17, 3)) + [0, 0, 4]
    return keypoints, target


def test_round_trip_of_input_and_target(rng):
    codec = PoseSequenceLabel()
    keypoints, target = sample(rng)
    encoded = codec.encode(keypoints, lifting_target=target, camera_param=dict(w=1000, h=800))
    pixels = denormalize_screen(encoded['keypoint_labels'], 1000, 800)
    np.testing.assert_allclose(pixels, keypoints, atol=1e-3)
    assert (encoded['lifting_target_label'][:, 0] == 0).all()
    decoded, score = codec.decode(encoded['lifting_target_label'], encoded['target_root'])
    np.testing.assert_allclose(decoded, target, atol=1e-6)
    assert score.shape == (5, 17) and (score == 1).all()


def test_corners_of_the_image(rng):
    keypoints = np.zeros((1, 17, 2))
    keypoints[0, 1] = 1000, 800
    label = PoseSequenceLabel().encode(keypoints, camera_param=dict(w=1000, h=800))[
        'keypoint_labels']
    np.testing.assert_allclose(label[0, 0], [-1, -0.8], atol=1e-6)
    np.testing.assert_allclose(label[0, 1], [1, 0.8], atol=1e-6)


def test_a_batch_with_different_image_sizes(rng):
    codec = PoseSequenceLabel()
    keypoints, target = sample(rng, (3, ))
    size = dict(w=np.array([1000, 1000, 640]), h=np.array([1002, 1000, 480]))
    batch = codec.encode(keypoints, lifting_target=target, camera_param=size)
    for i in range(3):
        one = codec.encode(keypoints[i], lifting_target=target[i],
                           camera_param={k: v[i] for k, v in size.items()})
        for key in ('keypoint_labels', 'lifting_target_label', 'target_root'):
            np.testing.assert_array_equal(batch[key][i], one[key])


def test_score_channel_and_flat_layout(rng):
    keypoints, _ = sample(rng)
    score = rng.random((5, 17))
    label = PoseSequenceLabel(with_score=True).encode(
        keypoints, score, camera_param=dict(w=1000, h=1000))['keypoint_labels']
    np.testing.assert_allclose(label[..., 2], score, rtol=1e-6)
    flat = PoseSequenceLabel(flatten=True).encode(
        keypoints, camera_param=dict(w=1000, h=1000))['keypoint_labels']
    assert flat.shape == (34, 5)
    np.testing.assert_array_equal(flat[2 * 3 + 1], label[:, 3, 1])


@pytest.mark.parametrize('shape, param, message', [
    ((5, 16, 2), dict(w=1, h=1), '17'),
    ((17, 2), dict(w=1, h=1), 'keypoints'),
    ((5, 17, 2), None, 'camera_param'),
    ((5, 17, 2), dict(w=1), '"h"'),
])
def test_wrong_input_is_named(shape, param, message):
    with pytest.raises(ValueError, match=message):
        PoseSequenceLabel().encode(np.zeros(shape), camera_param=param)
