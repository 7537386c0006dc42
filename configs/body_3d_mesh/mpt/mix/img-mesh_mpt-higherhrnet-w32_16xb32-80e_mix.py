# HigherHRNet-W32, which has the 28 M parameters of the published table.
_base_ = ['./img-mesh_mpt-higherhrnet-w48_16xb32-80e_mix.py']

pose_net = 'https://download.openmmlab.com/mmpose/bottom_up/' \
    'higher_hrnet32_coco_512x512-8ae85183_20200713.pth'
model = dict(
    backbone=dict(
        extra=dict(
            stage2=dict(num_channels=(32, 64)),
            stage3=dict(num_channels=(32, 64, 128)),
            stage4=dict(num_channels=(32, 64, 128, 256))),
        init_cfg=dict(checkpoint=pose_net)),
    neck=dict(head=dict(in_channels=32, init_cfg=dict(checkpoint=pose_net))))
