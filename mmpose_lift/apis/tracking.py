"""People through the frames of one video: who is who, and one gapless sequence for each.

Association after ByteTrack (Zhang et al., ECCV 2022, arXiv 2110.06864), which also uses detections
of low score; on boxes and poses, and with times in seconds, so that a detector may look at every
s-th frame only.
"""

from typing import Dict, List, Optional, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..io.video_poses import PersonTrack

__all__ = ['PersonTracker', 'TrackCollector', 'box_overlap', 'object_keypoint_similarity']

# Standard deviations of COCO's annotators per joint, times 10 (MS COCO, keypoint evaluation): nose,
# eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
COCO_SIGMAS = np.array([.26, .25, .25, .35, .35, .79, .79, .72, .72, .62, .62, 1.07, 1.07, .87, .87,
                        .89, .89]) / 10
MASK_AREA = 0.53  # of a person's box, as MMPose takes it where a data set has no masks
MIN_SHARED_JOINTS = 3  # fewer say nothing about a pose [np]


def box_overlap(boxes: np.ndarray, others: np.ndarray, margins=0.) -> np.ndarray:
    """Intersection over union of boxes, each pair with its mean width around its own centres [np].

    The width of a person's box swings with arms and legs, and would say more than the place.

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        others: (M, 4).
        margins: (N,) by how much both boxes of a pair are grown on each side.

    Returns:
        (N, M).
    """
    one, two = _centre_and_size(boxes)[:, None], _centre_and_size(others)[None]
    margins = np.reshape(margins, (-1, 1))
    width = (one[..., 2] + two[..., 2]) / 2 + 2 * margins
    across = (width - np.abs(one[..., 0] - two[..., 0])).clip(min=0)
    down = (np.minimum(boxes[:, None, 3], others[None, :, 3])
            - np.maximum(boxes[:, None, 1], others[None, :, 1]) + 2 * margins).clip(min=0)
    inside = across * down
    return inside / (width * (one[..., 3] + two[..., 3] + 4 * margins) - inside)


def object_keypoint_similarity(poses: np.ndarray, others: np.ndarray, areas: np.ndarray,
                               sigmas: np.ndarray, spread=0.,
                               min_joint_score: float = 0.3) -> np.ndarray:
    """OKS of MS COCO between poses: mean over joints of exp(-d^2 / (2 area (2 sigma)^2)).

    Args:
        poses: (N, K, 3) x, y, score; joints below ``min_joint_score`` or not finite do not count.
        others: (M, K, 3).
        areas: (N,) of the first people (COCO takes the area of the mask), in pixels squared.
        sigmas: (K,) of the joints, relative to the square root of the area.
        spread: (N,) standard deviation in pixels that is added to that of every joint.
        min_joint_score: See above.

    Returns:
        (N, M); NaN where a pair shares fewer than ``MIN_SHARED_JOINTS`` joints.
    """
    with np.errstate(invalid='ignore'):  # joints that are not finite, which do not count
        squared = np.square(poses[:, None, :, :2] - others[None, :, :, :2]).sum(-1)
        variance = np.reshape(areas, (-1, 1)) * (2 * sigmas)**2 + np.reshape(spread, (-1, 1))**2
        near = np.exp(-squared / (2 * variance[:, None]))
        shared = ((poses[..., 2] >= min_joint_score)[:, None]
                  & (others[..., 2] >= min_joint_score)[None] & np.isfinite(squared))
        count = shared.sum(-1)
        return np.where(count >= MIN_SHARED_JOINTS,
                        np.where(shared, near, 0).sum(-1) / np.maximum(count, 1), np.nan)


