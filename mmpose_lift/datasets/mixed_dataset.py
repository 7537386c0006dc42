"""Several data sets as one, each with its own share of the samples."""

from typing import Optional, Sequence, Tuple, Union

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmpose.registry import DATASETS
from torch.utils.data import Dataset

_TWICE_LARGEST = '2x_largest'


@DATASETS.register_module()
class MixedDataset(Dataset):
    """Draw the data set of each sample by probability, then one of its samples evenly.

    The partitioned sampling of HybrIK and HybrIK-Transformer (Oreshkin, arXiv 2302.04774). The
    index given by the sampler only counts samples; both draws come from NumPy's global generator,
    which MMEngine seeds in every loader process, so that a run is repeated by its seed and number
    of processes. Each data set keeps its own pipeline.

    Args:
        datasets: Data sets, or their configs, with the same joints.
        probabilities: One for each, with sum 1.
        epoch_length: Samples of an epoch, or '2x_largest': twice those of the largest data set.
        metainfo: Overrides of the meta information, which is that of the first data set.
        lazy_init: Do not read the data sets yet.

    Raises:
        ValueError: Not as many probabilities as data sets, one below 0, or another sum; data sets
            of different joints; an ``epoch_length`` that is neither.
    """

    def __init__(self,
                 datasets: Sequence[Union[dict, BaseDataset]],
                 probabilities: Sequence[float],
                 epoch_length: Union[int, str] = _TWICE_LARGEST,
                 metainfo: Optional[dict] = None,
                 lazy_init: bool = False):
        if len(probabilities) != len(datasets) or not datasets:
            raise ValueError(f'probabilities: expected one for each of the {len(datasets)} data '
                             f'sets, found {len(probabilities)}')
        if min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6:
            raise ValueError('probabilities: expected numbers from 0 on with sum 1, found '
                             f'{list(probabilities)} with sum {sum(probabilities):g}')
        if epoch_length != _TWICE_LARGEST and not (isinstance(epoch_length, int)
                                                   and epoch_length > 0):
            raise ValueError(f'epoch_length: expected a number of samples or {_TWICE_LARGEST!r}, '
                             f'found {epoch_length!r}')
        self.datasets = [DATASETS.build({'lazy_init': True, **dataset})
                         if isinstance(dataset, dict) else dataset for dataset in datasets]
        self.probabilities = np.array(probabilities, np.float64)
        self.epoch_length = epoch_length
        self._metainfo = {**self.datasets[0].metainfo, **(metainfo or {})}
        for dataset in self.datasets:
            if dataset.metainfo['flip_indices'] != self._metainfo['flip_indices']:
                raise ValueError('datasets: expected the same joints in all, but '
                                 f'{dataset.metainfo["dataset_name"]!r} has others than '
                                 f'{self._metainfo["dataset_name"]!r}')
        self._fully_initialized = False
        if not lazy_init:
            self.full_init()

    @property
    def metainfo(self) -> dict:
        return dict(self._metainfo)

    def full_init(self) -> None:
        """Read every data set, once."""
        for dataset in self.datasets:
            dataset.full_init()
        self._fully_initialized = True

    @force_full_init
    def __len__(self) -> int:
        if self.epoch_length == _TWICE_LARGEST:
            return 2 * max(len(dataset) for dataset in self.datasets)
        return self.epoch_length

    @force_full_init
    def draw(self) -> Tuple[int, int]:
        """Number of a data set, and of one of its samples."""
        part = int(np.random.choice(len(self.datasets), p=self.probabilities))
        return part, int(np.random.randint(len(self.datasets[part])))

    def __getitem__(self, idx: int) -> dict:
        if not 0 <= idx < len(self):
            raise IndexError(f'index {idx} of {len(self)} samples')
        part, row = self.draw()
        return self.datasets[part][row]
