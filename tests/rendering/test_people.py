import cv2
import numpy as np
import pytest

from mmpose_lift.datasets.synthetic_motion import ACTIONS, generate_motion
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.rendering.appearance import degrade, random_background
from mmpose_lift.rendering.people import RenderedPeople, TwoPeopleVideo, camera_rotation
from mmpose_lift.rendering.scene import project, render

COCO = get_skeleton('coco').joint_names


@pytest.fixture(scope='module')
def people():
    return RenderedPeople()


@pytest.fixture(scope='module')
def motion():
    return np.concatenate([generate_motion(a, 20, 3) for a in ACTIONS])


@pytest.fixture(scope='module')
def video():
    return TwoPeopleVideo(seed=1, num_frames=50, fps=10, size=(320, 180))


def test_camera_rotation_is_right_handed_with_the_floor_below():
    rotation = camera_rotation(0.3, yaw=0.5, roll=0.1)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert (camera_rotation(0.3) @ [0, 0, 1])[1] < 0  # up is up in the picture
    np.testing.assert_allclose(camera_rotation(0) @ [[1], [2], [3]], [[1], [-3], [2]], atol=1e-12)
    assert (camera_rotation(0.3) @ [0, 0, -1])[2] > 0  # looking down, the floor is ahead
    # a camera rolled clockwise shows what is above tilted to the left
    assert (camera_rotation(0, roll=0.2) @ [0, 0, 1])[0] < 0


def look(people, motion, yaw, seed=0, distance=3.5, focal=330., size=(200, 260)):
    """Picture of one person and its keypoints; at yaw 0 it faces the camera."""
    rng = np.random.default_rng(seed)
    joints = motion[rng.integers(len(motion))][None].astype(float)
    across = joints[0, 4] - joints[0, 1]  # from the right to the left hip: +x seen from the front
    turn = yaw - np.arctan2(across[1], across[0])
    cos, sin = np.cos(turn), np.sin(turn)
    joints = (joints - joints[:, :1]) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    world = people.pose(joints, np.zeros((1, 10)))
    rotation = camera_rotation(0)
    vertices, body_joints = (x[0] @ rotation.T + [0, 0, distance] for x in world)
    center = np.array(size) / 2
    mesh = people.mesh(vertices.astype(np.float32), people.wardrobe.dress(rng))
    picture = render([mesh], focal, center, size)
    points = people.coco_keypoints(vertices, body_joints)
    xy = project(points, focal, center)
    return picture, xy, people.visibility(points, xy, picture)


def test_keypoints_lie_on_the_body_and_the_face_is_seen_from_the_front(people, motion):
    front, xy, flags = look(people, motion, yaw=0)
    assert front.segmentation[:, [0, -1]].max() == -1 == front.segmentation[[0, -1]].max()
    near = cv2.dilate((front.segmentation == 0).astype(np.uint8), np.ones((5, 5)))
    column, row = xy.astype(int).T
    assert near[row, column].all()
    assert (flags[:3] == 2).all()
    assert xy[COCO.index('left_eye'), 0] > xy[COCO.index('right_eye'), 0]
    assert xy[COCO.index('left_shoulder'), 0] > xy[COCO.index('right_shoulder'), 0]
    _, xy, flags = look(people, motion, yaw=np.pi)
    assert (flags[:3] == 1).all() and (flags[5:7] == 2).all()
    assert xy[COCO.index('left_shoulder'), 0] < xy[COCO.index('right_shoulder'), 0]


def test_from_the_side_the_far_arm_is_hidden(people, motion):
    standing = generate_motion('standing', 1, 0) if 'standing' in ACTIONS else motion[:1]
    _, _, flags = look(people, standing, yaw=np.pi / 2)  # the left side is far from the camera
    assert flags[COCO.index('left_shoulder')] == 1 and flags[COCO.index('right_shoulder')] == 2
    assert flags[COCO.index('left_ear')] == 1 and flags[COCO.index('right_ear')] == 2


def test_regressed_joints_agree_with_the_recorded_pose(people, motion):
    posed, _ = people.pose(motion, np.zeros((len(motion), 10)))
    joints = people.h36m_joints(posed)
    np.testing.assert_allclose(joints[:, 0], motion[:, 0], atol=0.02)
    limbs = [bone for bone in get_skeleton('h36m').bones if bone[1] in (2, 3, 5, 6, 12, 13, 15, 16)]
    for parent, child in limbs:
        ours, theirs = (x[:, child] - x[:, parent] for x in (joints, motion))
        cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(
            theirs, axis=-1)
        assert np.rad2deg(np.arccos(cosine.clip(-1, 1))).max() < 6, (parent, child)


