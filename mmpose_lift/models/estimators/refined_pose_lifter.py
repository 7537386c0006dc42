"""Second training stage of a lifting model: its poses, refined by their 2D keypoints."""

from typing import Any, List, Optional, Tuple

import numpy as np
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from torch import Tensor

from ...geometry import estimate_root_position, normalize_intrinsics
from ..heads.lifting_head import BaseLiftingHead, is_batched, stack_labels
from ..layers import PoseRefiner
from ..losses.sequence_loss import symmetry_penalty, weighted_position_error
from .sequence_pose_lifter import SequencePoseLifter

ROOT_DEPTHS = ('estimated', 'ground_truth')
CAMERA_KEYS = ('w', 'h', 'f', 'c')


@MODELS.register_module()
class RefinedPoseLifter(SequencePoseLifter):
    """A lifting model and a :class:`PoseRefiner` behind it (Cai et al., ICCV 2019).

    The base model's reported poses (averaged over the flip test, if there is one) get their root
    set to 0 and are refined by the same frame's 2D keypoints. Every frame that :class:`LiftingHead`
    reports is refined; of an Uplift and Upsample model it is the centre frame, and where that is no
    key-frame there are no 2D keypoints and the base pose is kept. ``mode='tensor'`` gives the base
    model's output.

    Stage two of the published recipe: set ``load_from`` to the base model's checkpoint (its keys
    ``backbone.*`` and ``head.*`` are those of this model; ``refiner.*`` starts anew) and train the
    whole network with a learning rate of 1e-5. Losses: those of the base head, ``loss_refined``
    (MPJPE of the refined poses, metres) and ``loss_symmetry`` (``symmetry_weight`` x difference of
    left and right bone lengths of the base poses).

    The samples need ``camera_param`` in their metainfo: image size ``w``, ``h``, focal length ``f``
    and centre ``c`` in pixels (B samples: scalars and 2 numbers; one sample of a batch: (B,) and
    (B, 2)), ``c`` mirrored where the window is. Lens distortion is not undone (as in the cited
    code).

    Args:
        *args: As for :class:`SequencePoseLifter`.
        refiner: Options of :class:`PoseRefiner`: ``hidden_dims`` and ``drop_rate``.
        root_depth: Where the absolute depth of the root comes from. ``'estimated'``: least squares
            from the predicted pose, the 2D keypoints and the camera, see
            :func:`estimate_root_position`. ``'ground_truth'``: the target's root, as the published
            numbers have it. THIS LEAKS GROUND TRUTH into the prediction: such numbers do not
            compare with those of methods that see 2D keypoints only, and it needs samples with
            ``gt_instances.target_root``.
        symmetry_weight: Factor of ``loss_symmetry``; 0 leaves it out.
        **kwargs: As for :class:`SequencePoseLifter`.

    Raises:
        ValueError: unknown ``root_depth``, a head that does not report poses, or one with another
            number of joints than the skeleton.
    """

    def __init__(self, *args: Any, refiner: Optional[dict] = None, root_depth: str = 'estimated',
                 symmetry_weight: float = 0.01, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if root_depth not in ROOT_DEPTHS:
            raise ValueError(f'root_depth: expected one of {ROOT_DEPTHS}, found {root_depth!r}')
        if not self.with_head or not isinstance(self.head, BaseLiftingHead):
            found = type(self.head).__name__ if self.with_head else 'none'
            raise ValueError('RefinedPoseLifter: expected a head that reports poses '
                             f'(BaseLiftingHead, as LiftingHead), found {found}')
        if self.head.num_keypoints != self.skeleton.num_joints:
            raise ValueError(f'RefinedPoseLifter: the head has {self.head.num_keypoints} joints, '
                             f'skeleton {self.skeleton.name!r} {self.skeleton.num_joints}; set '
                             "skeleton to the model's joint order")
        self.root_depth = root_depth
        self.symmetry_weight = symmetry_weight
        self.refiner = PoseRefiner(self.head.num_keypoints, root_index=self.skeleton.root_index,
                                   **(refiner or {}))

    def loss(self, inputs: Tensor, data_samples: List[PoseDataSample]) -> dict:
        """Losses of the base head, of the refined poses and of the bone lengths.

        Raises:
            ValueError: no target, or the samples lack what :meth:`refine` needs.
        """
        outputs = self.head.forward(self.extract_feat(inputs))
        losses = self.head.output_losses(outputs, data_samples)
        target = stack_labels(data_samples, 'lifting_target_label')
        mask = stack_labels(data_samples, 'lifting_target_weight')
        poses = self.head.reported_poses(outputs, target.shape[1]).to(target.dtype)
        refined = self.refine(poses, inputs, data_samples, training=True)
        target = self.head.reported_targets(target, training=True)
        if mask is not None:
            mask = self.head.reported_targets(mask, training=True)
        losses['loss_refined'] = weighted_position_error(refined, target, target.new_ones(()), mask)
        if self.symmetry_weight:
            losses['loss_symmetry'] = self.symmetry_weight * symmetry_penalty(
                poses, self.skeleton.name)
        return losses

    def predict_instances(self, inputs: Tensor, feats: Any,
                          data_samples: Optional[List[PoseDataSample]],
                          test_cfg: dict) -> List[InstanceData]:
        """Refined poses, in the form of the head's predictions."""
        poses = self.head.predict_poses(feats, data_samples, test_cfg)
        refined = self.refine(poses, inputs, data_samples, training=False)
        return self.head.pack_poses(refined, data_samples, test_cfg)

    def refine(self, poses: Tensor, inputs: Tensor, data_samples: Optional[List[PoseDataSample]],
               training: bool) -> Tensor:
        """Refine the poses that the head reports.

        Args:
            poses: (B, T', K, 3) reported poses, root-relative metres.
            inputs: (B, L, K, C) input of the model.
            data_samples: Either batch form.
            training: Whether the samples carry labels of training or of test.

        Returns:
            (B, T', K, 3) poses with the root at 0, at least float32.

        Raises:
            ValueError: no camera for every window, or no root where the true depth is wanted.
        """
        poses = poses.to(torch.promote_types(poses.dtype, torch.float32), copy=True)
        poses[..., self.skeleton.root_index, :] = 0
        target = stack_labels(data_samples, 'lifting_target_label')
        keypoints, seen = self.head.reported_keypoints(
            inputs, None if target is None else target.shape[1])
        batch, frames = poses.shape[:2]
        focal, center = (x[:, None].expand(-1, frames, -1).flatten(0, 1)  # [B, 2] -> [B*T', 2]
                         for x in self._intrinsics(data_samples, poses))
        pose, uv = poses.flatten(0, 1), keypoints.to(poses.dtype).flatten(0, 1)
        if self.root_depth == 'estimated':
            depth = estimate_root_position(pose, uv, focal, center)[..., 2]
        else:
            depth = self._true_root_depth(poses, data_samples, training)
        refined = self.refiner(pose, uv, depth, focal, center).unflatten(0, (batch, frames))
        return refined if seen is None else torch.where(seen[..., None, None], refined, poses)

    def _intrinsics(self, data_samples: Optional[List[PoseDataSample]],
                    poses: Tensor) -> Tuple[Tensor, Tensor]:
        """Normalised focal length and image centre (B, 2) of the windows."""
        cameras = [s.metainfo.get('camera_param') or {} for s in data_samples or []]
        missing = [key for key in CAMERA_KEYS
                   if not cameras or any(camera.get(key) is None for camera in cameras)]
        if missing:
            raise ValueError(
                'RefinedPoseLifter: refinement needs the camera of every window, but camera_param '
                f'in the metainfo of the data samples has no {", ".join(missing)}. Use a data set '
                'that gives image size w, h, focal length f and centre c in pixels, and add '
                "'camera_param' to the meta_keys of PackPoseInputs")
        if is_batched(data_samples):
            values = [np.asarray(cameras[0][key]) for key in CAMERA_KEYS]
        else:
            values = [np.stack([np.asarray(c[key]) for c in cameras]) for key in CAMERA_KEYS]
        batch = len(poses)
        for key, value, size in zip(CAMERA_KEYS, values, (1, 1, 2, 2)):
            if value.size != batch * size:
                raise ValueError(f'camera_param: expected {size} value(s) of {key} for each of '
                                 f'the {batch} windows, found {value.shape}')
        width, height = (value.reshape(batch) for value in values[:2])
        focal, center = (value.reshape(batch, 2) for value in values[2:])
        return tuple(torch.as_tensor(x, dtype=poses.dtype, device=poses.device)
                     for x in normalize_intrinsics(focal, center, width, height))

    def _true_root_depth(self, poses: Tensor, data_samples: List[PoseDataSample],
                         training: bool) -> Tensor:
        """(B*T',) depths of the target's root."""
        roots = stack_labels(data_samples, 'target_root', 'gt_instances')
        if roots is None:
            raise ValueError("RefinedPoseLifter: root_depth='ground_truth' needs the true root, "
                             'but the data samples carry no gt_instances.target_root. Use a data '
                             "set with 3D targets, or root_depth='estimated'")
        roots = self.head.reported_targets(roots, training)
        if roots.shape != (*poses.shape[:2], 3):
            raise ValueError(f'gt_instances.target_root: expected {(*poses.shape[:2], 3)} for '
                             f'the reported poses {tuple(poses.shape)}, found {tuple(roots.shape)}')
        return roots[..., 2].to(poses).flatten()
