_base_ = ['./body_3d_mesh/mpt/amass/heatmap-mesh_mpt_16xb32-10e_amass.py']
