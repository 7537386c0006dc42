"""Identities through crossings, occlusions and noise; tracks without gaps."""

import numpy as np
import pytest

from mmpose_lift.apis.tracking import (
    COCO_SIGMAS,
    PersonTracker,
    TrackCollector,
    box_overlap,
    object_keypoint_similarity,
)

HEIGHT = 300


def walker(seconds: float, x: float, speed: float, phase: float = 0., height: float = HEIGHT):
    """(17, 2) COCO joints of somebody who walks at ``x`` (pixels), seen half from the side."""
    forward = np.sign(speed)
    swing = np.sin(2 * np.pi * 0.9 * seconds + phase)
    pose = np.empty((17, 2))
    pose[:5] = [(.05, -.43), (.03, -.46), (.04, -.46), (-.02, -.44), (.01, -.44)]
    for side, sign in ((0, 1), (1, -1)):
        reach = sign * swing * np.array((.08, .16, .12, .22))  # elbow, wrist, knee, ankle
        pose[5 + side::2] = [(-.06 * sign, -.33), (-.06 * sign - reach[0], -.17),
                             (-.06 * sign - reach[1], -.03), (-.04 * sign, 0),
                             (-.04 * sign + reach[2], .23), (-.04 * sign + reach[3], .46)]
    return pose * height * (forward, 1) + (x, 300 + 0.2 * height)  # the near are lower


def detections(seconds, people, rng=None, box_noise=0.03, joint_noise=0.012):
    """Boxes, scores and keypoints of people given as (x at 0 s, pixels/s, phase, height)."""
    poses = np.array([walker(seconds, x + v * seconds, v, p, h) for x, v, p, h in people])
    boxes = np.concatenate([poses.min(1) - 15, poses.max(1) + 15], axis=1)
    if rng is not None:
        heights = np.array([h for *_, h in people])
        boxes += rng.normal(0, box_noise, boxes.shape) * heights[:, None]
        poses += rng.normal(0, joint_noise, poses.shape) * heights[:, None, None]
    keypoints = np.concatenate([poses, np.full((len(people), 17, 1), 0.9)], axis=2)
    return boxes, np.full(len(people), 0.9), keypoints


# (x at the start, speed, phase, height): the first three meet each other, the fourth walks alone
CROSSING = [(200, 180, 0., 330), (800, -180, 1.5, 300), (500, 90, 3., 270), (1300, -60, .7, 300)]


def follow(tracker, people, frames, rng=None, fps=50, with_poses=True, seen=lambda frame, i: True):
    """{person: [number per frame, None where not seen]}"""
    history = {i: [] for i in range(len(people))}
    for frame in frames:
        boxes, scores, keypoints = detections(frame / fps, people, rng)
        there = [i for i in range(len(people)) if seen(frame, i)]
        if rng is not None:
            there = rng.permutation(there).astype(int)
        ids = tracker.update(frame, boxes[there], scores[there],
                             keypoints[there] if with_poses else None)
        found = dict(zip(there, ids.tolist()))
        for i in history:
            history[i].append(found.get(i))
    return history


def numbers(history):
    return [sorted(set(h) - {None}) for h in history.values()]


def test_box_overlap():
    a, b = np.array([[0, 0, 2, 2], [10, 10, 11, 11.]]), np.array([[1, 0, 3, 2], [0, 0, 2, 2.]])
    np.testing.assert_allclose(box_overlap(a, b), [[1 / 3, 1], [0, 0]])
    # grown by 1: 4x4 boxes that share 3x4
    np.testing.assert_allclose(box_overlap(a, b, np.array([1, 0])), [[12 / 20, 1], [0, 0]])
    # another width around the same centre is no difference, another height is
    np.testing.assert_allclose(box_overlap(a[:1], np.array([[-1, 0, 3, 2], [0, 0, 2, 4.]])),
                               [[1, 1 / 2]])


