"""What heads share that recover a body mesh by inverse kinematics (HybrIK, HybrIK-Transformer).

A network regresses joints (u, v, d), twists, leaf rotations and shape from image features; the rest
is geometry: back-projection, analytic inverse kinematics, skinning. Li et al., "HybrIK", CVPR 2021;
Oreshkin, "HybrIK-Transformer", arXiv 2302.04774. Lengths: metres. Camera axes.
"""

from abc import abstractmethod
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.models.heads import BaseHead
from mmpose.registry import KEYPOINT_CODECS, MODELS
from torch import Tensor

from ...geometry.skeletons import get_skeleton, joint_map
from ...geometry.torch_rotations import matrix_to_quaternion_cases
from ...geometry.uvd import crop_to_image, depth_from_bones, depth_from_box, uvd_to_xyz
from ..body.folded_joints import FoldedJoints
from ..body.inverse_kinematics import inverse_kinematics
from ..body.lazy_body_model import LazyBodyModel

Config = Optional[dict]
SMPL = get_skeleton('smpl')
# Shape coefficients that the published networks start from.
MEAN_SHAPE = (-0.1991602, 0.5863326, 0.4330769, 0.7364598, 0.3338683, 0.1040543, -0.5029887,
              0.0009176723, 1.274554, 0.4925033)
# Metres per unit of the regressed joints, whatever the depth factor: as the public code has it.
_UNIT = 2.0
_ROOT_DEPTHS = (None, 'given', 'bones', 'box')
_LEAVES = [joint for joint in range(SMPL.num_joints) if joint not in SMPL.parents]
_FLIP = list(SMPL.flip_indices)
_FLIP_TWISTS = [joint - 1 for joint in _FLIP[1:]]
_FLIP_LEAVES = [_LEAVES.index(_FLIP[joint]) for joint in _LEAVES]


