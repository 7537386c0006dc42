# MixSTE, 43 frames, HumanEva-I from scratch, windows that start one frame apart: some thirty times
# as many steps per epoch. Published: 20.9 mm, captioned MPJPE (possibly P-MPJPE).
_base_ = ['./video-pose-lift_mixste-43frm-gt_1xb23-160e_humaneva.py']

train_dataloader = dict(dataset=dict(interval=1))
