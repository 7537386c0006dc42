# A small MixSTE on procedural motion (synthetic, no file needed): the demo, minutes on a CPU.
_base_ = ['../../../_base_/mixste.py']

model = dict(
    backbone=dict(num_frames=27, embed_dims=64, depth=2, drop_path_rate=0.),
    head=dict(in_channels=64))

# seeds of the clips differ between training and test: other subjects, other motion
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='PoseSequenceDataset',
        stores=dict(num_clips=32, num_frames=540, seed=0),
        seq_len=27,
        windows='train',
        flip='random',
        cameras_per_clip=6,
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=64,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='PoseSequenceDataset',
        stores=dict(num_clips=10, num_frames=270, seed=1),
        seq_len=27,
        seq_step=1,
        causal=False,
        windows='unique',
        cameras_per_clip=2,
        pipeline=_base_.test_pipeline,
        test_mode=True))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()

# The position tables start at zero and a small model needs them soon: ten times the learning rate.
optim_wrapper = dict(
    _delete_=True,
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.01),
    paramwise_cfg=dict(custom_keys={'pos_embed': dict(lr_mult=10., decay_mult=0.)}),
    clip_grad=dict(max_norm=1.))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, end=50),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=True, T_max=5,
         convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=5, val_interval=5)
auto_scale_lr = dict(_delete_=True, base_batch_size=16)
default_hooks = dict(checkpoint=dict(interval=5), logger=dict(interval=20))
randomness = dict(seed=0)
