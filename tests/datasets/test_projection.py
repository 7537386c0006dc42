"""World stores seen through cameras."""

from dataclasses import replace

import numpy as np
import pytest

from mmpose_lift.datasets.projection import project_store
from mmpose_lift.geometry import h36m_camera
from mmpose_lift.geometry.placement import place_clip
from mmpose_lift.io import PoseStore, Sequence


@pytest.fixture
def world(rng):
    """A person standing about and a person walking 12 m away."""
    standing = rng.normal(scale=0.3, size=(20, 17, 3)) + (30, 5, 1)
    walking = rng.normal(scale=0.3, size=(200, 17, 3)) + (0, 0, 1)
    walking[..., 0] += np.linspace(0, 12, 200)[:, None]
    points = np.concatenate([standing, walking]).astype(np.float32)
    sequences = [
        Sequence('a', '', 'stand', '', 50, 0, 0, 0, 20),
        Sequence('b', 'Walk', 'walk 1', '', 50, 0, 0, 20, 220),
    ]
    return PoseStore(
        frame='world',
        skeleton='h36m',
        sequences=sequences,
        keypoints_3d=points,
        source='test',
        valid=np.arange(220) != 3,
    )


def test_projection(tmp_path, world):
    camera = h36m_camera('S9', '55011271')
    recording = project_store(world, [camera], noise='detected')
    store = recording.write(tmp_path / 'store')
    pieces = place_clip(world.keypoints_3d[20:, 0, :2])
    assert recording.total == len(store.sequences) == 1 + len(pieces) and len(pieces) > 2
    assert store.sequences[0].name == 'a/stand/S9.55011271'
    assert [s.subaction for s in store.sequences[1:3]] == ['walk 1#1', 'walk 1#2']
    assert (
        store.frame == 'camera'
        and store.num_frames == 220
        and store.sources_2d == ['detected', 'gt']
    )
    assert store.cameras == {camera.name: camera} and np.flatnonzero(~store.valid).tolist() == [3]
    back = camera.camera_to_world(store.keypoints_3d[:20])
    shift = world.keypoints_3d[:20] - back  # moved on the floor only
    np.testing.assert_allclose(
        shift, np.broadcast_to(shift[0, 0] * (1, 1, 0), shift.shape), atol=1e-5
    )
    np.testing.assert_allclose(
        store.keypoints_2d('gt')[..., :2], camera.project(store.keypoints_3d), atol=5e-3
    )
    error = np.linalg.norm(
        (store.keypoints_2d('detected') - store.keypoints_2d('gt'))[..., :2], axis=-1
    )
    assert 0.5 < np.median(error) < 100 and store.keypoints_2d('detected')[..., 2].mean() < 1


def test_random_cameras_are_seeded(world):
    def names(**arguments):
        return [clip.sequence.name for clip in project_store(world, **arguments).clips]

    pieces = 1 + len(place_clip(world.keypoints_3d[20:, 0, :2]))
    assert len(names()) == 28 * pieces
    four = names(cameras_per_clip=4)
    assert len(four) == len(set(four)) == 4 * pieces
    assert four == names(cameras_per_clip=4) != names(cameras_per_clip=4, seed=1)


def test_noise_is_seeded(world):
    camera = [h36m_camera('S1', '54138969')]

    def pixels(seed, **params):
        recording = project_store(world, camera, seed=seed, noise='n', noise_params=params)
        return next(iter(recording.clips)).keypoints_2d['n']

    np.testing.assert_array_equal(pixels(0), pixels(0))
    assert (pixels(0) != pixels(1)).any() and (pixels(0) != pixels(0, jitter=9.0)).any()


def test_errors(world, tmp_path):
    with pytest.raises(ValueError, match='cameras_per_clip: 29, expected 1 to 28'):
        project_store(world, cameras_per_clip=29)
    with pytest.raises(ValueError, match='different names'):
        project_store(world, [h36m_camera('S1', '54138969')] * 2)
    with pytest.raises(ValueError, match="'gt' is the name"):
        project_store(world, noise='gt')
    inside = replace(h36m_camera('S1', '54138969'), position=(0, 0, 1))
    with pytest.raises(ValueError, match='plane of camera'):
        project_store(world, [inside]).write(tmp_path / 'store')
    assert not (tmp_path / 'store').exists()
    store = project_store(world, [h36m_camera('S1', '54138969')]).write(tmp_path / 'store')
    with pytest.raises(ValueError, match='a camera-space store'):
        project_store(store)
