# MixSTE, 43 frames, HumanEva-I (15 joints) from scratch, one window after the other.
# Published: 28.5 mm, captioned MPJPE (possibly P-MPJPE, so both are reported). The source of the 2D
# and the number of epochs are not published: ground truth, and those of Human3.6M.
_base_ = ['../../../_base_/mixste.py']

store = 'data/humaneva'  # made by tools/prepare_data.py humaneva
codec = dict(type='PoseSequenceLabel', num_keypoints=15, root_index=0)

model = dict(
    skeleton='humaneva',
    backbone=dict(num_frames=43, num_keypoints=15),
    head=dict(
        num_keypoints=15,
        # by what each joint is; 'humaneva_compat' is the vector of the public code
        loss=dict(joint_weights='humaneva_semantic', skeleton='humaneva'),
        decoder=codec))

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

train_dataloader = dict(
    batch_size=23,  # 1024 frames per step in total: 23 windows of 43
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='PoseSequenceDataset',
        stores=store,
        skeleton='humaneva',
        keypoints_2d='gt',
        subjects=('Train/S1', 'Train/S2', 'Train/S3'),
        actions=('Walking', 'Jog'),
        seq_len=43,
        windows='train',
        flip='copies',
        pipeline=train_pipeline))
test_dataloader = dict(
    batch_size=23,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='PoseSequenceDataset',
        stores=store,
        skeleton='humaneva',
        keypoints_2d='gt',
        subjects=('Validate/S1', 'Validate/S2', 'Validate/S3'),
        actions=('Walking', 'Jog'),
        seq_len=43,
        seq_step=1,
        causal=False,
        windows='paper',
        pipeline=test_pipeline,
        test_mode=True))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()
val_evaluator = dict(skeleton='humaneva')
test_evaluator = dict(skeleton='humaneva')

param_scheduler = [dict(type='ExponentialLR', gamma=0.995, by_epoch=True)]
auto_scale_lr = dict(base_batch_size=23)