def test_object_keypoint_similarity():
    pose = np.zeros((1, 17, 3))
    pose[..., 2] = 1
    moved = pose.copy()
    moved[..., 0] = 2 * COCO_SIGMAS * 100  # one deviation of a box of 100 x 100
    oks = object_keypoint_similarity(pose, np.concatenate([pose, moved]), np.array([1e4]),
                                     COCO_SIGMAS)
    np.testing.assert_allclose(oks, [[1, np.exp(-.5)]])
    moved[0, 2:, 2], moved[0, 0, 0] = 0, np.nan
    assert np.isnan(object_keypoint_similarity(pose, moved, np.array([1e4]), COCO_SIGMAS)).all()


@pytest.mark.parametrize('with_poses', [True, False])
@pytest.mark.parametrize('step', [1, 5, 10])
def test_people_who_cross_keep_their_numbers(step, with_poses):
    history = follow(PersonTracker(50), CROSSING, range(0, 200, step), with_poses=with_poses)
    assert numbers(history) == [[0], [2], [1], [3]]  # from left to right at the start


@pytest.mark.parametrize('seed', range(3))
def test_crossing_with_noise_and_occlusion(seed):
    """Boxes vary by 3 % of the height, and who passes behind another is not seen at all."""
    def seen(frame, i):
        x = np.array([x + v * frame / 50 for x, v, *_ in CROSSING])
        return not (np.abs(x - x[i]) < 35)[:i].any()

    history = follow(PersonTracker(50), CROSSING, range(200), np.random.default_rng(seed),
                     seen=seen)
    assert numbers(history) == [[0], [2], [1], [3]]
    assert history[2].count(None) > 10


def test_poses_tell_people_apart_whose_boxes_do_not():
    """Two people on the spot whose boxes are the same: the order of the detections changes."""
    people = [(400, 1e-9, 0, 300), (400, -1e-9, 0, 300)]
    tracker = PersonTracker(50, duplicate_similarity=1.)
    boxes, scores, keypoints = detections(0, people)
    boxes[:] = boxes[0]
    first = tracker.update(0, boxes, scores, keypoints)
    assert sorted(first) == [0, 1]
    for frame in range(1, 20):
        keypoints = detections(frame / 50, people)[2]
        order = [0, 1] if frame % 2 else [1, 0]
        np.testing.assert_array_equal(
            tracker.update(frame, boxes, scores, keypoints[order]), first[order])


@pytest.mark.parametrize('seed', range(3))
def test_noisy_detector(seed):
    """5 % missed, 10 % of low score, every fifth frame a false person: nobody is confused."""
    rng = np.random.default_rng(seed)
    tracker, collector = PersonTracker(50), TrackCollector(17)
    last, switches, unknown, total = {}, 0, 0, 0
    for frame in range(200):
        boxes, scores, keypoints = detections(frame / 50, CROSSING, rng)
        who = np.flatnonzero(rng.random(4) > 0.05)
        scores = np.where(rng.random(4) < 0.1, 0.3, scores)
        boxes, scores, keypoints = boxes[who], scores[who], keypoints[who]
        if rng.random() < 0.2:
            x, y, h = rng.uniform((50, 50, 100), (1200, 400, 300))
            false = np.concatenate([rng.uniform((x, y), (x + h / 3, y + h), (17, 2)),
                                    np.full((17, 1), .4)], axis=1)
            boxes = np.concatenate([boxes, [[x, y, x + h / 3, y + h]]])
            scores, keypoints = np.append(scores, .8), np.concatenate([keypoints, [false]])
        ids = tracker.update(frame, boxes, scores, keypoints)
        collector.add(frame, ids, boxes, scores, keypoints)
        for i, number in zip(who, ids):
            total += 1
            if number == -1:
                unknown += 1
            else:
                switches += last.get(i, number) != number
                last[i] = number
    assert switches == 0 and unknown < 0.02 * total
    tracks = collector.finish(200)
    assert {t.track_id for t in tracks} >= set(last.values())
    assert len(tracks) <= len(CROSSING) + 1
    assert tracker.tracked_ids.tolist() == sorted(last.values())


