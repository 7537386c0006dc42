# MixSTE, 27 frames, MPI-INF-3DHP with ground-truth 2D, joints in Human3.6M's order.
# Published: PCK 94.4, AUC 66.5, MPJPE 54.9 mm. Joint weights, 2D source and sampling at test are
# not published: those of Human3.6M, ground truth, and a window around every frame as in earlier
# temporal work. The mixed frame rates of the set are left as they are.
_base_ = ['../../../_base_/mixste.py']

model = dict(backbone=dict(num_frames=27))

train_dataloader = dict(
    batch_size=37,  # 1024 frames per step in total: 37 windows of 27
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='PoseSequenceDataset',
        stores='data/mpi_inf_3dhp_train',
        skeleton='h36m',
        keypoints_2d='gt',
        seq_len=27,
        windows='train',
        flip='copies',
        pipeline=_base_.train_pipeline))
test_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='PoseSequenceDataset',
        stores='data/mpi_inf_3dhp_test',
        skeleton='h36m',
        keypoints_2d='gt',
        seq_len=27,
        seq_step=1,
        causal=False,
        windows='frames',
        pipeline=_base_.test_pipeline,
        test_mode=True))
val_dataloader = test_dataloader
val_cfg = dict()
test_cfg = dict()

test_evaluator = dict(
    _delete_=True, type='MPIINF3DHPMetric', names=('PCK', 'AUC', 'MPJPE'))
val_evaluator = test_evaluator
auto_scale_lr = dict(base_batch_size=37)
