# N = 351, fine-tuned for 3 x 6000 steps from the model trained on AMASS.
# Published, all frames, action-wise means on S9 and S11: 42.6 / 43.1 / 45.0 mm MPJPE.
_base_ = ['./video-pose-lift_uplift-upsample-351frm-cpn_1xb512-720k_h36m.py']

# the last checkpoint of the amass config, or the authors' file after tools/convert_checkpoint.py
load_from = 'work_dirs/video-pose-lift_uplift-upsample-351frm_1xb512-600k_amass/iter_600000.pth'

optim_wrapper = dict(optimizer=dict(lr=2e-5))
train_cfg = dict(max_iters=3 * 6000, val_interval=3 * 6000)
default_hooks = dict(checkpoint=dict(interval=6000))
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(
        type='CheckedLoadHook',
        advice='load_from must be the model trained on AMASS, or the authors\' file after '
        'tools/convert_checkpoint.py uplift_upsample')
]
