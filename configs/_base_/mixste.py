# What every MixSTE config shares: model, codec, pipelines, loss, schedule of the public code.
_base_ = ['./default_runtime.py']

codec = dict(type='PoseSequenceLabel', num_keypoints=17, root_index=0)

model = dict(
    type='SequencePoseLifter',
    data_preprocessor=dict(type='LiftingDataPreprocessor'),
    backbone=dict(
        type='MixSTE',
        num_frames=243,
        num_keypoints=17,
        in_channels=2,
        embed_dims=512,
        depth=8,
        num_heads=8,
        mlp_ratio=2.,
        qkv_bias=True,
        drop_rate=0.,
        attn_drop_rate=0.,
        drop_path_rate=0.1),
    head=dict(
        type='LiftingHead',
        in_channels=512,
        num_keypoints=17,
        loss=dict(type='MixSTELoss', form='code', joint_weights='h36m'),
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
                   'action', 'camera_param')),
]

test_evaluator = dict(type='LiftingMetric', names=('MPJPE', 'P-MPJPE', 'N-MPJPE', 'MPJVE'))
val_evaluator = dict(type='LiftingMetric', names=('MPJPE', ))

optim_wrapper = dict(optimizer=dict(type='AdamW', lr=4e-5, weight_decay=0.1))
param_scheduler = [dict(type='ExponentialLR', gamma=0.99, by_epoch=True)]
train_cfg = dict(by_epoch=True, max_epochs=160, val_interval=20)
auto_scale_lr = dict(base_batch_size=4)
