_base_ = [
    './body_3d_keypoint/uplift_upsample/synthetic/'
    'video-pose-lift_uplift-upsample-81frm-gt_1xb64_synthetic.py'
]
