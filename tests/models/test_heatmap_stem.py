import pytest
import torch

from mmpose_lift.models.layers import HeatmapStem


@pytest.mark.parametrize('size', [56, 112, 224])
@pytest.mark.parametrize('channels', [(32, ), (8, 16, 32)])
def test_all_sizes_reach_the_grid(size, channels):
    stem = HeatmapStem(17, channels, size)
    features = stem(torch.rand(2, 17, size, size))
    assert features.shape == (2, 32, 7, 7) and features.isfinite().all()
    features.sum().backward()
    assert all(p.grad is not None for p in stem.parameters())
    patch = size // 7 // 2 ** (len(channels) - 1)
    assert stem[0].kernel_size == stem[0].stride == (patch, patch)


def test_a_cell_sees_its_place():
    """A peak in a corner changes the cell in that corner most."""
    torch.manual_seed(0)
    stem = HeatmapStem(1, (8, 8, 8), 112).eval()
    maps = torch.zeros(2, 1, 112, 112)
    maps[1, 0, 100, 4] = 100.
    with torch.no_grad():
        empty, peak = stem(maps).sum(1)
    rows, columns = torch.nonzero(peak - empty, as_tuple=True)
    assert set(rows.tolist()) == {6} and set(columns.tolist()) <= {0, 1}


@pytest.mark.parametrize(('size', 'channels'), [
    (100, (8, 8)), (112, (8, ) * 6), (7, (8, 8)), (56, ())])
def test_sizes_that_do_not_reach_it_are_named(size, channels):
    with pytest.raises(ValueError, match=f'maps of {size} pixels and {len(channels)} channels'):
        HeatmapStem(17, channels, size)


def test_other_maps_are_named():
    stem = HeatmapStem(17, (8, 8, 8), 112)
    for shape in ((2, 17, 56, 56), (2, 1, 112, 112), (17, 112, 112)):
        with pytest.raises(ValueError, match=r'expected heatmaps \(B, 17, 112, 112\), found'):
            stem(torch.zeros(shape))
