# MixSTE, 27 frames, ground-truth 2D (the projection of the 3D joints).
# No published number for this size.
_base_ = ['./video-pose-lift_mixste-27frm-cpn_1xb37-160e_h36m.py']

train_dataloader = dict(dataset=dict(keypoints_2d='gt'))
test_dataloader = dict(dataset=dict(keypoints_2d='gt'))
val_dataloader = test_dataloader
