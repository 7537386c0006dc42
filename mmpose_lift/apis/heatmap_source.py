"""Heatmaps of the people in pictures, by any of MMPose's top-down 2D models, in square crops."""

from typing import NamedTuple, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmpose.codecs import MegviiHeatmap, MSRAHeatmap, UDPHeatmap
from torch import Tensor

from ..geometry.skeletons import joint_map
from ..models.heatmap_synthesis import draw_heatmaps
from .people_2d import PeopleEstimator

__all__ = ['DEFAULT_POSE2D', 'HeatmapSource', 'HeatmapViews', 'square_crops']

DEFAULT_POSE2D = 'td-hm_hrnet-w32_8xb64-210e_coco-256x192'  # of MMPose, COCO weights [np]
HEATMAPS = dict(network='those of the 2D model', drawn='drawn at the keypoints of the 2D model')
MIN_SCORE = 0.3  # from which a joint is seen [np]
MIN_JOINTS = 3  # seen ones that say where a person is; with fewer it is the box [np]


class HeatmapViews(NamedTuple):
    """What a 2D model sees of n people.

    Attributes:
        maps: (n, 17, S, S) float32 in [0, 1], order 'coco', on the device of the 2D model.
        trans_inv: (n, 2, 3) float32, map pixels to image pixels.
        keypoints: (n, K, 3) float32 x, y in image pixels and score, in the 2D model's order.
    """
    maps: Tensor
    trans_inv: np.ndarray
    keypoints: np.ndarray


class HeatmapSource(PeopleEstimator):
    """A detector and a 2D model whose heatmaps become the input of a mesh model.

    The 2D model runs with its own pipeline on its own crops, of any shape. Its maps are then
    resampled (bilinear, zero outside of its crop) into a square around the joints that it sees, as
    in the pre-training: the longer side of their box and a margin on each side. Where it sees fewer
    than three joints, the square is around the person's box.

    As in MMPose, the value at pixel (x, y) of a map is that at the point (x, y), not half a pixel
    farther; models trained with UDP have the corners of their crop at the middle of the outermost
    pixels of a map, others at its edge. Both are undone here.

    Args:
        pose2d: MMPose's alias, model name or config of a top-down model with COCO's 17 joints among
            its own, or 'rendered_human' of this package.
        pose2d_weights: Checkpoint. Defaults to the published one.
        heatmaps: 'network': the maps of the 2D model, clipped to [0, 1]. 'drawn': Gaussians at its
            keypoints, an empty map where a score is below ``min_score``; for models without
            heatmaps, such as RTMPose, MMPose's 'human'.
        size: S, side of the maps in pixels.
        margin: Share of the longer side of the joints' box that is added on each side.
        sigma: Of drawn maps, in their pixels.
        min_score: From which a joint is seen.
        **options: As :class:`PeopleEstimator`.

    Raises:
        ValueError: A model without heatmaps for 'network', one without COCO's joints or that finds
            people by itself, and what :class:`PeopleEstimator` says.
        ConnectionError: Published weights that cannot be fetched.
    """

    def __init__(self, pose2d: str = DEFAULT_POSE2D, pose2d_weights: Optional[str] = None,
                 heatmaps: str = 'network', size: int = 112, margin: float = 0.175,
                 sigma: float = 2., min_score: float = MIN_SCORE, **options) -> None:
        if heatmaps not in HEATMAPS:
            raise ValueError(f'heatmaps: expected one of {", ".join(HEATMAPS)}, found '
                             f'{heatmaps!r}')
        super().__init__(pose2d, pose2d_weights, **options)
        self.heatmaps, self.size, self.margin = heatmaps, size, margin
        self.sigma, self.min_score = sigma, min_score
        if not self.topdown:
            raise ValueError(f'pose2d={pose2d!r}: finds people by itself; heatmaps for a mesh are '
                             f'those of top-down models, for example {DEFAULT_POSE2D}')
        try:
            self._joints = list(joint_map(self.convention, 'coco'))
        except ValueError as error:
            raise ValueError(f'pose2d={pose2d!r}: heatmaps for a mesh are those of the 17 joints '
                             f'of COCO, and {error}; choose another 2D model, for example '
                             f'{DEFAULT_POSE2D}') from error
        model = self._pose2d.model
        self._decoder = getattr(model.head, 'decoder', None)
        if heatmaps == 'network':
            if not isinstance(self._decoder, (MSRAHeatmap, UDPHeatmap, MegviiHeatmap)):
                raise ValueError(
                    f'pose2d={pose2d!r}: its {type(model.head).__name__} gives no heatmaps; choose '
                    f"a 2D model that does (pose2d='{DEFAULT_POSE2D}'), or give heatmaps='drawn' "
                    '(--heatmaps drawn), which draws Gaussians at its keypoints')
            model.test_cfg = dict(model.test_cfg, output_heatmaps=True)

    @torch.inference_mode()
    def views(self, images: Sequence[np.ndarray], boxes: np.ndarray) -> HeatmapViews:
        """Heatmaps of people, each in the square around its joints.

        Args:
            images: n pictures (H, W, 3) uint8 BGR, of any sizes.
            boxes: (n, 4) x1, y1, x2, y2 in pixels, one person in each picture.
        """
        samples = self._predict([dict(img=image, bbox=box[None], bbox_score=np.ones(1, np.float32))
                                 for image, box in zip(images, boxes)])
        found = [sample.pred_instances for sample in samples]
        keypoints = np.stack([np.concatenate([
            np.asarray(person.keypoints)[0, :, :2], np.asarray(person.keypoint_scores)[0, :, None]],
            axis=-1) for person in found]).astype(np.float32)
        seventeen = keypoints[:, self._joints]
        trans_inv = square_crops(seventeen, boxes, self.size, self.margin, self.min_score)
        make = self._resampled if self.heatmaps == 'network' else self._drawn
        return HeatmapViews(make(samples, seventeen, trans_inv), trans_inv, keypoints)

    def _drawn(self, samples: list, keypoints: np.ndarray, trans_inv: np.ndarray) -> Tensor:
        step, origin = trans_inv[:, None, [0, 1], [0, 1]], trans_inv[:, None, :, 2]
        points, scores = (keypoints[..., :2] - origin) / step, keypoints[..., 2]
        device = next(self._pose2d.model.parameters()).device
        return draw_heatmaps(torch.as_tensor(points, device=device), self.size, self.sigma,
                             torch.as_tensor(scores >= self.min_score, device=device))

    def _resampled(self, samples: list, keypoints: np.ndarray, trans_inv: np.ndarray) -> Tensor:
        maps = torch.stack([sample.pred_fields.heatmaps for sample in samples]).float()
        udp = isinstance(self._decoder, UDPHeatmap)
        if udp and self._decoder.heatmap_type == 'combined':
            maps = maps[:, ::3]  # the others are offsets
        maps = maps[:, self._joints].clip(0, 1)
        size = np.array(maps.shape[:1:-1])  # width, height
        scale, center = (np.stack([np.asarray(sample.metainfo[f'input_{name}']).reshape(2)
                                   for sample in samples]) for name in ('scale', 'center'))
        pixels = np.arange(self.size)[None, :, None]
        points = trans_inv[:, None, :, 2] + pixels * trans_inv[:, None, [0, 1], [0, 1]]
        places = (points - (center - scale / 2)[:, None]) / scale[:, None] * (size - udp)
        places = torch.as_tensor(2 * places / (size - 1) - 1, dtype=maps.dtype, device=maps.device)
        x, y = places.unbind(-1)  # (n, S)
        grid = torch.stack([x[:, None].expand(-1, self.size, -1),
                            y[:, :, None].expand(-1, -1, self.size)], dim=-1)
        return F.grid_sample(maps, grid, align_corners=True)


