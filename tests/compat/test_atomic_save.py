"""A kill at any moment leaves whole checkpoints only, and one to resume from."""

import multiprocessing
import resource
import signal
import time
from collections import deque

import mmengine.runner
import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import runner as mmengine_runner

from mmpose_lift.compat import atomic_save
from mmpose_lift.compat.atomic_save import save_checkpoint

SMALL = dict(state_dict=dict(a=torch.ones(3)))


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def run_in_child(function, *arguments):
    """Start ``function`` in a forked process: it has the imports already and can be killed."""
    process = multiprocessing.get_context('fork').Process(target=function, args=arguments)
    process.start()
    return process


def _save_big(folder):
    save_checkpoint(dict(state_dict=dict(a=torch.zeros(50_000_000))), str(folder / 'epoch_2.pth'))


def test_kill_while_writing(tmp_path):
    save_checkpoint(SMALL, str(tmp_path / 'epoch_1.pth'))
    process = run_in_child(_save_big, tmp_path)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 1_000_000 for path in tmp_path.glob('.*.partial.pth')):
        assert process.is_alive() and time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [name for name in files(tmp_path) if not name.startswith('.')] == ['epoch_1.pth']
    assert len(files(tmp_path)) == 2  # and the hidden leftover
    torch.testing.assert_close(torch.load(tmp_path / 'epoch_1.pth'), SMALL)
    atomic_save._cleaned.discard(tmp_path.resolve())
    save_checkpoint(SMALL, str(tmp_path / 'epoch_2.pth'))  # the next run
    assert files(tmp_path) == ['epoch_1.pth', 'epoch_2.pth']


def _save_on_a_full_disk(save, path):
    # no space after 1 MB: what a kill in the middle does, at an exact place
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    save(dict(state_dict=dict(a=torch.ones(1_000_000))), str(path))


@pytest.mark.parametrize('kind', ['plugin', 'stock'])
def test_full_disk_and_still_needed(tmp_path, kind):
    """If the stock half fails, MMEngine has become atomic and the item can go."""
    path = tmp_path / 'epoch_1.pth'
    save = save_checkpoint if kind == 'plugin' else atomic_save._original_save
    save(SMALL, str(path))
    process = run_in_child(_save_on_a_full_disk, save, path)
    process.join()
    assert process.exitcode == 1 and files(tmp_path) == ['epoch_1.pth']
    if kind == 'plugin':
        torch.testing.assert_close(torch.load(path), SMALL)
    else:
        assert path.stat().st_size == 1_000_000  # the old one is gone, the new one is cut off


def test_same_content_and_permissions(tmp_path):
    checkpoint = dict(meta=dict(epoch=1), state_dict=dict(a=torch.arange(4)))
    save_checkpoint(checkpoint, str(tmp_path / 'new' / 'ours.pth'))
    atomic_save._original_save(checkpoint, str(tmp_path / 'theirs.pth'))
    ours, theirs = tmp_path / 'new' / 'ours.pth', tmp_path / 'theirs.pth'
    assert ours.read_bytes() == theirs.read_bytes()
    assert ours.stat().st_mode == theirs.stat().st_mode
    save_checkpoint(checkpoint, str(ours), backend_args=dict(backend='local'))
    save_checkpoint(checkpoint, str(ours), file_client_args=dict(backend='disk'))
    assert ours.read_bytes() == theirs.read_bytes() and files(ours.parent) == ['ours.pth']


def test_remote_storage_is_left_alone(monkeypatch):
    calls = []
    monkeypatch.setattr(atomic_save, '_original_save', lambda *args: calls.append(args))
    save_checkpoint({}, 'pavi://folder/a.pth')
    assert calls == [({}, 'pavi://folder/a.pth', None, None)]


def test_living_writer_keeps_its_file(tmp_path):
    dead, alive = tmp_path / '.a.abcd1234.partial.pth', tmp_path / '.b.abcd1234.partial.pth'
    other = tmp_path / '.a.partial.pth'
    for path in (dead, other):
        path.write_bytes(b'x')
    with atomic_save._locked(alive):
        assert atomic_save.remove_leftovers(tmp_path) == [dead]
    assert files(tmp_path) == sorted([other.name, alive.name])


