# Second stage: the refinement module of Cai et al. (2019) on the trained model, all weights at
# learning rate 1e-5. Published: 48.5 mm MPJPE. It uses the ground-truth depth of the root, which
# leaks; root_depth='estimated' does without. Length of the stage: not published.
_base_ = ['./image-pose-lift_ampose-cpn_1xb128-50e_h36m.py']

model = dict(
    type='RefinedPoseLifter',
    refiner=dict(hidden_dims=1024, drop_rate=0.5),
    root_depth='ground_truth',
    symmetry_weight=0.01)
# the first stage; only the refiner starts from scratch
load_from = 'work_dirs/ampose_h36m/epoch_50.pth'

train_pipeline = [
    dict(type='GenerateTarget', encoder=_base_.codec),
    dict(type='PackPoseInputs', meta_keys=('id', 'flip_indices', 'camera_param')),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(optimizer=dict(lr=1e-5))
train_cfg = dict(max_epochs=20)
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(
        type='CheckedLoadHook',
        new=('refiner.', ),
        advice='load_from must be the first stage of this model')
]
