"""Checkpoints of MMEngine and MMPose load under torch >= 2.6, and none of them is run."""

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint, save_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from safetensors.torch import save_file

import mmpose_lift  # noqa: F401  (installs the loaders)
from mmpose_lift.compat import checkpoint_loading
from mmpose_lift.io.restricted_pickle import UnsafePickleError

CONFIG_TEXT = "model = dict(type='A', scale=-1.5, size=(1, 2), more=[None, float('inf')])\n"


def load(path, map_location='cpu'):
    return CheckpointLoader.load_checkpoint(str(path), map_location, logger=None)


class _Attack:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def mmengine_checkpoint_dict():
    buffer = HistoryBuffer([1.0, 3.0], [1, 1], max_length=7)
    return dict(
        meta=dict(epoch=2, iter=8, cfg=CONFIG_TEXT, dataset_meta=ConfigDict(
            dataset_name='h36m', flip_indices=[0, 2, 1], sigmas=np.ones(17, np.float32),
            stats_info=dict(bbox_center=np.array([[528., 427.]])))),
        state_dict={'fc.weight': torch.ones(2, 2), 'fc.bias': torch.zeros(2)},
        message_hub=dict(log_scalars={'train/loss': buffer}, resumed_keys={'train/loss': True},
                         runtime_info=dict(best_score=np.float64(3.5), cfg=CONFIG_TEXT)),
        optimizer=dict(state={0: dict(step=torch.tensor(1.), exp_avg=torch.ones(2))},
                       param_groups=[dict(lr=1e-3, betas=(0.9, 0.99), params=[0])]),
        param_schedulers=[dict(last_step=np.int64(3))])


@pytest.fixture
def foreign_checkpoint(tmp_path, monkeypatch):
    """As MMEngine writes it without this plugin: HistoryBuffers name their methods by getattr."""
    def upstream_state(self):
        return dict(self.__dict__, statistics_methods=self._statistics_methods)

    path = tmp_path / 'epoch_2.pth'
    with monkeypatch.context() as patch:
        patch.setattr(HistoryBuffer, '__getstate__', upstream_state)
        torch.save(mmengine_checkpoint_dict(), path)
    return path


def check(loaded):
    assert loaded['meta']['cfg'] == CONFIG_TEXT and loaded['meta']['epoch'] == 2
    meta = loaded['meta']['dataset_meta']
    assert meta['flip_indices'] == [0, 2, 1] and meta['sigmas'].dtype == np.float32
    np.testing.assert_array_equal(meta['stats_info']['bbox_center'], [[528, 427]])
    buffer = loaded['message_hub']['log_scalars']['train/loss']
    assert type(buffer) is HistoryBuffer and buffer.max_length == 7
    assert buffer.mean() == 2 and buffer.statistics('max') == 3 and buffer.current() == 3
    buffer.update(5.0)
    assert buffer.mean() == 3
    assert loaded['message_hub']['runtime_info']['best_score'] == 3.5
    assert loaded['optimizer']['param_groups'][0]['betas'] == (0.9, 0.99)
    torch.testing.assert_close(loaded['state_dict']['fc.weight'], torch.ones(2, 2))


def test_upstream_checkpoint_loads(foreign_checkpoint):
    assert b'getattr' in foreign_checkpoint.read_bytes()
    check(load(foreign_checkpoint))


def test_own_checkpoint_names_no_getattr(tmp_path):
    save_checkpoint(mmengine_checkpoint_dict(), str(tmp_path / 'epoch_2.pth'))
    assert b'getattr' not in (tmp_path / 'epoch_2.pth').read_bytes()
    check(load(tmp_path / 'epoch_2.pth'))


def test_still_needed(foreign_checkpoint):
    """MMEngine's own loader cannot load it; if this fails, the item can go."""
    with pytest.raises(pickle.UnpicklingError, match='Weights only load failed'):
        mmengine_checkpoint.load_from_local(str(foreign_checkpoint), 'cpu')


def test_every_user_of_the_loader(foreign_checkpoint):
    """Runner, inferencers, init_model of MMPose and MMDetection, backbones: all end there."""
    import mmpose.apis.inference as pose_inference
    from mmdet.apis import inference as detection_inference
    from mmengine.infer import infer
    from mmengine.runner import runner

    for module in (pose_inference, detection_inference, infer):
        function = getattr(module, 'load_checkpoint', None) or module._load_checkpoint
        assert function in (load_checkpoint, mmengine_checkpoint._load_checkpoint)
    assert runner._load_checkpoint is mmengine_checkpoint._load_checkpoint
    model = torch.nn.ModuleDict(dict(fc=torch.nn.Linear(2, 2)))
    load_checkpoint(model, str(foreign_checkpoint), strict=True)
    torch.testing.assert_close(model['fc'].weight.data, torch.ones(2, 2))


