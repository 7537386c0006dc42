"""The whole chain on a rendered video, through the command line."""

import json
import os
import runpy
import signal
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pytest

from mmpose_lift.apis import PoseLiftInferencer, ShownStages
from mmpose_lift.io.exporters import read_json, read_npz

FRAMES, FPS, SIZE = 100, 25, (480, 270)


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    """Two people who pass each other: the video, its boxes, and what is known about it."""
    from mmpose_lift.rendering.people import TwoPeopleVideo
    from mmpose_lift.visualization import VideoWriter
    scene = TwoPeopleVideo(seed=0, num_frames=FRAMES, fps=FPS, size=SIZE)
    folder = tmp_path_factory.mktemp('scene')
    scene.path, scene.bboxes = folder / 'two.mp4', folder / 'boxes.json'
    with VideoWriter(scene.path, FPS, SIZE) as writer:
        for image in scene:
            writer.write(image)
    boxes = [scene.boxes[scene.visible[:, t], t].tolist() for t in range(FRAMES)]
    scene.bboxes.write_text(json.dumps(boxes))
    return scene


def command(root_dir, source, options):
    return [str(root_dir / 'tools/infer.py'), str(source), '--pose3d',
            str(root_dir / 'configs/demo_mixste.py'), '--pose2d', 'rendered_human', '--device',
            'cpu', *map(str, options)]


@pytest.fixture
def infer(root_dir, scene, monkeypatch, capsys):
    """The command in this process, which saves importing everything again; its output."""
    def run(*options, source=scene.path):
        monkeypatch.setattr(sys, 'argv', command(root_dir, source, options))
        monkeypatch.setattr(warnings, 'showwarning', warnings.showwarning)
        runpy.run_path(sys.argv[0], run_name='__main__')
        return capsys.readouterr().out
    return run


@pytest.fixture(scope='module')
def weights(root_dir, tmp_path_factory):
    """Random weights, the same for all processes."""
    import torch
    torch.manual_seed(0)
    inferencer = PoseLiftInferencer(str(root_dir / 'configs/demo_mixste.py'), device='cpu',
                                    allow_random_weights=True)
    path = tmp_path_factory.mktemp('weights') / 'demo.pth'
    torch.save(dict(state_dict=inferencer.model.state_dict()), path)
    return path


@pytest.fixture(scope='module')
def done(root_dir, scene, weights, tmp_path_factory):
    out = tmp_path_factory.mktemp('out')
    options = ['--weights', weights, '--bboxes', scene.bboxes, '--out-dir', out, '--video',
               '--picture', '--rerun', '--formats', 'json', 'npz', 'bvh', 'csv', 'trc']
    result = subprocess.run([sys.executable, *command(root_dir, scene.path, options)],
                            capture_output=True, text=True, check=True)
    return out, result


