"""Videos and pictures of the people of a video: 2D over the frames, 3D on a floor beside them."""

from pathlib import Path
from typing import Iterable, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..geometry.ground import Ground, estimate_up, find_ground
from ..geometry.skeletons import get_skeleton
from ..io.video_poses import ABSOLUTE_CAMERA_FRAME, GROUND_FRAME, PersonTrack, VideoPoses
from .skeleton_drawing import (
    Colours,
    Panel2D,
    Panel3D,
    Person2D,
    Person3D,
    check_keypoints,
    mixed,
    side_by_side,
    upright_rotation,
)
from .skeleton_video import APART, Scene, split_of
from .video_writer import VideoWriter

# BGR, from the palette of Okabe and Ito.
PERSON_COLOURS = ((178, 114, 0), (0, 94, 213), (115, 158, 0), (167, 121, 204), (0, 159, 230),
                  (233, 180, 86))
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
IN_A_ROW = 5  # people side by side before a second row begins behind them [np]
MAX_LEAN = 45  # degrees between an estimated vertical and a level camera's [np]
LEVEL = np.array([0.0, -1.0, 0.0])  # the vertical for a level camera


class PeopleScene(Scene):
    """The people of a video, ready to be drawn frame by frame.

    Left the frame of the video with the 2D joints that were lifted, right the 3D poses: where
    people stand if their root positions are known, otherwise side by side in the order of the
    image. Each person has a colour, lighter on the left side of the body and darker on the right.
    The scale is that of the whole video. Pixels are computed for 500 frames at a time, so memory
    does not grow with the length of the video.

    Where the vertical is not known it is taken from the trunks (and feet, with root positions),
    unless it is more than 45 degrees [np] from that of a level camera, which is then assumed.

    Args:
        poses: Lifted people; nobody is fine.
        size: Width and height in pixels, even numbers.
        draw_bbox: Draw the boxes.
        draw_id: Write the numbers of the people.
        kpt_thr: Bones with a joint of a lower score are drawn faintly; so are people in frames
            that were filled because nobody was found (not those between regular key-frames).
        black_background: Leave the frames of the video out.
        azimuth: Degrees the viewer stands to the right of the camera.
        elevation: Degrees the viewer looks down; 14 by default, 26 where people may be behind each
            other [np].

    Raises:
        ValueError: People who are not lifted, or poses that are not finite.
    """

    def __init__(self, poses: VideoPoses, size: Tuple[int, int] = (960, 540), *,
                 draw_bbox: bool = False, draw_id: bool = True, kpt_thr: float = 0.3,
                 black_background: bool = False, azimuth: float = 25,
                 elevation: Optional[float] = None):
        _check(poses)
        self._black_background = black_background
        colours = person_colours(poses.tracks)
        labels = [str(track.track_id) if draw_id else '' for track in poses.tracks]
        faint = [_lost(track.detected) for track in poses.tracks]
        split = split_of(size, poses.image_size)
        flat = Panel2D(
            [Person2D(track.keypoints_2d, track.first_frame, *look,
                      boxes=track.boxes if draw_bbox else None, faint=lost)
             for track, look, lost in zip(poses.tracks, zip(colours, labels), faint)],
            (split, size[1]), poses.image_size, poses.skeleton, kpt_thr, black_background)
        known = _positions_known(poses)
        rotation, offsets, room = (_where_they_stand if known else _in_rows)(poses)
        if elevation is None:
            deep = len(poses.tracks) > 1 if known else room[1][1] > APART
            elevation = 26 if deep else 14
        solid = Panel3D(
            [Person3D(track.keypoints_3d, track.first_frame, *look, rotation, offset, lost)
             for track, look, offset, lost in zip(poses.tracks, zip(colours, labels), offsets,
                                                  faint)],
            (size[0] - split, size[1]), poses.skeleton, azimuth, elevation, floor=0, room=room,
            axes=('x', 'y', 'z') if poses.frame == GROUND_FRAME else ('x', 'z', '-y'))
        title = '3D, where they stand' if known else '3D, side by side'
        super().__init__(flat, solid, ('2D', title if len(poses.tracks) > 1 else '3D'),
                         'left side lighter' if poses.tracks else '', poses.fps, poses.times)

    def draw(self, frame: int, image: Optional[np.ndarray] = None) -> np.ndarray:
        """Draw one frame; see ``Scene.draw``.

        Raises:
            ValueError: The image has another size than the video, or is not uint8 BGR.
        """
        return super().draw(frame, None if self._black_background else image)


