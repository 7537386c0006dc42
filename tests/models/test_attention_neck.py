import pytest
import torch
from mmpose.registry import MODELS

import mmpose_lift  # noqa: F401  (registers the models)


@pytest.fixture
def neck():
    torch.manual_seed(0)
    return MODELS.build(dict(type='AttentionNeck', in_channels=8, feat_size=(3, 4), depth=1,
                             num_heads=2)).eval()


def test_every_place_sees_every_other(neck):
    x = torch.randn(1, 8, 4, 3, requires_grad=True)
    found, = neck((x, ))
    assert found.shape == x.shape
    for row, column in ((0, 0), (3, 2)):
        gradient, = torch.autograd.grad(found[0, 0, row, column], x, retain_graph=True)
        assert (gradient.abs().sum(dim=1) > 0).all()


def test_it_is_a_permutation_of_places_but_for_their_positions(neck):
    x = torch.randn(2, 8, 4, 3)
    assert not torch.allclose(neck((x.flip(3), ))[0].flip(3), neck((x, ))[0], atol=1e-5)
    torch.nn.init.zeros_(neck.position)
    torch.testing.assert_close(neck((x.flip(3), ))[0].flip(3), neck((x, ))[0])
    torch.testing.assert_close(neck((x[1:], ))[0], neck((x, ))[0][1:])


def test_parameters_learn_and_other_sizes_are_refused(neck):
    neck.train()((torch.randn(2, 8, 4, 3), ))[0].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in neck.parameters())
    with pytest.raises(ValueError, match=r'expected feature maps of \(3, 4\).*found \(4, 3\)'):
        neck((torch.randn(1, 8, 3, 4), ))
