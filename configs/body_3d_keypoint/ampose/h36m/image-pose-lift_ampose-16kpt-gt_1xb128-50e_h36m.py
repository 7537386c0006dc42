# AMPose on 16 joints, ground-truth 2D. Published: 34.1 mm MPJPE.
_base_ = ['./image-pose-lift_ampose-16kpt-cpn_1xb128-50e_h36m.py']

train_dataloader = dict(dataset=dict(keypoints_2d='gt'))
test_dataloader = dict(dataset=dict(keypoints_2d='gt'))
val_dataloader = test_dataloader