def test_occlusion_as_long_as_people_are_remembered():
    people = CROSSING[:1]
    for missing, expected in ((40, [[0]]), (60, [[0, 1]])):  # 0.8 s and 1.2 s; the limit is 1 s
        history = follow(PersonTracker(50), people, range(200),
                         seen=lambda frame, i, end=80 + missing: not 80 <= frame < end)
        assert numbers(history) == expected
    sparse = follow(PersonTracker(50), people, range(0, 200, 10),
                    seen=lambda frame, i: not 80 <= frame < 120)
    assert numbers(sparse) == [[0]]


def test_gaps_longer_than_people_are_remembered_if_nobody_looked():
    slow = [(300, 20, 0, 300), (700, -20, 2, 300)]
    history = follow(PersonTracker(50), slow, range(0, 500, 100))
    assert numbers(history) == [[0], [1]]


def test_entering_and_leaving():
    history = follow(PersonTracker(50), CROSSING, range(150),
                     seen=lambda frame, i: (i != 0 or frame < 50) and (i != 3 or frame >= 70))
    assert numbers(history) == [[0], [2], [1], [3]]


def test_low_scores_continue_tracks_and_start_none():
    tracker = PersonTracker(50)
    boxes, scores, keypoints = detections(0, CROSSING[:2])
    low = np.full(2, 0.3)
    assert (tracker.update(0, boxes, low, keypoints) == -1).all()
    assert tracker.update(1, boxes, [0.9, 0.3], keypoints).tolist() == [0, -1]
    assert tracker.update(2, boxes, [0.9, 0.3], keypoints).tolist() == [0, -1]
    assert tracker.update(3, boxes, [0.3, 0.65], keypoints).tolist() == [0, -1]  # below new_score
    assert tracker.update(4, boxes, [0.05, 0.9], keypoints).tolist() == [-1, 1]


def test_second_detection_of_somebody_starts_no_track():
    tracker = PersonTracker(50)
    boxes, scores, keypoints = (x.repeat(2, axis=0) for x in detections(0, CROSSING[:1]))
    assert sorted(tracker.update(0, boxes + [[0], [2]], scores, keypoints)) == [-1, 0]
    assert sorted(tracker.update(1, boxes + [[0], [2]], scores, keypoints)) == [-1, 0]


def test_seen_once():
    """A false detection is forgotten after two frames, and its number is not used again."""
    tracker = PersonTracker(50)
    boxes, scores, keypoints = detections(0, CROSSING[:1])
    none = np.zeros((0, 4)), np.zeros(0), np.zeros((0, 17, 3))
    assert tracker.update(0, boxes, scores, keypoints).tolist() == [0]
    for frame in (1, 2):
        assert tracker.update(frame, *none).shape == (0, ) and not len(tracker.tracked_ids)
    assert tracker.update(3, boxes, scores, keypoints).tolist() == [1]
    assert tracker.update(5, boxes, scores, keypoints).tolist() == [1]
    assert tracker.tracked_ids.tolist() == [1]


def test_order_of_detections_and_reset():
    """The same people get the same numbers in any order, and after a reset."""
    def track(tracker, seed):
        rng, order = np.random.default_rng(1), np.random.default_rng(seed)
        found = []
        for frame in range(0, 150, 3):
            boxes, scores, keypoints = detections(frame / 50, CROSSING, rng)
            p = order.permutation(4)
            found.append(tracker.update(frame, boxes[p], scores[p], keypoints[p])[np.argsort(p)])
        return np.array(found)

    tracker = PersonTracker(50)
    first = track(tracker, 0)
    np.testing.assert_array_equal(track(PersonTracker(50), 1), first)
    tracker.reset()
    np.testing.assert_array_equal(track(tracker, 2), first)


