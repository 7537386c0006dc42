"""A small top-down 2D model (COCO-17) trained on rendered stand-in bodies only, on one CPU core.

Data: tools/render_people.py. The network (three stages of a ResNet-18 with half the channels, two
transformer blocks over its 9 x 12 places, two transposed convolutions), the augmentation and the
schedule were chosen here for a file below 5 MB and an hour of one core; they are of no paper. The
weights shipped were trained in two runs, see the README.
"""

_base_ = ['../../_base_/default_runtime.py']

dataset_type, data_mode = 'CocoDataset', 'topdown'
data_root = 'data/rendered_people/'

codec = dict(type='UDPHeatmap', input_size=(144, 192), heatmap_size=(36, 48), sigma=1.5,
             blur_kernel_size=7)

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(type='ResNet', depth=18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1),
                  out_indices=(2, ), stem_channels=32, base_channels=32),
    neck=dict(type='AttentionNeck', in_channels=128, feat_size=(9, 12), depth=2, num_heads=4),
    head=dict(
        type='HeatmapHead', in_channels=128, out_channels=17, deconv_out_channels=(64, 64),
        deconv_kernel_sizes=(4, 4), decoder=codec,
        loss=dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=500.)),
    test_cfg=dict(flip_test=False))  # twice as fast, for half a point of PCK

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody', prob=0.15),
    dict(type='RandomBBoxTransform', scale_factor=(0.75, 1.3), rotate_factor=30, rotate_prob=0.5),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PhotometricDistortion'),
    dict(type='mmdet.CutOut', n_holes=(0, 2), fill_in=(114, 114, 114),
         cutout_ratio=[(0.2, 0.1), (0.3, 0.2), (0.4, 0.3)]),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size'], use_udp=True),
    dict(type='PackPoseInputs'),
]

train_dataloader = dict(
    batch_size=32, num_workers=1, persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type=dataset_type, data_mode=data_mode, data_root=data_root,
                 ann_file='train.json', data_prefix=dict(img='train/'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32, num_workers=1, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type=dataset_type, data_mode=data_mode, data_root=data_root, ann_file='val.json',
                 data_prefix=dict(img='val/'), pipeline=val_pipeline, test_mode=True))
test_dataloader = val_dataloader

# PCK: share of the joints in the picture, seen or hidden, closer than 0.05 (0.1) of the longer
# side of the person's box
val_evaluator = [dict(type='PCKAccuracy', thr=0.05, prefix='box-0.05'),
                 dict(type='PCKAccuracy', thr=0.1, prefix='box-0.1')]
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=False, max_iters=3000, val_interval=1000)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=False, begin=0, end=3000, T_max=3000),
]
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.004, gamma=300,
         update_buffers=True),
    dict(type='BFloat16Hook'),
]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=250))
log_processor = dict(by_epoch=False)
visualizer = dict(_delete_=True, type='PoseLocalVisualizer',
                  vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
