"""Readers of CMU motion: compact sets, BVH and ASF/AMC, against each other and hand-made files."""

import numpy as np
import pytest

from mmpose_lift.geometry import get_skeleton
from mmpose_lift.geometry.rotations import euler_to_matrix
from mmpose_lift.io.readers.asf_amc import amc_keypoints, parse_amc, parse_asf, read_asf_amc
from mmpose_lift.io.readers.bvh import bvh_keypoints, parse_bvh, read_bvh
from mmpose_lift.io.readers.kinematics import JointMotion, MotionFileError
from mmpose_lift.io.readers.mocap_npz import read_mocap_npz

NAMES = get_skeleton('h36m').joint_names


def distances(a, b):
    """(K,) largest distance of each joint, mm."""
    assert a.shape == b.shape
    return np.linalg.norm(a - b, axis=-1).max(axis=0) * 1000


@pytest.fixture(scope='module')
def reference(shared_dir):
    recording = read_mocap_npz([shared_dir / 'mocap' / 'train_short.npz'])
    return {clip.sequence.subaction: clip.keypoints_3d for clip in recording.clips}


# ---------------------------------------------------------------- the real files


def test_amc_is_the_reference(shared_dir, reference):
    raw = shared_dir / 'mocap' / 'raw' / 'asf_amc'
    [clip] = read_asf_amc(raw / '16.asf', [raw / '16_22.amc']).clips
    assert clip.sequence.subject == '16' and clip.sequence.subaction == '16_22'
    assert clip.sequence.fps == 50 and clip.keypoints_3d.dtype == np.float32
    assert distances(clip.keypoints_3d, reference['16_22']).max() < 0.1  # storage: 0.09 mm


def test_bvh_is_the_reference(shared_dir, reference):
    points = bvh_keypoints(shared_dir / 'mocap' / 'raw' / 'bvh_motionbuilder' / '35_01.bvh')
    assert distances(points, reference['35_01']).max() < 0.1


def test_bvh_with_its_lost_thorax_is_close_to_amc(shared_dir, reference):
    points = bvh_keypoints(shared_dir / 'mocap' / 'raw' / 'bvh_motionbuilder' / '16_22.bvh')
    difference = distances(points, reference['16_22'])
    trunk = NAMES.index('thorax')
    assert difference[:trunk].max() < 0.1 and difference[trunk:].max() < 7


def test_daz_bvh_is_a_standing_person_with_constant_bones(shared_dir):
    points = bvh_keypoints(shared_dir / 'mocap' / 'raw' / 'bvh_daz' / '13_40.bvh')
    skeleton = get_skeleton('h36m')
    assert points.shape == (133, 17, 3)  # 319 frames of 120 Hz
    assert 1.3 < np.ptp(points[0, :, 2]) < 1.8 and abs(points[..., 2].min()) < 0.1
    assert np.abs(np.diff(points, axis=0)).max() * 50 < 18
    for parent, child in skeleton.bones:
        length = np.linalg.norm(points[:, child] - points[:, parent], axis=-1)
        rigid = skeleton.joint_names[child] != 'spine'  # the back bends below it
        assert np.ptp(length) < (1e-5 if rigid else 0.02)


def test_source_rate_and_first_frame(shared_dir):
    file = shared_dir / 'mocap' / 'raw' / 'bvh_motionbuilder' / '16_22.bvh'
    native = bvh_keypoints(file, fps=120)
    assert len(native) == 307
    assert len(bvh_keypoints(file, fps=120, keep_first_frame=True)) == 308
    np.testing.assert_allclose(bvh_keypoints(file, fps=60, source_fps=60), native, atol=1e-6)
    np.testing.assert_allclose(bvh_keypoints(file, fps=60), native[::2], atol=1e-6)


def test_mocap_npz_files_together(shared_dir, reference):
    folder = shared_dir / 'mocap'
    recording = read_mocap_npz([folder / 'val.npz', folder / 'val_short.npz'])
    clips = list(recording.clips)
    assert recording.total == len(clips) == 82 and recording.frame == 'world'
    assert sum(len(clip.keypoints_3d) for clip in clips) == 9803 + 9390
    labels = [clip.sequence.subaction for clip in clips]
    assert len(set(labels)) == len(labels)
    assert {clip.sequence.subject for clip in clips} == {'3', '5', '7', '12', '27', '127', '131'}
    z = np.load(folder / 'val.npz')
    exact = z['root'][:, None] + z['rel'].astype(np.float64) * 1e-4
    np.testing.assert_allclose(clips[0].keypoints_3d, exact[: z['offsets'][1]], atol=1e-6)


# ---------------------------------------------------------------- hand-made files


