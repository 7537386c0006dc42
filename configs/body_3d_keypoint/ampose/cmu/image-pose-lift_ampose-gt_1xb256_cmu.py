# A small AMPose on real motion (CMU), ground-truth 2D through four Human3.6M cameras per clip.
_base_ = ['../../../_base_/ampose.py']

model = dict(
    backbone=dict(embed_dims=64),
    head=dict(in_channels=64))

# stores: made by tools/prepare_data.py mocap-npz, see the README
train_dataloader = dict(
    batch_size=256,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PoseSequenceDataset',
        stores='data/cmu_train',
        seq_len=1,
        windows='train',
        flip='random',
        cameras_per_clip=28,
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=1024,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='PoseSequenceDataset',
        stores='data/cmu_val',
        seq_len=1,
        seq_step=1,
        causal=False,
        windows='unique',
        cameras_per_clip=4,
        pipeline=_base_.test_pipeline,
        test_mode=True))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()

iterations = 2400
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=1.))
param_scheduler = [dict(type='OneCycleLR', eta_max=2e-3, total_steps=iterations, by_epoch=False)]
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=iterations, val_interval=iterations)
auto_scale_lr = dict(_delete_=True, base_batch_size=256)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=400))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
