# AMPose on 16 joints (without the neck base), CPN detections. Published: 50.5 mm MPJPE.
_base_ = ['./image-pose-lift_ampose-cpn_1xb128-50e_h36m.py']

codec = dict(type='PoseSequenceLabel', num_keypoints=16, root_index=0)
model = dict(
    skeleton='h36m_16',
    backbone=dict(num_keypoints=16, skeleton='h36m_16'),
    head=dict(num_keypoints=16, decoder=codec))
train_pipeline = [
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs', meta_keys=('id', 'flip_indices')),
]
test_pipeline = [
    dict(type='GenerateTarget', encoder=codec),
    dict(
        type='PackPoseInputs',
        meta_keys=('id', 'flip_indices', 'dataset_name', 'sequence', 'start', 'counted', 'subject',
                   'action', 'camera_param')),
]
train_dataloader = dict(dataset=dict(skeleton='h36m_16', pipeline=train_pipeline))
test_dataloader = dict(dataset=dict(skeleton='h36m_16', pipeline=test_pipeline))
val_dataloader = test_dataloader
test_evaluator = dict(skeleton='h36m_16')
val_evaluator = dict(skeleton='h36m_16')
