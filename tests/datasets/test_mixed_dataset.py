"""Shares and coverage of mixed data sets."""

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, worker_init_fn
from torch.utils.data import DataLoader, Dataset

from mmpose_lift.datasets import MixedDataset


class Numbers(Dataset):
    """Samples (name, row)."""

    def __init__(self, name, size, flip_indices=(0, 2, 1)):
        self.name, self.size = name, size
        self.metainfo = dict(dataset_name=name, flip_indices=list(flip_indices))

    def full_init(self):
        self.ready = True

    def __len__(self):
        return self.size

    def __getitem__(self, row):
        return self.name, row


def mixed(**options):
    sets = [Numbers('large', 400), Numbers('small', 20), Numbers('middle', 100)]
    return MixedDataset(**{**dict(datasets=sets, probabilities=[0.4, 0.5, 0.1]), **options})


def test_shares_and_coverage():
    np.random.seed(0)
    data = mixed()
    assert len(data) == 800 and all(part.ready for part in data.datasets)
    assert data.metainfo['dataset_name'] == 'large'
    drawn = [data[index] for _ in range(5) for index in DefaultSampler(data, seed=1)]
    names, rows = zip(*drawn)
    for name, share in (('large', 0.4), ('small', 0.5), ('middle', 0.1)):
        assert abs(names.count(name) / len(drawn) - share) < 0.02
    counts = np.bincount([row for name, row in drawn if name == 'large'], minlength=400)
    assert len(counts) == 400 and (counts > 0).mean() > 0.97  # 1 - exp(-4) = 0.98
    assert len({row for name, row in drawn if name == 'small'}) == 20


def test_the_seed_repeats_a_run_and_processes_differ():
    def run(workers):
        np.random.seed(3)
        loader = DataLoader(
            mixed(epoch_length=60), batch_size=10, num_workers=workers, collate_fn=list,
            worker_init_fn=lambda i: worker_init_fn(i, num_workers=workers, rank=0, seed=5))
        return [sample for batch in loader for sample in batch]

    assert run(0) == run(0)
    two = run(2)
    assert two == run(2) and len(two) == 60
    assert two[:10] != two[10:20]  # of the first and the second process


@pytest.mark.parametrize('options, message', [
    (dict(probabilities=[0.5, 0.5]), 'expected one for each of the 3 data sets, found 2'),
    (dict(probabilities=[0.5, 0.5, 0.5]), 'with sum 1, found .* with sum 1.5'),
    (dict(probabilities=[1.5, -0.5, 0]), 'numbers from 0 on'),
    (dict(epoch_length=0), "or '2x_largest', found 0"),
    (dict(epoch_length='3x'), "or '2x_largest', found '3x'"),
    (dict(datasets=[Numbers('a', 2), Numbers('b', 2, (0, 1)), Numbers('c', 3)]),
     "same joints in all, but 'b' has others than 'a'"),
])
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        mixed(**options)


def test_index_outside():
    with pytest.raises(IndexError, match='index 5 of 5'):
        mixed(epoch_length=5)[5]
