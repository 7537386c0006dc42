# Single-stride training: N = 81, s_out = 2, only s_in = 4 (table "single- versus multi-stride").
_base_ = ['./video-pose-lift_uplift-upsample-81frm-cpn_1xb256-720k_h36m.py']

train_dataloader = dict(dataset=dict(input_strides=(4, )))
test_dataloader = dict(dataset=dict(input_strides=(4, )))
