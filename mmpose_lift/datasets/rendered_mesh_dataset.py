"""Rendered bodies that are drawn when a training first asks for them."""

import json
from pathlib import Path
from typing import Tuple, Union

from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmpose.registry import DATASETS

from .body_mesh_dataset import BodyMeshDataset
from .rendered_meshes import RenderedMeshWriter


@DATASETS.register_module()
class RenderedMeshDataset(BodyMeshDataset):
    """Pictures of stand-in bodies with all labels, without a file that anybody has to get.

    They are rendered at the first use (some 30 a second) into ``out`` and read from there later.

    Args:
        split: 'train' or 'val', which share nothing.
        num_images: Pictures of the split.
        out: Folder, see :class:`RenderedMeshWriter`.
        seed, size: Of the pictures.
        **options: Of :class:`BodyMeshDataset`.

    Raises:
        ValueError, FileExistsError: As :class:`RenderedMeshWriter`.
    """

    def __init__(self, split: str, num_images: int, out: Union[str, Path], seed: int = 0,
                 size: Tuple[int, int] = (144, 144), **options):
        self.split, self.num_images = split, num_images
        self.out, self.seed, self.size = Path(out), seed, tuple(size)
        options.setdefault('metainfo', dict(dataset_name='rendered_meshes'))
        super().__init__(ann_file=f'{split}.json', layout='h36m', data_root=str(out),
                         data_prefix=dict(img=f'{split}/'), **options)

    def full_init(self) -> None:
        """Render, unless that was done before, and read the labels."""
        if self._fully_initialized:
            return
        if is_main_process():
            writer = RenderedMeshWriter(self.out, self.seed, size=self.size)
            if not self._is_complete():
                print_log(f'rendering {self.num_images} pictures into {self.out / self.split}',
                          logger='current')
                writer.write(self.split, self.num_images)
        barrier()
        super().full_init()

    def _is_complete(self) -> bool:
        path = self.out / f'{self.split}.json'
        return path.is_file() and (
            len(json.loads(path.read_text(encoding='utf-8'))['images']) == self.num_images)
