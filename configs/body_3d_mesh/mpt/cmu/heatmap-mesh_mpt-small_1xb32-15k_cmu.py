"""The small MPT with half an hour of training and augmented heatmaps: ``mpt_cmu`` of this package.

Eight cameras. Keypoints are drawn a little off their place, with Gaussians of different widths, on
noise and in shifted crops, so that heatmaps of 2D networks are no surprise; how much was chosen
here.
"""

_base_ = ['./heatmap-mesh_mpt-small_1xb32-2k_cmu.py']

model = dict(data_preprocessor=dict(sigma=(1., 3.), jitter=0.7, noise=0.02, shift=0.04))
train_dataloader = dict(dataset=dict(views=8))
steps = 15000
train_cfg = dict(max_iters=steps, val_interval=steps)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=steps // 10),
    dict(type='LinearLR', start_factor=1., end_factor=0., by_epoch=False, begin=steps // 10,
         end=steps),
]
