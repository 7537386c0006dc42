"""What the figures about sparse lifting show, computed from a config and a checkpoint."""

import csv
from collections import namedtuple
from pathlib import Path
from typing import Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import DATASETS, METRICS, MODELS

from ..datasets.key_frame_dataset import KeyFrameSequenceDataset
from ..datasets.key_frames import check_strides, token_offsets
from ..evaluation.functional import mpjpe
from ..evaluation.key_frame_metric import FrameErrors, KeyFrameLiftingMetric
from ..evaluation.velocity import VelocityBins, root_relative_velocity
from ..io.atomic import atomic_write
from ..visualization.analysis_plots import AttentionMap, StrideCurve
from .adaptive_stride import AdaptiveInputStride, lift_adaptively
from .command_line import load_weights
from .key_frame_lifting import KeyFrameLifter

KeyFrameColumns = namedtuple('KeyFrameColumns', 'frames keypoints is_key_frame poses truth')


class TestClip(NamedTuple):
    """One whole clip of a test data set."""
    __test__ = False  # not for pytest
    name: str
    keypoints: np.ndarray  # (F, K, 2) pixels at every s_out-th frame, NaN at the others
    target: np.ndarray  # (F, K, 3) root-relative metres, NaN where unknown
    image_size: Tuple[float, float]
    rate: int  # frame rate over that of the data set
    fps: float

    def key_frames(self, s_in: int) -> np.ndarray:
        """(F,) bool, key-frames at the input stride s_in (frames at the data set's rate)."""
        return np.arange(len(self.target)) % (s_in * self.rate) == 0

    def velocity(self) -> np.ndarray:
        """(F,) root-relative velocity of the ground truth, m/s, NaN where unknown."""
        return root_relative_velocity(self.target, self.fps)


