# What every Uplift and Upsample config shares: the 351-frame model, codec, pipelines, loss and the
# schedule of the public code, in which an epoch is 6000 steps.
_base_ = ['./default_runtime.py']

codec = dict(type='KeyFrameSequenceLabel', num_keypoints=17, root_index=0)

model = dict(
    type='SequencePoseLifter',
    data_preprocessor=dict(type='LiftingDataPreprocessor'),
    backbone=dict(
        type='UpliftUpsampleTransformer',
        num_tokens=71,
        num_keypoints=17,
        spatial_dims=32,
        temporal_dims=384,
        spatial_depth=4,
        temporal_depth=4,
        strides=(3, 10, 3),
        paddings=((0, 0), (0, 0), (0, 0)),
        num_heads=8,
        mlp_ratio=2.,
        qkv_bias=True,
        first_upsample_attention_block=1,
        drop_path_rate=(0.1, 0.1, 0.)),
    head=dict(
        type='UpliftUpsampleHead',
        in_channels=384,
        num_keypoints=17,
        loss=dict(type='UpliftUpsampleLoss', center_weight=0.5, sequence_weight=0.5),
        decoder=codec),
    test_cfg=dict(flip_test=True))

train_pipeline = [
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs', meta_keys=('id', 'flip_indices')),
]
test_pipeline = [
    dict(type='GenerateTarget', encoder=codec),
    dict(
        type='PackPoseInputs',
        meta_keys=('id', 'flip_indices', 'dataset_name', 'sequence', 'start', 'counted', 'subject',
                   'action', 'camera_param', 's_in', 's_in_frames', 'fps')),
]

test_evaluator = dict(type='KeyFrameLiftingMetric', names=('MPJPE', 'N-MPJPE', 'P-MPJPE'))
val_evaluator = None
val_cfg = None
val_dataloader = None

# weight decay 4e-6 per step in the public code, which is 0.1 of the learning rate
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=4e-5, weight_decay=0.1))
param_scheduler = [dict(type='StepLR', step_size=6000, gamma=0.99, by_epoch=False)]
train_cfg = dict(by_epoch=False, max_iters=120 * 6000, val_interval=120 * 6000)
default_hooks = dict(
    logger=dict(interval=100),
    checkpoint=dict(by_epoch=False, interval=10 * 6000, max_keep_ckpts=2))
log_processor = dict(by_epoch=False)
