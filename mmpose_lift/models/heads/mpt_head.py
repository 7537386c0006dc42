"""Meshes straight from tokens: the head of MPT, and that of METRO by its options.

Lin et al., "MPT: Mesh Pre-Training with Transformers for Human Pose and Mesh Reconstruction", WACV
2024, arXiv 2211.13357; Lin et al., "METRO", CVPR 2021, and "Mesh Graphormer", ICCV 2021, with their
public code for tokens, up-sampling and camera. Metres, camera axes.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.models.heads import BaseHead
from mmpose.registry import KEYPOINT_CODECS, MODELS
from torch import Tensor, nn

from ...geometry.skeletons import get_skeleton, joint_map
from ...geometry.uvd import crop_to_image, depth_from_box
from ..body.lazy_body_model import LazyBodyModel
from ..body.mesh_sampling import LazyMeshSampling
from ..layers.heatmap_masking import check_ratio, random_subset
from ..layers.heatmap_stem import HeatmapStem
from ..losses.mpt_loss import joint_error, weak_perspective

Config = Optional[dict]
Features = Union[Tensor, Sequence[Tensor]]
_LSP_14 = list(joint_map('h36m', 'lsp_14'))
_PELVIS = get_skeleton('h36m').root_index
_TOKENS = ('graphormer', 'metro')
_UPSAMPLINGS = ('learned', 'barycentric')
MASKED_QUERY = 0.01  # all channels of a hidden query, as in the public code
_MIN_SCALE = 0.05  # [np] half crops per metre, a crop of 40 m: a bound for the depth, no more


@MODELS.register_module()
class MPTHead(BaseHead):
    """Joints, a mesh and a weak-perspective camera from heatmaps or image features.

    Every joint and every vertex of a coarse mesh is a token: its place on the body at rest beside
    a feature of the picture. A transformer narrows the tokens to coordinates; the coarse mesh is
    up-sampled, and a small network reads the camera from it.

    ====================  ==================================================  ====================
    tokens                feature of a query                                  further tokens
    ====================  ==================================================  ====================
    'graphormer'          mean over the grid, ``query_proj``                  grid, ``grid_proj``
    'metro'               learned mixture of the grid's cells,                none
                          ``image_tokens``
    ====================  ==================================================  ====================

    How MPT's transformer reads heatmaps is not published; the stem in front of Graphormer's layout
    is this project's choice [np], see :class:`HeatmapStem`. With little training and small widths
    'metro' starts faster, perhaps as its queries see places from the first step and those of
    'graphormer' must learn to look at the grid. Measured once: 240 steps of batches of 32, width
    128, MPJPE 109 mm against 192 mm, and a third less time per step.

    Args:
        in_channels: Maps K with a stem, channels of the features without.
        input_size: Side of the heatmaps in pixels; also the crop, in pixels, for samples whose
            metainfo has no ``input_size``.
        tokens: 'graphormer' or 'metro'.
        stem: Arguments of :class:`HeatmapStem` beside the sizes: ``channels``. None: the input is
            the grid of features.
        grid_size: Side of the grid, or (height, width) where there is no stem.
        transformer: Config of :class:`MeshTransformer`. The token width is its ``input_dims[0]``: 3
            coordinates and the feature.
        body_model: Source of a :class:`LazyBodyModel`, read when first needed.
        mesh_sampling: Source of a :class:`LazyMeshSampling`; None computes one of ``sizes``.
        sizes: Vertices of the meshes, the full one first. Known here, so that the weights can be
            made without the files of the body.
        upsampling: 'learned': a linear layer over the vertices per step, as published.
            'barycentric': the fixed way back of the mesh sampling, which has nothing to learn and
            suits little data [np]. Or one of them for each step, coarse to fine.
        cam_dims: Hidden width of the camera.
        query_mask_ratio: METRO's masked vertex modelling: in training, up to this share of the
            joint queries and of the vertex queries is replaced by 0.01.
        masking: Config of :class:`HeatmapMasking`, or None.
        loss: Config of the loss.
        decoder: Config of the codec that made the labels; only its ``input_size`` is used, as the
            crop's instead of the argument.
        init_cfg: As in MMEngine. Default: the up-sampling and camera layers start as PyTorch has
            them, as in the public code.

    Raises:
        ValueError: unknown options, a ratio outside [0, 1], widths that do not fit.
    """

    def __init__(self, in_channels: int = 17, input_size: int = 112, tokens: str = 'graphormer',
                 stem: Config = dict(channels=(64, 128, 1024)),  # noqa: B006
                 grid_size: Union[int, Sequence[int]] = 7,
                 transformer: dict = dict(type='MeshTransformer'),  # noqa: B006
                 body_model: Any = 'stand_in', mesh_sampling: Any = None,
                 sizes: Sequence[int] = (6890, 1723, 431),
                 upsampling: Union[str, Sequence[str]] = 'learned',
                 cam_dims: int = 250, query_mask_ratio: float = 0., masking: Config = None,
                 loss: dict = dict(type='MPTLoss'), decoder: Config = None,  # noqa: B006
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg)
        if tokens not in _TOKENS:
            raise ValueError(f'MPTHead: expected tokens to be one of {", ".join(_TOKENS)}, found '
                             f'{tokens!r}')
        self.tokens, self.sizes = tokens, tuple(sizes)
        self.query_mask_ratio = check_ratio('MPTHead: query_mask_ratio', query_mask_ratio)
        self.decoder = None if decoder is None else KEYPOINT_CODECS.build(decoder)
        self.crop_size = input_size if decoder is None else self.decoder.input_size
        self.in_channels = in_channels
        self.grid_size = (grid_size, ) * 2 if isinstance(grid_size, int) else tuple(grid_size)
        self.masking = None if masking is None else MODELS.build(
            dict(dict(num_maps=in_channels), **masking))
        self.stem = None if stem is None else HeatmapStem(
            in_channels, **stem, input_size=input_size, grid_size=self.grid_size[0])
        self.transformer = MODELS.build(transformer)
        self._make_projections(self.stem.out_channels if self.stem else in_channels)
        self.upsample = self._upsampling_layers(upsampling)
        self.cam_fc1 = nn.Linear(3, 1)
        self.cam_fc2 = nn.Linear(self.sizes[-1], cam_dims)
        self.cam_fc3 = nn.Linear(cam_dims, 3)
        self.body_model = LazyBodyModel(body_model)
        self.mesh_sampling = LazyMeshSampling(
            dict(sizes=self.sizes[1:]) if mesh_sampling is None else mesh_sampling, self.body_model)
        self.loss_module = MODELS.build(loss)
        self._templates: Dict[torch.device, Tensor] = {}

    def _upsampling_layers(self, upsampling: Union[str, Sequence[str]]) -> nn.ModuleList:
        """A layer for each step, coarse to fine; ``nn.Identity`` where the way back is fixed."""
        steps = list(zip(self.sizes[::-1], self.sizes[-2::-1]))
        kinds = [upsampling] * len(steps) if isinstance(upsampling, str) else list(upsampling)
        if len(kinds) != len(steps) or not set(kinds) <= set(_UPSAMPLINGS):
            raise ValueError(
                f'MPTHead: expected upsampling to be one of {", ".join(_UPSAMPLINGS)}, or one for '
                f'each of the {len(steps)} steps, found {upsampling!r}')
        return nn.ModuleList(nn.Linear(*step) if kind == 'learned' else nn.Identity()
                             for kind, step in zip(kinds, steps))

    def _make_projections(self, grid_width: int) -> None:
        """Layers from the grid to the features of the tokens."""
        blocks = self.transformer.blocks
        width = blocks[0].in_proj.in_features
        out_width = blocks[-1].out_proj.out_features
        if width <= 3 or out_width != 3:
            raise ValueError('MPTHead: expected a transformer from tokens of more than 3 channels '
                             f'(coordinates and a feature) to 3, found {width} to {out_width}')
        cells, queries = int(np.prod(self.grid_size)), len(_LSP_14) + self.sizes[-1]
        self.grid_proj = self.query_proj = self.image_tokens = None
        if self.tokens == 'graphormer':
            self.grid_proj = nn.Linear(grid_width, width)
            self.query_proj = nn.Linear(grid_width, width - 3)
        else:
            # METRO's tokens are as wide as its backbone's features; others are brought to the width
            if grid_width != width - 3:
                self.query_proj = nn.Linear(grid_width, width - 3)
            self.image_tokens = nn.Conv1d(cells, queries, 1)

    def forward(self, feats: Features, query_mask: Optional[Tensor] = None) -> Dict[str, Any]:
        """From heatmaps or features to meshes.

        Args:
            feats: (B, K, S, S) heatmaps with a stem, (B, C, h, w) features without, or a sequence
                with them last.
            query_mask: (B, 14 + N) 1 where a query is kept, 0 where it is masked, N coarse
                vertices. None: drawn in training by ``query_mask_ratio``, all kept otherwise.

        Returns:
            dict, names as in METRO's code: ``cam_param`` (B, 3) s, tx, ty (see
            :func:`weak_perspective`), ``pred_3d_joints`` (B, 14, 3) of the joint tokens,
            ``pred_vertices_sub2``, ``pred_vertices_sub`` and ``pred_vertices_full``, the coarse to
            the full mesh, and ``levels``: a list of the meshes in this order. float32, metres, near
            the pelvis of the mesh but not re-centred to it.

        Raises:
            ValueError: features or a mask of other shapes; a body of another size than ``sizes``.
            FileNotFoundError: the file of the body is not there.
        """
        grid = feats if isinstance(feats, Tensor) else feats[-1]
        if self.masking is not None:
            grid = self.masking(grid)
        if self.stem is not None:
            grid = self.stem(grid)
        elif tuple(grid.shape[1:]) != (self.in_channels, *self.grid_size):
            expected = ', '.join(map(str, (self.in_channels, *self.grid_size)))
            raise ValueError(f'MPTHead: expected features (B, {expected}), found '
                             f'{tuple(grid.shape)}; set in_channels and grid_size to what the '
                             'backbone gives')
        points = self.transformer(self._embed(grid.flatten(2).mT, query_mask))
        # Half precision rounds a metre to millimetres.
        with torch.autocast(points.device.type, enabled=False):
            points = points[:, :len(_LSP_14) + self.sizes[-1]].to(self.cam_fc1.weight.dtype)
            joints, coarse = points.split([len(_LSP_14), self.sizes[-1]], dim=1)
            camera = self.cam_fc1(coarse)[..., 0]  # [B, N, 3] -> [B, N]
            camera = self.cam_fc3(self.cam_fc2(camera)).float()
            joints, levels = joints.float(), [mesh.float() for mesh in self._upsample(coarse)]
        names = ['full', 'sub', *(f'sub{i}' for i in range(2, len(levels)))]
        meshes = {f'pred_vertices_{name}': mesh for name, mesh in zip(names, levels[::-1])}
        return dict(cam_param=camera, pred_3d_joints=joints, **meshes, levels=levels)

    def _embed(self, cells: Tensor, query_mask: Optional[Tensor]) -> Tensor:
        """Tokens (B, T, D) of a grid's cells (B, h w, C): 14 joints, N vertices, further ones."""
        template = self._template(cells)
        if self.tokens == 'graphormer':
            feature = self.query_proj(cells.mean(1))[:, None]
            feature = feature.expand(-1, len(template), -1)
        else:
            feature = cells if self.query_proj is None else self.query_proj(cells)
            feature = self.image_tokens(feature)  # [B, h w, C] -> [B, 14 + N, C]
        template = template.to(feature.dtype).expand(len(feature), -1, -1)
        queries = torch.cat([template, feature], -1)
        if query_mask is None and self.training and self.query_mask_ratio:
            query_mask = self._draw_query_mask(queries)
        if query_mask is not None:
            if query_mask.shape != queries.shape[:2]:
                raise ValueError(f'MPTHead: expected query_mask {tuple(queries.shape[:2])}, found '
                                 f'{tuple(query_mask.shape)}')
            queries = torch.where(query_mask[..., None] > 0, queries, MASKED_QUERY)
        if self.grid_proj is None:
            return queries
        return torch.cat([queries, self.grid_proj(cells)], 1)

    def _draw_query_mask(self, queries: Tensor) -> Tensor:
        """(B, 14 + N) bool: joints and vertices masked by a share of their own per sample."""
        masked = [random_subset(len(queries), count, self.query_mask_ratio, queries.device)
                  for count in (len(_LSP_14), self.sizes[-1])]
        return ~torch.cat(masked, 1)

    def _upsample(self, coarse: Tensor) -> List[Tensor]:
        """Meshes (B, V, 3), the coarse one first."""
        levels = [coarse]
        for step, layer in enumerate(self.upsample):
            if isinstance(layer, nn.Identity):
                levels.append(self._sampling(coarse).up_step(levels[-1], step))
            else:
                levels.append(layer(levels[-1].mT).mT)
        return levels

    def _template(self, like: Tensor) -> Tensor:
        """(14 + N, 3) joints and coarse vertices of the mean body at rest, upright in the image."""
        if like.device not in self._templates:
            with torch.inference_mode(False), torch.no_grad():
                body, sampling = self.body_model.on(like), self._sampling(like)
                betas = body.template.new_zeros(1, body.num_shapes)
                rotmats = torch.eye(3).to(betas).repeat(1, body.num_joints, 1, 1)
                rotmats[:, 0] = torch.diag(betas.new_tensor([1, -1, -1]))  # pi about x
                vertices, _ = body(betas, rotmats)
                joints = body.h36m_joints(vertices)
                template = torch.cat([joints[:, _LSP_14], sampling.down(vertices)], 1)
                self._templates[like.device] = (template - joints[:, _PELVIS, None])[0]
        return self._templates[like.device]

    def _sampling(self, like: Tensor):
        sampling = self.mesh_sampling.on(like)
        if sampling.sizes != self.sizes:
            raise ValueError(f'MPTHead: mismatched mesh sizes: expected {self.sizes} (sizes), '
                             f'found {sampling.sizes} in the mesh sampling; set sizes to it, or '
                             'leave mesh_sampling out to compute one')
        return sampling

    # ------------------------------------------------------------ training

    def loss(self, feats: Features, batch_data_samples: list, train_cfg: Config = None) -> dict:
        """Losses of a batch.

        Args:
            feats: As for :meth:`forward`.
            batch_data_samples: Samples whose ``gt_instance_labels`` have ``target_vertices`` (1, V,
                3), or ``target_betas`` (1, S) and ``target_rotmats`` (1, 24, 3, 3), with
                ``target_body_weight`` (1, 1), and the labels of joints and keypoints, see
                :class:`MPTLoss`.
            train_cfg: Not used.

        Returns:
            The terms of the loss, and ``mpjpe`` in metres for the log: the 14 joints of the mesh,
            relative to the middle of the hips.

        Raises:
            ValueError: labels are missing or of another body.
        """
        outputs = self.forward(feats)
        camera = outputs['cam_param']
        labels = {f'target_{key}': self._stack(batch_data_samples, f'target_{key}', camera)
                  for key in ('body_weight', 'joints', 'joints_weight', 'keypoints',
                              'keypoints_weight')}
        with torch.autocast(camera.device.type, enabled=False):
            with torch.no_grad():
                vertices = self._target_vertices(batch_data_samples, labels, camera)
                labels['target_levels'] = self._sampling(camera).levels(vertices)[::-1]
            joints = self.body_model.on(camera).h36m_joints(outputs['levels'][-1])
            outputs['mesh_joints'] = joints[:, _LSP_14]
            losses = self.loss_module(outputs, labels)
            losses['mpjpe'] = joint_error(outputs['mesh_joints'].detach(), labels)
        return losses

    def _target_vertices(self, data_samples: list, labels: Dict[str, Tensor],
                         like: Tensor) -> Tensor:
        """(B, V, 3) relative to the regressed pelvis; 0 where the label is a body of weight 0."""
        if all('target_vertices' in sample.gt_instance_labels for sample in data_samples):
            vertices = self._stack(data_samples, 'target_vertices', like)
            if vertices.shape[1] != self.sizes[0]:
                raise ValueError(f'MPTHead: mismatched mesh sizes: expected target_vertices (1, '
                                 f'{self.sizes[0]}, 3), found (1, {vertices.shape[1]}, 3); labels '
                                 'and head need one body_model')
            return vertices
        betas, rotmats = (self._stack(data_samples, f'target_{key}', like)
                          for key in ('betas', 'rotmats'))
        body = self.body_model.on(like)
        vertices = like.new_zeros(len(betas), body.num_vertices, 3)
        rows = labels['target_body_weight'][:, 0].nonzero()[:, 0]
        if len(rows):
            posed, _ = body(betas[rows], rotmats[rows])
            vertices[rows] = posed - body.h36m_joints(posed)[:, _PELVIS, None]
        return vertices

    def _stack(self, data_samples: list, key: str, like: Tensor) -> Tensor:
        labels = [sample.gt_instance_labels.get(key) for sample in data_samples]
        if any(label is None for label in labels):
            raise ValueError(f'MPTHead: a data sample has no label {key!r}; make the labels with '
                             'VirtualViewPreprocessor (motion) or the codec MPTMeshLabel (images)')
        labels = torch.cat([torch.as_tensor(label) for label in labels])
        return labels.to(like.device, torch.float32)

    # ---------------------------------------------------------- prediction

    @torch.no_grad()
    def predict(self, feats: Features, batch_data_samples: list,
                test_cfg: Config = None) -> List[InstanceData]:
        """Meshes of a batch, one person per sample.

        Args:
            feats: As for :meth:`forward`.
            batch_data_samples: Metainfo that is used: ``trans_inv`` (2, 3) crop to image pixels,
                ``input_size`` of the crop in pixels, or (width, height), and ``intrinsic_inv``
                (3, 3) inverse camera matrix.
            test_cfg: ``flip_test`` must be off.

        Returns:
            ``InstanceData`` of length 1: ``vertices`` (1, V, 3), ``h36m_joints`` (1, 17, 3) in the
            order 'h36m', regressed from them, and ``token_joints`` (1, 14, 3) of the joint tokens,
            all relative to the regressed pelvis of the mesh; ``camera`` (1, 3) that projects them
            to the crop; ``transl`` (1, 3) camera-space position of the pelvis, where the scale of
            the camera is that of perspective, left out where there is no ``intrinsic_inv``.
            Tensors on the CPU, metres. ``keypoints`` (1, 14, 2), projected joints of the mesh in
            image pixels (crop pixels where there is no ``trans_inv``), and ``keypoint_scores``
            (1, 14), ones: arrays.

        Raises:
            ValueError: a flip test; see also :meth:`forward`.
        """
        if (test_cfg or {}).get('flip_test'):
            raise ValueError('MPTHead: no flip test: mirrored meshes cannot be averaged, as the '
                             'vertices of a body have no mirror images; set flip_test=False in '
                             'test_cfg')
        outputs = self.forward(feats)
        mesh, camera = outputs['levels'][-1], outputs['cam_param']
        joints = self.body_model.on(mesh).h36m_joints(mesh)
        pelvis = joints[:, _PELVIS, None]
        joints = joints - pelvis
        camera = torch.cat([camera[:, :1], camera[:, 1:] + pelvis[:, 0, :2]], 1)
        crops, intrinsic_inv = self._crops(batch_data_samples, mesh)
        pixels = crop_to_image(weak_perspective(joints[:, _LSP_14], camera) / 2, *crops)
        fields = dict(vertices=mesh - pelvis, h36m_joints=joints, camera=camera,
                      token_joints=outputs['pred_3d_joints'] - pelvis,
                      transl=_pelvis_position(camera, *crops, intrinsic_inv))
        fields = {key: value.cpu() for key, value in fields.items()}
        fields['keypoints'] = pixels.cpu().numpy()
        fields['keypoint_scores'] = np.ones(pixels.shape[:2], np.float32)
        predictions = [InstanceData(**{key: value[i:i + 1] for key, value in fields.items()})
                       for i in range(len(mesh))]
        for prediction, sample in zip(predictions, batch_data_samples):
            if sample.metainfo.get('intrinsic_inv') is None:
                del prediction.transl
        return predictions

    def _crops(self, data_samples: list, like: Tensor) -> Tuple[Tuple[Tensor, Tensor], Tensor]:
        """Crop to image (B, 2, 3), sizes of crops (B, 1, 2) and inverse cameras (B, 3, 3)."""
        infos = [sample.metainfo for sample in data_samples]
        columns = []
        for key, default in (('trans_inv', np.eye(3)[:2]), ('input_size', self.crop_size),
                             ('intrinsic_inv', np.full((3, 3), np.nan))):
            values = [default if info.get(key) is None else info[key] for info in infos]
            if key == 'input_size':
                values = [np.broadcast_to(value, (1, 2)) for value in values]
            columns.append(torch.as_tensor(np.stack(values), dtype=like.dtype, device=like.device))
        trans_inv, size, intrinsic_inv = columns
        return (trans_inv, size), intrinsic_inv


def _pelvis_position(camera: Tensor, trans_inv: Tensor, size: Tensor,
                     intrinsic_inv: Tensor) -> Tensor:
    """(B, 3) camera-space metres: where a crop of 2 / s metres is as large as it is in the image.

    It lies on the ray through the pixel of the mesh's origin.
    """
    scale = camera[:, 0].clamp(min=_MIN_SCALE)
    pixels_per_pixel = torch.linalg.det(trans_inv[..., :2]).abs().sqrt()
    side = pixels_per_pixel * size[:, 0].prod(-1).sqrt()
    focal = (intrinsic_inv[:, 0, 0] * intrinsic_inv[:, 1, 1]).rsqrt()
    depth = depth_from_box(side, focal, 2 / scale)
    origin = weak_perspective(torch.zeros_like(camera)[:, None], camera)
    pixel = crop_to_image(origin / 2, trans_inv, size)
    ray = torch.cat([pixel, torch.ones_like(pixel[..., :1])], -1) @ intrinsic_inv.mT
    return ray[:, 0] * depth[:, None]
