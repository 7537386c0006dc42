"""All formats behind one call."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..video_poses import VideoPoses
from .arrays import write_npz
from .body_motion_files import write_smpl_npz
from .bvh import write_bvh
from .description import check_poses
from .json_file import write_json
from .rerun_recording import import_rerun, write_rerun
from .surface_files import write_gltf, write_obj
from .tables import write_csv, write_trc

FORMATS = ('json', 'npz', 'csv', 'bvh', 'trc', 'rerun', 'smpl', 'gltf', 'obj')
PER_PERSON = {'bvh': (write_bvh, '.bvh'), 'trc': (write_trc, '.trc'),
              'smpl': (write_smpl_npz, '_smpl.npz')}
_NEED_3D = ('csv', 'bvh', 'trc')
NEED_BODIES = ('smpl', 'gltf', 'obj')


def check_formats(formats: Union[str, Sequence[str]]) -> List[str]:
    """The formats as a list, where all of them can be written here; for a check before long work.

    Args:
        formats: Some of ``FORMATS``, or one.

    Raises:
        ValueError: Unknown format.
        ImportError: 'rerun' is asked for, and its package is missing or not the version that fits.
    """
    formats = [formats] if isinstance(formats, str) else list(formats)
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(f'formats: expected some of {", ".join(FORMATS)}, found '
                         f'{", ".join(map(repr, unknown))}')
    if 'rerun' in formats:
        import_rerun()
    return formats


def write_video_poses(poses: VideoPoses, out_dir: Union[str, Path], stem: str,
                      formats: Union[str, Sequence[str]] = ('json', 'npz'),
                      frames: Optional[Iterable[Tuple[int, Optional[np.ndarray]]]] = None,
                      body_model: Any = None) -> List[Path]:
    """Write the poses of a video in several formats.

    Files are ``<stem>.json``, ``.npz``, ``.csv`` and ``.rrd`` (rerun) for all people together, and
    ``<stem>_person<track_id>.bvh`` and ``.trc`` for each person with 3D keypoints. Of models that
    give bodies also ``<stem>_person<track_id>_smpl.npz`` for each person, ``<stem>.glb`` (format
    gltf), and the folder ``<stem>_obj``.

    Args:
        out_dir: Folder; it is made.
        stem: Name without suffix.
        formats: Some of ``FORMATS``, or one.
        body_model: The body model for surfaces (gltf, obj), by default what ``poses`` says.
        frames: (number, image or None) of each frame for the rerun recording, see
            :func:`~mmpose_lift.io.exporters.write_rerun`.

    Returns:
        Every file written, also the descriptions beside CSV, BVH and TRC.

    Raises:
        ValueError, ImportError: As :func:`check_formats`; also a format that needs 3D keypoints
            where people were found and none was lifted, or ``poses`` that contradict themselves.
        OSError: The folder can not be written.

    These are raised before anything is written.
    """
    formats = check_formats(formats)
    check_poses(poses)
    lifted = [track for track in poses.tracks if track.keypoints_3d is not None]
    if poses.tracks and not lifted and set(formats) & set(_NEED_3D):
        raise ValueError(f'formats: {", ".join(name for name in formats if name in _NEED_3D)} need '
                         f'3D keypoints, and no person of {poses.source} has any; lift them first, '
                         'or choose json, npz or rerun')
    bodies = [track for track in poses.tracks if track.body is not None]
    if poses.tracks and not bodies and set(formats) & set(NEED_BODIES):
        raise ValueError(f'formats: {", ".join(name for name in formats if name in NEED_BODIES)} '
                         f'need bodies, and no person of {poses.source} has one; use a model that '
                         'gives them (hybrik_transformer), or choose other formats')
    out_dir = writable_folder(out_dir)
    written: List[Path] = []
    for name in formats:
        if name in PER_PERSON:
            writer, ending = PER_PERSON[name]
            for track in bodies if name in NEED_BODIES else lifted:
                path = out_dir / f'{stem}_person{track.track_id}{ending}'
                written += writer(poses, path, track)
        elif name == 'csv':
            written += write_csv(poses, out_dir / f'{stem}.csv')
        elif name == 'rerun':
            written.append(write_rerun(poses, out_dir / f'{stem}.rrd', frames))
        elif name in NEED_BODIES:
            writer, ending = (write_gltf, '.glb') if name == 'gltf' else (write_obj, '_obj')
            if bodies:
                written.append(writer(poses, out_dir / f'{stem}{ending}', body_model))
        else:
            writer = write_json if name == 'json' else write_npz
            written.append(writer(poses, out_dir / f'{stem}.{name}'))
    return written


def writable_folder(path: Union[str, Path]) -> Path:
    """Make the folder and try a file in it.

    Raises:
        OSError: It can not be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(f'output folder {path}: cannot be written ({error}); choose another folder '
                      'with out_dir (--out-dir)') from error
    return path
