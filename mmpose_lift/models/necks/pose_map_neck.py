"""A 2D pose network inside a larger one: its heatmaps are what the next part sees."""

from typing import Optional, Sequence, Union

from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor

from ...geometry.skeletons import get_skeleton, joint_map
from ..layers.resize_maps import resize_maps


@MODELS.register_module()
class PoseMapNeck(BaseModule):
    """Backbone features to the heatmaps of COCO's 17 keypoints, in the size that the head wants.

    With the backbone this is any heatmap network of MMPose, and it is trained with what follows: in
    MPT's fine-tuning its heatmaps become "pose feature maps" that mix joints (arXiv 2211.13357,
    supplement). Maps are neither clipped nor normalised. They are taken to lie on the crop as
    MMPose's ``MSRAHeatmap`` draws them; networks trained with UDP are less than a pixel of their
    maps off, most at the right and lower edge. One checkpoint of the 2D network gives the weights
    of its parts::

        backbone=dict(..., init_cfg=dict(type='PretrainedPart', checkpoint=URL, prefix='backbone')),
        neck=dict(type='PoseMapNeck', head=dict(
            ..., init_cfg=dict(type='PretrainedPart', checkpoint=URL, prefix='head')))

    (prefix 'keypoint_head' in checkpoints of MMPose 0.x).

    Args:
        head: Config of a head whose ``forward`` gives heatmaps, as ``HeatmapHead`` or
            ``HigherHRNetHead``; of several stages the last is used.
        neck: Config of the neck between backbone and head, where the 2D network has one.
        size: Side of the maps that come out.
        skeleton: Joints of the head, a skeleton that has COCO's.
        init_cfg: As in MMEngine.

    Raises:
        ValueError: The skeleton lacks keypoints of COCO.
    """

    def __init__(self, head: dict, neck: Optional[dict] = None, size: int = 112,
                 skeleton: str = 'coco', init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg)
        self.neck = None if neck is None else MODELS.build(neck)
        self.head = MODELS.build(head)
        self.size = size
        self._num_maps = get_skeleton(skeleton).num_joints
        self._to_coco = None if skeleton == 'coco' else list(joint_map(skeleton, 'coco'))

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Heatmaps, resized by :func:`resize_maps`.

        Args:
            feats: Feature maps of the backbone.

        Returns:
            (B, 17, size, size), order 'coco'.

        Raises:
            ValueError: The head gives no heatmaps, or those of another number of joints.
        """
        maps = self.head(feats if self.neck is None else self.neck(feats))
        if isinstance(maps, (list, tuple)):
            maps = maps[-1]
        if maps.ndim != 4 or maps.shape[1] != self._num_maps:
            raise ValueError(
                f'PoseMapNeck: expected heatmaps (B, {self._num_maps}, h, w) of '
                f'{type(self.head).__name__}, found {tuple(maps.shape)}; use a head that predicts '
                'heatmaps (HeatmapHead, HigherHRNetHead), and name its joints by skeleton')
        if self._to_coco is not None:
            maps = maps[:, self._to_coco]
        return resize_maps(maps, self.size, self.size)
