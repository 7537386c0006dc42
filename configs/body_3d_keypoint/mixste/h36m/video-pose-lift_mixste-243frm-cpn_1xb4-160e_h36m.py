# MixSTE (CVPR 2022), 243 frames, CPN detections: the recipe of the public code.
# Published: 40.9 mm MPJPE, 32.6 mm P-MPJPE (action-wise means on S9 and S11).
_base_ = ['../../../_base_/mixste.py']

store = 'data/h36m'  # made by tools/prepare_data.py videopose3d-h36m
keypoints_2d = 'cpn_ft_h36m_dbb'

train_dataloader = dict(
    batch_size=4,  # 1024 frames per step in total: 4 windows of 243
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='PoseSequenceDataset',
        stores=store,
        keypoints_2d=keypoints_2d,
        subjects=('S1', 'S5', 'S6', 'S7', 'S8'),
        seq_len=243,
        windows='train',
        flip='copies',
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='PoseSequenceDataset',
        stores=store,
        keypoints_2d=keypoints_2d,
        subjects=('S9', 'S11'),
        seq_len=243,
        seq_step=1,
        causal=False,
        windows='paper',
        pipeline=_base_.test_pipeline,
        test_mode=True))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()
