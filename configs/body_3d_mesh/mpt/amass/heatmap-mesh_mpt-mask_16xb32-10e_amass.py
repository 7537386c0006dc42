# Ablation: one binary mask of the body as input instead of the heatmaps of 17 joints.
_base_ = ['./heatmap-mesh_mpt_16xb32-10e_amass.py']

model = dict(
    data_preprocessor=dict(input='mask'),
    backbone=dict(channels=1),
    head=dict(in_channels=1, masking=dict(form='patches')))
