"""Compact CMU motion sets (.npz with plain arrays, 17 H36M joints, z up, 50 Hz) as a recording."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ...geometry.skeletons import get_skeleton
from ..pose_store import Sequence
from ..restricted_pickle import load_npz
from .recording import Clip, Recording, require_arrays, require_file, require_poses

_ARRAYS = ('root', 'rel', 'offsets', 'names', 'subjects', 'fps')
_REL_UNIT = np.float32(1e-4)  # ``rel`` is in 0.1 mm


def _load(path: Path) -> dict:
    arrays = load_npz(path)
    require_arrays(path, arrays, _ARRAYS, 'a compact motion set')
    joints = get_skeleton('h36m').num_joints
    require_poses(f'{path}: array rel', arrays['rel'], joints, (3,))
    require_poses(f'{path}: array root', arrays['root'][:, None], 1, (3,))
    offsets, frames = arrays['offsets'], len(arrays['root'])
    count = len(arrays['names'])
    if len(arrays['rel']) != frames or len(arrays['subjects']) != count:
        raise ValueError(
            f'{path}: arrays of different lengths: root {frames}, rel '
            f'{len(arrays["rel"])}; names {count}, subjects {len(arrays["subjects"])}'
        )
    if (
        offsets.shape != (count + 1,)
        or offsets[0] != 0
        or offsets[-1] != frames
        or (np.diff(offsets) <= 0).any()
    ):
        raise ValueError(
            f'{path}: array offsets must rise from 0 to {frames} in {count + 1} values, '
            'without empty clips'
        )
    return arrays


def read_mocap_npz(paths: Iterable[str | Path]) -> Recording:
    """Read compact motion sets together, for example ``train.npz`` and ``train_short.npz``.

    A file holds ``root`` (N, 3) metres, ``rel`` (N, 17, 3) int16 joints relative to it in 0.1 mm,
    ``offsets`` (S + 1,), ``names``, ``subjects`` and ``fps``; world frame, z up. A name that
    appears several times (pieces of one trial) gets the number of the piece: '05_02.1', '05_02.2',
    ...

    Returns:
        World-space recording without actions.

    Raises:
        FileNotFoundError: no such file.
        ValueError: missing arrays, wrong joint count, lengths that do not fit, NaN.
    """
    files: list[Path] = [require_file(path, 'compact motion set') for path in paths]
    loaded = [_load(path) for path in files]
    uses = Counter(str(name) for arrays in loaded for name in arrays['names'])
    source = 'CMU motion capture (mocap.cs.cmu.edu): ' + ', '.join(path.name for path in files)
    return Recording(_clips(loaded, uses), sum(uses.values()), source=source, frame='world')


def _clips(loaded: list[dict], uses: Counter):
    pieces: Counter = Counter()
    for arrays in loaded:
        for i, name in enumerate(map(str, arrays['names'])):
            rows = slice(arrays['offsets'][i], arrays['offsets'][i + 1])
            pieces[name] += 1
            label = f'{name}.{pieces[name]}' if uses[name] > 1 else name
            points = arrays['root'][rows, None] + arrays['rel'][rows].astype(np.float32) * _REL_UNIT
            yield Clip(
                Sequence(str(arrays['subjects'][i]), '', label, '', float(arrays['fps']), 0, 0),
                points,
            )
