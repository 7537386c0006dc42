"""The small MPT on procedural motion: no file is needed, a minute of training."""

_base_ = ['../cmu/heatmap-mesh_mpt-small_1xb32-2k_cmu.py']

motion = dict(_delete_=True, type='BodyMotionDataset', betas='random')
train_dataloader = dict(dataset=dict(procedural=3000, seed=0, views=4, **motion))
val_dataloader = dict(dataset=dict(procedural=200, seed=1, views='unseen', test_mode=True,
                                   **motion))
test_dataloader = val_dataloader
steps = 300
train_cfg = dict(max_iters=steps, val_interval=steps)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=steps // 10),
    dict(type='LinearLR', start_factor=1., end_factor=0., by_epoch=False, begin=steps // 10,
         end=steps),
]
default_hooks = dict(checkpoint=dict(interval=100))
