# The data sets of HybrIK-Transformer and its mixtures; 3DPW for validation and tests. Files and
# folders are those that HybrIK's users have, see docs/mesh.md.

_base_ = ['./hybrik_transformer.py']

load_image = [dict(type='LoadImage')]
encode = [
    dict(type='MeshAffine', input_size={{_base_.codec.input_size}}),
    dict(type='ChannelNoise'),
    dict(type='GenerateTarget', encoder={{_base_.codec}}),
    dict(type='PackMeshInputs'),
]
move = [dict(type='MeshRandomFlip'), dict(type='MeshBBoxTransform')]
h36m_train = dict(
    type='BodyMeshDataset',
    layout='h36m',
    data_root='data/h36m_smpl/',
    ann_file='annotations/Sample_5_train_Human36M_smpl_leaf_twist_protocol_2.json',
    data_prefix=dict(img='images/'),
    pipeline=load_image + [dict(type='RandomNoiseOcclusion'),
                           dict(type='GetBBoxCenterScale', padding=1.)] + move + encode)
mpi_inf_3dhp_train = dict(
    type='BodyMeshDataset',
    layout='mpi_inf_3dhp',
    data_root='data/3dhp/',
    ann_file='annotation_mpi_inf_3dhp_train.json',
    data_prefix=dict(img='mpi_inf_3dhp_train_set/'),
    pipeline=load_image + [dict(type='GetBBoxCenterScale', padding=1.25)] + move + encode)
pw3d_train = dict(
    type='BodyMeshDataset',
    layout='3dpw',
    data_root='data/pw3d/',
    ann_file='json/3DPW_train_new.json',
    data_prefix=dict(img='imageFiles/'),
    pipeline=load_image + [dict(type='RandomNoiseOcclusion'),
                           dict(type='GetBBoxCenterScale', padding=1.25)] + move + encode)
coco_train = dict(
    type='BodyMeshDataset',
    layout='coco',
    data_root='data/coco/',
    ann_file='annotations/person_keypoints_train2017.json',
    data_prefix=dict(img='train2017/'),
    pipeline=load_image + [dict(type='RandomNoiseOcclusion', area=(0., 0.7), aspect=(0.3, 3.33)),
                           dict(type='GetBBoxCenterScale', padding=1.25)] + move + encode)
mix_without_3dpw = dict(
    type='MixedDataset',
    datasets=[h36m_train, coco_train, mpi_inf_3dhp_train],
    probabilities=[0.4, 0.5, 0.1])
mix_with_3dpw = dict(
    type='MixedDataset',
    datasets=[h36m_train, coco_train, mpi_inf_3dhp_train, pw3d_train],
    probabilities=[0.3, 0.4, 0.1, 0.2])

test_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshAffine', input_size={{_base_.codec.input_size}}),
    dict(type='GenerateTarget', encoder={{_base_.codec}}),
    dict(type='PackMeshInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='BodyMeshDataset',
        layout='3dpw',
        data_root='data/pw3d/',
        ann_file='json/3DPW_test_new.json',
        data_prefix=dict(img='imageFiles/'),
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='MeshMetric',
    protocol='3dpw',
    body_model={{_base_.body_model}})
test_evaluator = val_evaluator

# Other tests, for the configs of this name: Human3.6M with S9 and S11 from a list of every 20th
# frame, MPI-INF-3DHP on the valid frames of TS1 to TS6
h36m_test = dict(
    dataset=dict(
        _delete_=True,
        type='BodyMeshDataset',
        layout='h36m',
        data_root='data/h36m_smpl/',
        ann_file='annotations/Sample_20_test_Human36M_protocol_2.json',
        data_prefix=dict(img='images/'),
        pipeline=[dict(type='LoadImage'), dict(type='GetBBoxCenterScale', padding=1.)] +
        test_pipeline[2:],
        test_mode=True))
mpi_inf_3dhp_test = dict(
    dataset=dict(
        _delete_=True,
        type='BodyMeshDataset',
        layout='mpi_inf_3dhp',
        data_root='data/3dhp/',
        ann_file='annotation_mpi_inf_3dhp_test.json',
        data_prefix=dict(img='mpi_inf_3dhp_test_set/'),
        pipeline=test_pipeline,
        test_mode=True))
