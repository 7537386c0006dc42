"""Keypoint files: every form that is read, and one clear error for what is not."""

import json
import warnings

import numpy as np
import pytest

from mmpose_lift.io.keypoint_sequence import check_keypoints, read_keypoint_sequence


def result(frames=3, joints=17, dims=2, **changes):
    """Frames as MMPose's inferencer writes them, one person each."""
    rng = np.random.default_rng(0)
    person = [dict(keypoints=rng.uniform(0, 999, (joints, dims)).tolist(),
                   keypoint_scores=rng.random(joints).tolist(), bbox=[[0, 0, 9, 9]], **changes)
              for _ in range(frames)]
    return [dict(frame_id=i, instances=[p]) for i, p in enumerate(person)]


@pytest.fixture
def write(tmp_path):
    def write_json(content):
        path = tmp_path / 'clip.json'
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path
    return write_json


# ---------------------------------------------------------------- forms


def test_plain_forms_are_the_same(tmp_path, write):
    keypoints = np.random.default_rng(0).uniform(0, 999, (4, 17, 3)).astype(np.float32)
    np.save(tmp_path / 'a.npy', keypoints)
    np.savez(tmp_path / 'a.npz', keypoints=keypoints, image_size=[640, 480], skeleton='coco',
             fps=29.97)
    path = write(dict(keypoints=keypoints.tolist(), image_size=[640, 480], skeleton='coco',
                      fps=29.97))
    for file in (tmp_path / 'a.npz', path):
        clip = read_keypoint_sequence(file)
        np.testing.assert_array_equal(clip.keypoints, keypoints)
        assert (clip.image_size, clip.skeleton, clip.fps) == ((640, 480), 'coco', 29.97)
        assert not clip.needs_skeleton
    clip = read_keypoint_sequence(tmp_path / 'a.npy')
    np.testing.assert_array_equal(clip.keypoints, keypoints)
    assert (clip.image_size, clip.skeleton, clip.fps) == (None, None, None)
    assert not clip.needs_skeleton


@pytest.mark.parametrize('name', ['coco', 'h36m', 'mpi_inf_3dhp'])
def test_dataset_name_of_a_result_is_the_skeleton(write, name):
    frames = result()
    clip = read_keypoint_sequence(write(dict(meta_info=dict(dataset_name=name),
                                             instance_info=frames)))
    assert clip.skeleton == name and not clip.needs_skeleton
    assert clip.keypoints.shape == (3, 17, 3) and clip.keypoints.dtype == np.float32
    person = frames[1]['instances'][0]
    np.testing.assert_allclose(clip.keypoints[1, :, :2], person['keypoints'], rtol=1e-6)
    np.testing.assert_allclose(clip.keypoints[1, :, 2], person['keypoint_scores'], rtol=1e-6)


@pytest.mark.parametrize('content', [
    result(), [frame['instances'] for frame in result()], dict(instance_info=result()),
    dict(meta_info={}, instance_info=result()), dict(meta_info=None, instance_info=result())])
def test_result_without_a_dataset_name_needs_the_skeleton(write, content):
    clip = read_keypoint_sequence(write(content))
    assert clip.skeleton is None and clip.needs_skeleton and clip.keypoints.shape == (3, 17, 3)


def test_result_without_scores(write):
    frames = result()
    for frame in frames:
        del frame['instances'][0]['keypoint_scores']
    assert (read_keypoint_sequence(write(frames)).keypoints[..., 2] == 1).all()


# ---------------------------------------------------------------- results that do not fit


@pytest.mark.parametrize('name', ['crowdpose', 'animalpose', '', 5, ['coco']])
def test_unknown_dataset_name(write, name):
    path = write(dict(meta_info=dict(dataset_name=name), instance_info=result()))
    with pytest.raises(ValueError, match='clip.json.*dataset_name.* is not mapped.*coco'):
        read_keypoint_sequence(path)


@pytest.mark.parametrize('dims, found', [(3, r'\(17, 3\)'), (1, r'\(17, 1\)')])
def test_keypoints_that_are_not_2d(write, dims, found):
    frames = result()
    frames[2] = result(dims=dims)[2]
    with pytest.raises(ValueError, match=f'clip.json.*frame 2.*{found}.*this is not a 2D result'):
        read_keypoint_sequence(write(frames))


@pytest.mark.parametrize('scores, found', [
    ([1.0] * 16, r'shape \(16,\)'), ([[1.0]] * 17, r'shape \(17, 1\)'), (None, 'None'),
    (1, r'shape \(\)'), (['high'] * 17, 'high')])
def test_scores_that_do_not_fit(write, scores, found):
    frames = result()
    frames[1]['instances'][0]['keypoint_scores'] = scores
    with pytest.raises(ValueError, match='clip.json.*frame 1.*17 "keypoint_scores".*' + found):
        read_keypoint_sequence(write(frames))


def test_frames_with_other_joints(write):
    with pytest.raises(ValueError, match='clip.json.*frame 2 has 16 joints, the first frame 17'):
        read_keypoint_sequence(write(result(2) + result(1, 16)))


@pytest.mark.parametrize('people', [0, 2])
def test_number_of_people(write, people):
    frames = result()
    frames[1]['instances'] *= people
    with pytest.raises(ValueError, match=f'frame 1 needs exactly one person, found {people}'):
        read_keypoint_sequence(write(frames))


def changed(**changes):
    return dict(dict(keypoints=np.zeros((2, 17, 2)).tolist(), image_size=[9, 9]), **changes)


