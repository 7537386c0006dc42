"""What every reader returns: clips that are read one by one, and what the store must know of
them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...geometry.cameras import Camera
from ..pose_store import PoseStore, PoseStoreWriter, Sequence


class Clip(NamedTuple):
    """One clip: its description and arrays (F, K, 3) metres, by source (F, K, 2 or 3) pixels,
    (F,)."""

    sequence: Sequence
    keypoints_3d: np.ndarray | None = None
    keypoints_2d: dict[str, np.ndarray] = {}
    valid: np.ndarray | None = None


@dataclass
class Recording:
    """Clips of one source, read while they are written.

    Args:
        clips: Read once.
        total: Number of clips, for progress bars.
        source: Where the data come from.
        frame: 'camera' or 'world' (z up).
        skeleton: Joint order.
        cameras: Calibrated cameras by name.
    """

    clips: Iterable[Clip]
    total: int
    source: str
    frame: str
    skeleton: str = 'h36m'
    cameras: dict[str, Camera] = field(default_factory=dict)

    def write(
        self,
        path: str | Path,
        overwrite: bool = False,
        progress: Callable[[Clip], None] | None = None,
    ) -> PoseStore:
        """Write the clips as a store; ``progress`` is called after each.

        Raises:
            FileExistsError, ValueError: as ``PoseStoreWriter`` and the reader; nothing is left
                behind.
        """
        with PoseStoreWriter(
            path,
            source=self.source,
            frame=self.frame,
            skeleton=self.skeleton,
            cameras=self.cameras,
            overwrite=overwrite,
        ) as writer:
            for clip in self.clips:
                writer.add_sequence(*clip)
                if progress is not None:
                    progress(clip)
        return PoseStore.open(path)


def require_file(path: str | Path, what: str) -> Path:
    """Raise FileNotFoundError naming ``what`` where ``path`` is not a file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file ({what}); check the path')
    return path


def require_arrays(path: Path, arrays: dict, names: Iterable[str], what: str) -> None:
    """Raise ValueError where an .npz file lacks one of its arrays."""
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f'{path}: not {what}: it lacks {", ".join(missing)} (found: '
            f'{", ".join(sorted(arrays)) or "nothing"}); check that this is the right file'
        )


def require_poses(where: str, array, joints: int, channels: Iterable[int]) -> np.ndarray:
    """Return ``array`` when it is (F, joints, one of ``channels``), not empty and finite.

    Raises:
        ValueError: it is not; ``where`` names file and clip.
    """
    array, channels = np.asarray(array), tuple(channels)
    if array.ndim != 3 or array.shape[1] != joints or array.shape[2] not in channels:
        expected = ' or '.join(str(channel) for channel in channels)
        raise ValueError(
            f'{where}: shape {array.shape}, expected (frames, {joints}, {expected}); '
            'the file has another joint count or layout'
        )
    if array.dtype.kind not in 'fiu':
        raise ValueError(f'{where}: {array.dtype} values, expected numbers')
    if len(array) == 0:
        raise ValueError(f'{where}: the clip is empty (0 frames)')
    bad = ~np.isfinite(array).all(axis=(1, 2))
    if bad.any():
        raise ValueError(
            f'{where}: {bad.sum()} frame(s) are not finite (NaN or infinite), first '
            f'{np.flatnonzero(bad)[0]}; repair or remove them first'
        )
    return array
