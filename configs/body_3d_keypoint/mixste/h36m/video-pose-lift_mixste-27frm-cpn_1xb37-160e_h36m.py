# MixSTE, 27 frames, CPN detections. 1024 frames per step in total: 37 windows.
# Published: 45.1 mm MPJPE (action-wise mean on S9 and S11).
_base_ = ['./video-pose-lift_mixste-243frm-cpn_1xb4-160e_h36m.py']

model = dict(backbone=dict(num_frames=27))

train_dataloader = dict(batch_size=37, dataset=dict(seq_len=27))
test_dataloader = dict(batch_size=37, dataset=dict(seq_len=27))
val_dataloader = test_dataloader
auto_scale_lr = dict(base_batch_size=37)
