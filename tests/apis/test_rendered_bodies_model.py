"""Networks of bodies that travel with the package: their files, accuracy, aliases."""

from pathlib import Path

import numpy as np
import pytest

from mmpose_lift.apis import MeshInferencer
from mmpose_lift.compat.model_index import PACKAGE, find_model
from mmpose_lift.evaluation.functional import mpjpe, p_mpjpe
from mmpose_lift.rendering.people import TwoPeopleVideo


@pytest.mark.parametrize('alias, limit', [('hybrik_transformer_rendered', 5e6), ('mpt_cmu', 2e6)])
def test_it_is_part_of_the_package(alias, limit):
    weights = Path(find_model(alias)['Weights'])
    assert weights.parent == PACKAGE / 'assets' and weights.stat().st_size < limit


# mean P-MPJPE in metres; a mean pose has 0.2
@pytest.mark.parametrize('alias, options, limit', [
    ('hybrik_transformer_rendered', {}, 0.11),  # depth by the lengths of bones
    ('mpt_cmu', dict(pose2d='rendered_human'), 0.1),  # depth by the scale of its camera
])
def test_bodies_of_rendered_people(alias, options, limit):
    scene = TwoPeopleVideo(seed=11, num_frames=40, fps=10)
    frames = [0, 20, 39]
    images = np.stack([image for i, image in enumerate(scene) if i in frames])
    boxes = [scene.boxes[:, frame] for frame in frames]
    inferencer = MeshInferencer(alias, focal=scene.focal, **options)
    aligned, placed = [], []
    for (poses, _), frame, given in zip(inferencer.pictures(list(images), bboxes=boxes), frames,
                                        boxes):
        assert len(poses.tracks) == 2
        for track in poses.tracks:
            person = int(np.abs(track.boxes[0] - given).sum(1).argmin())
            truth = scene.keypoints_3d[person, frame]
            aligned.append(p_mpjpe(track.keypoints_3d[0], truth))
            placed.append(track.root_position[0, 2] / truth[0, 2])
            assert mpjpe(track.keypoints_3d[0], truth, root_index=0) < 0.35
    assert np.mean(aligned) < limit
    assert np.median(placed) == pytest.approx(1, abs=0.15)
