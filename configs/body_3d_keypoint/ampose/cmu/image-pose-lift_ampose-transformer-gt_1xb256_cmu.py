# The same with the block design "transformer" of table 5.
_base_ = ['./image-pose-lift_ampose-gt_1xb256_cmu.py']

model = dict(backbone=dict(gcn_design='transformer'))

# as many iterations as take the same time
iterations = 2800
param_scheduler = [dict(type='OneCycleLR', eta_max=2e-3, total_steps=iterations, by_epoch=False)]
train_cfg = dict(max_iters=iterations, val_interval=iterations)
