# Second stage: the refinement module of Cai et al. (2019) on the trained 351-frame model, all
# weights at learning rate 1e-5. Published for the paper's own refined model (its s_in is not known
# here): 44.2 mm MPJPE. It uses the ground-truth depth of the root, which leaks;
# root_depth='estimated' does without.
_base_ = ['./video-pose-lift_uplift-upsample-351frm-cpn_1xb512-720k_h36m.py']

model = dict(
    type='RefinedPoseLifter',
    refiner=dict(hidden_dims=1024, drop_rate=0.5),
    root_depth='ground_truth',
    symmetry_weight=0.01)
# the first stage; only the refiner starts from scratch
load_from = 'work_dirs/uplift_upsample_h36m/iter_720000.pth'

train_pipeline = [
    dict(type='GenerateTarget', encoder=_base_.codec),
    dict(type='PackPoseInputs', meta_keys=('id', 'flip_indices', 'camera_param')),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

# the length of this stage is not published
optim_wrapper = dict(optimizer=dict(lr=1e-5))
train_cfg = dict(max_iters=3 * 6000, val_interval=3 * 6000)
default_hooks = dict(checkpoint=dict(interval=6000))
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(
        type='CheckedLoadHook',
        new=('refiner.', ),
        advice='load_from must be the first stage of this model')
]
