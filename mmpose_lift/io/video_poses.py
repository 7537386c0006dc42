"""What inference on a video gives: people, each with 2D and 3D poses over consecutive frames."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from ..geometry.skeletons import get_skeleton

CAMERA_FRAME = 'camera axes (x right, y down, z forward), relative to the root joint'
ABSOLUTE_CAMERA_FRAME = 'camera axes (x right, y down, z forward), origin at the camera'
GROUND_FRAME = 'ground axes (z up, floor at z = 0), origin on the floor below the first root joint'


@dataclass
class BodyTrack:
    """Body model (24 joints of SMPL) of one person, with the rows of a :class:`PersonTrack`.

    ``body_model(betas, rotmats)`` plus ``transl`` is in camera axes, origin at the camera.

    Attributes:
        betas: (n, S) shape coefficients.
        rotmats: (n, 24, 3, 3) rotations of the joints relative to their parents, that of joint 0
            relative to the camera.
        transl: (n, 3) metres.
        joints: (n, 24, 3) metres, camera axes, origin at the camera, skeleton 'smpl'.
    """
    betas: np.ndarray
    rotmats: np.ndarray
    transl: np.ndarray
    joints: np.ndarray


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
        body: The body model, from models that give one; its axes are always those of the camera.
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
    body: Optional[BodyTrack] = None

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
        focal: Focal length in pixels for which bodies were placed, with the principal point in the
            middle of the image; None where nothing depends on it.
        body_model: What ``PersonTrack.body`` is of, as ``LazyBodyModel`` takes it: 'stand_in', a
            file, a dict, or the body itself (which is not written to files).
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
    focal: Optional[float] = None
    body_model: Any = None

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
