"""People in pictures with labels of their body, one sample per person."""

import os.path as osp
from typing import Callable, Optional, Sequence, Union

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.logging import print_log
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from ..geometry.skeletons import get_skeleton
from ..io.readers.mesh_annotations import MeshAnnotations, read_mesh_annotations
from .store_skeletons import skeleton_metainfo

_META_KEYS = ('upper_body_ids', 'lower_body_ids', 'flip_pairs', 'dataset_keypoint_weights',
              'flip_indices', 'skeleton_links')


@DATASETS.register_module()
class BodyMeshDataset(BaseDataset):
    """Human3.6M, MPI-INF-3DHP, 3DPW, COCO or pictures of one's own with SMPL labels.

    A sample has what MMPose's top-down transforms work on (``img_path, bbox, keypoints,
    keypoints_visible, flip_indices, ...``, the joints of SMPL) and the labels of the person, see
    :meth:`get_data_info`; :class:`~mmpose_lift.codecs.BodyMeshLabel` makes targets of them. Labels
    are kept as arrays over all people, which loader processes share.

    Samples without labels in 3D (COCO) have no ``root``, and 0 as ``root_valid``; a network's head
    places them by a rule of its own.

    Args:
        ann_file: json file, relative to ``data_root``.
        layout: 'h36m', 'mpi_inf_3dhp', '3dpw' or 'coco'
            (:func:`~mmpose_lift.io.readers.mesh_annotations.read_mesh_annotations`).
        layout_cfg: Options of the layout, for example ``dict(interval=20)`` of 'h36m'.
        data_root: Folder that relative files start from.
        data_prefix: ``dict(img=folder of the pictures)``, relative to ``data_root``.
        depth_factor: Metres of one unit of the depth coordinate; 2 in all published models.
        pipeline: Transforms.
        indices: Use the first ``indices`` people, or those listed.
        metainfo: Overrides of the meta information, which follows from the skeleton 'smpl';
            ``dataset_name`` is the layout unless given.
        test_mode: Samples are drawn for evaluation.
        lazy_init: Do not read the file yet.
        max_refetch: As in MMEngine.

    Raises:
        FileNotFoundError, ValueError: As :func:`read_mesh_annotations`; a picture is missing.
    """

    METAINFO: dict = skeleton_metainfo(get_skeleton('smpl'))

    def __init__(self,
                 ann_file: str,
                 layout: str,
                 layout_cfg: Optional[dict] = None,
                 data_root: str = '',
                 data_prefix: Optional[dict] = None,
                 depth_factor: float = 2.0,
                 pipeline: Sequence[Union[dict, Callable]] = (),
                 indices: Optional[Union[int, Sequence[int]]] = None,
                 metainfo: Optional[dict] = None,
                 test_mode: bool = False,
                 lazy_init: bool = False,
                 max_refetch: int = 1000):
        if depth_factor <= 0:
            raise ValueError(f'depth_factor: expected metres above 0, found {depth_factor}')
        self.layout = layout
        self.layout_cfg = dict(layout_cfg or {})
        self.depth_factor = float(depth_factor)
        self.people: Optional[MeshAnnotations] = None
        metainfo = {'dataset_name': layout, **(metainfo or {})}
        super().__init__(
            ann_file=ann_file, metainfo=metainfo, data_root=data_root,
            data_prefix=data_prefix or dict(img=''),
            indices=indices, serialize_data=False, pipeline=pipeline, test_mode=test_mode,
            lazy_init=lazy_init, max_refetch=max_refetch)

    @classmethod
    def _load_metainfo(cls, metainfo: dict) -> dict:
        return parse_pose_metainfo({**cls.METAINFO, **metainfo})

    def full_init(self) -> None:
        """Read the annotation file, once."""
        if self._fully_initialized:
            return
        people = read_mesh_annotations(self.ann_file, self.layout, **self.layout_cfg)
        for note in people.notes:
            print_log(note, logger='current')
        if self._indices is not None:
            rows = self._indices
            people = people.select(slice(rows) if isinstance(rows, int) else np.asarray(rows))
        self.people = people
        self._fully_initialized = True

    @force_full_init
    def __len__(self) -> int:
        return len(self.people)

    def prepare_data(self, idx: int) -> dict:
        """One person, after the pipeline."""
        info = self.get_data_info(idx)
        path = info['img_path']
        try:
            return self.pipeline(info)
        except (FileNotFoundError, NotADirectoryError):
            if osp.isfile(path):  # something else was missing
                raise
            raise FileNotFoundError(f'{path}: no such picture of {self.ann_file}; check data_root '
                                    'and data_prefix') from None

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """One person, before the pipeline.

        Returns:
            dict of the keys of MMPose's top-down transforms (``keypoints`` (1, 24, 2) pixels) and

            * ``camera_matrix`` (3, 3), ``depth_factor``, and ``root`` (3,) metres where known;
              ``root_valid``;
            * ``joints`` (24, 3), ``joints_valid`` (24,), ``h36m_joints`` (17, 3), ``h36m_valid``:
              absolute in camera axes, metres;
            * ``betas`` (10,), ``poses`` (24, 3) axis-angle, ``body_valid``; ``twists`` (23, 2),
              ``twists_valid`` (23,);
            * ``subject, action, gender, dataset_name``: text, '' where unknown.
        """
        people, row = self.people, int(idx)
        count = len(people)
        if not -count <= row < count:
            raise IndexError(f'{self.ann_file}: index {idx} of {count} people')
        camera = people.cameras[row].copy()

        def label(name, *shape):
            column = getattr(people, name)
            return np.zeros(shape, np.float32) if column is None else column[row].copy()

        def text(name):
            column = getattr(people, name)
            return '' if column is None else column[row].decode()

        joints, joints_valid = label('joints', 24, 3), label('joints_valid', 24)
        if people.keypoints is None:
            keypoints, seen = _project(joints, joints_valid, camera)
        else:
            keypoints, seen = label('keypoints'), label('keypoints_valid')
        info = dict(
            img_path=osp.join(self.data_prefix['img'], people.images[row].decode()),
            id=int(people.ids[row]),
            img_id=int(people.image_ids[row]),
            sample_idx=row % count,
            category_id=1,
            bbox=people.boxes[row][None].copy(),
            bbox_score=np.ones(1, np.float32),
            keypoints=keypoints[None],
            keypoints_visible=seen[None].astype(np.float32),
            camera_matrix=camera,
            depth_factor=self.depth_factor,
            root_valid=float(label('roots_valid')),
            joints=joints,
            joints_valid=joints_valid.astype(np.float32),
            h36m_joints=label('h36m_joints', 17, 3),
            h36m_valid=label('h36m_valid', 17).astype(np.float32),
            betas=label('betas', 10),
            poses=label('poses', 24, 3),
            body_valid=float(label('body_valid')),
            twists=label('twists', 23, 2),
            twists_valid=label('twists_valid', 23).astype(np.float32),
            subject=text('subjects'),
            action=text('actions'),
            gender=text('genders'),
            dataset_name=self._metainfo['dataset_name'],
            **{key: self._metainfo[key] for key in _META_KEYS})
        if info['root_valid']:
            info['root'] = label('roots', 3)
        return info


def _project(joints: np.ndarray, valid: np.ndarray, camera: np.ndarray):
    """(24, 2) pixels and (24,) whether a joint is known and in front of the camera."""
    seen = (valid > 0) & (joints[:, 2] > 0)
    pixels = joints @ camera.T
    depth = np.where(seen, pixels[:, 2], 1)[:, None]
    return np.where(seen[:, None], pixels[:, :2] / depth, 0).astype(np.float32), seen