class PersonTracker:
    """Give the people of each frame the numbers they had before.

    A Kalman filter predicts each person's box: the centre with constant velocity, the size as it
    is, for the width swings with the steps (the paper's filter has a velocity of the height).
    Predictions are matched with detections by the Hungarian method, on the mean of box overlap and
    OKS of the poses, the last pose moved along with the prediction. Detections of low score, which
    may be half hidden people, must be more similar, count less, and start no track. The paper
    matches them in a second step; here they take part in the first, because otherwise somebody of
    low score loses the track to whoever passes [np]. Newcomers get what is left. How uncertain a
    prediction is widens both measures, so that a person is found again after many frames, and makes
    it yield to certain ones.

    Numbers count from 0, newcomers of one frame from left to right, and are never used again. Those
    who are not seen again in the next two frames (usually false detections) are dropped, and their
    numbers with them; :class:`TrackCollector` leaves such tracks out.

    Args:
        fps: Frames per second of the frame numbers.
        high_score: Score from which a detection counts in full (paper: 0.6).
        low_score: Score below which detections are ignored (paper: 0.1).
        new_score: Score that starts a track (paper: 0.7).
        min_similarity: Least similarity of a track and a detection (paper: overlap of 0.2).
        min_similarity_low: The same for detections of low score (public code: overlap of 0.5, and
            only people seen in the frame before; here the others must be as similar after they
            yield [np]).
        min_similarity_new: The same for newcomers seen a second time (public code: overlap of 0.3).
        low_weight: Factor of the similarity of detections of low score [np].
        max_lost: Seconds that a person is remembered without being seen (paper: 30 frames, of 30
            per second).
        pose_weight: Weight of OKS beside box overlap [np].
        duplicate_similarity: A detection this similar to one that has a track does not start
            another [np].
        min_joint_score: Joints below are not compared [np].
        sigmas: (K,) of OKS. Defaults to COCO's where there are 17 joints, else to their mean.
        box_noise: Standard deviation of detected boxes, of their longer side (paper's filter:
            1/20).
        acceleration_noise: Spectral density of accelerations, longer sides squared per s^3. 1
            stands for the paper's filter, whose velocities vary by 1/160 side per frame at 30 per
            second.
        start_speed: Standard deviation of a newcomer's speed, longer sides per second; 1 is brisk
            walking [np].
    """

    def __init__(self, fps: float = 50, high_score: float = 0.6, low_score: float = 0.1,
                 new_score: float = 0.7, min_similarity: float = 0.2,
                 min_similarity_low: float = 0.5, min_similarity_new: float = 0.3,
                 low_weight: float = 0.9, max_lost: float = 1., pose_weight: float = 0.5,
                 duplicate_similarity: float = 0.8, min_joint_score: float = 0.3,
                 sigmas: Optional[Sequence[float]] = None, box_noise: float = 0.05,
                 acceleration_noise: float = 1., start_speed: float = 1.) -> None:
        if not 0 < fps < np.inf:
            raise ValueError(f'fps: expected a positive number, found {fps}')
        if not low_score <= high_score <= new_score:
            raise ValueError('low_score, high_score, new_score: expected ascending numbers, found '
                             f'{low_score}, {high_score}, {new_score}')
        self.fps = float(fps)
        self.high_score, self.low_score, self.new_score = high_score, low_score, new_score
        self.min_similarity = min_similarity
        self.min_similarity_low = min_similarity_low
        self.min_similarity_new = min_similarity_new
        self.low_weight = low_weight
        self.max_lost = max_lost
        self.pose_weight = pose_weight
        self.duplicate_similarity = duplicate_similarity
        self.min_joint_score = min_joint_score
        self._given_sigmas = None if sigmas is None else np.asarray(sigmas, float)
        self.box_noise = box_noise
        self.acceleration_noise = acceleration_noise
        self.start_speed = start_speed
        self.reset()

    def reset(self) -> None:
        """Forget everybody, for the next video."""
        self._frame: Optional[int] = None
        self._next_id = 0
        self._num_joints: Optional[int] = None
        # One row for each track, all as at frame `_frame`. Boxes are centre and size. All four
        # share one covariance, of position and velocity: pp, pv, vv.
        self._ids = np.empty(0, np.int64)
        self._boxes = np.empty((0, 4))
        self._velocities = np.empty((0, 2))  # of the centres
        self._covariances = np.empty((0, 3))
        self._poses = np.empty((0, 0, 3))  # last seen, moved along
        self._seen = np.empty(0, np.int64)  # frame
        self._confirmed = np.empty(0, bool)

    @property
    def tracked_ids(self) -> np.ndarray:
        """(N,) people who are known at the moment: seen at least twice, and not lost for long."""
        return np.sort(self._ids[self._confirmed])

    def update(self, frame: int, boxes: np.ndarray, scores: np.ndarray,
               keypoints: Optional[np.ndarray] = None) -> np.ndarray:
        """Numbers of the people detected in one frame.

        Args:
            frame: Its number in the video, higher than that of the call before. Frames at which the
                detector did not look are left out; one without people has n = 0.
            boxes: (n, 4) x1, y1, x2, y2 in pixels.
            scores: (n,) of the detector.
            keypoints: (n, K, 3) x, y in pixels and score, or None.

        Returns:
            (n,) int64; -1 for a detection that has no track: of a low score or empty box, or a
            second one of somebody.

        Raises:
            ValueError: Wrong shapes, boxes or scores that are not finite, another number of joints
                than before, or a frame number that does not increase.
        """
        boxes, scores, poses = self._check(frame, boxes, scores, keypoints)
        previous = int(frame) if self._frame is None else self._frame
        self._predict(int(frame))
        ids = np.full(len(boxes), -1, np.int64)
        usable = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        high, low = usable & (scores >= self.high_score), usable & (scores >= self.low_score)
        low &= ~high
        rank, sure = self._similarities(boxes, poses)
        just_seen = self._seen == previous
        # Detections of low score are no reason to find people again where they might be by now.
        certain = np.where(just_seen[:, None], sure, rank) >= self.min_similarity_low
        possible = np.where(high, sure >= self.min_similarity, certain)
        rank = np.where(high, rank, self.low_weight * rank)
        owner = np.full(len(boxes), -1)  # row of the track
        for tracks, fits in ((self._confirmed, possible),
                             (~self._confirmed, sure >= self.min_similarity_new)):
            rows = np.flatnonzero(tracks & ~np.isin(np.arange(len(self._ids)), owner))
            columns = np.flatnonzero((high | low) & (owner < 0))
            pair = np.ix_(rows, columns)
            found, of = _assign(np.where(fits[pair], rank[pair], 0))
            owner[columns[of]] = rows[found]
        matched = np.flatnonzero(owner >= 0)
        ids[matched] = self._ids[owner[matched]]
        self._correct(owner[matched], boxes[matched], poses[matched])

        lost_for = (self._frame - self._seen) / self.fps
        self._keep((self._seen >= previous) | self._confirmed & (lost_for <= self.max_lost))
        new = np.flatnonzero(high & (owner < 0) & (scores >= self.new_score))
        new = new[np.lexsort((boxes[new, 1], boxes[new, 0]))]
        new = self._without_duplicates(new, matched, boxes, poses)
        ids[new] = self._start(boxes[new], poses[new])
        return ids

    def _check(self, frame, boxes, scores, keypoints):
        boxes = np.asarray(boxes, float)
        scores = np.asarray(scores, float)
        if boxes.shape == (0, ):
            boxes = boxes.reshape(0, 4)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
            raise ValueError('boxes, scores: expected (n, 4) x1, y1, x2, y2 and (n,), found '
                             f'{boxes.shape} and {scores.shape}')
        if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
            raise ValueError(f'boxes, scores: frame {frame} holds NaN or infinite values; leave '
                             'such detections out')
        if self._frame is not None and frame <= self._frame:
            raise ValueError(f'frame: expected a number above {self._frame}, the frame before, '
                             f'found {frame}; call reset() for another video')
        if keypoints is None:  # nothing to compare: no joint has a score
            return boxes, scores, np.zeros((len(boxes), self._num_joints or 0, 3))
        poses = np.asarray(keypoints, float)
        if poses.ndim != 3 or poses.shape[0] != len(boxes) or poses.shape[2] != 3:
            raise ValueError(f'keypoints: expected ({len(boxes)}, K, 3) x, y, score, found '
                             f'{poses.shape}')
        if self._num_joints is None:
            self._use_joints(poses.shape[1])
        elif poses.shape[1] != self._num_joints:
            raise ValueError(f'keypoints: expected {self._num_joints} joints as in the frames '
                             f'before, found {poses.shape[1]}')
        return boxes, scores, poses

    def _use_joints(self, count: int) -> None:
        given = self._given_sigmas
        if given is not None and given.shape != (count, ):
            raise ValueError(f'sigmas: expected one for each of the {count} joints, found shape '
                             f'{given.shape}')
        self._sigmas = (given if given is not None else COCO_SIGMAS if count == len(COCO_SIGMAS)
                        else np.full(count, COCO_SIGMAS.mean()))
        self._num_joints = count
        self._poses = np.zeros((len(self._ids), count, 3))  # people of frames without poses

    def _predict(self, frame: int) -> None:
        """Kalman prediction, exact for any time step: white noise of acceleration."""
        dt = 0. if self._frame is None else (frame - self._frame) / self.fps
        self._frame = frame
        moved = self._velocities * dt
        self._boxes[:, :2] += moved
        self._poses[..., :2] += moved[:, None]
        pp, pv, vv = self._covariances.T
        noise = self.acceleration_noise * self._sides()**2
        self._covariances = np.stack([
            pp + 2 * pv * dt + vv * dt**2 + noise * dt**3 / 3,
            pv + vv * dt + noise * dt**2 / 2,
            vv + noise * dt], axis=1)

    def _sides(self) -> np.ndarray:
        """(N,) longer sides of the boxes, in pixels: the unit of all noise."""
        return self._boxes[:, 2:].max(axis=1)

    def _similarities(self, boxes: np.ndarray, poses: np.ndarray):
        """(N, n) similarities of tracks and detections to rank them by, and without the yielding.
        """
        half = self._boxes[:, 2:] / 2
        predicted = np.concatenate([self._boxes[:, :2] - half, self._boxes[:, :2] + half], axis=1)
        spread = np.sqrt(self._covariances[:, 0])
        elapsed = (self._frame - self._seen) / self.fps
        moved = np.sqrt(self._covariances[:, 2]) * elapsed  # poses are known as seen, but for speed
        similar = self._compare(predicted, self._poses, boxes, poses, spread, moved)
        # The longer a person is out of sight, the more places fit; who is certain goes first [np].
        noise = 4 * self.box_noise * self._sides()
        return similar * (noise / np.hypot(noise, spread))[:, None], similar

    def _compare(self, boxes, poses, other_boxes, other_poses, spread=0.,
                 moved=0.) -> np.ndarray:
        similar = box_overlap(boxes, other_boxes, spread)
        if not self._num_joints:
            return similar
        areas = MASK_AREA * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        oks = object_keypoint_similarity(poses, other_poses, areas, self._sigmas, moved,
                                         self.min_joint_score)
        mixed = (1 - self.pose_weight) * similar + self.pose_weight * oks
        return np.where(np.isnan(oks), similar, mixed)

    def _correct(self, rows: np.ndarray, boxes: np.ndarray, poses: np.ndarray) -> None:
        """Kalman update of the matched tracks."""
        sides = self._sides()[rows]
        pp, pv, vv = self._covariances[rows].T
        total = pp + (self.box_noise * sides)**2
        error = _centre_and_size(boxes) - self._boxes[rows]
        self._boxes[rows] += (pp / total)[:, None] * error
        self._velocities[rows] += (pv / total)[:, None] * error[:, :2]
        self._covariances[rows] = np.stack(
            [pp - pp * pp / total, pv - pp * pv / total, vv - pv * pv / total], axis=1)
        self._poses[rows] = poses
        self._seen[rows] = self._frame
        self._confirmed[rows] = True

    def _without_duplicates(self, new, matched, boxes, poses) -> np.ndarray:
        kept: List[int] = []
        for row in new:
            others = np.concatenate([matched, kept]).astype(int)
            similar = self._compare(boxes[[row]], poses[[row]], boxes[others], poses[others])
            if not (similar >= self.duplicate_similarity).any():
                kept.append(row)
        return np.array(kept, int)

    def _keep(self, chosen: np.ndarray) -> None:
        for name in ('_ids', '_boxes', '_velocities', '_covariances', '_poses', '_seen',
                     '_confirmed'):
            setattr(self, name, getattr(self, name)[chosen])

    def _start(self, boxes: np.ndarray, poses: np.ndarray) -> np.ndarray:
        """New tracks for detections; returns their numbers."""
        count = len(boxes)
        ids = np.arange(self._next_id, self._next_id + count)
        self._next_id += count
        states = _centre_and_size(boxes)
        sides = states[:, 2:].max(axis=1)
        self._ids = np.concatenate([self._ids, ids])
        self._boxes = np.concatenate([self._boxes, states])
        self._velocities = np.concatenate([self._velocities, np.zeros((count, 2))])
        self._covariances = np.concatenate([self._covariances, np.stack(
            [(self.box_noise * sides)**2, np.zeros(count), (self.start_speed * sides)**2], axis=1)])
        self._poses = np.concatenate([self._poses, poses])
        self._seen = np.concatenate([self._seen, np.full(count, self._frame)])
        self._confirmed = np.concatenate([self._confirmed, np.zeros(count, bool)])
        return ids


