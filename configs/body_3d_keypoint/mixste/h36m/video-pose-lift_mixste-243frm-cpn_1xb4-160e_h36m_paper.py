# MixSTE, 243 frames, CPN detections, with what the paper's text says where the public code differs:
# Adam, dropout 0.1, squared distances in the losses.
_base_ = ['./video-pose-lift_mixste-243frm-cpn_1xb4-160e_h36m.py']

model = dict(
    backbone=dict(drop_rate=0.1, drop_path_rate=0.),
    head=dict(loss=dict(form='paper')))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=4e-5))
