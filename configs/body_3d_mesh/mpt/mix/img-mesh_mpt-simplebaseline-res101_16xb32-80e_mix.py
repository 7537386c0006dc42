# Ablation: SimpleBaseline with ResNet-101 as the 2D network.
_base_ = ['./img-mesh_mpt-higherhrnet-w48_16xb32-80e_mix.py']

pose_net = 'https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/' \
    'td-hm_res101_8xb64-210e_coco-256x192-065d3625_20220926.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=101,
        init_cfg=dict(type='PretrainedPart', checkpoint=pose_net, prefix='backbone')),
    neck=dict(
        head=dict(
            _delete_=True,
            type='HeatmapHead',
            in_channels=2048,
            out_channels=17,
            init_cfg=dict(type='PretrainedPart', checkpoint=pose_net, prefix='head'))))
