# MixSTE on single frames, beside AMPose: same data, schedule and width, same time of training.
_base_ = ['../../ampose/cmu/image-pose-lift_ampose-gt_1xb256_cmu.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='MixSTE',
        num_frames=1,
        num_keypoints=17,
        in_channels=2,
        embed_dims=64,
        depth=5,
        num_heads=8,
        mlp_ratio=2.,
        drop_path_rate=0.),
    head=dict(
        norm=True,
        loss=dict(
            _delete_=True, type='MixSTELoss', form='code', joint_weights='h36m', lambda_t=0.,
            lambda_m=0.)))

# as many iterations as take the same time
iterations = 1600
param_scheduler = [dict(type='OneCycleLR', eta_max=2e-3, total_steps=iterations, by_epoch=False)]
train_cfg = dict(max_iters=iterations, val_interval=iterations)
