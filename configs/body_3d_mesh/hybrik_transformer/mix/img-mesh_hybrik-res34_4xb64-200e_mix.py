"""The original HybrIK head under the same recipe: what the paper compares with."""

_base_ = ['./img-mesh_hybrik-transformer-res34_4xb64-200e_mix.py']

model = dict(
    head=dict(
        _delete_=True,
        type='HybrIKHead',
        in_channels=512,
        body_model={{_base_.body_model}},
        loss=dict(type='HybrIKLoss'),
        decoder={{_base_.codec}}))