class _Runner:
    """What CheckpointHook needs of a runner; saving notes which files exist at that moment."""

    def __init__(self, folder):
        self.work_dir, self.folder = str(folder), folder
        self.seen, self.fail = [], False
        self.epoch = self.iter = 0
        self.message_hub = self
        self.runtime_info, self.logger = {}, self

    def update_info(self, key, value):
        self.runtime_info[key] = value

    def get_info(self, key):
        return self.runtime_info[key]

    def info(self, text):
        pass

    def save_checkpoint(self, out_dir, filename, *args, **kwargs):
        self.seen.append((filename, sorted(path.name for path in self.folder.glob('*.pth'))))
        if self.fail:
            raise KeyboardInterrupt
        save_checkpoint({'a': filename}, f'{out_dir}/{filename}')


def _hook(folder, **kwargs):
    runner = _Runner(folder)
    hook = CheckpointHook(interval=1, **kwargs)
    hook.out_dir, hook.keep_ckpt_ids = str(folder), deque([], 1)
    hook.file_client = hook.file_backend = get_file_backend(str(folder))
    return hook, runner


def test_old_checkpoint_is_deleted_last(tmp_path):
    """Stock lifting configs keep one checkpoint: upstream deletes it, then writes the next."""
    hook, runner = _hook(tmp_path, max_keep_ckpts=1)
    for epoch in range(3):
        runner.epoch = epoch
        hook._save_checkpoint(runner)
    assert runner.seen == [('epoch_1.pth', []), ('epoch_2.pth', ['epoch_1.pth']),
                           ('epoch_3.pth', ['epoch_2.pth'])]
    assert files(tmp_path) == ['epoch_3.pth', 'last_checkpoint']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'epoch_3.pth')
    runner.fail, runner.epoch = True, 3
    with pytest.raises(KeyboardInterrupt):
        hook._save_checkpoint(runner)
    assert files(tmp_path) == ['epoch_3.pth', 'last_checkpoint']
    assert mmengine_checkpoint.find_latest_checkpoint(str(tmp_path)).endswith('epoch_3.pth')


def test_best_checkpoint_is_deleted_last(tmp_path):
    hook, runner = _hook(tmp_path, max_keep_ckpts=1, save_best='MPJPE', rule='less')
    hook.best_ckpt_path = None
    for epoch, error in ((1, 9.0), (2, 8.0), (3, 8.5)):
        runner.epoch = epoch - 1
        hook._save_checkpoint(runner)
        runner.epoch = epoch
        hook._save_best_checkpoint(runner, {'MPJPE': error})
    saved = dict(runner.seen)
    assert 'best_MPJPE_epoch_1.pth' in saved['best_MPJPE_epoch_2.pth']
    assert files(tmp_path) == ['best_MPJPE_epoch_2.pth', 'epoch_3.pth', 'last_checkpoint']


def test_upstream_deletes_first(tmp_path):
    """If this fails, MMEngine deletes after saving and ``_delete_last`` can go."""
    hook, runner = _hook(tmp_path, max_keep_ckpts=1)
    stock = CheckpointHook._save_checkpoint_with_step.__wrapped__
    for epoch in (1, 2):
        stock(hook, runner, epoch, {})
    assert runner.seen[1] == ('epoch_2.pth', [])


def test_last_checkpoint_is_written_whole(tmp_path):
    path = tmp_path / 'last_checkpoint'
    path.write_text('old')
    with pytest.raises(KeyboardInterrupt):
        with atomic_save._open_atomically(str(path), 'w') as file:
            file.write('half')
            raise KeyboardInterrupt
    assert path.read_text() == 'old' and files(tmp_path) == ['last_checkpoint']
    with atomic_save._open_atomically(str(path), 'w') as file:
        file.write('new')
    with atomic_save._open_atomically(str(path)) as file:
        assert file.read() == 'new'


def test_installed():
    for module in (mmengine.runner, mmengine_runner, mmengine_checkpoint):
        assert module.save_checkpoint is save_checkpoint
    before = CheckpointHook._save_checkpoint_with_step, mmengine_checkpoint.save_checkpoint
    atomic_save.install()
    assert before == (CheckpointHook._save_checkpoint_with_step,
                      mmengine_checkpoint.save_checkpoint)
