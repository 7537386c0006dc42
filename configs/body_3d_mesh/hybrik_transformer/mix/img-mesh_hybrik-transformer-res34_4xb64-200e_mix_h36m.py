"""Test on Human3.6M: PA-MPJPE-17 is the number that is published."""

_base_ = ['./img-mesh_hybrik-transformer-res34_4xb64-200e_mix.py']

test_dataloader = {{_base_.h36m_test}}
test_evaluator = dict(protocol='h36m')