@pytest.mark.parametrize('content, message', [
    ('3', 'expected an object.*found 3'),
    ('null', 'expected an object.*found None'),
    ('"text"', "expected an object.*found 'text'"),
    ('[' * 100_000, 'not valid JSON'),
    ('[]', 'no frames'),
    ('{}', r'expected an entry "keypoints".*found \[\]'),
    ([3], 'frame 0 needs a list of instances.*found 3'),
    ([{}], 'frame 0 needs a list of instances'),
    ([['x']], "frame 0: expected a person with .keypoints.*found 'x'"),
    ([[{'keypoints': 3}]], r'frame 0: .*found \(\): this is not a 2D result'),
    ([[{'keypoints': 'x'}]], "frame 0: .*no .K, 2. array of numbers, found 'x'"),
    ([[{'keypoints': [[1, 2], [1]]}]], 'frame 0: .*no .K, 2. array of numbers'),
    ([[{'keypoints': None}]], 'frame 0: .*no .K, 2. array of numbers, found None'),
    (dict(instance_info=None), '"instance_info" as a list of frames, found None'),
    (dict(instance_info={'a': 1}), '"instance_info" as a list of frames'),
    (dict(instance_info=[]), 'no frames'),
    (dict(instance_info=[dict(instances=['x'])]), "frame 0: expected a person.*found 'x'"),
    (dict(instance_info=[dict(instances=None)]), 'frame 0 needs a list of instances'),
    (dict(meta_info=3, instance_info=result()), '"meta_info" as an object, found 3'),
    (changed(keypoints=3), r'\(T, K, 2 or 3\), found \(\)'),
    (changed(keypoints=None), 'array of numbers, found None'),
    (changed(keypoints='x'), "array of numbers, found 'x'"),
    (changed(keypoints={'a': 1}), 'array of numbers, found'),
    (changed(keypoints=[[['1', '2']]]), 'array of numbers, found'),
    (changed(keypoints=[[[1, None]]]), 'array of numbers, found'),
    (changed(keypoints=[[1, 2]]), r'\(T, K, 2 or 3\), found \(1, 2\)'),
    (changed(image_size=['w', 'h']), "image_size.*found .'w', 'h'."),
    (changed(image_size=[9]), 'image_size.*found .9.'),
    (changed(image_size=[9, None]), 'image_size.*found'),
    (changed(image_size=[9, -9]), 'image_size.*found'),
    (changed(image_size={'w': 9, 'h': 9}), 'image_size.*found'),
    ('{"keypoints": [[[1, 2]]], "image_size": [NaN, 9]}', 'image_size.*nan'),
    (changed(fps='fast'), "fps.*positive number, found 'fast'"),
    (changed(fps=-1), 'fps.*positive number, found -1'),
    (changed(fps=0), 'fps.*positive number, found 0'),
    (changed(fps=[25, 30]), 'fps.*positive number, found'),
    ('{"keypoints": [[[1, 2]]], "fps": NaN}', 'fps.*found nan'),
    ('{"keypoints": [[[1, 2]]], "fps": Infinity}', 'fps.*found inf'),
    (changed(skeleton=5), 'skeleton.*name of a joint order, found 5.*h36m'),
    (changed(skeleton=['coco']), 'skeleton.*name of a joint order')])
def test_malformed_json(write, content, message):
    with pytest.raises(ValueError, match='clip.json.*' + message):
        read_keypoint_sequence(write(content))


@pytest.mark.parametrize('entries, message', [
    (dict(keypoints=np.array([None])), 'array of numbers'),
    (dict(keypoints=np.zeros((2, 17, 2)), fps=np.array('fast')), 'fps'),
    (dict(keypoints=np.zeros((2, 17, 2)), image_size=np.array('9x9')), 'image_size'),
    (dict(keypoints=np.zeros((2, 17, 2)), skeleton=np.array(5)), 'skeleton.*found 5')])
def test_malformed_npz(tmp_path, entries, message):
    np.savez(tmp_path / 'clip.npz', **entries)
    with pytest.raises(ValueError, match='clip.npz.*' + message):
        read_keypoint_sequence(tmp_path / 'clip.npz')


# ---------------------------------------------------------------- check_keypoints


@pytest.mark.parametrize('value', [1e300, -1e39, np.nan, np.inf])
def test_values_must_be_finite_in_float32(write, value):
    keypoints = np.zeros((3, 17, 2))
    keypoints[1, 4, 0] = value
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for given in (keypoints, read_keypoint_sequence(
                write(changed(keypoints=keypoints.tolist()))).keypoints):
            with pytest.raises(ValueError, match='clip: 1 of 3 frames .*first: frame 1'):
                check_keypoints(given, 'h36m', 'clip')


def test_check_keypoints():
    keypoints = np.zeros((3, 17, 2))
    assert check_keypoints(keypoints, 'coco').dtype == np.float32
    assert check_keypoints(keypoints.astype(int), 'coco').dtype == np.float32
    for bad, message in [(keypoints[:0], 'no frames'), (keypoints[:, :16], '17 joints, found 16'),
                         (keypoints[0], r'found float64 \(17, 2\)'),
                         (keypoints.astype(str), 'array of numbers')]:
        with pytest.raises(ValueError, match=f'clip: .*{message}'):
            check_keypoints(bad, 'coco', 'clip')
    with pytest.raises(ValueError, match='clip: .*cocoa'):
        check_keypoints(keypoints, 'cocoa', 'clip')
