# Ablation: crops of 112 pixels instead of 224, after the pre-training of this size. The loaders are
# those of the base but for the size of the crop.
_base_ = ['./img-mesh_mpt-higherhrnet-w48_16xb32-80e_mix.py']

codec = dict(type='MPTMeshLabel', input_size=(112, 112))
model = dict(neck=dict(size=56), head=dict(input_size=56, decoder=codec))
load_from = 'work_dirs/heatmap-mesh_mpt-112_16xb32-10e_amass/epoch_10.pth'

encode = [
    dict(type='MeshRandomFlip'),
    dict(type='MeshBBoxTransform', scale_std=0.25, scale_range=(0.75, 1.25), rotation_std=30.,
         rotation_limit=60., rotation_prob=0.4),
    dict(type='MeshAffine', input_size=codec['input_size']),
    dict(type='ChannelNoise', factors=(0.6, 1.4)),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackMeshInputs'),
]
tight = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.25)]
loose = [dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.)]
train_dataloader = dict(dataset=dict(datasets=[
    dict(
        type='BodyMeshDataset',
        layout='h36m',
        data_root='data/h36m_smpl/',
        ann_file='annotations/Sample_5_train_Human36M_smpl_leaf_twist_protocol_2.json',
        data_prefix=dict(img='images/'),
        pipeline=loose + encode),
    dict(
        type='BodyMeshDataset',
        layout='coco',
        data_root='data/coco/',
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=tight + encode),
    dict(
        type='BodyMeshDataset',
        layout='mpi_inf_3dhp',
        data_root='data/3dhp/',
        ann_file='annotation_mpi_inf_3dhp_train.json',
        data_prefix=dict(img='mpi_inf_3dhp_train_set/'),
        pipeline=tight + encode),
]))
val_dataloader = dict(dataset=dict(pipeline=loose + [
    dict(type='MeshAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackMeshInputs'),
]))
test_dataloader = val_dataloader
