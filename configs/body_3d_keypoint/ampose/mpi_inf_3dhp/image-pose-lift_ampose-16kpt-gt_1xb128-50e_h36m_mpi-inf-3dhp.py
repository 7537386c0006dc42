# Cross-data-set test: trained on Human3.6M (16 joints, ground-truth 2D), tested on the 2,929 valid
# test frames of MPI-INF-3DHP. Published: PCK 87.0 (GS 86.1, noGS 87.5, outdoor 87.4), AUC 55.2.
# Protocol of the PoseAug and SGN line: both poses at their root, all 16 joints count.
_base_ = ['../h36m/image-pose-lift_ampose-16kpt-gt_1xb128-50e_h36m.py']

# made by tools/prepare_data.py spin-3dhp
test_dataloader = dict(dataset=dict(stores='data/mpi_inf_3dhp_frames', subjects=None))

test_evaluator = dict(
    _delete_=True, type='MPIINF3DHPMetric', names=('PCK', 'AUC', 'MPJPE'),
    joints='all16_with_root', skeleton='h36m_16')
