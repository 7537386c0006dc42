# AMPose trained and tested on MPI-INF-3DHP, ground-truth 2D, 17 joints in Human3.6M's order.
# Published: PCK 98.0, AUC 79.1, MPJPE 30.8 mm. Data files, 2D source and metric are not published;
# here those of P-STMO, with whose numbers the paper compares.
_base_ = ['../h36m/image-pose-lift_ampose-gt_1xb128-50e_h36m.py']

train_dataloader = dict(dataset=dict(stores='data/mpi_inf_3dhp_train', subjects=None))
test_dataloader = dict(dataset=dict(stores='data/mpi_inf_3dhp_test', subjects=None))
val_dataloader = test_dataloader

test_evaluator = dict(
    _delete_=True, type='MPIINF3DHPMetric', names=('PCK', 'AUC', 'MPJPE'), root='zero')
val_evaluator = test_evaluator
