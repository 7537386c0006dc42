"""The mean of checkpoints: by hand, as a hook of a run, refusals."""

import runpy
import sys

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import nn

from mmpose_lift.compat.checkpoint_loading import load_checkpoint_file
from mmpose_lift.engine import AverageCheckpointsHook, average_checkpoints


def write(path, **tensors):
    torch.save(dict(state_dict=tensors, meta=dict(epoch=int(path.stem[-1])), optimizer=dict(a=1)),
               path)
    return path


def test_by_hand(tmp_path):
    paths = [write(tmp_path / f'epoch_{i}.pth', weight=torch.tensor([i, 10 / 3 * i]),
                   half=torch.tensor([i], dtype=torch.float16), count=torch.tensor(1000 * i + 1),
                   mask=torch.tensor([True, False])) for i in (1, 2, 4)]
    average_checkpoints(paths, tmp_path / 'out.pth')
    found = load_checkpoint_file(tmp_path / 'out.pth')
    assert set(found) == {'meta', 'state_dict'}
    assert found['meta'] == dict(epoch=4, averaged_from=['epoch_1.pth', 'epoch_2.pth',
                                                         'epoch_4.pth'])
    state = found['state_dict']
    torch.testing.assert_close(state['weight'], torch.tensor([7 / 3, 70 / 9]))
    torch.testing.assert_close(state['half'], torch.tensor([7 / 3], dtype=torch.float16))
    assert torch.equal(state['count'], torch.tensor(2334))  # (1001 + 2001 + 4001) / 3 = 2334.33
    assert torch.equal(state['mask'], torch.tensor([True, False]))
    average_checkpoints([tmp_path / 'out.pth', paths[0]], tmp_path / 'out.safetensors')
    again = load_checkpoint_file(tmp_path / 'out.safetensors')['state_dict']
    torch.testing.assert_close(again['weight'], torch.tensor([5 / 3, 50 / 9]))


@pytest.mark.parametrize('other, message', [
    (dict(weight=torch.zeros(3)), r'epoch_2.*wrong shape: weight \(3,\) instead of \(2,\)'),
    (dict(bias=torch.zeros(1)), r'epoch_2.*missing: weight'),
    (dict(), r"epoch_2.*expected tensors under 'state_dict'"),
    (dict(weight=torch.zeros(2), bias=torch.zeros(1)), r'epoch_2.*unexpected: bias'),
])
def test_checkpoints_of_other_models_are_refused(tmp_path, other, message):
    first = write(tmp_path / 'epoch_1.pth', weight=torch.zeros(2))
    with pytest.raises(ValueError, match=message):
        average_checkpoints([first, write(tmp_path / 'epoch_2.pth', **other)], tmp_path / 'o.pth')
    assert not (tmp_path / 'o.pth').exists()


def test_other_files_are_refused(tmp_path):
    first = write(tmp_path / 'epoch_1.pth', mask=torch.tensor([True]))
    with pytest.raises(ValueError, match='mask has other truth values'):
        average_checkpoints([first, write(tmp_path / 'epoch_2.pth', mask=torch.tensor([False]))],
                            tmp_path / 'o.pth')
    with pytest.raises(ValueError, match='no checkpoint'):
        average_checkpoints([], tmp_path / 'o.pth')
    with pytest.raises(ValueError, match='last must be at least 1'):
        AverageCheckpointsHook(last=0)


class Evil:
    def __reduce__(self):
        return print, ('run',)


@pytest.mark.parametrize('name, content, reason', [
    ('list.pth', [1], "expected tensors under 'state_dict', found list"),
    ('plain.pth', dict(weight=torch.zeros(1)), 'expected tensors .* found weight'),
    ('empty.pth', dict(state_dict={}), "expected tensors under 'state_dict'"),
    ('evil.pth', dict(state_dict=Evil()), 'refused, because it asks for'),
    ('text.npz', 'a text', 'not a readable torch checkpoint')])
def test_files_that_are_no_checkpoints(tmp_path, capsys, name, content, reason):
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match='not a checkpoint of tools/train.py: ' + reason) as error:
        average_checkpoints([path], tmp_path / 'o.pth')
    text = str(error.value)
    assert text.startswith(f'{path}: not a') and text.count(name) == 1 and '\n' not in text
    assert not capsys.readouterr().out


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_values_that_are_not_finite(tmp_path, value):
    paths = [write(tmp_path / f'epoch_{i}.pth', good=torch.ones(2), count=torch.tensor(i),
                   bad=torch.tensor([1, value if i == 2 else 1])) for i in (1, 2)]
    with pytest.raises(ValueError, match='epoch_2.pth: bad holds NaN or infinite'):
        average_checkpoints(paths, tmp_path / 'o.pth')
    assert not (tmp_path / 'o.pth').exists()


def test_a_checkpoint_counts_once(tmp_path):
    path = write(tmp_path / 'epoch_1.pth', weight=torch.ones(2))
    (tmp_path / 'latest.pth').symlink_to(path)
    for other, message in ((path, 'epoch_1.pth: given twice; expected different'),
                           (tmp_path / 'latest.pth', 'latest.pth: given twice .it is .*epoch_1')):
        with pytest.raises(ValueError, match=message):
            average_checkpoints([path, other], tmp_path / 'o.pth')


def test_the_command_line(tmp_path, root_dir, monkeypatch, capsys):
    paths = [write(tmp_path / f'epoch_{i}.pth', weight=torch.full((2, ), float(i)))
             for i in (1, 3)]

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['average_checkpoints.py', *map(str, arguments)])
        runpy.run_path(str(root_dir / 'tools' / 'average_checkpoints.py'), run_name='__main__')

    run(*paths, '--out', tmp_path / 'mean.pth')
    assert 'mean of 2 checkpoints' in capsys.readouterr().out
    assert load_checkpoint_file(tmp_path / 'mean.pth')['state_dict']['weight'].tolist() == [2, 2]
    with pytest.raises(SystemExit, match='^error: checkpoint .*no.pth'):
        run(tmp_path / 'no.pth', '--out', tmp_path / 'mean.pth')


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return dict(loss=(self.layer(torch.stack(inputs)) - 1).square().mean())


def train(work_dir, epochs, **checkpoint):
    init_default_scope('mmpose')
    data = [dict(inputs=torch.full((1, ), float(i))) for i in range(4)]
    Runner(Model(), str(work_dir), dict(
        dataset=data, batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler')),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, **checkpoint)),
        custom_hooks=[dict(type='AverageCheckpointsHook', last=3)], default_scope='mmpose',
        experiment_name=work_dir.name, log_level='WARNING').train()


def test_the_hook_averages_the_last_ones(tmp_path):
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    write(work_dir / 'epoch_9.pth', weight=torch.zeros(1))  # of another, longer run
    train(work_dir, 4, max_keep_ckpts=3)
    found = load_checkpoint_file(work_dir / 'averaged.pth')['state_dict']
    states = [load_checkpoint_file(work_dir / f'epoch_{i}.pth')['state_dict'] for i in (2, 3, 4)]
    for key, value in found.items():
        mean = torch.stack([state[key].double() for state in states]).mean(0)
        torch.testing.assert_close(value, mean.to(value.dtype))
    assert found['layer.1.num_batches_tracked'] == 6
    assert not (work_dir / 'epoch_1.pth').exists()


def test_the_hook_looks_before_training(tmp_path):
    with pytest.raises(ValueError, match='max_keep_ckpts=2 .* set it to 3 or -1'):
        train(tmp_path / 'few', 4, max_keep_ckpts=2)
    assert not list((tmp_path / 'few').glob('epoch_*'))