def _centre_and_size(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) corners to centre x, y, width, height."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def _assign(similar: np.ndarray):
    """Rows and columns of the pairs with the largest sum; pairs of 0 are none."""
    rows, columns = linear_sum_assignment(similar, maximize=True)
    real = similar[rows, columns] > 0
    return rows[real], columns[real]


class _Observations:
    """Detections of one person in order, in arrays whose room doubles when it is used up."""

    def __init__(self, num_joints: int):
        self.count = 0
        self.total = 0  # with those that were dropped
        self._frames = np.empty((0, 2), np.int64)  # frame, number of the look
        self._values = np.empty((0, 5 + 3 * num_joints), np.float32)  # box, its score, keypoints

    @property
    def frames(self) -> np.ndarray:
        """(m,) frames in which the person was detected."""
        return self._frames[:self.count, 0]

    @property
    def looks(self) -> np.ndarray:
        """(m,) which frames these were, counting only those that the detector looked at."""
        return self._frames[:self.count, 1]

    @property
    def values(self) -> np.ndarray:
        """(m, 5 + 3 K) box, its score, keypoints."""
        return self._values[:self.count]

    def append(self, frame: int, look: int, box, score: float, pose: np.ndarray) -> None:
        if self.count == len(self._frames):
            room = max(4, self.count)
            self._frames, self._values = (
                np.concatenate([array, np.empty((room, array.shape[1]), array.dtype)])
                for array in (self._frames, self._values))
        row = self._values[self.count]
        row[:4], row[4], row[5:] = box, score, pose.ravel()
        self._frames[self.count] = frame, look
        self.count += 1
        self.total += 1

    def drop_before(self, frame: int) -> None:
        first = int(np.searchsorted(self.frames, frame))
        self._frames = self._frames[first:self.count].copy()
        self._values = self._values[first:self.count].copy()
        self.count -= first


