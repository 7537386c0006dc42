"""Figures about lifting: poses, attention, key-frames, error by velocity, error by input stride.

Functions take arrays and write a picture; matplotlib is imported when one is called. Colours are
of the palette of Okabe and Ito, which people with colour blindness can tell apart.
"""

from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Union

import numpy as np

from ..geometry.skeletons import get_skeleton
from ..io.atomic import atomic_write

COLOURS = ('#D55E00', '#0072B2', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
MARKERS = ('o', 's', '^', 'D', 'v', 'P')
LEFT, RIGHT, MIDDLE, FAINT = '#0072B2', '#D55E00', '#404040', '#B8B8B8'
PathLike = Union[str, Path]


@contextmanager
def figure(path: PathLike, rows: int, columns: int, size: tuple, **kwargs) -> Iterator[tuple]:
    """Yield a matplotlib figure and its (rows, columns) axes; write it when the block succeeds.

    Args:
        path: Picture file; its suffix gives the format (.png, .pdf, .svg).
        rows, columns: Grid of axes.
        size: Width and height in inches.
        **kwargs: Of ``Figure.subplots``.

    Raises:
        ValueError: matplotlib cannot write such a file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    fig = Figure(figsize=size, layout='constrained')  # not pyplot: no window, no global state
    known = FigureCanvasAgg(fig).get_supported_filetypes()
    if Path(path).suffix.lstrip('.').lower() not in known:
        raise ValueError(f'{path}: a picture cannot be written with the suffix '
                         f'{Path(path).suffix!r}; use one of {", ".join(sorted(known))}')
    yield fig, fig.subplots(rows, columns, squeeze=False, **kwargs)
    with atomic_write(path) as temporary:
        fig.savefig(temporary, dpi=150)


class AttentionMap(NamedTuple):
    """What one block attends to in one window."""
    name: str
    weights: np.ndarray  # (H, Q, Q), rows sum to 1
    frames: np.ndarray  # (Q,) frame of each token relative to the centre of the window
    key_frames: Optional[np.ndarray]  # (Q,) bool; None where tokens mix several frames


def plot_attention(path: PathLike, maps: Sequence[AttentionMap], per_head: bool = False,
                   title: str = '') -> None:
    """Attention maps, one panel per block (mean over heads) or one row per block (all heads).

    Key-frames are marked by triangles along both axes. Colours run from 0 to each panel's 99.5 %
    quantile, which is written above it.

    Args:
        path: Picture to write.
        maps: Blocks in the order of the network.
        per_head: Show the heads side by side.
        title: Headline.

    Raises:
        ValueError: No map, or weights that are not (H, Q, Q) with one frame per token.
    """
    if not maps:
        raise ValueError('maps: no attention to draw; the model has no temporal or strided block')
    for block in maps:
        if block.weights.ndim != 3 or block.weights.shape[1:] != (len(block.frames), ) * 2:
            raise ValueError(f'{block.name}: expected weights (H, {len(block.frames)}, '
                             f'{len(block.frames)}), found {block.weights.shape}')
    columns = max(len(b.weights) for b in maps) if per_head else min(4, len(maps))
    rows = len(maps) if per_head else -(-len(maps) // columns)
    with figure(path, rows, columns, (3.1 * columns + 0.4, 3.2 * rows + 0.5)) as (fig, axes):
        for spare in axes.flat:
            spare.set_visible(False)
        for i, block in enumerate(maps):
            panels = axes[i] if per_head else axes.flat[i:i + 1]
            shown = block.weights if per_head else block.weights.mean(0, keepdims=True)
            for head, (axis, weights) in enumerate(zip(panels, shown)):
                axis.set_visible(True)
                name = f'{block.name}, head {head + 1}' if per_head else block.name
                _draw_attention(axis, block, weights, name)
        fig.suptitle((title + '\n' if title else '')
                     + 'rows: queries, columns: keys; triangles: key-frames', fontsize=11)


def _draw_attention(axis, block: AttentionMap, weights: np.ndarray, name: str) -> None:
    top = float(np.quantile(weights, 0.995)) or 1.0
    axis.imshow(weights, cmap='viridis', vmin=0, vmax=top, interpolation='nearest')
    axis.set_title(f'{name}\n0 to {top:.2g}', fontsize=10, pad=12)
    last = len(block.frames) - 1
    ticks = np.unique(np.linspace(0, last, min(5, last + 1)).round().astype(int))
    for which in (axis.xaxis, axis.yaxis):
        which.set_ticks(ticks, [f'{block.frames[t]:d}' for t in ticks])
    axis.tick_params(labelsize=8)
    axis.set_xlabel('frame relative to the centre', fontsize=9)
    if block.key_frames is not None:
        given = np.flatnonzero(block.key_frames)
        marks = dict(color=COLOURS[0], s=12, clip_on=False, zorder=3, linewidths=0)
        axis.scatter(given, np.full(len(given), 1.025), marker='v',
                     transform=axis.get_xaxis_transform(), **marks)
        axis.scatter(np.full(len(given), 1.025), given, marker='<',
                     transform=axis.get_yaxis_transform(), **marks)
    axis.set_xlim(-0.5, last + 0.5)
    axis.set_ylim(last + 0.5, -0.5)


def plot_key_frames(path: PathLike, frames: Sequence[int], keypoints: np.ndarray,
                    is_key_frame: np.ndarray, poses: np.ndarray,
                    truth: Optional[np.ndarray] = None, skeleton: str = 'h36m',
                    up: Sequence[float] = (0, -1, 0), title: str = '') -> None:
    """2D input at key-frames above the 3D predictions at key-frames and between them.

    Args:
        path: Picture to write.
        frames: (n,) frame numbers, one column each.
        keypoints: (n, K, 2) pixels; read where ``is_key_frame``.
        is_key_frame: (n,) bool.
        poses: (n, K, 3) predictions, root-relative camera-frame metres.
        truth: (n, K, 3) drawn below them in grey.
        skeleton: Joint order.
        up: Vertical in camera axes.
        title: Headline.

    Raises:
        ValueError: Shapes that differ.
    """
    from .skeleton_drawing import camera_to_upright
    skeleton, flags = get_skeleton(skeleton), np.asarray(is_key_frame, bool)
    count, joints = len(frames), skeleton.num_joints
    _check_columns(count, keypoints=(keypoints, (joints, 2)), is_key_frame=(flags, ()),
                   poses=(poses, (joints, 3)),
                   truth=(poses if truth is None else truth, (joints, 3)))
    flat = [_side_view(camera_to_upright(x, up)) for x in ([poses] if truth is None
                                                           else [truth, poses])]
    extent = max(np.abs(np.stack(flat)).max() * 1.08, 0.1)
    seen = np.asarray(keypoints)[flags]
    with figure(path, 2, count, (max(1.35 * count + 0.3, 5), 3.7)) as (fig, axes):
        for i, frame in enumerate(frames):
            colour = COLOURS[0] if flags[i] else MIDDLE
            for axis in axes[:, i]:
                _plain_panel(axis, colour, 2.2 if flags[i] else 0.6)
            axes[0, i].set_title(f'{frame}', fontsize=11, color=colour,
                                 weight='bold' if flags[i] else 'normal')
            if flags[i]:
                _draw_bones(axes[0, i], keypoints[i], skeleton)
            else:
                _write_inside(axes[0, i], 'no 2D')
            if len(seen):
                low, high = seen.min((0, 1)), seen.max((0, 1))
                _centre(axes[0, i], (low + high) / 2, 0.54 * (high - low).max() + 1, down=True)
            if truth is not None:
                _draw_bones(axes[1, i], flat[0][i], skeleton, FAINT)
            _draw_bones(axes[1, i], flat[-1][i], skeleton)
            _centre(axes[1, i], np.zeros(2), extent)
        axes[0, 0].set_ylabel('2D input', fontsize=11)
        axes[1, 0].set_ylabel('3D prediction', fontsize=11)
        note = 'bold frames: key-frames; blue: left, orange: right'
        fig.suptitle(f'{title}\n{note}' + ('; grey: ground truth' if truth is not None else ''),
                     fontsize=11)


def plot_poses(path: PathLike, frames: Sequence[int], keypoints: np.ndarray, poses: np.ndarray,
               truth: np.ndarray, errors: np.ndarray, skeleton: str = 'h36m',
               up: Sequence[float] = (0, -1, 0), title: str = '') -> None:
    """One column per frame: 2D input, prediction, ground truth, and below them the frame's error.

    All predictions and truths have one scale and are seen from the same side; the truth is also
    drawn faintly behind the prediction. In the 2D input the person fills the panel.

    Args:
        path: Picture to write.
        frames: (n,) frame numbers.
        keypoints: (n, K, 2) 2D input in pixels.
        poses: (n, K, 3) predictions, root-relative camera-frame metres.
        truth: (n, K, 3) likewise; joints that are not finite are unknown.
        errors: (n,) in mm, NaN where there is no truth.
        skeleton: Joint order.
        up: Vertical in camera axes; the default is a level camera.
        title: Headline.

    Raises:
        ValueError: Shapes that differ.
    """
    from .skeleton_drawing import camera_to_upright
    skeleton = get_skeleton(skeleton)
    count, joints = len(frames), skeleton.num_joints
    _check_columns(count, keypoints=(keypoints, (joints, 2)), poses=(poses, (joints, 3)),
                   truth=(truth, (joints, 3)), errors=(errors, ()))
    predicted, true = (_side_view(camera_to_upright(x, up)) for x in (poses, truth))
    both = np.concatenate([predicted, true])
    low, high = np.nanmin(both, (0, 1)), np.nanmax(both, (0, 1))
    half = 0.54 * max((high - low).max(), 0.1)
    with figure(path, 3, count, (max(1.7 * count + 0.4, 5), 6.1)) as (fig, axes):
        for i, frame in enumerate(frames):
            for axis in axes[:, i]:
                _plain_panel(axis, MIDDLE, 0.6)
                _centre(axis, (low + high) / 2, half)
            axes[0, i].set_title(f'{frame}', fontsize=11)
            left_top, right_bottom = keypoints[i].min(0), keypoints[i].max(0)
            _draw_bones(axes[0, i], keypoints[i], skeleton)
            _centre(axes[0, i], (left_top + right_bottom) / 2,
                    0.54 * (right_bottom - left_top).max() + 1, down=True)
            _draw_bones(axes[1, i], true[i], skeleton, FAINT)
            _draw_bones(axes[1, i], predicted[i], skeleton)
            _draw_bones(axes[2, i], true[i], skeleton)
            if np.isnan(errors[i]):
                _write_inside(axes[2, i], 'unknown')
            axes[2, i].set_xlabel('' if np.isnan(errors[i]) else f'{errors[i]:.1f} mm',
                                  fontsize=11)
        for axis, name in zip(axes[:, 0], ('2D input', '3D prediction', 'ground truth')):
            axis.set_ylabel(name, fontsize=11)
        fig.suptitle(f'{title}\nblue: left, orange: right; grey: ground truth; below: MPJPE of the '
                     'frame', fontsize=11)


def _check_columns(count: int, **arrays: tuple) -> None:
    """Refuse arrays that are not (count, *shape); each comes with its shape."""
    for name, (array, shape) in arrays.items():
        if np.shape(array) != (count, *shape) or not count:
            raise ValueError(f'{name}: expected {(count, *shape)} for {count} frames, found '
                             f'{np.shape(array)}')


def _plain_panel(axis, colour: str, linewidth: float) -> None:
    axis.set(xticks=[], yticks=[], aspect='equal')
    for spine in axis.spines.values():
        spine.set(color=colour, linewidth=linewidth)


def _write_inside(axis, text: str) -> None:
    axis.text(0.5, 0.5, text, ha='center', va='center', fontsize=10, color=MIDDLE,
              transform=axis.transAxes)


def _centre(axis, middle: np.ndarray, half: float, down: bool = False) -> None:
    """Show a square around ``middle``; ``down``: the second coordinate points down."""
    vertical = (middle[1] - half, middle[1] + half)
    axis.set(xlim=(middle[0] - half, middle[0] + half), ylim=vertical[::-1] if down else vertical)


def _side_view(points: np.ndarray, azimuth: float = 25, elevation: float = 14) -> np.ndarray:
    """(..., 3) upright metres (z up) to (..., 2), parallel, seen from the right and above."""
    azimuth, elevation = np.deg2rad([azimuth, elevation])
    x, y, z = np.moveaxis(points, -1, 0)
    right = np.cos(azimuth) * x + np.sin(azimuth) * y
    away = np.cos(azimuth) * y - np.sin(azimuth) * x
    return np.stack([right, np.cos(elevation) * z + np.sin(elevation) * away], axis=-1)


def _draw_bones(axis, points: np.ndarray, skeleton, colour: Optional[str] = None) -> None:
    left, right = set(skeleton.left_joints), set(skeleton.right_joints)
    for parent, child in skeleton.bones:
        own = LEFT if child in left else RIGHT if child in right else MIDDLE
        axis.plot(*points[[parent, child]].T, color=colour or own, linewidth=1.8,
                  solid_capstyle='round')


def plot_velocity_errors(path: PathLike, bins: Dict[int, object], title: str = '') -> None:
    """MPJPE by ground-truth velocity for several input strides, with the CDF below.

    Args:
        path: Picture to write.
        bins: s_in -> :class:`~mmpose_lift.evaluation.velocity.VelocityBins`, errors in mm.
        title: Headline.

    Raises:
        ValueError: No input stride.
    """
    if not bins:
        raise ValueError('bins: no input stride to draw')
    with figure(path, 2, 1, (7, 6), sharex=True,
                gridspec_kw=dict(height_ratios=[2.4, 1])) as (fig, axes):
        for (s_in, result), colour, marker in zip(bins.items(), COLOURS, MARKERS):
            middle = (result.edges[:-1] + result.edges[1:]) / 2
            axes[0, 0].plot(middle, result.error, marker=marker, color=colour, markersize=5,
                            label=f'$s_{{in}}$ = {s_in}')
        axes[0, 0].set_ylabel('MPJPE (mm)')
        axes[0, 0].set_ylim(bottom=0)
        axes[0, 0].legend()
        axes[1, 0].plot(result.edges, [0, *100 * result.cdf], color=MIDDLE)
        axes[1, 0].set_ylabel('frames slower (%)')
        axes[1, 0].set_ylim(0, 103)
        axes[1, 0].set_xlabel('root-relative velocity of the ground truth (m/s)')
        _grid(axes)
        fig.suptitle(title, fontsize=12)


class StrideCurve(NamedTuple):
    """Errors of one way to choose key-frames in a clip."""
    label: str
    error: np.ndarray  # (F,) mm, NaN where there is no ground truth
    key_frames: np.ndarray  # (F,) bool


def plot_strides(path: PathLike, curves: Sequence[StrideCurve], velocity: np.ndarray,
                 threshold: float, fps: float, title: str = '') -> None:
    """Error per frame for several ways to choose key-frames, and the velocity below.

    Args:
        path: Picture to write.
        curves: The last one's key-frames are drawn as ticks between the panels.
        velocity: (F,) ground-truth root-relative velocity in m/s.
        threshold: Of the adaptive stride, m/s.
        fps: Frame rate, for the time axis.
        title: Headline.

    Raises:
        ValueError: No curve, or arrays of different lengths.
    """
    lengths = {len(velocity), *(len(x) for c in curves for x in (c.error, c.key_frames))}
    if not curves or len(lengths) != 1:
        raise ValueError('curves, velocity: expected at least one curve and one length, found '
                         f'{len(curves)} curves with lengths {sorted(lengths)}')
    time = np.arange(len(velocity)) / fps
    with figure(path, 2, 1, (9, 6.5), sharex=True,
                gridspec_kw=dict(height_ratios=[2, 1])) as (fig, axes):
        for i, (curve, colour) in enumerate(zip(curves, COLOURS)):
            # where the last one agrees with another, that one shows through
            style = '--' if i and curve is curves[-1] else '-'
            axes[0, 0].plot(time, curve.error, color=colour, linewidth=1.4, linestyle=style,
                            label=f'{curve.label}: {np.nanmean(curve.error):.1f} mm, '
                                  f'{curve.key_frames.sum()} 2D frames')
        axes[0, 0].set_ylabel('MPJPE per frame (mm)')
        axes[0, 0].set_ylim(bottom=0)
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc='outside lower center',
                   fontsize=10)
        axis = axes[1, 0]
        axis.plot(time, velocity, color=MIDDLE, linewidth=1.2)
        axis.axhline(threshold, color=MIDDLE, linestyle='--', linewidth=1)
        marks = time[curves[-1].key_frames]
        axis.plot(marks, np.full(len(marks), 1.03), '|', color=COLOURS[(len(curves) - 1)],
                  markersize=9, transform=axis.get_xaxis_transform(), clip_on=False)
        axis.set_ylim(0, 1.08 * max(threshold, np.nanmax(velocity, initial=0)))
        axis.set_ylabel('true velocity (m/s)')
        axis.set_xlabel(f'time (s)\ndashed: threshold {threshold:g} m/s; ticks: 2D frames of '
                        f'"{curves[-1].label}"')
        _grid(axes)
        fig.suptitle(title, fontsize=12)


def _grid(axes) -> None:
    for axis in axes.flat:
        axis.grid(color='#DDDDDD', linewidth=0.7)
        axis.set_axisbelow(True)
        for side in ('top', 'right'):
            axis.spines[side].set_visible(False)