def test_files_and_summary(done):
    out, result = done
    names = {p.name for p in out.iterdir()}
    assert {'two.json', 'two.npz', 'two.csv', 'two_3d.mp4', 'two_3d.png', 'two_3d.rrd',
            'two_person0.bvh', 'two_person1.bvh', 'two_person0.trc',
            'two_person1.trc'} <= names
    assert not [n for n in names if 'partial' in n]
    summary = result.stdout.splitlines()[-2]
    assert summary.startswith(f'{FRAMES} frames, 2 people in ')
    assert {'2D network', 'tracking', 'lifting', 'drawing', 'encoding'} <= {
        part.strip().rpartition(' ')[0] for part in summary.split('frames per second: ')[1]
        .split(',')}
    poses = read_json(out / 'two.json')
    assert poses.fps == FPS and poses.units == 'metre' and poses.detector == 'given boxes'
    assert poses.model_2d == 'rendered_human' and poses.image_size == SIZE and poses.complete
    video = cv2.VideoCapture(str(out / 'two_3d.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert cv2.imread(str(out / 'two_3d.png')) is not None


def test_people_who_cross_keep_their_numbers(done, scene):
    """Each track is nearest to the same rendered person in all frames where it was detected."""
    poses = read_npz(done[0] / 'two.npz')
    assert len(poses.tracks) == 2
    person = []
    x = scene.keypoints_2d[:, :, 11:13, 0].mean(-1)
    assert (np.diff(np.sign(x[0] - x[1])) != 0).any(), 'they do not cross'
    for track in poses.tracks:
        truth = scene.keypoints_2d[:, track.frames]
        apart = np.linalg.norm(track.keypoints[..., :2] - truth, axis=-1).mean(-1)  # (2, n)
        beside = np.abs(x[0] - x[1])[track.frames] > 60  # elsewhere both are near
        nearest = apart[:, beside & track.detected].argmin(0)
        assert (nearest == nearest[0]).mean() > 0.98
        person.append(nearest[0])
    assert sorted(person) == [0, 1]


def test_two_videos_in_one_process_as_in_two(done, scene, weights, root_dir):
    inferencer = PoseLiftInferencer(str(root_dir / 'configs/demo_mixste.py'), str(weights),
                                    device='cpu', pose2d='rendered_human')
    boxes = json.loads(scene.bboxes.read_text())
    mirrored = [image[:, ::-1].copy() for image in scene]
    inferencer.video(mirrored[:30], fps=50, bboxes=[[[0, 0, *SIZE]]] * 30)
    second = inferencer.video(scene.path, bboxes=boxes)
    first = read_npz(done[0] / 'two.npz')
    assert [t.track_id for t in first.tracks] == [t.track_id for t in second.tracks]
    for a, b in zip(first.tracks, second.tracks):
        np.testing.assert_allclose(a.keypoints, b.keypoints, atol=1e-3)
        np.testing.assert_allclose(a.keypoints_3d, b.keypoints_3d, atol=1e-5)


def test_options_after_lifting(infer, scene, weights, tmp_path):
    infer('--weights', weights, '--bboxes', scene.bboxes, '--out-dir', tmp_path, '--formats', 'npz',
          '--smooth', 'one-euro', '--trajectory', '--ground', '--height', '1.7')
    poses = read_npz(tmp_path / 'two.npz')
    assert 'z up' in poses.frame and len(poses.notes) >= 3


def test_nobody(infer, scene, weights, tmp_path):
    (tmp_path / 'none.json').write_text(json.dumps([[]] * FRAMES))
    said = infer('--weights', weights, '--bboxes', tmp_path / 'none.json', '--out-dir', tmp_path,
                 '--video')
    assert 'no person found in 100 frames' in said
    assert read_json(tmp_path / 'two.json').tracks == []
    assert cv2.VideoCapture(str(tmp_path / 'two_3d.mp4')).read()[0]


@pytest.mark.parametrize('case, message', [
    ('missing', 'no such file'),
    ('empty', r'0 bytes'),
    ('text', 'video or picture'),
    ('folder is a file', 'folder'),
    ('boxes', 'JSON'),
    ('few boxes', 'one array of boxes for each frame'),
    ('no weights', 'no published weights'),
])
def test_bad_input_gets_one_line(infer, scene, weights, tmp_path, case, message):
    options = ['--out-dir', tmp_path / 'out', '--bboxes', scene.bboxes]
    source = tmp_path / 'input.mp4'
    if case != 'no weights':
        options += ['--weights', weights]
    if case == 'empty':
        source.write_bytes(b'')
    elif case == 'text':
        source.write_text('no video ' * 100)
    elif case != 'missing':
        source = scene.path
    if case == 'folder is a file':
        (tmp_path / 'out').write_text('')
    if case in ('boxes', 'few boxes'):
        options[3] = tmp_path / 'boxes.json'
        options[3].write_text('[[' if case == 'boxes' else '[[[1, 2, 30, 40]]]')
    with pytest.raises(SystemExit, match=f'^error: .*{message}'):
        infer(*options, source=source)
    assert not (tmp_path / 'out').is_dir() or not any((tmp_path / 'out').iterdir())


def test_interrupted_by_ctrl_c(infer, scene, weights, tmp_path, monkeypatch):
    """What was done until then is written and can be read."""
    looked = []
    from mmpose_lift.apis.people_2d import PeopleEstimator
    estimate = PeopleEstimator.estimate

    def interrupt(self, images, boxes):
        looked.extend(images)
        if len(looked) == 48:
            os.kill(os.getpid(), signal.SIGINT)
        return estimate(self, images, boxes)

    monkeypatch.setattr(PeopleEstimator, 'estimate', interrupt)
    before = signal.getsignal(signal.SIGINT)
    said = infer('--weights', weights, '--bboxes', scene.bboxes, '--out-dir', tmp_path, '--video')
    assert signal.getsignal(signal.SIGINT) is before
    assert 'not the whole input' in said
    poses = read_json(tmp_path / 'two.json')
    assert not poses.complete and poses.num_frames == 48
    assert cv2.VideoCapture(str(tmp_path / 'two_3d.mp4')).get(cv2.CAP_PROP_FRAME_COUNT) == 48


def test_second_ctrl_c_interrupts():
    with pytest.raises(KeyboardInterrupt), ShownStages() as stages:
        os.kill(os.getpid(), signal.SIGINT)
        assert stages.stopped
        os.kill(os.getpid(), signal.SIGINT)
