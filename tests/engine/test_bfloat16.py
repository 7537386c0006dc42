import copy
from types import SimpleNamespace

import pytest
import torch
from mmpose.registry import MODELS
from torch import nn

from mmpose_lift.engine import BFloat16Hook


@pytest.fixture(scope='module')
def pair():
    """A small model as it is, and a copy of it with the hook."""
    torch.manual_seed(0)
    plain = Network()
    hooked = copy.deepcopy(plain)
    BFloat16Hook().before_train(SimpleNamespace(model=hooked))
    return plain, hooked


class Network(nn.Module):

    def __init__(self):
        super().__init__()
        self.backbone = MODELS.build(dict(type='mmpose.ResNet', depth=18, stem_channels=8,
                                          base_channels=8, num_stages=3, strides=(1, 2, 2),
                                          dilations=(1, 1, 1), out_indices=(2, )))
        self.head = nn.Conv2d(32, 5, 1)

    def forward(self, x):
        features = self.backbone(x)
        assert features[0].dtype == torch.float32
        return self.head(features[0])


def test_training_rounds_to_bfloat16_and_keeps_float32_outside(pair):
    plain, hooked = pair
    x = torch.randn(8, 3, 64, 64)
    with torch.no_grad():
        expected = plain.train()(x)
    found = hooked.train()(x)
    assert found.dtype == torch.float32
    found.square().mean().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in hooked.parameters())
    error = (found - expected).abs().mean() / expected.abs().mean()
    assert 1e-4 < error < 0.05


def test_evaluation_and_weights_are_untouched(pair):
    plain, hooked = pair
    hooked.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(hooked.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)
    assert list(hooked.state_dict()) == list(plain.state_dict())
