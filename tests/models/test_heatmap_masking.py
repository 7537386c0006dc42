import pytest
import torch

from mmpose_lift.models.layers import HeatmapMasking
from mmpose_lift.models.layers.heatmap_masking import random_subset


def test_whole_maps_are_hidden():
    torch.manual_seed(0)
    masking = HeatmapMasking('joints', ratio=0.5)
    maps = torch.rand(400, 17, 6, 6) + 1
    hidden = masking(maps) == 0
    assert (hidden.flatten(2).all(2) == hidden.flatten(2).any(2)).all()
    numbers = hidden[..., 0, 0].sum(1)
    assert numbers.min() == 0 and numbers.max() == 8  # floor(0.5 * 17)
    assert numbers.float().mean() == pytest.approx(0.25 * 17 - 0.5, abs=0.4)
    assert hidden[..., 0, 0].float().mean(0).std() < 0.03  # no map is hidden more than others


def test_squares_are_hidden_in_all_maps():
    torch.manual_seed(0)
    maps = torch.rand(60, 3, 20, 20) + 1  # the last squares are cut off
    hidden = HeatmapMasking('patches', ratio=1., patch=8)(maps) == 0
    assert (hidden == hidden[:, :1]).all()
    for rows in ((0, 8), (8, 16), (16, 20)):
        for columns in ((0, 8), (8, 16), (16, 20)):
            square = hidden[:, 0, slice(*rows), slice(*columns)].flatten(1)
            assert (square.all(1) == square.any(1)).all()
            assert 0.3 < square[:, 0].float().mean() < 0.6


def test_learned_fill():
    masking = HeatmapMasking('joints', ratio=1., fill='learned', num_maps=4)
    with torch.no_grad():
        masking.fill.copy_(torch.arange(4.)[:, None, None] - 10)
    maps = torch.rand(50, 4, 5, 5, requires_grad=True)
    masked = masking(maps)
    places = (masked < 0).nonzero()
    assert (masked[masked < 0] == places[:, 1] - 10).all()
    masked.sum().backward()
    assert masking.fill.grad.sum() == (masked < 0).sum() > 0
    assert ((maps.grad == 0) == (masked < 0)).all()
    with pytest.raises(ValueError, match=r'expected 4 maps \(num_maps\), found 5'):
        masking(torch.rand(2, 5, 5, 5))


@pytest.mark.parametrize('form', ['joints', 'patches'])
def test_nothing_is_hidden_in_evaluation_or_by_ratio_0(form):
    maps = torch.rand(8, 17, 8, 8)
    assert HeatmapMasking(form, ratio=1.).eval()(maps) is maps
    assert HeatmapMasking(form, ratio=0.)(maps) is maps


def test_subsets_have_the_number_that_was_drawn():
    torch.manual_seed(0)
    subset = random_subset(2000, 10, 0.3, torch.device('cpu'))
    counts = subset.sum(1).bincount(minlength=4) / 2000
    torch.testing.assert_close(counts, torch.tensor([1., 1, 1, 0]) / 3, atol=0.04, rtol=0)


def test_wrong_options_are_named():
    for options, message in ((dict(ratio=1.2), 'between 0 and 1, found 1.2'),
                             (dict(ratio=-0.1), 'between 0 and 1, found -0.1'),
                             (dict(form='rows'), 'form to be one of joints, patches'),
                             (dict(fill='noise'), 'fill to be one of zero, learned'),
                             (dict(patch=0), 'at least 1 pixel, found 0')):
        with pytest.raises(ValueError, match=message):
            HeatmapMasking(**options)


def test_a_fill_that_would_never_be_used_is_no_parameter():
    assert not list(HeatmapMasking(ratio=0., fill='learned').parameters())
    with pytest.raises(ValueError, match="share between 0 and 1, found '0.3'"):
        HeatmapMasking(ratio='0.3')
