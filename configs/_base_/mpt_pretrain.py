# Pre-training on motion capture: two million poses of AMASS, seen by virtual cameras, ten epochs.
_base_ = ['./mpt.py']

motion = dict(type='BodyMotionDataset', data_root='data/amass/')

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(ann_file=['train'], num_samples=2_000_000, views=4, **motion))
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(ann_file=['val'], interval=1.0, views='unseen', all_views=True, test_mode=True,
                 **motion))
test_dataloader = val_dataloader
val_evaluator = dict(type='MeshMetric', root='hips', body_model={{_base_.body_model}})
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1, convert_to_iter_based=True),
    dict(type='LinearLR', start_factor=1., end_factor=0., begin=1, end=10,
         convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
