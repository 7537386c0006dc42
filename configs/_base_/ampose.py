# What every AMPose config shares: the full model on 17 joints, codec, pipelines, loss and schedule.
# Not published, and chosen here: decay of the learning rate, mirroring, heads, norm and activation.
_base_ = ['./default_runtime.py']

codec = dict(type='PoseSequenceLabel', num_keypoints=17, root_index=0)

model = dict(
    type='SequencePoseLifter',
    data_preprocessor=dict(type='LiftingDataPreprocessor'),
    backbone=dict(
        type='AMPose',
        num_keypoints=17,
        in_channels=2,
        embed_dims=512,
        depth=5,
        num_heads=8,
        mlp_ratio=2.,
        gcn_design='proposed',
        adjacency_norm='split',
        drop_rate=0.),
    head=dict(
        type='LiftingHead',
        in_channels=512,
        num_keypoints=17,
        norm=False,
        loss=dict(type='AMPoseLoss'),
        decoder=codec),
    test_cfg=dict(flip_test=True, zero_root=True))

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

test_evaluator = dict(type='LiftingMetric', names=('MPJPE', 'P-MPJPE', 'N-MPJPE'))
val_evaluator = dict(type='LiftingMetric', names=('MPJPE', ))

optim_wrapper = dict(optimizer=dict(type='Adam', lr=2.5e-5))
param_scheduler = [dict(type='ExponentialLR', gamma=0.96, by_epoch=True)]
train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=10)
auto_scale_lr = dict(base_batch_size=128)
