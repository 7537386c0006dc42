"""A small MPT pre-trained on CMU motion and the stand-in body, five minutes of one CPU core.

Data: tools/prepare_data.py fit-body, see the README. Maps of 56 pixels, METRO's layout of
tokens, which learns faster at this size, three blocks of two layers of width 64, 64 and 32, and 64
coarse vertices; 431 are learned from them, the full mesh follows by fixed barycentric weights.
Sizes and schedule were chosen here; they are of no paper.
"""

_base_ = ['../../../_base_/mpt.py']

body_model = 'stand_in'
model = dict(
    data_preprocessor=dict(body_model=body_model, heatmap_size=56, sigma=1.5),
    backbone=dict(size=56),
    head=dict(
        input_size=56,
        tokens='metro',
        stem=dict(channels=(64, 128)),
        transformer=dict(
            input_dims=(131, 32, 32), hidden_dims=(64, 64, 32), output_dims=(32, 32, 3),
            intermediate_dims=(128, 128, 64), num_layers=2, num_heads=4, max_tokens=128,
            drop_rate=0., attn_drop_rate=0.),
        body_model=body_model, sizes=(6890, 431, 64),
        upsampling=('learned', 'barycentric')))

motion = dict(type='BodyMotionDataset', data_root='data/')
train_dataloader = dict(
    batch_size=32, num_workers=1, persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(ann_file=['cmu_train_body'], views=4, **motion))
val_dataloader = dict(
    batch_size=32, num_workers=1, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(ann_file=['cmu_val_body'], interval=1., views='unseen', all_views=True,
                 test_mode=True, **motion))
test_dataloader = val_dataloader
val_evaluator = dict(type='MeshMetric', root='hips', body_model=body_model)
test_evaluator = val_evaluator

steps = 2000
train_cfg = dict(by_epoch=False, max_iters=steps, val_interval=steps)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=1.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=steps // 10),
    dict(type='LinearLR', start_factor=1., end_factor=0., by_epoch=False, begin=steps // 10,
         end=steps),
]
custom_hooks = [dict(type='BFloat16Hook')]
default_hooks = dict(checkpoint=dict(_delete_=True, type='CheckpointHook', by_epoch=False,
                                     interval=1000, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
