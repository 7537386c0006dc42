# AMPose (arXiv 2210.04216) on CPN detections, 17 joints, single frames.
# Published: 49.5 mm MPJPE (action-wise mean on S9 and S11).
_base_ = ['../../../_base_/ampose.py']

store = 'data/h36m'  # made by tools/prepare_data.py videopose3d-h36m
keypoints_2d = 'cpn_ft_h36m_dbb'

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='PoseSequenceDataset',
        stores=store,
        keypoints_2d=keypoints_2d,
        subjects=('S1', 'S5', 'S6', 'S7', 'S8'),
        seq_len=1,
        windows='train',
        flip='random',
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=1024,
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
        seq_len=1,
        seq_step=1,
        causal=False,
        windows='unique',
        pipeline=_base_.test_pipeline,
        test_mode=True))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()