def test_resampling_keeps_the_first_frame_and_bone_lengths():
    angles = np.linspace(0, 90, 13)
    motion = JointMotion(
        ['a', 'b'],
        [-1, 0],
        np.array([[0, 0, 0], [0, 2.0, 0]]),
        np.stack(
            [euler_to_matrix(angles[:, None], 'z', True), np.broadcast_to(np.eye(3), (13, 3, 3))], 1
        ),
        np.stack([np.arange(13.0), np.zeros(13), np.zeros(13)], -1),
        120,
    )
    slow = motion.resample(50)
    assert len(slow.positions) == 6  # 0, 2.4, ..., 12
    points = slow.points()
    expected = np.deg2rad(np.arange(6) * 2.4 * 7.5)
    np.testing.assert_allclose(points[:, 0, 0], np.arange(6) * 2.4, atol=1e-12)
    np.testing.assert_allclose(
        points[:, 1] - points[:, 0],
        2 * np.stack([-np.sin(expected), np.cos(expected), 0 * expected], -1),
        atol=1e-12,
    )
    assert len(motion.resample(120).positions) == 13
    assert (
        len(
            JointMotion(['a'], [-1], np.zeros((1, 3)), np.eye(3)[None, None], np.zeros((1, 3)), 120)
            .resample(50)
            .positions
        )
        == 1
    )


BVH = """HIERARCHY
ROOT a
{
  OFFSET 0 1 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT b
  {
    OFFSET 0 2 0
    CHANNELS 3 Xrotation Zrotation Yrotation
    End Site
    {
      OFFSET 0 3 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.0083333
1 0 0 0 0 0 0 0 0
0 0 5 90 0 0 90 0 0
"""


def test_hand_made_bvh(tmp_path):
    file = tmp_path / 'x.bvh'
    file.write_text(BVH)
    motion = parse_bvh(file)
    assert motion.names == ['a', 'b', 'b.end'] and motion.fps == 120
    points = motion.points()
    np.testing.assert_allclose(points[0], [[1, 1, 0], [1, 3, 0], [1, 6, 0]], atol=1e-12)
    # Turned about z: up becomes -x. The child turns about its own x first: up becomes z.
    np.testing.assert_allclose(points[1], [[0, 1, 5], [-2, 1, 5], [-2, 1, 8]], atol=1e-12)


@pytest.mark.parametrize(
    'old, new, line, message',
    [
        ('HIERARCHY', 'HIERARCHIE', 1, 'must begin with HIERARCHY'),
        ('OFFSET 0 2 0', 'OFFSET 0 2', 8, 'unexpected'),
        ('OFFSET 0 2 0', 'OFFSET 0 two 0', 8, 'expected numbers'),
        ('CHANNELS 3 Xr', 'CHANNELS 4 Xr', 9, 'expected CHANNELS'),
        ('Yrotation\n    End', 'Wrotation\n    End', 9, 'expected CHANNELS'),
        ('MOTION\nFrames: 2', 'MOTION', 16, 'must be followed by'),
        ('Frames: 2', 'Frames: 3', 20, '2 frames, expected 3'),
        ('90 0 0 90 0 0', '90 0 0 90 0', 20, 'frame 1 has 8 values, expected 9'),
        ('5 90', 'nan 90', 20, 'not finite'),
        ('JOINT b', 'ROOT b', 6, 'not allowed'),
    ],
)
def test_malformed_bvh(tmp_path, old, new, line, message):
    file = tmp_path / 'x.bvh'
    assert old in BVH
    file.write_text(BVH.replace(old, new))
    with pytest.raises(MotionFileError, match=f'x.bvh, line {line}: .*{message}'):
        parse_bvh(file)


def test_truncated_and_foreign_bvh(tmp_path):
    file = tmp_path / 'x.bvh'
    file.write_text(BVH[:100])
    with pytest.raises(MotionFileError, match='x.bvh, line'):
        parse_bvh(file)
    file.write_text('')
    with pytest.raises(MotionFileError, match='must begin with HIERARCHY'):
        parse_bvh(file)
    file.write_bytes(b'HIERARCHY\n\xff\xfe')
    with pytest.raises(MotionFileError, match='line 2: not a text file'):
        parse_bvh(file)
    file.write_text(BVH)
    with pytest.raises(ValueError, match=r'joints .* are missing.*found a, b'):
        bvh_keypoints(file)
    with pytest.raises(FileNotFoundError, match='no such file'):
        read_bvh([tmp_path / 'y.bvh'])


ASF = """# comment
:version 1.10
:units
  mass 1.0
  length 0.5
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name upper
     direction 0 1 0
     length 2
     axis 0 0 90 XYZ
    dof rx ry
    limits (-160.0 20.0)
           (-70.0 70.0)
  end
  begin
     id 2
     name tip
     direction 0 1 0
     length 3
     axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root upper
    upper tip
  end
"""
AMC = """#!OML
:FULLY-SPECIFIED
:DEGREES
1
root 1 0 0 0 0 90
upper 0 0
2
root 0 0 0 0 0 0
upper 90 0
"""


def write_acclaim(tmp_path, asf=ASF, amc=AMC):
    (tmp_path / 'x.asf').write_text(asf)
    (tmp_path / 'x.amc').write_text(amc)
    return tmp_path / 'x.asf', tmp_path / 'x.amc'


