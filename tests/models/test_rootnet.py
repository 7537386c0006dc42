import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, MODELS
from mmpose.structures import PoseDataSample

import mmpose_lift  # noqa: F401  (registers the models)

CAMERA = np.array([[1100., 0, 500], [0, 1150, 480], [0, 0, 1]])
ROOT = np.array([0.6, -0.2, 4.5])


def sample(root=ROOT, rotation=0.3, side=520., valid=1., visible=1.):
    """A person at ``root``, seen in a turned square crop whose centre is not the root."""
    u, v, _ = CAMERA @ ROOT / ROOT[2]
    cos, sin = side / 256 * np.cos(rotation), side / 256 * np.sin(rotation)
    trans_inv = np.array([[cos, -sin, 0], [sin, cos, 0]])
    centre = np.array([u - 31, v + 12])
    trans_inv[:, 2] = centre - trans_inv[:, :2] @ [128, 128]
    crop = np.linalg.solve(trans_inv[:, :2], [u, v] - trans_inv[:, 2])
    uvd = torch.zeros(1, 24, 3)
    uvd[0, 0, :2] = torch.as_tensor(crop / 256 - 0.5)
    metainfo = dict(trans_inv=trans_inv.astype(np.float32), intrinsic_inv=np.linalg.inv(CAMERA),
                    input_size=(256, 256))
    if root is not None:
        metainfo['root'] = root
    weight = torch.full((1, 24, 3), visible)
    labels = InstanceData(target_uvd=uvd, target_uvd_weight=weight,
                          root_valid=torch.tensor([[valid]]))
    data_sample = PoseDataSample(metainfo=metainfo)
    data_sample.gt_instance_labels = labels
    data_sample.gt_instances = InstanceData(bboxes=np.zeros((1, 4)), bbox_scores=np.ones(1))
    return data_sample


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = MODELS.build(dict(type='RootNetHead', in_channels=4))
    head.init_weights()
    return head.eval()


def told(head, outputs):
    """Make a head that says this."""
    head.forward = lambda feats: outputs[feats]
    return head


def right_output(data_sample, head):
    """x, y in cells and gamma that are the labels'."""
    x, y = (data_sample.gt_instance_labels.target_uvd[0, 0, :2] + 0.5) * 64
    k = head.box_depths([data_sample], torch.zeros(()))
    return torch.stack([x, y, ROOT[2] / k[0]])[None].float()


def test_size_and_start():
    head = MODELS.build(dict(type='RootNetHead'))
    deconvolutions = 16 * 256 * (2048 + 256 + 256) + 3 * 2 * 256
    assert sum(p.numel() for p in head.parameters()) == deconvolutions + 257 + 2049
    head.init_weights()
    for layer in (head.xy_layer, head.depth_layer, head.deconv_layers[3]):
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.2)
        assert layer.bias is None or layer.bias.abs().sum() == 0


def test_the_box_says_how_far(head):
    # an upright crop of 2 m at 5 m: 2 * f / 5 pixels wide
    side = 2 * np.sqrt(1100 * 1150) / 5
    for rotation in (0., 0.7):
        k = head.box_depths([sample(side=side, rotation=rotation)], torch.zeros(()))
        torch.testing.assert_close(k, torch.tensor([5.]), rtol=1e-5, atol=0)


def test_a_right_output_gives_the_root_back(head):
    data_sample = sample()
    found, = told(head, {'plain': right_output(data_sample, head)}).predict('plain', [data_sample])
    assert found.root.shape == (1, 3) and found.keypoints.shape == (1, 1, 2)
    np.testing.assert_allclose(found.root[0], ROOT, atol=1e-4)
    pixel = CAMERA @ ROOT / ROOT[2]
    np.testing.assert_allclose(found.keypoints[0, 0], pixel[:2], atol=1e-2)


def test_loss(head):
    data_samples = [sample(), sample(valid=0.), sample(root=None), sample(visible=0.)]
    right = torch.cat([right_output(s, head) for s in data_samples])
    assert sum(told(head, {'x': right}).loss('x', data_samples).values()) < 1e-2  # mm
    off = right + torch.tensor([2., -1., 0.])
    wrong = told(head, {'x': off}).loss('x', data_samples)
    torch.testing.assert_close(wrong['loss_root_xy'], torch.tensor(3 * 3 / 3 / 4.))
    far = right.clone().requires_grad_()
    wrong = told(head, {'x': far * torch.tensor([1, 1, 1.1])}).loss('x', data_samples)
    # 10 % of 4.5 m of the only sample of four with a depth, a third of it
    torch.testing.assert_close(wrong['loss_root_depth'], torch.tensor(450. / 3 / 4), rtol=1e-3,
                               atol=0)
    sum(wrong.values()).backward()
    assert far.grad.isfinite().all()  # although a label is missing
    assert (far.grad[:, 2] != 0).tolist() == [True, False, False, False]