def mirror_regressed(regressed: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """What was regressed from the mirrored image, in terms of the image itself.

    Args:
        regressed: As :meth:`BaseMeshHead.regress` gives it.

    Returns:
        The same keys: u negated, left and right swapped; sines of the twists negated; components
        y and z of the leaf quaternions negated. The shape stays.
    """
    mirrored = dict(regressed)
    uvd, phi, leaf = (regressed[f'pred_{name}'] for name in ('uvd_jts', 'phi', 'leaf'))
    mirrored['pred_uvd_jts'] = uvd[:, _FLIP] * uvd.new_tensor([-1, 1, 1])
    mirrored['pred_phi'] = phi[:, _FLIP_TWISTS] * phi.new_tensor([1, -1])
    if leaf is not None:
        mirrored['pred_leaf'] = leaf[:, _FLIP_LEAVES] * leaf.new_tensor([1, 1, -1, -1])
    return mirrored


class BaseMeshHead(BaseHead):
    """Regressed joints, twists and shape to a body, its losses and predictions.

    A subclass regresses from features (:meth:`regress`).

    Args:
        body_model: Anything :class:`LazyBodyModel` takes: a ``BodyModel``, a path, ``'stand_in'``,
            a dict with ``path``, ``gender``, ``h36m_regressor``, or arrays. A file is read when the
            body is first needed.
        loss: Config of the loss.
        input_size: Size of the crop in pixels, a number or (width, height).
        compat_joint23: Treat joint 23 as the public code does, which released weights need; False
            makes it a leaf like the other four.
        mean_shape: Shape coefficients to which the regressed ones are added. Default: those of the
            published models, which mean something for SMPL only.
        decoder: Config of the codec that made the labels; only its ``input_size`` is used, instead
            of the argument.
        init_cfg: MMEngine initialisation.
    """

    def __init__(self, body_model: Any, loss: dict,
                 input_size: Union[int, Sequence[int]] = 256, compat_joint23: bool = False,
                 mean_shape: Sequence[float] = MEAN_SHAPE, decoder: Config = None,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(init_cfg)
        self.body_model = LazyBodyModel(body_model)
        self.loss_module = MODELS.build(loss)
        self.decoder = None if decoder is None else KEYPOINT_CODECS.build(decoder)
        self.input_size = input_size if decoder is None else self.decoder.input_size
        self.compat_joint23 = compat_joint23
        self.num_betas = len(mean_shape)
        self.register_buffer('init_shape', torch.tensor(mean_shape, dtype=torch.float32))
        self._folded: Dict[torch.device, FoldedJoints] = {}

    @abstractmethod
    def regress(self, feats: Any) -> Dict[str, Optional[Tensor]]:
        """What the network itself says.

        Args:
            feats: Output of the backbone and neck.

        Returns:
            ``pred_uvd_jts`` (B, 24, 3) joints in the crop (see ``geometry/uvd.py``), ``pred_phi``
            (B, 23, 2) cos and sin of the twists of joints 1..23, not normalised, ``pred_leaf``
            (B, 5, 4) quaternions w, x, y, z of the leaf joints, or None: no rotation,
            ``pred_delta_shape`` (B, S) offsets from ``init_shape``, ``maxvals`` (B, 24, 1)
            confidences.
        """

    def forward(self, feats: Any, trans_inv: Optional[Tensor] = None,
                intrinsic_inv: Optional[Tensor] = None, root: Optional[Tensor] = None,
                depth_factor: Optional[Tensor] = None, feats_flip: Any = None
                ) -> Dict[str, Tensor]:
        """From features to a posed body.

        Without a camera (mode 'tensor' of an estimator) there is no body: the result is that of
        :meth:`regress` and ``pred_shape``.

        Args:
            feats: Output of the backbone and neck.
            trans_inv: (B, 2, 3) crop to image pixels.
            intrinsic_inv: (B, 3, 3) inverse camera matrix.
            root: (B, 3) camera-space position of joint 0.
            depth_factor: (B, 1) unit of the regressed depths, in the unit of ``root``.
            feats_flip: Features of the mirrored image, for the flip test.

        Returns:
            dict, names as in the public code: what :meth:`regress` gives, ``pred_uvd_jts``
            flattened to (B, 72), and ``pred_shape`` (B, S), ``pred_theta_mats`` (B, 96) quaternions
            w, x, y, z, ``pred_xyz_jts_24`` (B, 72) joints relative to joint 0, in units of
            ``depth_factor``; of the fitted body, in units of 2 m: ``pred_xyz_jts_24_struct``
            (B, 72) relative to joint 0, ``pred_xyz_jts_17`` (B, 51) Human3.6M joints in the order
            'h36m_l_first', relative to their pelvis; ``pred_vertices`` (B, V, 3) metres, relative
            to the same pelvis; ``rotmats`` (B, 24, 3, 3). While training there are no vertices, and
            the 17 joints only where the loss looks at them. A body without a regressor of the 17
            joints has neither these nor, as they are relative to that pelvis, vertices.
        """
        regressed = self._regress(feats, feats_flip)
        if trans_inv is None:
            return regressed
        cameras = dict(trans_inv=trans_inv, intrinsic_inv=intrinsic_inv, root=root,
                       depth_factor=depth_factor)
        return self.fit_body(regressed, cameras, vertices=not self.training)

    def fit_body(self, regressed: Dict[str, Tensor], cameras: Dict[str, Tensor],
                 vertices: bool = True) -> Dict[str, Tensor]:
        """The body that fits what was regressed; see :meth:`forward`.

        Args:
            regressed: See :meth:`regress`; with ``pred_shape`` (B, S).
            cameras: The arguments ``trans_inv``, ``intrinsic_inv``, ``root`` and ``depth_factor``
                of :meth:`forward`.
            vertices: Skin the surface. Otherwise the 17 joints come from ``FoldedJoints``.
        """
        # Rotations want float32, also where the network runs in a shorter type.
        with torch.autocast(self.init_shape.device.type, enabled=False):
            out = {key: None if value is None else value.float()
                   for key, value in regressed.items()}
            body = self.body_model.on(self.init_shape)
            xyz = uvd_to_xyz(out['pred_uvd_jts'], **cameras, input_size=self.input_size)
            rotmats = inverse_kinematics(
                body, xyz * _UNIT, out['pred_shape'], out['pred_phi'], out['pred_leaf'],
                mode='train' if self.training else 'eval', compat_joint23=self.compat_joint23)
            h36m = None
            if vertices and body.has_h36m_regressor:
                surface, joints = body(out['pred_shape'], rotmats)
                h36m = body.h36m_joints(surface)
                out['pred_vertices'] = surface - h36m[:, :1]
            else:
                _, joints = body.chain(rotmats, body.rest_joints(out['pred_shape']))
                if (self.loss_module.needs_h36m_joints if self.training else
                        body.has_h36m_regressor):
                    h36m = self._folded_joints(body)(out['pred_shape'], rotmats)
            if h36m is not None:
                h36m = (h36m - h36m[:, :1])[:, list(joint_map('h36m', 'h36m_l_first'))]
                out['pred_xyz_jts_17'] = (h36m / _UNIT).flatten(1)
            out.update(
                rotmats=rotmats,
                pred_theta_mats=matrix_to_quaternion_cases(rotmats).flatten(1),
                pred_xyz_jts_24=xyz.flatten(1), pred_uvd_jts=out['pred_uvd_jts'].flatten(1),
                pred_xyz_jts_24_struct=((joints - joints[:, :1]) / _UNIT).flatten(1),
                joints=joints)
        return out

    def loss(self, feats: Any, batch_data_samples: list, train_cfg: Config = None) -> dict:
        """Losses of a batch.

        Args:
            feats: Input of :meth:`regress`.
            batch_data_samples: Samples with ``trans_inv``, ``intrinsic_inv``, ``depth_factor`` and,
                where it is known, ``root`` among their metainfo, and the labels of the loss. A
                sample without a root (``root_valid`` 0, or no ``root``) stands where its box would
                be 2 m wide: it has no 3D label, but needs finite joints.
            train_cfg: Not used.

        Returns:
            The dict of the loss, and ``mpjpe`` in metres for the log: of the joints before inverse
            kinematics.
        """
        regressed = self._regress(feats)
        cameras = self._cameras(batch_data_samples)
        valid = ~cameras['root'].isnan().any(1)
        flags = [sample.gt_instance_labels.get('root_valid') for sample in batch_data_samples]
        if all(flag is not None for flag in flags):
            flags = torch.stack([torch.as_tensor(flag).reshape(-1)[0] for flag in flags])
            valid &= flags.to(valid.device) > 0
        uvd = regressed['pred_uvd_jts'].detach().float()
        standing = self._back_project_root(uvd, cameras, self._box_depth(cameras))
        cameras['root'] = torch.where(valid[:, None], cameras['root'], standing)
        outputs = self.fit_body(regressed, cameras, vertices=False)
        labels = {key: self._stack_labels(batch_data_samples, key)
                  for key in self.loss_module.label_names}
        losses = self.loss_module(outputs, labels)
        if 'target_xyz_24' in batch_data_samples[0].gt_instance_labels:
            with torch.no_grad():
                losses['mpjpe'] = self._joint_error(outputs, batch_data_samples, cameras)
        return losses

    @torch.no_grad()
    def predict(self, feats: Any, batch_data_samples: list,
                test_cfg: Config = None) -> List[InstanceData]:
        """Bodies of a batch, one person per sample.

        Args:
            feats: Input of :meth:`regress`, or a list [features, features of the mirrored image]
                for the flip test.
            batch_data_samples: As for :meth:`loss`, without labels.
            test_cfg: ``root_depth``: ``'given'`` takes the root from the metainfo; ``'bones'`` puts
                it where the back-projected skeleton has the bone lengths of the predicted shape;
                ``'box'`` where the crop would be 2 m wide (RootNet's k). Default: as given, by
                bones where there is none. ``vertices=False`` leaves out the vertices.

        Returns:
            ``InstanceData`` of length 1: ``betas`` (1, S), ``rotmats`` (1, 24, 3, 3), ``joints``
            (1, 24, 3) of the fitted body relative to joint 0, ``h36m_joints`` (1, 17, 3) in the
            order 'h36m', relative to their pelvis, ``vertices`` (1, V, 3) relative to the same
            pelvis, ``root`` (1, 3) camera-space position of joint 0, ``transl`` (1, 3): add it to
            what ``BodyModel`` gives for ``betas`` and ``rotmats`` to be in camera space. Tensors on
            the CPU, metres. ``keypoints`` (1, 24, 2), image pixels, and ``keypoint_scores``
            (1, 24): arrays.

        Raises:
            ValueError: unknown ``root_depth``, or a root that is not given; metainfo is missing;
                the body has no regressor of the 17 joints.
        """
        test_cfg = test_cfg or {}
        self.body_model.on(self.init_shape).require_h36m_regressor()
        regressed = self._regress(*feats) if isinstance(feats, list) else self._regress(feats)
        cameras = self._cameras(batch_data_samples)
        cameras['root'] = self._root(regressed, cameras, test_cfg.get('root_depth'),
                                     batch_data_samples)
        out = self.fit_body(regressed, cameras, vertices=test_cfg.get('vertices', True))
        joints, root = out['joints'], cameras['root']
        uv = out['pred_uvd_jts'].unflatten(1, (-1, 3))[..., :2]
        h36m = _UNIT * out['pred_xyz_jts_17'].unflatten(1, (-1, 3))
        fields = dict(
            betas=out['pred_shape'], rotmats=out['rotmats'], joints=joints - joints[:, :1],
            h36m_joints=h36m[:, list(joint_map('h36m_l_first', 'h36m'))], root=root,
            transl=root - joints[:, 0], vertices=out.get('pred_vertices'))
        fields = {key: value.cpu() for key, value in fields.items() if value is not None}
        fields['keypoints'] = crop_to_image(uv, cameras['trans_inv'], self.input_size).cpu().numpy()
        fields['keypoint_scores'] = out['maxvals'][..., 0].cpu().numpy()
        return [InstanceData(**{key: value[i:i + 1] for key, value in fields.items()})
                for i in range(len(root))]

    def _regress(self, feats: Any, feats_flip: Any = None) -> Dict[str, Tensor]:
        """What is regressed, and ``pred_shape``; with the flip test averaged.

        Only ``pred_delta_shape`` is then that of the mirrored image, as in the public code; nothing
        uses it.
        """
        regressed = self.regress(feats)
        regressed['pred_shape'] = regressed['pred_delta_shape'] + self.init_shape
        if feats_flip is None:
            return regressed
        mirrored = mirror_regressed(self._regress(feats_flip))
        average = {key: None if value is None else (value + mirrored[key]) * 0.5
                   for key, value in regressed.items()}
        return dict(average, pred_delta_shape=mirrored['pred_delta_shape'])

    def _folded_joints(self, body) -> FoldedJoints:
        device = self.init_shape.device
        if device not in self._folded:
            with torch.inference_mode(False):  # its tensors may be needed in training later
                self._folded[device] = FoldedJoints(body)
        return self._folded[device]

    def _cameras(self, data_samples: list) -> Dict[str, Tensor]:
        """Metainfo of the samples as tensors; ``root`` is NaN where there is none."""
        infos = [sample.metainfo for sample in data_samples]
        shapes = dict(trans_inv=(2, 3), intrinsic_inv=(3, 3), root=(3, ), depth_factor=(1, ))
        columns = {}
        for key, shape in shapes.items():
            values = [info.get(key) for info in infos]
            if key == 'root':
                values = [np.full(3, np.nan) if value is None else value for value in values]
            elif any(value is None for value in values):
                raise ValueError(
                    f'{type(self).__name__}: the metainfo of a data sample has no {key!r}. It is '
                    'made by the transform MeshAffine from the camera of the sample; list it in '
                    'meta_keys of PackPoseInputs')
            array = np.stack([np.asarray(value, np.float32).reshape(shape) for value in values])
            columns[key] = torch.from_numpy(array).to(self.init_shape.device)
        return columns

    def _root(self, regressed: Dict[str, Tensor], cameras: Dict[str, Tensor],
              root_depth: Optional[str], data_samples: list) -> Tensor:
        """(B, 3) camera-space roots by one of the rules of :meth:`predict`."""
        if root_depth not in _ROOT_DEPTHS:
            raise ValueError(f'test_cfg: expected root_depth to be one of {_ROOT_DEPTHS}, found '
                             f'{root_depth!r}')
        given = [sample.metainfo.get('root') is not None for sample in data_samples]
        if root_depth == 'given' and not all(given):
            name = data_samples[given.index(False)].metainfo.get('img_path', 'a sample')
            raise ValueError(f"{name}: root_depth='given', but its metainfo has no 'root' (camera-"
                             "space metres of joint 0); give it, or set root_depth to 'bones' or "
                             "'box'")
        if root_depth == 'given' or (root_depth is None and all(given)):
            return cameras['root']
        uvd = regressed['pred_uvd_jts'].float()
        if root_depth == 'box':
            depth = self._box_depth(cameras)
        else:
            body = self.body_model.on(self.init_shape)
            rest = body.rest_joints(regressed['pred_shape'].float())
            lengths = (rest - rest[:, [max(p, 0) for p in body.parents]]).norm(dim=-1)
            depth = depth_from_bones(uvd, cameras['trans_inv'], cameras['intrinsic_inv'], lengths,
                                     body.parents, cameras['depth_factor'], self.input_size)
        root = self._back_project_root(uvd, cameras, depth)
        if root_depth is None:
            root = torch.where(cameras['root'].isnan(), root, cameras['root'])
        return root

    def _box_depth(self, cameras: Dict[str, Tensor]) -> Tensor:
        """(B,) depths at which the crop is 2 m wide."""
        width, height = np.broadcast_to(self.input_size, 2)
        scale = torch.linalg.det(cameras['trans_inv'][:, :, :2]).abs()
        focal = (cameras['intrinsic_inv'][:, 0, 0] * cameras['intrinsic_inv'][:, 1, 1]) ** -0.5
        return depth_from_box((scale * float(width * height)).sqrt(), focal)

    def _back_project_root(self, uvd: Tensor, cameras: Dict[str, Tensor], depth: Tensor) -> Tensor:
        """(B, 3) roots of a depth where joint 0 is seen in the image."""
        pixel = crop_to_image(uvd[:, :1, :2], cameras['trans_inv'], self.input_size)[:, 0]
        ray = torch.cat([pixel, torch.ones_like(pixel[:, :1])], 1)
        ray = (cameras['intrinsic_inv'] @ ray[..., None])[..., 0]
        return ray * depth[:, None]

    def _stack_labels(self, data_samples: list, key: str) -> Tensor:
        labels = [sample.gt_instance_labels.get(key) for sample in data_samples]
        if any(label is None for label in labels):
            raise ValueError(f'{type(self).__name__}: a data sample has no label {key!r}, which '
                             f'{type(self.loss_module).__name__} needs; make the labels with the '
                             'codec BodyMeshLabel')
        labels = torch.cat([torch.as_tensor(label) for label in labels])
        return labels.to(self.init_shape.device, torch.float32)

    def _joint_error(self, outputs: Dict[str, Tensor], data_samples: list,
                     cameras: Dict[str, Tensor]) -> Tensor:
        """Mean distance in metres of the regressed joints from labels that are known."""
        target = self._stack_labels(data_samples, 'target_xyz_24')
        known = self._stack_labels(data_samples, 'target_xyz_24_weight').amin(-1) > 0
        difference = outputs['pred_xyz_jts_24'].view_as(target) - target
        error = difference.norm(dim=-1) * cameras['depth_factor']
        return (error * known).sum() / known.sum().clamp(min=1)