class TrackCollector:
    """Collect what was detected of each person, and give it as gapless tracks.

    Memory grows with the detections of the people, not with the frames; what a stream no longer
    needs can be forgotten.

    Args:
        num_joints: K, joints of the 2D model.
        fps: Frames per second of the frame numbers.
        max_gap_seconds: The longest gap that is filled, if the detector looked in between; at a
            longer one the track is cut in two [np]. The default is as long as
            :class:`PersonTracker` remembers people, so that nothing is cut.
        min_frames: Tracks detected in fewer frames are left out [np].
    """

    def __init__(self, num_joints: int, fps: float = 50, max_gap_seconds: float = 1.,
                 min_frames: int = 3) -> None:
        if not 0 < fps < np.inf:
            raise ValueError(f'fps: expected a positive number, found {fps}')
        if num_joints < 1 or min_frames < 1 or max_gap_seconds < 0:
            raise ValueError('num_joints, min_frames, max_gap_seconds: expected at least 1, 1 and '
                             f'0, found {num_joints}, {min_frames} and {max_gap_seconds}')
        self.num_joints = num_joints
        self.max_gap = max_gap_seconds * float(fps)  # frames
        self.min_frames = min_frames
        self._people: Dict[int, _Observations] = {}
        self._last_frame: Optional[int] = None
        self._looks = 0

    def add(self, frame: int, ids: np.ndarray, boxes: np.ndarray, scores: np.ndarray,
            keypoints: np.ndarray) -> None:
        """Add one frame that the detector looked at, also if it found nobody.

        Args:
            frame: Its number, higher than that of the call before.
            ids: (n,) from :meth:`PersonTracker.update`; detections of -1 are left out.
            boxes: (n, 4) x1, y1, x2, y2 in pixels.
            scores: (n,) of the detector.
            keypoints: (n, K, 3) x, y in pixels and score; finite.

        Raises:
            ValueError: Wrong shapes, somebody twice, keypoints that are not finite, or a frame
                number that does not increase.
        """
        ids = np.asarray(ids)
        boxes, scores, keypoints = (np.asarray(x) for x in (boxes, scores, keypoints))
        count = len(ids)
        shapes = (boxes.shape, scores.shape, keypoints.shape)
        expected = ((count, 4), (count, ), (count, self.num_joints, 3))
        if count and shapes != expected:  # without people any empty arrays will do
            raise ValueError(f'boxes, scores, keypoints: expected shapes {expected} for {count} '
                             f'ids, found {shapes}')
        if self._last_frame is not None and frame <= self._last_frame:
            raise ValueError(f'frame: expected a number above {self._last_frame}, the frame before,'
                             f' found {frame}; use a new collector for another video')
        rows = np.flatnonzero(ids >= 0)
        if len(np.unique(ids[rows])) != len(rows):
            raise ValueError(f'ids: frame {frame} has somebody twice: {ids.tolist()}')
        if not np.isfinite(keypoints[rows]).all():
            raise ValueError(f'keypoints: frame {frame} holds NaN or infinite values; give such '
                             'joints a score of 0 and any place')
        for row in rows:
            person = self._people.get(int(ids[row]))
            if person is None:
                person = self._people[int(ids[row])] = _Observations(self.num_joints)
            person.append(frame, self._looks, boxes[row], scores[row], keypoints[row])
        self._last_frame = int(frame)
        self._looks += 1

    def live(self, frame: int) -> List[int]:
        """Numbers of the people of a stream at a frame.

        Those detected in ``min_frames`` frames or more, the last of them at most
        ``max_gap_seconds`` before, or in the last frame that the detector looked at.
        """
        return sorted(
            number for number, person in self._people.items() if person.total >= self.min_frames
            and (frame - person.frames[-1] <= self.max_gap or person.looks[-1] == self._looks - 1))

    def forget(self, track_id: int, before: Optional[int] = None) -> None:
        """Drop a person, or what was detected of a person before a frame.

        Raises:
            KeyError: Nobody has this number.
        """
        if track_id not in self._people:
            raise KeyError(f'track_id {track_id}: nobody has this number; there are '
                           f'{sorted(self._people)}')
        if before is None:
            del self._people[track_id]
        else:
            self._people[track_id].drop_before(before)

    def finish(self, num_frames: Optional[int] = None,
               every_frame: bool = True) -> List[PersonTrack]:
        """The people in order of appearance; more frames can be added afterwards.

        Frames between detections are filled: boxes and joints are interpolated linearly in time,
        with a score of 0 for the box and all joints, and ``detected`` is False. The later part of a
        track that is cut at a long gap gets a number above all others.

        Args:
            num_frames: Frames of the video. People of the last frame that the detector looked at
                are then taken to stay as they are to its end, at most ``max_gap_seconds``.
            every_frame: False to leave NaN, in boxes and joints, in the frames without a detection,
                for models that see key-frames only.

        Raises:
            ValueError: ``num_frames`` is not more than the last frame's number.
        """
        if num_frames is not None and self._last_frame is not None and (
                num_frames <= self._last_frame):
            raise ValueError(f'num_frames: frame {self._last_frame} was added, so expected at '
                             f'least {self._last_frame + 1}, found {num_frames}')
        tracks = []
        next_id = max(self._people, default=-1) + 1
        for number, person in sorted(self._people.items()):
            frames, looks = person.frames, person.looks
            cuts = np.flatnonzero((np.diff(frames) > self.max_gap) & (np.diff(looks) > 1)) + 1
            bounds = [0, *cuts, len(frames)]
            for start, stop in zip(bounds[:-1], bounds[1:]):
                if stop - start < self.min_frames:
                    continue
                end = int(frames[stop - 1])
                if num_frames is not None and looks[stop - 1] == self._looks - 1:
                    end = min(num_frames - 1, end + int(self.max_gap))
                if number is None:  # its number went to the part before
                    number, next_id = next_id, next_id + 1
                tracks.append(self._track(number, frames[start:stop], person.values[start:stop],
                                          end, every_frame))
                number = None
        return sorted(tracks, key=lambda track: (track.first_frame, track.track_id))

    def _track(self, number: int, frames: np.ndarray, values: np.ndarray, end: int,
               every_frame: bool) -> PersonTrack:
        wanted = np.arange(frames[0], end + 1)
        detected = np.zeros(len(wanted), bool)
        rows = frames - frames[0]
        detected[rows] = True
        filled = np.full((len(wanted), values.shape[1]), np.nan, np.float32)
        filled[rows] = values
        if every_frame:
            gaps = np.flatnonzero(~detected)
            before = np.searchsorted(frames, wanted[gaps]) - 1
            after = np.minimum(before + 1, len(frames) - 1)  # behind the last one: stay there
            apart = np.maximum(frames[after] - frames[before], 1)
            part = ((wanted[gaps] - frames[before]) / apart).astype(np.float32)[:, None]
            filled[gaps] = values[before] + (values[after] - values[before]) * part
        scores, keypoints = filled[:, 4], filled[:, 5:].reshape(len(wanted), -1, 3)
        scores[~detected] = 0
        keypoints[~detected, :, 2] = 0
        return PersonTrack(number, int(frames[0]), filled[:, :4].copy(), scores.copy(),
                           keypoints.copy(), detected)