def test_hand_made_acclaim(tmp_path):
    asf, amc = write_acclaim(tmp_path)
    skeleton = parse_asf(asf)
    assert skeleton.unit == pytest.approx(0.0254 / 0.5)
    motion = parse_amc(amc, skeleton)
    points = dict(zip(motion.names, np.moveaxis(motion.points(), 1, 0)))
    np.testing.assert_allclose(points['upper'][0], [-1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(points['tip'][0], [-4, 0, 0], atol=1e-12)
    # The bone's own x axis is the world's y (axis 0 0 90), so a turn about it leaves it upright.
    np.testing.assert_allclose(points['tip'][1], [0, 5, 0], atol=1e-12)
    (tmp_path / 'x.amc').write_text(AMC.replace('upper 90 0', 'upper 0 90'))
    tip = dict(zip(motion.names, np.moveaxis(parse_amc(amc, skeleton).points(), 1, 0)))['tip']
    np.testing.assert_allclose(tip[1], [0, 0, -5], atol=1e-12)  # y axis is the world's -x
    with pytest.raises(ValueError, match='no bone .*head'):
        amc_keypoints(amc, skeleton)


@pytest.mark.parametrize(
    'old, new, message',
    [
        (':units', ':unit', r':units is missing'),
        ('length 0.5', 'length', ':units must give the length'),
        (
            'direction 0 1 0\n     length 2',
            'direction 0 1\n     length 2',
            "line 16: wrong values for 'dir",
        ),
        ('dof rx ry', 'dof rx l', 'line 19: .*only rotations'),
        ('upper tip', 'upper top', "line 33: bone 'top' is not in :bonedata"),
        ('    upper tip\n', '', 'without a parent.*tip'),
        ('RY RZ', 'RY', 'root needs "order"'),
        (':version', 'version', 'line 2: not an ASF file'),
    ],
)
def test_malformed_asf(tmp_path, old, new, message):
    assert old in ASF
    asf, _ = write_acclaim(tmp_path, asf=ASF.replace(old, new))
    with pytest.raises(MotionFileError, match=message):
        parse_asf(asf)


@pytest.mark.parametrize(
    'old, new, message',
    [
        ('upper 90 0', 'upper 90', "line 9: bone 'upper' with 1 values; the skeleton has 2"),
        (
            'upper 90 0',
            'other 90 0',
            "line 9: bone 'other' with 2 values; the skeleton has no such",
        ),
        ('upper 90 0\n', '', 'line 8: frame 2 lacks upper'),
        ('\n2\n', '\n3\n', 'line 7: frame 3, expected 2'),
        ('upper 90 0', 'upper 90 x', 'line 9: expected numbers'),
        ('upper 0 0\n', '', 'line 6: frame 1 lacks upper'),
        ('\n1\n', '\n', 'line 4: not an AMC file'),
        (AMC, '', 'no frame'),
    ],
)
def test_malformed_amc(tmp_path, old, new, message):
    assert old in AMC
    asf, amc = write_acclaim(tmp_path, amc=AMC.replace(old, new))
    with pytest.raises(MotionFileError, match=message):
        parse_amc(amc, parse_asf(asf))


def compact(tmp_path, **changes):
    arrays = dict(
        root=np.zeros((6, 3), np.float32),
        rel=np.ones((6, 17, 3), np.int16),
        offsets=np.array([0, 2, 3, 6]),
        names=np.array(['01_01', '01_02', '01_01']),
        subjects=np.array([1, 1, 1], np.int16),
        fps=np.float32(50),
    )
    arrays.update(changes)
    file = tmp_path / 'set.npz'
    np.savez(file, **{key: value for key, value in arrays.items() if value is not None})
    return file


def test_pieces_of_one_trial_are_numbered(tmp_path):
    clips = list(read_mocap_npz([compact(tmp_path)]).clips)
    assert [clip.sequence.subaction for clip in clips] == ['01_01.1', '01_02', '01_01.2']
    np.testing.assert_allclose(clips[0].keypoints_3d, 1e-4)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(rel=None), 'lacks rel'),
        (dict(rel=np.zeros((6, 16, 3), np.int16)), r'expected \(frames, 17, 3\)'),
        (dict(root=np.full((6, 3), np.nan, np.float32)), 'not finite'),
        (dict(root=np.zeros((5, 3), np.float32)), 'different lengths'),
        (dict(offsets=np.array([0, 2, 2, 6])), 'without empty clips'),
        (dict(offsets=np.array([0, 2, 6])), 'in 4 values'),
    ],
)
def test_malformed_compact_set(tmp_path, change, message):
    with pytest.raises(ValueError, match=f'set.npz.*{message}'):
        read_mocap_npz([compact(tmp_path, **change)])
    (tmp_path / 'set.npz').write_bytes(b'PK\x03\x04 cut')
    with pytest.raises(ValueError, match='set.npz'):
        read_mocap_npz([tmp_path / 'set.npz'])
