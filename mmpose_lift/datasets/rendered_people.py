"""A COCO-style data set of rendered people, to train a 2D model without a picture of anybody.

The pictures show the project's procedural stand-in body in poses of recorded or procedural motion.
Nothing in them was photographed.
"""

import json
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple, Union
from typing import Sequence as SequenceType

import numpy as np

from ..geometry.skeletons import get_skeleton
from ..io.atomic import atomic_write
from ..io.pose_store import PoseStore
from .synthetic_motion import ACTIONS, synthetic_clips

SPLITS = ('train', 'val')
PART = 50  # pictures per task; what a stopped run has finished is kept in such parts
JPEG_QUALITY = 92  # [np]
MIN_SEEN = 5  # [np] a person of whom fewer keypoints are seen is left out
_CLIPS_PER_ACTION, _CLIP_FRAMES, _FRAME_STEP = 12, 150, 10  # [np] procedural poses
_RECORDED_SHARE = 0.75  # [np] of the poses, where motion stores are given


class RenderedPeopleWriter:
    """Render people into ``<out>/<split>/*.jpg`` with ``<out>/<split>.json`` (COCO keypoints).

    Picture i of a split depends on the seed, the split and i only, so neither the number of
    processes nor that of pictures changes it. Training and validation differ in seed (bodies,
    clothes, cameras, light, procedural motion) and in the stores of recorded motion.

    A run that was stopped goes on where it was: parts of 50 pictures that are complete are kept.

    Args:
        out: Folder of the data set.
        seed: Of everything random.
        motion: Pose stores (world axes, joints of 'h36m') by split, ``{'train': [...],
            'val': [...]}``; three quarters of the poses come from them [np], the others, or all,
            from procedural motion.
        size: (width, height) of the pictures in pixels.
        overwrite: Remove what ``out`` has of another run.

    Raises:
        FileExistsError: ``out`` has something else, or pictures made with other settings.
        ValueError: A store in camera axes or with other joints, a size below 64 pixels.
        FileNotFoundError: No such store.
    """

    _own_settings: Dict = {}

    def __init__(self, out: Union[str, Path], seed: int = 0,
                 motion: Optional[Dict[str, SequenceType[Union[str, Path]]]] = None,
                 size: Tuple[int, int] = (320, 320), overwrite: bool = False):
        if min(size) < 64:
            raise ValueError(f'size: expected at least 64 x 64 pixels, found {size[0]} x {size[1]}')
        self.out, self.seed, self.size = Path(out), int(seed), (int(size[0]), int(size[1]))
        self.motion = {split: tuple(str(path) for path in (motion or {}).get(split, ()))
                       for split in SPLITS}
        sources = {split: [self._motion_source(path) for path in paths]
                   for split, paths in self.motion.items()}
        self.settings = dict(seed=self.seed, size=list(self.size), motion=sources,
                             **self._own_settings)
        self._prepare(overwrite)

    # The three places in which data sets with other labels differ.

    @staticmethod
    def _motion_source(path: str) -> str:
        """What ``path`` holds, in words; refuses what is no motion."""
        return _open_motion(path).source

    @property
    def _sample(self) -> Callable:
        """A function of a module: (rng, motion, seed, size) -> picture, annotations."""
        return _sample_people

    def _complete(self, annotations: List[Dict]) -> Dict:
        """Add in place what is made for all annotations of a split at once.

        Returns:
            Further lists of the annotation file.
        """
        return dict(categories=[_category()])

    def _prepare(self, overwrite: bool) -> None:
        settings = self.out / 'settings.json'
        if self.out.exists() and any(self.out.iterdir()):
            if not settings.is_file():
                raise FileExistsError(f'{self.out} is not empty and was not written by this tool; '
                                      'choose another folder')
            if overwrite:
                for split in SPLITS:
                    shutil.rmtree(self.out / split, ignore_errors=True)
                    (self.out / f'{split}.json').unlink(missing_ok=True)
            elif json.loads(settings.read_text(encoding='utf-8')) != self.settings:
                raise FileExistsError(
                    f'{self.out} has pictures of other settings ({settings}: seed, size or motion '
                    'differ); give the same ones to go on, overwrite (--overwrite), or choose '
                    'another folder')
        _write_json(settings, self.settings)

    def write(self, split: str, num_images: int, processes: int = 1,
              progress: Callable[[int], None] = lambda images: None) -> Path:
        """Render a split and write its annotation file.

        Args:
            split: 'train' or 'val'.
            num_images: Pictures of the split.
            processes: How many render.
            progress: Called with the number of pictures whenever a part is done.

        Returns:
            The annotation file.

        Raises:
            ValueError: Unknown split, ``num_images`` or ``processes`` below 1.
        """
        if split not in SPLITS:
            raise ValueError(f'split: expected one of {SPLITS}, found {split!r}')
        for name, value in (('num_images', num_images), ('processes', processes)):
            if value < 1:
                raise ValueError(f'{name}: expected at least 1, found {value}')
        ranges = [(first, min(first + PART, num_images)) for first in range(0, num_images, PART)]
        folder = self.out / split
        with ExitStack() as stack:
            run = map
            if processes > 1:
                pool = stack.enter_context(ProcessPoolExecutor(
                    processes, mp_context=multiprocessing.get_context('spawn')))
                stack.callback(pool.shutdown, cancel_futures=True)
                run = pool.map
            arguments = [(self._sample, folder, SPLITS.index(split), self.seed, self.size,
                          self.motion[split], *pictures) for pictures in ranges]
            images, annotations = [], []
            for part in run(_render_part, *zip(*arguments)):
                images += part['images']
                annotations += part['annotations']
                progress(len(part['images']))
        for number, annotation in enumerate(annotations):
            annotation['id'] = number
        further = self._complete(annotations)
        path = self.out / f'{split}.json'
        _write_json(path, dict(
            info=dict(description='Rendered stand-in bodies of mmpose_lift: not photographs, not '
                      f'real people; motion: {self.settings["motion"][split] or "procedural"}'),
            images=images, annotations=annotations, **further))
        return path


