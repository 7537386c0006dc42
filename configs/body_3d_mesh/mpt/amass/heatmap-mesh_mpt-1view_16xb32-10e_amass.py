# Ablation: number of virtual cameras (the supplement's table has 1, 2, 4 and 8).
_base_ = ['./heatmap-mesh_mpt_16xb32-10e_amass.py']

train_dataloader = dict(dataset=dict(views=1))
