"""RootNet's head: where a person's root joint is, in the picture and in camera space.

Moon et al., "Camera distance-aware top-down approach for 3D multi-person pose estimation from a
single RGB image", ICCV 2019. It gives mesh models, which see the body relative to its root, the
depth of the root. Its estimator is :class:`BodyMeshEstimator`.
"""

from typing import List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.models.heads import BaseHead
from mmpose.registry import MODELS
from torch import Tensor, nn

from ...geometry.uvd import crop_to_image, depth_from_box
from ..layers.soft_argmax import deconvolutions, soft_argmax
from .lifting_head import stack_labels

Config = Optional[dict]
Features = Sequence[Tensor]


@MODELS.register_module()
class RootNetHead(BaseHead):
    """Root joint in the picture by soft-argmax, its depth as a learned multiple of a box's.

    The depth is gamma k, with k the distance at which the crop would be ``real_size`` wide and
    high; gamma corrects it by what is seen. Crops are expected as the data sets of body meshes make
    them; the crop's area is taken from the map to image pixels, so that any rotation or scale of
    the crop is accounted for.

    Args:
        in_channels: Channels of the features (the last feature map is used).
        heatmap_size: (width, height) behind the three deconvolutions, eight times the features'.
        real_size: Metres.
        loss: Config of the loss, called as :class:`RootNetLoss` is.
        init_cfg: As in MMEngine. Default: the published normal distribution.
    """

    def __init__(self, in_channels: int = 2048, heatmap_size: Tuple[int, int] = (64, 64),
                 real_size: float = 2.0, loss: dict = dict(type='RootNetLoss'),  # noqa: B006
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg or [
            dict(type='Normal', std=0.001, layer=['ConvTranspose2d', 'Conv2d']),
            dict(type='Constant', val=1, layer='BatchNorm2d')])
        self.in_channels = in_channels
        self.heatmap_size = tuple(heatmap_size)
        self.real_size = real_size
        self.deconv_layers = deconvolutions(in_channels)
        self.xy_layer = nn.Conv2d(256, 1, 1)
        self.depth_layer = nn.Conv2d(in_channels, 1, 1)
        self.loss_module = MODELS.build(loss)

    def forward(self, feats: Features) -> Tensor:
        """Features to what does not need the camera.

        Args:
            feats: Feature maps, the last one (B, C, H, W).

        Returns:
            (B, 3): x and y in heatmap cells, the first cell's centre at 0, and gamma.

        Raises:
            ValueError: Features of another size than ``heatmap_size`` and ``in_channels`` say.
        """
        x = feats[-1]
        width, height = self.heatmap_size
        if x.shape[1] != self.in_channels or (8 * x.shape[3], 8 * x.shape[2]) != (width, height):
            raise ValueError(
                f'RootNetHead: expected features (B, {self.in_channels}, {height // 8}, '
                f'{width // 8}), found {tuple(x.shape)}; set in_channels to what the backbone '
                'gives and heatmap_size to eight times its width and height')
        xy = soft_argmax(self.xy_layer(self.deconv_layers(x)))[:, 0]
        gamma = self.depth_layer(x.mean(dim=(2, 3), keepdim=True)).flatten(1)
        return torch.cat([xy, gamma.to(xy.dtype)], dim=1)

    def box_depths(self, data_samples: list, like: Tensor) -> Tensor:
        """k (B,) in metres, see the class.

        Args:
            data_samples: B samples with ``trans_inv`` (2, 3), ``intrinsic_inv`` (3, 3) and
                ``input_size`` in the metainfo.
            like: Gives device and dtype.
        """
        trans_inv = _stack_meta(data_samples, 'trans_inv', like)
        intrinsic_inv = _stack_meta(data_samples, 'intrinsic_inv', like)
        input_size = _stack_meta(data_samples, 'input_size', like)
        area = _area(trans_inv) * input_size.prod(dim=1)
        return depth_from_box(area.sqrt(), _area(intrinsic_inv).rsqrt(), self.real_size)

    def loss(self, feats: Features, batch_data_samples: list, train_cfg: Config = None) -> dict:
        """Losses of a batch.

        Args:
            feats: As for :meth:`forward`.
            batch_data_samples: Samples with the labels ``target_uvd``, ``target_uvd_weight`` (the
                root is joint 0) and ``root_valid``, and in the metainfo what :meth:`box_depths`
                needs and, for a depth, ``root``: the camera-space root in metres.
            train_cfg: Not used.
        """
        outputs = self.forward(feats)
        labels = {key: stack_labels(batch_data_samples, key)
                  for key in ('target_uvd', 'target_uvd_weight', 'root_valid')}
        missing = [key for key, label in labels.items() if label is None]
        if missing:
            raise ValueError(f'RootNetHead: expected the labels {", ".join(labels)} in '
                             f'gt_instance_labels, {", ".join(missing)} not found; the codec '
                             'BodyMeshLabel makes them')
        uv, weight = (labels[key][:, 0, 0, :2].to(outputs)  # [B, 1, 24, 3] -> [B, 2]
                      for key in ('target_uvd', 'target_uvd_weight'))
        roots = [sample.metainfo.get('root') for sample in batch_data_samples]
        depth = outputs.new_tensor([torch.nan if root is None else root[2] for root in roots])
        has_depth = labels['root_valid'].flatten().to(outputs) * depth.isfinite()
        return self.loss_module(
            xy=outputs[:, :2], depth=outputs[:, 2] * self.box_depths(batch_data_samples, outputs),
            target_xy=(uv + 0.5) * outputs.new_tensor(self.heatmap_size), target_depth=depth,
            visible=weight.amin(dim=1), has_depth=has_depth)

    def predict(self, feats: Union[Features, List[Features]], batch_data_samples: list,
                test_cfg: Config = None) -> List[InstanceData]:
        """Root joints of a batch.

        Args:
            feats: As for :meth:`forward`, or [features, features of the mirrored input] for the
                flip test.
            batch_data_samples: Samples with what :meth:`box_depths` needs in the metainfo.
            test_cfg: Not used: ``feats`` says whether there is a flip test.

        Returns:
            One ``InstanceData`` of numpy arrays per sample: ``root`` (1, 3) camera-space metres,
            ``keypoints`` (1, 1, 2) image pixels and ``keypoint_scores`` (1, 1), always 1.
        """
        forward, *mirrored = feats if isinstance(feats, list) else [feats]
        outputs = self.forward(forward)
        size = outputs.new_tensor(self.heatmap_size)
        input_size = _stack_meta(batch_data_samples, 'input_size', outputs)
        uv, gamma = outputs[:, :2] / size, outputs[:, 2]
        for x in mirrored:
            outputs = self.forward(x)
            # pixel i of the crop is pixel width - 1 - i of its mirror image
            u = 1 - 1 / input_size[:, 0] - outputs[:, 0] / size[0]
            uv = (uv + torch.stack([u, outputs[:, 1] / size[1]], dim=1)) / 2
            gamma = (gamma + outputs[:, 2]) / 2
        pixels = crop_to_image(uv[:, None] - 0.5, _stack_meta(batch_data_samples, 'trans_inv', uv),
                               input_size[:, None])
        rays = torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1) @ (
            _stack_meta(batch_data_samples, 'intrinsic_inv', uv).mT)
        root = rays * (gamma * self.box_depths(batch_data_samples, uv))[:, None, None]
        return [InstanceData(root=r, keypoints=p, keypoint_scores=np.ones((1, 1), np.float32))
                for r, p in zip(_numpy(root), _numpy(pixels[:, None]))]


def _stack_meta(data_samples: list, key: str, like: Tensor) -> Tensor:
    """(B, ...) values of the samples' metainfo, of the dtype and on the device of ``like``."""
    try:
        values = np.stack([np.asarray(sample.metainfo[key]) for sample in data_samples])
    except KeyError:
        raise ValueError(f'RootNetHead: the metainfo of a sample lacks {key!r}; name it in the '
                         'meta_keys of PackPoseInputs, behind MeshAffine in the pipeline') from None
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


def _area(matrices: Tensor) -> Tensor:
    """(B,) factor by which maps (B, 2 or 3, 3) scale areas; the inverse cameras' is 1 / (fx fy)."""
    return (matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]).abs()


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()
