"""METRO with a ResNet-50."""

_base_ = ['./metro_hrnet-w64_8xb30-200e_mix.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')),
    neck=None)
