_base_ = ['./body_3d_mesh/mpt/procedural/heatmap-mesh_mpt-small_1xb32-demo_procedural.py']