def test_frames_with_and_without_poses_and_other_joints():
    tracker = PersonTracker(50)
    boxes, scores, keypoints = detections(0, CROSSING[:2])
    halpe = np.concatenate([keypoints, keypoints[:, :9]], axis=1)  # 26 joints
    for frame, given in enumerate((None, halpe, None, halpe * np.nan, halpe)):
        assert tracker.update(frame, boxes, scores, given).tolist() == [0, 1]
    with pytest.raises(ValueError, match='expected 26 joints as in the frames before, found 17'):
        tracker.update(9, boxes, scores, keypoints)
    with pytest.raises(ValueError, match='sigmas: expected one for each of the 26 joints'):
        PersonTracker(50, sigmas=COCO_SIGMAS).update(0, boxes, scores, halpe)


def test_wrong_input():
    tracker = PersonTracker(50)
    boxes, scores, keypoints = detections(0, CROSSING)
    tracker.update(3, boxes, scores, keypoints)
    for arguments, message in (
            ((3, boxes, scores), 'frame: expected a number above 3'),
            ((4, boxes[:, :3], scores), r'found \(4, 3\) and \(4,\)'),
            ((4, boxes, scores[:2]), r'found \(4, 4\) and \(2,\)'),
            ((4, boxes * np.nan, scores), 'frame 4 holds NaN'),
            ((4, boxes, scores, keypoints[..., :2]), r'keypoints: expected \(4, K, 3\)')):
        with pytest.raises(ValueError, match=message):
            tracker.update(*arguments)
    assert tracker.update(4, boxes[:, [2, 3, 0, 1]], scores).tolist() == [-1] * 4  # empty boxes
    assert tracker.update(5, [], []).shape == (0, )
    with pytest.raises(ValueError, match='fps'):
        PersonTracker(0)
    with pytest.raises(ValueError, match='ascending'):
        PersonTracker(50, high_score=0.8)


def collect(frames, joints=2, looks=None, number=0, **options) -> TrackCollector:
    """Somebody whose box and joints are at the number of the frame, seen in some of the looks."""
    collector = TrackCollector(joints, **options)
    for frame in frames if looks is None else looks:
        ids = np.array([number] if frame in frames else [], np.int64)
        count = len(ids)
        collector.add(frame, ids, np.full((count, 4), frame), np.full(count, 0.9),
                      np.full((count, joints, 3), frame) * (1, 2, 0) + (0, 0, .8))
    return collector


def test_gaps_are_filled_and_marked():
    track, = collect([10, 11, 14, 15], looks=range(20)).finish(20)
    assert track.track_id == 0 and track.first_frame == 10 and len(track) == 6
    assert track.frames.tolist() == [10, 11, 12, 13, 14, 15]
    assert track.detected.tolist() == [True, True, False, False, True, True]
    np.testing.assert_allclose(track.boxes, np.repeat(track.frames[:, None], 4, axis=1), rtol=1e-6)
    np.testing.assert_allclose(track.keypoints[:, 1, 1], 2 * track.frames, rtol=1e-6)
    np.testing.assert_allclose(track.keypoints[:, 0, 2], .8 * track.detected, rtol=1e-6)
    np.testing.assert_allclose(track.box_scores, .9 * track.detected, rtol=1e-6)
    assert track.keypoints.shape == (6, 2, 3) and track.keypoints.dtype == np.float32


def test_many_frames_equal_plain_interpolation(rng):
    looks = np.arange(0, 3000)
    frames = np.flatnonzero(rng.random(3000) < 0.7)
    places = rng.normal(size=(3000, 1, 3)).astype(np.float32)
    collector = TrackCollector(1)
    for frame in looks:
        ids = np.array([4] if frame in frames else [], np.int64)
        collector.add(frame, ids, np.zeros((len(ids), 4)), np.ones(len(ids)),
                      places[[frame] * len(ids)])
    track, = collector.finish()
    np.testing.assert_array_equal(track.frames[track.detected], frames)
    for axis in range(2):
        np.testing.assert_allclose(
            track.keypoints[:, 0, axis],
            np.interp(track.frames, frames, places[frames, 0, axis]), atol=1e-5)


