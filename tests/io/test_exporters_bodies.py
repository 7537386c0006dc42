"""Bodies in files: what is read back is the same body at the same place."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmpose_lift.geometry.rotations import quaternion_to_matrix
from mmpose_lift.geometry.skeletons import get_skeleton
from mmpose_lift.io.body_motion import read_body_motion
from mmpose_lift.io.body_surface import BodySurface
from mmpose_lift.io.exporters import (
    read_json,
    read_npz,
    write_bvh,
    write_gltf,
    write_json,
    write_npz,
    write_obj,
    write_smpl_npz,
    write_video_poses,
)
from mmpose_lift.io.readers.bvh import parse_bvh
from mmpose_lift.io.video_poses import GROUND_FRAME
from mmpose_lift.models.body import BodyModel
from tests.body_poses_example import body_poses
from tests.video_poses_example import example_poses, example_track

Y_UP = np.diag([1.0, -1, -1])  # of a level camera
Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


@pytest.fixture(scope='module')
def body():
    return BodyModel.stand_in()


@pytest.fixture(scope='module')
def poses(body):
    return body_poses(body)


@pytest.fixture(scope='module')
def surfaces(poses):
    """Vertices of both people, camera axes."""
    surface = BodySurface(poses)
    return [surface.vertices(track) for track in poses.tracks]


def test_surfaces_are_where_the_keypoints_are(poses, surfaces, body):
    for track, vertices in zip(poses.tracks, surfaces):
        joints = body.h36m_joints(torch.as_tensor(vertices)).numpy()
        np.testing.assert_allclose(joints, track.keypoints_3d + track.root_position[:, None],
                                   atol=1e-5)


@pytest.mark.parametrize('write, read, error', [(write_npz, read_npz, 1e-6),
                                                (write_json, read_json, 1e-5)])
def test_round_trip(tmp_path, poses, surfaces, write, read, error):
    path = tmp_path / ('a.npz' if write is write_npz else 'a.json')
    found = read(write(poses, path))
    assert found.focal == poses.focal and found.body_model == 'stand_in'
    surface = BodySurface(found)
    for track, one, vertices in zip(poses.tracks, found.tracks, surfaces):
        np.testing.assert_allclose(one.body.joints, track.body.joints, atol=error)
        np.testing.assert_allclose(surface.vertices(one), vertices, atol=3 * error)


def test_who_has_no_body_stays_without(tmp_path, poses):
    mixed = replace(poses, tracks=[poses.tracks[0], replace(poses.tracks[1], body=None)])
    first, second = read_npz(write_npz(mixed, tmp_path / 'a.npz')).tracks
    assert first.body is not None and second.body is None
    assert read_npz(write_npz(example_poses(), tmp_path / 'b.npz')).tracks[0].body is None
    wrong = replace(poses.tracks[0].body, transl=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r'track 1: body.transl: expected shape \(6, 3\)'):
        write_npz(replace(poses, tracks=[replace(poses.tracks[0], body=wrong)]), tmp_path / 'c.npz')


def test_amass_file_gives_the_surface(tmp_path, poses, surfaces, body):
    path, note = write_smpl_npz(poses, tmp_path / 'a_smpl.npz', poses.tracks[1])
    motion = read_body_motion(path)
    assert motion.poses.shape == (6, 72) and motion.fps == 25 and motion.gender == 'neutral'
    betas = torch.as_tensor(motion.betas).expand(6, -1)
    with torch.no_grad():
        vertices = body(betas, torch.as_tensor(motion.rotmats))[0].numpy()
    np.testing.assert_allclose(vertices + motion.trans[:, None], surfaces[1] @ Z_UP.T, atol=2e-5)
    assert vertices[..., 2].max() - vertices[..., 2].min() > 1.2  # they stand, z is up
    assert json.loads(note.read_text())['up'] == [0, 0, 1]
    male = replace(poses, body_model=dict(path='bodies/SMPL_MALE.npz', gender='male'))
    motion = read_body_motion(write_smpl_npz(male, path, poses.tracks[1])[0])
    assert (motion.body_model, motion.gender) == ('SMPL_MALE', 'male')


def test_uneven_times_become_even(tmp_path, poses, body):
    times = np.array([0, 1, 2, 4, 5, 6, 7, 8]) / 25
    [path, _] = write_smpl_npz(replace(poses, times=times), tmp_path / 'a.npz', poses.tracks[0])
    motion, track = read_body_motion(path), poses.tracks[0]
    assert len(motion) == 7  # frames 0 to 5 last six 25ths of a second
    np.testing.assert_allclose(motion.rotmats[4, 1:], track.body.rotmats[3, 1:], atol=1e-4)
    middle = (track.body.joints[2, 0] + track.body.joints[3, 0]) / 2 @ Z_UP.T
    with torch.no_grad():
        joints = body(torch.as_tensor(motion.betas)[None], torch.as_tensor(motion.rotmats[3:4]))[1]
    np.testing.assert_allclose(joints[0, 0].numpy() + motion.trans[3], middle, atol=1e-4)


def test_bvh_has_the_joints_and_rotations_of_the_body(tmp_path, poses):
    track = poses.tracks[1]
    [path, note] = write_bvh(poses, tmp_path / 'a.bvh', track)
    motion = parse_bvh(path)
    names = get_skeleton('smpl').joint_names
    joints = motion.points()[:, [motion.names.index(name) for name in names]] / 100
    np.testing.assert_allclose(joints, track.body.joints @ Y_UP.T, atol=1e-5)
    assert json.loads(note.read_text())['joint_names'] == list(names)
    assert len(motion.names) == 24 + 5


def read_glb(path):
    """The JSON and the arrays of the accessors of a .glb file."""
    data = path.read_bytes()
    magic, version, length = struct.unpack('<4sII', data[:12])
    assert (magic, version, length) == (b'glTF', 2, len(data))
    size, kind = struct.unpack('<I4s', data[12:20])
    assert kind == b'JSON' and size % 4 == 0
    gltf = json.loads(data[20:20 + size])
    bin_size, kind = struct.unpack('<I4s', data[20 + size:28 + size])
    assert kind == b'BIN\0' and bin_size == gltf['buffers'][0]['byteLength']
    binary = data[28 + size:]
    dtypes = {5126: np.float32, 5125: np.uint32, 5123: np.uint16}
    widths = dict(SCALAR=1, VEC3=3, VEC4=4, MAT4=16)
    arrays = []
    for accessor in gltf['accessors']:
        view = gltf['bufferViews'][accessor['bufferView']]
        assert view['byteOffset'] % 4 == 0
        array = np.frombuffer(binary, dtypes[accessor['componentType']],
                              accessor['count'] * widths[accessor['type']], view['byteOffset'])
        assert array.nbytes == view['byteLength']
        array = array.reshape(accessor['count'], -1)
        np.testing.assert_allclose(array.min(0), accessor['min'], rtol=1e-6)
        np.testing.assert_allclose(array.max(0), accessor['max'], rtol=1e-6)
        arrays.append(array)
    return gltf, arrays


def gltf_vertices(gltf, arrays, number, row):
    """What a viewer shows of a mesh at the time of a row: morph targets, then the skin."""
    node = next(i for i, n in enumerate(gltf['nodes']) if n.get('mesh') == number)
    mesh, skin = gltf['meshes'][number], gltf['skins'][gltf['nodes'][node]['skin']]
    moved, animation = {}, gltf['animations'][0]
    for channel in animation['channels']:
        sampler = animation['samplers'][channel['sampler']]
        if sampler['interpolation'] == 'LINEAR':
            target = channel['target']
            values = arrays[sampler['output']]
            count = len(values) // len(arrays[sampler['input']])
            moved[target['node'], target['path']] = values.reshape(-1, count, values.shape[1])[row]
    primitive = mesh['primitives'][0]
    attributes = primitive['attributes']
    vertices = arrays[attributes['POSITION']].astype(np.float64)
    if 'targets' in primitive:
        weights = moved[node, 'weights'][:, 0]
        assert len(weights) == len(primitive['targets']) == len(mesh['weights'])
        for weight, target in zip(weights, primitive['targets']):
            vertices = vertices + weight * arrays[target['POSITION']]
    world = {}

    def place(joint, parent):
        local = np.eye(4)
        x, y, z, w = moved[joint, 'rotation'][0]
        local[:3, :3] = quaternion_to_matrix(np.array([w, x, y, z], np.float64))
        translation = moved.get((joint, 'translation'))
        local[:3, 3] = (gltf['nodes'][joint]['translation'] if translation is None
                        else translation[0])
        world[joint] = parent @ local
        for child in gltf['nodes'][joint].get('children', ()):
            place(child, world[joint])

    place(skin['skeleton'], np.eye(4))
    inverse = arrays[skin['inverseBindMatrices']].reshape(-1, 4, 4).swapaxes(1, 2)
    matrices = np.stack([world[j] for j in skin['joints']]) @ inverse
    ones = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
    posed = np.zeros((len(vertices), 3))
    for i in range(sum(name.startswith('JOINTS') for name in attributes)):
        joints, weights = arrays[attributes[f'JOINTS_{i}']], arrays[attributes[f'WEIGHTS_{i}']]
        for k in range(4):
            posed += weights[:, k, None] * np.einsum('vij,vj->vi', matrices[joints[:, k]],
                                                     ones)[:, :3]
    return posed


def test_gltf_shows_the_surface_exactly(tmp_path, poses, surfaces):
    gltf, arrays = read_glb(write_gltf(poses, tmp_path / 'a.glb'))
    assert len(gltf['meshes']) == 2
    for number, vertices in enumerate(surfaces):
        for row in (0, 5):
            np.testing.assert_allclose(gltf_vertices(gltf, arrays, number, row),
                                       vertices[row] @ Y_UP.T, atol=2e-5)
    times = arrays[gltf['animations'][0]['samplers'][0]['input']]
    np.testing.assert_allclose(times[:, 0], np.arange(6) / 25, atol=1e-6)
    steps = [s for s in gltf['animations'][0]['samplers'] if s['interpolation'] == 'STEP']
    hidden = [(arrays[s['input']][:, 0] * 25, arrays[s['output']][:, 0]) for s in steps]
    np.testing.assert_allclose(hidden[0], [[0, 6], [1, 0]], atol=1e-5)  # leaves before the end
    np.testing.assert_allclose(hidden[1], [[0, 2], [0, 1]], atol=1e-5)  # comes later


def test_gltf_without_blend_shapes_is_small_and_close(tmp_path, poses, surfaces):
    path = write_gltf(poses, tmp_path / 'a.glb', pose_blend_shapes=False)
    assert path.stat().st_size < 2e6
    gltf, arrays = read_glb(path)
    difference = gltf_vertices(gltf, arrays, 0, 3) - surfaces[0][3] @ Y_UP.T
    assert 1e-4 < np.abs(difference).max() < 0.05


def test_obj_holds_every_frame(tmp_path, poses, surfaces):
    folder = write_obj(poses, tmp_path / 'obj')
    names = sorted(path.name for path in folder.glob('*.obj'))
    assert names == [f'frame_{i:06d}.obj' for i in range(8)]
    lines = (folder / names[3]).read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in lines if line.startswith('v ')], float)
    expected = np.concatenate([surfaces[0][3], surfaces[1][1]]) @ Y_UP.T
    np.testing.assert_allclose(vertices, expected, atol=1e-5)
    faces = np.array([line.split()[1:] for line in lines if line.startswith('f ')], int)
    count = len(surfaces[0][0])
    assert faces.min() == 1 and faces.max() == 2 * count
    assert [line for line in lines if line.startswith('o ')] == ['o person_1', 'o person_2']
    write_obj(poses, folder)  # an older one is replaced


def test_all_formats_in_one_call(tmp_path, poses):
    written = write_video_poses(poses, tmp_path, 'a', ['smpl', 'gltf', 'bvh', 'csv', 'trc'])
    names = {path.name for path in written}
    assert {'a_person1_smpl.npz', 'a_person2_smpl.npz', 'a.glb', 'a_person2.bvh', 'a.csv'} <= names
    assert all(path.exists() for path in written)
    nobody = replace(poses, tracks=[])
    assert write_video_poses(nobody, tmp_path, 'b', ['smpl', 'gltf', 'obj']) == []


def test_what_cannot_be_written_is_said(tmp_path, poses):
    with pytest.raises(ValueError, match='smpl, gltf need bodies, and no person of clip.mp4'):
        write_video_poses(example_poses(), tmp_path, 'a', ['smpl', 'gltf'])
    with pytest.raises(ValueError, match='track 1 of clip.mp4 has no body'):
        write_smpl_npz(example_poses(), tmp_path / 'a.npz', example_track(1, 0, 5))
    with pytest.raises(ValueError, match='were changed'):
        write_smpl_npz(replace(poses, frame=GROUND_FRAME), tmp_path / 'a.npz', poses.tracks[0])
    with pytest.raises(ValueError, match='which body model'):
        write_gltf(replace(poses, body_model=None), tmp_path / 'a.glb')
    with pytest.raises(FileNotFoundError, match='smpl.is.tue.mpg.de'):
        write_gltf(replace(poses, body_model='nowhere/SMPL_NEUTRAL.npz'), tmp_path / 'a.glb')
    with pytest.raises(ValueError, match='.glb'):
        write_gltf(poses, tmp_path / 'a.gltf')
    assert not list(tmp_path.glob('*.glb'))
