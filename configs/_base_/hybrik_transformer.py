# What every HybrIK-Transformer config shares: model, codec, pipelines, loss and the schedule of the
# public code (4 x 64 pictures, 200 epochs of twice the largest set, Adam with an inverse square
# root schedule). Body model and data are the user's, see docs/mesh.md.
_base_ = ['./default_runtime.py']

# written by tools/convert_body_model.py, with the regressor of the 17 joints inside
body_model = dict(path='data/body_models/SMPL_NEUTRAL.npz', gender='neutral')
codec = dict(type='BodyMeshLabel', input_size=(256, 256))

model = dict(
    type='BodyMeshEstimator',
    # the public code's order of the three channels, in which the usual means are swapped
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[103.53, 116.535, 122.4],
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=True),
    backbone=dict(
        type='ResNet',
        depth=34,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet34')),
    head=dict(
        type='HybrIKTransformerHead',
        in_channels=512,
        feat_size=8,
        d_model=512,
        layer_width=512,
        num_blocks=6,
        num_layers=3,
        num_heads=8,
        body_model=body_model,
        loss=dict(type='HybrIKLoss'),
        decoder=codec),
    test_cfg=dict(flip_test=True))

optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [dict(type='InverseSqrtLR', warmup=4000, by_epoch=False)]
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=10)
auto_scale_lr = dict(base_batch_size=256)
# the checkpoints of the last 20 epochs, every second one, are averaged at the end
default_hooks = dict(checkpoint=dict(interval=2, max_keep_ckpts=10))
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='AverageCheckpointsHook', last=10),
]
