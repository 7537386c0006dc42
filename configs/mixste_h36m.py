_base_ = ['./body_3d_keypoint/mixste/h36m/video-pose-lift_mixste-243frm-cpn_1xb4-160e_h36m.py']