class TestClips:
    """The clips of a config's test data set, read whole.

    Args:
        config: Config whose ``test_dataloader`` reads a :class:`KeyFrameSequenceDataset`.

    Raises:
        ValueError: Another data set, or what the data set raises.
    """

    __test__ = False

    def __init__(self, config: Config) -> None:
        init_default_scope('mmpose')
        options = _test_dataset(config)
        # one token per window: the centre, at every s_out-th frame
        options.update(seq_len=1, input_strides=[options['seq_step']], masks='clip', flip=None,
                       center_step=None, learned_upsampling=True, pairs=False, pipeline=[])
        self._dataset = DATASETS.build(options)
        self.clips = self._dataset.clips
        windows = [-(-c.num_frames // (options['seq_step'] * c.rate)) for c in self.clips]
        self._first = np.concatenate([[0], np.cumsum(windows)])

    @property
    def names(self) -> List[str]:
        return [clip.name for clip in self.clips]

    def find(self, which: str) -> int:
        """Number of a clip, from that number or from a part of a name.

        Raises:
            ValueError: None or several fit; names are listed.
        """
        if which.isdecimal() and int(which) < len(self.clips):
            return int(which)
        found = [i for i, name in enumerate(self.names) if which in name]
        exact = [i for i in found if self.names[i] == which]
        if len(exact or found) != 1:
            some = ', '.join(f'{i} {self.names[i]!r}' for i in
                             (found or range(len(self.clips)))[:8])
            raise ValueError(f'clip {which!r}: {len(found)} of the {len(self.clips)} clips fit; '
                             f'give the number or the name of one, for example {some}')
        return (exact or found)[0]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> TestClip:
        item = self._dataset.read(np.arange(*self._first[number:number + 2]))
        clip = self.clips[number]
        root = self._dataset.skeleton.root_index
        inside = np.arange(item['lifting_target'].shape[1]) < item['counted'][:, 1:]
        target = item['lifting_target'][inside].astype(np.float64)
        target -= target[:, root, None]
        target[item['lifting_target_visible'][inside] == 0] = np.nan
        keypoints = np.full((clip.num_frames, *item['keypoints'].shape[2:]), np.nan, np.float32)
        keypoints[item['start']] = item['keypoints'][:, 0]
        size = float(item['camera_param']['w'][0]), float(item['camera_param']['h'][0])
        return TestClip(clip.name, keypoints, target, size, clip.rate,
                        self._dataset.fps * clip.rate)


def _test_dataset(config: Config) -> dict:
    """A copy of the test data set's options."""
    options = config.test_dataloader.dataset.to_dict()
    if DATASETS.get(options['type']) is not KeyFrameSequenceDataset:
        raise ValueError(f'test_dataloader.dataset: expected a KeyFrameSequenceDataset, found '
                         f'{options["type"]}; this analysis is of models that see key-frames only')
    return options


def load_lifter(config: Config, checkpoint: str, device: Optional[str] = None,
                batch_size: int = 32) -> KeyFrameLifter:
    """The lifter of a config with the weights of a checkpoint.

    Raises:
        ValueError: A model without key-frames, or a checkpoint of another model.
        FileNotFoundError: No such checkpoint.
    """
    init_default_scope('mmpose')
    dataset = _test_dataset(config)
    model = MODELS.build(config.model)
    load_weights(model, checkpoint)
    lifter = KeyFrameLifter(model, dataset['seq_len'], dataset['seq_step'], batch_size)
    model.to(device or get_device())
    return lifter


@torch.inference_mode()
def attention_maps(lifter: KeyFrameLifter, clip: TestClip, frame: int,
                   s_in: int) -> List[AttentionMap]:
    """Attention of all blocks over frames in one window of a clip (not mirrored).

    Args:
        lifter: Model.
        clip: Clip.
        frame: Centre of the window, a multiple of s_out.
        s_in: Input stride.

    Raises:
        ValueError: A frame outside the clip or off the grid, or an unfit input stride.
    """
    check_strides(s_in, lifter.seq_step)
    frames = np.flatnonzero(clip.key_frames(s_in))
    known = lifter.start(clip.image_size, clip.rate)
    known.add(frames, clip.keypoints[frames])
    table, rows = known.windows([frame], len(clip.target), s_in * clip.rate)
    rows = torch.from_numpy(rows).to(table.device)
    attention, backbone = {}, lifter.model.backbone
    backbone.from_tokens(table[0][rows.clamp(min=0)], rows >= 0, attention)
    offsets = token_offsets(lifter.seq_len, known.step)
    given, maps = rows[0].ge(0).cpu().numpy(), []
    for name, weights in attention.items():
        part, number = name.split('_')
        number = int(number)
        if part == 'strided' and number > 0:  # tokens of the block before that went on
            block = backbone.strided_blocks[number - 1]
            offsets = offsets[1 - block.padding[0]::block.stride][:weights.shape[-1]]
            given = None
        maps.append(AttentionMap(f'{part} block {number + 1}', weights[0].float().cpu().numpy(),
                                 offsets, given))
    return maps


def key_frame_columns(lifter: KeyFrameLifter, clip: TestClip, s_in: int, first: int, every: int,
                      columns: int) -> KeyFrameColumns:
    """Frames of a clip for :func:`~mmpose_lift.visualization.analysis_plots.plot_key_frames`.

    Args:
        lifter: Model.
        clip: Clip.
        s_in: Input stride.
        first: First frame.
        every: Frames between columns.
        columns: How many, fewer at the end of the clip.

    Raises:
        ValueError: Nothing of that lies in the clip, or an unfit input stride.
    """
    frames = first + every * np.arange(columns) if every > 0 else np.empty(0, int)
    frames = frames[(frames >= 0) & (frames < len(clip.target))]
    if not len(frames):
        raise ValueError(f'no frame to show: the clip has the frames 0 to {len(clip.target) - 1}, '
                         f'asked for {columns} from {first} on, {every} apart')
    poses = lifter.lift(clip.keypoints, clip.image_size, s_in, clip.rate)
    return KeyFrameColumns(frames, clip.keypoints[frames], clip.key_frames(s_in)[frames],
                           poses[frames], clip.target[frames])


def compare_strides(lifter: KeyFrameLifter, clip: TestClip, policy: AdaptiveInputStride,
                    mode: str = 'online', look_ahead: int = 0) -> List[StrideCurve]:
    """Errors of a clip with the slow stride, the fast stride and the adaptive one, in this order.

    Args:
        lifter: Model.
        clip: Clip.
        policy: Its strides are in frames of the clip.
        mode, look_ahead: As in :func:`~mmpose_lift.apis.adaptive_stride.lift_adaptively`.
    """
    curves = []
    for stride in (policy.slow, policy.fast):
        key_frames = np.arange(len(clip.target)) % stride == 0
        poses = lifter.lift(clip.keypoints, clip.image_size, stride // clip.rate, clip.rate)
        curves.append(StrideCurve(f'fixed {stride}', _errors(lifter, clip, poses), key_frames))
    poses, key_frames = lift_adaptively(
        lifter, lambda frames: clip.keypoints[frames], len(clip.target), clip.image_size, policy,
        mode, look_ahead)
    return [*curves, StrideCurve(f'adaptive ({mode})', _errors(lifter, clip, poses), key_frames)]


def _errors(lifter: KeyFrameLifter, clip: TestClip, poses: np.ndarray) -> np.ndarray:
    """(F,) MPJPE in mm, both at their own root; NaN where a joint of the target is unknown."""
    known = np.isfinite(clip.target).all(axis=(1, 2))
    errors = np.full(len(poses), np.nan)
    errors[known] = 1000 * mpjpe(poses[known], clip.target[known], root_index=lifter.root_index,
                                 reduction='none')
    return errors


def errors_by_stride(config: Config, model: torch.nn.Module, strides: Sequence[int],
                     track: Callable[[Iterable], Iterable] = iter) -> Dict[int, FrameErrors]:
    """Per-frame errors and velocities of the config's test data set.

    Args:
        config: Config with a :class:`KeyFrameLiftingMetric`.
        model: The model.
        strides: Input strides s_in, instead of the config's.
        track: Wraps the loader, for a progress bar.

    Returns:
        s_in -> errors in mm and velocities in m/s of all frames.

    Raises:
        ValueError: Another metric or data set, or unfit input strides.
    """
    init_default_scope('mmpose')
    evaluators = config.test_evaluator
    evaluators = evaluators if isinstance(evaluators, (list, tuple)) else [evaluators]
    options = [dict(e) for e in evaluators if METRICS.get(e['type']) is KeyFrameLiftingMetric]
    if not options:
        raise ValueError('test_evaluator: expected a KeyFrameLiftingMetric, found '
                         f'{[e["type"] for e in evaluators]}')
    metric = METRICS.build({**options[0], 'names': ('MPJPE', )})
    loader = config.test_dataloader.to_dict()
    loader['dataset'] = {**_test_dataset(config), 'masks': 'clip', 'input_strides': list(strides)}
    model.eval()
    with torch.inference_mode():
        for batch in track(Runner.build_dataloader(loader)):
            metric.process(None, [sample.to_dict() for sample in model.test_step(batch)])
    return metric.per_frame()


def write_velocity_table(path: Union[str, Path], bins: Dict[int, VelocityBins]) -> None:
    """Velocity bins of several input strides over the same frames as one table.

    Args:
        path: .csv or .md file.
        bins: s_in -> bins with errors in mm.

    Raises:
        ValueError: Another suffix.
    """
    suffix = Path(path).suffix
    if suffix not in ('.csv', '.md'):
        raise ValueError(f'{path}: expected a .csv or .md file')
    rows = [['from m/s', 'to m/s', 'frames', 'slower %',
             *(f'MPJPE mm, s_in = {s_in}' for s_in in bins)]]
    shared = next(iter(bins.values()))
    for i, count in enumerate(shared.count):
        rows.append([f'{shared.edges[i]:g}', f'{shared.edges[i + 1]:g}', str(count),
                     f'{100 * shared.cdf[i]:.2f}',
                     *('' if np.isnan(b.error[i]) else f'{b.error[i]:.2f}' for b in bins.values())])
    with atomic_write(path) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as out:
        if suffix == '.csv':
            csv.writer(out).writerows(rows)
        else:
            rows.insert(1, ['---:'] * len(rows[0]))
            out.writelines(f'| {" | ".join(row)} |\n' for row in rows)
