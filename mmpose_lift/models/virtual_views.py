"""Motion of a body model to heatmaps and labels: the input of mesh pre-training, on the device."""

from typing import Any, Dict, Iterable, NamedTuple, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from torch import Tensor

from ..geometry.cameras import CAMERA_SHAPES, project_points
from ..geometry.skeletons import get_skeleton, joint_map
from ..geometry.torch_rotations import axis_angle_to_matrix
from .body import BodyModel, LazyBodyModel
from .body.coco_keypoints import CocoKeypoints
from .heatmap_synthesis import draw_heatmaps, silhouettes

__all__ = ['VirtualViewPreprocessor']

_H36M = get_skeleton('h36m')
_LSP_14 = list(joint_map('h36m', 'lsp_14'))
_MIN_DEPTH = 0.1  # [np] metres; what is nearer to the camera, or behind it, has no useful picture

Range = Union[float, Tuple[float, float]]


class _View(NamedTuple):
    """A batch of bodies before their cameras; camera axes, metres, absolute."""
    rotmats: Tensor  # (B, 24, 3, 3) the first in camera axes
    vertices: Tensor  # (B, V, 3)
    h36m: Tensor  # (B, 17, 3)
    coco: Tensor  # (B, 17, 3)


@MODELS.register_module()
class VirtualViewPreprocessor(BaseDataPreprocessor):
    """Pose bodies, look at them through virtual cameras, and draw the heatmaps of that view.

    The pre-training input of MPT (Lin et al., WACV 2024), whose details are not published; what
    follows is this project's choice [np]. The regressed pelvis is put above the world's origin,
    x = y = 0, at its height in the file. The crop is a square around the middle of the box of the
    17 projected keypoints of COCO; its side is the longer side of that box times 1 + 2 ``margin``.
    Keypoints that the body itself hides are drawn like the others.

    Augmentation (training only) changes what is drawn, not the labels: the crop of ``margin`` and
    ``shift`` holds for both.

    Args:
        body_model: Anything :class:`LazyBodyModel` takes; of SMPL's vertex numbers, with the
            regressor of the 17 joints. One body for all, whatever gender a sample says.
        heatmap_size: Side S of the maps in pixels.
        sigma: Standard deviation of the Gaussians in map pixels, above 0. Of (low, high) each
            sample draws one while training; otherwise the middle is used.
        margin: Share of the longer side that is added on each side; (low, high) as for ``sigma``.
        input: 'heatmaps', one of each keypoint of COCO; 'mask', the silhouette of the body.
        shift: The crop is moved in x and y by up to this share of its side.
        jitter: Standard deviation in map pixels by which keypoints are drawn elsewhere.
        missing: Probability that a keypoint has an empty map.
        noise: Standard deviation of what is added to each pixel; the sum is clipped to [0, 1].
        augment_tests: Augment in tests as well, to measure how much a model suffers from it.
        non_blocking: Of the copy of maps that are given (see :meth:`forward`).

    Raises:
        ValueError: a value out of its range, or an option that a mask does not have.
    """

    def __init__(self, body_model: Any, heatmap_size: int = 112, sigma: Range = 2.0,
                 margin: Range = (0.10, 0.25), input: str = 'heatmaps', shift: float = 0.0,
                 jitter: float = 0.0, missing: float = 0.0, noise: float = 0.0,
                 augment_tests: bool = False, non_blocking: bool = False) -> None:
        super().__init__(non_blocking)
        if input not in ('heatmaps', 'mask'):
            raise ValueError("VirtualViewPreprocessor: input must be 'heatmaps' or 'mask', found "
                             f'{input!r}')
        if input == 'mask' and (jitter or missing):
            raise ValueError('VirtualViewPreprocessor: jitter and missing are of keypoints, a mask '
                             'has none; leave them at 0')
        if not 0 <= missing <= 1:
            raise ValueError('VirtualViewPreprocessor: missing must be a probability, 0 to 1, '
                             f'found {missing}')
        for name, value in dict(shift=shift, jitter=jitter, noise=noise).items():
            if not value >= 0:
                raise ValueError(f'VirtualViewPreprocessor: {name} must be 0 or more, found '
                                 f'{value}')
        if heatmap_size < 1:
            raise ValueError('VirtualViewPreprocessor: heatmap_size must be pixels above 0, found '
                             f'{heatmap_size}')
        self.body_model = LazyBodyModel(body_model)
        self.heatmap_size = heatmap_size
        self.sigma = _checked_range('sigma', sigma)
        self.margin = _checked_range('margin', margin, zero=True)
        self.input = input
        self.shift, self.jitter, self.missing, self.noise = shift, jitter, missing, noise
        self.augment_tests = augment_tests

    @torch.no_grad()
    def forward(self, data: dict, training: bool = False) -> dict:
        """Maps and labels of a batch.

        Random numbers are those of torch's default generator of the device.

        Args:
            data: ``inputs``: dict of lists, one array for each sample: ``poses`` (24, 3) axis-angle
                vectors, the first into the world (z up), ``betas`` (S,), of which the leading ones
                are used that the body has, ``trans`` (3,) metres, and the camera as in
                ``geometry.cameras.Camera``: ``rotation`` (3, 3), ``position`` (3,), ``focal`` (2,),
                ``center`` (2,), ``radial`` (3,), ``tangential`` (2,). ``data_samples``: list.
                Where ``inputs`` is a tensor or a list of tensors, maps that come from elsewhere,
                they are only stacked and moved to the device.
            training: Draw augmentations.

        Returns:
            ``inputs`` (B, 17, S, S) in the order of COCO, or (B, 1, S, S). ``data_samples``, the
            same objects with, besides what they had:

            ``gt_instance_labels`` on the device: ``target_vertices`` (1, V, 3) and
            ``target_joints`` (1, 14, 3), metres, camera axes, relative to the regressed pelvis;
            ``target_keypoints`` (1, 14, 2) projected with the lens' distortion, [-1, 1] in the
            crop; ``target_body_weight`` (1, 1) and ``target_joints_weight`` (1, 14), ones;
            ``target_keypoints_weight`` (1, 14), 0 for a joint outside the crop.

            ``gt_instances`` as arrays, the truth of the metrics: ``gt_betas`` (1, S),
            ``gt_rotmats`` (1, 24, 3, 3) in camera axes, ``gt_body_valid`` (1,), ``gt_h36m_joints``
            (1, 17, 3) relative to the pelvis, ``gt_h36m_valid`` (1, 17), ``bboxes`` (1, 4) the crop
            x1, y1, x2, y2 in pixels of the virtual picture, ``bbox_scores`` (1,).

            Metainfo ``trans_inv`` (2, 3): pixels of a crop of S x S to pixels of the virtual
            picture; ``intrinsic_inv`` (3, 3); ``input_size`` (S, S).

        Raises:
            ValueError: arrays are missing or of the wrong shape, the body model has no regressor or
                (for a mask) no faces, or a body is not before its camera; sample and camera are
                named.
        """
        inputs, samples = data['inputs'], data.get('data_samples')
        if not isinstance(inputs, dict):
            data = self.cast_data(dict(inputs=inputs, data_samples=samples))
            return dict(inputs=_stack_maps(data['inputs']), data_samples=data['data_samples'])
        # MMEngine calls this inside its autocast: half precision would be off by millimetres
        with torch.autocast(self.device.type, enabled=False):
            maps = self._synthesize(inputs, samples, training or self.augment_tests)
        return dict(inputs=maps, data_samples=samples)

    def _synthesize(self, inputs: Dict[str, Sequence], samples: list, training: bool) -> Tensor:
        """Maps of a batch; the samples get their labels."""
        body = self.body_model.body
        if self.input == 'mask' and body.faces is None:
            raise ValueError(f"{body.source or 'a body model made of arrays'}: input='mask' needs "
                             "a body model with faces (f), found none; give one, or use "
                             "input='heatmaps'")
        arrays = self._stacked(inputs, body, samples)
        view = self._look(body, arrays)
        self._require_in_front(view.vertices[..., 2].amin(1), samples)
        camera = [arrays[name] for name in ('focal', 'center', 'radial', 'tangential')]
        keypoints, joints = project_points(
            torch.cat([view.coco, view.h36m[:, _LSP_14]], 1), *camera).split([17, 14], 1)
        corner, side = self._crop(keypoints, training)
        scale = self.heatmap_size / side

        def in_crop(pixels: Tensor) -> Tensor:
            return (pixels - corner) * scale

        if self.input == 'mask':
            points = in_crop(project_points(view.vertices, *camera))
            maps = silhouettes(points, body.faces, self.heatmap_size)
        else:
            maps = self._draw(in_crop(keypoints), training)
        if training and self.noise:
            maps = maps.add_(torch.randn_like(maps), alpha=self.noise).clamp_(0, 1)
        self._label(samples, view, in_crop(joints))
        self._describe(samples, view, arrays, corner, side)
        return maps

    def _stacked(self, inputs: Dict[str, Sequence], body: BodyModel,
                 samples: list) -> Dict[str, Tensor]:
        """The arrays of a batch on the device, sent there in one piece."""
        shapes = dict(poses=(body.num_joints, 3), betas=(body.num_shapes,), trans=(3,),
                      **CAMERA_SHAPES)
        missing = [name for name in shapes if name not in inputs]
        if missing:
            raise ValueError(f'inputs: expected {", ".join(shapes)}, found none of '
                             f'{", ".join(missing)}; is the data set one of body motion?')
        columns = []
        for name, shape in shapes.items():
            values = [np.asarray(value, np.float32) for value in inputs[name]]
            if name == 'betas':
                values = [value[:body.num_shapes] for value in values]
            for value, sample in zip(values, samples):
                if value.shape != shape:
                    raise ValueError(f'{_name(sample)}: {name} must have shape {shape} for this '
                                     f'body model, found {value.shape}')
            columns.append(np.stack(values).reshape(len(values), -1))
        widths = [column.shape[1] for column in columns]
        together = torch.from_numpy(np.concatenate(columns, 1)).to(body.template.device)
        return {name: part.unflatten(1, shape) for (name, shape), part
                in zip(shapes.items(), together.split(widths, 1))}

    def _look(self, body: BodyModel, arrays: Dict[str, Tensor]) -> _View:
        """Pose the bodies in camera axes, each with its pelvis above the world's origin."""
        rotation = arrays['rotation']
        rotmats = axis_angle_to_matrix(arrays['poses'])
        rotmats[:, 0] = rotation @ rotmats[:, 0]
        vertices, joints = body(arrays['betas'], rotmats)
        h36m = body.h36m_joints(vertices)
        # The first rotation turns about the root joint, which stays where it is at rest: that is
        # where world and camera axes meet.
        root, pelvis = joints[:, :1], h36m[:, _H36M.root_index, None]
        height = ((pelvis - root) @ rotation + root)[:, 0, 2] + arrays['trans'][:, 2]
        position = -arrays['position']
        position[:, 2] += height
        shift = (position[:, None] @ rotation.mT) - pelvis  # [B, 1, 3]
        coco = CocoKeypoints(body)(vertices, joints)
        return _View(rotmats, vertices + shift, h36m + shift, coco + shift)

    def _crop(self, keypoints: Tensor, training: bool) -> Tuple[Tensor, Tensor]:
        """Upper left corner (B, 1, 2) and side (B, 1, 1) of the crop in pixels of the picture."""
        low, high = keypoints.amin(1, keepdim=True), keypoints.amax(1, keepdim=True)
        margin = self._drawn(self.margin, low, training)
        side = (high - low).amax(2, keepdim=True) * (1 + 2 * margin)
        centre = (low + high) / 2
        if training and self.shift:
            centre = centre + side * self.shift * (2 * torch.rand_like(centre) - 1)
        return centre - side / 2, side

    def _draw(self, points: Tensor, training: bool) -> Tensor:
        visible = None
        if training and self.jitter:
            points = points + self.jitter * torch.randn_like(points)
        if training and self.missing:
            visible = torch.rand_like(points[..., 0]) >= self.missing
        sigma = self._drawn(self.sigma, points, training)
        return draw_heatmaps(points, self.heatmap_size, sigma, visible)

    @staticmethod
    def _drawn(limits: Tuple[float, float], like: Tensor,
               training: bool) -> Union[float, Tensor]:
        """A value for each sample, (B, 1, 1), while training; else the middle."""
        low, high = limits
        if training and high > low:
            return low + (high - low) * torch.rand_like(like[:, :1, :1])
        return (low + high) / 2

    @staticmethod
    def _require_in_front(depth: Tensor, samples: list) -> None:
        """ValueError where the nearest vertex, at depths (B,), is not before the camera."""
        near = ~(depth >= _MIN_DEPTH)  # also where a pose is not a number
        if near.any():
            worst = int(near.nonzero()[0])
            sample = samples[worst]
            raise ValueError(
                f'{_name(sample)}: seen by camera {sample.metainfo.get("camera", "?")} the body '
                f'comes as near as {float(depth[worst]):.2f} m, expected at least {_MIN_DEPTH} m '
                'before the camera; is the motion in metres with z up, and is the camera outside '
                'the body and turned to it?')

    def _label(self, samples: list, view: _View, keypoints: Tensor) -> None:
        """Set ``gt_instance_labels``."""
        pelvis = view.h36m[:, _H36M.root_index, None]
        keypoints = keypoints * (2 / self.heatmap_size) - 1
        ones = torch.ones_like(keypoints[..., 0])
        labels = dict(
            target_vertices=view.vertices - pelvis, target_body_weight=ones[:, :1],
            target_joints=view.h36m[:, _LSP_14] - pelvis, target_joints_weight=ones,
            target_keypoints=keypoints,
            target_keypoints_weight=(keypoints.abs() <= 1).all(-1).to(ones.dtype))
        columns = [label.split(1) for label in labels.values()]
        for sample, row in zip(samples, zip(*columns)):
            sample.gt_instance_labels = _instance(labels, row)

    def _describe(self, samples: list, view: _View, arrays: Dict[str, Tensor], corner: Tensor,
                  side: Tensor) -> None:
        """Set ``gt_instances`` and the metainfo, from one copy off the device."""
        h36m = view.h36m - view.h36m[:, _H36M.root_index, None]
        parts = dict(gt_betas=arrays['betas'], gt_rotmats=view.rotmats, gt_h36m_joints=h36m,
                     crop=torch.cat([corner, side], 2)[:, 0], focal=arrays['focal'],
                     center=arrays['center'])
        together = torch.cat([part.flatten(1) for part in parts.values()], 1).cpu().numpy()
        ends = np.cumsum([part[0].numel() for part in parts.values()])[:-1]
        parts = {name: part.reshape(value.shape) for (name, value), part
                 in zip(parts.items(), np.split(together, ends, 1))}
        x, y, side = parts.pop('crop').T
        zero, one = np.zeros_like(x), np.ones_like(x)
        step = side / self.heatmap_size
        (fx, fy), (cx, cy) = parts.pop('focal').T, parts.pop('center').T
        metainfo = dict(
            trans_inv=_matrix([step, zero, x], [zero, step, y]),
            intrinsic_inv=_matrix([1 / fx, zero, -cx / fx], [zero, 1 / fy, -cy / fy],
                                  [zero, zero, one]),
            input_size=[(self.heatmap_size, self.heatmap_size)] * len(samples))
        parts.update(gt_body_valid=one, gt_h36m_valid=np.ones(h36m.shape[:2], np.float32),
                     bboxes=np.stack([x, y, x + side, y + side], 1), bbox_scores=one)
        for i, sample in enumerate(samples):
            sample.gt_instances = _instance(parts, [part[i:i + 1] for part in parts.values()])
            for name, value in metainfo.items():
                sample.set_field(value[i], name, field_type='metainfo')


