# Ablation: without masked heatmap modelling.
_base_ = ['./heatmap-mesh_mpt_16xb32-10e_amass.py']

model = dict(head=dict(masking=None))
