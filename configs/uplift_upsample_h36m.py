_base_ = [
    './body_3d_keypoint/uplift_upsample/h36m/'
    'video-pose-lift_uplift-upsample-351frm-cpn_1xb512-720k_h36m.py'
]
