_base_ = ['../../../_base_/mpt_pretrain.py']
