"""tools/prepare_data.py: every format through the command line, and its errors."""

import importlib.util

import numpy as np
import pytest

from mmpose_lift.io import PoseStore
from tests.amass_files import save_bodies, save_motion


@pytest.fixture(scope='module')
def tool(root_dir):
    spec = importlib.util.spec_from_file_location(
        'prepare_data', root_dir / 'tools/prepare_data.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(tool, tmp_path):
    """Run the tool with words as on a command line; {0} is the folder of the test."""

    def call(*words):
        return tool.main([str(word).format(tmp_path) for word in words])

    return call


def test_synthetic_then_project_info_verify(run, tmp_path, capsys):
    assert run('synthetic', '--clips', 3, '--frames', 40, '--out', '{0}/world') == 0
    assert (
        run(
            'project',
            '{0}/world',
            '--cameras',
            'S1.54138969',
            'S9.60457274',
            '--cameras-per-clip',
            1,
            '--noise',
            'detected',
            '--noise-param',
            'jitter=1',
            '--out',
            '{0}/2d',
        )
        == 0
    )
    store = PoseStore.open(tmp_path / '2d')
    assert store.sources_2d == ['detected', 'gt'] and 'synthetic' in store.source
    assert {s.camera for s in store.sequences} <= {'S1.54138969', 'S9.60457274'}
    assert run('verify', '{0}/2d') == 0 and run('info', '{0}/2d') == 0
    text = capsys.readouterr().out
    assert '120 frames' in text and 'synthetic' in text and 'detected, gt' in text


def test_cmu_formats(run, tmp_path, shared_dir):
    mocap = shared_dir / 'mocap'
    raw = mocap / 'raw'
    assert run('mocap-npz', mocap / 'val_short.npz', '--out', '{0}/npz') == 0
    assert (
        run(
            'bvh',
            raw / 'bvh_motionbuilder/16_22.bvh',
            raw / 'bvh_motionbuilder/35_01.bvh',
            '--out',
            '{0}/bvh',
        )
        == 0
    )
    assert (
        run(
            'asf-amc',
            raw / 'asf_amc/16.asf',
            raw / 'asf_amc/16_22.amc',
            '--fps',
            60,
            '--out',
            '{0}/amc',
        )
        == 0
    )
    assert len(PoseStore.open(tmp_path / 'npz').sequences) == 67
    assert [s.name for s in PoseStore.open(tmp_path / 'bvh').sequences] == [
        '16/16_22/',
        '35/35_01/',
    ]
    assert PoseStore.open(tmp_path / 'amc').sequences[0].fps == 60


def test_human36m_formats(run, tmp_path, shared_dir, rng):
    poses = {'S1': {'Walking': rng.normal(size=(4, 32, 3)) + (0, 0, 1)}}
    np.savez(tmp_path / 'data_3d_h36m.npz', positions_3d=np.array(poses, dtype=object))
    views = {'S1': {'Walking': [np.zeros((4, 17, 2))] * 4}}
    np.savez(tmp_path / 'data_2d_h36m_cpn.npz', positions_2d=np.array(views, dtype=object))
    two_d = '{0}/data_2d_h36m_cpn.npz'
    assert (
        run(
            'videopose3d-h36m',
            '{0}/data_3d_h36m.npz',
            '--keypoints-2d',
            two_d,
            f'other={two_d}',
            '--out',
            '{0}/vp3d',
        )
        == 0
    )
    assert PoseStore.open(tmp_path / 'vp3d').sources_2d == ['cpn', 'gt', 'other']
    folder = shared_dir / 'mmpose_fixtures' / 'h36m'
    assert (
        run(
            'mmpose-h36m',
            folder / 'test_h36m_body3d.npz',
            '--cameras',
            folder / 'cameras.pkl',
            '--detections',
            f'det={folder / "test_h36m_2d_detection.npy"}',
            '--out',
            '{0}/mm',
        )
        == 0
    )
    assert PoseStore.open(tmp_path / 'mm').sources_2d == ['det', 'gt']


def test_amass(run, tmp_path, capsys):
    save_bodies(tmp_path)
    save_motion(tmp_path / 'amass', 'MPI_HDM05/bd/walk_poses', frames=60)
    save_motion(tmp_path / 'amass', 'SFU/0005/jump_poses', frames=60, gender='female')
    regressor = '{0}/J_regressor_h36m.npy'
    files = ('--body', '{0}/smplh', '--regressor', regressor, '--dmpl', '{0}/dmpls')
    assert run('amass', '{0}/amass', *files, '--split', 'val', '--out', '{0}/val') == 0
    store = PoseStore.open(tmp_path / 'val')
    assert [s.name for s in store.sequences] == ['MPIHDM05/bd/walk/', 'SFU/0005/jump/']
    assert store.num_frames == 50 and store.frame == 'world'
    assert 'note: 1 of 3 sub-datasets are not in' in capsys.readouterr().err
    assert run('amass', '{0}/amass', *files, '--subsets', 'SFU', '--out', '{0}/sfu') == 0
    assert PoseStore.open(tmp_path / 'sfu').subjects == ['SFU/0005']
    assert run('amass', '{0}/amass', *files, '--split', 'train', '--out', '{0}/train') == 1
    error = capsys.readouterr().err
    assert 'error: ' in error and 'none of the sub-datasets CMU, DanceDB' in error
    assert run('amass', '{0}/amass', *files[:-1], '{0}', '--split', 'val', '--out', '{0}/b') == 1
    assert 'no DMPL directions for gender' in capsys.readouterr().err


def test_errors_are_one_line(run, tmp_path, capsys):
    assert run('synthetic', '--clips', 1, '--frames', 10, '--out', '{0}/a') == 0
    capsys.readouterr()
    before = sorted(path.name for path in tmp_path.iterdir())
    for words, message in [
        (('synthetic', '--out', '{0}/a'), 'exists already'),
        (('mocap-npz', '{0}/none.npz', '--out', '{0}/b'), 'no such file'),
        (('project', '{0}/a', '--cameras', 'S1.1', '--out', '{0}/b'), 'no Human3.6M camera S1.1'),
        (
            ('project', '{0}/a', '--noise', 'n', '--noise-param', 'jitter', '--out', '{0}/b'),
            'NAME=VALUE',
        ),
        (
            ('project', '{0}/a', '--noise', 'n', '--noise-param', 'jiter=1', '--out', '{0}/b'),
            'jiter',
        ),
        (
            ('videopose3d-h36m', 'x.npz', '--keypoints-2d', 'a=b', 'a=c', '--out', '{0}/b'),
            "two files for source 'a'",
        ),
        (('info', '{0}'), 'not a store'),
    ]:
        assert run(*words) == 1
        error = capsys.readouterr().err
        assert message in error and 'Traceback' not in error, error
        assert [line for line in error.splitlines() if line.startswith('error: ')]
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert run('synthetic', '--clips', 2, '--frames', 10, '--overwrite', '--out', '{0}/a') == 0
    assert len(PoseStore.open(tmp_path / 'a').sequences) == 2


def test_help(tool, capsys):
    for words in (['--help'], ['project', '--help']):
        with pytest.raises(SystemExit) as stop:
            tool.main(words)
        assert stop.value.code == 0
    assert 'cameras-per-clip' in capsys.readouterr().out
