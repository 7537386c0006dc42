_base_ = ['../../../_base_/mpt_mix.py']
