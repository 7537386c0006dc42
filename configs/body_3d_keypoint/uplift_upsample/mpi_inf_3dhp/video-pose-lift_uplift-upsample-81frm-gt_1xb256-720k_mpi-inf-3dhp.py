# N = 81 on MPI-INF-3DHP with ground-truth 2D. Strides, recipe and metric details of the paper's row
# are not published; here those of the 81-frame Human3.6M model at the set's own frame rate.
# Published: PCK 95.4, AUC 67.6, MPJPE 46.9 mm.
_base_ = ['../h36m/video-pose-lift_uplift-upsample-81frm-cpn_1xb256-720k_h36m.py']

train_dataloader = dict(
    dataset=dict(stores='data/mpi_inf_3dhp_train', keypoints_2d='gt', subjects=None, fps=25))
test_dataloader = dict(
    dataset=dict(stores='data/mpi_inf_3dhp_test', keypoints_2d='gt', subjects=None, fps=25))
test_evaluator = dict(names=('MPJPE', 'N-MPJPE', 'P-MPJPE', 'PCK', 'AUC'))