def test_sample_picture(people, motion):
    for seed in range(6):
        rng = np.random.default_rng(seed)
        image, labels = people.sample_picture(rng, motion, (128, 96))
        again, same = people.sample_picture(np.random.default_rng(seed), motion, (128, 96))
        np.testing.assert_array_equal(image, again)
        assert image.shape == (96, 128, 3) and image.dtype == np.uint8 and image.std() > 3
        assert len(labels) == len(same) and 1 <= len(labels) <= 3
        for label, other in zip(labels, same):
            np.testing.assert_array_equal(label['keypoints'], other['keypoints'])
            x1, y1, x2, y2 = label['bbox']
            assert 0 <= x1 < x2 <= 128 and 0 <= y1 < y2 <= 96
            assert 0 < label['area'] <= (x2 - x1) * (y2 - y1)
            xy, flags = label['keypoints'][:, :2], label['keypoints'][:, 2]
            assert label['num_keypoints'] == (flags > 0).sum() and set(flags) <= {0, 1, 2}
            assert (xy[flags == 0] == 0).all()
            seen = xy[flags == 2]
            assert (seen >= label['bbox'][:2] - 4).all() and (seen <= label['bbox'][2:] + 4).all()
    with pytest.raises(ValueError, match=r'motion: expected \(N, 17, 3\)'):
        people.sample_picture(rng, motion[0])


def test_backgrounds_and_faults_are_seeded():
    for seed in range(20):
        one, two = (random_background(np.random.default_rng(seed), (64, 48)) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        assert one.shape == (48, 64, 3)
        faulty = degrade(np.random.default_rng(seed), one)
        assert faulty.shape == one.shape and faulty.dtype == np.uint8
    assert (random_background(np.random.default_rng(1), (64, 48)) != one).any()


def test_outfits_differ_and_keep_to_their_range(people):
    outfits = [people.wardrobe.dress(np.random.default_rng(seed)) for seed in range(30)]
    for outfit in outfits:
        assert outfit.colours.min() >= 0 and outfit.colours.max() <= 1
        assert outfit.thickness.min() >= 0 and outfit.thickness.max() < 0.07
    x, y, z = people.wardrobe.vertices.T
    chest = np.argmax(z - 9 * abs(x) - 9 * abs(y - y.mean()))
    assert np.std([o.colours[chest] for o in outfits], axis=0).min() > 0.1


def test_video_labels_are_where_the_people_are(video):
    frames = [video.frame(t) for t in range(0, 50, 5)]
    assert frames[0].shape == (180, 320, 3) and frames[0].dtype == np.uint8
    empty = np.median(frames, axis=0)  # both walk: the room alone
    for number in (0, 4, 9):
        moved = np.abs(frames[number] - empty).max(axis=-1) > 40
        for person in range(2):
            x1, y1, x2, y2 = video.boxes[person, 5 * number].round().astype(int)
            assert moved[y1:y2, x1:x2].mean() > 0.12
    with pytest.raises(IndexError, match='0 to 49'):
        video.frame(50)


def test_a_video_can_be_read_twice(people):
    video = TwoPeopleVideo(num_frames=3, size=(160, 90))
    frames = list(video)
    assert len(frames) == len(video) == 3
    np.testing.assert_array_equal(frames, list(video))
    assert np.abs(frames[2].astype(int) - video.frame(2)).max() <= 2  # sums in another order


def test_video_truth_is_consistent(video):
    assert video.keypoints_2d.shape == (2, 50, 17, 2) and video.keypoints_3d.shape == (2, 50, 17, 3)
    h36m = get_skeleton('h36m').joint_names
    projected = project(video.keypoints_3d, video.focal, video.center)
    for coco, name in ((13, 'left_knee'), (14, 'right_knee'), (16, 'right_foot'),
                       (9, 'left_wrist'), (6, 'right_shoulder')):
        gap = projected[:, :, h36m.index(name)] - video.keypoints_2d[:, :, coco]
        assert np.abs(gap).max() < 0.05 * 320 * 0.95 / 4  # pixels of 5 cm at 4 m
    inside = video.keypoints_2d[video.visible]
    boxes = video.boxes[video.visible][:, None]
    whole = (boxes[..., 0] > 0) & (boxes[..., 2] < 320)
    ok = (inside >= boxes[..., :2] - 1).all(-1) & (inside <= boxes[..., 2:] + 1).all(-1)
    assert ok[np.broadcast_to(whole, ok.shape)].all()
    assert np.linalg.norm(video.up) == pytest.approx(1)
    # the head is above the feet along `up`, and the people stand on one floor
    height = video.keypoints_3d @ video.up
    assert (height[:, :, 10] - height[:, :, 3] > 1.1).all()
    lowest = height[:, :, [3, 6]].min(axis=2).mean(axis=1)
    assert abs(lowest[0] - lowest[1]) < 0.04


def test_the_two_people_cross_or_do_not(video):
    middle = (video.boxes[..., 0] + video.boxes[..., 2]) / 2
    assert len(np.unique(np.sign(middle[0] - middle[1]))) == 2
    distance = np.linalg.norm(video.keypoints_3d[0, :, 0] - video.keypoints_3d[1, :, 0], axis=-1)
    assert distance.min() > 0.5
    apart = TwoPeopleVideo(seed=1, num_frames=50, fps=10, size=(160, 90), crossing=False)
    assert (apart.boxes[0, :, 2] < apart.boxes[1, :, 0]).all()


def test_a_video_needs_a_frame():
    with pytest.raises(ValueError, match='num_frames'):
        TwoPeopleVideo(num_frames=0)
