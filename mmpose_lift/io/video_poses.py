"""What inference on a video gives: people, each with 2D and 3D poses over consecutive frames."""

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

import numpy as np

from ..geometry.skeletons import get_skeleton

CAMERA_FRAME = 'camera axes (x right, y down, z forward), relative to the root joint'
ABSOLUTE_CAMERA_FRAME = 'camera axes (x right, y down, z forward), origin at the camera'
GROUND_FRAME = 'ground axes (z up, floor at z = 0), origin on the floor below the first root joint'


@dataclass
class PersonTrack:
    """One person over n consecutive frames of a video; frames without a detection are filled.

    Attributes:
        track_id: Number of the person, unique in the video.
        first_frame: Number in the video of the first of the n frames.
        boxes: (n, 4) x1, y1, x2, y2 in pixels.
        box_scores: (n,) score of the detector, 0 where the frame was filled.
        keypoints: (n, K, 3) x, y in pixels and score, in the 2D model's order.
        detected: (n,) bool; False where 2D was interpolated between detections.
        keypoints_2d: (n, J, 3) the same converted to the joints of the 3D model; None before that.
        keypoints_3d: (n, J, 3) metres, see ``VideoPoses.frame``; None before lifting.
        root_position: (n, 3) metres, camera axes, origin at the camera; None where no global
            trajectory was asked for.
    """
    track_id: int
    first_frame: int
    boxes: np.ndarray
    box_scores: np.ndarray
    keypoints: np.ndarray
    detected: np.ndarray
    keypoints_2d: Optional[np.ndarray] = None
    keypoints_3d: Optional[np.ndarray] = None
    root_position: Optional[np.ndarray] = None

    def __len__(self) -> int:
        return len(self.detected)

    @property
    def frames(self) -> np.ndarray:
        """(n,) numbers of the frames in the video."""
        return np.arange(self.first_frame, self.first_frame + len(self))

    def row(self, frame: int) -> Optional[int]:
        """Row of a frame of the video, None where the person is not in it."""
        row = frame - self.first_frame
        return row if 0 <= row < len(self) else None


@dataclass
class VideoPoses:
    """All people of one video, and what their numbers mean.

    Attributes:
        source: Name of the video, folder or camera.
        fps: Frames per second (the mean, where ``times`` are not evenly spaced).
        image_size: (width, height) in pixels.
        num_frames: Frames read.
        skeleton_2d: Joint convention of ``PersonTrack.keypoints``.
        skeleton: Joint order of ``keypoints_2d`` and ``keypoints_3d``.
        tracks: The people.
        times: (num_frames,) seconds, where the video has frames at uneven times.
        frame: Axes and origin of ``keypoints_3d``.
        units: Of ``keypoints_3d``.
        up: (3,) the vertical in those axes, where known.
        model: Name of the 3D model.
        model_2d: Name of the 2D model, None for given keypoints.
        detector: Name of the detector, 'whole_image' or 'given boxes'.
        version: Package and version that made it.
        notes: What was done besides, for example 'smoothing': 'One-Euro, min_cutoff 1'.
        complete: False where the video ended early: stopped by the user, or unreadable from there.
    """
    source: str
    fps: float
    image_size: Tuple[int, int]
    num_frames: int
    skeleton_2d: str
    skeleton: str
    tracks: List[PersonTrack] = field(default_factory=list)
    times: Optional[np.ndarray] = None
    frame: str = CAMERA_FRAME
    units: str = 'metre'
    up: Optional[Tuple[float, float, float]] = None
    model: str = ''
    model_2d: Optional[str] = None
    detector: Optional[str] = None
    version: str = ''
    notes: Dict[str, str] = field(default_factory=dict)
    complete: bool = True

    @property
    def joint_names(self) -> Tuple[str, ...]:
        return tuple(get_skeleton(self.skeleton).joint_names)

    @property
    def parents(self) -> Tuple[int, ...]:
        return tuple(get_skeleton(self.skeleton).parents)

    def people_at(self, frame: int) -> List[Tuple[PersonTrack, int]]:
        """The people of one frame, each with the row of that frame in its arrays."""
        rows = ((track, track.row(frame)) for track in self.tracks)
        return [(track, row) for track, row in rows if row is not None]