def _stack_maps(maps: Union[Tensor, Sequence[Tensor]]) -> Tensor:
    """(B, K, S, S) float32 of maps that are given."""
    shapes = {tuple(part.shape) for part in maps}
    if len(shapes) != 1 or len(min(shapes)) != 3:
        raise ValueError('inputs: expected maps of one shape (K, S, S) for all samples of a batch, '
                         f'found {", ".join(map(str, sorted(shapes))) or "none"}')
    return (maps if isinstance(maps, Tensor) else torch.stack(list(maps))).float()


def _matrix(*rows: Sequence[np.ndarray]) -> np.ndarray:
    """(B, R, C) from R rows of C entries (B,)."""
    return np.stack([np.stack(row, -1) for row in rows], 1)


def _instance(names: Iterable[str], values: Iterable[Any]) -> InstanceData:
    """``InstanceData(**...)`` without its comparison of all lengths, which would take longer."""
    instance = InstanceData()
    for name, value in zip(names, values):
        instance.set_field(value, name)
    return instance


def _name(sample) -> str:
    return str(sample.metainfo.get('img_path') or sample.metainfo.get('id', 'a sample'))


def _checked_range(name: str, value: Range, zero: bool = False) -> Tuple[float, float]:
    limits = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(limits) != 2 or not (0 < limits[0] or zero and limits[0] == 0) or limits[1] < limits[0]:
        raise ValueError(f'VirtualViewPreprocessor: {name} must be a number '
                         f'{"of 0 or more" if zero else "above 0"}, or (low, high) of such, found '
                         f'{value!r}')
    return limits
