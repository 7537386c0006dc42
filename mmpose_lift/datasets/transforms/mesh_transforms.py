"""What training and inference of body meshes need besides MMPose's top-down transforms.

Augmentations as in HybrIK-Transformer (Oreshkin, arXiv 2302.04774) and HybrIK (Li et al., CVPR
2021): ``LoadImage, GetBBoxCenterScale, MeshRandomFlip, MeshBBoxTransform, RandomNoiseOcclusion,
MeshAffine, ChannelNoise, GenerateTarget, PackMeshInputs``.
"""

from typing import Optional, Sequence, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpose.datasets.transforms import PackPoseInputs, RandomFlip, TopdownAffine
from mmpose.registry import TRANSFORMS
from mmpose.structures.bbox import get_warp_matrix

from ...geometry.skeletons import get_skeleton

# What the estimator of body meshes and its metrics read of a sample besides MMPose's own keys.
_MESH_META_KEYS = ('trans_inv', 'intrinsic_inv', 'depth_factor', 'root', 'subject', 'action',
                   'gender')


@TRANSFORMS.register_module()
class MeshRandomFlip(RandomFlip):
    """Mirror picture, box and keypoints as MMPose does, and the labels of the body with them.

    In the mirrored picture the camera has its principal point mirrored and everything in camera
    space its x negated, with left and right swapped. The public code leaves principal point and
    root where they were, so that its joints do not project onto the mirrored picture.

    Required Keys: those of ``RandomFlip``, ``camera_matrix``; modified where present: ``root,
    joints, joints_valid, h36m_joints, h36m_valid, poses, twists, twists_valid``.

    Args:
        prob: Probability.
        compat: Leave ``camera_matrix`` and ``root`` as they are, as the public code does.
    """

    def __init__(self, prob: float = 0.5, compat: bool = False):
        super().__init__(prob=float(prob), direction='horizontal')
        self.compat = compat

    def transform(self, results: dict) -> dict:
        results = super().transform(results)
        return self.mirror(results) if results['flip'] else results

    def mirror(self, results: dict) -> dict:
        """Mirror the camera and the labels."""
        for name, skeleton in (('joints', 'smpl'), ('h36m_joints', 'h36m')):
            if name in results:
                valid = f'{name.removesuffix("_joints")}_valid'
                swap = list(get_skeleton(skeleton).flip_indices)
                results[name] = results[name][swap] * np.float32([-1, 1, 1])
                results[valid] = results[valid][swap]
        swap = np.array(get_skeleton('smpl').flip_indices)
        if 'poses' in results:  # x is kept and y, z turn: the rotation seen in a mirror across x
            results['poses'] = results['poses'][swap] * np.float32([1, -1, -1])
        if 'twists' in results:  # of joints 1 to 23
            results['twists'] = results['twists'][swap[1:] - 1] * np.float32([1, -1])
            results['twists_valid'] = results['twists_valid'][swap[1:] - 1]
        if not self.compat:
            camera = results['camera_matrix'].copy()
            camera[0, 1:] *= -1  # skew and principal point
            camera[0, 2] += results['img_shape'][1] - 1
            results['camera_matrix'] = camera
            if 'root' in results:
                results['root'] = results['root'] * np.float32([-1, 1, 1])
        return results


@TRANSFORMS.register_module()
class MeshBBoxTransform(BaseTransform):
    """Scale the box by 1 + 0.3 N(0, 1) and, sometimes, turn it by 30 degrees times N(0, 1).

    MMPose's ``RandomBBoxTransform`` draws from a normal distribution cut at one standard
    deviation; here the values are clipped, so that the limits themselves are drawn often.

    Required Keys: ``bbox_scale``. Added: ``bbox_rotation`` (1,) degrees.

    Args:
        scale_std: Standard deviation of the scale.
        scale_range: Scale is clipped to it.
        rotation_std: Degrees.
        rotation_limit: Degrees, to either side.
        rotation_prob: Probability of a rotation.
    """

    def __init__(self, scale_std: float = 0.3, scale_range: Tuple[float, float] = (0.7, 1.3),
                 rotation_std: float = 30., rotation_limit: float = 60.,
                 rotation_prob: float = 0.6):
        self.scale_std = scale_std
        self.scale_range = scale_range
        self.rotation_std = rotation_std
        self.rotation_limit = rotation_limit
        self.rotation_prob = rotation_prob

    @cache_randomness
    def _draw(self) -> Tuple[float, float]:
        scale = np.clip(1 + self.scale_std * np.random.randn(), *self.scale_range)
        rotation = 0.
        if np.random.rand() < self.rotation_prob:
            rotation = np.clip(self.rotation_std * np.random.randn(), -self.rotation_limit,
                               self.rotation_limit)
        return scale, rotation

    def transform(self, results: dict) -> dict:
        scale, rotation = self._draw()
        results['bbox_scale'] = results['bbox_scale'] * np.float32(scale)
        results['bbox_rotation'] = np.array([rotation], np.float32)
        return results