def test_long_gaps_cut_a_track():
    frames = [*range(10), *range(70, 80), *range(140, 142), *range(200, 210)]
    tracks = collect(frames, looks=range(220), number=5).finish()
    assert [(t.track_id, t.first_frame, len(t)) for t in tracks] == [
        (5, 0, 10), (6, 70, 10), (7, 200, 10)]  # two frames are too few
    joined, = collect(frames, looks=range(220), max_gap_seconds=2).finish()
    assert len(joined) == 210


def test_key_frames():
    """The detector looks at every 100th frame: that is no gap, and people stay to the end."""
    frames = [0, 100, 200, 300]
    track, = collect(frames).finish(num_frames=330)
    assert len(track) == 330 and np.flatnonzero(track.detected).tolist() == frames
    assert (track.boxes[300:] == 300).all() and track.boxes[150, 0] == 150
    assert len(collect(frames).finish(1000)[0]) == 301 + 50  # not longer than a second
    assert len(collect(frames).finish()[0]) == 301
    assert len(collect(frames, looks=[*frames, 310]).finish(330)[0]) == 301  # seen to be gone
    sparse, = collect(frames).finish(num_frames=330, every_frame=False)
    assert (np.isnan(sparse.keypoints[..., :2]).all(axis=(1, 2)) == ~sparse.detected).all()
    assert (np.isnan(sparse.boxes).all(axis=1) == ~sparse.detected).all()
    assert (sparse.keypoints[~sparse.detected, :, 2] == 0).all()


def test_short_tracks_and_no_tracks():
    assert collect([3, 4]).finish(10) == []
    track, = collect([3, 4, 5]).finish(10)
    assert len(track) == 3 + 4  # still there at the last look
    assert len(collect([3], min_frames=1).finish()[0]) == 1
    assert TrackCollector(17).finish(100) == [] and TrackCollector(17).finish() == []
    assert collect([], looks=range(5)).finish(5) == []


def test_live_and_forget():
    collector = collect(range(100), number=2)
    assert collector.live(99) == collector.live(149) == [2]
    collector.add(150, np.zeros(0, int), [], [], [])
    assert collector.live(150) == []
    collector.forget(2, before=90)
    track, = collector.finish()
    assert track.first_frame == 90 and len(track) == 10
    collector.forget(2, before=1000)
    assert collector.finish() == []
    collector.add(151, np.array([2]), np.zeros((1, 4)), np.ones(1), np.zeros((1, 2, 3)))
    assert collector.live(151) == [2]  # known for long, though little is kept
    collector.forget(2)
    assert collector.live(151) == []
    with pytest.raises(KeyError, match='nobody has this number'):
        collector.forget(2)


def test_wrong_collections():
    box, score, pose = np.zeros((2, 4)), np.ones(2), np.zeros((2, 17, 3))
    collector = TrackCollector(17)
    collector.add(5, np.array([0, -1]), box, score, pose)
    for arguments, message in (
            ((5, np.array([0, 1]), box, score, pose), 'frame: expected a number above 5'),
            ((6, np.array([1, 1]), box, score, pose), 'frame 6 has somebody twice'),
            ((6, np.array([0]), box, score, pose), r'expected shapes \(\(1, 4\)'),
            ((6, np.array([0, 1]), box, score, pose[:, :3]), r'found .*\(2, 3, 3\)'),
            ((6, np.array([0, 1]), box, score, pose * np.nan), 'frame 6 holds NaN')):
        with pytest.raises(ValueError, match=message):
            collector.add(*arguments)
    with pytest.raises(ValueError, match='expected at least 6, found 5'):
        collector.finish(5)
    with pytest.raises(ValueError, match='min_frames'):
        TrackCollector(17, min_frames=0)
