"""The head of HybrIK (Li et al., CVPR 2021), the baseline of HybrIK-Transformer.

Written from the facts of the public code (Jeff-sjtu/HybrIK, MIT licence).
"""

from typing import Any, Dict, Optional, Sequence

from mmpose.registry import MODELS
from torch import Tensor, nn

from ..layers.soft_argmax import METHODS, deconvolutions, soft_argmax
from .mesh_head import BaseMeshHead


@MODELS.register_module()
class HybrIKHead(BaseMeshHead):
    """Joints by 3D soft-argmax over deconvolved features, the rest from pooled features.

    Three deconvolutions enlarge the features eight times; a 1x1 convolution gives every joint
    ``depth`` maps, together a heatmap of 64 x 64 x 64 cells whose expectation is the joint. Twists,
    leaf rotations and shape come from two linear layers on the mean feature, without an activation
    between them, as in the public code.

    Args:
        in_channels: Channels of the features (the last feature map is used): 512 of ResNet-34.
        body_model: See :class:`BaseMeshHead`, as for every other argument that is not listed.
        num_joints: 24, or 29 for the layers of the public 29-joint network, which has the ends of
            the limbs as joints instead of leaf rotations. The body here has 24 joints: the last
            five are not used, and leaf joints keep their parents' rotation.
        depth: Cells of the heatmaps along the depth.
        soft_argmax: ``'fused'``, or ``'published'`` for the form of the public code: the same
            numbers with several times the memory, see ``models/layers/soft_argmax.py``.
        drop_rate: Dropout behind both linear layers.
        loss: Config of the loss.
        init_cfg: As in MMEngine. Default: the normal distribution of the public code.
        kwargs: Arguments of :class:`BaseMeshHead`.
    """

    def __init__(self, in_channels: int = 512, body_model: Any = 'stand_in', num_joints: int = 24,
                 depth: int = 64, soft_argmax: str = 'fused', drop_rate: float = 0.5,
                 loss: dict = dict(type='HybrIKLoss'),  # noqa: B006
                 init_cfg: Optional[dict] = None, **kwargs) -> None:
        super().__init__(body_model, loss, init_cfg=init_cfg or [
            dict(type='Normal', std=0.001, layer=['ConvTranspose2d', 'Conv2d']),
            dict(type='Constant', val=1, layer='BatchNorm2d')], **kwargs)
        if num_joints not in (24, 29):
            raise ValueError(f'HybrIKHead: expected num_joints 24 or 29, found {num_joints}')
        if soft_argmax not in METHODS:
            raise ValueError(f'HybrIKHead: expected soft_argmax to be one of {METHODS}, found '
                             f'{soft_argmax!r}')
        self.in_channels = in_channels
        self.num_joints = num_joints
        self.soft_argmax = soft_argmax
        self.deconv_layers = deconvolutions(in_channels)
        self.final_layer = nn.Conv2d(256, num_joints * depth, 1)
        self.fc1 = nn.Linear(in_channels, 1024)
        self.fc2 = nn.Linear(1024, 1024)
        self.drop = nn.Dropout(drop_rate)
        self.dec_shape = nn.Linear(1024, self.num_betas)
        self.dec_twist = nn.Linear(1024, 23 * 2)
        self.dec_leaf = nn.Linear(1024, 5 * 4) if num_joints == 24 else None

    def regress(self, feats: Sequence[Tensor]) -> Dict[str, Optional[Tensor]]:
        """See :meth:`BaseMeshHead.regress`; ``feats``: feature maps, the last one (B, C, H, W).

        Raises:
            ValueError: Features of another width than ``in_channels``.
        """
        x = feats[-1]
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f'HybrIKHead: expected features (B, {self.in_channels}, H, W), found '
                             f'{tuple(x.shape)}; set in_channels to what the backbone gives')
        logits = self.final_layer(self.deconv_layers(x))
        logits = logits.unflatten(1, (self.num_joints, -1))  # [B, K*D, H, W] -> [B, K, D, H, W]
        cells = soft_argmax(logits, self.soft_argmax)
        uvd = cells / cells.new_tensor(logits.shape[:1:-1]) - 0.5  # by width, height, depth

        pooled = self.drop(self.fc2(self.drop(self.fc1(x.mean(dim=(2, 3))))))
        leaf = None if self.dec_leaf is None else self.dec_leaf(pooled).unflatten(1, (5, 4))
        return dict(
            pred_uvd_jts=uvd[:, :24], pred_phi=self.dec_twist(pooled).unflatten(1, (23, 2)),
            pred_leaf=leaf, pred_delta_shape=self.dec_shape(pooled),
            maxvals=uvd.new_ones(len(uvd), 24, 1))  # as in the public code
