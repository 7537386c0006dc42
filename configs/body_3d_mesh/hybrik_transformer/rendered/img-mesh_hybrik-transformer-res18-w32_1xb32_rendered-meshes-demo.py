"""The small model and a few minutes of training on pictures that are rendered at the first use."""

_base_ = ['./img-mesh_hybrik-transformer-res18-w32_1xb32_rendered-meshes.py']

rendered = dict(_delete_=True, type='RenderedMeshDataset', out='data/rendered_meshes_demo')
train_dataloader = dict(dataset=dict(
    split='train', num_images=1500, pipeline={{_base_.train_pipeline}}, **rendered))
val_dataloader = dict(dataset=dict(
    split='val', num_images=200, pipeline={{_base_.test_pipeline}}, test_mode=True, **rendered))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False, begin=0, end=300, T_max=300),
]
default_hooks = dict(checkpoint=dict(interval=100))
