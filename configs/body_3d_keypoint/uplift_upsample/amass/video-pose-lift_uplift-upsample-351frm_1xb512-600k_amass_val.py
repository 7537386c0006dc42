# As the config without the suffix, with every 8th frame of the validation sub-datasets as check
# after each 6000 steps; the best checkpoint is kept. AMASS has no actions: the mean over frames.
_base_ = ['./video-pose-lift_uplift-upsample-351frm_1xb512-600k_amass.py']

val_dataloader = dict(
    _delete_=True,
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
        input_strides=(5, 10, 20),
        masks='centre',
        center_step=8,
        cameras_per_clip=1,
        pipeline=_base_.test_pipeline,
        test_mode=True))
val_evaluator = dict(_delete_=True, type='KeyFrameLiftingMetric', names=('MPJPE', ))
val_cfg = dict(_delete_=True)
train_cfg = dict(val_interval=6000)
default_hooks = dict(checkpoint=dict(save_best='MPJPE/s_in=10', rule='less'))
