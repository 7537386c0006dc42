"""Pictures that are rendered at the first use."""

import numpy as np
import pytest

from mmpose_lift.datasets import RenderedMeshDataset


def test_renders_once_and_reads_the_labels(tmp_path):
    dataset = RenderedMeshDataset('val', 2, tmp_path / 'out', size=(64, 64), lazy_init=True)
    assert not (tmp_path / 'out').exists()
    assert len(dataset) == 2
    info = dataset.get_data_info(1)
    assert info['root_valid'] and info['twists_valid'].all() and info['body_valid']
    assert np.isfinite(info['joints']).all() and info['joints'][:, 2].min() > 0
    picture = tmp_path / 'out' / 'val' / '000001.jpg'
    assert info['img_path'] == str(picture)
    written = picture.stat().st_mtime_ns
    again = RenderedMeshDataset('val', 2, tmp_path / 'out', size=(64, 64))
    assert picture.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.get_data_info(1)['poses'], info['poses'])
    with pytest.raises(FileExistsError, match='other settings'):
        RenderedMeshDataset('val', 2, tmp_path / 'out', size=(64, 64), seed=1)
