# AMPose trained and tested on MPI-INF-3DHP, ground-truth 2D, 17 joints in Human3.6M's order.
# Published: PCK 98.0, AUC 79.1, MPJPE 30.8 mm. Data files, 2D source and metric are not published;
# here those of P-STMO, with whose numbers the paper compares.
_base_ = ['../h36m/image-pose-lift_ampose-gt_1xb128-50e_h36m.py']

subjects = ('S1', 'S2', 'S3', 'S4', 'S5', 'S6', 'S7', 'S8')
train_dataloader = dict(dataset=dict(stores='data/mpi_inf_3dhp_train', subjects=subjects))
test_dataloader = dict(dataset=dict(stores='data/mpi_inf_3dhp_test', subjects=None))
val_dataloader = test_dataloader

test_evaluator = dict(
    _delete_=True, type='MPIINF3DHPMetric', names=('PCK', 'AUC', 'MPJPE'))
val_evaluator = test_evaluator
