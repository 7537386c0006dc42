_base_ = ['./body_3d_mesh/mpt/mix/img-mesh_mpt-higherhrnet-w48_16xb32-80e_mix.py']
