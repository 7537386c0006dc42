"""The maps that reach a mesh head, or that a 2D network gives, for people of a test set."""

from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Union

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS
from torch import nn

from ..geometry.skeletons import get_skeleton
from ..geometry.trajectory import focal_from_fov
from ..models.heads import MPTHead
from ..visualization.pose_maps import draw_pose_maps, stack_pictures
from ..visualization.video_writer import write_picture
from .command_line import load_weights

__all__ = ['PoseMaps', 'load_model', 'picture_maps', 'dataset_maps', 'write_pose_maps']


class PoseMaps(NamedTuple):
    """The maps of one person."""
    name: str
    maps: np.ndarray  # (K, h, w) float32
    picture: Optional[np.ndarray]  # (H, W, 3) uint8 BGR crop; None where the model sees no picture
    map_names: List[str]  # K


def load_model(config: Config, checkpoint: Optional[str] = None,
               device: Optional[str] = None) -> nn.Module:
    """The model of a config in evaluation mode.

    Args:
        config: Config with ``model``.
        checkpoint: File or address. None: as the config initialises it, with the weights of the 2D
            network where it names them.
        device: Default: the best there is.

    Raises:
        ValueError, FileNotFoundError: As :func:`~mmpose_lift.apis.command_line.load_weights`.
    """
    init_default_scope('mmpose')
    model = MODELS.build(config.model)
    if checkpoint is None:
        model.init_weights()
    else:
        load_weights(model, checkpoint)
    return model.to(device or get_device()).eval()


def dataset_maps(config: Config, model: nn.Module, count: int) -> List[PoseMaps]:
    """Maps of people that lie evenly over the test set of a config.

    Args:
        config: Config with ``test_dataloader``.
        model: Its model.
        count: How many people; fewer where the test set has fewer.

    Raises:
        ValueError: ``count`` below 1; a model that works on no maps.
    """
    if count < 1:
        raise ValueError(f'samples: expected at least 1, found {count}')
    init_default_scope('mmpose')
    dataset = DATASETS.build(config.test_dataloader.dataset)
    rows = np.unique(np.linspace(0, len(dataset) - 1, count).round().astype(int))
    own = dataset.metainfo.get('keypoint_id2name', {})
    return _maps(model, [dataset[int(row)] for row in rows], [own[i] for i in range(len(own))])


def picture_maps(config: Config, model: nn.Module, image: Union[str, Path],
                 box: Optional[Sequence[float]] = None) -> PoseMaps:
    """Maps of a person in a picture.

    Args:
        config: Config with ``test_dataloader``, whose pipeline makes the crop.
        model: Its model.
        image: Picture file.
        box: x1, y1, x2, y2 of the person in pixels. Default: the whole picture.

    Raises:
        FileNotFoundError: No picture of that name.
        ValueError: A file that is no picture, or a model that sees none.
    """
    init_default_scope('mmpose')
    steps = config.test_dataloader.dataset.get('pipeline', [])
    if not any(step['type'] == 'LoadImage' for step in steps):
        raise ValueError(f'{image}: the model of this config works on maps alone, which need a 2D '
                         'network; use a config with one (fine-tuning, mpt_mix), or leave the '
                         'picture out')
    if not Path(image).is_file():
        raise FileNotFoundError(f'{image}: no such picture')
    pixels = cv2.imread(str(image))
    if pixels is None:
        raise ValueError(f'{image}: not a picture that OpenCV can read')
    height, width = pixels.shape[:2]
    focal = focal_from_fov((width, height))  # only asked for; the crop does not depend on it
    item = dict(img=pixels, img_path=str(image), bbox_score=np.ones(1, np.float32),
                bbox=np.float32([box if box is not None else (0, 0, width, height)]),
                camera_matrix=np.float32([[focal, 0, width / 2], [0, focal, height / 2],
                                          [0, 0, 1]]))
    pipeline = Compose([step for step in steps if step['type'] != 'GenerateTarget'])
    return _maps(model, [pipeline(item)])[0]


def write_pose_maps(path: Union[str, Path], people: Sequence[PoseMaps]) -> Path:
    """Draw the maps of people one below the other, see
    :func:`~mmpose_lift.visualization.pose_maps.draw_pose_maps`.

    Raises:
        ValueError: Neither .png nor .jpg.
    """
    return write_picture(stack_pictures([
        draw_pose_maps(person.maps, person.picture, person.map_names, person.name)
        for person in people]), path)


@torch.no_grad()
def _maps(model: nn.Module, items: List[dict], own_names: Sequence[str] = ()) -> List[PoseMaps]:
    batch = pseudo_collate(items)
    crops = batch['inputs']
    pictures = [None] * len(items)
    if not isinstance(crops, dict) and crops[0].dtype == torch.uint8:
        pictures = [crop.permute(1, 2, 0).numpy() for crop in crops]
    data = model.data_preprocessor(batch, False)
    names = None
    if isinstance(model.head, MPTHead):
        maps = model.extract_feat(data['inputs'])
        maps = maps if isinstance(maps, torch.Tensor) else maps[-1]
        if maps.shape[1] == 1:
            names = ['body']
        elif maps.shape[1] == get_skeleton('coco').num_joints:
            names = list(get_skeleton('coco').joint_names)
        else:
            maps = None  # features of an image backbone, as METRO's head sees them
    else:
        maps = model(data['inputs'], None, mode='tensor')
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4:
        raise ValueError(f'model: expected one whose head sees maps of keypoints (MPTHead behind a '
                         f'2D network) or gives them (HeatmapHead), found {type(model).__name__} '
                         f'with {type(model.head).__name__} that has neither')
    maps = maps.float().cpu().numpy()
    if names is None:  # a 2D network, of the joints of its data set
        names = (list(own_names) if len(own_names) == maps.shape[1] else
                 [f'map {i}' for i in range(maps.shape[1])])
    return [PoseMaps(_name(sample), own, picture, names)
            for sample, own, picture in zip(data['data_samples'], maps, pictures)]


def _name(sample) -> str:
    """File name without its folders, and the virtual camera where there is one."""
    name = Path(str(sample.metainfo.get('img_path', ''))).name
    camera = sample.metainfo.get('camera')
    return f'{name} {camera}' if camera else name
