# Uplift and Upsample (WACV 2023), N = 351 frames (71 tokens, every 5th frame), s_in 5, 10 and 20,
# CPN detections, within-batch augmentation: the recipe of the public code.
# Published, all frames, action-wise means on S9 and S11: 45.7 / 46.1 / 47.8 mm MPJPE.
_base_ = ['../../../_base_/uplift_upsample.py']

store = 'data/h36m'  # made by tools/prepare_data.py videopose3d-h36m
keypoints_2d = 'cpn_ft_h36m_dbb'

train_dataloader = dict(
    batch_size=256,  # pairs: a window and its mirror image, 512 in total
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores=store,
        keypoints_2d=keypoints_2d,
        subjects=('S1', 'S5', 'S6', 'S7', 'S8'),
        seq_len=71,
        seq_step=5,
        input_strides=(5, 10, 20),
        masks='random',
        pairs=True,
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores=store,
        keypoints_2d=keypoints_2d,
        subjects=('S9', 'S11'),
        seq_len=71,
        seq_step=5,
        causal=False,
        input_strides=(5, 10, 20),
        masks='clip',
        pipeline=_base_.test_pipeline,
        test_mode=True))
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
