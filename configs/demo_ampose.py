_base_ = ['./body_3d_keypoint/ampose/synthetic/image-pose-lift_ampose-gt_1xb256_synthetic.py']
