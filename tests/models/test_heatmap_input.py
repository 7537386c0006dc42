import pytest
import torch
from mmpose.registry import MODELS

import mmpose_lift  # noqa: F401  (registers the models)


def test_maps_pass_and_others_are_named():
    backbone = MODELS.build(dict(type='HeatmapInput', channels=17, size=56))
    maps = torch.rand(2, 17, 56, 56)
    assert backbone(maps)[-1] is maps and not list(backbone.parameters())
    for shape in ((2, 3, 224, 224), (2, 17, 64, 48), (17, 56, 56)):
        with pytest.raises(ValueError, match=r'expected maps \(B, 17, 56, 56\), found'):
            backbone(torch.zeros(shape))
