"""Training, interruption, resuming and testing as a user does it, on the embedded motion."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from mmpose_lift.compat.checkpoint_loading import load_checkpoint_file

from .conftest import TINY

CONFIG = 'configs/demo_mixste.py'


def weights(path):
    return load_checkpoint_file(str(path))['state_dict']


@pytest.fixture(scope='module')
def trained(root_dir, tmp_path_factory):
    """Work folder of a run of three epochs."""
    work_dir = tmp_path_factory.mktemp('trained')
    subprocess.run([sys.executable, str(root_dir / 'tools/train.py'), str(root_dir / CONFIG),
                    '--work-dir', str(work_dir), '--cfg-options', *TINY, 'train_cfg.max_epochs=3',
                    'param_scheduler.1.T_max=3'],
                   check=True, capture_output=True)
    return work_dir


def test_checkpoints_test_to_their_metrics(tool, trained, root_dir, tmp_path):
    out = tmp_path / 'metrics.json'
    tool('test.py', root_dir / CONFIG, trained / 'epoch_3.pth', '--work-dir', tmp_path, '--out',
         out, options=TINY)
    metrics = json.loads(out.read_text())
    assert {'MPJPE', 'P-MPJPE', 'N-MPJPE', 'MPJVE', 'MPJPE/frame_mean'} <= set(metrics)
    assert 0 < metrics['P-MPJPE'] < metrics['MPJPE'] < 5000


def test_a_killed_run_resumes_to_the_same_weights(tool, trained, root_dir, tmp_path):
    options = [*TINY, 'train_cfg.max_epochs=3', 'param_scheduler.1.T_max=3']
    process = subprocess.Popen(
        [sys.executable, str(root_dir / 'tools/train.py'), str(root_dir / CONFIG), '--work-dir',
         str(tmp_path), '--cfg-options', *options], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**os.environ, 'OMP_NUM_THREADS': '1'})
    deadline = time.time() + 120
    while not (tmp_path / 'epoch_1.pth').exists() and time.time() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'epoch_3.pth').exists(), 'the run ended before it could be killed'
    for path in tmp_path.glob('*.pth'):
        weights(path)  # what is there under its final name is whole
    done = tool('train.py', root_dir / CONFIG, '--work-dir', tmp_path, '--resume', options=options)
    assert 'resumed epoch: ' in done.stdout + done.stderr
    assert not [p for p in tmp_path.iterdir() if 'partial' in p.name]
    expected, found = weights(trained / 'epoch_3.pth'), weights(tmp_path / 'epoch_3.pth')
    torch.testing.assert_close(dict(found), dict(expected), atol=1e-6, rtol=1e-5)


def test_two_processes_learn_what_one_learns(tool, root_dir, tmp_path):
    """Same global batch, no randomness: the same losses and weights with and without gloo."""
    options = [*TINY, 'train_cfg.max_epochs=1', 'param_scheduler.1.T_max=1',
               'train_dataloader.drop_last=True',
               # Adam's first steps blow up rounding where the gradient is nearly zero
               'optim_wrapper.optimizer.type=SGD', 'optim_wrapper.optimizer.lr=0.05',
               'default_hooks.logger.interval=1', 'log_processor.window_size=1']
    tool('train.py', root_dir / CONFIG, '--work-dir', tmp_path / 'one', options=options)
    tool('train.py', root_dir / CONFIG, '--work-dir', tmp_path / 'other',
         options=[*options, 'train_dataloader.sampler.seed=5'])
    halved = [o.replace('batch_size=4', 'batch_size=2') for o in options]
    env = {**os.environ, 'OMP_NUM_THREADS': '1', 'PORT': '29763',
           'PATH': os.path.dirname(sys.executable) + os.pathsep + os.environ['PATH']}
    done = subprocess.run(
        ['bash', str(root_dir / 'tools/dist_train.sh'), str(root_dir / CONFIG), '2', '--work-dir',
         str(tmp_path / 'two'), '--cfg-options', *halved], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two, other = (weights(tmp_path / n / 'epoch_1.pth') for n in ('one', 'two', 'other'))
    for key in one:  # rounding is far below what the order of the same windows changes
        assert (one[key] - two[key]).norm() < 0.1 * (one[key] - other[key]).norm(), key
    done = subprocess.run(
        ['bash', str(root_dir / 'tools/dist_test.sh'), str(root_dir / CONFIG),
         str(tmp_path / 'two/epoch_1.pth'), '2', '--out', str(tmp_path / 'two.json'), '--work-dir',
         str(tmp_path), '--cfg-options', *TINY], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    tool('test.py', root_dir / CONFIG, tmp_path / 'two/epoch_1.pth', '--out', tmp_path / 'one.json',
         '--work-dir', tmp_path, options=TINY)
    one, two = (json.loads((tmp_path / f'{n}.json').read_text()) for n in ('one', 'two'))
    assert one == pytest.approx(two, rel=1e-5)


def error_of(done):
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith('error: ')][-1]


def test_user_errors_are_one_line(tool, trained, root_dir, tmp_path):
    assert 'nowhere.py' in error_of(tool('train.py', 'nowhere.py', check=False))
    work = ['--work-dir', tmp_path]
    config = root_dir / CONFIG
    other = [o for o in TINY if 'in_channels' not in o and 'embed' not in o]
    message = error_of(tool('test.py', config, trained / 'epoch_3.pth', *work, options=other,
                            check=False))
    assert 'epoch_3.pth' in message and 'not of this model' in message
    message = error_of(tool('test.py', config, tmp_path / 'gone.pth', *work, options=TINY,
                            check=False))
    assert 'gone.pth' in message
    deeper = [o.replace('backbone.depth=1', 'backbone.depth=2') for o in TINY]
    message = error_of(tool('test.py', config, trained / 'epoch_3.pth', *work, options=deeper,
                            check=False))
    assert 'missing' in message
    message = error_of(tool('train.py', config, '--work-dir', tmp_path / 'empty', '--resume',
                            options=TINY, check=False))
    assert 'empty' in message
    message = error_of(tool('train.py', config, *work, options=[*TINY, 'max_epochs=3'],
                            check=False))
    assert 'max_epochs' in message


@pytest.mark.parametrize('line, name', [
    ("optim_wraper = dict()", 'optim_wrapper'),
    ("model = dict(backbone=dict(dpth=4))", 'dpth'),
    ("model = dict(backbone=dict(type='MixSTEE'))", 'MixSTEE'),
    ("model = dict(", 'typo.py'),
    ("train_dataloader = dict(dataset=dict(stores='nowhere'))", 'nowhere'),
    ("optim_wrapper = dict(optimizer=dict(type='AdmW'))", 'AdamW'),
    ("x = 1 / 0", 'typo.py'),
    ("optim_wrapper = None", 'optim_wrapper'),
    ("param_scheduler = [dict(type='CosineAnealingLR')]", 'CosineAnnealingLR'),
])
def test_a_config_typo_is_named(tool, root_dir, tmp_path, line, name):
    config = tmp_path / 'typo.py'
    config.write_text(f"_base_ = [{str(root_dir / 'configs/mixste_h36m.py')!r}]\n{line}\n")
    done = tool('train.py', config, '--work-dir', tmp_path / 'work', check=False)
    assert name in error_of(done)
