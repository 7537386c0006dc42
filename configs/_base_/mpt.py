# What every MPT config shares: the mesh network behind the heatmaps, its losses, Adam with linear
# warm-up over a tenth of the steps and linear decay to 0. Body model and data are the user's, see
# docs/mpt.md. Published are the widths and depths of the transformer, the optimiser and its
# schedule; all else here was chosen, see docs/mpt.md.
_base_ = ['./default_runtime.py']

# written by tools/convert_body_model.py, with the regressor of the 17 joints inside
body_model = dict(path='data/body_models/SMPL_NEUTRAL.npz', gender='neutral')
heatmap_size = 112

model = dict(
    type='BodyMeshEstimator',
    data_preprocessor=dict(
        type='VirtualViewPreprocessor',
        body_model=body_model,
        heatmap_size=heatmap_size,
        sigma=(2., 4.)),  # maps of 2D networks at a half and, resized, at a quarter of the crop
    backbone=dict(type='HeatmapInput', channels=17, size=heatmap_size),
    head=dict(
        type='MPTHead',
        in_channels=17,
        input_size=heatmap_size,
        stem=dict(channels=(64, 128, 1024)),
        tokens='graphormer',
        transformer=dict(
            type='MeshTransformer',
            input_dims=(2051, 512, 128),
            hidden_dims=(1024, 256, 64),
            output_dims=(512, 128, 3),
            intermediate_dims=(3072, 3072, 3072),
            num_layers=4,
            num_heads=4,
            max_tokens=512),
        body_model=body_model,
        sizes=(6890, 1723, 431),
        upsampling='learned',
        masking=dict(type='HeatmapMasking', form='joints', ratio=0.3),
        loss=dict(type='MPTLoss')))

optim_wrapper = dict(optimizer=dict(type='Adam', lr=2e-4))
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
# mixed precision, on GPUs as on CPUs
custom_hooks = [dict(type='SyncBuffersHook'), dict(type='BFloat16Hook')]
