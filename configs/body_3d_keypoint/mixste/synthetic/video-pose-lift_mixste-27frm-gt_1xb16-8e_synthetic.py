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
        cameras_per_clip=3,
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

optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=1.))
param_scheduler = [dict(type='OneCycleLR', eta_max=1e-3, total_steps=8, by_epoch=True,
                        convert_to_iter_based=True)]
train_cfg = dict(max_epochs=8, val_interval=8)
auto_scale_lr = dict(_delete_=True, base_batch_size=16)
default_hooks = dict(checkpoint=dict(interval=8), logger=dict(interval=20))
randomness = dict(seed=0)
