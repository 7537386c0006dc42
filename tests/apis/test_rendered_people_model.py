"""The 2D model that travels with the package: its file, its accuracy, its alias."""

from pathlib import Path

import mmpose.apis
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.apis import inference_topdown
from mmpose.apis.inference import dataset_meta_from_config
from mmpose.registry import MODELS

import mmpose_lift.apis
from mmpose_lift.apis.command_line import load_config, load_weights
from mmpose_lift.compat.model_index import PACKAGE, find_model
from mmpose_lift.datasets.synthetic_motion import generate_motion
from mmpose_lift.rendering.people import RenderedPeople

ENTRY = find_model('rendered_human')
UNSEEN = 987_654  # a seed that the training data do not use


@pytest.fixture(scope='module')
def model():
    init_default_scope('mmpose')
    config = load_config(ENTRY['Config'])
    model = MODELS.build(config.model)
    load_weights(model, ENTRY['Weights'])  # refuses missing and surplus parameters
    model.cfg, model.dataset_meta = config, dataset_meta_from_config(config)
    return model.eval()


@pytest.fixture(scope='module')
def pictures():
    """Eight pictures with the people of whom at least ten keypoints are seen."""
    people = RenderedPeople()
    motion = np.concatenate([generate_motion(action, 60, [UNSEEN, number])[::20]
                             for number, action in enumerate(('walking', 'waving', 'sitting'))])
    drawn = (people.sample_picture(np.random.default_rng([UNSEEN, i]), motion) for i in range(8))
    return [(picture, [p for p in found if (p['keypoints'][:, 2] == 2).sum() >= 10])
            for picture, found in drawn]


def test_the_file_is_in_the_package_and_small():
    path = Path(ENTRY['Weights'])
    assert path.is_file() and path.is_relative_to(PACKAGE)
    assert path.stat().st_size <= 5e6


def test_accuracy_on_unseen_renders(model, pictures):
    """PCK: share of the seen joints closer than 0.1 of the box's longer side."""
    right, untrained = [], []
    for picture, people in pictures:
        for person in people:
            seen = person['keypoints'][:, 2] == 2
            truth, box = person['keypoints'][seen, :2], person['bbox']
            size = max(box[2] - box[0], box[3] - box[1])
            found = inference_topdown(model, picture, box[None])[0].pred_instances.keypoints[0]
            right.append(np.linalg.norm(found[seen] - truth, axis=1) < 0.1 * size)
            middle = (box[:2] + box[2:]) / 2
            untrained.append(np.linalg.norm(middle - truth, axis=1) < 0.1 * size)
    assert len(right) >= 5
    assert np.concatenate(untrained).mean() < 0.3
    assert np.concatenate(right).mean() > 0.8


def test_a_person_does_not_depend_on_the_others_in_the_batch(model):
    x = torch.randn(3, 3, 192, 144)
    with torch.no_grad():
        alone, together = model(x[1:2], None, mode='tensor'), model(x, None, mode='tensor')
    assert alone.shape == (1, 17, 48, 36)
    torch.testing.assert_close(alone[0], together[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('package', [mmpose.apis, mmpose_lift.apis])
def test_the_alias_runs_in_both_inferencers(package, pictures):
    inferencer = package.MMPoseInferencer('rendered_human', det_model='whole_image', device='cpu')
    result = next(inferencer(pictures[0][0]))
    person = result['predictions'][0][0]
    assert np.shape(person['keypoints']) == (17, 2)
    assert np.isfinite(person['keypoints']).all() and max(person['keypoint_scores']) > 0.1
