# A small model on procedural motion (synthetic, no file needed), minutes on a CPU: 81 frames
# (17 tokens, every 5th frame), s_in 5, 10 and 20.
_base_ = ['../../../_base_/uplift_upsample.py']

model = dict(
    backbone=dict(
        num_tokens=17,
        spatial_dims=16,
        temporal_dims=64,
        spatial_depth=1,
        temporal_depth=2,
        strides=(3, 3, 2),
        paddings=None,
        num_heads=4,
        drop_path_rate=0.),
    # outputs near zero at the start: Glorot's first poses are metres off, which takes long to undo
    head=dict(in_channels=64, init_cfg=dict(type='Normal', layer='Linear', std=0.01)))

# seeds of the clips differ between training and test: other subjects, other motion
train_dataloader = dict(
    batch_size=32,  # pairs: a window and its mirror image, 64 in total
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores=dict(num_clips=32, num_frames=540, seed=0),
        seq_len=17,
        seq_step=5,
        input_strides=(5, 10, 20),
        masks='random',
        pairs=True,
        cameras_per_clip=6,
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=128,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores=dict(num_clips=10, num_frames=270, seed=1),
        seq_len=17,
        seq_step=5,
        causal=False,
        input_strides=(5, 10, 20),
        masks='clip',
        cameras_per_clip=2,
        pipeline=_base_.test_pipeline,
        test_mode=True))
test_cfg = dict()

iterations = 800
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=1.))
param_scheduler = [
    dict(type='OneCycleLR', eta_max=2e-3, total_steps=iterations, by_epoch=False)]
train_cfg = dict(max_iters=iterations, val_interval=iterations)
default_hooks = dict(
    checkpoint=dict(interval=iterations), logger=dict(interval=50))
auto_scale_lr = dict(base_batch_size=32)
randomness = dict(seed=0)