@pytest.mark.parametrize('suffix', ['pth', 'bin'])
@pytest.mark.parametrize('zip_format', [True, False])
def test_attack_is_refused(tmp_path, suffix, zip_format):
    path, ran = tmp_path / f'model.{suffix}', tmp_path / 'ran'
    content = mmengine_checkpoint_dict()
    content['meta']['extra'] = _Attack(f'touch {ran}')
    torch.save(content, path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(UnsafePickleError,
                       match=rf'model\.{suffix}.*(posix|os)\.system.*MMPOSE_LIFT_UNSAFE_LOAD=1'):
        load(path)
    assert not ran.exists()


@pytest.mark.parametrize('owner, name', [
    (HistoryBuffer, 'mean'), (str, 'join'), (torch.Tensor, 'numpy')])
def test_getattr_reaches_nothing(tmp_path, owner, name):
    class Getattr:
        def __reduce__(self):
            return getattr, (owner, name)

    torch.save({'a': Getattr()}, tmp_path / 'a.pth')
    if owner is HistoryBuffer:
        assert load(tmp_path / 'a.pth') == {'a': 'mean'}  # a name, nothing that can be called
    else:
        with pytest.raises(UnsafePickleError):
            load(tmp_path / 'a.pth')


def test_opt_in(tmp_path, monkeypatch):
    path, ran = tmp_path / 'model.pth', tmp_path / 'ran'
    torch.save({'state_dict': {}, 'a': _Attack(f'touch {ran}')}, path)
    monkeypatch.setenv('MMPOSE_LIFT_UNSAFE_LOAD', '1')
    with pytest.warns(UserWarning, match='your rights'):
        load(path)
    assert ran.exists()


@pytest.mark.parametrize('text', [
    '__import__("os").system("true")', 'import os', "_base_ = '/some/file.py'", 'x = open("a")',
    "x = [i for i in 'ab']", 'dict = float', 'def f(): pass', 'x = (',
    "a = ['\\{{$F:}}', ',print(1),#']",  # harmless until MMEngine replaces what is in braces
])
def test_config_text_with_code_is_left_out(tmp_path, text):
    """MMEngine executes it on resume and in inferencers that get weights only."""
    content = mmengine_checkpoint_dict()
    content['meta'].update(cfg=text, config=text)
    content['message_hub']['runtime_info']['cfg'] = text
    torch.save(content, tmp_path / 'a.pth')
    with pytest.warns(UserWarning, match=r'a\.pth.*config text.*left out'):
        loaded = load(tmp_path / 'a.pth')
    assert not {'cfg', 'config'} & loaded['meta'].keys()
    assert 'cfg' not in loaded['message_hub']['runtime_info'] and 'state_dict' in loaded


def test_dumped_configs_are_plain():
    from mmengine.config import Config
    from mmengine.utils import get_installed_path

    folder = f'{get_installed_path("mmpose")}/.mim/configs/body_3d_keypoint'
    for name in ('image_pose_lift/h36m/image-pose-lift_tcn_8xb64-200e_h36m.py',
                 'motionbert/h36m/motionbert_dstformer-ft-243frm_8xb32-120e_h36m.py'):
        config = Config.fromfile(f'{folder}/{name}', format_python_code='image' not in name)
        assert checkpoint_loading._is_plain_config(config.pretty_text)


def test_safetensors(tmp_path):
    path = tmp_path / 'model.safetensors'
    save_file({'fc.weight': torch.ones(2, 2)}, path, metadata={'source': 'x'})
    loaded = load(path)
    assert loaded['meta'] == {'source': 'x'}
    torch.testing.assert_close(loaded['state_dict']['fc.weight'], torch.ones(2, 2))
    assert load(path, map_location=None)['state_dict']['fc.weight'].device.type == 'cpu'
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r'model\.safetensors.*Get it again'):
        load(path)


def test_damaged_and_absent(tmp_path, foreign_checkpoint):
    foreign_checkpoint.write_bytes(foreign_checkpoint.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r'epoch_2\.pth.*damaged'):
        load(foreign_checkpoint)
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        load(tmp_path / 'absent.pth')


def test_downloads_use_the_same_loader(tmp_path, monkeypatch, foreign_checkpoint):
    """http(s) and what resolves to it, from the cache so that no network is used."""
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    cached = tmp_path / 'checkpoints' / 'epoch_2.pth'
    foreign_checkpoint.rename(cached)
    check(load('https://example.invalid/a/epoch_2.pth'))
    address = 'http://example.invalid/epoch_2.pth'
    for prefix, table in (('torchvision://', 'get_torchvision_models'),
                          ('modelzoo://', 'get_torchvision_models'),
                          ('mmcls://', 'get_mmcls_models'),
                          ('openmmlab://', 'get_external_models'),
                          ('open-mmlab://', 'get_external_models')):
        monkeypatch.setattr(mmengine_checkpoint, table, lambda: {'resnet50': address})
        loaded = load(f'{prefix}resnet50')
        assert 'state_dict' in loaded, prefix
    monkeypatch.setattr(mmengine_checkpoint, 'get_external_models', lambda: {'a': 'epoch_2.pth'})
    monkeypatch.setenv('MMENGINE_HOME', str(cached.parent))
    check(load('openmmlab://a'))
    torch.save({'a': _Attack('true')}, cached)
    with pytest.raises(UnsafePickleError, match='epoch_2.pth'):
        load('https://example.invalid/a/epoch_2.pth')


def test_download(tmp_path, monkeypatch, foreign_checkpoint):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    check(checkpoint_loading._load_url(foreign_checkpoint.as_uri(), progress=False))
    assert (tmp_path / 'cache' / 'checkpoints' / 'epoch_2.pth').is_file()


def test_install_twice():
    before = dict(CheckpointLoader._schemes)
    checkpoint_loading.install()
    assert CheckpointLoader._schemes == before


@pytest.mark.parametrize('saved_by_mmengine', [True, False])
def test_one_cycle_schedules_load_and_go_on(tmp_path, saved_by_mmengine):
    """MMEngine puts the annealing function of this schedule into the checkpoint, as a getattr."""
    from mmengine.optim import OneCycleLR

    def schedule():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.)
        return OneCycleLR(optimizer, eta_max=1., total_steps=10)

    first = schedule()
    first.step()
    state = first.state_dict()
    if saved_by_mmengine:
        state['anneal_func'] = first.anneal_func
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict={}, param_schedulers=[state]), path)
    found = CheckpointLoader.load_checkpoint(str(path))['param_schedulers'][0]
    second = schedule()
    second.load_state_dict(found)
    for _ in range(5):
        first.step(), second.step()
        assert first.get_last_value() == second.get_last_value()