@TRANSFORMS.register_module()
class MeshAffine(TopdownAffine):
    """Cut the (turned) box out of the picture, and keep the way back to it and to the camera.

    Required Keys: those of ``TopdownAffine``, and ``camera_matrix`` (3, 3) of the picture; labels
    are not needed. Added: ``trans_inv`` (2, 3) crop to image pixels, ``intrinsic_inv`` (3, 3), and
    ``depth_factor`` where absent.

    Labels in camera space are not turned with the crop: ``trans_inv`` undoes its rotation.

    Args:
        input_size: Side of the square crop in pixels, or (width, height).
        depth_factor: Metres of one unit of depth, for samples that do not say it.

    Raises:
        ValueError: A sample without ``camera_matrix``, or with one that cannot be inverted.
    """

    def __init__(self, input_size=256, depth_factor: float = 2.0):
        super().__init__((input_size, input_size) if isinstance(input_size, int)
                         else tuple(input_size))
        self.depth_factor = depth_factor

    def transform(self, results: dict) -> dict:
        camera = np.asarray(results.get('camera_matrix', np.nan), np.float64)
        if camera.shape != (3, 3) or not camera[0, 0] * camera[1, 1] > 0:
            raise ValueError(f'{results.get("img_path")}: expected camera_matrix (3, 3), the '
                             'intrinsic matrix of the picture in pixels, found '
                             f'{results.get("camera_matrix")}')
        results = super().transform(results)
        rotation = results['bbox_rotation'][0] if 'bbox_rotation' in results else 0.
        warp = get_warp_matrix(results['input_center'], results['input_scale'], rotation,
                               output_size=self.input_size)
        results['trans_inv'] = cv2.invertAffineTransform(warp).astype(np.float32)
        results['intrinsic_inv'] = np.linalg.inv(camera).astype(np.float32)
        results.setdefault('depth_factor', self.depth_factor)
        return results


@TRANSFORMS.register_module()
class ChannelNoise(BaseTransform):
    """Multiply each colour channel by a number of its own.

    Required Keys: ``img`` uint8.

    Args:
        factors: Range they are drawn from.
    """

    def __init__(self, factors: Tuple[float, float] = (0.8, 1.2)):
        self.factors = factors

    @cache_randomness
    def _draw(self) -> np.ndarray:
        return np.random.uniform(*self.factors, size=3)

    def transform(self, results: dict) -> dict:
        # a table of 256 colours: much faster than arithmetic on the picture
        table = np.outer(np.arange(256), self._draw()).clip(0, 255).astype(np.uint8)
        results['img'] = cv2.LUT(results['img'], table[None])
        return results


@TRANSFORMS.register_module()
class RandomNoiseOcclusion(BaseTransform):
    """Fill a rectangle inside the person's box with noise.

    The published ranges are those of the defaults for data in 3D, and area (0, 0.7), aspect
    (0.3, 3.33) for COCO; none for MPI-INF-3DHP. A rectangle that does not fit into the box is drawn
    again, 100 times at most [np].

    Required Keys: ``img`` uint8, ``bbox`` (1, 4).

    Args:
        area: Range of its share of the box.
        aspect: Range of height / width.
        prob: Probability.
    """

    def __init__(self, area: Tuple[float, float] = (0., 0.3),
                 aspect: Tuple[float, float] = (0.5, 2.), prob: float = 1.):
        self.area = area
        self.aspect = aspect
        self.prob = prob

    @cache_randomness
    def _draw(self, width: float, height: float) -> Optional[Tuple[float, ...]]:
        """x, y, width and height inside the box; None: no rectangle."""
        if np.random.rand() >= self.prob:
            return None
        for _ in range(100):
            area = np.random.uniform(*self.area) * width * height
            aspect = np.random.uniform(*self.aspect)
            w, h = np.sqrt(area / aspect), np.sqrt(area * aspect)
            if w < width and h < height:
                return (np.random.uniform(0, width - w), np.random.uniform(0, height - h), w, h)
        return None

    def transform(self, results: dict) -> dict:
        box = results['bbox'][0]
        drawn = self._draw(*(box[2:] - box[:2]))
        if drawn is None:
            return results
        x, y, w, h = drawn
        img = results['img']
        x1, y1 = (max(0, int(v)) for v in (box[0] + x, box[1] + y))
        patch = img[y1:int(box[1] + y + h), x1:int(box[0] + x + w)]
        if patch.size:
            img = results['img'] = img.copy()  # it may be the caller's own
            noise = np.frombuffer(np.random.bytes(patch.size), np.uint8).reshape(patch.shape)
            img[y1:y1 + patch.shape[0], x1:x1 + patch.shape[1]] = noise
        return results


@TRANSFORMS.register_module()
class PackMeshInputs(PackPoseInputs):
    """MMPose's ``PackPoseInputs`` with the meta keys of body meshes, and labels left as arrays.

    A loader process sends each tensor through a file of its own, and there are 13 small labels: as
    arrays they take a tenth of the time, and heads stack them anyway.

    Args:
        meta_keys: More keys to keep.
        pack_transformed: As in ``PackPoseInputs``.
    """

    def __init__(self, meta_keys: Sequence[str] = (), pack_transformed: bool = False):
        super().__init__(pack_transformed=pack_transformed)
        self.meta_keys = tuple(dict.fromkeys((*self.meta_keys, *_MESH_META_KEYS, *meta_keys)))

    def transform(self, results: dict) -> dict:
        packed = super().transform(results)
        sample = packed['data_samples']
        sample.gt_instance_labels = sample.gt_instance_labels.numpy()
        return packed
