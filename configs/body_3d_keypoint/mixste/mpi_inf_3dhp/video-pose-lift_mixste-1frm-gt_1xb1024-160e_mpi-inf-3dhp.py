# MixSTE, 1 frame, MPI-INF-3DHP with ground-truth 2D; 1024 frames per step.
# Published: PCK 94.2, AUC 63.8, MPJPE 57.9 mm.
_base_ = ['./video-pose-lift_mixste-27frm-gt_1xb37-160e_mpi-inf-3dhp.py']

model = dict(backbone=dict(num_frames=1))

train_dataloader = dict(batch_size=1024, dataset=dict(seq_len=1))
test_dataloader = dict(batch_size=1024, dataset=dict(seq_len=1))
val_dataloader = test_dataloader
auto_scale_lr = dict(base_batch_size=1024)
