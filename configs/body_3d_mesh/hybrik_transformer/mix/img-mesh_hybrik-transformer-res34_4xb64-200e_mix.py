"""ResNet-34, trained on Human3.6M, MPI-INF-3DHP and COCO; tested on 3DPW, which it never saw."""

_base_ = ['../../../_base_/mesh_mix.py']

train_dataloader = dict(batch_size=64, dataset={{_base_.mix_without_3dpw}})
