# AMPose on ground-truth 2D (the projection of the 3D joints), 17 joints.
# Published: 33.7 mm MPJPE (action-wise mean on S9 and S11).
_base_ = ['./image-pose-lift_ampose-cpn_1xb128-50e_h36m.py']

train_dataloader = dict(dataset=dict(keypoints_2d='gt'))
test_dataloader = dict(dataset=dict(keypoints_2d='gt'))
val_dataloader = test_dataloader
