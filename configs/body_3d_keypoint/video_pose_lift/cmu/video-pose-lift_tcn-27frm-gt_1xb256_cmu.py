# MMPose's own lifter (TCN, 27 frames) on the CMU motion: the baseline of the MixSTE config there.
_base_ = ['../../../_base_/default_runtime.py']

codec = dict(type='PoseSequenceLabel', num_keypoints=17, root_index=0, flatten=True)

model = dict(
    type='PoseLifter',
    data_preprocessor=dict(type='LiftingDataPreprocessor', split_batches=True),
    backbone=dict(
        type='TCN',
        in_channels=2 * 17,
        stem_channels=1024,
        num_blocks=2,
        kernel_sizes=(3, 3, 3),
        dropout=0.25,
        use_stride_conv=True),
    head=dict(
        type='TemporalRegressionHead',
        in_channels=1024,
        num_joints=17,
        loss=dict(type='MPJPELoss'),
        decoder=codec))

# stores: made by tools/prepare_data.py mocap-npz, see the README
train_dataloader = dict(
    batch_size=256,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PoseSequenceDataset',
        stores='data/cmu_train',
        seq_len=27,
        windows='frames',
        flip='random',
        cameras_per_clip=4,
        pipeline=[
            dict(type='GenerateTarget', encoder=codec),
            dict(type='PackPoseInputs', meta_keys=('id', 'flip_indices')),
        ]))
test_dataloader = dict(
    batch_size=256,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='PoseSequenceDataset',
        stores='data/cmu_val',
        seq_len=27,
        seq_step=1,
        causal=False,
        windows='frames',
        cameras_per_clip=4,
        pipeline=[
            dict(type='GenerateTarget', encoder=codec),
            dict(
                type='PackPoseInputs',
                meta_keys=('id', 'flip_indices', 'dataset_name', 'sequence', 'start', 'counted',
                           'subject', 'action')),
        ],
        test_mode=True))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()
test_evaluator = dict(type='LiftingMetric', names=('MPJPE', 'P-MPJPE', 'N-MPJPE', 'MPJVE'))
val_evaluator = dict(type='LiftingMetric', names=('MPJPE', ))

optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, total_steps=1500, by_epoch=False)]
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=1500, val_interval=1500)
auto_scale_lr = dict(base_batch_size=256)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=750))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
