# RootNet (ICCV 2019): the root joint's place in the picture and its depth, from crops of people.
# Published, with MPII for the pictures without 3D labels: MRPE 120.0 mm on S9 and S11.
_base_ = ['../../../_base_/default_runtime.py']

codec = dict(type='BodyMeshLabel', input_size=256)

model = dict(
    type='BodyMeshEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        type='ResNet',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    head=dict(
        type='RootNetHead',
        in_channels=2048,
        heatmap_size=(64, 64),
        real_size=2.,
        loss=dict(type='RootNetLoss')),
    test_cfg=dict(flip_test=False))  # the public code has none

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshRandomFlip', prob=0.5),
    dict(type='MeshBBoxTransform', scale_std=0.),  # rotation only
    dict(type='MeshAffine', input_size=codec['input_size']),
    dict(type='ChannelNoise', factors=(0.8, 1.2)),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackMeshInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackMeshInputs'),
]

h36m = dict(
    type='BodyMeshDataset',
    layout='h36m',
    data_root='data/h36m_smpl/',
    data_prefix=dict(img='images/'))
coco = dict(
    type='BodyMeshDataset',
    layout='coco',
    layout_cfg=dict(mid_hip=True),  # stands for the root, which COCO does not label
    data_root='data/coco/',
    data_prefix=dict(img='train2017/'),
    ann_file='annotations/person_keypoints_train2017.json',
    pipeline=train_pipeline)

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MixedDataset',
        datasets=[
            dict(ann_file='annotations/Sample_5_train_Human36M_smpl_leaf_twist_protocol_2.json',
                 pipeline=train_pipeline, **h36m),
            coco],
        probabilities=[0.5, 0.5],
        epoch_length='2x_largest'))
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        ann_file='annotations/Sample_20_test_Human36M_protocol_2.json',
        pipeline=test_pipeline,
        test_mode=True,
        **h36m))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(type='RootMetric')
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [dict(type='MultiStepLR', milestones=[17], gamma=0.1, by_epoch=True)]
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
auto_scale_lr = dict(base_batch_size=64)
