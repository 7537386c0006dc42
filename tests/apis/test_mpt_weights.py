"""The MPT network that travels with the package, behind the package's own 2D model."""

from pathlib import Path

import numpy as np
import pytest

from mmpose_lift.apis import MeshInferencer
from mmpose_lift.compat.model_index import PACKAGE, find_model
from mmpose_lift.evaluation.functional import p_mpjpe
from mmpose_lift.rendering.people import TwoPeopleVideo

ENTRY = find_model('mpt_cmu')


def test_it_is_part_of_the_package():
    weights = Path(ENTRY['Weights'])
    assert weights.parent == PACKAGE / 'assets' and weights.stat().st_size < 2e6


def test_bodies_of_rendered_people():
    scene = TwoPeopleVideo(seed=11, num_frames=40, fps=10)
    frames = [0, 20, 39]
    images = np.stack([image for i, image in enumerate(scene) if i in frames])
    boxes = [scene.boxes[:, frame] for frame in frames]
    inferencer = MeshInferencer('mpt_cmu', pose2d='rendered_human', focal=scene.focal)
    aligned, placed = [], []
    for (poses, _), frame, given in zip(inferencer.pictures(list(images), bboxes=boxes), frames,
                                        boxes):
        assert len(poses.tracks) == 2
        for track in poses.tracks:
            person = int(np.abs(track.boxes[0] - given).sum(1).argmin())
            truth = scene.keypoints_3d[person, frame]
            aligned.append(p_mpjpe(track.keypoints_3d[0], truth))
            placed.append(track.root_position[0, 2] / truth[0, 2])
    assert np.mean(aligned) < 0.1  # a mean pose has 0.2
    assert np.median(placed) == pytest.approx(1, abs=0.15)  # by the scale of its camera
