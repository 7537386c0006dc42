# A small MixSTE on real motion (CMU), ground-truth 2D through four Human3.6M cameras per clip.
_base_ = ['../../../_base_/mixste.py']

model = dict(
    backbone=dict(num_frames=27, embed_dims=64, depth=4, drop_path_rate=0.),
    head=dict(in_channels=64))

# stores: made by tools/prepare_data.py mocap-npz, see the README
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='PoseSequenceDataset',
        stores='data/cmu_train',
        seq_len=27,
        windows='train',
        flip='random',
        cameras_per_clip=4,
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=32,
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
        windows='unique',
        cameras_per_clip=4,
        pipeline=_base_.test_pipeline,
        test_mode=True))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=1.))
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, total_steps=5000, by_epoch=False)]
train_cfg = dict(_delete_=True, by_epoch=False, max_iters=5000, val_interval=5000)
auto_scale_lr = dict(_delete_=True, base_batch_size=8)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1000))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
