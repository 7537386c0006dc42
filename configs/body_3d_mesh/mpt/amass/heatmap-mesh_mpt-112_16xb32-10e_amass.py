# Ablation: crops of 112 pixels instead of 224; maps have half the side of the crop.
_base_ = ['./heatmap-mesh_mpt_16xb32-10e_amass.py']

model = dict(
    data_preprocessor=dict(heatmap_size=56, sigma=(1., 2.)),
    backbone=dict(size=56),
    head=dict(input_size=56))
