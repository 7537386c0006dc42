# A small model on real motion (CMU), ground-truth 2D through Human3.6M's cameras: 201 frames
# (41 tokens, every 5th frame), s_in 5, 10 and 20. Stores: tools/prepare_data.py mocap-npz.
_base_ = ['../../../_base_/uplift_upsample.py']

model = dict(
    backbone=dict(
        num_tokens=41,
        temporal_dims=128,
        spatial_depth=2,
        temporal_depth=3,
        strides=(4, 4, 3),
        paddings=((1, 1), (0, 0), (0, 0)),
        num_heads=4,
        drop_path_rate=0.),
    # outputs near zero at the start: Glorot's first poses are metres off, which takes long to undo
    head=dict(in_channels=128, init_cfg=dict(type='Normal', layer='Linear', std=0.01)))

train_dataloader = dict(
    batch_size=16,  # pairs: a window and its mirror image, 32 in total
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores='data/cmu_train',
        seq_len=41,
        seq_step=5,
        input_strides=(5, 10, 20),
        masks='random',
        pairs=True,
        cameras_per_clip=28,
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores='data/cmu_val',
        seq_len=41,
        seq_step=5,
        causal=False,
        input_strides=(5, 10, 20),
        masks='clip',
        cameras_per_clip=4,
        pipeline=_base_.test_pipeline,
        test_mode=True))
test_cfg = dict()

iterations = 8000
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='AdamW', lr=8e-4, weight_decay=0.01),
    clip_grad=dict(max_norm=1.))
param_scheduler = [dict(type='OneCycleLR', eta_max=8e-4, total_steps=iterations, by_epoch=False)]
train_cfg = dict(max_iters=iterations, val_interval=iterations)
default_hooks = dict(checkpoint=dict(interval=2000))
auto_scale_lr = dict(base_batch_size=16)
randomness = dict(seed=0)