def test_flip_test(head):
    data_sample = sample()
    right = right_output(data_sample, head)
    # the root at pixel i of the crop is at 255 - i of the mirrored one
    mirrored = right.clone()
    mirrored[:, 0] = (255 - 4 * right[:, 0]) / 4
    feats = {'plain': right, 'mirrored': mirrored}
    found, = told(head, feats).predict(['plain', 'mirrored'], [data_sample])
    np.testing.assert_allclose(found.root[0], ROOT, atol=1e-4)
    feats['mirrored'] = mirrored + torch.tensor([0., 0., 0.2])
    farther, = told(head, feats).predict(['plain', 'mirrored'], [data_sample])
    np.testing.assert_allclose(farther.root[0, 2] / ROOT[2], 1 + 0.1 / right[0, 2].item(),
                               rtol=1e-4)


def test_whole_model():
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='BodyMeshEstimator', backbone=dict(type='ResNet', depth=18),
        head=dict(type='RootNetHead', in_channels=512), test_cfg=dict(flip_test=True)))
    images, data_samples = torch.randn(2, 3, 256, 256), [sample(), sample(rotation=0.)]
    losses = model(images, data_samples, mode='loss')
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters()
               if p.requires_grad)
    model.eval()
    with torch.no_grad():
        first, second = model(images, data_samples, mode='predict')
        alone, = model(images[1:], data_samples[1:], mode='predict')
    assert first.pred_instances.bboxes.shape == (1, 4)
    assert np.isfinite(first.pred_instances.root).all()
    np.testing.assert_allclose(second.pred_instances.root, alone.pred_instances.root, rtol=1e-4)


def test_wrong_input_is_named(head):
    with pytest.raises(ValueError, match=r'\(B, 4, 8, 8\), found \(1, 4, 4, 4\)'):
        head((torch.randn(1, 4, 4, 4), ))
    broken = sample()
    del broken.gt_instance_labels.root_valid
    with pytest.raises(ValueError, match='root_valid not found'):
        head.loss((torch.randn(1, 4, 8, 8), ), [broken])
    with pytest.raises(ValueError, match="lacks 'input_size'"):
        head.predict((torch.randn(1, 4, 8, 8), ), [PoseDataSample()])


@pytest.fixture
def config(root_dir):
    init_default_scope('mmpose')
    return Config.fromfile(root_dir / 'configs/body_3d_mesh/rootnet/h36m/'
                           'img-root_rootnet-res50_2xb32-20e_h36m-coco-256x256.py')


@pytest.mark.parametrize('part', ['train', 'test'])
def test_from_the_annotation_file_to_the_root(config, head, tmp_path, part):
    """A right output gives the labelled root back through mirrored, turned crops."""
    rng = np.random.default_rng(0)
    joints = ROOT + rng.normal(size=(24, 3)) / 5
    joints[0] = ROOT
    pixels = joints @ CAMERA.T / joints[:, 2:]
    low = pixels.min(0)[:2]
    picture = dict(id=1, file_name='s_09_act_02_subact_01_ca_01/1.jpg', width=1000, height=1000)
    person = dict(id=1, image_id=1, bbox=[*low, *(pixels.max(0)[:2] - low)],
                  cam_param=dict(f=[1100., 1150.], c=[500., 480.]),
                  smpl_joints=(1e3 * joints).tolist(), root_coord=(1e3 * ROOT).tolist())
    (tmp_path / 'a.json').write_text(json.dumps(dict(images=[picture], annotations=[person])))
    (tmp_path / picture['file_name']).parent.mkdir()
    cv2.imwrite(str(tmp_path / picture['file_name']), np.zeros((1000, 1000, 3), np.uint8))
    options = config[f'{part}_dataloader'].dataset
    options = options.datasets[0] if part == 'train' else options
    options.update(ann_file='a.json', data_root=str(tmp_path), data_prefix=dict(img=''))
    dataset = DATASETS.build(options)
    np.random.seed(0)
    seen = set()
    for _ in range(12 if part == 'train' else 1):
        data_sample = dataset[0]['data_samples']
        x, y = (data_sample.gt_instance_labels.target_uvd[0, 0, :2] + 0.5) * 64
        root = np.asarray(data_sample.metainfo['root'])
        k = head.box_depths([data_sample], torch.zeros(()))[0].item()
        right = torch.tensor([[x, y, root[2] / k]], dtype=torch.float32)
        teller = told(head, {'plain': right})
        found, = teller.predict('plain', [data_sample])
        np.testing.assert_allclose(found.root[0], root, atol=2e-3)
        assert sum(teller.loss('plain', [data_sample]).values()) < 0.1
        mirrored = bool(data_sample.metainfo.get('flip'))
        seen.add(mirrored)
        np.testing.assert_allclose(root, ROOT * ([-1, 1, 1] if mirrored else 1), rtol=1e-5)
    assert seen == ({True, False} if part == 'train' else {False})


def test_published_recipe(config):
    assert config.optim_wrapper.optimizer == dict(type='Adam', lr=1e-3)
    assert list(config.param_scheduler) == [
        dict(type='MultiStepLR', milestones=[17], gamma=0.1, by_epoch=True)]
    assert config.train_cfg.max_epochs == 20 and config.train_dataloader.batch_size == 32
    model = MODELS.build(config.model)
    assert sum(p.numel() for p in model.parameters()) == 23_508_032 + sum(
        p.numel() for p in model.head.parameters())
