# The small model (0.67 M parameters published; width and depth are not, 96 and 5 are a guess) on 16
# joints. Published: 51.3 mm MPJPE.
_base_ = ['./image-pose-lift_ampose-16kpt-cpn_1xb128-50e_h36m.py']

model = dict(backbone=dict(embed_dims=96), head=dict(in_channels=96))
