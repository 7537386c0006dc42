# As the config without the suffix, with S8 held out: every 4th frame of it validates after each
# 6000 steps, and the best checkpoint is kept.
_base_ = ['./video-pose-lift_uplift-upsample-351frm-cpn_1xb512-720k_h36m.py']

train_dataloader = dict(dataset=dict(subjects=('S1', 'S5', 'S6', 'S7')))
val_dataloader = dict(
    _delete_=True,
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='KeyFrameSequenceDataset',
        stores=_base_.store,
        keypoints_2d=_base_.keypoints_2d,
        subjects=('S8', ),
        seq_len=71,
        seq_step=5,
        input_strides=(5, 10, 20),
        masks='centre',
        center_step=4,
        pipeline=_base_.test_pipeline,
        test_mode=True))
val_evaluator = dict(_delete_=True, type='KeyFrameLiftingMetric', names=('MPJPE', ))
val_cfg = dict(_delete_=True)
train_cfg = dict(val_interval=6000)
# which stride decides is not published; the middle one here
default_hooks = dict(checkpoint=dict(save_best='MPJPE/s_in=10', rule='less'))