def write_people_video(poses: VideoPoses, path: Union[str, Path],
                       frames: Optional[Iterable[Tuple[int, np.ndarray]]] = None,
                       size: Tuple[int, int] = (960, 540), stages=None,
                       scene_type: type = PeopleScene, **drawing) -> Path:
    """Write a video of people: their 2D over the frames, their 3D beside it.

    Frames at uneven times get the mean rate; the time written in each is its own.

    Args:
        poses: Lifted people.
        path: ``.mp4`` or ``.avi``, see :class:`~mmpose_lift.visualization.VideoWriter`.
        frames: (number, image) of each frame in order, as a ``FrameSource`` gives them, images
            (H, W, 3) uint8 BGR; None draws on an empty page.
        size: Width and height of the video.
        stages: :class:`~mmpose_lift.apis.progress.Stages` for progress, timing and the wish to
            stop. A wish during drawing ends the video, which is kept; after one before it, which
            ended the poses, all of these are drawn.
        scene_type: What draws the frames: :class:`PeopleScene`, or ``MeshScene`` for bodies.
        **drawing: Further arguments of ``scene_type``.

    Returns:
        ``path``.

    Raises:
        ValueError: People who are not lifted, frames missing or of another size, wrong suffix.
        OSError: The folder cannot be written, or the encoder fails.
    """
    from ..apis.progress import Stages  # its package imports this one
    stages = stages or Stages()
    images = None if frames is None else iter(frames)
    can_stop = not stages.stopped
    with VideoWriter(path, poses.fps, size) as writer:
        scene = scene_type(poses, size, **drawing)
        with stages.stage('drawing', poses.num_frames) as advance:
            for frame in range(poses.num_frames):
                if can_stop and stages.stopped:
                    break
                image = None
                if images is not None:
                    with stages.time('decode again'):
                        number, image = next(images, (None, None))
                    if number != frame:
                        found = 'no more' if number is None else f'number {number}'
                        raise ValueError(f'frames: expected frame {frame} of {poses.num_frames}, '
                                         f'found {found}; give those the poses were made from')
                with stages.time('drawing'):
                    picture = scene.draw(frame, image)
                with stages.time('encoding'):
                    writer.write(picture)
                advance(1)
    return writer.path


