import os
import subprocess
import sys

import pytest

TINY = [
    'model.backbone.embed_dims=16', 'model.backbone.depth=1', 'model.backbone.num_heads=2',
    'model.head.in_channels=16', 'train_dataloader.dataset.stores.num_clips=2',
    'train_dataloader.dataset.stores.num_frames=120', 'train_dataloader.batch_size=4',
    'test_dataloader.dataset.stores.num_clips=2', 'test_dataloader.dataset.stores.num_frames=60',
    'val_dataloader.dataset.stores.num_clips=2', 'val_dataloader.dataset.stores.num_frames=60',
    'default_hooks.checkpoint.interval=1', 'default_hooks.checkpoint.max_keep_ckpts=-1',
    'train_cfg.val_interval=10', 'param_scheduler.0.end=2',
    'train_dataloader.dataset.flip=copies',  # no randomness, so that runs can be compared
]


@pytest.fixture
def tool(root_dir):
    """Run a command line of tools/ in a process of its own."""

    def run(name, *args, options=(), check=True, **kwargs):
        command = [sys.executable, str(root_dir / 'tools' / name), *map(str, args)]
        if options:
            command += ['--cfg-options', *options]
        done = subprocess.run(command, capture_output=True, text=True,
                              env={**os.environ, 'OMP_NUM_THREADS': '1'}, **kwargs)
        if check and done.returncode:
            raise AssertionError(f'{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}')
        return done

    return run
