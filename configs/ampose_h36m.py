_base_ = ['./body_3d_keypoint/ampose/h36m/image-pose-lift_ampose-cpn_1xb128-50e_h36m.py']