def square_crops(keypoints: np.ndarray, boxes: np.ndarray, size: int, margin: float,
                 min_score: float = MIN_SCORE) -> np.ndarray:
    """The square around the joints of each person that are seen.

    Args:
        keypoints: (n, K, 3) x, y in pixels and score.
        boxes: (n, 4) x1, y1, x2, y2, which hold where fewer than three joints are seen. A square
            is not smaller than a tenth of the longer side of the box [np].
        size: Side of the crop in its own pixels.
        margin: Share of the longer side of the joints' box that is added on each side.

    Returns:
        (n, 2, 3) float32, crop pixels to image pixels.
    """
    seen = keypoints[..., 2] >= min_score
    joints = keypoints[..., :2].astype(np.float64)
    low = np.where(seen[..., None], joints, np.inf).min(axis=1)
    high = np.where(seen[..., None], joints, -np.inf).max(axis=1)
    few = seen.sum(axis=1)[:, None] < MIN_JOINTS
    low, high = np.where(few, boxes[:, :2], low), np.where(few, boxes[:, 2:4], high)
    least = 0.1 * (boxes[:, 2:4] - boxes[:, :2]).max(axis=1)
    side = (1 + 2 * margin) * np.maximum((high - low).max(axis=1), least)
    trans_inv = np.zeros((len(boxes), 2, 3), np.float32)
    trans_inv[:, 0, 0] = trans_inv[:, 1, 1] = side / size
    trans_inv[:, :, 2] = (low + high - side[:, None]) / 2
    return trans_inv
