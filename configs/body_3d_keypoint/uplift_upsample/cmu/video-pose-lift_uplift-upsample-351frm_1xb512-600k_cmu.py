# Pre-training of the 351-frame model on free motion (CMU) instead of AMASS; same recipe.
# Stores: made by tools/prepare_data.py mocap-npz, bvh or asf-amc.
_base_ = ['../amass/video-pose-lift_uplift-upsample-351frm_1xb512-600k_amass.py']

train_dataloader = dict(dataset=dict(stores='data/cmu_train'))
test_dataloader = dict(dataset=dict(stores='data/cmu_val', cameras_per_clip=4))
