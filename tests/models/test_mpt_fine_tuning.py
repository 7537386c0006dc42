"""The fine-tuning config: its mixture, and 2D network and mesh network trained end to end."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, HOOKS, MODELS

from tests.mesh_files import SIZE, h36m_content, make_people, write_json

FOLDER = 's_09_act_02_subact_01_ca_04'


@pytest.fixture
def config(root_dir, tmp_path):
    """``configs/_base_/mpt_mix.py`` with made-up data and small networks."""
    config = Config.fromfile(root_dir / 'configs/_base_/mpt_mix.py')
    config.model.head.update(
        body_model='stand_in', stem=dict(channels=(8, )), transformer=dict(
            input_dims=(19, 8, 8), hidden_dims=(8, 8, 8), output_dims=(8, 8, 3),
            intermediate_dims=(8, 8, 8), num_layers=1, num_heads=2))
    config.model.backbone = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
    config.model.neck.head = dict(type='HigherHRNetHead', in_channels=64, num_blocks=1)
    (tmp_path / FOLDER).mkdir()
    people = h36m_content(make_people(2), name=FOLDER + '/{i:06d}.jpg')
    write_json(tmp_path / 'h36m.json', people)
    keypoints = np.random.default_rng(0).uniform(20, 100, (17, 3)).tolist()
    write_json(tmp_path / 'coco.json', dict(images=people['images'], annotations=[
        dict(id=0, image_id=100, bbox=[10, 10, 80, 100], num_keypoints=17, keypoints=keypoints)]))
    for image in people['images']:
        cv2.imwrite(str(tmp_path / image['file_name']), np.full((*SIZE[::-1], 3), 90, np.uint8))
    parts = config.train_dataloader.dataset.datasets[:2]
    for part, name in zip((*parts, config.h36m_test), ('h36m', 'coco', 'h36m')):
        part.update(data_root=str(tmp_path), ann_file=f'{name}.json', data_prefix=dict(img=''))
    config.train_dataloader.dataset.datasets = parts
    init_default_scope('mmpose')
    return config


def test_everything_is_trained_end_to_end(config):
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(config.model).train()
    model.init_weights()
    data = DATASETS.build(config.train_dataloader.dataset)
    assert len(data) == 3 and data[2]['data_samples'].dataset_name == 'coco'
    batch = model.data_preprocessor(pseudo_collate([data[i] for i in range(3)]), True)
    assert batch['inputs'].shape == (3, 3, 224, 224)
    losses = model(**batch, mode='loss')
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    without = [name for name, p in model.named_parameters()
               if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    assert model.backbone.conv1.weight.grad.any()
    assert model.neck.head.final_layers[1].weight.grad.any()
    # people without labels in 3D: the keypoints alone train
    model.zero_grad()
    batch = model.data_preprocessor(pseudo_collate([data[2]]), True)
    losses = model(**batch, mode='loss')
    values = {key: float(value.detach()) for key, value in losses.items() if 'loss' in key}
    assert {key for key, value in values.items() if value > 0} == {
        key for key in values if 'keypoint' in key}, values


def test_predictions_of_the_test_set(config):
    model = MODELS.build(config.model).eval()
    data = DATASETS.build(config.h36m_test)
    assert len(data) == 2
    sample = model.test_step(pseudo_collate([data[0]]))[0]
    assert sample.pred_instances.vertices.shape == (1, 6890, 3)
    assert sample.gt_instances.gt_h36m_joints.shape == (1, 17, 3)


def test_it_starts_from_the_pre_training(config):
    """A checkpoint of the head alone is taken; one with other parts of the head is not."""
    model = MODELS.build(config.model)
    hook = HOOKS.build(config.custom_hooks[-1])
    runner = type('Runner', (), dict(model=model, _load_from='pre.pth'))
    state = {key: value for key, value in model.state_dict().items() if key.startswith('head.')}
    hook.after_load_checkpoint(runner, dict(state_dict=dict(state)))
    state.pop('head.cam_fc1.bias')
    with pytest.raises(ValueError, match='pre.pth.*missing: head.cam_fc1.bias.*pre-training'):
        hook.after_load_checkpoint(runner, dict(state_dict=state))
