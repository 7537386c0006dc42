# MixSTE, 243 frames, ground-truth 2D (the projection of the 3D joints).
# Published: 21.6 mm MPJPE (action-wise mean on S9 and S11).
_base_ = ['./video-pose-lift_mixste-243frm-cpn_1xb4-160e_h36m.py']

train_dataloader = dict(dataset=dict(keypoints_2d='gt'))
test_dataloader = dict(dataset=dict(keypoints_2d='gt'))
val_dataloader = test_dataloader
