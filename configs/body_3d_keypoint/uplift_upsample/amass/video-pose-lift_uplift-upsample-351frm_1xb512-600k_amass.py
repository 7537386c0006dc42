# Pre-training on AMASS: exact projections through one of Human3.6M's 28 cameras per window.
# Stores: made by tools/prepare_data.py amass (--split train and --split val).
_base_ = ['../../../_base_/uplift_upsample.py']

train_dataloader = dict(
    batch_size=256,  # pairs: a window and its mirror image, 512 in total
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores='data/amass_train',
        seq_len=71,
        seq_step=5,
        input_strides=(5, 10, 20),
        masks='random',
        pairs=True,
        cameras_per_clip='random',
        pipeline=_base_.train_pipeline))
# one fixed camera per clip, so that two tests agree; the public code draws one per window
test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores='data/amass_val',
        seq_len=71,
        seq_step=5,
        causal=False,
        input_strides=(5, 10, 20),
        masks='clip',
        cameras_per_clip=1,
        pipeline=_base_.test_pipeline,
        test_mode=True))
test_cfg = dict()

train_cfg = dict(max_iters=100 * 6000, val_interval=100 * 6000)
auto_scale_lr = dict(base_batch_size=256)
