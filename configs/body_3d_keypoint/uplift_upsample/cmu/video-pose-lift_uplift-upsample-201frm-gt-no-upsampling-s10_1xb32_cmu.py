# No learned upsampling: a token, and a prediction, at every 10th frame only, all of them with a 2D
# pose; the frames between are interpolated. Same span, data and schedule as the sparse model.
_base_ = ['./video-pose-lift_uplift-upsample-201frm-gt_1xb32_cmu.py']

model = dict(
    backbone=dict(
        num_tokens=21, strides=(3, 3, 3), paddings=None,
        upsample_token=False, first_upsample_attention_block=0))
train_dataloader = dict(dataset=dict(seq_len=21, seq_step=10, input_strides=(10, )))
test_dataloader = dict(dataset=dict(seq_len=21, seq_step=10, input_strides=(10, )))
