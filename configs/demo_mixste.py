_base_ = [
    './body_3d_keypoint/mixste/synthetic/video-pose-lift_mixste-27frm-gt_1xb16-5e_synthetic.py'
]
