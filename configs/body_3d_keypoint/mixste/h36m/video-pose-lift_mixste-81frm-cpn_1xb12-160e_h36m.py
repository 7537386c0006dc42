# MixSTE, 81 frames, CPN detections. 1024 frames per step in total: 12 windows.
# Published: 42.4 mm MPJPE, 33.9 mm P-MPJPE (action-wise means on S9 and S11).
_base_ = ['./video-pose-lift_mixste-243frm-cpn_1xb4-160e_h36m.py']

model = dict(backbone=dict(num_frames=81))

train_dataloader = dict(batch_size=12, dataset=dict(seq_len=81))
test_dataloader = dict(batch_size=12, dataset=dict(seq_len=81))
val_dataloader = test_dataloader
auto_scale_lr = dict(base_batch_size=12)