def _render_part(sample: Callable, folder: Path, split: int, seed: int, size: Tuple[int, int],
                 motion: Tuple[str, ...], first: int, last: int) -> dict:
    """Pictures [first, last) as files, and their part of the annotations; kept where it exists."""
    import cv2
    path = folder / 'parts' / f'{first:06d}-{last:06d}.json'
    if path.is_file():
        return json.loads(path.read_text(encoding='utf-8'))
    images, annotations = [], []
    for number in range(first, last):
        rng = np.random.default_rng([seed, split, number])
        picture, labels = sample(rng, motion, 2 * seed + split, size)
        name = f'{number:06d}.jpg'
        with atomic_write(folder / name) as temporary:
            written = cv2.imwrite(str(temporary), picture,
                                  [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            if not written:
                raise OSError(f'{folder / name}: OpenCV could not write the picture')
        images.append(dict(id=number, file_name=name, width=size[0], height=size[1]))
        annotations += [dict(image_id=number, **label) for label in labels]
    part = dict(images=images, annotations=annotations)
    _write_json(path, part)
    return part


def _sample_people(rng: np.random.Generator, motion: Tuple[str, ...], seed: int,
                   size: Tuple[int, int]) -> Tuple[np.ndarray, List[Dict]]:
    picture, people = renderer().sample_picture(rng, motion_pool(motion, seed), size)
    return picture, [_annotation(person) for person in people
                     if np.count_nonzero(person['keypoints'][:, 2] == 2) >= MIN_SEEN]


def _annotation(person: dict) -> dict:
    x1, y1, x2, y2 = (float(value) for value in person['bbox'])
    keypoints = np.asarray(person['keypoints'], np.float64)
    keypoints = np.where(keypoints[:, 2:] > 0, keypoints, 0)  # COCO: zeros where not labelled
    return dict(
        category_id=1, iscrowd=0, area=float(person['area']),
        bbox=[round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
        keypoints=[round(value, 2) for value in keypoints.ravel().tolist()],
        num_keypoints=int(np.count_nonzero(keypoints[:, 2])))


def _category() -> dict:
    skeleton = get_skeleton('coco')
    return dict(id=1, name='person', supercategory='person',
                keypoints=list(skeleton.joint_names), skeleton=[])


def _open_motion(path: str) -> PoseStore:
    store = PoseStore.open(path)
    if store.frame != 'world' or store.skeleton != 'h36m' or store.keypoints_3d is None:
        raise ValueError(f'motion {path}: expected 3D joints of skeleton h36m in world axes, found '
                         f'{store.skeleton} in {store.frame} axes; prepare a world-space store '
                         '(tools/prepare_data.py mocap-npz, bvh, asf-amc or synthetic)')
    return store


@lru_cache(maxsize=1)
def renderer():
    """The one ``RenderedPeople`` of this process."""
    from ..rendering.people import RenderedPeople
    return RenderedPeople()


@lru_cache(maxsize=2)
def motion_pool(stores: Tuple[str, ...], seed: int) -> np.ndarray:
    """Poses to draw people in: (N, 17, 3) float32 metres, world axes, z up, skeleton 'h36m'.

    Args:
        stores: Pose stores, opened once per process.
        seed: Of the procedural motion and of the rows taken from the stores.
    """
    clips = synthetic_clips(_CLIPS_PER_ACTION * len(ACTIONS), _CLIP_FRAMES, seed)
    poses = [joints[::_FRAME_STEP] for _, joints in clips]
    if stores:
        count = sum(map(len, poses)) * _RECORDED_SHARE / (1 - _RECORDED_SHARE)
        rng = np.random.default_rng(seed)
        for rows, joints in _valid_rows(stores):
            chosen = rng.choice(rows, min(len(rows), round(count / len(stores))), replace=False)
            poses.append(joints[np.sort(chosen)])
    return np.concatenate(poses)


def _valid_rows(stores: Tuple[str, ...]) -> Iterator[Tuple[np.ndarray, np.ndarray]]:
    for path in stores:
        store = _open_motion(path)
        yield np.flatnonzero(store.valid), store.keypoints_3d


def _write_json(path: Path, content: Union[dict, List]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content), encoding='utf-8')
