# Fine-tuning on pictures: HigherHRNet-W48 (COCO weights) in front of the pre-trained mesh network,
# trained end to end. Of METRO's mixture Human3.6M and COCO are read here, COCO without fitted
# bodies; MuCo, UP-3D and MPII have no reader, MPI-INF-3DHP takes MuCo's place. Files and folders
# are those of docs/mesh.md.
_base_ = ['./mpt.py']

codec = dict(type='MPTMeshLabel', input_size=(224, 224))
pose_net = 'https://download.openmmlab.com/mmpose/bottom_up/' \
    'higher_hrnet48_coco_512x512-60fedcbc_20200712.pth'

model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    backbone=dict(
        _delete_=True,
        type='HRNet',
        in_channels=3,
        extra=dict(
            stage1=dict(num_modules=1, num_branches=1, block='BOTTLENECK', num_blocks=(4, ),
                        num_channels=(64, )),
            stage2=dict(num_modules=1, num_branches=2, block='BASIC', num_blocks=(4, 4),
                        num_channels=(48, 96)),
            stage3=dict(num_modules=4, num_branches=3, block='BASIC', num_blocks=(4, 4, 4),
                        num_channels=(48, 96, 192)),
            stage4=dict(num_modules=3, num_branches=4, block='BASIC', num_blocks=(4, 4, 4, 4),
                        num_channels=(48, 96, 192, 384))),
        init_cfg=dict(type='PretrainedPart', checkpoint=pose_net, prefix='backbone')),
    neck=dict(
        type='PoseMapNeck',
        size={{_base_.heatmap_size}},
        head=dict(
            type='HigherHRNetHead',
            in_channels=48,
            init_cfg=dict(type='PretrainedPart', checkpoint=pose_net, prefix='keypoint_head'))),
    head=dict(masking=None, decoder=codec))

# the last checkpoint of the pre-training, whose only weights are those of the head
load_from = 'work_dirs/mpt_pretrain/epoch_10.pth'
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='BFloat16Hook'),
    dict(
        type='CheckedLoadHook',
        new=['backbone.', 'neck.'],
        left=['head.masking.'],  # a learned fill of the pre-training
        advice='load_from must be a checkpoint of the pre-training (configs/mpt_pretrain.py), or '
        'None to start without'),
]

# METRO's augmentation
encode = [
    dict(type='MeshRandomFlip'),
    dict(type='MeshBBoxTransform', scale_std=0.25, scale_range=(0.75, 1.25), rotation_std=30.,
         rotation_limit=60., rotation_prob=0.4),
    dict(type='MeshAffine', input_size=codec['input_size']),
    dict(type='ChannelNoise', factors=(0.6, 1.4)),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackMeshInputs'),
]
test_encode = [
    dict(type='MeshAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackMeshInputs'),
]
# boxes of the Human3.6M files have their margin already
tight = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.25)]
loose = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.)]
test_pipeline = tight + test_encode

h36m_train = dict(
    type='BodyMeshDataset',
    layout='h36m',
    data_root='data/h36m_smpl/',
    ann_file='annotations/Sample_5_train_Human36M_smpl_leaf_twist_protocol_2.json',
    data_prefix=dict(img='images/'),
    pipeline=loose + encode)
coco_train = dict(
    type='BodyMeshDataset',
    layout='coco',
    data_root='data/coco/',
    ann_file='annotations/person_keypoints_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=tight + encode)
mpi_inf_3dhp_train = dict(
    type='BodyMeshDataset',
    layout='mpi_inf_3dhp',
    data_root='data/3dhp/',
    ann_file='annotation_mpi_inf_3dhp_train.json',
    data_prefix=dict(img='mpi_inf_3dhp_train_set/'),
    pipeline=tight + encode)
# For the last stage, on 3DPW alone (as loaders, to put in place of those below). The true meshes of
# its tests are those of men and women: annotations with the gender, as tools/prepare_data.py 3dpw
# makes them.
pw3d_train = dict(dataset=dict(
    _delete_=True,
    type='BodyMeshDataset',
    layout='3dpw',
    data_root='data/pw3d/',
    ann_file='json/3DPW_train_new.json',
    data_prefix=dict(img='imageFiles/'),
    pipeline=tight + encode))
h36m_test = dict(
    type='BodyMeshDataset',
    layout='h36m',
    layout_cfg=dict(subjects=['S9', 'S11'], cameras=[4]),  # protocol 2: the frontal camera
    data_root='data/h36m_smpl/',
    ann_file='annotations/Sample_20_test_Human36M_protocol_2.json',
    data_prefix=dict(img='images/'),
    pipeline=loose + test_encode,
    test_mode=True)
pw3d_test = dict(dataset=dict(
    _delete_=True,
    type='BodyMeshDataset',
    layout='3dpw',
    data_root='data/pw3d/',
    ann_file='json/3DPW_test_gendered.json',
    data_prefix=dict(img='imageFiles/'),
    pipeline=test_pipeline,
    test_mode=True))

# every sample of every set once in an epoch, as METRO has it
train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='ConcatDataset',
        datasets=[h36m_train, coco_train, mpi_inf_3dhp_train],
        ignore_keys=['dataset_name']))
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=h36m_test)
test_dataloader = val_dataloader
val_evaluator = dict(type='MeshMetric', root='hips', body_model={{_base_.body_model}})
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=80, val_interval=5)
val_cfg = dict()
test_cfg = dict()
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=8, convert_to_iter_based=True),
    dict(type='LinearLR', start_factor=1., end_factor=0., begin=8, end=80,
         convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=512)
