"""METRO, for comparison: image features of HRNet-W64, not heatmaps, and no pre-training on motion.

Sizes, query masking and schedule of the public code. Published checkpoints are converted by
``tools/convert_checkpoint.py metro``. HRNet starts with ImageNet weights; the merging neck, whose
ImageNet weights have other names in the file, starts fresh here.
"""

_base_ = ['../../_base_/mpt_mix.py']

hrnet = 'https://download.openmmlab.com/mmclassification/v0/hrnet/' \
    'hrnet-w64_3rdparty_8xb32_in1k_20220120-19126642.pth'

model = dict(
    backbone=dict(
        _delete_=True,
        type='HRNet',
        in_channels=3,
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4, ),
                        num_channels=(64, )),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4),
                        num_channels=(64, 128)),
            stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4),
                        num_channels=(64, 128, 256)),
            stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=(4, 4, 4, 4),
                        num_channels=(64, 128, 256, 512), multiscale_output=True)),
        init_cfg=dict(type='PretrainedPart', checkpoint=hrnet, prefix='backbone')),
    neck=dict(_delete_=True, type='HRNetMergeNeck', in_channels=(64, 128, 256, 512)),
    head=dict(
        in_channels=2048,
        stem=None,
        tokens='metro',
        transformer=dict(hidden_dims=(1024, 256, 128)),
        query_mask_ratio=0.3))

load_from = None
train_dataloader = dict(batch_size=30)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[100], gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=200)
auto_scale_lr = dict(base_batch_size=240)
custom_hooks = [dict(type='SyncBuffersHook')]  # single precision throughout
