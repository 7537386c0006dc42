_base_ = ['mmpose::_base_/default_runtime.py']

custom_imports = dict(imports=['mmpose_lift'], allow_failed_imports=False)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50),
    checkpoint=dict(type='CheckpointHook', interval=10, max_keep_ckpts=2))

visualizer = dict(
    type='Pose3dLocalVisualizer',
    vis_backends=[dict(type='LocalVisBackend')],
    name='visualizer')
