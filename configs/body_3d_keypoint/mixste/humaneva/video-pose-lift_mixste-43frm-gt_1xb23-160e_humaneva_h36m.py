# MixSTE, 43 frames, HumanEva-I, fine-tuned from Human3.6M. Published: 16.1 mm, captioned MPJPE
# (possibly P-MPJPE). What is kept of 17 joints and 243 frames, the interval and the recipe of the
# fine-tuning are not published: rows by joint name, the middle 43 frames, and interval 1 here.
_base_ = ['./video-pose-lift_mixste-43frm-gt_1xb23-160e_humaneva_interval1.py']

# made by tools/convert_checkpoint.py mixste CHECKPOINT OUT --to-skeleton humaneva --num-frames 43
load_from = 'work_dirs/mixste_h36m_to_humaneva.pth'
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(
        type='CheckedLoadHook',
        advice='A Human3.6M checkpoint is first brought to 15 joints and 43 frames: '
        'tools/convert_checkpoint.py mixste CHECKPOINT OUT --to-skeleton humaneva --num-frames 43')
]
