import numpy as np
import torch
from mmpose.registry import MODELS

import mmpose_lift  # noqa: F401  (registers the models)

SIZE, TOKENS, STEP = (1000, 1002), 9, 5


def build(flip_test=True, tokens=TOKENS, **backbone):
    torch.manual_seed(0)
    model = MODELS.build(dict(
        type='SequencePoseLifter',
        backbone=dict(type='UpliftUpsampleTransformer', num_tokens=tokens, spatial_dims=8,
                      temporal_dims=16, spatial_depth=1, temporal_depth=2, strides=(3, 3),
                      paddings=None, num_heads=2, **backbone),
        head=dict(type='UpliftUpsampleHead', in_channels=16, num_keypoints=17),
        test_cfg=dict(flip_test=flip_test)))
    with torch.no_grad():  # large enough that every token and every position shows in the output
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def clip(frames, seed=0):
    rng = np.random.default_rng(seed)
    return (300 + 400 * rng.random((frames, 17, 2))).astype(np.float32)
