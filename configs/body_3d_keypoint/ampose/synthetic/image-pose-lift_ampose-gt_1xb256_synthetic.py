# A small AMPose on procedural motion (synthetic, no file needed), minutes on a CPU.
_base_ = ['../cmu/image-pose-lift_ampose-gt_1xb256_cmu.py']

# seeds of the clips differ between training and test: other subjects, other motion
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        stores=dict(_delete_=True, num_clips=32, num_frames=540, seed=0), cameras_per_clip=6))
test_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        stores=dict(_delete_=True, num_clips=10, num_frames=270, seed=1), cameras_per_clip=2))
val_dataloader = test_dataloader

iterations = 600
param_scheduler = [dict(type='OneCycleLR', eta_max=2e-3, total_steps=iterations, by_epoch=False)]
train_cfg = dict(max_iters=iterations, val_interval=iterations)
default_hooks = dict(checkpoint=dict(interval=iterations))
