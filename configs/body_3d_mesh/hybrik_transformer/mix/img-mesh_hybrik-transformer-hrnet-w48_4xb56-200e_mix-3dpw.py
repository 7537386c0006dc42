"""HRNet-W48, with the training set of 3DPW in the mixture."""

_base_ = ['./img-mesh_hybrik-transformer-hrnet-w48_4xb56-200e_mix.py']

train_dataloader = dict(dataset={{_base_.mix_with_3dpw}})