def draw_people_picture(poses: VideoPoses, frame: int = 0, image: Optional[np.ndarray] = None,
                        size: Tuple[int, int] = (960, 540), scene_type: type = PeopleScene,
                        **drawing) -> np.ndarray:
    """One frame as :class:`PeopleScene` draws it.

    Args:
        poses: Lifted people.
        frame: Number of the frame.
        image: (H, W, 3) uint8 BGR of that frame.
        size: Width and height of the picture.
        scene_type: As for :func:`write_people_video`.
        **drawing: Further arguments of ``scene_type``.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    if not 0 <= frame < poses.num_frames:
        raise ValueError(f'frame: expected 0 to {poses.num_frames - 1}, found {frame}')
    return scene_type(poses, size, **drawing).draw(frame, image)


def person_colours(tracks: Sequence[PersonTrack]) -> List[Colours]:
    """One colour per person by its number; another one where somebody present has that already."""
    base: List[Optional[int]] = [None] * len(tracks)
    for i in sorted(range(len(tracks)), key=lambda i: tracks[i].first_frame):
        taken = {base[j] for j, other in enumerate(tracks) if base[j] is not None
                 and other.first_frame < tracks[i].first_frame + len(tracks[i])
                 and tracks[i].first_frame < other.first_frame + len(other)}
        count = len(PERSON_COLOURS)
        wanted = [(tracks[i].track_id + k) % count for k in range(count)]
        base[i] = next((colour for colour in wanted if colour not in taken), wanted[0])
    return [_shades(PERSON_COLOURS[colour]) for colour in base]


def _shades(colour) -> Colours:
    return Colours(
        paper=(mixed(colour, WHITE, 0.38), mixed(colour, BLACK, 0.42), colour),
        photo=(mixed(colour, WHITE, 0.62), mixed(colour, BLACK, 0.12), mixed(colour, WHITE, 0.3)))


def _check(poses: VideoPoses) -> None:
    skeleton = get_skeleton(poses.skeleton)
    for track in poses.tracks:
        for name, channels in (('keypoints_2d', (2, 3)), ('keypoints_3d', (3, ))):
            keypoints = getattr(track, name)
            if keypoints is None:
                raise ValueError(f'track {track.track_id} has no {name}; lift the video first')
            check_keypoints(keypoints, skeleton, channels, f'track {track.track_id}: {name}')


def _lost(detected: np.ndarray) -> Optional[np.ndarray]:
    """(n,) frames between detections further apart than 1.5 times the usual [np].

    Models that see key-frames only have none between those; that is no reason to fade.
    """
    found = np.flatnonzero(detected)
    steps = np.diff(found)
    lost = np.ones(len(detected), dtype=bool)
    lost[found] = False
    if len(steps):
        usual = 1.5 * np.quantile(steps, 0.75)
        for start, step in zip(found, steps):
            lost[start:start + step] &= step > usual
    return lost if lost.any() else None


def _positions_known(poses: VideoPoses) -> bool:
    return bool(poses.tracks) and (poses.frame == ABSOLUTE_CAMERA_FRAME or
                                   all(t.root_position is not None for t in poses.tracks))


def _where_they_stand(poses: VideoPoses):
    """Rotation to upright axes, offsets of the people to the floor z = 0, and no least room."""
    tracks = poses.tracks
    if poses.frame == GROUND_FRAME:
        return None, [np.zeros(3)] * len(tracks), None
    roots = [np.zeros(3) if poses.frame == ABSOLUTE_CAMERA_FRAME else track.root_position
             for track in tracks]
    ground = _ground([(points if root.ndim == 1 else points + root[:, None])[::_step(tracks)]
                      for points, root in zip((t.keypoints_3d for t in tracks), roots)],
                     poses.skeleton, poses.up)
    rotation = ground.rotation.T
    return rotation, [(root - ground.origin) @ rotation for root in roots], None


def _ground(people: List[np.ndarray], skeleton: str, up) -> Ground:
    if up is None:
        try:
            ground = find_ground(people, skeleton)
        except ValueError:  # trunks in all directions
            return find_ground(people, skeleton, LEVEL)
        up = None if _believable(ground.up) else LEVEL
    return ground if up is None else find_ground(people, skeleton, up)


def _vertical(poses: VideoPoses) -> np.ndarray:
    """(3,) the vertical in the axes of root-relative poses."""
    if poses.up is not None or not poses.tracks:
        return LEVEL if poses.up is None else np.asarray(poses.up)
    step = _step(poses.tracks)
    try:
        up = estimate_up(np.concatenate([track.keypoints_3d[::step] for track in poses.tracks]),
                         poses.skeleton)
    except ValueError:  # trunks in all directions, or a skeleton without trunk
        return LEVEL
    return up if _believable(up) else LEVEL


def _believable(up: np.ndarray) -> bool:
    return up @ LEVEL > np.cos(np.radians(MAX_LEAN))


def _step(tracks: Sequence[PersonTrack]) -> int:
    """Every so many frames give about 1,000 [np], enough to see where the floor is."""
    return max(1, sum(len(track) for track in tracks) // 1000)


def _in_rows(poses: VideoPoses):
    """Rotation to upright axes, offsets side by side, and the room that people take at least.

    Who comes takes the place of somebody who has left; places are in the order of the image.
    """
    ends: List[int] = []  # of the last one in each place
    place_of: List[int] = [0] * len(poses.tracks)
    for i in sorted(range(len(poses.tracks)), key=lambda i: poses.tracks[i].first_frame):
        track = poses.tracks[i]
        free = [place for place, end in enumerate(ends) if end <= track.first_frame]
        place_of[i] = free[0] if free else len(ends)
        ends += [] if free else [0]
        ends[place_of[i]] = track.first_frame + len(track)
    across = [np.concatenate([t.boxes[:, [0, 2]].mean(axis=1) for t, p in
                              zip(poses.tracks, place_of) if p == place]).mean()
              for place in range(len(ends))]
    order = np.argsort(np.argsort(across))
    count = max(1, len(ends))
    columns = min(count, IN_A_ROW)
    rows = -(-count // columns)
    spots = np.array([(APART * (k % columns - (columns - 1) / 2 + 0.5 * (k // columns % 2)),
                       1.5 * APART * (k // columns)) for k in range(count)])
    places = np.array([spots[order[place]] for place in place_of]).reshape(-1, 2)
    if poses.frame == GROUND_FRAME:  # each on a floor of their own already
        rotation = None
        offsets: Sequence[np.ndarray] = np.column_stack([places, np.zeros(len(places))])
    else:
        rotation = upright_rotation(_vertical(poses))
        offsets = side_by_side([track.keypoints_3d for track in poses.tracks], places, poses.fps,
                               rotation)
    half = 0.5 * APART
    room = (np.array([spots[:, 0].min() - half, -half, 0]),
            np.array([spots[:, 0].max() + half, 1.5 * APART * (rows - 1) + half, 1.8]))
    return rotation, offsets, room
