# The last stage for 3DPW: five epochs on its training set, from the mixture's checkpoint.
_base_ = ['./img-mesh_mpt-higherhrnet-w48_16xb32-80e_mix.py']

load_from = 'work_dirs/mpt_mix/epoch_80.pth'
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='BFloat16Hook'),
    dict(type='CheckedLoadHook',
         advice='load_from must be a checkpoint of the mixture (configs/mpt_mix.py)'),
]
train_dataloader = {{_base_.pw3d_train}}
val_dataloader = {{_base_.pw3d_test}}
test_dataloader = {{_base_.pw3d_test}}
val_evaluator = dict(
    protocol='3dpw',
    joints_from_mesh=True,
    gendered_body_models=dict(
        male='data/body_models/SMPL_MALE.npz', female='data/body_models/SMPL_FEMALE.npz'))
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=5, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=0.5, convert_to_iter_based=True),
    dict(type='LinearLR', start_factor=1., end_factor=0., begin=0.5, end=5,
         convert_to_iter_based=True),
]
