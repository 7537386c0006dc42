# N = 81 frames (41 tokens, every 2nd frame), s_in 4, 10 and 20, CPN detections, mirrored copies
# instead of pairs, averaged weights: the recipe of the public code.
# Published, all frames, action-wise means on S9 and S11: 47.4 / 47.9 / 49.9 mm MPJPE.
_base_ = ['./video-pose-lift_uplift-upsample-351frm-cpn_1xb512-720k_h36m.py']

model = dict(
    backbone=dict(num_tokens=41, strides=(4, 4, 3), paddings=((1, 1), (0, 0), (0, 0))))
train_dataloader = dict(
    batch_size=256,
    dataset=dict(
        seq_len=41, seq_step=2, input_strides=(4, 10, 20), pairs=False, flip='copies'))
test_dataloader = dict(dataset=dict(seq_len=41, seq_step=2, input_strides=(4, 10, 20)))

custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='EMAHook', ema_type='WarmupEMA', momentum=1e-3)
]
