# The same with the block design "transformer" of table 5.
_base_ = ['./image-pose-lift_ampose-gt_1xb256_cmu.py']

model = dict(backbone=dict(gcn_design='transformer'))
