# The same pre-training with DeepSpeed, as in the paper: an option, see docs/mpt.md. The strategy
# brings mixed precision, so BFloat16Hook must go: it would move weights that ZeRO keeps views of.
_base_ = ['../amass/heatmap-mesh_mpt_16xb32-10e_amass.py']

runner_type = 'FlexibleRunner'
strategy = dict(type='OptionalDeepSpeed', autocast='bfloat16', stage=1)
optim_wrapper = dict(type='DeepSpeedOptimWrapper')
custom_hooks = [dict(type='SyncBuffersHook')]
