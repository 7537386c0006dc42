# MixSTE, 43 frames, HumanEva-I from scratch, with the joint weights of the public code as they
# stand: their order fits Human3.6M's joints rather than HumanEva's.
_base_ = ['./video-pose-lift_mixste-43frm-gt_1xb23-160e_humaneva.py']

model = dict(head=dict(loss=dict(joint_weights='humaneva_compat')))
