"""A small HybrIK-Transformer on rendered stand-in bodies, half an hour of one CPU core.

Data: tools/render_people.py --labels mesh. Three stages of a ResNet-18 with half the channels,
which start from the 2D model of this package (rendered_human), 8 x 8 tokens of a 128 x 128 crop,
four blocks of width 128. Sizes, schedule and the weights of the losses were chosen here; they are
of no paper.
"""

_base_ = ['../../../_base_/hybrik_transformer.py']

data_root = 'data/rendered_meshes/'
codec = dict(type='BodyMeshLabel', input_size=(128, 128))

model = dict(
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    backbone=dict(
        depth=18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2, ),
        stem_channels=32, base_channels=32, frozen_stages=1,
        init_cfg=dict(type='Pretrained', prefix='backbone.',
                      checkpoint='mmpose_lift/assets/rendered_human.safetensors')),
    head=dict(
        in_channels=128, d_model=128, layer_width=128, num_blocks=4, drop_rate=0.,
        body_model='stand_in', compat_joint23=False,
        mean_shape=(0., ) * 10, decoder=codec,
        loss=dict(type='HybrIKLoss', pose_weight=0.1, twist_weight=0.3, shape_weight=0.3)),
    test_cfg=dict(flip_test=False))

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshRandomFlip'),
    dict(type='MeshBBoxTransform', scale_std=0.15, scale_range=(0.8, 1.25), rotation_std=15.,
         rotation_limit=30.),
    dict(type='MeshAffine', input_size=codec['input_size']),
    dict(type='ChannelNoise'),
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
dataset_cfg = dict(type='BodyMeshDataset', layout='h36m', data_root=data_root,
                   metainfo=dict(dataset_name='rendered_meshes'))
train_dataloader = dict(
    batch_size=32, num_workers=1, persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(ann_file='train.json', data_prefix=dict(img='train/'), pipeline=train_pipeline,
                 **dataset_cfg))
val_dataloader = dict(
    batch_size=32, num_workers=1, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(ann_file='val.json', data_prefix=dict(img='val/'), pipeline=test_pipeline,
                 test_mode=True, **dataset_cfg))
test_dataloader = val_dataloader
val_evaluator = dict(type='MeshMetric', body_model='stand_in')
test_evaluator = val_evaluator

train_cfg = dict(_delete_=True, by_epoch=False, max_iters=2400, val_interval=2400)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.5))))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=0, end=2400, T_max=2400),
]
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.004, gamma=300,
         update_buffers=True),
    dict(type='BFloat16Hook'),
]
default_hooks = dict(checkpoint=dict(_delete_=True, type='CheckpointHook', by_epoch=False,
                                     interval=500, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
